"""The hosts and jobs of a farm, kept up to date: core.farm with its hosts file, its log, and when to make a new Plan.

The ResourceController asks it for everything about hosts, loads and jobs. Every event makes a new Plan at once where
that is quick; in a farm so large that it is not, one Plan serves many events. It tells nobody; who waits asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from coordinator.changes import Changes
from coordinator.core.beats import Beat, check_text
from coordinator.core.farm import Farm
from coordinator.core.hosts import HostInfo, check_host, check_maxload
from coordinator.core.jobs import Job
from coordinator.errors import HostsFileError, NoSuchJob, UnknownHost
from coordinator.hostsfile import HostsFile

log = logging.getLogger("coordinator.resource")

#: a load that hardly changed is logged no more often than this
_LOAD_LOG_S = 60.0
_LOAD_LOG_STEP = 0.5


class FarmDesk:
    """``base`` is directory/NAME; with ``hosts`` ({name: slots}) there is no hosts file, and load does not matter."""

    def __init__(
        self,
        base: str,
        hosts: Mapping[str, float | HostInfo] | None,
        first: int,
        throttle: float,
        overload_margin: float,
        rebalance_frequency: float,
        clock: Callable[[], float],
    ) -> None:
        self.rebalance_frequency = rebalance_frequency
        self.hosts_error: str | None = None
        #: wall time since which a host cannot be used by some job
        self.cut_off_since: dict[str, float] = {}
        self._clock = clock
        self._throttle_option = throttle
        self._changes = Changes(base if hosts is None else None)
        self._hosts = HostsFile(f"{base}.hosts" if hosts is None else None, _table(hosts or {}), self._changes)
        self.farm = Farm(first, self._changes.throttle(throttle), overload_margin, loads_matter=hosts is None)
        self.farm.set_hosts(self._hosts.table)
        self._logged_loads: dict[str, tuple[float, float]] = {}
        self._balanced = clock()
        self._balancing_s = 0.0

    @property
    def has_file(self) -> bool:
        return self._hosts.path is not None

    # --- jobs ---

    def hear(self, beat: Beat, at: float) -> Job:
        """A Coordinator's beat; the first one registers it."""
        now = self._clock()
        job, new = self.farm.hear(beat, now, at)
        if new:
            log.info(
                "register_coordinator %s url=%s user=%s priority=%g immediate=%s demand_ncpu=%d run=%s",
                *(beat.name, beat.url, beat.user, beat.priority, beat.immediate, beat.demand_ncpu, beat.run),
            )
        for host, load in beat.loads.items():
            self._log_load(host, load, now, beat.name)
        for host, reason in beat.unreachable.items():
            if self.cut_off_since.setdefault(host, at) == at:
                log.warning("host %s cannot be used by %s: %s", host, beat.name, reason)
        usable = self.cut_off_since.keys() - {host for one in self.farm.jobs.values() for host in one.beat.unreachable}
        for host in usable:
            del self.cut_off_since[host]
            log.info("host %s can be used again", host)
        return job

    def answer(self, job: Job, seen: int | None) -> dict[str, Any] | None:
        """What a Coordinator is told; None if it has ``seen`` that already."""
        if job.version in (0, seen):
            return None
        # Those that it could not use it tries again, by their line as it is now.
        told = self.farm.hosts.keys() & {*job.slots, *job.look, *job.beat.unreachable}
        hosts = {name: self.farm.hosts[name].attributes() for name in sorted(told)}
        answer = {"version": job.version, "slots": dict(job.slots), "hosts": hosts, "queued": job.reason}
        answer["look"] = list(job.look)
        return {**answer, "retry": self.farm.retry}

    def late_answer(self, url: str, seen: int | None) -> dict[str, Any] | None:
        """The same for a Coordinator that waits; seen None: tell it in any case."""
        job = self.farm.jobs.get(url)
        if job is None:
            raise NoSuchJob(f"{url} is no longer registered; its next beat registers it again")
        if seen is None and self.farm.due:
            self.rebalance()
        return self.answer(job, seen)

    def job(self, url: str) -> Job:
        job = self.farm.jobs.get(check_text("url", url))
        if job is None:
            raise NoSuchJob(f"no coordinator is registered with the URL {str(url)[:200]}")
        return job

    # --- hosts ---

    def known(self, host: str) -> HostInfo:
        known = self.farm.hosts.get(check_host(host))
        if known is None:
            raise UnknownHost(f"{str(host)[:253]!r} is none of the hosts; add it to the hosts file or by set_hostinfo")
        return known

    def set_maxload(self, host: str, maxload: object) -> None:
        self._hosts.set_maxload(check_host(host), check_maxload(maxload))
        self.farm.set_hosts(self._hosts.table)

    def set_throttle(self, throttle: float) -> None:
        self._changes.set_throttle(throttle, self._throttle_option)
        self.farm.throttle = throttle

    def forget_changes(self) -> None:
        """What people changed by call ends with this life."""
        self._changes.forget()

    def close(self) -> None:
        self._changes.close()

    def look_at_hosts_file(self) -> None:
        """Take up an edit; a bad one is logged and shown, and the old table stays."""
        try:
            if self._hosts.look():
                self.farm.set_hosts(self._hosts.table)
                self.hosts_error = None
                log.info("hosts file read again: %d hosts", len(self.farm.hosts))
        except HostsFileError as error:
            self.hosts_error = error.message
            log.error("the edited hosts file is not used, the old table stays: %s", error.message)

    # --- the Plan ---

    def tick(self) -> list[Job]:
        """Time passes. Returns the jobs that are out of the queue because nobody heard of them."""
        now = self._clock()
        self.look_at_hosts_file()
        lost = self.farm.expire(now)
        for job in lost:
            log.warning("coordinator %s is out of the queue: nothing heard from %s", job.beat.name, job.beat.url)
        self.farm.grow_old(now)
        if self.farm.due or now - self._balanced >= self.rebalance_frequency:
            self.rebalance()
        return lost

    def rebalance_soon(self) -> None:
        """At once in a small farm; where a Plan takes long, tick() makes one for many events."""
        if self.farm.due and self._clock() - self._balanced >= 10 * self._balancing_s:
            self.rebalance()

    def rebalance(self) -> None:
        begun = self._clock()
        for job in self.farm.rebalance(begun):
            log.info("slots %s %s%s", job.beat.name, dict(job.slots), f" ({job.reason})" if job.reason else "")
        self._balanced = self._clock()
        self._balancing_s = self._balanced - begun

    def _log_load(self, host: str, load: float, now: float, name: str) -> None:
        last, last_now = self._logged_loads.get(host, (-_LOAD_LOG_STEP, now))
        if abs(load - last) >= _LOAD_LOG_STEP or now - last_now >= _LOAD_LOG_S:
            self._logged_loads[host] = (load, now)
            log.info("report_load host=%s load=%.2f by=%s", host, load, name)


def _table(hosts: Mapping[str, float | HostInfo]) -> dict[str, HostInfo]:
    return {
        name: host if isinstance(host, HostInfo) else HostInfo(check_host(name), check_maxload(host))
        for name, host in hosts.items()
    }
