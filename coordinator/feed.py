"""The Coordinator's end of the feeder: slices come out of the pipe while there is room for them.

The task server owns it. It reads ahead a bounded number of tasks, so that memory does not follow the stream, starts
the feeder anew if it was killed, and never looks into an ID.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from coordinator import procs
from coordinator.core import blocks
from coordinator.core.replay import Recovered
from coordinator.errors import LaunchFailed
from coordinator.feeder import start_feeder
from coordinator.job import Job
from coordinator.zygote import script_argv

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

#: what the pipe holds, in the kernel, and how much of it is read in one turn
PIPE_BYTES, READ_BYTES = 256 << 10, 128 << 10
#: feeders that may be lost one after another, without one new task between them, before the stream is given up
LOSSES = 3


class Feed:
    """Reads the feeder's pipe from ``attend`` on, and calls ``settle()`` when something came. ``feeder``: what was
    forked, None to run the script anew; ``anew``: can that be done?"""

    def __init__(
        self,
        job: Job,
        feeder: tuple[int, int, int] | None,
        recovered: Recovered,
        settle: Callable[[], None],
        *,
        anew: bool,
    ) -> None:
        self._job, self._settle, self._anew = job, settle, anew
        self._loop: AbstractEventLoop | None = None
        self._reading = False
        self._over = False
        self._losses = 0
        self.skipped = 0
        if feeder is None:
            self._pid, self._pipe = 0, -1
            return
        pid, orders, pipe = feeder
        # A feeder that was killed meanwhile is missed when its slices are read.
        with suppress(BrokenPipeError), os.fdopen(orders, "wb") as file:
            file.write(json.dumps(self._orders([] if recovered.run is None else recovered.slices)).encode() + b"\n")
        self._hear(pid, pipe)

    def attend(self, loop: AbstractEventLoop) -> None:
        """Read on this loop from now on."""
        self._loop = loop
        self.look()

    def _orders(self, slices: Iterable[tuple[int, str]]) -> dict[str, Any]:
        job = self._job
        return {
            "parent": os.getpid(),
            "log": job.errlog,
            "slices": [list(one) for one in slices],
            "journal": job.files.journal,
        }

    def _hear(self, pid: int, pipe: int) -> None:
        """From now on this is the feeder."""
        self._pid, self._pipe = pid, pipe
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(pipe, False)
        self._buffer = bytearray()
        self._head: dict[str, Any] | None = None
        self._known_before = self._job.run.ledger.count

    def look(self) -> None:
        """Read on if there is room; the task server calls this after each turn."""
        assert self._loop is not None
        if self._pipe < 0:
            self._replace()
        run = self._job.run
        known = run.ledger.todo.total()
        most = blocks.read_ahead(len(run.hired), run.largest_block(run.ledger.todo.first()))
        if not self._over and not self._reading and known < most // 2 and self._job.stalled is None:
            self._loop.add_reader(self._pipe, self._readable)
            self._reading = True
        elif self._reading and (known > most or self._job.stalled is not None):
            self._pause()

    def close(self) -> None:
        """The job is over: the feeder has no reason to read on."""
        self._over = True
        self._pause()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        identity = procs.identity_of(self._pid) if self._pid else None
        if identity is not None:
            procs.signal_identity(identity, 9)
            procs.reap(self._pid)

    def _pause(self) -> None:
        if self._reading and self._loop is not None:
            self._loop.remove_reader(self._pipe)
            self._reading = False

    def _readable(self) -> None:
        data = os.read(self._pipe, READ_BYTES)
        if not data:
            self._lost()
            return
        self._buffer += data
        run = self._job.run
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
                self._job.log.info("stream skipped=%d tasks that the journal knows", self.skipped)
            else:
                self._finish(head["ended"])
                break
        self._settle()

    def _finish(self, error: dict[str, Any] | None) -> None:
        self._over = True
        self._pause()
        self._job.run.end_stream(error)
        if error is not None:
            self._job.log.error("stream failed: %s", self._job.run.reason, extra={"traceback": error["traceback"]})
        else:
            self._job.log.info("stream ended tasks=%d", self._job.run.ledger.count)

    def _lost(self) -> None:
        """The feeder was killed: another goes on from what the journal has, unless that helped nothing before."""
        self._pause()
        os.close(self._pipe)
        self._pipe = -1
        how = procs.reap(self._pid)
        self._pid = 0
        count = self._job.run.ledger.count
        self._losses = 1 if count > self._known_before else self._losses + 1
        message = f"the feeder, which runs the server generator, ended with {how} after {count} tasks"
        if not self._anew:
            self._give_up(message)  # no script that could be run anew
        elif self._losses >= LOSSES:
            self._give_up(f"{message}, the last of {self._losses} that were lost without one new task between them")
        else:
            self._job.log.warning("%s; it is started anew", message)
        self._settle()

    def _replace(self) -> None:
        """Start a feeder in place of the one that was lost; it skips what is journalled, so all of it must be."""
        job = self._job
        if self._over or job.stalled is not None or job.run.stopping is not None:
            return
        try:
            pid, pipe = start_feeder(script_argv(), self._orders(job.journal.digests()))
        except LaunchFailed as error:
            self._give_up(f"the feeder, which runs the server generator, was lost, and {error.message}")
            return
        job.log.info("feeder starts pid=%d after=%d tasks", pid, job.run.ledger.count)
        self._hear(pid, pipe)

    def _give_up(self, message: str) -> None:
        self._over = True
        self._job.run.end_stream({"kind": "FeederLost", "message": message, "traceback": message + "\n"})
        self._job.log.error("%s", message)
