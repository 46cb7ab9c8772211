"""Batches of tests, on this machine: scripts, a look at states, and no supervisor that outlives the test.

The test's own directory and state directory (``tests/conftest.py``) make store, spool and supervisor the test's own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from coordinator import batch as psu
from coordinator import paths
from coordinator.batch import executors
from coordinator.jobs.states import ACTIVE

HANG_S, LOOK_S = 50.0, 0.05
#: as the manual shows it, of a site whose default queue is this one
NEW_JOB: dict[str, Any] = {
    "BatchID": None,
    "JobIndex": None,
    "priority": 1,
    "name": ["human", "genome_map"],
    "batch_type": "foo",
    "data": None,
    "script": "my_template_script.sh",
    "queue": "tamirs3",
    "resources": {"cput": "04:59:00", "mem": "1gb", "pmem": "1gb", "pvmem": "3gb", "vmem": "3gb"},
    "state": "init",
}
#: what a shell does until somebody makes the file "go"
WAIT = "while [ ! -e go ]; do sleep 0.05; done"


class Batches:
    """``place``: the test's directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def program(self, text: str, name: str = "job.py") -> str:
        """A script of ours with the library as ``psu``; the command line that runs it."""
        path = self.place / name
        path.write_text("from coordinator import batch as psu\n" + dedent(text))
        return f"{sys.executable} {path}"

    def add(self, *scripts: str, OnFailure: str | None = None, **fields: Any) -> int:
        """A batch with a job for each script; its BatchID."""
        template = {**psu.get_job_template(SetID=True), **fields}
        jobs = [{**template, "JobIndex": index, "script": script} for index, script in enumerate(scripts)]
        psu.add_batch_to_queue(template["BatchID"], jobs, OnFailure=OnFailure)
        return int(template["BatchID"])

    def run(self, *scripts: str, **fields: Any) -> int:
        """The same, until nothing of it is under way any more."""
        batch = self.add(*scripts, **fields)
        psu.submit_jobs()
        self.settle(batch)
        return batch

    def go(self) -> None:
        (self.place / "go").touch()

    def lines(self, name: str) -> list[str]:
        """Of a file that jobs append to."""
        path = self.place / name
        return path.read_text().splitlines() if path.exists() else []

    def until(self, so: Callable[[], bool], hang_s: float = HANG_S) -> None:
        over = time.monotonic() + hang_s
        while not so():
            assert time.monotonic() < over, states()
            time.sleep(LOOK_S)  # the only event is another process's file

    def reach(self, batch: int, *wanted: str) -> None:
        """Until its jobs are in these states, in the order of their indices."""
        self.until(lambda: states(batch) == list(wanted))

    def settle(self, *batches: int, hang_s: float = HANG_S) -> None:
        """Until nothing of them is under way."""
        self.until(lambda: not any(set(states(batch)) & ACTIVE for batch in batches), hang_s)

    def supervisor(self) -> int | None:
        """That of this test's spool."""
        return supervisor_of(own_spool())


def own_spool() -> Path:
    """Of the jobs of this machine in the test's own state directory."""
    return paths.state_directory() / "jobs" / os.uname().nodename


def supervisor_of(spool: Path) -> int | None:
    """Who holds the lock of a spool, if it lives. A child that is about to become a job looks like it in /proc."""
    try:
        pid = int((spool / "lock").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(spool) in words else None


def states(batch: int | None = None) -> Any:
    """Of the jobs of a batch by their index; of all batches, if none is named."""
    queue = psu.get_queue(Verbose=False)
    assert queue is not None
    if batch is None:
        return queue
    return [state for _, state in sorted((i, state) for state, some in queue.get(batch, {}).items() for i in some)]


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batches]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("COORDINATOR_BATCH_CONFIG", "COORDINATOR_QFILE", "COORDINATOR_JOB", "COORDINATOR_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)
    for name, fresh in (("_said", {}), ("_read", False)):
        monkeypatch.setitem(vars(psu.config), name, fresh)
    monkeypatch.setattr(executors, "_given", {})
    made = Batches(tmp_path)
    yield made
    end_supervisor()


def end_supervisor() -> None:
    """It would end by itself in a few seconds. Jobs that are left are found by the look that every test gets."""
    pid = supervisor_of(own_spool())
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
