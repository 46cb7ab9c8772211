"""The Coordinator's end of the feeder: slices come out of the pipe while there is room for them.

The task server owns it. It reads ahead a bounded number of tasks, so that memory does not follow the stream, starts
the feeder anew if it was killed, and never looks into an ID.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from coordinator import procs
from coordinator.core.replay import Recovered
from coordinator.feeder import fork_feeder

if TYPE_CHECKING:
    from coordinator.taskserver import Coordinator

#: tasks that lie read and not leased: below the first the pipe is read, above the second it is not
LOW, HIGH = 16_384, 32_768
PIPE_BYTES = 256 << 10


class Feed:
    """Reads the feeder's pipe on the task server's loop."""

    def __init__(self, server: Coordinator, feeder: tuple[int, int, int], recovered: Recovered) -> None:
        self._server = server
        self._pid, orders, self._pipe = feeder
        slices = [] if recovered.run is None else [list(one) for one in recovered.slices]
        told = {"log": server.errlog, "slices": slices, "journal": os.fspath(server.files.journal)}
        with os.fdopen(orders, "wb") as pipe:
            pipe.write(json.dumps(told).encode() + b"\n")
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self._pipe, False)
        self._buffer = bytearray()
        self._head: dict[str, Any] | None = None
        self._reading = False
        self._over = False
        self.skipped = 0
        self.look()

    def look(self) -> None:
        """Read on if there is room; the task server calls this after each turn."""
        known = self._server.run.ledger.todo.total()
        if not self._over and not self._reading and known < LOW and self._server.stalled is None:
            self._server._loop.add_reader(self._pipe, self._readable)
            self._reading = True
        elif self._reading and (known > HIGH or self._server.stalled is not None):
            self._pause()

    def close(self) -> None:
        """The job is over: the feeder has no reason to read on."""
        self._pause()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        identity = procs.identity_of(self._pid)
        if identity is not None:
            procs.signal_identity(identity, 9)
            procs.reap(self._pid)

    def _pause(self) -> None:
        if self._reading:
            self._server._loop.remove_reader(self._pipe)
            self._reading = False

    def _readable(self) -> None:
        data = os.read(self._pipe, PIPE_BYTES)
        if not data:
            self._lost()
            return
        self._buffer += data
        run = self._server.run
        while True:
            if self._head is None:
                end = self._buffer.find(b"\n")
                if end < 0:
                    break
                self._head = json.loads(self._buffer[:end])
                del self._buffer[: end + 1]
            if len(self._buffer) < self._head["bytes"]:
                break
            text = self._buffer[: self._head["bytes"]].decode("ascii")
            del self._buffer[: self._head["bytes"]]
            head, self._head = self._head, None
            if "count" in head:
                run.extend(head["count"], head["digest"], head["first"], text)
            elif "skipped" in head:
                self.skipped = head["skipped"]
                self._server.log.info("stream skipped=%d tasks that the journal knows", self.skipped)
            else:
                self._finish(head["ended"])
                break
        self._server.settle(self._server.now())

    def _finish(self, error: dict[str, Any] | None) -> None:
        self._over = True
        self._pause()
        self._server.run.end_stream(error)
        if error is not None:
            self._server.log.error("stream failed: %s", self._server.run.reason, extra={"traceback": error["traceback"]})
        else:
            self._server.log.info("stream ended tasks=%d", self._server.run.ledger.count)

    def _lost(self) -> None:
        """The feeder was killed: the stream goes on from what the journal has when the job is started again."""
        self._over = True
        self._pause()
        how = procs.reap(self._pid)
        message = f"the feeder, which runs the server generator, ended with {how}"
        self._server.run.end_stream({"kind": "FeederLost", "message": message, "traceback": message + "\n"})
        self._server.log.error("%s", message)
        self._server.settle(self._server.now())


__all__ = ["Feed", "fork_feeder"]
