"""A Processor's hand against a connection that says what the test tells it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator import hand as room
from coordinator.core import exchange, ids
from coordinator.core.blocks import LONG_TASK_S
from coordinator.core.exchange import Answer
from coordinator.errors import CoordinatorLost, PeerLost, UnknownRun
from coordinator.hand import REPORT_BYTES, Block, Hand
from coordinator.testing import FakeClock, FakeLine

WHO = {"host": "h", "pid": 1, "log": "l", "kept": True}
ERROR = {"kind": "ValueError", "message": "no"}
LOST = PeerLost("the line is dead")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The hand's clocks, and its sleep, are the test's."""
    clock = FakeClock(1000.0)
    fake = SimpleNamespace(
        monotonic=clock, sleep=clock.passes, clock_gettime=lambda _: clock(), CLOCK_BOOTTIME=7, time_ns=lambda: 1
    )
    monkeypatch.setattr(room, "time", fake)
    return clock


def make(line: FakeLine, grace_s: float = 10.0) -> Hand:
    return Hand(line, "r1", 3, "i", WHO, grace_s)


def work(lease: int, start: int, *values: Any, **more: Any) -> Answer:
    texts = f"[{','.join(ids.encode_many(values))}]"
    return Answer(0, exchange.WORK, lease, start, len(values), texts, **{"term_s": 60.0, **more})


def nothing(**more: Any) -> Answer:
    return Answer(0, exchange.NOTHING, **{"term_s": 60.0, **more})


def end() -> Answer:
    return Answer(0, exchange.END, term_s=60.0)


def got(hand: Hand) -> Block:
    block = hand.next_block()
    assert block is not None
    return block


def finish(block: Block, tasks: int | None = None, clock: FakeClock | None = None, seconds: float = 0.0) -> None:
    """As the Processor does: take an ID, work, and only then move the position."""
    for _ in range(len(block.todo) if tasks is None else tasks):
        block.todo.popleft()
        if clock is not None:
            clock.passes(seconds)
        block.position += 1


# --- blocks -------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["done", "failed", "result"]), max_size=30), st.sets(st.integers(0, 30)))
def test_reports_say_of_each_task_once_what_became_of_it(fates: list[str], pauses: set[int]) -> None:
    block = Block(work(1, 100, *fates), list(fates))
    done: list[int] = []
    failed: list[int] = []
    results: list[str] = []
    for index, fate in enumerate(fates):
        if index in pauses:
            report = block.report()
            done += [p for a, b in report.ranges for p in range(a, b)]
            failed += [p for p, _ in report.failed]
            results += report.results
            assert not block.news
        block.todo.popleft()
        if fate != "done":
            block.result("1")
            block.result(str(index))
        if fate == "failed":
            block.failed(ERROR)
        block.position += 1
    report = block.report()
    done += [p for a, b in report.ranges for p in range(a, b)]
    failed += [p for p, _ in report.failed]
    results += report.results
    assert done == [100 + i for i, fate in enumerate(fates) if fate != "failed"]
    assert failed == [100 + i for i, fate in enumerate(fates) if fate == "failed"]
    assert results == [f"{100 + i}\t{i}" for i, fate in enumerate(fates) if fate == "result"], "the last one stands"
    assert not block.report()


def test_a_report_takes_nothing_of_the_task_that_is_worked_on() -> None:
    block = Block(work(1, 0, "a", "b"), ["a", "b"])
    finish(block, 1)
    block.todo.popleft()
    block.result("early")
    assert block.report().results == []
    block.failed(ERROR)
    assert block.report().failed == []
    block.position += 1
    assert [p for p, _ in block.report().failed] == [1]


# --- the usual way ------------------------------------------------------------------------------------


def test_it_introduces_itself_once_and_waits_for_its_first_block(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", (1,))) as line:
        assert list(got(make(line)).todo) == ["a", (1,)]
    [said] = line.said
    assert (said.run, said.processor, said.incarnation, said.seq) == ("r1", 3, "i", 1)
    assert (said.who, said.want, said.idle) == (WHO, True, True)


def test_what_is_done_is_reported_with_the_question_for_more(clock: FakeClock) -> None:
    with FakeLine(work(7, 0, "a", "b", "c"), end()) as line:
        hand = make(line)
        block = got(hand)
        finish(block, 1, clock, 0.25)
        block.failed(ERROR)
        finish(block, 1)
        finish(block, 1, clock, 0.25)
        assert hand.next_block() is None
    said = line.said[1]
    assert (said.seq, said.held, said.who) == (2, [7], None)
    [report] = said.reports
    assert (report.lease, report.ranges, report.failed) == (7, [(0, 1), (2, 3)], [(1, ERROR)])
    assert said.worked == (3, 0.5)


def test_consecutive_integers_come_as_their_first(clock: FakeClock) -> None:
    answer = Answer(0, exchange.WORK, 1, 10, 3, first=41, term_s=60.0)
    with FakeLine(answer) as line:
        assert list(got(make(line)).todo) == [41, 42, 43]


def test_it_asks_for_the_block_ahead_before_quick_work_begins(clock: FakeClock) -> None:
    line = FakeLine(work(1, 0, "a", "b"), work(2, 2, "c", "d"), nothing())
    hand = make(line)
    finish(got(hand), clock=clock, seconds=0.001)
    block = got(hand)
    assert len(line.said) == 3, "the question for the third block is on its way while the second is worked on"
    assert (line.said[2].held, line.said[2].want, line.said[2].idle) == ([2], True, False)
    finish(block)
    line.then(work(3, 4, "e"), nothing())
    assert got(hand).lease == 3, "there was nothing ahead, so it asked again"


def test_of_long_tasks_it_takes_none_ahead_that_others_could_begin(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a"), work(2, 1, "b")) as line:
        hand = make(line)
        finish(got(hand), clock=clock, seconds=2 * LONG_TASK_S)
        assert got(hand).lease == 2
    assert [said.want for said in line.said] == [True, True]


def test_goodbye_hands_in_what_is_done_and_gives_the_rest_back(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", "b", "c"), end()) as line:
        hand = make(line)
        block = got(hand)
        finish(block, 1)
        hand.goodbye("run_all too many errors", ERROR)
    said = line.said[-1]
    assert (said.bye, said.setup_error) == ("run_all too many errors", ERROR)
    assert said.reports[0].ranges == [(0, 1)]
    assert said.returned == [(1, 1, 3)]


def test_goodbye_gives_the_block_ahead_back_too(clock: FakeClock) -> None:
    line = FakeLine(work(1, 0, "a"), work(2, 1, "b"), work(3, 2, "c", "d"), end())
    with line:
        hand = make(line)
        finish(got(hand))
        finish(got(hand))
        hand.goodbye("done")
    assert line.said[-1].returned == [(3, 2, 4)]


# --- a Coordinator that is away -----------------------------------------------------------------------


def test_a_lost_answer_is_asked_for_again_under_the_same_number(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a"), LOST, LOST, end()) as line:
        hand = make(line)
        finish(got(hand))
        assert hand.next_block() is None
    first, *again = line.said[1:]
    assert len(again) == 2
    assert all(said == first for said in again)


def test_a_word_that_could_not_be_said_is_said_later_and_nothing_of_it_is_lost(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a"), end()) as line:
        hand = make(line)
        finish(got(hand))
        line.refuse(3)
        assert hand.next_block() is None
    assert [said.seq for said in line.said] == [1, 2]
    assert line.said[1].reports[0].ranges == [(0, 1)]


def test_after_the_grace_time_it_gives_up(clock: FakeClock) -> None:
    line = FakeLine(work(1, 0, "a"))
    hand = make(line, grace_s=10.0)
    finish(got(hand))
    line.refuse(1000)
    began = clock()
    with pytest.raises(CoordinatorLost, match="waited 10 s for it to come back"):
        hand.next_block()
    assert 10.0 < clock() - began < 12.0


def test_the_grace_time_begins_anew_with_each_loss(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a"), LOST, nothing(), LOST, end()) as line:
        hand = make(line, grace_s=10.0)
        finish(got(hand), clock=clock, seconds=1000.0)
        assert hand.next_block() is None


def test_a_coordinator_that_has_forgotten_it_is_told_who_it_is_under_the_same_number(clock: FakeClock) -> None:
    who = Answer(0, exchange.WHO)
    with FakeLine(work(1, 0, "a"), who, end()) as line:
        hand = make(line)
        finish(got(hand))
        assert hand.next_block() is None
    assert [(said.seq, said.who) for said in line.said] == [(1, WHO), (2, None), (2, WHO)]
    assert line.said[2].reports == line.said[1].reports


def test_a_refusal_is_no_loss_and_is_not_repeated(clock: FakeClock) -> None:
    with FakeLine(UnknownRun("another run is served here")) as line, pytest.raises(UnknownRun):
        make(line).next_block()
    assert len(line.said) == 1


# --- leases -------------------------------------------------------------------------------------------


def test_a_lease_is_good_from_the_moment_it_was_asked_for(clock: FakeClock) -> None:
    line = FakeLine(LOST, LOST, work(1, 0, "a"))
    hand = make(line)
    asked = clock()
    got(hand)
    assert clock() > asked, "the answer came late"
    assert hand.good_until == asked + 60.0


def test_after_that_no_task_is_begun_before_the_lease_is_confirmed(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", "b", "c"), nothing()) as line:
        hand = make(line)
        block = got(hand)
        finish(block, 1)
        clock.passes(100.0)
        hand.confirm()
        assert clock() <= hand.good_until
        assert list(block.todo) == ["b", "c"]
    assert line.said[1].held == [1]
    assert line.said[1].reports[0].ranges == [(0, 1)]
    assert not line.said[1].want


def test_a_lease_that_is_not_its_own_any_more_loses_its_tasks(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", "b", "c"), nothing(drop=[1]), work(2, 3, "d")) as line:
        hand = make(line)
        block = got(hand)
        block.todo.popleft()
        clock.passes(100.0)
        hand.confirm()
        assert not block.todo
        block.position += 1  # the task that was under way: its report is welcome if nobody took it
        assert got(hand).lease == 2
    assert line.said[-1].reports[0].ranges == [(0, 1)]
    assert not line.said[-1].returned


def test_a_block_ahead_that_is_not_its_own_any_more_is_never_begun(clock: FakeClock) -> None:
    line = FakeLine(work(1, 0, "a"), work(2, 1, "b", "c"), work(3, 3, "d"))
    hand = make(line)
    finish(got(hand))
    block = got(hand)
    clock.passes(100.0)
    line.then(nothing(drop=[3]))
    hand.confirm()  # hears of block 3, then that it is gone
    finish(block)
    line.then(end())
    assert hand.next_block() is None
    assert all(returned[0] != 3 for said in line.said for returned in said.returned)
    line.check()


def test_what_grows_too_long_for_one_message_is_reported_before_the_next_task(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", "b", "c"), nothing()) as line:
        hand = make(line)
        block = got(hand)
        block.result("x" * (REPORT_BYTES + 1))
        finish(block, 1)
        hand.good_until = 0.0
        hand.confirm()
        assert block.weight == 0
    assert len(line.said[1].reports[0].results) == 1


# --- sharing ------------------------------------------------------------------------------------------


def test_asked_for_something_back_it_returns_the_block_ahead(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a"), work(2, 1, "b", "c"), work(3, 3, "d", "e", give=True), nothing(), end()) as line:
        hand = make(line)
        finish(got(hand))
        block = got(hand)
        clock.passes(100.0)
        hand.confirm()
        assert list(block.todo) == ["b", "c"]
        finish(block)
        assert hand.next_block() is None
    assert line.said[3].returned == [(3, 3, 5)]


def test_without_one_ahead_it_returns_half_of_what_it_has_not_begun(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, *"abcdefg"), nothing(give=True), nothing()) as line:
        hand = make(line)
        block = got(hand)
        block.todo.popleft()
        clock.passes(100.0)
        hand.confirm()
        assert list(block.todo) == ["b", "c", "d"]
    assert line.said[2].returned == [(1, 4, 7)]


def test_asked_for_its_last_task_it_says_nothing(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", "b"), nothing(give=True)) as line:
        hand = make(line)
        block = got(hand)
        block.todo.popleft()
        clock.passes(100.0)
        hand.confirm()
        assert list(block.todo) == ["b"]
    assert len(line.said) == 2


def test_told_to_stop_it_begins_nothing_more(clock: FakeClock) -> None:
    stop = Answer(0, exchange.STOP, term_s=60.0, reason="enough")
    with FakeLine(work(1, 0, "a", "b", "c"), stop, end()) as line:
        hand = make(line)
        block = got(hand)
        block.todo.popleft()
        clock.passes(100.0)
        hand.confirm()
        assert not block.todo
        assert hand.over is not None
        assert hand.over.reason == "enough"
        block.position += 1
        assert hand.next_block() is None
        hand.goodbye("run_all done")
    assert line.said[-1].returned == [(1, 1, 3)]
    assert line.said[-1].reports[0].ranges == [(0, 1)]


# --- the lookout --------------------------------------------------------------------------------------


def test_while_one_task_takes_long_the_others_are_reported_and_given_back(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, *"abcd"), nothing()) as line:
        hand = make(line)
        block = got(hand)
        finish(block, 2)
        block.todo.popleft()
        clock.passes(1.0)
        hand.look_out(0.3)
        assert not block.todo
    said = line.said[1]
    assert (said.reports[0].ranges, said.returned, said.held) == ([(0, 2)], [(1, 3, 4)], [1])
    assert not said.want


def test_the_lookout_hears_the_answer_that_lies_in_the_socket_and_gives_that_back_too(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a"), work(2, 1, "b"), work(3, 2, "c", "d"), nothing()) as line:
        hand = make(line)
        finish(got(hand))
        got(hand).todo.popleft()
        clock.passes(1.0)
        hand.look_out(0.3)
    assert line.said[3].returned == [(3, 2, 4)]


def test_the_lookout_is_silent_when_there_is_no_news_or_the_last_word_is_fresh(clock: FakeClock) -> None:
    with FakeLine(work(1, 0, "a", "b")) as line:
        hand = make(line)
        hand.look_out(0.3)  # before the first block
        block = got(hand)
        finish(block, 1)
        hand.look_out(0.3)  # too early
        assert len(line.said) == 1
    with FakeLine(work(1, 0, "a")) as line:
        hand = make(line)
        got(hand).todo.popleft()
        clock.passes(1.0)
        hand.look_out(0.3)  # nothing done, nothing to give back
        assert len(line.said) == 1


def test_the_lookout_does_not_wait_for_the_main_thread(clock: FakeClock) -> None:
    line = FakeLine(work(1, 0, "a", "b"))
    hand = make(line)
    got(hand)
    clock.passes(1.0)
    with hand._lock:  # the main thread is at the wire
        hand.look_out(0.3)
    assert len(line.said) == 1
