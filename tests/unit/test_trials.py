"""Hosts on trial: when all fails at once on one host, is it the host or are it the tasks?"""

from __future__ import annotations

import math
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import exchange
from coordinator.core.exchange import LeaseReport
from coordinator.core.records import Kind
from coordinator.core.trials import AT_ONCE_S, IN_A_ROW, LEAVES, SHOWN_S, Judgement, Trials
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
    assert trials.room("bad", {"good"}, 0) == IN_A_ROW
    failing(trials, "bad", first=100)
    assert trials.judge("bad", {"good"}) is Judgement.AT_FAULT


@given(slots=st.integers(1, 64), choices=st.data())
def test_a_host_on_trial_gets_no_more_than_it_takes_to_judge_it(slots: int, choices: st.DataObject) -> None:
    trials = Trials()
    trials.succeeded("good")
    given = failed = 0
    while trials.judge("bad", {"good"}) is not Judgement.AT_FAULT:
        held = given - failed
        room = trials.room("bad", {"good"}, held)
        assert room is not None
        ask = min(room, slots - held)
        if ask > 0 and (held == 0 or choices.draw(st.booleans())):
            given += choices.draw(st.integers(1, ask))
        else:
            trials.failed("bad", failed, 0.001)
            failed += 1
    assert given == failed == IN_A_ROW


@given(slots=st.integers(1, 1000))
def test_tasks_that_take_their_time_fill_a_host_by_doubling(slots: int) -> None:
    trials = Trials()
    old = spans = 0
    while old < slots:
        room = trials.room("slow", {"other"}, 0, old)
        assert room is not None
        assert trials.room("slow", {"other"}, room, old) == 0, "those are to grow old first"
        old += min(room, slots - old)
        spans += 1
    assert spans <= 1 + math.ceil(math.log2(max(1.0, slots / IN_A_ROW)))


def test_an_old_task_there_takes_no_room_from_those_that_judge_a_host() -> None:
    trials = failing(Trials(), "mixed", count=2)
    assert trials.room("mixed", {"good"}, 1, 40) == IN_A_ROW - 3


def test_a_host_in_doubt_rests_and_then_tries_one_task_at_a_time() -> None:
    trials = failing(Trials(), "bad")
    assert trials.rest("bad")
    assert not trials.rest("bad"), "it was told so"
    assert trials.room("bad", {"slow"}, 0) == 0
    trials.again("bad")
    assert trials.room("bad", {"slow"}, 0) == 1
    assert trials.room("bad", {"slow"}, 1) == 0
    assert trials.room("bad", {"slow"}, 0, 1) == 1, "that one did not fail at once"
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
    failed = [(position, error) for position in range(answer.start, answer.start + answer.count)]
    report = LeaseReport(answer.lease, [], failed)
    job.says(number, [answer.lease], reports=[report], worked=(len(failed), 0.001 * len(failed)))
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


def test_a_host_with_many_processors_begins_more_tasks_when_the_first_did_not_fail_at_once(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read(*range(100))
    assert job.says(99, want=True, idle=True) is not None
    job.hosts = {number: "big" for number in range(16)}
    for number in job.hosts:
        job.says(number, want=True, idle=True)
    begun = []
    for _ in range(4):
        job.run.serve_waiting(job.clock())
        begun.append(sum(1 for number in job.hosts if job.run.ledger.held_by(number)))
        job.clock.passes(SHOWN_S)
    assert begun == [5, 10, 16, 16]


def test_a_success_opens_a_host_whatever_else_runs_there(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read(*range(100))
    assert job.says(99, want=True, idle=True) is not None
    job.hosts = {number: "big" for number in range(16)}
    answers = [job.says(number, want=True, idle=True) for number in job.hosts]
    first = answers[0]
    assert first is not None
    assert answers[IN_A_ROW:] == [None] * (16 - IN_A_ROW)
    job.says(0, [first.lease], reports=[LeaseReport(first.lease, [first.start, first.start + 1])], worked=(1, 0.3))
    job.run.serve_waiting(job.clock())
    assert all(job.run.ledger.held_by(number) for number in job.hosts if number > 0)


def test_tasks_that_fail_everywhere_fail_for_good(tmp_path: Path) -> None:
    job = Job(tmp_path)
    rests: list[str] = []
    job.run.host_trials.rests = lambda host, words: rests.append(host)
    job.read(*range(40))
    numbers = cycle((1, 2))
    while job.run.ledger.failed < 40:
        assert fails_at_once(job, next(numbers)) == "failed"
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


@pytest.mark.parametrize("most", [1, 5])
def test_how_many_may_leave_without_a_task_done_is_the_jobs_to_say(tmp_path: Path, most: int) -> None:
    job = Job(tmp_path)
    job.run.host_trials.leaves = most
    rests: list[str] = []
    job.run.host_trials.rests = lambda host, words: rests.append(words)
    job.read("a", "b")
    job.hosts = {**dict.fromkeys(range(most), "bad"), 9: "good"}
    assert job.says(9, want=True, idle=True) is not None
    for number in range(most):
        assert rests == []
        job.says(number)
        leaves(job, number)
    who = "a processor" if most == 1 else f"{most} processors"
    assert rests == [f"{who} left it without one task done there: OSError: no disk"]
    assert job.run.stopping is None
    leaves(job, 9)
    assert job.run.stopping is not None
