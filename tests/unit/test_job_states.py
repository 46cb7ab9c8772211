"""What follows from how an attempt ended: all combinations of evidence, and jobs that live through any of it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.statuses import Cause, State, Status, Used
from coordinator.executors.jobscript import NO_CLAIM, NO_LINE, Exit
from coordinator.jobs.states import (
    ACTIVE,
    BAD,
    CANCELLED,
    COMPLETE,
    FAILED,
    FORGOTTEN_S,
    GOOD,
    INIT,
    LATE_S,
    LOST,
    MOVES,
    ORDER,
    RUN,
    SPAWN,
    SUBMIT,
    End,
    Evidence,
    Outcome,
    Stage,
    end_of,
    missing,
    state_after,
)

CODES = (None, 0, 1, NO_LINE, NO_CLAIM, 137)
EXITS = (None, *(Exit(code, "7.1", "n1", 10.0, 20.0, Used(10.0)) for code in CODES if code is not None))
STATUSES = (
    None,
    *(
        Status(state, code, signal, cause, forgotten=forgotten and state is State.UNKNOWN)
        for state, code, signal, cause, forgotten in product(State, CODES, (None, 9), Cause, (False, True))
        if state is State.ENDED or (code is None and signal is None and cause is Cause.NONE)
    ),
)
SILENCES = (0.0, LATE_S - 1, LATE_S, FORGOTTEN_S - 1, FORGOTTEN_S)
ALL = [Evidence(*each) for each in product(EXITS, STATUSES, (False, True), SILENCES, (False, True))]
STATES = (*ORDER, "half-way")


def test_every_piece_of_evidence_is_an_end_or_none_and_an_end_has_a_reason() -> None:
    for seen in ALL:
        end = end_of(seen)
        if end is None or end.outcome is Outcome.OK:
            continue
        told = end.words or end.cause.value or end.signal or end.code
        assert told, seen


def test_silence_is_never_a_failure() -> None:
    """A failure has an exit status, a signal, or a word of its scheduler."""
    for seen in ALL:
        end = end_of(seen)
        if end is not None and end.outcome is Outcome.FAILED:
            assert end.code or end.signal or end.cause is not Cause.NONE, seen
            assert seen.exit is not None or (seen.status is not None and seen.status.state is State.ENDED), seen


def test_without_an_exit_file_and_without_an_end_by_its_scheduler_it_is_under_way_until_it_was_forgotten_for_long() -> (
    None
):
    for seen in ALL:
        if seen.exit is not None or (seen.status is not None and seen.status.state is State.ENDED):
            continue
        end = end_of(seen)
        forgotten = seen.status is not None and seen.status.forgotten
        if forgotten and seen.cancelled:
            assert end is not None
            assert end.outcome is Outcome.CANCELLED
        elif forgotten and seen.silent_s >= FORGOTTEN_S:
            assert end is not None
            assert end.outcome is Outcome.LOST
        else:
            assert end is None


def test_an_exit_file_with_0_is_success_whatever_its_scheduler_says_unless_it_was_asked_to_end() -> None:
    for seen in ALL:
        if seen.exit is not None and seen.exit.code == 0:
            end = end_of(seen)
            assert end is not None
            outcome = Outcome.CANCELLED if seen.cancelled else Outcome.OK
            assert (end.outcome, end.code, end.host) == (outcome, 0, "n1")


def test_an_exit_file_with_another_status_is_believed_at_once_or_after_a_minute_for_its_schedulers_word() -> None:
    for seen in ALL:
        if seen.exit is None or seen.exit.code == 0:
            continue
        end, status = end_of(seen), seen.status
        spoken = status is not None and (status.state in (State.ENDED, State.WAITS) or status.forgotten)
        assert (end is None) == (not seen.cancelled and not spoken and seen.silent_s < LATE_S)
        if end is None:
            continue
        cancelled = seen.cancelled or (seen.status is not None and seen.status.cause is Cause.CANCELLED)
        assert end.outcome is (Outcome.CANCELLED if cancelled else Outcome.FAILED)
        assert end.code == seen.exit.code
        assert end.signal == (9 if seen.exit.code == 137 else None)


def test_what_was_cancelled_is_cancelled_unless_it_was_done_before() -> None:
    for seen in ALL:
        end = end_of(seen)
        if seen.cancelled and end is not None:
            assert end.outcome in (Outcome.CANCELLED, Outcome.OK)
            assert end.outcome is Outcome.CANCELLED or (seen.exit is not None and seen.exit.code == 0)


def test_an_end_by_its_schedulers_word_alone_waits_for_the_exit_file_unless_the_cause_is_known() -> None:
    for seen in ALL:
        if seen.exit is not None or seen.status is None or seen.status.state is not State.ENDED:
            continue
        status, end = seen.status, end_of(seen)
        known = seen.cancelled or status.cause is not Cause.NONE
        assert (end is None) == (not known and seen.silent_s < LATE_S)
        if end is None:
            continue
        if seen.cancelled or status.cause is Cause.CANCELLED:
            assert end.outcome is Outcome.CANCELLED
        elif status.cause is not Cause.NONE:
            assert (end.outcome, end.cause) == (Outcome.FAILED, status.cause)
        elif not seen.begun and status.code in (NO_LINE, NO_CLAIM):
            assert (end.outcome, end.cause) == (Outcome.FAILED, Cause.LAUNCH)
        elif status.code or status.signal:
            assert end.outcome is Outcome.FAILED
        else:
            done = status.code == 0 and seen.begun
            assert end.outcome is (Outcome.OK if done else Outcome.LOST)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("state", STATES)
def test_a_state_after_an_end(state: str, outcome: Outcome, asked: bool) -> None:
    after = state_after(state, asked, End(outcome))
    if state in GOOD:
        assert after == state  # it said so itself, and nothing takes that back
    elif outcome is not Outcome.OK:
        assert after == {Outcome.FAILED: FAILED, Outcome.LOST: LOST, Outcome.CANCELLED: CANCELLED}[outcome]
    elif state == SUBMIT or (state in (RUN, LOST) and not asked):
        assert after == COMPLETE
    elif state == LOST:
        assert after == RUN  # it asked, so it would have said so
    else:
        assert after == state


@given(st.sampled_from(STATES), st.lists(st.tuples(st.sampled_from(Outcome), st.booleans())))
def test_a_good_state_absorbs_and_no_end_leads_back_to_a_beginning(
    state: str, ends: list[tuple[Outcome, bool]]
) -> None:
    good = None
    at_first = state
    for outcome, asked in ends:
        state = state_after(state, asked, End(outcome))
        good = good or (state if state in GOOD else None)
        assert good is None or state == good
        assert state != SUBMIT
        assert state != INIT or at_first == INIT


@given(st.lists(st.sampled_from(ALL), min_size=1))
def test_an_attempt_that_is_followed_by_the_table_of_moves_ends_once(found: list[Evidence]) -> None:
    stage, outcomes = Stage.WRITTEN, []
    for seen in found:
        end = end_of(seen)
        wanted = Stage.OVER if end is not None else Stage.BEGUN if seen.begun else stage
        if wanted in MOVES[stage]:
            stage = wanted
            outcomes += [end.outcome] if end is not None else []
    assert len(outcomes) == (stage is Stage.OVER)


def test_stages_only_go_on_and_the_last_one_absorbs() -> None:
    order = [Stage.WRITTEN, Stage.SENT, Stage.BEGUN, Stage.OVER]
    assert list(MOVES) == order == list(Stage)
    for at, stage in enumerate(order):
        assert MOVES[stage] <= set(order[at + 1 :])
        assert (Stage.OVER in MOVES[stage]) == (stage is not Stage.OVER)


@pytest.mark.parametrize("state", STATES)
def test_missing_is_what_failed_or_is_said_to_be_under_way_and_is_not(state: str) -> None:
    for stage, forgotten in product((None, *Stage), (False, True)):
        gone = stage in (None, Stage.OVER) or forgotten
        assert missing(state, stage, forgotten) == (state in (FAILED, LOST) or (state in ACTIVE and gone))


def test_each_state_is_of_one_kind_and_has_its_place() -> None:
    kinds = [ACTIVE, GOOD, BAD, {INIT}]
    assert sorted(state for kind in kinds for state in kind) == sorted(ORDER)
    assert SPAWN in ACTIVE
