"""Attempts: what is put down of each execution of a task that failed, killed its processor or was interrupted.

The run makes one and tells it what the ledger has decided; the journal has a FAILED record of each, from which
``coordinator errors`` and ``history`` are read, and the log a line. It decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from coordinator.core import ids
from coordinator.core.ledger import Ledger, Verdict
from coordinator.core.records import Kind
from coordinator.hired import Hired
from coordinator.journal import Journal

log = logging.getLogger("coordinator.run")

DIED = "ProcessorDied"


class Attempts:
    """``clock``: time of day in seconds, for what people read."""

    def __init__(self, journal: Journal, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._journal, self._ledger, self._clock = journal, ledger, clock
        #: the traceback of the newest failure
        self.last_error = ""
        #: told of each failed attempt, for the log: position, attempt, final, hired, error
        self.on_failure: Callable[[int, int, bool, Hired, dict[str, Any]], None] = lambda *_: None

    def failed(self, lease: int, hired: Hired, verdict: Verdict, errors: dict[int, dict[str, Any]]) -> None:
        """``errors``: {position: what the processor said} of those that the verdict believes."""
        for position, attempt, final in verdict.failed:
            self._put_down(lease, hired, position, attempt, final, errors[position])

    def ended(self, lease: int, hired: Hired, verdict: Verdict, kind: str, words: str) -> None:
        """The task ended with its processor, by its own fault: ``kind`` is DIED or TaskTimeLimit."""
        for position, attempt, final in verdict.failed:
            error = {"kind": kind, "message": words, "traceback": words + "\n"}
            self._put_down(lease, hired, position, attempt, final, error, **({"died": True} if kind == DIED else {}))

    def interrupted(self, lease: int, hired: Hired, position: int, words: str) -> None:
        """An execution ended, and nobody is to blame; the task is begun again, and that is another attempt."""
        attempt = self._ledger.interrupt(position)
        shown = ids.shown(ids.decode(self._journal.id_text(position)))
        log.warning(
            "task interrupted id=%s attempt=%d processor=%d host=%s pid=%d: %s",
            *(shown, attempt, hired.number, hired.host, hired.pid, words),
        )
        error = {"kind": "Interrupted", "message": words, "traceback": words + "\n"}
        self._journal_it(lease, hired, position, attempt, False, error, lost=True)

    def _put_down(
        self, lease: int, hired: Hired, position: int, attempt: int, final: bool, error: dict[str, Any], **marks: bool
    ) -> None:
        self.last_error = str(error.get("traceback", ""))
        self.on_failure(position, attempt, final, hired, error)
        self._journal_it(lease, hired, position, attempt, final, error, **marks)

    def _journal_it(
        self, lease: int, hired: Hired, position: int, attempt: int, final: bool, error: dict[str, Any], **marks: bool
    ) -> None:
        told = {key: str(error.get(key, "")) for key in ("kind", "message", "traceback", "where")}
        self._journal.append(Kind.FAILED, {
            "pos": position, "n": lease, "p": hired.number, "attempt": attempt, "final": final, **marks, **told,
            "host": hired.host, "pid": hired.pid, "at": float(error.get("at") or self._clock()),
        })  # fmt: skip
