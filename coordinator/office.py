"""The office of a ResourceController: its desks for hosts and jobs, for rules and for users, and who stands there now.

The wire says before each call who calls (``caller``, ``author``); the notes of resource.py and the calls of classic.py
and directives.py are carried out at the desks. What concerns more than one desk is here: the end of a job frees its
locks, a port that somebody else has now is no longer that job's. It speaks no wire.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from coordinator.core.farm import Farm
from coordinator.core.hosts import HostInfo
from coordinator.core.jobs import Job
from coordinator.core.rules import Place, RuleBook
from coordinator.errors import NotAuthorised
from coordinator.farmdesk import FarmDesk
from coordinator.ruledesk import RuleDesk
from coordinator.userdesk import UserDesk, user_name
from coordinator.userrules import Rules
from coordinator.users import OWNER

log = logging.getLogger("coordinator.resource")


class Office:
    """``name``: of the ResourceController and of its files in ``directory``; ``hosts`` None: NAME.hosts has them."""

    def __init__(
        self,
        name: str,
        directory: str,
        errlog: str,
        hosts: Mapping[str, float | HostInfo] | None,
        throttle: float,
        overload_margin: float,
        rebalance_frequency: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.name, self.directory, self.errlog = name, directory, errlog
        self.clock, self.wall = clock, wall
        self.url = ""
        self.started = wall()
        #: who calls, for the log; the wire sets it before each call
        self.author = ""
        #: who calls, by the token that was shown: the owner or the name of a user; set before each call too
        self.caller = OWNER
        self.on_stop: Callable[[], None] | None = None
        #: told when a user is removed: what was granted to that name counts no more
        self.on_removed: Callable[[str], None] = lambda _: None
        # Numbers of this life are larger than those of earlier ones, so that nobody takes an old answer for a new one.
        first = int(self.started * 1000) << 10
        base = os.path.join(directory, name)
        self.jobs = FarmDesk(base, hosts, first, throttle, overload_margin, rebalance_frequency, clock)
        self.farm.born = self.started
        self.users = UserDesk(f"{base}.users" if hosts is None else None, self.farm)
        self.rules = Rules(base, hosts is not None, first, self.users.names())
        #: which rules rest where, and which jobs there were when they were barred
        self._failures: tuple[object, ...] = ()

    @property
    def farm(self) -> Farm:
        return self.jobs.farm

    @property
    def version(self) -> int:
        """Rises whenever a question that had no answer may have one now."""
        return self.farm.version + self.rules.version

    # --- who calls ---

    def user(self) -> str:
        """The caller's name as it was proven, whatever a job says of itself."""
        return user_name() if self.caller == OWNER else self.caller

    def owner_only(self, what: str) -> None:
        if self.caller != OWNER:
            raise NotAuthorised(f"only the owner of {self.name} may {what}, and you are {self.caller}")

    def did(self, message: str, *args: object) -> None:
        """Each request is logged with its author."""
        log.info(message + " by=%s", *args, self.author or os.environ.get("USER") or f"uid {os.geteuid()}")

    # --- jobs ---

    def claim(self, url: str) -> None:
        """The caller registers a job at ``url``: nobody speaks for a job of somebody else."""
        job = self.farm.jobs.get(url)
        if job is not None and self.users.owner_of(url) != self.caller:
            if job.state(self.clock()) != "lost":
                self.check_job(url)
            self.drop(url)  # a dead one's port is somebody else's now
        self.users.register(url, self.caller)

    def check_job(self, url: str) -> None:
        self.users.check(url, self.caller)

    def drop(self, url: str) -> None:
        job = self.farm.drop(url, self.clock())
        if job is not None:
            self._job_gone(url, job)
        self.users.forget(url)

    def _job_gone(self, url: str, job: Job) -> None:
        self.rules.job_gone(self.users.owner_of(url), job, self.clock())

    # --- rules, as the caller meets them ---

    def desk(self, name: object) -> RuleDesk:
        return self.rules.desk(self.caller, name)

    def look_at_rules(self) -> None:
        """A host where a rule failed rests for the jobs that declare its resource. Call it when a rule may have failed,
        or a job may be new."""
        now = self.clock()
        failures = self.rules.failures(now)
        seen = (failures, tuple(self.farm.jobs)) if failures else ()
        if seen == self._failures:
            return
        self._failures = seen
        self.farm.bar(
            {
                url: self.rules.resting(self.users.owner_of(url), job.beat.resources, now)
                for url, job in self.farm.jobs.items()
            }
        )
        self.jobs.rebalance_soon()

    def books(self) -> list[RuleBook]:
        return self.rules.books(self.caller)

    def check_lock(self, desk: RuleDesk, place: Place) -> None:
        self.rules.check_lock(self.caller, desk, place)

    def processor_gone(self, host: str, pid: int) -> None:
        self.rules.processor_gone(self.caller, host, pid, self.clock())

    # --- time ---

    def tick(self) -> None:
        for job in self.jobs.tick():
            self._job_gone(job.beat.url, job)
        self.look_at_rules()
        self.users.tidy()
        self.rules.tidy(self.clock())

    def close(self) -> None:
        """Close the shelves."""
        self.rules.close()
        self.jobs.close()
