"""The feeder: the user's server generator, in a process of its own, read ahead in slices of canonical IDs.

The Coordinator forks it (or starts the script anew for it) and reads its pipe as fast as it has room, so that a slow
generator never delays what is already read, and a fast one waits. A slice is what came within a few milliseconds, at
most ``SLICE`` IDs, with its digest. When a job goes on, the slices that the journal already has are skipped while
their digests match; from the first that does not, :mod:`coordinator.resume` looks the IDs up. The feeder never
decides anything about tasks and never writes to the journal.

What travels: a line of JSON and, after it, ``bytes`` bytes of text (canonical IDs joined by newlines)::

    {"count": 3, "bytes": 17, "digest": "...", "first": null}      a slice
    {"skipped": 4096}                                               so many were in the journal already
    {"ended": null} or {"ended": {"kind", "message", "traceback", "where", "at"}}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from coordinator import paths, procs
from coordinator.core import ids
from coordinator.core.exchange import text_of
from coordinator.errors import UnservableTaskID
from coordinator.zygote import ROLE

#: most IDs of one slice, and how many may lie read and unsent: small, so that a job of thousands of tasks needs the
#: same memory as one of millions
SLICE = 2048
#: bytes of a slice's text above which the slice is sent in parts
SLICE_BYTES = 1 << 20
#: seconds that an ID may lie read and unsent: the shortest and the longest
FRESH_S, STALE_S = 0.002, 0.05


class Feeder:
    """Reads ``make()``'s iterator and writes slices to the descriptor ``out``.

    The thread that runs the generator sends what it gave, a whole slice at a time. Another thread looks now and then
    whether the generator takes its time over a slice, and sends what has come of it.
    """

    def __init__(self, make: Callable[[], Iterable[Any]], out: int, orders: dict[str, Any]) -> None:
        self._make, self._out, self._orders = make, out, orders
        self._read: deque[Any] = deque()
        self._sending = threading.Lock()  # who takes from what was read holds it until that is sent
        self._sent_at = 0.0
        self._over = threading.Event()
        self._position = 0
        self._refused = False

    def feed(self) -> int:
        """Read until the generator ends; the exit status."""
        error: dict[str, Any] | None = None
        watch = threading.Thread(target=self._watch, name="watch")
        try:
            stream = self._resumed(iter(self._make()))
            watch.start()
            self._gulp(stream)
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - the user's generator: what it raises ends the stream
            from coordinator.tracebacks import error_of

            sys.excepthook(type(raised), raised, raised.__traceback__)
            sys.stderr.flush()
            error = error_of(raised)
        self._over.set()
        if watch.ident is not None:
            watch.join()
        self._send_all()
        if not self._refused:
            self._write({"ended": error}, b"")
        return 0

    def _gulp(self, stream: Iterator[Any]) -> None:
        """Read and send a slice after the other, each in one go."""
        read = self._read
        for value in stream:
            read.append(value)
            read.extend(islice(stream, SLICE - 1))
            self._send_all()
            if self._refused:
                return

    def _watch(self) -> None:
        """Send what a slow generator has given of a slice."""
        pause_s = FRESH_S
        while not self._over.wait(pause_s) and not self._refused:
            if self._read and time.monotonic() > self._sent_at + FRESH_S:
                pause_s = FRESH_S
                with self._sending:
                    # One by one, since the generator goes on meanwhile.
                    self._send_if_any([self._read.popleft() for _ in range(len(self._read))])
            else:
                pause_s = min(pause_s * 2, STALE_S / 2)

    def _send_all(self) -> None:
        """Send what was read; only where the generator runs."""
        with self._sending:
            values = list(self._read)
            self._read.clear()
            self._send_if_any(values)
            self._sent_at = time.monotonic()

    def _send_if_any(self, values: list[Any]) -> None:
        if values and not self._refused:
            self._refused = not self._send(values)

    def _resumed(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The stream after what the journal already has."""
        known = self._orders["slices"]
        if not known:
            return stream
        from coordinator.resume import rest_of

        rest, skipped = rest_of(stream, known, self._orders["journal"])
        self._position = skipped
        self._write({"skipped": skipped}, b"")
        return rest

    # --- sending ------------------------------------------------------------------------------------

    def _send(self, values: list[Any]) -> bool:
        """Send a slice; False when one of its IDs cannot travel, which ends the stream there."""
        first = ids.as_integers(values)
        if first is not None:
            self._write({"count": len(values), "digest": ids.integers_digest(first, len(values)), "first": first}, b"")
            self._position += len(values)
            return True
        try:
            text = ids.encode_lines(values)
        except UnservableTaskID as error:
            index = error.index or 0
            if index:
                self._send(values[:index])
            self._write({"ended": self._refusal(error)}, b"")
            return False
        if len(text) > SLICE_BYTES and len(values) > 1:
            half = len(values) // 2
            return self._send(values[:half]) and self._send(values[half:])
        self._write({"count": len(values), "digest": ids.slice_digest(text), "first": None}, text.encode("ascii"))
        self._position += len(values)
        return True

    def _refusal(self, error: UnservableTaskID) -> dict[str, Any]:
        message = f"the ID at position {self._position} of the stream: {error.message}"
        return {"kind": "UnservableTaskID", "message": message, "traceback": message + "\n", "where": "", "at": 0.0}

    def _write(self, head: dict[str, Any], text: bytes) -> None:
        head["bytes"] = len(text)
        whole = memoryview(text_of(head).encode() + b"\n" + text)
        try:
            while whole:
                whole = whole[os.write(self._out, whole) :]
        except BrokenPipeError:
            os._exit(0)  # the Coordinator is gone, and with it the reason to read on


def fork_feeder(make: Callable[[], Iterable[Any]], not_ours: Sequence[int] = ()) -> tuple[int, int, int]:
    """Fork the feeder out of a process that has loaded the script; returns (pid, orders descriptor, slices descriptor).

    It waits for its orders (one line of JSON, see :func:`run_feeder`) before it calls ``make``. ``not_ours``: those
    descriptors of the parent's whose other end waits for their closing.
    """
    orders_reading, orders_writing = os.pipe()
    reading, writing = os.pipe()

    def child() -> int:
        for descriptor in (orders_writing, reading, *not_ours):
            os.close(descriptor)
        return run_feeder(make, orders_reading, writing)

    pid = procs.fork(child)
    os.close(orders_reading)
    os.close(writing)
    return pid, orders_writing, reading


def start_feeder(argv: Sequence[str], orders: dict[str, Any]) -> tuple[int, int]:
    """Run the script anew as the feeder, in place of one that was killed; returns (pid, slices descriptor).

    Raises LaunchFailed.
    """
    reading, writing = os.pipe()
    # A file in memory: a pipe would keep the Coordinator waiting until the script is loaded.
    told = os.memfd_create("feeder-orders")
    log = paths.open_private(orders["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        with os.fdopen(os.dup(told), "wb") as file:
            file.write(json.dumps(orders).encode() + b"\n")
        os.lseek(told, 0, os.SEEK_SET)
        pid = procs.spawn(argv, {**os.environ, ROLE: f"feeder:{told}:{writing}"}, (told, writing), log)
    except BaseException:
        os.close(reading)
        raise
    finally:
        for descriptor in (writing, told, log):
            os.close(descriptor)
    return pid, reading


def run_feeder(make: Callable[[], Iterable[Any]], orders: int, out: int) -> int:
    """Be the feeder.

    Orders: ``{"parent": pid, "log": path, "slices": [[count, digest], ...], "journal": directory}``.
    """
    procs.reset_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the Coordinator's to answer
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    procs.die_with_parent()
    with os.fdopen(orders, "rb") as file:
        line = file.readline()
    if not line:
        return 0
    told = json.loads(line)
    if os.getppid() != told["parent"]:
        return 0  # it ended before the kernel could be asked to tell
    if told["log"]:
        log = paths.open_private(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    for stream in (sys.stdout, sys.stderr):  # a line that the generator prints is seen at once, and whole
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    return Feeder(make, out, told).feed()
