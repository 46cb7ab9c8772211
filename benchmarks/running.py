"""One program under watch: started in a session of its own, timed from outside, and gone with all that it started.

Everything that is measured runs through :func:`run`. What a program leaves behind becomes a child of this process, so
that it is seen and ended before the next one is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: of <sys/prctl.h>: orphans of our children are ours
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
#: seconds that helpers of an ended program have to end by themselves
ENDS_S = 5.0
#: of the environment: what slows a start down or moves files, and is the person's own setting
LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED", "PYTHONPATH", "NOTES")


@dataclass(frozen=True)
class Ran:
    """``status``: None if it was ended because its time was over; ``launched``: time.monotonic(); ``left``: names of
    programs that were still there and had to be killed."""

    status: int | None
    out: str
    err: str
    launched: float
    whole_s: float
    left: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why it failed, in its own last words."""
        if self.status is None:
            return f"it did not end within {self.whole_s:.0f} s"
        said = [line.strip() for line in self.err.splitlines() if any(map(str.isalpha, line))]
        errors = [line for line in said if "Error" in line or "error" in line] or said
        return f"exit status {self.status}: {errors[-1][:200] if errors else 'it said nothing'}"


def run(words: Sequence[str], directory: Path, env: Mapping[str, str], limit_s: float) -> Ran:
    """Run a program to its end in ``directory``."""
    with started(words, directory, env) as running:
        running.wait(limit_s)
    return running.ran()


class Running:
    """A program under way. Its output is in files of its directory, so that no pipe of ours slows it down."""

    def __init__(self, process: subprocess.Popen[bytes], launched: float, out: Path, err: Path) -> None:
        self.process, self.launched = process, launched
        self._out, self._err = out, err
        self.ended = 0.0
        self.timed_out = False
        self.left: tuple[str, ...] = ()

    def wait(self, limit_s: float) -> int | None:
        """Its exit status, or None if it has none in time. The end is seen when it comes: Popen.wait() with a limit
        would look every 50 ms."""
        descriptor = os.pidfd_open(self.process.pid)
        try:
            ends = select.poll()
            ends.register(descriptor, select.POLLIN)
            self.timed_out = not ends.poll(1000 * limit_s)
        finally:
            os.close(descriptor)
        self.ended = time.monotonic()
        return None if self.timed_out else self.process.wait()

    def ran(self) -> Ran:
        status = None if self.timed_out else self.process.returncode
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err))
        return Ran(status, out, err, self.launched, (self.ended or time.monotonic()) - self.launched, self.left)


@contextlib.contextmanager
def started(words: Sequence[str], directory: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """Start a program; at the end it and all that it started are gone."""
    before = adopt_orphans(True)
    ours = set(psutil.Process().children(recursive=True))
    out, err = directory / "terminal.out", directory / "terminal.err"
    with open(out, "wb") as to_out, open(err, "wb") as to_err:
        launched = time.monotonic()
        process = subprocess.Popen(
            list(words), cwd=directory, env=dict(env), stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err,
            start_new_session=True,
        )  # fmt: skip
    running = Running(process, launched, out, err)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        running.left = clear(ours)
        adopt_orphans(before)


def clear(spared: set[psutil.Process]) -> tuple[str, ...]:
    """Wait for our other descendants, kill those that stay, and name them."""
    children = [child for child in psutil.Process().children(recursive=True) if child not in spared]
    _, alive = psutil.wait_procs(children, timeout=ENDS_S)
    left = []
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(child.cmdline()[:4]) or child.name())
            child.kill()
    psutil.wait_procs(alive, timeout=ENDS_S)
    return tuple(left)


def adopt_orphans(yes: bool) -> bool:
    """Linux: does an orphan below us become our child? Returns what was so before."""
    system = ctypes.CDLL(None)
    before = ctypes.c_int(0)
    system.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    system.prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)
    return bool(before.value)


def environment(root: Path, home: Path, first_on_path: Path | None = None, **more: str) -> dict[str, str]:
    """What the measured programs find: this checkout's modules, and a home that is thrown away."""
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    env |= {"PYTHONPATH": str(root), "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    if first_on_path is not None:
        env["PATH"] = f"{first_on_path}{os.pathsep}{env.get('PATH', '')}"
    # Open MPI refuses root without these, and here nothing but a benchmark is run by it.
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return env | more
