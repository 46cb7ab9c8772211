"""What a Coordinator says of itself: the dictionary behind get_job, the monitors and every ``--json``."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator.taskserver import Coordinator

#: groups of errors that are shown
GROUPS = 10


def describe(server: Coordinator) -> dict[str, Any]:
    """The job as it stands; its shape is documented in docs/json.rst."""
    run, ledger, crew = server.run, server.run.ledger, server.crew
    now = server.now()
    state, reason = server.state()
    current = {number: run.current(hired, now) for number, hired in run.hired.items()}
    running = sum(1 for position, _ in current.values() if position >= 0)
    total = ledger.count if ledger.ended else None
    remaining = ledger.count - ledger.settled
    rate = server.rate.per_s
    return {
        "name": server.name,
        "run": server.run_id,
        "life": server.life,
        "url": server.url,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "directory": os.path.dirname(os.path.abspath(server.files.base)),
        "script": server.script,
        "state": state,
        "reason": reason,
        "started": server.started,
        "done": ledger.done,
        "failed": ledger.failed,
        "leased": ledger.leased,
        "running": running,
        "todo": ledger.todo.total(),
        "waiting": ledger.waiting,
        "read": ledger.count,
        "ended": ledger.ended,
        "total": total,
        "before": server.before,
        "late": ledger.late,
        "rate_per_s": round(rate, 3),
        "eta_s": round(remaining / rate, 1) if ledger.ended and rate > 0 else None,
        "processors": [
            {
                "number": hired.number,
                "host": hired.host,
                "pid": hired.pid,
                "state": "stopped"
                if hired.frozen
                else "leaving"
                if hired.leaving
                else "waiting"
                if hired.waiting
                else "working",
                "done": hired.done,
                "failed": hired.failed,
                "task": run.task_text(position) if position >= 0 else None,
                "since_s": round(now - since_s, 1) if position >= 0 else None,
                "log": hired.log,
            }
            for hired in sorted(run.hired.values(), key=lambda hired: hired.number)
            for position, since_s in [current[hired.number]]
        ],
        "hosts": {
            host: {
                "slots": slots,
                "processors": crew.counted().get(host, 0),
                "reason": crew.unreachable.get(host) or resting(crew, host, now),
            }
            for host, slots in crew.slots.items()
        },
        "unreachable": dict(crew.unreachable),
        "errors": [
            {
                "kind": group.kind,
                "where": group.where,
                "message": group.message,
                "count": group.count,
                "first_ids": [run.task_text(position) for position in group.first],
                "traceback": group.traceback,
            }
            for group in sorted(server.journal.errors(), key=lambda group: -group.count)[:GROUPS]
        ],
        "last_error": run.last_error,
        "log": server.errlog,
        "resources": sorted(server.resources),
        "rc_url": server.rc_url,
    }


def resting(crew: Any, host: str, now: float) -> str | None:
    rest = crew.health.resting(host, now)
    return None if rest is None else f"{rest.reason}; tried again in {rest.until - now:.0f} s"


class Rate:
    """Tasks a second, smoothed over about ten seconds."""

    def __init__(self) -> None:
        self.per_s = 0.0
        self._settled: int | None = None
        self._at = 0.0
        self._weight = 0.0

    def look(self, settled: int, now: float) -> None:
        if self._settled is None:
            self._settled, self._at = settled, now
            return
        passed = now - self._at
        if passed < 0.2:
            return
        rate = (settled - self._settled) / passed
        share = min(1.0, passed / 10.0)
        # The first looks count in full, so that the estimate does not start from nothing.
        self._weight = self._weight * (1 - share) + share
        self.per_s += (rate - self.per_s) * share / self._weight
        self._settled, self._at = settled, now
