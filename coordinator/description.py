"""What a Coordinator says of itself: the dictionary behind get_job, the monitors and every ``--json``."""

from __future__ import annotations

import os
import socket
from typing import Any

from coordinator.crew import Crew
from coordinator.job import Job
from coordinator.wire.codec import legible

#: groups of errors that are shown
GROUPS = 10


def describe(job: Job) -> dict[str, Any]:
    """The job as it stands; its shape is documented in docs/json.rst."""
    run, ledger, crew = job.run, job.run.ledger, job.crew
    now = job.now()
    state, reason = job.state()
    current = {number: run.current(hired, now) for number, hired in run.hired.items()}
    counted, waits = crew.counted(), crew.waits()
    running = sum(1 for position, _ in current.values() if position >= 0)
    total = ledger.count if ledger.ended else None
    remaining = ledger.count - ledger.settled
    rate = job.rate.per_s
    told: dict[str, Any] = legible({
        "name": job.name,
        "run": job.run_id,
        "life": job.life,
        "url": job.url,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "directory": job.directory,
        "script": job.script,
        "state": state,
        "reason": reason,
        "started": job.started,
        "done": ledger.done,
        "failed": ledger.failed,
        "leased": ledger.leased,
        "running": running,
        "todo": ledger.todo.total(),
        "waiting": ledger.waiting,
        "read": ledger.count,
        "ended": ledger.ended,
        "total": total,
        "before": job.before,
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
                if run.waits(hired.number)
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
                "processors": 0 if host in waits else counted.get(host, 0),
                "waits": waits.get(host),
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
            for group in sorted(job.journal.errors(), key=lambda group: -group.count)[:GROUPS]
        ],
        "last_error": run.attempts.last_error,
        "log": job.errlog,
        "resources": sorted(job.resources),
        "rc_url": job.rc_url,
    })  # fmt: skip
    return told


def resting(crew: Crew, host: str, now: float) -> str | None:
    rest = crew.health.resting(host, now)
    return None if rest is None else f"{rest.reason}; tried again in {rest.until - now:.0f} s"
