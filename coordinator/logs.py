"""The log of a process: one line per event, private, and never a reason to fail.

Each process of a run calls open_log() once at its start; all rooms then write through ``logging.getLogger(__name__)``.
A line is ``2026-01-01 12:00:00.123 verb details``; control characters of values are escaped, so that no ID or message
can forge a line; tracebacks stand indented below their line. When the disk is full, lines are lost and counted, and
the count is written when there is room again. This file never rotates, never sends, and raises nothing at a write.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from coordinator import paths

if TYPE_CHECKING:
    import asyncio

#: The logger above all of ours; what happens to it happens to ``coordinator.*``.
ROOT = "coordinator"

#: Control characters, and what terminals or editors take for the end of a line.
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}

#: The same for the lines of a traceback, where a tab may stand.
_ESCAPES_OF_LINE = {number: text for number, text in _ESCAPES.items() if number != ord("\t")}

_PREFIX = {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}


def open_log(path: str | os.PathLike[str] | None, level: int = logging.INFO) -> logging.Logger:
    """Send what ``coordinator.*`` logs to a file (appended, 0600) or, with None, to stderr; returns the logger.

    What was opened before is closed. Raises OSError or StateError if the file cannot be opened: at its start a
    process can still say so on the terminal.
    """
    handler = _LineHandler(None if path is None else paths.open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    close_log()
    log = logging.getLogger(ROOT)
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False  # a user's script may have set up the root logger for itself
    return log


def close_log() -> None:
    """Undo open_log(); without it having been called, nothing happens."""
    log = logging.getLogger(ROOT)
    for handler in [handler for handler in log.handlers if isinstance(handler, _LineHandler)]:
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.NOTSET)
    log.propagate = True


def tell_of_end(log: logging.Logger, what: str, task: asyncio.Task[None]) -> None:
    """When a task is done that goes on until it is cancelled: that it ended by a fault of ours must not stay unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s: %r", what, error, exc_info=error)


class LineFormatter(logging.Formatter):
    """One event, one line; a traceback (of the exception, or text given as ``extra={"traceback": ...}``) below it."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self._time(record)} {_PREFIX.get(record.levelno, '')}{record.getMessage().translate(_ESCAPES)}"
        below = str(getattr(record, "traceback", "") or "")
        if record.exc_info:
            below += self.formatException(record.exc_info)
        if not below:
            return line
        lines = [text.translate(_ESCAPES_OF_LINE) for text in below.rstrip("\n").split("\n")]
        return "\n    ".join([line, *lines])

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:  # strftime is the dear part of a line, and most lines share their second
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._stamp}.{int(record.msecs):03d}"


class Trickle:
    """Lines of an event that may come thousands of times a second: so many a second are logged, the rest counted.

    ``what`` names the event in the line that gives the count. Call tick() now and then (the loop's tick), so that the
    count appears although no further event comes.
    """

    def __init__(
        self,
        log: logging.Logger,
        what: str,
        rate_per_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._what = what
        self._window_s = max(1.0, 1.0 / rate_per_s)
        self._most = max(1, round(rate_per_s * self._window_s))
        self._clock = clock
        self._begun = clock()
        self._shown = 0
        self._counted = 0

    def info(self, message: str, *args: object) -> bool:
        """Log the event as ``log.info(message, *args)`` does, or count it; says whether it was logged."""
        fits = self.fits()
        if fits:
            self._log.info(message, *args)
        return fits

    def fits(self) -> bool:
        """May the caller log one event more? If not, it is counted."""
        now = self._clock()
        if now - self._begun >= self._window_s:
            self._next_window(now)
        if self._shown >= self._most:
            self._counted += 1
            return False
        self._shown += 1
        return True

    def tick(self) -> None:
        """Log the count if its time is over."""
        now = self._clock()
        if self._counted and now - self._begun >= self._window_s:
            self._next_window(now)

    def flush(self) -> None:
        """Log the count now, at the end."""
        self._next_window(self._clock())

    def _next_window(self, now: float) -> None:
        if self._counted:
            self._log.info("counted %d more %s in %.1f s", self._counted, self._what, now - self._begun)
        self._begun, self._shown, self._counted = now, 0, 0


class _LineHandler(logging.Handler):
    """Writes each event with one write(2) to a file of its own, or to what sys.stderr is at that moment."""

    def __init__(self, fd: int | None) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self._fd = fd
        self._lost = 0
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's contract: a wrong call of log.info() must not stop the work
            self.handleError(record)
            return
        if self._lost:
            line = f"{line[:23]} warning: lost {self._lost} lines of this log, which could not be written\n{line}"
        # "backslashreplace": names of files may hold bytes that are no UTF-8, as lone surrogates.
        if self._write(("\n" * self._torn + line + "\n").encode("utf-8", "backslashreplace")):
            self._lost = 0
        else:
            self._lost += 1

    def _write(self, line: bytes) -> bool:
        try:
            if self._fd is None:
                sys.stderr.write(line.decode())
                sys.stderr.flush()
                return True
            written = os.write(self._fd, line)
        except (OSError, ValueError, AttributeError):  # no room, closed, no stderr
            return False
        self._torn = (self._torn and written == 0) or 0 < written < len(line)
        return written == len(line)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        super().close()
