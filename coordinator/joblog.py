"""What NAME.log says of tasks: each failure with its traceback, so many a second, and reports that came too late.

The task server makes one for its job and lets it look at each tick. The journal has every failure; this only tells.
"""

from __future__ import annotations

from typing import Any

from coordinator.core.ids import shown
from coordinator.hired import Hired
from coordinator.job import Job
from coordinator.logs import Trickle

#: tracebacks that are logged in a second; the rest is counted
FAILURES_PER_S = 5


class JobLog:
    """Told of each failed attempt by the run."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._late = 0
        self._failures = Trickle(job.log, f"failures (see `coordinator errors {job.name}`)", FAILURES_PER_S)
        job.run.attempts.on_failure = self.failure

    def failure(self, position: int, attempt: int, final: bool, hired: Hired, error: dict[str, Any]) -> None:
        """One line and the traceback."""
        if not self._failures.fits():
            return
        job = self._job
        job.log.error(
            "task failed id=%s position=%d attempt=%d%s processor=%d host=%s pid=%d %s: %s",
            shown(job.run.id_of(position)), position, attempt, "" if final else " (to be tried again)", hired.number,
            hired.host, hired.pid, error.get("kind"), error.get("message"), extra={"traceback": error.get("traceback")},
        )  # fmt: skip

    def look(self) -> None:
        """Say how many failures were only counted, and how many late reports there were, if there are more of them."""
        self._failures.tick()
        late = self._job.run.ledger.late
        if late > self._late:
            self._job.log.info("late reports so far: %d tasks, not accepted", late)
            self._late = late

    def close(self) -> None:
        """The job is over: what was only counted is told now."""
        self._failures.flush()
        self.look()
