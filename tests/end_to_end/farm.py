"""A farm for tests: writes a user's script, runs it as the user would, and says what came of it.

The tests beside this file use it. Everything happens in the test's own directory; nothing here knows what is right.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coordinator
from coordinator import history
from coordinator.core import ids
from coordinator.wire.client import Connection

#: a bound on what hangs, no promise of speed
HANG_S = 50.0
#: between two looks at something that another process does and cannot tell
LOOK_S = 0.02

_NUMBERS = itertools.count()

_ENTRY = """

if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server({call})
"""


@dataclass(frozen=True)
class Ended:
    """A command that ended: exit status, what it printed, and the files of the job that it served."""

    status: int
    out: str
    err: str
    directory: Path
    name: str = "JOB"

    @property
    def said(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def path(self, suffix: str) -> Path:
        return self.directory / f"{self.name}{suffix}"

    def text(self, suffix: str) -> str:
        return self.path(suffix).read_text(encoding="utf-8")

    def lines(self, suffix: str) -> list[str]:
        """The lines of NAME.success or its like; a newline is the only end of a line."""
        return self.text(suffix).split("\n")[:-1]

    @property
    def done(self) -> list[Any]:
        """The IDs of the tasks that are done, read from the journal, in the order of the stream."""
        return list(history.succeeded(self.path("")))

    @property
    def results(self) -> list[tuple[Any, Any]]:
        return list(coordinator.results(self.path("")))

    @property
    def failures(self) -> list[history.Failure]:
        return list(history.failures(self.path("")))

    @property
    def attempts(self) -> list[history.Failure]:
        """Every failed attempt there ever was."""
        return list(history.failures(self.path(""), history=True))

    def seen(self) -> list[str]:
        """What the user's functions noted with ``note()``."""
        return seen(self.directory)


class Running:
    """A command under way."""

    def __init__(self, directory: Path, words: list[str], name: str) -> None:
        self.directory, self.name = directory, name
        # Beside the directory: a disk that is full, or looked at by the test, is the job's.
        number = next(_NUMBERS)
        self._terminal = [
            Path(tempfile.gettempdir(), f"terminal.{os.getpid()}.{number}.{part}") for part in ("out", "err")
        ]
        self._out, self._err = (open(path, "wb") for path in self._terminal)  # noqa: SIM115
        self.process = subprocess.Popen(
            words, cwd=directory, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err, start_new_session=True
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        for _ in range(2):  # as a person would, so that its processors end with it
            if self.process.poll() is None:
                self.interrupt()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(5.0)
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()

    @property
    def err(self) -> str:
        return self._terminal[1].read_text(encoding="utf-8", errors="replace")

    def wait(self) -> Ended:
        """The end of the command; fails the test if it does not come."""
        try:
            status = self.process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it hangs; so far it said:\n{self.err}\nlog:\n{self.log()}") from None
        out = self._terminal[0].read_text(encoding="utf-8", errors="replace")
        return Ended(status, out, self.err, self.directory, self.name)

    def log(self) -> str:
        path = self.directory / f"{self.name}.log"
        return path.read_text(errors="replace") if path.is_file() else "(none)"

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Wait until ``true()`` is, and return it; fails the test if the command ends before, or time is up."""
        over = time.monotonic() + HANG_S
        while not (found := true()):
            if self.process.poll() is not None or time.monotonic() > over:
                raise AssertionError(f"never {what}: status {self.process.poll()}\n{self.err}\nlog:\n{self.log()}")
            time.sleep(LOOK_S)
        return found

    def interrupt(self) -> None:
        """What Ctrl-C does to the foreground process."""
        self.process.send_signal(signal.SIGINT)

    def run_file(self) -> dict[str, Any]:
        """NAME.run, as soon as this process has written it."""
        path = self.directory / f"{self.name}.run"

        def ours() -> dict[str, Any] | None:
            told = json.loads(path.read_text()) if path.exists() else {}
            return dict(told) if told.get("pid") == self.process.pid else None

        return dict(self.until(ours, f"published {path.name}"))

    def connection(self) -> Connection:
        told = self.run_file()
        return Connection(told["url"], told["token"], timeout_s=HANG_S, fingerprint=told.get("fingerprint"))

    def url(self) -> str:
        """The Coordinator's address with its token, as any XML-RPC client takes it."""
        told = self.run_file()
        return f"http://coordinator:{told['token']}@127.0.0.1:{told['port']}"

    def job(self) -> dict[str, Any]:
        """get_job()."""
        connection = self.connection()
        try:
            return dict(connection.call("get_job"))
        finally:
            connection.close()

    def seen(self) -> list[str]:
        return seen(self.directory)


class Farm:
    """``client`` and ``server`` of a test's script, and commands run in its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def script(self, body: str, call: str = "client, server, [], __file__", name: str = "script.py") -> Path:
        """Write a script of ``body`` that calls start_client_or_server(``call``).

        In ``body``, ``note(text)`` adds a line to what :func:`seen` gives, ``wait_for(name)`` waits for a file of the
        test's directory and ``touch(name)`` makes one.
        """
        path = self.directory / name
        path.write_text(_TOOLS.format(directory=str(self.directory)) + textwrap.dedent(body) + _ENTRY.format(call=call))
        return path

    def run(self, *words: str, job: str = "JOB", script: str = "script.py", local: int | None = 2) -> Ended:
        """``python script.py JOB --local=2 words...``, to its end."""
        with self.start(*words, job=job, script=script, local=local) as running:
            return running.wait()

    def start(self, *words: str, job: str = "JOB", script: str = "script.py", local: int | None = 2) -> Running:
        named = [job] if job else []
        ours = [f"--local={local}"] if local is not None else []
        return Running(self.directory, [sys.executable, script, *named, *ours, *words], job or "JOB")

    def command(self, *words: str, job: str = "JOB") -> Ended:
        """``coordinator words...``, to its end."""
        with Running(self.directory, [sys.executable, "-m", "coordinator", *words], job) as running:
            return running.wait()

    def touch(self, name: str) -> None:
        (self.directory / name).touch()


_TOOLS = """\
import os, pathlib, time

HERE = {directory!r}


def note(text):
    descriptor = os.open(HERE + "/seen.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, (str(text) + "\\n").encode())
    os.close(descriptor)


def wait_for(name):
    while not os.path.exists(os.path.join(HERE, name)):
        time.sleep(0.02)


def touch(name):
    pathlib.Path(HERE, name).touch()


"""


def seen(directory: Path) -> list[str]:
    path = directory / "seen.txt"
    return path.read_text().splitlines() if path.exists() else []


def exactly(values: Any) -> list[str]:
    """Canonical texts, sorted: equal where values and their types are."""
    return sorted(ids.encode(value) for value in values)
