"""A test of the simulator: bugs planted in the core, or in what carries it, are each found within 1,000 seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from coordinator.core import balance, replay, simulateserver
from coordinator.core.farm import Farm
from coordinator.core.jobs import Job
from coordinator.core.leases import Lease
from coordinator.core.ledger import Ledger
from coordinator.core.loads import HostLoad
from coordinator.core.records import Kind
from coordinator.core.rules import Build, Rule, RuleBook
from coordinator.core.simulate import simulate
from coordinator.core.simulatefarm import simulate_farm
from coordinator.core.simulateplay import Violation
from coordinator.core.simulaterules import simulate_rules
from coordinator.core.simulateserver import Server
from coordinator.hired import Hired
from coordinator.run import Run

SEEDS = 1000
Patch = pytest.MonkeyPatch


def found_by(play: Callable[[int], object]) -> int | None:
    for seed in range(SEEDS):
        try:
            play(seed)
        except Violation:
            return seed
    return None


# --- the ledger -----------------------------------------------------------------------------------


def the_same_lease_number_twice(patch: Patch) -> None:
    lease = Ledger.lease

    def planted(self: Ledger, *given: Any, **more: Any) -> Lease | None:
        made = lease(self, *given, **more)
        self.next_lease -= made is not None and made.number % 5 == 0
        return made

    patch.setattr(Ledger, "lease", planted)


def lease_numbers_begin_again_in_each_life(patch: Patch) -> None:
    make = Ledger.__init__
    patch.setattr(Ledger, "__init__", lambda self, policy, first, term_s: make(self, policy, 1, term_s))


def what_a_dead_processor_held_is_lost(patch: Patch) -> None:
    patch.setattr(Ledger, "_free", lambda self, lease: self._drop(lease))


def done_does_not_absorb(patch: Patch) -> None:
    report = Ledger.report

    def planted(self: Ledger, *given: Any) -> Any:
        verdict = report(self, *given)
        for start, stop in verdict.done[1:]:
            self.todo.add(start, stop)
        return verdict

    patch.setattr(Ledger, "report", planted)


def an_older_lease_is_believed_too(patch: Patch) -> None:
    patch.setattr(Ledger, "_supersede", lambda self, start, stop: None)


def who_slept_judges_others(patch: Patch) -> None:
    patch.setattr(Ledger, "renew_all", lambda self, now: None)


def nothing_lapses(patch: Patch) -> None:
    patch.setattr(Ledger, "lapse", lambda self, now: [])


def leases_lapse_too_early(patch: Patch) -> None:
    lapse = Ledger.lapse
    patch.setattr(Ledger, "lapse", lambda self, now: lapse(self, now + self.term_s / 4))


def what_is_given_back_stays_leased(patch: Patch) -> None:
    def planted(self: Ledger, number: int, start: int, stop: int) -> int:
        lease = self.leases.get(number)
        for a, b in lease.open.overlaps(start, stop) if lease is not None else ():
            self.todo.add(a, b)
        return stop - start

    patch.setattr(Ledger, "give_back", planted)


def what_is_given_back_is_lost(patch: Patch) -> None:
    def planted(self: Ledger, number: int, start: int, stop: int) -> int:
        lease = self.leases.get(number)
        if lease is not None:
            lease.open.remove(start, stop)
            self._forget_if_empty(lease)
        return stop - start

    patch.setattr(Ledger, "give_back", planted)


def a_lease_whose_answer_was_lost_stays_with_who_never_heard_of_it(patch: Patch) -> None:
    def planted(self: Ledger, holder: int, numbers: Sequence[int], now: float) -> list[int]:
        self.renew(holder, now)
        return [n for n in numbers if n not in self._by_holder.get(holder, {})]

    patch.setattr(Ledger, "hold", planted)


def nobody_is_told_what_is_not_its_own_any_more(patch: Patch) -> None:
    hold = Ledger.hold
    patch.setattr(Ledger, "hold", lambda self, *given: hold(self, *given)[:0])


def a_lease_that_was_shared_out_comes_back_whole(patch: Patch) -> None:
    def planted(self: Ledger, start: int, stop: int) -> None:
        for lease in list(self._lapsed.values()):
            lease.open.remove(start, stop)
            self._forget_if_empty(lease)

    patch.setattr(Ledger, "_supersede", planted)


def deaths_are_not_counted(patch: Patch) -> None:
    died = Ledger._died

    def planted(self: Ledger, lease: Lease, position: int, *given: Any) -> None:
        died(self, lease, position, *given)
        self._deaths.pop(position, None)

    patch.setattr(Ledger, "_died", planted)


def one_retry_too_many(patch: Patch) -> None:
    fail = Ledger._fail

    def planted(self: Ledger, position: int, *given: Any) -> None:
        if self._attempts.get(position, 0) == self.policy.retries > 0:
            self._attempts[position] -= 1
        fail(self, position, *given)

    patch.setattr(Ledger, "_fail", planted)


def a_task_that_waits_is_forgotten(patch: Patch) -> None:
    def planted(self: Ledger, now: float) -> None:
        self._waiting = [due for due in self._waiting if due[0] > now]

    patch.setattr(Ledger, "_wake", planted)


def late_reports_are_not_counted(patch: Patch) -> None:
    report = Ledger.report

    def planted(self: Ledger, *given: Any) -> Any:
        before = self.late
        verdict = report(self, *given)
        self.late = before
        return verdict

    patch.setattr(Ledger, "report", planted)


# --- over a restart -------------------------------------------------------------------------------


def leases_are_forgotten_over_a_restart(patch: Patch) -> None:
    restore = Run.restore
    patch.setattr(Run, "restore", lambda self, recovered, now, same_run: restore(self, recovered, now, False))


def leases_of_an_earlier_run_come_back(patch: Patch) -> None:
    def planted(state: replay.State, header: dict[str, Any], record: Any) -> None:
        state.run, state.life, state.closed = header["run"], header["life"], None

    patch.setitem(replay._FOLDS, Kind.LIFE, planted)


def what_is_restored_stays_to_do_as_well(patch: Patch) -> None:
    patch.setattr(Ledger, "restore", lambda self, lease: self._keep(lease))


def attempts_are_forgotten_over_a_restart(patch: Patch) -> None:
    patch.setattr(Ledger, "remember", lambda self, *known: None)


def deaths_are_errors_after_a_restart(patch: Patch) -> None:
    patch.setattr(Ledger, "remember", lambda self, attempts, *_: self._attempts.update(attempts))


def a_checkpoint_lacks_the_leases(patch: Patch) -> None:
    checkpoint = replay.checkpoint

    def planted(state: replay.State) -> tuple[dict[str, Any], str]:
        header, text = checkpoint(state)
        return {**header, "leases": []}, text

    patch.setattr(simulateserver, "checkpoint", planted)


def a_lease_of_which_others_have_a_part_is_restored_as_its_holders_own(patch: Patch) -> None:
    open_leases = replay.open_leases

    def planted(state: replay.State) -> Any:
        for number, lease in open_leases(state):
            lease.shared_out = False
            yield number, lease

    patch.setattr(replay, "open_leases", planted)


def a_processors_number_is_given_twice_after_a_power_cut(patch: Patch) -> None:
    new_number = Run.new_number

    def planted(self: Run) -> int:
        before = self.accepted
        number = new_number(self)
        self.accepted = before
        return number

    patch.setattr(Run, "new_number", planted)


# --- the turn -------------------------------------------------------------------------------------


def answers_leave_before_they_are_written(patch: Patch) -> None:
    begin = Server.begin

    def planted(self: Server, sync: bool) -> None:
        self.oracle.acknowledge(self.oracle.unacknowledged())
        begin(self, sync)

    patch.setattr(Server, "begin", planted)


def answers_leave_before_the_disk_has_what_was_written(patch: Patch) -> None:
    begin = Server.begin
    patch.setattr(Server, "begin", lambda self, sync: begin(self, False))


def what_is_decided_while_the_disk_works_leaves_with_what_it_makes_safe(patch: Patch) -> None:
    end = Server.end

    def planted(self: Server) -> Any:
        leaving = end(self)
        self.oracle.acknowledge(self.oracle.unacknowledged())
        more, self._pending = self._pending, []
        return leaving + more

    patch.setattr(Server, "end", planted)


def the_same_call_is_worked_on_each_time_it_arrives(patch: Patch) -> None:
    exchange = Run.exchange

    def planted(self: Run, request: Any, now: float) -> Any:
        hired = self.hired.get(request.processor)
        if hired is not None:
            hired.answer = None
        return exchange(self, request, now)

    patch.setattr(Run, "exchange", planted)


def an_older_call_is_worked_on_when_it_comes_late(patch: Patch) -> None:
    exchange = Run.exchange

    def planted(self: Run, request: Any, now: float) -> Any:
        hired = self.hired.get(request.processor)
        if hired is not None and request.seq < hired.seq:
            hired.seq, hired.answer = 0, None
        return exchange(self, request, now)

    patch.setattr(Run, "exchange", planted)


def a_dead_processor_whose_call_comes_late_is_hired(patch: Patch) -> None:
    depart = Run.depart

    def planted(self: Run, number: int, *given: Any) -> Hired | None:
        hired = depart(self, number, *given)
        self.departed.clear()
        return hired

    patch.setattr(Run, "depart", planted)


def the_live_processors_of_a_silent_keeper_are_taken_for_dead(patch: Patch) -> None:
    def planted(self: Server, now: float) -> int:
        for host, post in list(self.posts.items()):
            if now - post.heard > self.oracle.term_s:
                del self.posts[host]
                for number in sorted(post.numbers):
                    self._depart(number, simulateserver.NOT_HEARD_OF, None, now, "")
        return 0

    patch.setattr(Server, "silent", planted)


OF_JOBS = (
    the_same_lease_number_twice,
    lease_numbers_begin_again_in_each_life,
    what_a_dead_processor_held_is_lost,
    done_does_not_absorb,
    an_older_lease_is_believed_too,
    who_slept_judges_others,
    nothing_lapses,
    leases_lapse_too_early,
    what_is_given_back_stays_leased,
    what_is_given_back_is_lost,
    a_lease_whose_answer_was_lost_stays_with_who_never_heard_of_it,
    nobody_is_told_what_is_not_its_own_any_more,
    a_lease_that_was_shared_out_comes_back_whole,
    deaths_are_not_counted,
    one_retry_too_many,
    a_task_that_waits_is_forgotten,
    late_reports_are_not_counted,
    leases_are_forgotten_over_a_restart,
    leases_of_an_earlier_run_come_back,
    what_is_restored_stays_to_do_as_well,
    attempts_are_forgotten_over_a_restart,
    deaths_are_errors_after_a_restart,
    a_checkpoint_lacks_the_leases,
    a_lease_of_which_others_have_a_part_is_restored_as_its_holders_own,
    a_processors_number_is_given_twice_after_a_power_cut,
    answers_leave_before_they_are_written,
    answers_leave_before_the_disk_has_what_was_written,
    what_is_decided_while_the_disk_works_leaves_with_what_it_makes_safe,
    the_same_call_is_worked_on_each_time_it_arrives,
    an_older_call_is_worked_on_when_it_comes_late,
    a_dead_processor_whose_call_comes_late_is_hired,
    the_live_processors_of_a_silent_keeper_are_taken_for_dead,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plant", OF_JOBS, ids=lambda plant: plant.__name__)
def test_a_bug_in_the_way_of_a_task_is_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert found_by(lambda seed: simulate(seed, Run)) is not None


# --- hosts and jobs -------------------------------------------------------------------------------


def processors_of_a_lost_job_are_counted_for_ever(patch: Patch) -> None:
    def planted(self: Farm, url: str, now: float) -> Job | None:
        self._changed()
        return self.jobs.pop(url, None)

    patch.setattr(Farm, "drop", planted)


def a_controller_that_slept_drops_its_jobs(patch: Patch) -> None:
    patch.setattr(Farm, "renew", lambda self, now: None)


def a_silent_job_stays_in_the_queue(patch: Patch) -> None:
    patch.setattr(Farm, "expire", lambda self, now: [])


def rounding_loses_a_slot(patch: Patch) -> None:
    def planted(pool: int, weights: Sequence[Any], caps: Sequence[int]) -> list[int]:
        total = sum(weights)
        parts = [int(pool * weight / total) if total else 0 for weight in weights]
        return [min(part, cap) for part, cap in zip(parts, caps, strict=True)]

    patch.setattr(balance, "divide", planted)


def a_slot_that_the_first_cannot_use_is_lost(patch: Patch) -> None:
    patch.setattr(balance, "_pass_on", lambda left, line, shares, limits: None)


def a_host_has_one_slot_more_than_its_room(patch: Patch) -> None:
    room = balance.room
    patch.setattr(balance, "room", lambda *given: room(*given) + 1)


def a_spike_makes_processors_leave(patch: Patch) -> None:
    of_others = HostLoad.of_others
    patch.setattr(HostLoad, "of_others", lambda self, now: self.others[-1][1] if self.others else of_others(self, now))


def overload_does_not_matter(patch: Patch) -> None:
    patch.setattr(HostLoad, "of_others", lambda self, now: 0.0)


def a_job_that_comes_back_goes_to_the_end_of_the_queue(patch: Patch) -> None:
    patch.setattr(Farm, "_with_name", lambda self, beat: None)


def a_directive_is_undone_by_the_next_beat(patch: Patch) -> None:
    direct = Farm.direct

    def planted(self: Farm, job: Job, *given: Any) -> None:
        direct(self, job, *given)
        job.directed = None

    patch.setattr(Farm, "direct", planted)


def slots_on_hosts_that_cannot_be_reached(patch: Patch) -> None:
    claim = Job.claim
    patch.setattr(Job, "claim", lambda *given: replace(claim(*given), avoid={}))


def a_limit_is_not_kept(patch: Patch) -> None:
    patch.setattr(balance, "_most", lambda job, free: sum(free.values()))


OF_FARMS = (
    processors_of_a_lost_job_are_counted_for_ever,
    a_controller_that_slept_drops_its_jobs,
    a_silent_job_stays_in_the_queue,
    rounding_loses_a_slot,
    a_slot_that_the_first_cannot_use_is_lost,
    a_host_has_one_slot_more_than_its_room,
    a_spike_makes_processors_leave,
    overload_does_not_matter,
    a_job_that_comes_back_goes_to_the_end_of_the_queue,
    a_directive_is_undone_by_the_next_beat,
    slots_on_hosts_that_cannot_be_reached,
    a_limit_is_not_kept,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plant", OF_FARMS, ids=lambda plant: plant.__name__)
def test_a_bug_in_the_way_of_a_host_is_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert found_by(simulate_farm) is not None


# --- rules ----------------------------------------------------------------------------------------


def a_builders_lock_outlives_it(patch: Patch) -> None:
    patch.setattr(RuleBook, "forget", lambda self, host, pid=None, job=None: [])


def two_may_build_at_once(patch: Patch) -> None:
    ask = RuleBook.ask

    def planted(self: RuleBook, host: str, pid: int, name: str, *given: Any, **more: Any) -> Any:
        held = self.locks.pop((host, name), None)
        answer = ask(self, host, pid, name, *given, **more)
        if held is not None and not isinstance(answer, Build):
            self.locks[host, name] = held
        return answer

    patch.setattr(RuleBook, "ask", planted)


def a_lock_is_settled_under_any_number(patch: Patch) -> None:
    settle = RuleBook.settle

    def planted(self: RuleBook, host: str, pid: int, name: str, lock: int, *given: Any) -> str | None:
        held = self.locks.get((host, name))
        if held is not None:
            pid, lock = held.pid, held.number
        return settle(self, host, pid, name, lock, *given)

    patch.setattr(RuleBook, "settle", planted)


def a_failed_build_counts_as_built(patch: Patch) -> None:
    settle = RuleBook.settle

    def planted(
        self: RuleBook, host: str, pid: int, name: str, lock: int, error: str | None, *rest: float
    ) -> str | None:
        return settle(self, host, pid, name, lock, None, *rest)

    patch.setattr(RuleBook, "settle", planted)


def files_of_an_old_rule_stay_in_use(patch: Patch) -> None:
    def planted(self: RuleBook, name: str, rule: Rule) -> None:
        self.rules[name] = rule
        self.retry(name)

    patch.setattr(RuleBook, "set", planted)


def lock_numbers_begin_again_in_each_life(patch: Patch) -> None:
    make = RuleBook.__init__
    patch.setattr(RuleBook, "__init__", lambda self, first_lock=1: make(self, 1))


def rules_are_forgotten_over_a_restart(patch: Patch) -> None:
    load = RuleBook.load
    patch.setattr(RuleBook, "load", lambda self, rules, built: load(self, {}, built))


def a_failure_is_for_ever(patch: Patch) -> None:
    patch.setattr(RuleBook, "retry", lambda self, name=None: None)


def an_earlier_life_may_build_by_a_rule_that_was_changed(patch: Patch) -> None:
    settle = RuleBook.settle

    def planted(self: RuleBook, *given: Any) -> str | None:
        self._changed.clear()
        return settle(self, *given)

    patch.setattr(RuleBook, "settle", planted)


OF_BOOKS = (
    a_builders_lock_outlives_it,
    two_may_build_at_once,
    a_lock_is_settled_under_any_number,
    a_failed_build_counts_as_built,
    files_of_an_old_rule_stay_in_use,
    lock_numbers_begin_again_in_each_life,
    rules_are_forgotten_over_a_restart,
    a_failure_is_for_ever,
    an_earlier_life_may_build_by_a_rule_that_was_changed,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plant", OF_BOOKS, ids=lambda plant: plant.__name__)
def test_a_bug_in_the_way_of_a_resource_is_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert found_by(simulate_rules) is not None
