"""Turns of the task server: what leaves when, on a disk that is full as on one that is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.core.exchange import Answer, LeaseReport, Request
from coordinator.crew import Crew
from coordinator.errors import NotAuthorised
from coordinator.job import Job
from coordinator.testing import FakeExecutor
from coordinator.turns import Turns
from tests.unit import jobs
from tests.unit.journals import NoSync

ORDERS = {"url": "http://127.0.0.1:1", "log_directory": "/logs", "name": "job"}


class Disk(NoSync):
    """Full when the test says so."""

    full = False

    def write(self, fd: int, content: memoryview, offset: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, content, offset)


class Call:
    """A call of the wire; ``said`` is what left."""

    def __init__(self, method: str, *params: Any, caller: str = "run") -> None:
        self.method, self.params, self.caller = method, params, caller
        self.said: list[Any] = []

    def answer(self, value: Any) -> None:
        self.said.append(value)

    def fault(self, error: Exception) -> None:
        self.said.append(error)


class Served:
    """A job with one processor and three tasks, the first of which that processor has."""

    def __init__(self, directory: Path, executor: FakeExecutor) -> None:
        self.disk = Disk()
        farm = jobs.Job(directory, disk=self.disk)
        job = self.job = Job("job", "script.py", directory, {}, False)
        job.journal, job.run, job.run_id, job.url = farm.journal, farm.run, "r1", "http://127.0.0.1:1"
        job.now = farm.clock
        self.ended: list[str] = []
        self.turns = Turns(job, self._never, self._never, lambda now: None, self.ended.append)
        job.crew = Crew(job.run, executor, ORDERS, executor.watch, self.turns.then)
        farm.read("a", "b", "c")
        self.seq, self.held = 0, list[int]()
        (said,) = self.take(self.exchange(want=True))
        self.lease = Answer.from_text(said)[0].lease
        self.held = [self.lease]

    def _never(self, *_: Any) -> None:
        raise AssertionError("nobody asks for resources or joins here")

    def exchange(self, **said: Any) -> Call:
        self.seq += 1
        request = Request("r1", 0, "i", self.seq, self.held, **said)
        request.who = {"host": "node1", "pid": 7, "log": "log", "kept": True}
        return Call("exchange", request.to_text())

    def take(self, *calls: Call) -> list[Any]:
        """One turn with these calls; what the first of them heard."""
        self.turns.take(list(calls))  # type: ignore[arg-type]
        return calls[0].said


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with FakeExecutor() as executor:
        yield Served(tmp_path, executor)


def test_who_looks_in_the_turn_in_which_the_disk_fills_is_told_so(served: Served) -> None:
    report, look = served.exchange(reports=[LeaseReport(served.lease, [0, 1])]), Call("get_job")
    served.disk.full = True
    served.take(report, look)
    assert report.said == []
    assert look.said[0]["state"] == "stalled"
    assert "No space left on device" in look.said[0]["reason"]


def test_nobody_who_looks_sets_free_what_is_not_yet_on_disk(served: Served) -> None:
    report, again = served.exchange(reports=[LeaseReport(served.lease, [0, 1])]), served.exchange(want=True)
    served.disk.full = True
    served.take(report)
    served.take(Call("get_status"), Call("get_job"), again)
    assert (report.said, again.said) == ([], [])
    served.disk.full = False
    assert served.turns.commit()
    assert len(report.said) == 1
    assert again.said == []
    served.turns.resume()
    assert len(again.said) == 1


def test_a_job_on_a_full_disk_can_be_told_to_stop(served: Served) -> None:
    served.disk.full = True
    served.take(served.exchange(reports=[LeaseReport(served.lease, [0, 1])]))
    assert served.take(Call("stop", "enough")) == [True]
    assert served.job.run.stopping == "enough"


def test_a_visitor_looks_and_does_no_more(served: Served) -> None:
    (told,) = served.take(Call("get_job", caller="visitor ann"))
    assert told["name"] == "job"
    (refused,) = served.take(Call("stop", "for fun", caller="visitor ann"))
    assert isinstance(refused, NotAuthorised)
    assert served.job.run.stopping is None


def test_what_comes_when_the_job_is_over_is_not_answered(served: Served) -> None:
    served.job.over = object()  # type: ignore[assignment]
    assert served.take(Call("get_job")) == []
