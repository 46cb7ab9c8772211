"""One run: a real journal, a clock of the test's, and what a Coordinator decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator import history
from coordinator.core import blocks, exchange, ids
from coordinator.core.exchange import LeaseReport, Request
from coordinator.core.leases import CLASSIC_TERM_S, LIFE_STRIDE
from coordinator.core.records import Kind
from coordinator.core.trials import LEAVES
from coordinator.errors import BadParameters, BadRequest, UnknownProcessor, UnknownRun
from coordinator.hired import NOT_HEARD_OF, WITH_ZYGOTE
from coordinator.run import EXCUSED, NUMBERS_STRIDE
from tests.unit.jobs import Job

ERROR = {"kind": "ValueError", "message": "no", "traceback": "Traceback: no", "where": "job.py:3 in f", "at": 7.0}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


# --- the exchange -------------------------------------------------------------------------------------


def test_a_call_that_arrives_twice_gets_the_same_answer_and_counts_once(job: Job) -> None:
    job.read("a", "b")
    block = job.block(0)
    said = Request("r1", 0, "i", 2, [block.lease], [LeaseReport(block.lease, [0, 1])], want=True)
    first = job.run.exchange(said, job.clock())
    assert first is not None
    assert (first.state, first.start) == (exchange.WORK, 1)
    assert job.run.exchange(said, job.clock()) == first
    assert (job.run.ledger.done, job.run.ledger.late, len(job.of(Kind.LEASE))) == (1, 0, 2)


def test_a_call_older_than_the_last_is_refused(job: Job) -> None:
    job.read("a")
    job.block(0)
    job.says(0)
    with pytest.raises(BadRequest, match="call 1 after call 2"):
        job.run.exchange(Request("r1", 0, "i", 1, []), job.clock())


def test_a_processor_of_another_run_is_sent_away(job: Job) -> None:
    with pytest.raises(UnknownRun, match="the call is for run yesterday"):
        job.run.exchange(Request("yesterday", 0, "i", 1, []), job.clock())


def test_who_is_not_known_is_asked_for_its_name_and_then_served_under_the_same_number(job: Job) -> None:
    job.read("a")
    asked = Request("r1", 5, "i", 9, [], want=True)
    answer = job.run.exchange(asked, job.clock())
    assert answer is not None
    assert (answer.seq, answer.state) == (9, exchange.WHO)
    asked.who = {"host": "h", "pid": 1, "log": "l", "kept": False}
    answer = job.run.exchange(asked, job.clock())
    assert answer is not None
    assert (answer.seq, answer.state, answer.ids) == (9, exchange.WORK, '["a"]')


def test_ids_travel_as_canonical_texts_and_consecutive_integers_as_their_first(job: Job) -> None:
    job.read("x<y", (1, 2))
    assert job.block(0, size=2).ids == '["x\\u003cy",{"$tuple":[1,2]}]'
    job.run.extend(1000, ids.integers_digest(41, 1000), 41, "")
    answer = job.block(1, size=100)
    assert (answer.first, answer.count, answer.ids) == (41, 100, "")


def test_a_block_of_long_ids_stops_where_a_message_would_be_too_long(job: Job) -> None:
    job.read(*("x" * 200_000 + str(n) for n in range(20)))
    answer = job.block(0, size=10)
    assert 1 <= answer.count < 10
    assert len(answer.ids) < blocks.MOST_BYTES
    assert job.of(Kind.LEASE)[-1][0]["b"] == answer.count
    assert job.run.ledger.todo.total() == 20 - answer.count
    job.read("y" * 900_000)
    assert job.block(1).count == 1


def test_the_lease_is_in_the_journal_before_the_answer_can_leave(job: Job) -> None:
    job.read("a", "b", "c")
    answer = job.block(3)
    header, _ = job.of(Kind.LEASE)[-1]
    assert header == {"n": answer.lease, "p": 3, "a": answer.start, "b": answer.start + answer.count}


def test_only_what_was_settled_needs_a_sync(job: Job) -> None:
    job.read("a")
    block = job.block(0)
    assert not job.run.accepted
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [0, 1])])
    assert job.run.accepted


def test_an_idle_processor_waits_and_is_served_when_there_is_something(job: Job) -> None:
    assert job.says(0, want=True, idle=True) is None
    assert job.run.serve_waiting(job.clock()) == []
    job.read("a")
    [(number, answer)] = job.run.serve_waiting(job.clock())
    assert (number, answer.seq, answer.state) == (0, 1, exchange.WORK)
    assert job.run.serve_waiting(job.clock()) == []
    # The same call, sent again because the answer was lost, finds it.
    assert job.run.exchange(Request("r1", 0, "i", 1, [], want=True, idle=True), job.clock()) == answer


def test_one_that_is_not_idle_is_told_at_once_that_there_is_nothing(job: Job) -> None:
    answer = job.says(0, want=True)
    assert answer is not None
    assert answer.state == exchange.NOTHING


def test_all_who_wait_are_told_when_the_last_task_is_done(job: Job) -> None:
    job.read("a")
    block = job.block(0)
    job.run.end_stream(None)
    assert job.says(1, want=True, idle=True) is None
    assert job.says(0, [block.lease], reports=[LeaseReport(block.lease, [0, 1])]) is not None
    [(number, answer)] = job.run.serve_waiting(job.clock())
    assert (number, answer.state) == (1, exchange.END)


def test_the_busy_are_asked_once_for_what_the_idle_could_do(job: Job) -> None:
    job.read(*"abcdefgh")
    rich = job.block(0, size=8)
    job.run.ask_back()
    assert not job.run.hired[0].give, "nobody waits"
    assert job.says(1, want=True, idle=True) is None
    job.run.ask_back()
    answer = job.says(0, [rich.lease])
    assert answer is not None
    assert answer.give
    answer = job.says(0, [rich.lease], returned=[(rich.lease, 4, 8)])
    assert answer is not None
    assert not answer.give
    [(number, served)] = job.run.serve_waiting(job.clock())
    assert (number, served.start) == (1, 4)


def test_nobody_is_asked_to_give_back_while_there_is_work(job: Job) -> None:
    job.read(*"abcd")
    job.block(0, size=4)
    assert job.says(1, want=True, idle=True) is None
    job.read("e")
    job.run.ask_back()
    assert not job.run.hired[0].give


def test_leases_that_are_not_ones_own_are_dropped_and_what_one_does_not_name_is_free(job: Job) -> None:
    job.read("a", "b")
    block = job.block(0)
    answer = job.says(0, [block.lease, 999])
    assert answer is not None
    assert answer.drop == [999]
    job.says(0, [])
    assert job.run.ledger.todo.total() == 2


def test_one_who_must_drop_something_is_not_kept_waiting_for_the_word(job: Job) -> None:
    answer = job.says(0, [999], want=True, idle=True)
    assert answer is not None
    assert (answer.state, answer.drop) == (exchange.NOTHING, [999])


@pytest.mark.parametrize("report", [LeaseReport(0, [0, 2]), LeaseReport(0, [], [(1, ERROR)]), LeaseReport(0, [5, 9])])
def test_a_report_of_what_was_not_given_is_an_error(job: Job, report: LeaseReport) -> None:
    job.read("a", "b")
    report.lease = job.block(0).lease
    with pytest.raises(BadParameters, match="not of its lease"):
        job.says(0, [report.lease], reports=[report])


def test_a_report_under_anothers_lease_is_an_error(job: Job) -> None:
    job.read("a", "b")
    block = job.block(0)
    with pytest.raises(BadParameters, match="processor 1 reported"):
        job.says(1, reports=[LeaseReport(block.lease, [0, 1])])


# --- results and errors -------------------------------------------------------------------------------


def test_results_of_tasks_that_others_have_by_now_are_left_out(job: Job) -> None:
    job.read(*"abcdefgh")
    late = job.block(0, size=4)
    job.clock.passes(100.0)
    job.run.lapse(job.clock())
    job.block(1)  # takes the first of them
    results = [f"{p}\t{p * 10}" for p in range(4)]
    job.says(0, [late.lease], reports=[LeaseReport(late.lease, [0, 4], [], results)])
    job.journal.commit(True)
    assert list(history.results(job.directory)) == [("b", 10), ("c", 20), ("d", 30)]
    assert job.run.ledger.late == 1


def test_a_failed_attempt_is_journalled_with_its_words_and_tried_again_when_due(tmp_path: Path) -> None:
    job = Job(tmp_path, retries=1, backoff_s=5.0)
    job.read("a")
    told: list[tuple[int, int, bool]] = []
    job.run.attempts.on_failure = lambda position, attempt, final, *_: told.append((position, attempt, final))
    block = job.block(0)
    assert not block.attempts
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [], [(0, ERROR)])])
    assert job.says(0, want=True, idle=True) is None
    job.clock.passes(5.0)
    [(_, answer)] = job.run.serve_waiting(job.clock())
    assert answer.attempts == {0: 2}
    job.says(0, [answer.lease], reports=[LeaseReport(answer.lease, [], [(0, ERROR)])])
    assert told == [(0, 1, False), (0, 2, True)]
    headers = [header for header, _ in job.of(Kind.FAILED)]
    assert [(h["attempt"], h["final"], h["kind"], h["host"], h["pid"]) for h in headers] == [
        (1, False, "ValueError", "host0", 1000),
        (2, True, "ValueError", "host0", 1000),
    ]
    assert job.run.attempts.last_error == "Traceback: no"


def test_a_task_that_kills_its_processors_is_given_up_with_the_reason(tmp_path: Path) -> None:
    job = Job(tmp_path, deaths=2)
    job.read("a", "b", "c", "d")
    job.block(0, size=2)
    job.run.depart(0, "signal 9 (SIGKILL)", 0, job.clock())
    assert job.run.ledger.leased == 0, "what it held goes to others at once"
    job.block(1, size=2)
    job.run.depart(1, "signal 9 (SIGKILL)", 0, job.clock())
    assert (job.run.ledger.failed, job.run.ledger.todo.total()) == (1, 3)
    first, last = (header for header, _ in job.of(Kind.FAILED))
    assert (first["kind"], first["final"]) == ("ProcessorDied", False)
    assert last["final"]
    assert last["message"] == (
        "its processor 1 on host1 ended with signal 9 (SIGKILL), the last of 2: the task is given up"
    )


def test_the_end_of_a_zygote_is_blamed_on_no_task_unless_it_happens_to_it_again_and_again(job: Job) -> None:
    job.read("a", "b")
    how = f"{WITH_ZYGOTE} (signal 9 (SIGKILL))"
    for number in range(EXCUSED + 3):
        assert job.run.ledger.failed == 0
        job.block(number, size=2)
        job.run.depart(number, how, 0, job.clock())
        job.clock.passes(job.policy.elsewhere_s)
    kinds = [header["kind"] for header, _ in job.of(Kind.FAILED)]
    assert kinds == ["Interrupted"] * EXCUSED + ["ProcessorDied"] * 3
    assert interrupted(job)[0] == (0, 1, f"its processor 0 on host0 was lost: {how}")
    assert (job.run.ledger.failed, job.run.ledger.todo.total()) == (1, 1), "the other one was never begun"
    assert job.run.ledger.attempt(1) == 1


def test_a_processor_that_ends_between_two_tasks_interrupts_none_of_them(job: Job) -> None:
    job.read("a", "b")
    first = job.block(0)
    job.block(0, [first.lease])
    job.says(0, [first.lease, first.lease + 1], reports=[LeaseReport(first.lease, [0, 1])])
    job.run.depart(0, f"{WITH_ZYGOTE} (signal 9 (SIGKILL))", 0, job.clock())
    assert job.of(Kind.FAILED) == []
    assert (job.run.ledger.attempt(1), job.run.ledger.todo.total()) == (1, 1)


def test_where_processors_died_with_a_task_is_known_after_a_restart(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read("a")
    job.block(0)
    job.run.depart(0, "signal 9 (SIGKILL)", 0, job.clock())
    job.again()
    assert (job.run.ledger.shuns, job.run.ledger.waiting) == (True, 1)
    job.hosts = {1: "host0", 2: "host2"}
    assert job.says(2, want=False) is not None, "another host works"
    assert job.says(1, want=True, idle=True) is None, "not there again"
    answer = job.says(2, want=True, idle=True)
    assert answer is not None
    assert (answer.state, answer.attempts) == (exchange.WORK, {0: 2})


def test_a_task_over_its_time_limit_fails_and_only_it(job: Job) -> None:
    job.read("a", "b", "c", "d")
    job.block(0, size=2)
    job.run.depart(0, "signal 9 (SIGKILL)", 1, job.clock(), "time limit")
    [(header, _)] = job.of(Kind.FAILED)
    assert (header["pos"], header["kind"], header["final"]) == (1, "TaskTimeLimit", True)
    assert (job.run.ledger.failed, job.run.ledger.todo.total()) == (1, 3)


def test_a_task_whose_processor_was_ended_by_order_is_not_blamed(job: Job) -> None:
    job.read("a")
    job.block(0)
    job.run.depart(0, "signal 9 (SIGKILL)", 0, job.clock(), "stopped")
    assert interrupted(job) == [(0, 1, "its processor 0 on host0 was lost: stopped")]
    assert not job.run.ledger.shuns
    assert job.run.ledger.attempt(0) == 2


def test_what_is_still_on_the_wire_of_a_dead_processor_gets_no_tasks(job: Job) -> None:
    job.read("a", "b")
    job.block(0)
    job.run.depart(0, "exit status 1", None, job.clock())
    answer = job.says(0, want=True)
    assert answer is not None
    assert answer.state in (exchange.STOP, exchange.WHO)
    assert job.run.ledger.todo.total() == 2


# --- leaving ------------------------------------------------------------------------------------------


def test_a_goodbye_frees_what_was_held(job: Job) -> None:
    job.read("a", "b")
    block = job.block(0)
    answer = job.says(0, [block.lease], bye="run_all done")
    assert answer is not None
    assert answer.state == exchange.END
    assert job.run.ledger.todo.total() == 2


def trouble(job: Job, number: int) -> None:
    job.says(number, bye="run_all too many errors (10 in a row)")


def test_the_job_stops_when_processors_leave_one_after_another_without_a_success(job: Job) -> None:
    job.read("a", "b")
    for number in range(LEAVES - 1):
        trouble(job, number)
    assert job.run.stopping is None
    trouble(job, LEAVES)
    assert job.run.stopping is not None
    assert "too many errors" in job.run.stopping
    answer = job.says(10, want=True)
    assert answer is not None
    assert (answer.state, answer.reason) == (exchange.STOP, job.run.stopping)


def test_one_success_between_them_and_the_count_begins_anew(job: Job) -> None:
    job.read("a", "b")
    for number in range(LEAVES - 1):
        trouble(job, number)
    block = job.block(5)
    job.says(5, [block.lease], reports=[LeaseReport(block.lease, [0, 1])])
    trouble(job, 6)
    assert job.run.stopping is None


def test_processors_that_cannot_start_their_function_stop_the_job_with_its_words(job: Job) -> None:
    for number in range(LEAVES):
        job.says(number, bye="run_all initialization error", setup_error={**ERROR, "message": "no such table"})
    assert job.run.stopping is not None
    assert job.run.stopping.endswith("ValueError: no such table")
    assert job.run.reason == job.run.stopping


def test_one_too_many_on_a_host_is_told_to_leave_when_it_asks(job: Job) -> None:
    job.read("a")
    job.run.surplus = lambda hired: hired.number == 0
    answer = job.says(0, want=True)
    assert answer is not None
    assert answer.state == exchange.STOP
    job.block(1)


# --- life after life ----------------------------------------------------------------------------------


def test_a_restarted_coordinator_believes_the_leases_of_its_last_life(job: Job) -> None:
    job.read(*"abcdefgh")
    block = job.block(0, size=4)
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [0, 1])])
    job.again()
    assert (job.done_before, job.run.ledger.todo.total(), job.run.ledger.leased) == (1, 4, 3)
    job.seqs.clear()
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [0, 4])])
    assert (job.run.ledger.done, job.run.ledger.late) == (4, 1)


def test_a_lease_of_the_last_life_lapses_if_its_holder_does_not_come_back(job: Job) -> None:
    job.read("a")
    job.block(0)
    job.again()
    job.clock.passes(60.5)
    [lapsed] = job.run.lapse(job.clock())
    assert lapsed.holder == 0
    assert job.run.ledger.todo.total() == 1


def test_a_new_run_takes_no_lease_over(job: Job) -> None:
    job.read("a", "b")
    block = job.block(0)
    job.again(same_run=False)
    assert job.run.ledger.todo.total() == 2
    job.seqs.clear()
    job.says(0, reports=[LeaseReport(block.lease, [0, 1])])
    assert (job.run.ledger.done, job.run.ledger.late) == (0, 1)


def test_a_restart_tries_the_failed_tasks_again_and_says_so_in_the_journal(job: Job) -> None:
    job.read("a", "b")
    block = job.block(0)
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [], [(0, ERROR)])])
    assert job.run.ledger.failed == 1
    job.again(same_run=False)
    assert [header for header, _ in job.of(Kind.REDO)] == [{"r": [[0, 1]]}]
    assert (job.run.ledger.failed, job.run.ledger.todo.total()) == (0, 2)


def test_attempts_are_counted_over_lives_of_a_run(tmp_path: Path) -> None:
    job = Job(tmp_path, retries=1, backoff_s=0.0)
    job.read("a")
    block = job.block(0)
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [], [(0, ERROR)])])
    job.again()
    job.seqs.clear()
    answer = job.block(0)
    assert answer.attempts == {0: 2}
    job.says(0, [answer.lease], reports=[LeaseReport(answer.lease, [], [(0, ERROR)])])
    assert job.run.ledger.failed == 1


def test_lease_numbers_of_lives_never_meet(job: Job) -> None:
    job.read("a", "b")
    first = job.block(0).lease
    job.again()
    job.seqs.clear()
    second = job.block(1).lease
    assert second // LIFE_STRIDE == first // LIFE_STRIDE + 1


def test_a_processors_number_is_reserved_in_the_journal_before_it_is_used(job: Job) -> None:
    numbers = [job.run.new_number() for _ in range(NUMBERS_STRIDE + 1)]
    assert numbers == list(range(NUMBERS_STRIDE + 1))
    assert [header["upto"] for header, _ in job.of(Kind.NUMBERS)] == [NUMBERS_STRIDE, 2 * NUMBERS_STRIDE]
    job.again()
    assert job.run.new_number() == 2 * NUMBERS_STRIDE, "never a number twice, in any life"


# --- the stream ---------------------------------------------------------------------------------------


def test_a_generator_that_raises_is_the_jobs_reason_and_what_it_gave_is_done(job: Job) -> None:
    job.read("a")
    job.run.end_stream({"kind": "OSError", "message": "gone", "traceback": "Traceback: gone"})
    assert job.run.reason == "the server generator failed after 1 IDs: OSError: gone"
    assert job.of(Kind.ENDED) == [({"count": 1, "reason": job.run.reason}, "")]
    block = job.block(0)
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [0, 1])])
    assert job.run.ledger.finished


# --- classic clients and people -----------------------------------------------------------------------


def test_a_classic_client_holds_one_task_for_an_hour(job: Job) -> None:
    job.read("a", "b")
    job.run.hire(7, "h", 1, "", job.clock(), classic=True)
    lease = job.run.classic_lease(7, job.clock())
    assert lease is not None
    assert len(lease) == 1
    job.clock.passes(CLASSIC_TERM_S - 1)
    assert not job.run.lapse(job.clock())
    assert job.run.classic_report(7, True, None, job.clock())
    assert not job.run.classic_report(7, True, None, job.clock())
    lease = job.run.classic_lease(7, job.clock())
    assert job.run.classic_report(7, False, ERROR, job.clock())
    assert (job.run.ledger.done, job.run.ledger.failed) == (1, 1)
    with pytest.raises(UnknownProcessor):
        job.run.classic_report(8, True, None, job.clock())


def test_people_see_the_task_that_the_guard_saw_or_the_first_that_is_not_settled(job: Job) -> None:
    job.read(*"abcdefgh")
    block = job.block(0, size=4)
    hired = job.run.hired[0]
    assert job.run.current(hired, 200.0) == (0, 200.0)
    hired.position, hired.since_s = 2, 150.0
    assert job.run.current(hired, 200.0) == (2, 150.0)
    job.says(0, [block.lease], reports=[LeaseReport(block.lease, [0, 3])])
    assert job.run.current(hired, 200.0) == (3, 200.0)
    job.says(0, [])
    assert job.run.current(hired, 200.0) == (-1, 0.0)
    assert job.run.id_of(3) == "d"


def test_who_let_a_lease_lapse_is_silent_until_it_is_heard_of(job: Job) -> None:
    job.read("a")
    block = job.block(0)
    job.clock.passes(61.0)
    job.run.lapse(job.clock())
    assert job.run.hired[0].silent
    job.says(0, [block.lease])
    assert not job.run.hired[0].silent
    assert job.run.ledger.leased == 1, "it has its lease again, since nobody took it"


# --- interruptions ------------------------------------------------------------------------------------


def interrupted(job: Job) -> list[tuple[int, int, str]]:
    return [(h["pos"], h["attempt"], h["message"]) for h, _ in job.of(Kind.FAILED) if h["kind"] == "Interrupted"]


def test_a_task_whose_keeper_was_lost_is_another_attempt_and_nobody_is_to_blame(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read("a", "b", "c")
    job.block(0, size=3)
    job.run.hired[0].position = 1
    job.run.depart(0, "lost with its keeper (signal 9 (SIGKILL))", None, job.clock())
    words = "its processor 0 on host0 was lost: lost with its keeper (signal 9 (SIGKILL))"
    assert interrupted(job) == [(1, 1, words)]
    assert [job.run.ledger.attempt(position) for position in range(3)] == [1, 2, 1]
    assert (job.run.ledger.todo.total(), job.run.ledger.failed) == (3, 0)
    answer = job.block(1, size=3)
    assert answer.attempts == {1: 2}


def test_an_interruption_costs_no_retry_and_no_death_even_after_a_restart(tmp_path: Path) -> None:
    job = Job(tmp_path, retries=1, deaths=2)
    job.read("a")
    for number in range(3):
        job.block(number)
        job.run.hired[number].position = 0
        job.run.depart(number, NOT_HEARD_OF, None, job.clock())
    job.again()
    job.clock.passes(1000.0)  # the last of them may live, and has its lease
    job.run.lapse(job.clock())
    assert job.run.ledger.attempt(0) == 4
    lease = job.block(3).lease
    error = {"kind": "ValueError", "message": "no", "traceback": "", "where": ""}
    job.says(3, [lease], reports=[LeaseReport(lease, [], [(0, error)])])
    assert (job.run.ledger.failed, job.run.ledger.waiting) == (0, 1), "it has a retry"
    assert job.of(Kind.FAILED)[-1][0]["attempt"] == 4


def test_the_task_that_a_silent_processor_works_on_is_interrupted_when_another_is_given_it(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read("a", "b")
    job.block(0, size=2)
    job.run.hired[0].position = 0
    job.clock.passes(1000.0)
    job.run.lapse(job.clock())
    assert interrupted(job) == [], "it may still come back"
    answer = job.block(1, size=2)
    assert interrupted(job) == [(0, 1, "its processor 0 on host0 was not heard of for a lease")]
    assert answer.attempts == {0: 2}
