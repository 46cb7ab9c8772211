"""The daemons of a throwaway cluster: children of the test session that end with it, whatever becomes of it.

slurm.py and gridengine.py start theirs through it. Nothing is installed as a service, nothing listens but on loopback,
and all state lies in one directory.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

#: bounds on what hangs, no promises of speed
HANG_S, END_S = 50.0, 15.0
#: seconds between two looks at what only a command can tell
LOOK_S = 0.05
SBIN = "/usr/sbin:/sbin"


class ClusterError(Exception):
    """A cluster of the tests could not be had; the text says what its daemons said."""


class Daemons:
    """``place``: of their logs; ``environment``: of the daemons and of the commands that speak to them."""

    def __init__(self, place: Path, environment: Mapping[str, str]) -> None:
        self.place = place
        self.environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{SBIN}", "LC_ALL": "C", **environment}
        self._stack = ExitStack()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str) -> None:
        """One that stays in the foreground. Raises ClusterError when it has ended by then."""
        with open(self.place / f"{name}.out", "ab") as out:
            # It ends with us even if we are killed, and in a session of its own, so that Ctrl-C is ours to answer.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=self.environment, cwd=self.place, start_new_session=True,
            )  # fmt: skip
        self._running[name] = process
        self._stack.callback(self.end, name)

    def end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)

    def kill(self, name: str) -> None:
        """With SIGKILL."""
        process = self._running.pop(name)
        process.kill()
        process.wait(END_S)

    def run(self, *argv: str, limit_s: float = HANG_S) -> subprocess.CompletedProcess[str]:
        """A command that speaks to them."""
        return subprocess.run(
            argv, env=self.environment, cwd=self.place, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=limit_s,
        )  # fmt: skip

    def wait(self, what: str, look: Callable[[], bool], limit_s: float = HANG_S) -> None:
        """Until it is so. Their commands are the only way to know, and none of them waits."""
        over = time.monotonic() + limit_s
        while not look():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise ClusterError(f"{name} has ended with {process.returncode}:\n{self._words(name)}")
            if time.monotonic() > over:
                words = "\n".join(f"--- {name}\n{self._words(name)}" for name in self._running)
                raise ClusterError(f"{what} not within {limit_s:.0f} s:\n{words}")
            time.sleep(LOOK_S)

    def down(self) -> None:
        """The one started last ends first."""
        self._stack.close()

    def _words(self, name: str) -> str:
        texts = [path.read_text(errors="replace") for path in sorted(self.place.glob(f"{name}*.*")) if path.is_file()]
        return "\n".join(texts)[-3000:]


class Cluster:
    """A context: up at its beginning, its jobs and its daemons gone at its end."""

    daemons: Daemons

    def up(self) -> None:
        """Start everything and wait until it takes jobs. Raises ClusterError."""
        raise NotImplementedError

    def end_jobs(self) -> None:
        """Whatever runs jobs would outlive the daemons."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.daemons.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end_jobs()
        self.daemons.down()


def free_ports(count: int) -> list[int]:
    """Numbers that nobody listens on now, for daemons that cannot choose one themselves. They are below those that the
    system gives to whoever asks for any, so that nobody is given one of them before its daemon is up."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    for port in random.sample(range(10_000, lowest), lowest - 10_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise ClusterError(f"of the ports from 10000 to {lowest} fewer than {count} are free")


def lacking(programs: Mapping[str, str]) -> str | None:
    """``{program: Debian's package}``: why such a cluster cannot be had here, None if it can."""
    if os.geteuid() != 0:
        return "needs root: its daemons start jobs for others"
    path = f"{os.environ['PATH']}:{SBIN}"
    missing = {name: package for name, package in programs.items() if shutil.which(name, path=path) is None}
    if missing:
        return f"needs {', '.join(missing)}: apt-get install {' '.join(sorted(set(missing.values())))}"
    return None
