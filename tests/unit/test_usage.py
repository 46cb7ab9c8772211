"""What was used against what was asked: shares, and words for what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.core.needs import GIB, MIB, Needs
from coordinator.jobs.records import Attempt
from coordinator.jobs.states import Outcome, Stage
from coordinator.jobs.usage import size, span, usage_of

NOW = 2000.0
ATTEMPT = Attempt(
    batch=1, index=0, number=1, spawn=0, mark="m", element=1, native=None, stage=Stage.OVER, said="", asked=False,
    cancelled=False, seen="", silent_since=None, forgotten=False, outcome=Outcome.OK, code=0, signal=None, cause="",
    words="", host="", at=900.0, began=1000.0, ended=1100.0, wall_s=90.0, cpu_s=45.0, memory=512 * MIB, stdout="",
    stderr="",
)  # fmt: skip
RUNS: dict[str, Any] = {"stage": Stage.BEGUN, "outcome": None, "ended": None}
UNTOLD: dict[str, Any] = {"wall_s": None, "cpu_s": None, "memory": None}


def test_shares_are_of_what_was_asked_and_of_all_cores() -> None:
    found = usage_of(ATTEMPT, Needs(cores=2, nodes=2, memory=GIB, time_s=180), NOW)
    assert (found.time_share, found.cpu_share, found.memory_share) == (0.5, 45 / 360, 0.5)
    assert found.lines() == [
        "time    00:01:30 of 00:03:00 asked (50%)",
        "cpu     45.0 s, 12% of 4 cores",
        "memory  512.0 MiB at most of 1.0 GiB asked (50%)",
    ]
    assert found.told()["memory_asked"] == GIB


def test_what_was_not_asked_has_no_share_and_says_so() -> None:
    found = usage_of(ATTEMPT, Needs(), NOW)
    assert (found.time_share, found.cpu_share, found.memory_share) == (None, 0.5, None)
    assert found.lines() == [
        "time    00:01:30, none was asked",
        "cpu     45.0 s, 50% of 1 core",
        "memory  512.0 MiB at most, none was asked",
    ]


def test_what_is_not_told_is_not_known() -> None:
    found = usage_of(replace(ATTEMPT, **UNTOLD, began=None), Needs(memory=GIB, time_s=60), NOW)
    assert found.lines() == [
        "time    not known, 00:01:00 asked", "cpu     not known, of 1 core", "memory  not known, 1.0 GiB asked",
    ]  # fmt: skip
    assert usage_of(replace(ATTEMPT, **UNTOLD, began=None), None, NOW).lines() == [
        "time    not known", "cpu     not known", "memory  not known, none was asked",
    ]  # fmt: skip


def test_one_that_runs_is_counted_up_to_now() -> None:
    found = usage_of(replace(ATTEMPT, **RUNS, **UNTOLD), Needs(time_s=2000), NOW)
    assert (found.wall_s, found.ended) == (1000.0, False)
    assert found.lines()[0] == "time    00:16:40 so far of 00:33:20 asked (50%)"
    assert found.lines()[1] == "cpu     not known yet, of 1 core"


def test_an_executor_that_tells_no_wall_time_leaves_what_the_job_wrote() -> None:
    assert usage_of(replace(ATTEMPT, wall_s=None), None, NOW).wall_s == 100.0


@pytest.mark.parametrize(("count", "shown"), [(1, "1 B"), (2048, "2.0 KiB"), (GIB, "1.0 GiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_powers_of_1024_as_they_are_asked(count: int, shown: str) -> None:
    assert size(count) == shown


def test_a_span_of_a_minute_is_a_clock() -> None:
    assert (span(59.94), span(61)) == ("59.9 s", "00:01:01")
