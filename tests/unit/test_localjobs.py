"""What is told of local jobs, by the spool alone: here nobody supervises it but the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator import procs
from coordinator.core.needs import GIB, Needs
from coordinator.core.slots import Room
from coordinator.core.statuses import State, mark_of
from coordinator.executors.localjobs import LocalJobs
from coordinator.executors.spool import Over, Spool

MARK = mark_of(1)


class Watched(Spool):
    """``between``: what happens between the look at what runs and the one at what is over; ``looks``: at the latter."""

    between: Callable[[], None] | None = None
    looks = 0

    def over(self, number: int) -> dict[int, Over]:
        self.looks += 1
        if self.between is not None:
            self.between()
        return super().over(number)

    def begin(self, *indices: int) -> None:
        for index in indices:
            self.begun(1, index, procs.own_identity(), 0.0)

    def end(self, *indices: int) -> None:
        for index in indices:
            self.ended(1, Over(index, 0))


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(LocalJobs, "_call", lambda jobs: None)  # nobody is to be started
    spool = Watched(tmp_path / "spool")
    told = {"mark": MARK, "name": "x", "script": "/s", "output": "/o", "directory": "/", "count": 1000, "at": 0.0}
    assert spool.ask({**told, "needs": Needs().told()}) == 1
    return spool


def states(spool: Spool, count: int) -> list[str]:
    found = LocalJobs(Room(2, GIB), spool).poll({"1": (MARK, range(1, count + 1))})
    return [found["1", index].state.value for index in range(1, count + 1)]


def test_each_element_waits_runs_or_has_ended(spool: Watched) -> None:
    spool.begin(1, 2)
    spool.end(1)
    assert states(spool, 4) == ["ended", "runs", "waits", "waits"]


def test_what_ends_between_the_two_looks_is_over(spool: Watched) -> None:
    spool.begin(1, 2)
    spool.between = lambda: spool.end(1)
    assert states(spool, 2) == ["ended", "runs"]


def test_what_begins_between_the_two_looks_waits_unless_it_ends_too(spool: Watched) -> None:
    def happen() -> None:
        spool.begin(1, 2)
        spool.end(2)

    spool.between = happen
    assert states(spool, 3) == ["waits", "ended", "waits"]
    spool.between = None
    assert states(spool, 3) == ["runs", "ended", "waits"]


def test_the_ends_of_a_submission_are_read_once_however_many_wait(spool: Watched) -> None:
    spool.begin(1)
    assert states(spool, 1000).count(State.WAITS.value) == 999
    assert spool.looks == 1
