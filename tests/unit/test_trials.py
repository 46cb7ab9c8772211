"""Hosts on trial: when all fails at once on one host, is it the host or are it the tasks?"""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core import exchange
from coordinator.core.exchange import LeaseReport
from coordinator.core.records import Kind
from coordinator.core.trials import AT_ONCE_S, IN_A_ROW, Judgement, Trials
from coordinator.hosttrials import LEAVES
from tests.unit.jobs import Job


def failing(trials: Trials, host: str, first: int = 0, count: int = IN_A_ROW, took_s: float = 0.001) -> Trials:
    for position in range(first, first + count):
        trials.failed(host, position, took_s)
    return trials


def test_a_host_is_at_fault_when_all_fails_there_at_once_and_another_does_better() -> None:
    trials = failing(Trials(), "bad")
    trials.succeeded("good")
    assert trials.judge("bad", {"good"}) is Judgement.AT_FAULT
    assert trials.judge("good", {"bad"}) is Judgement.FINE


def test_nobody_can_tell_before_another_host_has_done_or_failed_as_much() -> None:
    trials = failing(Trials(), "bad")
    assert trials.judge("bad", {"slow"}) is Judgement.DOUBTFUL
    assert trials.room("bad", {"slow"}, 0) == 0
    failing(trials, "slow", first=50, count=1)
    assert trials.judge("bad", {"slow"}) is Judgement.FINE, "it are the tasks"
    assert trials.room("bad", {"slow"}, 0) is None


def test_a_host_alone_is_never_at_fault() -> None:
    trials = failing(Trials(), "only")
    assert trials.judge("only", set()) is Judgement.FINE
    assert trials.room("only", set(), 100) is None


def test_one_success_ends_the_row() -> None:
    trials = failing(Trials(), "bad", count=IN_A_ROW - 1)
    trials.succeeded("bad")
    trials.succeeded("good")
    failing(trials, "bad", first=20, count=1)
    assert trials.judge("bad", {"good"}) is Judgement.FINE


def test_a_task_that_takes_its_time_to_fail_says_nothing_about_its_host() -> None:
    trials = failing(Trials(), "bad", took_s=AT_ONCE_S)
    trials.succeeded("good")
    assert trials.judge("bad", {"good"}) is Judgement.FINE


def test_what_failed_on_two_hosts_is_the_tasks_own_fault() -> None:
    trials = failing(Trials(), "one")
    trials.succeeded("two")
    trials.succeeded("three")
    assert trials.blame("one") == list(range(IN_A_ROW))
    failing(trials, "two")
    assert trials.judge("two", {"three"}) is Judgement.FINE
    assert trials.proven("two")


def test_a_host_that_was_at_fault_is_on_trial_again() -> None:
    trials = failing(Trials(), "bad")
    trials.succeeded("good")
    trials.blame("bad")
    assert trials.room("bad", {"good"}, 0) == 1
    failing(trials, "bad", first=100)
    assert trials.judge("bad", {"good"}) is Judgement.AT_FAULT


@pytest.mark.parametrize("slots", [1, 2, 5, 16])
def test_a_host_on_trial_gets_no_more_than_it_takes_to_judge_it(slots: int) -> None:
    trials = Trials()
    trials.succeeded("good")
    given = begun = 0
    held = [False] * slots
    while trials.judge("bad", {"good"}) is not Judgement.AT_FAULT:
        for slot in range(slots):
            room = trials.room("bad", {"good"}, sum(held))
            if not held[slot] and room:
                held[slot] = True
                given += 1
        slot = held.index(True)
        held[slot] = False
        trials.failed("bad", begun, 0.001)
        begun += 1
    assert given <= max(IN_A_ROW, slots)


def test_a_host_in_doubt_rests_and_then_tries_one_task_at_a_time() -> None:
    trials = failing(Trials(), "bad")
    assert trials.rest("bad")
    assert not trials.rest("bad"), "it was told so"
    assert trials.room("bad", {"slow"}, 0) == 0
    trials.again("bad")
    assert trials.room("bad", {"slow"}, 0) == 1
    assert trials.room("bad", {"slow"}, 1) == 0
    assert not trials.rest("bad"), "its one task is not over"
    trials.failed("bad", 90, 0.001)
    assert trials.rest("bad")
    trials.again("bad")
    trials.succeeded("bad")
    assert trials.proven("bad")
    assert trials.room("bad", {"slow"}, 7) is None


# --- in a run -----------------------------------------------------------------------------------------------


def fails_at_once(job: Job, number: int) -> str:
    """Processor ``number`` asks, idle, and fails what it is given; the state of the answer."""
    answer = job.says(number, want=True, idle=True)
    if answer is None or answer.state != exchange.WORK:
        return "waits" if answer is None else answer.state
    error = {"kind": "OSError", "message": "no disk", "traceback": "", "where": ""}
    job.says(
        number, [answer.lease], reports=[LeaseReport(answer.lease, [], [(answer.start, error)])], worked=(1, 0.001)
    )
    return "failed"


def test_the_tasks_of_a_host_at_fault_are_done_elsewhere(tmp_path: Path) -> None:
    job = Job(tmp_path)
    rests: list[tuple[str, str]] = []
    job.run.host_trials.rests = lambda host, words: rests.append((host, words))
    job.read(*"abcdefghij")
    job.run.end_stream(None)
    slow = job.says(1, want=True, idle=True)
    assert slow is not None
    assert [fails_at_once(job, 2) for _ in range(IN_A_ROW)] == ["failed"] * IN_A_ROW
    assert fails_at_once(job, 2) == "waits"
    assert job.run.ledger.failed == IN_A_ROW
    assert [words for _, words in rests] == [
        "5 tasks in a row failed there at once, and no other host has done one yet"
    ]
    rests.clear()
    job.says(1, [slow.lease], reports=[LeaseReport(slow.lease, [slow.start, slow.start + 1])], worked=(1, 5.0))
    [(host, words)] = rests
    assert host == "host2"
    assert "5 tasks in a row failed there at once while other hosts did theirs" in words
    assert (job.run.ledger.done, job.run.ledger.failed) == (1, 0)
    assert [header for header, _ in job.of(Kind.REDO)] == [{"r": [[p, p + 1] for p in range(1, 6)]}]
    assert job.run.ledger.todo.total() == 9


def test_tasks_that_fail_everywhere_fail_for_good(tmp_path: Path) -> None:
    job = Job(tmp_path)
    rests: list[str] = []
    job.run.host_trials.rests = lambda host, words: rests.append(host)
    job.read(*range(40))
    for number in (1, 2) * 20:
        assert fails_at_once(job, number) == "failed"
    assert (job.run.ledger.failed, rests) == (40, [])


def leaves(job: Job, number: int) -> None:
    job.says(number, bye="run_all initialization error", setup_error={"kind": "OSError", "message": "no disk"})
    job.run.depart(number, "exit status 0", None, job.clock())


def test_a_host_where_no_processor_can_begin_rests_while_others_work(tmp_path: Path) -> None:
    job = Job(tmp_path)
    rests: list[str] = []
    job.run.host_trials.rests = lambda host, words: rests.append(f"{host}: {words}")
    job.read("a", "b")
    assert job.says(9, want=True, idle=True) is not None
    job.run.hired[9].host = "good"
    for number in range(LEAVES):
        job.says(number)
        job.run.hired[number].host = "bad"
        leaves(job, number)
    assert rests == ["bad: 3 processors left it without one task done there: OSError: no disk"]
    assert job.run.stopping is None
    job.says(9, bye="run_all initialization error", setup_error={"kind": "OSError", "message": "no disk"})
    assert job.run.stopping == (
        "4 processors left one after another without one task done between them: OSError: no disk"
    )
