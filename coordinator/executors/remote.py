"""Keepers on other machines, as the Coordinator sees them: it writes to the launcher's pipe and reads its answers.

:mod:`coordinator.executors.choice` calls it on the thread of the Coordinator's loop; nothing here waits. The launcher
is started with the first host, again if it died, and ends with the Coordinator. `coordinator hosts` asks it too, and
waits (:func:`ask`). This process never imports paramiko.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.errors import LaunchFailed
from coordinator.executors.base import Started
from coordinator.executors.local import package_path

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("coordinator.ssh")

#: seconds in which a launcher that has work answers something, whatever hangs on the hosts
HANGS_S, LOOK_S = 60.0, 5.0


class Launch(NamedTuple):
    """One keeper that the launcher was asked for."""

    host: str
    started: Started
    failed: Callable[[str], None]


class RemoteExecutor:
    """``attend(loop)`` before the first start."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._unsent = b""
        self._heard = b""
        self._heard_at = 0.0
        self._number = 0
        self._asked: dict[int, Launch] = {}
        self._watching: asyncio.TimerHandle | None = None

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def prepare(self) -> None:
        """Start the launcher, so that it is there when it is needed."""
        if self._child is None:
            self._child = start_launcher()
            for pipe in self._pipes():
                os.set_blocking(pipe, False)

    def start(
        self, host: str, options: dict[str, Any], orders: dict[str, Any], failed: Callable[[str], None]
    ) -> Started:
        assert self._loop is not None
        try:
            self.prepare()
        except OSError as error:
            raise LaunchFailed(f"{host}: the process that logs in over SSH could not be started: {error}") from error
        if not self._asked:
            self._heard_at = self._loop.time()
        started = Started(0, under_way=True)
        self._number += 1
        self._asked[self._number] = Launch(host, started, failed)
        self._loop.add_reader(self._pipes()[1], self._read)
        self._watch()
        self._ask({"id": self._number, "do": "start", "host": host, "options": options, "orders": orders})
        return started

    def abandon(self, started: Started) -> None:
        for number, launch in self._asked.items():
            if launch.started is started:
                self._ask({"id": number, "do": "cancel"})
                return

    def close(self) -> None:
        """Let the launcher go; what it started on hosts stays."""
        self._asked.clear()
        self._drop()

    # --- the pipe to the launcher ---------------------------------------------------------------------

    def _ask(self, request: dict[str, Any]) -> None:
        self._unsent += json.dumps(request).encode() + b"\n"
        self._send()

    def _send(self) -> None:
        assert self._loop is not None
        if self._child is None:
            return
        descriptor = self._pipes()[0]
        try:
            self._unsent = self._unsent[os.write(descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent = b""  # the end of its answers is read as well
        if self._unsent:
            self._loop.add_writer(descriptor, self._send)
        else:
            self._loop.remove_writer(descriptor)

    def _read(self) -> None:
        assert self._loop is not None
        try:
            came = os.read(self._pipes()[1], 1 << 16)
        except BlockingIOError:
            return
        if not came:
            self._mourn()
            return
        self._heard_at = self._loop.time()
        *lines, self._heard = (self._heard + came).split(b"\n")
        for line in lines:
            said = json.loads(line)
            launch = self._asked.pop(said["id"], None)
            if launch is not None:
                self._answered(launch, said)

    def _answered(self, launch: Launch, said: dict[str, Any]) -> None:
        launch.started.under_way = False
        if "failed" in said:
            launch.failed(said["failed"])
            return
        ready = said["ready"]
        launch.started.pid = int(ready["ready"])
        words = (launch.host, ready["ready"], ready.get("python"))
        log.info("keeper started host=%s pid=%s python=%s", *words)

    def _watch(self) -> None:
        """A launcher that was stopped answers nothing; its hosts must not wait for it."""
        assert self._loop is not None
        if self._watching is not None:
            self._watching.cancel()
        self._watching = None
        if self._asked and not self._loop.is_closed():
            if self._loop.time() - self._heard_at > HANGS_S:
                self._mourn()
            else:
                self._watching = self._loop.call_later(LOOK_S, self._watch)

    def _mourn(self) -> None:
        """The launcher is gone; what it was about to do is unknown, and counts as failed."""
        how = self._drop()
        log.warning("launcher ended %s", how)
        asked, self._asked = self._asked, {}
        for launch in asked.values():
            words = f"the process that was logging in to {launch.host} ended ({how})"
            self._answered(launch, {"failed": words})

    def _drop(self) -> str:
        child, self._child = self._child, None
        self._unsent = self._heard = b""
        if self._watching is not None:
            self._watching.cancel()
        if child is None:
            return ""
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(pipe.fileno())
                self._loop.remove_writer(pipe.fileno())
            pipe.close()
        child.kill()
        status = child.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def _pipes(self) -> tuple[int, int]:
        """Descriptors of the launcher's stdin and stdout."""
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        return self._child.stdin.fileno(), self._child.stdout.fileno()


def start_launcher() -> subprocess.Popen[bytes]:
    """Its stdin and stdout are pipes; a token goes through them, and nothing secret is in argv."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "coordinator.executors.launcher"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(package_path())},
    )


def ask(requests: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Have a launcher do these, all at once; the place of each in ``requests`` and its answer, as they come."""
    child = start_launcher()
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        asked = [json.dumps({"id": number, **request}).encode() + b"\n" for number, request in enumerate(requests)]
        writing = memoryview(b"".join(asked))
        with suppress(BrokenPipeError):  # the end of its answers is read as well
            while writing:
                writing = writing[child.stdin.write(writing) :]
        waiting = len(asked)
        with os.fdopen(child.stdout.fileno(), "rb", closefd=False) as lines:
            while waiting:
                line = lines.readline()
                if not line:
                    raise LaunchFailed("the process that logs in over SSH ended before it had answered")
                said = json.loads(line)
                waiting -= 1
                yield said.pop("id"), said
    finally:
        child.stdin.close()
        child.stdout.close()
        child.kill()
        child.wait()
