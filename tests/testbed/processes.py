"""Processes of this machine as the testbed sees them: known by pid and start time, found by the host they are on.

host.py and hosts.py call it. It imports nothing of the package under test, so that a testbed comes down when that is
broken, and it ends nothing by name.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed.machine import HANG_S, TestbedError

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37


@dataclass(frozen=True)
class Process:
    """A process of the machine, known for what it is: a pid that is used again is another process."""

    pid: int
    started: str

    @staticmethod
    def of(pid: int) -> Process | None:
        """None if there is none, and for a zombie: some machines' PID 1 reaps late."""
        fields = _stat(pid)
        return Process(pid, fields[19]) if fields and fields[0] not in "ZX" else None

    @staticmethod
    def read(file: Path) -> Process | None:
        """The one that ``write`` noted, if it still lives."""
        with suppress(OSError, ValueError):
            pid, started = file.read_text().split()
            process = Process.of(int(pid))
            return process if process is not None and process.started == started else None
        return None

    def write(self, file: Path) -> None:
        file.write_text(f"{self.pid} {self.started}\n")

    @property
    def lives(self) -> bool:
        return Process.of(self.pid) == self

    def signal(self, number: int = signal.SIGKILL) -> None:
        """Nothing happens to another process that has its pid by now."""
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.lives:
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)

    def wait(self, timeout_s: float | None = HANG_S) -> bool:
        """Has it ended, at the latest after that time?"""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            return not self.lives or bool(select.select([fd], [], [], timeout_s)[0])
        finally:
            os.close(fd)


@dataclass(frozen=True)
class Inhabitant:
    """A process of a host: ``pid`` and ``parent`` as the host numbers them, ``outer`` as the machine does."""

    pid: int
    parent: int
    state: str
    argv: tuple[str, ...]
    outer: Process

    def resume(self) -> None:
        """And the nsenter that waits for it out here, which stops when its child does."""
        fields = _stat(self.outer.pid)
        above = Process.of(int(fields[1])) if fields and self.parent == 0 else None
        if above is not None and command_line(above.pid)[:1] == ("nsenter",):
            above.signal(signal.SIGCONT)
        self.outer.signal(signal.SIGCONT)

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.state}): {' '.join(self.argv)[:300] or '(no command line)'}"


def inhabitants(init: int) -> list[Inhabitant]:
    """The living processes of the PID namespace whose PID 1 the machine knows as ``init``."""
    try:
        namespace = os.readlink(f"/proc/{init}/ns/pid")
    except OSError:
        return []
    numbers: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, IndexError):
                if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                    numbers[int(name)] = _inner_pid(int(name))
    living = []
    for outer, pid in numbers.items():
        fields, process = _stat(outer), Process.of(outer)
        if fields and process is not None:
            living.append(Inhabitant(pid, numbers.get(int(fields[1]), 0), fields[0], command_line(outer), process))
    return sorted(living, key=lambda inhabitant: inhabitant.pid)


def command_line(pid: int) -> tuple[str, ...]:
    """Empty if there is no such process."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/cmdline").read_bytes().removesuffix(b"\0").decode("utf-8", "replace")
        return tuple(text.split("\0")) if text else ()
    return ()


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def inner_pid(pid: int) -> int | None:
    """The pid that the process has in its own PID namespace."""
    with suppress(OSError, IndexError):
        return _inner_pid(pid)
    return None


def _inner_pid(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return int(status.split("\nNSpid:")[1].split("\n")[0].split()[-1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state (0) on: 1 is the parent, 19 the start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


_JOIN = """
for group in $1; do echo $$ >"$group/cgroup.procs"; done
echo $$ >"$2"
shift 2
exec "$@"
"""


def detach(argv: Sequence[str], *, groups: Sequence[Path] = (), **options: Any) -> Process:
    """Start it in a session and the control groups of its own, as nobody's child: no test finds it among its leftovers.

    It holds the open end of a pipe that nobody reads; options are those of subprocess.run.
    """
    reading, writing = os.pipe()
    try:
        words = ["sh", "-c", _JOIN, "sh", " ".join(map(str, groups)), f"/proc/self/fd/{writing}", *argv]
        with no_adoption():
            subprocess.run(["setsid", "--fork", *words], check=True, pass_fds=[writing], **{"cwd": "/", **options})
        os.close(writing)
        writing = -1
        pid = os.read(reading, 32)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    process = Process.of(int(pid)) if pid else None
    if process is None:
        raise TestbedError(f"{argv[0]} ended at once")
    return process


@contextmanager
def no_adoption() -> Iterator[None]:
    """A test's process adopts orphans, to see what is left behind; inside this block it does not."""
    libc, before = ctypes.CDLL(None, use_errno=True), ctypes.c_int()
    libc.prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)
