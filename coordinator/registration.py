"""Registration: a job at its ResourceController, what it tells of itself there and what it hears.

The task server makes one over a :class:`~coordinator.link.Link`. It passes slots on to the crew, tickets to the door,
and processors' questions about resources back and forth; it decides nothing.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from typing import Any, NamedTuple

from coordinator.core.exchange import text_of
from coordinator.door import Door
from coordinator.errors import CoordinatorError
from coordinator.job import Job
from coordinator.link import Link
from coordinator.wire.server import Call


class Claims(NamedTuple):
    """What a job asks for: the manual's options."""

    priority: float = 1.0
    immediate: bool = False
    demand_ncpu: int = 0
    ncpu_limit: int = 999999


class Registration:
    """``host``: the name of the one host where processors run, or None where each says its own."""

    def __init__(self, job: Job, door: Door, link: Link, claims: Claims, host: str | None) -> None:
        self._job, self._door, self._link, self._claims, self._host = job, door, link, claims, host
        #: the newest plan that was taken up
        self._seen = 0

    def first(self) -> dict[str, Any] | None:
        """Register; the plan that comes back is to be heeded. Raises ControllerLost."""
        return self._link.first(self._told())

    def tell(self) -> dict[str, Any]:
        """How the job stands, and who is gone since the last time."""
        crew = self._job.crew
        return {
            **self._told(),
            "ncpu_limit": min(self._claims.ncpu_limit, crew.limit),
            "processors": crew.counted(),
            "loads": crew.loads(),
            "memory": crew.memory(),
            "unreachable": crew.cut_off(self._job.now()),
            "gone": crew.take_gone(),
        }

    def _told(self) -> dict[str, Any]:
        """What is known before there is a crew."""
        job, claims = self._job, self._claims
        return {
            "name": job.name, "url": job.url, "user": getpass.getuser(), "priority": claims.priority,
            "resources": sorted(job.resources), "immediate": claims.immediate, "demand_ncpu": claims.demand_ncpu,
            "ncpu_limit": claims.ncpu_limit, "run": job.run_id, "host": socket.gethostname(), "pid": os.getpid(),
            "fingerprint": self._door.fingerprint or "", "directory": job.directory,
            "wants": min(job.useful(), 1 << 20), "processors": {}, "loads": {}, "memory": {},
            "unreachable": {}, "gone": [], "seen": self._seen, "wait_s": 0.0, "since": job.started,
        }  # fmt: skip

    def heed(self, plan: dict[str, Any] | None) -> None:
        """Take up the ResourceController's plan."""
        if plan is None:
            return
        job = self._job
        self._seen = plan["version"]
        job.queued = plan.get("queued")
        self._door.admit(plan.get("visitors"))
        job.crew.heed(dict(plan["slots"]), plan["hosts"], plan.get("retry"), plan.get("look", ()))
        job.crew.step(job.now(), job.useful())

    def ask(self, call: Call) -> None:
        """A processor's question about a resource goes there, and the answer back."""
        self._job.log.info("%s %s", call.method, call.params[0])
        note = {**json.loads(call.params[0]), "job": self._job.run_id}
        if self._host is not None:
            note["host"] = self._host

        def heard(answer: dict[str, Any] | CoordinatorError) -> None:
            if isinstance(answer, CoordinatorError):
                call.fault(answer)
            else:
                call.answer(text_of(answer))

        self._link.ask(call.method, note, heard)

    def finish(self) -> None:
        """The job is over."""
        over = self._job.over
        self._link.finish("done" if over is not None and over.ok else "ended")
