"""Which jobs may go: groups by priority, dependencies, pauses; and which cannot go on until somebody does something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.jobs.due import Plan, Seen, plan
from coordinator.jobs.records import JobId
from coordinator.jobs.states import BAD, GOOD, INIT

NOW = 1000.0


def planned(*jobs: Seen, goes_on: bool = False, others: Sequence[Seen] = ()) -> Plan:
    return plan(jobs, {job.batch: goes_on for job in jobs}, NOW, others)


def ok(*on: JobId) -> Mapping[str, Sequence[JobId]]:
    return {"ok": on}


def test_the_highest_group_of_each_batch_goes_first() -> None:
    found = planned(Seen(1, 0, INIT, 1), Seen(1, 1, INIT, 2), Seen(2, 0, INIT, 1))
    assert found.ready == [(1, 1), (2, 0)]
    assert found.why((1, 0)) == "jobs of priority 2 of its batch are not complete"
    assert found.stuck == {}


def test_the_next_group_goes_when_the_one_before_is_complete() -> None:
    assert planned(Seen(1, 0, INIT, 1), Seen(1, 1, "collected", 2)).ready == [(1, 0)]
    assert planned(Seen(1, 0, INIT, 1), Seen(1, 1, "run", 2)).ready == []


@pytest.mark.parametrize("state", sorted(BAD))
def test_a_group_that_did_not_succeed_stops_its_batch_or_lets_it_go_on(state: str) -> None:
    jobs = Seen(1, 0, INIT, 1), Seen(1, 1, state, 2), Seen(1, 2, "complete", 2)
    stopped = planned(*jobs)
    assert stopped.ready == []
    assert "priority 2 did not succeed (job 1)" in stopped.stuck[1]
    assert stopped.why((1, 0)) == stopped.stuck[1]
    assert planned(*jobs, goes_on=True).ready == [(1, 0)]


def test_a_batch_is_not_stuck_while_somebody_of_the_group_runs() -> None:
    assert planned(Seen(1, 0, INIT, 1), Seen(1, 1, "failed", 2), Seen(1, 2, "run", 2)).stuck == {}


def test_a_job_that_says_it_runs_while_nobody_is_at_it_moves_nothing() -> None:
    found = planned(Seen(1, 0, INIT, 1), Seen(1, 1, "run", 2, idle=True))
    assert "did not succeed (job 1)" in found.stuck[1]
    assert found.moving == set()


def test_a_group_from_100_on_is_before_all_batches_until_it_has_ended() -> None:
    found = planned(Seen(1, 0, INIT, 1), Seen(2, 0, INIT, 100))
    assert found.ready == [(2, 0)]
    assert found.why((1, 0)) == "priority 100 of batch 2 is before all other batches"
    assert found.moving == {(1, 0), (2, 0)}
    assert planned(Seen(1, 0, INIT, 1), Seen(2, 0, "failed", 100)).ready == [(1, 0)]


@pytest.mark.parametrize("on", [(2, 1), (9, 9), (1, 0)])
def test_a_group_from_100_on_of_which_no_job_can_go_holds_no_batch(on: JobId) -> None:
    """It depends on one that failed, on one that was removed, on one that it would hold."""
    first = Seen(2, 0, INIT, 150, after=ok(on)), Seen(2, 1, "failed", 150)
    found = planned(Seen(1, 0, INIT, 1), *first)
    assert found.ready == [(1, 0)]
    assert f"job {on[1]} of batch {on[0]}" in found.why((2, 0))
    assert (2 in found.stuck) == (on != (1, 0))


def test_a_group_that_cannot_go_leaves_the_first_place_to_the_next_one_that_can() -> None:
    stuck = Seen(3, 0, INIT, 150, after=ok((9, 9)))
    found = planned(Seen(1, 0, INIT, 1), Seen(2, 0, INIT, 120), stuck)
    assert found.ready == [(2, 0)]
    assert found.why((1, 0)) == "priority 120 of batch 2 is before all other batches"
    assert found.stuck.keys() == {3}


@pytest.mark.parametrize("waits", [{"not_before": NOW + 5}, {"ending": True}, {"after": ok((1, 1))}])
def test_a_group_from_100_on_that_will_go_by_itself_holds_all_batches(waits: dict[str, Any]) -> None:
    found = planned(Seen(1, 0, INIT, 1), Seen(1, 1, "run", 1), Seen(2, 0, INIT, 150, **waits))
    assert found.ready == []
    assert found.why((1, 0)) == "priority 150 of batch 2 is before all other batches"


def test_a_job_of_a_chain_that_nobody_has_tried_yet_is_not_said_to_have_ended() -> None:
    chain = Seen(1, 0, INIT, 1, idle=True), *(Seen(1, n, INIT, 1, after=ok((1, n - 1)), idle=True) for n in (1, 2))
    found = planned(*chain)
    assert found.why((1, 1)) == "it waits for job 0 of batch 1, which is in state init"
    assert found.why((1, 2)) == "it waits for job 1 of batch 1, which is in state init"


def test_a_job_in_a_state_of_its_own_at_which_nobody_is_is_said_to_have_ended() -> None:
    found = planned(Seen(1, 0, "half-way", 1, idle=True), Seen(1, 1, INIT, 1, after=ok((1, 0))))
    assert "which is in state half-way and has ended: set that one's state" in found.stuck[1]


def test_a_retry_waits_for_its_time_and_says_when() -> None:
    found = planned(Seen(1, 0, INIT, 1, not_before=NOW + 30), Seen(1, 1, INIT, 1, not_before=NOW + 20))
    assert (found.ready, found.at) == ([], NOW + 20)
    assert found.why((1, 0)) == "it is tried again in 30 s"
    assert found.stuck == {}


def test_a_job_whose_last_attempt_still_ends_waits_for_that() -> None:
    found = planned(Seen(1, 0, INIT, 1, ending=True))
    assert (found.ready, found.stuck) == ([], {})
    assert "has not ended yet" in found.why((1, 0))


WORDS = {
    ("ok", "complete"): "", ("ok", "collected"): "", ("ok", "run"): "it waits for", ("ok", INIT): "it waits for",
    ("ok", "failed"): "reset that one", ("ok", "lost"): "reset that one", ("ok", "cancelled"): "reset that one",
    ("failed", "complete"): "it is for the failure of", ("failed", "collected"): "it is for the failure of",
    ("failed", "run"): "it waits for", ("failed", INIT): "it waits for", ("failed", "failed"): "",
    ("failed", "lost"): "", ("failed", "cancelled"): "",
    ("any", "complete"): "", ("any", "collected"): "", ("any", "run"): "it waits for", ("any", INIT): "it waits for",
    ("any", "failed"): "", ("any", "lost"): "", ("any", "cancelled"): "",
    ("ok", "mine"): "it waits for", ("failed", "mine"): "it waits for", ("any", "mine"): "it waits for",
}  # fmt: skip


@pytest.mark.parametrize(("when", "state"), WORDS)
def test_a_dependency_holds_until_it_is_met(when: str, state: str) -> None:
    found = planned(Seen(1, 0, INIT, 1, after={when: [(2, 0)]}), Seen(2, 0, state, 1))
    if WORDS[when, state]:
        assert (1, 0) not in found.ready
        assert WORDS[when, state] in found.why((1, 0))
        assert "job 0 of batch 2" in found.why((1, 0))
    else:
        assert (1, 0) in found.ready
    assert (1 in found.stuck) == (WORDS[when, state] not in ("", "it waits for"))


def test_all_dependencies_must_be_met() -> None:
    jobs = Seen(1, 1, "complete", 1), Seen(1, 2, "run", 1)
    assert planned(Seen(1, 0, INIT, 1, after=ok((1, 1), (1, 2))), *jobs).ready == []
    assert planned(Seen(1, 0, INIT, 1, after={"ok": [(1, 1)], "any": [(1, 2)]}), *jobs).ready == []


def test_a_removed_dependency_is_said_and_nothing_waits_for_it_for_ever() -> None:
    found = planned(Seen(1, 0, INIT, 1, after=ok((9, 9))), Seen(1, 1, INIT, 1, after=ok((1, 0))))
    assert "job 9 of batch 9, which was removed" in found.why((1, 0))
    assert "job 0: it depends on job 9 of batch 9, which was removed" in found.stuck[1]
    assert found.moving == set()


def test_a_job_that_waits_for_one_of_lower_priority_says_that_each_waits_for_the_other() -> None:
    found = planned(Seen(1, 0, INIT, 2, after=ok((1, 1))), Seen(1, 1, INIT, 1))
    assert "each waits for the other" in found.why((1, 0))
    assert "each waits for the other" in found.stuck[1]


def test_batches_that_wait_for_each_other_by_their_groups_are_both_stuck() -> None:
    first = Seen(1, 0, INIT, 2, after=ok((2, 1))), Seen(1, 1, INIT, 1)
    second = Seen(2, 0, INIT, 2, after=ok((1, 1))), Seen(2, 1, INIT, 1)
    assert planned(*first, *second).stuck.keys() == {1, 2}
    assert planned(*first, Seen(2, 0, "run", 2), Seen(2, 1, INIT, 1)).stuck == {}


def test_jobs_that_are_not_planned_meet_dependencies() -> None:
    waits = Seen(1, 0, INIT, 1, after=ok((2, 0)))
    assert planned(waits, others=[Seen(2, 0, "complete", 1)]).ready == [(1, 0)]
    assert planned(waits, others=[Seen(2, 0, "run", 1)]).ready == []
    assert planned(waits, others=[Seen(2, 0, "run", 1)]).stuck == {}


# --- played to its end -----------------------------------------------------------------------------------

STATES = st.sampled_from([INIT, INIT, INIT, "run", "complete", "failed", "cancelled"])


@st.composite
def queues(draw: st.DrawFn) -> list[Seen]:
    """Jobs of three batches that depend on any others, themselves in circles too."""
    ids = [(batch, index) for batch in range(3) for index in range(draw(st.integers(0, 4)))]
    if not ids:
        return []
    afters = st.dictionaries(st.sampled_from(["ok", "failed", "any"]), st.lists(st.sampled_from(ids), max_size=2))
    return [
        Seen(batch, index, draw(STATES), draw(st.sampled_from([1.0, 2.0, 100.0])), after=draw(afters),
             not_before=draw(st.sampled_from([0.0, 0.0, NOW + 5])), idle=draw(st.booleans()))
        for batch, index in ids
    ]  # fmt: skip


def with_state(job: Seen, state: str) -> Seen:
    return Seen(job.batch, job.index, state, job.priority, 0.0, job.after)


@given(jobs=queues(), goes_on=st.booleans(), data=st.data())
def test_only_what_is_said_to_move_ever_goes_and_at_the_end_nothing_does(
    jobs: list[Seen], goes_on: bool, data: st.DataObject
) -> None:
    """However the jobs end that may go."""
    choice = dict.fromkeys(range(3), goes_on)
    first = plan(jobs, choice, NOW)
    waiting = {job.id for job in jobs if job.state == INIT}
    assert set(first.ready) | {id for ids, _ in first.waits for id in ids} == waiting
    assert set(first.ready).isdisjoint(id for ids, _ in first.waits for id in ids)
    assert set(first.ready) <= first.moving
    assert first.moving.isdisjoint(job.id for job in jobs if job.state in GOOD | BAD)
    moving = set(first.moving)
    now, begun = {job.id: job for job in jobs}, set[JobId]()
    for _ in range(len(jobs) + 1):
        found = plan(now.values(), choice, NOW + 10)
        ends = [*found.ready, *(job.id for job in now.values() if job.runs)]
        begun |= set(found.ready)
        if not ends:
            break
        for id in ends:
            now[id] = with_state(now[id], data.draw(st.sampled_from(["complete", "failed"])))
    assert begun <= moving
    assert not plan(now.values(), choice, NOW + 10).moving
