"""Keepers on this machine: the one forked beforehand if there is one, else a new interpreter.

Whoever asks knows that the host is this machine (:mod:`coordinator.executors.choice`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator import procs
from coordinator.errors import LaunchFailed
from coordinator.executors.base import Started

if TYPE_CHECKING:
    import subprocess


class LocalExecutor:
    """``warm``: (pid, descriptor for orders) of a keeper that was forked with the script loaded."""

    def __init__(self, warm: tuple[int, int] | None = None) -> None:
        self._warm = warm
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self, host: str, options: dict[str, Any], orders: dict[str, Any], failed: Callable[[str], None]
    ) -> Started:
        # The addresses in "urls" are for other machines to try; here "url" is right.
        line = json.dumps({key: value for key, value in orders.items() if key != "urls"}).encode() + b"\n"
        if self._warm is not None:
            (pid, descriptor), self._warm = self._warm, None
            try:
                pidfd = procs.open_pidfd(pid)
                with os.fdopen(descriptor, "wb") as pipe:
                    pipe.write(line)
                return Started(pid, pidfd)
            except (BrokenPipeError, ProcessLookupError):
                procs.reap_if_ended(pid)  # it was killed before it had orders; start another
        import subprocess  # only where no keeper was forked

        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "coordinator.keeper"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=orders["directory"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(package_path())},
            )
            assert child.stdin is not None
            with child.stdin:
                child.stdin.write(line)
        except OSError as error:
            raise LaunchFailed(f"the keeper could not be started on this machine: {error}") from error
        self._children[child.pid] = child
        return Started(child.pid, procs.open_pidfd(child.pid))

    def abandon(self, started: Started) -> None:
        """It has begun."""

    def ended(self, started: Started) -> str:
        os.close(started.pidfd)
        child = self._children.pop(started.pid, None)
        if child is None:
            return procs.reap(started.pid)
        status = child.wait()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{how}: {reason}" if (reason := _last_word(child)) else how

    def sweep(self, pids: list[int]) -> None:
        for pid in pids:
            procs.kill_session(pid)

    def dismiss(self) -> None:
        """The warm keeper is not needed."""
        if self._warm is not None:
            (pid, descriptor), self._warm = self._warm, None
            os.close(descriptor)
            procs.reap(pid)


def _last_word(child: subprocess.Popen[bytes]) -> str:
    """Why a keeper could not begin, if it said so; one that began has let go of the pipe."""
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            said = json.loads(line)
            if "error" in said:
                return str(said["error"])
    return ""


def package_path() -> list[str]:
    """PYTHONPATH for an interpreter of ours: where this package lies, if not among those that it finds by itself."""
    parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # An installed package is found already, and its directory in PYTHONPATH could hide standard modules.
    ours = [] if os.path.basename(parent) in ("site-packages", "dist-packages") else [parent]
    return list(dict.fromkeys([*ours, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))
