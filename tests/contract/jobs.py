"""A job as commands meet it: its journal and run file, what get_job() answers, a Coordinator that answers it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from coordinator import paths, procs
from coordinator.__main__ import main
from coordinator.core import ids
from coordinator.core.records import Kind
from coordinator.journal import Journal
from tests.contract.serving import TOKEN


def write_journal(
    directory: Path, name: str, state: str | None = "failed", values: tuple[Any, ...] = ("chr1", ("a", 1), 7, b"x")
) -> paths.JobFiles:
    """A job of four tasks: two done with a result, one failed, one never begun. `state` None: it was killed."""
    files = paths.JobFiles(directory, name)
    journal = Journal.open(files.journal, name)
    texts = ids.encode_many(values)
    head = {"name": name, "run": f"run-of-{name}", "life": 1, "at": 1.0, "host": "h", "pid": 1, "port": 8888}
    journal.append(Kind.LIFE, {**head, "script": "s.py", "options": {}})
    text = "\n".join(texts)
    journal.append(Kind.SLICE, {"start": 0, "count": len(texts), "digest": ids.slice_digest(text)}, text)
    journal.append(Kind.LEASE, {"n": 1, "p": 1, "a": 0, "b": 3})
    journal.append(Kind.DONE, {"n": 1, "p": 1, "r": [[0, 2]]})
    journal.append(Kind.RESULTS, {"n": 1}, '0\t{"x":1}\n1\t{"$tuple":[1,2]}')
    error = {"kind": "ValueError", "message": "bad\x1b[31m value", "traceback": "Traceback\n  ValueError: bad\n"}
    where = {"where": "s.py:12 in f", "host": "node1", "pid": 4711, "at": 1795248231.0}
    journal.append(Kind.FAILED, {"pos": 2, "n": 1, "p": 1, "attempt": 1, "final": True, **error, **where})
    journal.append(Kind.ENDED, {"count": len(texts), "reason": None})
    if state is not None:
        journal.append(Kind.CLOSED, {"state": state, "reason": None, "done": 2, "failed": 1, "at": 2.0})
    journal.close()
    return files


def job_of(name: str = "job", **more: Any) -> dict[str, Any]:
    """What get_job() of a running job answers."""
    job = {
        "name": name, "run": f"run-of-{name}", "life": 1, "url": "http://127.0.0.1:1", "pid": os.getpid(), "host": "h",
        "directory": os.getcwd(), "script": "s.py", "state": "running", "reason": None, "started": 1795248231.0,
        "done": 10, "failed": 1, "leased": 2, "running": 1, "todo": 5, "waiting": 0, "read": 18, "ended": False,
        "total": None, "before": 0, "late": 0, "rate_per_s": 2.5, "eta_s": None,
        "processors": [
            {"number": 3, "host": "node1", "pid": 77, "state": "working", "done": 6, "failed": 1,
             "task": '{"$tuple":["a",1]}', "since_s": 200.0, "log": "/tmp/job_3.log"},
        ],
        "hosts": {"node1": {"slots": 2, "processors": 1, "reason": None}}, "unreachable": {},
        "errors": [{"kind": "ValueError", "where": "s.py:12 in f", "message": "bad", "count": 1,
                    "first_ids": ['"chr1"'], "traceback": "Traceback\n"}],
        "last_error": None, "log": os.path.join(os.getcwd(), f"{name}.log"), "resources": [], "rc_url": None,
    }  # fmt: skip
    return {**job, **more}


class FakeCoordinator:
    """A running job behind a real server; it refuses every call that it does not have."""

    def __init__(self, name: str = "job", **more: Any) -> None:
        self.job = job_of(name, **more)
        self.calls: list[tuple[Any, ...]] = []
        self.at_wait: Callable[[], None] = lambda: None

    def get_job(self) -> dict[str, Any]:
        return self.job

    def wait_job(self, seconds: float) -> dict[str, Any]:
        self.calls.append(("wait_job", seconds))
        self.at_wait()
        return self.job

    def stop(self, message: str) -> bool:
        self.calls.append(("stop", message))
        return True

    def redo(self, what: Any) -> int:
        self.calls.append(("redo", what))
        return 3

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in ("get_job", "wait_job", "stop", "redo")}


def write_run(fake: FakeCoordinator, url: str, directory: Path | None = None, pid: int | None = None) -> paths.JobFiles:
    """The run file of a job that is served at that URL."""
    files = paths.JobFiles(directory or Path.cwd(), fake.job["name"])
    who = procs.identity_of(pid or os.getpid())
    assert who is not None
    content = {
        "run": fake.job["run"], "name": files.name, "url": url, "port": 1, "token": TOKEN, "host": who.host,
        "pid": who.pid, "boot": who.boot, "process_started": who.started, "started": 1.0,
        "directory": os.fspath(files.directory), "script": "s.py", "log": os.fspath(files.log),
    }  # fmt: skip
    paths.replace_private(files.run, json.dumps(content).encode())
    return files


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(list(words))
    out, err = capsys.readouterr()
    return status, out, err


def document(capsys: pytest.CaptureFixture[str], kind: str, *words: str, status: int = 0) -> dict[str, Any]:
    """The --json document of a command, whose version and kind are right."""
    found, out, err = ran(capsys, *words, "--json")
    assert (found, err if not status else "") == (status, "")
    content: dict[str, Any] = json.loads(out)
    assert (content["version"], content["kind"]) == (1, kind)
    return content
