"""The keepers of a job: who is started where, and what their beats mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from coordinator.core.health import FAST_FAILURES, FIRST_REST_S
from coordinator.core.records import Kind
from coordinator.core.trials import LEAVES
from coordinator.crew import START_S, TOLD_S, Crew
from coordinator.errors import UnknownRun
from coordinator.testing import FakeExecutor, FakeKeeper
from tests.unit.jobs import Job

ORDERS = {"url": "http://127.0.0.1:1", "log_directory": "/logs", "name": "job"}
PLENTY = 1 << 20


class Yard:
    """A Crew whose keepers are the test's."""

    def __init__(self, job: Job, executor: FakeExecutor) -> None:
        self.job, self.executor = job, executor
        self.crew = Crew(job.run, executor, ORDERS, executor.watch, lambda deed: deed())

    def step(self, useful: int = PLENTY) -> None:
        self.crew.step(self.job.clock(), useful)

    def grant(self, retry: int | None = 1, **slots: int) -> None:
        """A plan that gives these hosts, and all is done that follows from it."""
        self.crew.heed(slots, {host: {"maxload": 9.0} for host in slots}, retry)
        self.step()

    def beat(self, keeper: str, host: str, *living: int, state: str = "R", **more: Any) -> list[dict[str, Any]]:
        """A beat of a keeper; the answer will be in the list."""
        heard: list[dict[str, Any]] = []
        message = {
            "run": "r1", "keeper": keeper, "host": host, "pid": 77, "load": 0.5, "threads": 1, "fault": None,
            "processors": [[n, 1000 + n, -1, 0.0, state, f"log{n}"] for n in living], "exits": [], "leaving": False,
        }  # fmt: skip
        self.crew.beat({**message, **more}, self.job.clock(), heard.append)
        return heard

    def here(self, host: str) -> FakeKeeper:
        """The keeper that was started on a host, after its first beat with all its processors."""
        keeper = self.executor.claim(host)
        self.beat(keeper.orders["keeper"], host, *keeper.orders["numbers"])
        return keeper


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_host_gets_one_keeper_with_as_many_processors_as_slots(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=2, node2=1)
        first, second = executor.claim("node1"), executor.claim("node2")
        assert sorted([*first.orders["numbers"], *second.orders["numbers"]]) == [0, 1, 2]
        assert len(first.orders["numbers"]) == 2
        assert first.orders["keeper"] != second.orders["keeper"]
        assert first.orders["keeper_log"] == "/logs/job_keeper_node1.log"
        assert first.options == {"maxload": 9.0}
        yard.step()
        yard.step()
        assert yard.crew.counted() == {"node1": 2, "node2": 1}


def test_a_keeper_starts_only_when_the_numbers_of_its_processors_are_safe(job: Job) -> None:
    after_commit: list[Callable[[], None]] = []
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.crew = Crew(job.run, executor, ORDERS, executor.watch, after_commit.append)
        yard.grant(node1=2)
        assert yard.crew.counted() == {"node1": 2}
        with pytest.raises(AssertionError):
            executor.claim("node1")
        yard.grant(node1=3)
        (launch,) = after_commit
        launch()
        assert executor.claim("node1").orders["numbers"] == [0, 1, 2]


def test_a_keeper_that_only_looks_is_sent_without_processors_and_leaves_when_it_has_told(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.crew.heed({}, {"node1": {"maxload": 9.0}}, 1, ["node1"])
        yard.step()
        yard.step()
        keeper = executor.claim("node1")
        assert keeper.orders["numbers"] == []
        assert not yard.beat(keeper.orders["keeper"], "node1")
        assert yard.crew.loads() == {"node1": 0.5}
        assert not yard.beat(keeper.orders["keeper"], "node1", memory_available_bytes=5)
        assert yard.crew.memory() == {"node1": 5}
        job.clock.passes(TOLD_S)
        last = yard.beat(keeper.orders["keeper"], "node1", memory_available_bytes=5)
        assert last == [{"numbers": [], "noted": [], "end": True}]


def test_a_keeper_that_looked_stays_if_its_host_gets_slots_meanwhile(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.crew.heed({}, {"node1": {"maxload": 9.0}}, 1, ["node1"])
        yard.step()
        keeper = executor.claim("node1")
        yard.beat(keeper.orders["keeper"], "node1", memory_available_bytes=5)
        yard.grant(node1=1)
        job.clock.passes(TOLD_S)
        assert not yard.beat(keeper.orders["keeper"], "node1", 0, memory_available_bytes=5)
        assert yard.crew.counted() == {"node1": 1}


def test_no_more_are_started_than_have_work_or_than_people_allow(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.crew.heed({"node1": 8}, {}, 1)
        yard.step(useful=3)
        assert len(executor.claim("node1").orders["numbers"]) == 3
        yard.crew.limit = 4
        yard.step()
        assert yard.crew.counted() == {"node1": 4}


def test_a_restarted_coordinator_starts_nobody_before_its_keepers_had_time_to_return(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.crew.not_before = job.clock() + 2.0
        yard.grant(node1=1)
        job.clock.passes(2.0)
        yard.step()
        executor.claim("node1")


def test_a_host_whose_keeper_may_come_back_gets_no_other_until_it_has_had_time(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.crew.awaited = {"node1": job.clock() + 10.0, "node2": job.clock() + 10.0}
        yard.grant(node1=1, node2=1, node3=1)
        executor.claim("node3")
        yard.beat("old", "node1", 4)
        yard.step()
        assert yard.crew.counted() == {"node1": 1, "node3": 1}, "it came back, and nobody was started beside it"
        job.clock.passes(10.0)
        yard.step()
        executor.claim("node2")


def test_a_host_that_gets_more_slots_tells_its_keeper_at_once(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = yard.here("node1")
        heard = yard.beat(keeper.orders["keeper"], "node1", 0)
        assert not heard, "a beat waits for news"
        yard.grant(node1=3)
        assert heard == [{"numbers": [0, 1, 2], "noted": []}]


def test_the_next_beat_answers_the_one_that_waits(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        first = yard.beat(keeper, "node1", 0)
        second = yard.beat(keeper, "node1", 0)
        assert first == [{"numbers": [0], "noted": []}]
        assert not second


def test_one_too_many_on_a_host_is_surplus_whoever_asks(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=2)
        yard.here("node1")
        one, other = job.run.hired[0], job.run.hired[1]
        assert not yard.crew.surplus(one)
        yard.grant(node1=1)
        assert yard.crew.surplus(one)
        one.leaving = True
        assert not yard.crew.surplus(other)
        yard.crew.limit = 0
        assert yard.crew.surplus(other)


def test_where_there_is_room_nobody_looks_at_each_host_until_the_next_step(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=2)
        yard.here("node1")
        with mock.patch.object(yard.crew, "counted", wraps=yard.crew.counted) as counted:
            for looks in (1, 2):
                yard.step()
                for number in (0, 1, 0):
                    assert not yard.crew.surplus(job.run.hired[number])
                assert counted.call_count == looks


def test_one_that_joined_by_hand_is_never_surplus(job: Job) -> None:
    yard = Yard(job, FakeExecutor())
    yard.crew.limit = 0
    assert not yard.crew.surplus(job.run.hire(7, "node9", 1, "", job.clock()))


# --- hosts that cannot be used ------------------------------------------------------------------------


def test_a_host_that_cannot_be_reached_says_why_and_is_tried_again_after_its_rest(job: Job) -> None:
    with FakeExecutor({"node1": "no route to node1"}) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        assert yard.crew.unreachable == {"node1": "no route to node1"}
        assert yard.crew.empty
        executor.unreachable.clear()
        yard.step()
        job.clock.passes(FIRST_REST_S)
        yard.step()
        keeper = yard.here("node1")
        assert keeper.orders["numbers"]
        assert not yard.crew.unreachable


def test_a_host_that_lost_its_slots_is_still_tried_without_processors(job: Job) -> None:
    with FakeExecutor({"node1": "down"}) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        executor.unreachable.clear()
        yard.crew.heed({}, {"node1": {"maxload": 9.0}}, 1)
        job.clock.passes(FIRST_REST_S)
        yard.step()
        assert executor.claim("node1").orders["numbers"] == []


def test_a_host_that_is_not_to_be_used_any_more_is_forgotten(job: Job) -> None:
    with FakeExecutor({"node1": "down"}) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        yard.crew.heed({}, {"node1": {"maxload": 0.0}}, 1)
        yard.step()
        assert not yard.crew.unreachable


@pytest.mark.parametrize("what", ["its line was edited", "people asked for all hosts"])
def test_a_resting_host_is_tried_at_once_when(what: str, job: Job) -> None:
    with FakeExecutor({"node1": "down"}) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        executor.unreachable.clear()
        if what == "its line was edited":
            yard.crew.heed({"node1": 1}, {"node1": {"maxload": 9.0, "port": "2222"}}, 1)
        else:
            yard.crew.heed({"node1": 1}, {"node1": {"maxload": 9.0}}, 2)
        yard.step()
        executor.claim("node1")


def test_a_start_that_fails_later_counts_the_same_and_one_that_is_here_cannot_fail_any_more(job: Job) -> None:
    with FakeExecutor(under_way=True) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1, node2=1)
        executor.claim("node1").fail("permission denied (publickey)")
        assert yard.crew.unreachable == {"node1": "permission denied (publickey)"}
        keeper = yard.here("node2")
        keeper.fail("the connection ended")
        assert "node2" not in yard.crew.unreachable
        assert yard.crew.counted() == {"node2": 1}


def test_a_keeper_that_was_started_and_never_heard_of_is_given_up(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        executor.claim("node1")
        job.clock.passes(START_S)
        yard.crew.silent(job.clock(), 60.0)
        assert yard.crew.counted() == {"node1": 1}
        job.clock.passes(1.0)
        yard.crew.silent(job.clock(), 60.0)
        assert yard.crew.empty
        assert "has not been heard of" in yard.crew.unreachable["node1"]


def test_of_a_keeper_that_is_dead_before_its_first_beat_whoever_started_it_says_why(job: Job) -> None:
    with FakeExecutor(under_way=True) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = executor.claim("node1")
        assert yard.beat(keeper.orders["keeper"], "node1", leaving=True) == [{"numbers": [], "noted": []}]
        yard.step()
        assert not yard.crew.empty, "no other is started meanwhile"
        keeper.fail("the keeper on node1 ended before it had begun (signal 9 (SIGKILL)): see its log")
        assert "SIGKILL" in yard.crew.unreachable["node1"]
        job.clock.passes(FIRST_REST_S)
        yard.step()
        assert yard.here("node1").orders["numbers"] == [1]
        assert not yard.crew.unreachable


def test_a_keeper_of_an_earlier_life_that_takes_leave_is_no_failure_of_its_host(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.beat("old", "node1", leaving=True)
        assert not yard.crew.unreachable
        yard.grant(node1=1)
        executor.claim("node1")


def test_a_job_is_not_stopped_by_one_host_while_processors_of_another_have_not_said_their_first_word(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=LEAVES, node2=1)
        yard.here("node1")
        keeper = executor.claim("node2").orders["keeper"]
        yard.beat(keeper, "node2")  # the keeper is there; its processor is being forked
        for _ in range(LEAVES):
            job.run.could_not_start("node1", "no licence", job.clock())
        assert job.run.stopping is None
        assert yard.crew.cut_off(job.clock()) == {
            "node1": f"resting: {LEAVES} processors left it without one task done there: no licence"
        }


def test_the_time_that_a_login_takes_does_not_count(job: Job) -> None:
    with FakeExecutor(under_way=True) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = executor.claim("node1")
        job.clock.passes(10 * START_S)
        yard.crew.silent(job.clock(), 60.0)
        assert yard.crew.counted() == {"node1": 1}
        keeper.started.under_way = False
        job.clock.passes(START_S + 1)
        yard.crew.silent(job.clock(), 60.0)
        assert yard.crew.empty


# --- what a beat says ---------------------------------------------------------------------------------


def test_a_beat_makes_processors_known_and_vouches_for_those_that_live(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        job.read("a", "b")
        yard.grant(node1=2)
        keeper = yard.here("node1").orders["keeper"]
        assert (job.run.hired[0].host, job.run.hired[0].pid, job.run.hired[0].log) == ("node1", 1000, "log0")
        assert yard.crew.loads() == {"node1": 0.5}
        job.block(0)
        job.block(1)
        job.clock.passes(59.0)
        message = [[0, 1000, 0, 40.0, "R", "log0"], [1, 1001, 1, 40.0, "T", "log1"]]
        yard.beat(keeper, "node1", processors=message)
        assert (job.run.hired[0].position, job.run.hired[0].since_s) == (0, job.clock() - 40.0)
        assert job.run.hired[1].frozen
        job.clock.passes(2.0)
        [lapsed] = job.run.lapse(job.clock())
        assert lapsed.holder == 1, "nobody vouches for one that stands still"


def test_one_that_stands_still_for_longer_than_its_lease_is_replaced(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        job.read("a", "b")
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        job.block(0)
        job.clock.passes(61.0)
        job.run.lapse(job.clock())
        heard = yard.beat(keeper, "node1", 0, state="T")
        yard.step()
        assert heard == [{"numbers": [0, 1], "noted": []}]


def test_an_exit_is_noted_at_once_and_what_it_held_is_free(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        job.read("a", "b")
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        job.block(0)
        heard = yard.beat(keeper, "node1", exits=[[0, 1000, "signal 9 (SIGKILL)", 0, ""]])
        assert heard[0]["noted"] == [0]
        assert job.run.ledger.leased == 0
        assert job.run.ledger.attempt(0) == 2, "the task it died in has an attempt less"
        assert yard.crew.take_gone() == [("node1", 1000)]
        again = yard.beat(keeper, "node1", exits=[[0, 1000, "signal 9 (SIGKILL)", 0, ""]])
        assert again[0]["noted"] == [0], "told twice, noted twice, counted once"
        assert job.run.ledger.attempt(0) == 2
        yard.step()
        assert yard.crew.counted() == {"node1": 1}, "another takes its place"


def test_one_that_ended_in_order_is_not_blamed_for_the_task_on_its_board(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        job.read("a")
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        job.block(0)
        yard.beat(keeper, "node1", exits=[[0, 1000, "exit status 0", 0, ""]])
        assert [header["kind"] for header, _ in job.of(Kind.FAILED)] == ["Interrupted"]
        assert (job.run.ledger.attempt(0), job.run.ledger.todo.total()) == (2, 1)


def test_processors_that_fail_outside_any_task_rest_their_host_and_stop_the_job(job: Job) -> None:
    assert FAST_FAILURES == LEAVES == 3
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=3)
        keeper = yard.here("node1").orders["keeper"]
        for number in range(3):
            yard.beat(keeper, "node1", exits=[[number, 1000 + number, "exit status 1", -1, ""]])
        rest = yard.crew.health.resting("node1", job.clock())
        assert rest is not None
        assert "outside any task; see its log" in rest.reason
        assert job.run.stopping is not None
        assert "processor 2 on node1 ended with exit status 1" in job.run.stopping


def test_the_first_fault_of_a_script_that_cannot_be_loaded_is_kept(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        yard.beat(keeper, "node1", fault="SyntaxError")
        yard.beat(keeper, "node1", fault="another")
        assert yard.crew.fault == "SyntaxError"


def test_a_host_where_the_script_cannot_be_loaded_is_given_up_while_others_work(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1, node2=1)
        bad, good = (yard.here(host).orders["keeper"] for host in ("node1", "node2"))
        lost = [[0, 1000, "lost with its zygote (exit status 1)", -1, ""]]
        fault = "the script could not be loaded (exit status 1): Traceback:\n  ...\nImportError: no licence\n"
        (told,) = yard.beat(bad, "node1", fault=fault, exits=lost)
        assert (told["end"], told["numbers"]) == (True, [])
        assert yard.crew.fault is None
        words = "the script could not be loaded there: ImportError: no licence; the keeper's log tells more"
        assert yard.crew.cut_off(job.clock()) == {"node1": words}
        yard.beat(bad, "node1", fault=fault, leaving=True)
        assert yard.crew.counted() == {"node2": 1}
        yard.crew.heed({"node2": 1}, {host: {"maxload": 9.0} for host in ("node1", "node2")}, 1)
        yard.step()
        job.clock.passes(FIRST_REST_S)
        yard.step()
        assert executor.claim("node1").orders["numbers"] == [], "it is tried again"
        yard.beat(good, "node2", fault=fault)
        assert yard.crew.fault == fault, "nobody else is left"


def test_a_beat_of_another_run_is_refused(job: Job) -> None:
    yard = Yard(job, FakeExecutor())
    with pytest.raises(UnknownRun, match="belongs to run yesterday"):
        yard.beat("k", "node1", run="yesterday")
    assert yard.crew.empty


# --- keepers that come and go -------------------------------------------------------------------------


def test_a_keeper_that_died_takes_its_processors_with_it_and_no_task_is_blamed(job: Job) -> None:
    with FakeExecutor(seen=True) as executor:
        yard = Yard(job, executor)
        job.read("a", "b")
        yard.grant(node1=2)
        keeper = yard.here("node1")
        job.block(0)
        executor.end(keeper.started.pidfd, "signal 9 (SIGKILL)")
        assert executor.swept == [1000, 1001]
        assert sorted(yard.crew.take_gone()) == [("node1", 1000), ("node1", 1001)]
        assert job.run.ledger.todo.total() == 2
        assert [header["kind"] for header, _ in job.of(Kind.FAILED)] == ["Interrupted"]
        yard.step()
        assert executor.claim("node1").orders["numbers"] == [2, 3], "a number is never used twice"


def test_a_keeper_that_ends_before_its_first_word_rests_its_host_at_the_third_time(job: Job) -> None:
    with FakeExecutor(seen=True) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        for _ in range(FAST_FAILURES):
            executor.end(executor.claim("node1").started.pidfd, "exit status 1")
            yard.step()
        rest = yard.crew.health.resting("node1", job.clock())
        assert rest is not None
        assert rest.reason == "its keeper ended at once with exit status 1"
        assert yard.crew.cut_off(job.clock()) == {"node1": rest.reason}


def test_a_keeper_on_another_machine_that_is_silent_for_a_lease_is_given_up(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        job.read("a")
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        parked = yard.beat(keeper, "node1", 0)
        job.block(0)
        job.clock.passes(61.0)
        yard.crew.silent(job.clock(), 60.0)
        assert yard.crew.empty
        assert len(parked) == 1, "no later answer on its connection waits behind this one"
        assert (yard.crew.take_gone(), job.run.ledger.todo.total()) == ([("node1", 1000)], 1)
        yard.beat(keeper, "node1", 0)
        assert yard.crew.counted() == {"node1": 1}, "it is back, and its processor with it"
        assert job.run.hired[0].host == "node1"


def test_a_coordinator_that_slept_gives_nobody_up(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        yard.here("node1")
        job.clock.passes(1000.0)
        yard.crew.renew_all(job.clock())
        yard.crew.silent(job.clock(), 60.0)
        assert yard.crew.counted() == {"node1": 1}


def test_a_keeper_of_the_last_life_returns_with_its_processors(job: Job) -> None:
    yard = Yard(job, FakeExecutor())
    changes: list[int] = []
    yard.crew.changed = lambda: changes.append(1)
    heard = yard.beat("old", "node1", 4, 5)
    assert heard == [{"numbers": [4, 5], "noted": []}]
    assert sorted(job.run.hired) == [4, 5]
    assert changes
    assert job.run.new_number() == 6


def test_a_keeper_that_returns_on_this_machine_is_watched_like_any_other(job: Job) -> None:
    watched: list[int] = []
    yard = Yard(job, FakeExecutor())
    yard.crew = Crew(job.run, yard.executor, ORDERS, lambda pidfd, _: watched.append(pidfd), lambda deed: deed())
    yard.beat("old", "localhost", 4, pid=os.getpid())
    assert len(watched) == 1
    os.close(watched[0])


def test_what_ended_while_no_coordinator_was_there_gives_its_tasks_back(job: Job) -> None:
    job.read("a")
    job.block(4)
    job.again()
    yard = Yard(job, FakeExecutor())
    yard.beat("old", "node1", exits=[[4, 1004, "signal 9 (SIGKILL)", 0, ""]])
    assert job.run.ledger.leased == 0
    assert job.run.ledger.attempt(0) == 2


# --- the end ------------------------------------------------------------------------------------------


def test_at_the_end_every_keeper_is_told(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = yard.here("node1").orders["keeper"]
        heard = yard.beat(keeper, "node1", 0)
        yard.crew.ending = True
        yard.step(0)
        assert heard == [{"numbers": [0], "noted": [], "end": True}]
        [answer] = yard.beat(keeper, "node1", leaving=True)
        assert answer == {"numbers": [], "noted": []}
        assert yard.crew.empty


def test_a_start_under_way_is_given_up_when_the_job_stops(job: Job) -> None:
    with FakeExecutor(under_way=True) as executor:
        yard = Yard(job, executor)
        yard.grant(node1=1)
        keeper = executor.claim("node1")
        job.run.stopping = "enough"
        yard.step()
        assert executor.abandoned == [keeper.started]


def test_who_is_to_be_killed_is_named_with_the_cause(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        yard.grant(node1=2)
        keeper = yard.here("node1").orders["keeper"]
        heard = yard.beat(keeper, "node1", 0, 1)
        yard.crew.kill_all("interrupted")
        assert heard == [{"numbers": [0, 1], "noted": [], "kill": [0, 1], "cause": "interrupted"}]


def test_a_host_where_all_fails_is_left_and_given_back_until_its_rest_is_over(job: Job) -> None:
    with FakeExecutor() as executor:
        yard = Yard(job, executor)
        job.read("a", "b")
        yard.grant(node1=1, node2=1)
        first, _ = yard.here("node1"), yard.here("node2")
        yard.crew.rest("node1", "all failed")
        hired = job.run.hired[first.orders["numbers"][0]]
        assert yard.crew.surplus(hired), "whoever works there leaves"
        assert yard.crew.cut_off(job.clock()) == {"node1": "resting: all failed"}
        yard.crew.health.failed("node2", job.clock(), 0.0, "a processor could not start")
        assert "node2" not in yard.crew.cut_off(job.clock())
        job.clock.passes(FIRST_REST_S)
        yard.step()
        assert yard.crew.cut_off(job.clock()) == {}
        assert not yard.crew.surplus(hired)


def test_a_host_waits_for_its_scheduler_only_while_no_keeper_is_there(job: Job) -> None:
    with FakeExecutor(seen=True, under_way=True) as executor:
        yard = Yard(job, executor)
        yard.grant(slurm1=1, slurm2=1)
        first, second = executor.claim("slurm1"), executor.claim("slurm2")
        first.started.waits = second.started.waits = "in the queue"
        assert yard.crew.waits() == {"slurm1": "in the queue", "slurm2": "in the queue"}
        yard.beat(first.orders["keeper"], "slurm1", *first.orders["numbers"])
        assert yard.crew.waits() == {"slurm2": "in the queue"}
        yard.beat(first.orders["keeper"], "slurm1", *first.orders["numbers"], retiring=True)
        yard.step()
        executor.claim("slurm1").started.waits = "in the queue"  # its successor
        assert yard.crew.waits() == {"slurm2": "in the queue"}
