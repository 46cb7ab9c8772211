"""Keepers on this machine: the one forked beforehand if there is one, else a new interpreter.

A host that is not this machine is refused with that reason, so that a job goes on with the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from coordinator import paths, procs
from coordinator.errors import LaunchFailed
from coordinator.executors.base import Started


class LocalExecutor:
    """``warm``: (pid, descriptor for orders) of a keeper that was forked with the script loaded."""

    def __init__(self, warm: tuple[int, int] | None = None) -> None:
        self._warm = warm
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, host: str, options: dict[str, Any], orders: dict[str, Any]) -> Started:
        if not paths.is_this_machine(host):
            raise LaunchFailed(f"{host} is another machine, and processors cannot be started over SSH yet")
        line = json.dumps(orders).encode() + b"\n"
        if self._warm is not None:
            (pid, descriptor), self._warm = self._warm, None
            try:
                pidfd = procs.open_pidfd(pid)
                with os.fdopen(descriptor, "wb") as pipe:
                    pipe.write(line)
                return Started(pid, pidfd)
            except (BrokenPipeError, ProcessLookupError):
                procs.reap_if_ended(pid)  # it was killed before it had orders; start another
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "coordinator.keeper"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=orders["directory"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([package_parent(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)},
            )
            assert child.stdin is not None
            with child.stdin:
                child.stdin.write(line)
        except OSError as error:
            raise LaunchFailed(f"the keeper could not be started on this machine: {error}") from error
        self._children[child.pid] = child
        return Started(child.pid, procs.open_pidfd(child.pid))

    def ended(self, started: Started) -> str:
        os.close(started.pidfd)
        child = self._children.pop(started.pid, None)
        if child is None:
            return procs.reap(started.pid)
        status = child.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def sweep(self, pids: list[int]) -> None:
        for pid in pids:
            procs.kill_session(pid)

    def dismiss(self) -> None:
        """The warm keeper is not needed."""
        if self._warm is not None:
            (pid, descriptor), self._warm = self._warm, None
            os.close(descriptor)
            procs.reap(pid)


def package_parent() -> str:
    """The directory that `import coordinator` needs to see."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
