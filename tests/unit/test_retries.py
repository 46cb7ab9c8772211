"""Whether a job is tried again by itself: what may be said, what is counted, and how the pauses grow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.statuses import Cause
from coordinator.errors import BadInput
from coordinator.jobs import retries
from coordinator.jobs.retries import CAUSES, LONGEST_PAUSE_S, SPREAD, Policy, again_s, cause_of, read, used
from coordinator.jobs.states import End, Outcome


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, Policy()),
        ({}, Policy()),
        (3, Policy(any=3)),
        ({"memory": 1, "any": 2}, Policy({"memory": 1}, 2)),
        ({"time limit": 0, "backoff_s": 0}, Policy({"time limit": 0}, 0, 0.0)),
    ],
)
def test_what_may_be_said_is_read(told: object, expected: Policy) -> None:
    assert read(told) == expected


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"memoryy": 1}, "no job ends by 'memoryy': did you mean 'memory'"),
        ({"cancelled": 1}, "no job ends by 'cancelled'"),
        ({"": 1}, "no job ends by ''"),
        ({7: 1}, "no job ends by 7"),
        ({"exit": "2"}, "retries: exit is a number of times"),
        ({"exit": True}, "retries: exit is a number of times"),
        ({"any": -1}, "retries: any is a number of times"),
        ({"any": 1001}, "from 0 to 1000"),
        ({"backoff_s": "1m"}, "backoff_s is a number of seconds"),
        ({"backoff_s": float("nan")}, "backoff_s is a number of seconds"),
        ({"backoff_s": float("inf")}, "backoff_s is a number of seconds"),
        ({"backoff_s": -1}, "backoff_s is a number of seconds"),
        ({"backoff_s": True}, "backoff_s is a number of seconds"),
        (True, "retries is a number, or a dictionary"),
        ("2", "retries is a number, or a dictionary"),
        ([1], "retries is a number, or a dictionary"),
        (-1, "from 0 to 1000"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(told: object, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read(told)


def test_every_cause_that_an_attempt_can_have_may_be_named() -> None:
    ends = [End(Outcome.FAILED, cause=cause) for cause in Cause if cause is not Cause.NONE]
    ends += [End(Outcome.FAILED, code=1), End(Outcome.FAILED, signal=9, code=137), End(Outcome.LOST)]
    found = {cause_of(end) for end in ends if end.cause is not Cause.CANCELLED}
    assert found == set(CAUSES)


@pytest.mark.parametrize("end", [End(Outcome.OK, 0), End(Outcome.CANCELLED, cause=Cause.CANCELLED)])
def test_what_ended_well_or_was_cancelled_is_not_tried_again(end: End) -> None:
    assert cause_of(end) == ""
    assert again_s(Policy(any=9), cause_of(end), {}, 0.5) is None


def ended(cause: str) -> tuple[str, dict[str, Any]]:
    return "ended", {"cause": cause}


RETRIED = ("retried", {"state": ["run", "init"]})
RESET = ("changed", {"state": ["failed", "init"]})


def test_each_cause_is_counted_by_itself() -> None:
    events = [ended("node"), RETRIED, ended("memory"), RETRIED, ended("node"), RETRIED]
    assert used(events) == {"node": 2, "memory": 1}
    assert again_s(read({"node": 2, "memory": 2}), "node", used(events), 0.5) is None
    assert again_s(read({"node": 2, "memory": 2}), "memory", used(events), 0.5) is not None


def test_what_somebody_set_back_begins_anew() -> None:
    assert used([ended("exit"), RETRIED, ended("exit"), RESET]) == {}
    assert used([ended("exit"), RETRIED, RESET, ended("exit"), RETRIED]) == {"exit": 1}


def test_other_changes_count_nothing() -> None:
    events = [("changed", {"priority": [1, 2]}), ("changed", {"state": ["submit", "run"]}), ended("exit"), RETRIED]
    assert used([*events, ("changed", {"state": ["run", "phase2"]})]) == {"exit": 1}


def test_what_is_not_named_is_not_tried_again_without_any() -> None:
    assert again_s(read({"memory": 3}), "exit", {}, 0.5) is None
    assert again_s(read({"memory": 3, "any": 1}), "exit", {"memory": 2}, 0.5) is not None
    assert again_s(read({"memory": 3, "any": 1}), "exit", {"lost": 1}, 0.5) is None


@given(
    times=st.integers(0, 12),
    cause=st.sampled_from(CAUSES),
    backoff_s=st.floats(0, 20_000),
    chance=st.floats(0, 1),
)
def test_pauses_double_up_to_an_hour_and_end_after_so_many_times(
    times: int, cause: str, backoff_s: float, chance: float
) -> None:
    policy = read({cause: times, "backoff_s": backoff_s})
    count: dict[str, int] = {}
    for before in range(times):
        pause_s = again_s(policy, cause, count, chance)
        assert pause_s is not None
        mean_s = max(backoff_s, min(LONGEST_PAUSE_S, backoff_s * 2**before))
        assert mean_s * (1 - SPREAD) * 0.999 <= pause_s <= mean_s * (1 + SPREAD) * 1.001
        count[cause] = before + 1
    assert again_s(policy, cause, count, chance) is None


def test_a_thousand_retries_have_pauses_that_are_numbers() -> None:
    assert again_s(read({"exit": 1000}), "exit", {"exit": 999}, 0.0) == LONGEST_PAUSE_S * (1 - retries.SPREAD)
