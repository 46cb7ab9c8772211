"""Job: what a Coordinator knows of the work that it serves, and the words for how it stands.

The task server makes one and fills it as it opens; turns, feed, face, ending, description and progress all read it,
and so need not know each other. It opens nothing, answers nobody, and takes no turns.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from coordinator import paths
from coordinator.core.records import Kind
from coordinator.crew import Crew
from coordinator.hand import now as steady
from coordinator.journal import Journal
from coordinator.run import Run


class Outcome(NamedTuple):
    """How a run ended. ``exit_status``: 0 all done, 1 some tasks failed or the job could not go on, 130 interrupted."""

    name: str
    done: int
    failed: int
    left: int
    reason: str | None
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        return not (self.failed or self.left or self.reason)

    @property
    def exit_status(self) -> int:
        return 130 if self.interrupted else 0 if self.ok else 1


class Job:
    """One job in one life of its Coordinator. Raises BadName.

    ``resources``: {name: (path, command), or None for a rule of the ResourceController}.
    """

    #: filled in as the task server opens
    journal: Journal
    run: Run
    crew: Crew
    run_id: str
    #: where it is served
    url: str

    def __init__(
        self, name: str, script: str, directory: str | os.PathLike[str], resources: dict[str, Any], errlog: str | bool
    ) -> None:
        self.name = paths.check_name(name)
        self.script = os.path.abspath(script)
        self.files = paths.JobFiles(directory, name)
        self.directory = os.path.dirname(os.path.abspath(self.files.base))
        self.resources = resources
        self.errlog = os.path.abspath(errlog) if isinstance(errlog, str) and errlog else os.path.abspath(self.files.log)
        self.rc_url: str | None = None
        self.log = logging.getLogger("coordinator.job")
        self.now = steady
        #: the time of day, and the same moment in steady seconds
        self.started, self.began = time.time(), steady()
        #: which life of the run this is, from 1, and the tasks that were done in earlier ones
        self.life, self.before = 1, 0
        self.rate = Rate()
        #: why the journal cannot be written, while it cannot
        self.stalled: str | None = None
        #: why the ResourceController gives it no slot
        self.queued: str | None = None
        self.interrupted = False
        self.over: Outcome | None = None

    @property
    def own_rules(self) -> dict[str, Any]:
        """Those that the job brought: {resource: (path, command)}."""
        return {name: rule for name, rule in self.resources.items() if rule is not None}

    def useful(self) -> int:
        """How many processors there is work for."""
        ledger = self.run.ledger
        return ledger.count - ledger.settled if ledger.ended else 1 << 30

    def stop(self, message: str) -> None:
        """End in order: running tasks finish, nothing new begins."""
        if self.run.stopping is None:
            self.log.info("stop: %s", message)
            self.run.stopping = message

    def redo(self, what: Any) -> int:
        """Make settled tasks TODO again; returns how many."""
        from coordinator.redo import positions_of

        ranges, done, failed = positions_of(self.journal, what)
        if ranges:
            self.journal.append(Kind.REDO, {"r": ranges})
            self.run.ledger.redo([(a, b) for a, b in ranges], done, failed)
        return done + failed

    def state(self) -> tuple[str, str | None]:
        """One word, and the reason in words."""
        if self.over is not None:
            return ("done" if self.over.ok else "failed"), self.over.reason
        if self.stalled is not None:
            return "stalled", self.stalled
        if self.run.stopping is not None:
            return "stopping", self.run.stopping
        if self.run.ledger.finished:
            return "finishing", None
        if self.run.hired:
            return "running", self.run.reason
        return ("waiting" if self.run.departed else "starting"), self._why_nobody()

    def _why_nobody(self) -> str | None:
        if self.queued:
            return str(self.queued)
        if self.crew.unreachable:
            return "; ".join(f"{host}: {why}" for host, why in self.crew.unreachable.items())
        if rests := self.crew.health.all_resting(self.now()):
            return "; ".join(f"{host} rests: {rest.reason}" for host, rest in rests.items())
        return None


def rules_by_name(resources: Iterable[str] | dict[str, Any]) -> dict[str, Any]:
    """The third argument of start_client_or_server as a dictionary: a name alone has no rule of its own."""
    return resources if isinstance(resources, dict) else dict.fromkeys(resources)


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
