"""What is told of local jobs, by the spool alone: here nobody supervises it but the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator import daemons, procs
from coordinator.core.needs import GIB, Needs
from coordinator.core.slots import Room
from coordinator.core.statuses import Intent, State, mark_of
from coordinator.errors import LaunchFailed, SchedulerAway, SubmitUnclear
from coordinator.executors.jobscript import Element
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


def test_a_job_whose_supervisor_cannot_be_started_is_written_down_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*_: object) -> None:
        raise LaunchFailed("no more processes")

    monkeypatch.setattr(daemons, "start_daemon", failed)
    jobs = LocalJobs(Room(1, GIB), Spool(tmp_path / "spool"))
    intent = Intent(MARK, "test", str(tmp_path))
    jobs.prepare(intent, [Element(["true"], str(tmp_path), f"{tmp_path}/1", "/dev/null", "/dev/null")])
    with pytest.raises(SubmitUnclear, match="no more processes"):
        jobs.submit(intent)
    assert jobs.find(intent) == "1"
    with pytest.raises(SchedulerAway, match="the supervisor of local jobs cannot be started"):
        jobs.cancel([("1", None, 1)])
