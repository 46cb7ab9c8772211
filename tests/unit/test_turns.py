"""Turns of the task server: what leaves when, on a disk that is full as on one that is not."""

from __future__ import annotations

import errno
import gc
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator import history
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
    #: the next sync fails, and with it what was written since the last
    failing = False

    def datasync(self, fd: int) -> None:
        if self.failing:
            self.failing = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))

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


class Syncer:
    """Waits for the disk when the test says so; ``busy`` until then."""

    def __init__(self) -> None:
        self._under_way: tuple[Callable[[], None], Callable[[OSError | None], None]] | None = None

    @property
    def busy(self) -> bool:
        return self._under_way is not None

    def start(self, make_safe: Callable[[], None], landed: Callable[[OSError | None], None]) -> None:
        assert self._under_way is None, "one at a time"
        self._under_way = make_safe, landed

    def wait(self) -> None:
        while self._under_way is not None:
            self.land()

    def land(self) -> None:
        assert self._under_way is not None
        (make_safe, landed), self._under_way = self._under_way, None
        try:
            make_safe()
        except OSError as error:
            landed(error)
        else:
            landed(None)


@contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no garbage meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Served:
    """A job with one processor and three tasks, the first of which that processor has."""

    def __init__(self, directory: Path, executor: FakeExecutor) -> None:
        self.disk = Disk()
        farm = jobs.Job(directory, disk=self.disk)
        job = self.job = Job("job", "script.py", directory, {}, False)
        job.journal, job.run, job.run_id, job.url = farm.journal, farm.run, "r1", "http://127.0.0.1:1"
        job.now = farm.clock
        self.ended: list[str] = []
        self.syncer = Syncer()
        self.turns = Turns(job, self._never, self._never, lambda now: None, self.ended.append, self.syncer)  # type: ignore[arg-type]
        job.crew = Crew(job.run, executor, ORDERS, executor.watch, self.turns.then)
        farm.read("a", "b", "c")
        self.seq, self.held = 0, list[int]()
        (said,) = self.take(self.exchange(want=True))
        self.lease = Answer.from_text(said)[0].lease
        self.held = [self.lease]

    def segments(self) -> list[Path]:
        return list(Path(self.job.files.journal).glob("*.seg"))

    def _never(self, *_: Any) -> None:
        raise AssertionError("nobody asks for resources or joins here")

    def exchange(self, **said: Any) -> Call:
        self.seq += 1
        request = Request("r1", 0, "i", self.seq, self.held, **said)
        request.who = {"host": "node1", "pid": 7, "log": "log", "kept": True}
        return Call("exchange", request.to_text())

    def take(self, *calls: Call) -> list[Any]:
        """One turn with these calls; what the first of them heard."""
        self.begin(*calls)
        self.syncer.wait()
        return calls[0].said

    def begin(self, *calls: Call) -> None:
        """The same, up to where the disk is waited for."""
        self.turns.take(list(calls))  # type: ignore[arg-type]


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
    assert (len(report.said), len(again.said)) == (1, 1)


@pytest.mark.parametrize("ends", ["a commit", "the end of a turn"])
def test_whatever_finds_room_on_the_disk_again_what_waited_is_taken_up(served: Served, ends: str) -> None:
    report, again = served.exchange(reports=[LeaseReport(served.lease, [0, 1])]), served.exchange(want=True)
    served.disk.full = True
    served.take(report)
    served.take(again)
    assert (report.said, again.said) == ([], [])
    served.disk.full = False
    if ends == "a commit":
        served.turns.commit()
    else:
        served.turns.settle(served.job.now())
        served.syncer.wait()
    assert (len(report.said), len(again.said)) == (1, 1)
    assert served.job.stalled is None


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


def test_nothing_is_answered_before_the_disk_has_it_and_others_are_heard_meanwhile(served: Served) -> None:
    report, again = served.exchange(reports=[LeaseReport(served.lease, [0, 1])]), served.exchange(want=True)
    served.begin(report)
    served.begin(again)
    assert (report.said, again.said) == ([], [])
    assert served.syncer.busy
    assert served.take(Call("get_job"))[0]["done"] == 1, "who only looks waits for no disk"
    assert (len(report.said), len(again.said)) == (1, 1)
    assert not served.syncer.busy, "a lease alone need not be on disk"


def test_what_is_accepted_while_the_disk_works_is_of_the_next_commit(served: Served) -> None:
    (said,) = served.take(served.exchange(reports=[LeaseReport(served.lease, [0, 1])], want=True))
    second = Answer.from_text(said)[0].lease
    served.held = [second]
    (said,) = served.take(served.exchange(want=True))
    third = Answer.from_text(said)[0].lease
    served.held = [second, third]
    one, other = (served.exchange(reports=[LeaseReport(n, [p, p + 1])]) for n, p in ((second, 1), (third, 2)))
    served.begin(one)
    served.begin(other)
    served.syncer.land()
    assert (len(one.said), len(other.said)) == (1, 0)
    served.syncer.land()
    assert len(other.said) == 1
    assert not served.syncer.busy


def test_what_the_disk_failed_to_make_safe_is_written_elsewhere_before_it_is_answered(served: Served) -> None:
    report = served.exchange(reports=[LeaseReport(served.lease, [0, 1])])
    files = len(served.segments())
    served.begin(report)
    served.disk.failing = True
    served.syncer.wait()
    assert len(report.said) == 1
    assert len(served.segments()) == files + 1
    assert [*history.succeeded(served.job.files.base)] == ["a"]


def test_where_that_cannot_be_written_either_nothing_is_answered_until_it_can(served: Served) -> None:
    report, again = served.exchange(reports=[LeaseReport(served.lease, [0, 1])]), served.exchange(want=True)
    served.begin(report)
    served.begin(again)
    served.disk.failing = served.disk.full = True
    served.syncer.wait()
    assert (report.said, again.said) == ([], [])
    assert served.take(Call("get_job"))[0]["state"] == "stalled"
    served.disk.full = False
    assert served.turns.commit()
    assert (len(report.said), len(again.said)) == (1, 1)


def test_a_commit_that_cannot_wait_waits_for_the_one_under_way(served: Served) -> None:
    report, again = served.exchange(reports=[LeaseReport(served.lease, [0, 1])]), served.exchange(want=True)
    served.begin(report)
    served.begin(again)
    assert served.turns.commit()
    assert not served.syncer.busy
    assert (len(report.said), len(again.said)) == (1, 1)


class Forgetful(Call):
    """A call of the wire, which keeps of its answer what travels."""

    def fault(self, error: Exception) -> None:
        self.said.append(str(error))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("exchange", ["{"]),
        ("exchange", ['{"run":"other","p":0,"i":"i","s":9,"h":[],"w":[0,0]}']),
        ("next", ["h", 1, 0]),
    ],
)
def test_a_call_that_is_refused_leaves_no_garbage_that_holds_itself(
    served: Served, method: str, params: list[Any]
) -> None:
    with uncollected():
        call = Forgetful(method, *params)
        (refusal,) = served.take(call)
        assert refusal
        left = weakref.ref(call)
        del call
        assert left() is None


def test_an_exchange_leaves_no_garbage_that_holds_itself(served: Served) -> None:
    with uncollected():
        call = served.exchange(reports=[LeaseReport(served.lease, [0, 1])], want=True)
        assert served.take(call)
        left = weakref.ref(call)
        del call
        assert left() is None
