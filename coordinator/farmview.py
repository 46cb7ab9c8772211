"""What a ResourceController shows of itself: ``get_status`` in the shape of the manual, ``get_farm`` for our own tools.

Each host and each job that waits comes with the reason in words. Nothing is changed by looking.
"""

from __future__ import annotations

import math
import os
from typing import Any

import coordinator
from coordinator.core.health import RESTING
from coordinator.core.hosts import HostInfo
from coordinator.core.jobs import Job
from coordinator.core.rules import place_key
from coordinator.office import Office


def status(office: Office) -> list[Any]:
    """``[name, errlog, {host: load}, [[host, maxload]], [[name, url, priority, allocated, running, started]],
    {resource: [path, command]}, {'host:resource': path}, {'host:resource': pid}]``."""
    state, books = office.farm, office.books()
    jobs = [
        [
            job.beat.name,
            job.beat.url,
            job.beat.priority,
            sum(job.slots.values()),
            sum(job.processors.values()),
            job.started,
        ]
        for job in _in_order(office)
    ]
    return [
        office.name,
        office.errlog,
        state.loads(),
        [[host.name, host.maxload] for host in state.hosts.values()],
        jobs,
        {name: rule.to_wire() for book in books for name, rule in book.rules.items()},
        {place_key(place): path for book in books for place, path in book.built.items()},
        {place_key(place): lock.pid for book in books for place, lock in book.locks.items()},
    ]


def farm(office: Office) -> dict[str, Any]:
    """Everything that is known, by name; times are wall time in seconds, counts are processors."""
    state, books = office.farm, office.books()
    loads = state.loads()
    return {
        "name": office.name,
        "url": office.url,
        "pid": os.getpid(),
        "started": office.started,
        "version": getattr(coordinator, "__version__", ""),
        "log": office.errlog,
        "directory": office.directory,
        "throttle": state.throttle,
        "overload_margin": state.overload_margin,
        "rebalance_frequency": office.jobs.rebalance_frequency,
        "hosts_error": office.jobs.hosts_error,
        "hosts": {name: _host(office, host, loads[name]) for name, host in state.hosts.items()},
        "jobs": [_job(job, job.state(office.clock())) for job in _in_order(office)],
        "rules": {name: rule.to_wire() for book in books for name, rule in book.rules.items()},
        "built": [
            {"host": host, "resource": name, "path": path, **office.rules.birth(office.caller, (host, name))}
            for book in books
            for (host, name), path in book.built.items()
        ],
        "resources": {place_key(place): path for book in books for place, path in book.built.items()},
        "locks": {place_key(place): lock.pid for book in books for place, lock in book.locks.items()},
        "builds": [
            {
                "host": lock.host,
                "resource": lock.name,
                "pid": lock.pid,
                "lock": lock.number,
                "job": lock.job,
                "since": lock.since,
                "path": lock.rule.path,
            }
            for book in books
            for lock in book.locks.values()
        ],
        "failed_builds": {place_key(place): failure.reason for book in books for place, failure in book.failed.items()},
    }


def _in_order(office: Office) -> list[Job]:
    return sorted(office.farm.jobs.values(), key=lambda job: job.order)


def _host(office: Office, host: HostInfo, load: float) -> dict[str, Any]:
    state = office.farm
    running = state.running(host.name)
    slots = state.plan.room.get(host.name, 0)
    name, reason, since = "ok", None, None
    cut_off = [job.beat for job in state.jobs.values() if host.name in job.beat.unreachable]
    if cut_off:
        told, since = cut_off[0].unreachable[host.name], office.jobs.cut_off_since.get(host.name)
        if running:
            reason = f"job {cut_off[0].name!r} cannot use it: {told}"
        else:
            name, reason = "resting" if told.startswith(RESTING) else "unreachable", told.removeprefix(RESTING)
    elif barred := [hosts[host.name] for hosts in state.barred.values() if host.name in hosts]:
        reason = barred[0]
    elif host.maxload <= 0:
        reason = "its maxload is 0: it is not to be used"
    elif slots < math.floor(host.maxload):
        reason = f"other work on it leaves {slots} of {host.maxload:g} slots (load {load:.2f})"
    return {
        "maxload": host.maxload,
        "load": load,
        "memory_available_bytes": state.memory_available_bytes(host.name),
        "slots": slots,
        "processors": running,
        "state": name,
        "reason": reason,
        "since": since,
        "options": dict(host.options),
    }


def _job(job: Job, state: str) -> dict[str, Any]:
    beat = job.beat
    reason = job.reason
    if state == "lost":
        reason = "its Coordinator is silent; it leaves the queue if it stays so"
    return {
        "name": beat.name,
        "url": beat.url,
        "fingerprint": beat.fingerprint or None,
        "user": beat.user,
        "priority": beat.priority,
        "immediate": beat.immediate,
        "demand_ncpu": beat.demand_ncpu,
        "ncpu_limit": beat.ncpu_limit,
        "run": beat.run,
        "pid": beat.pid,
        "host": beat.host,
        "directory": beat.directory,
        "resources": list(beat.resources),
        "processors": sum(job.processors.values()),
        "slots": sum(job.slots.values()),
        "state": state,
        "reason": reason,
        "started": job.started,
    }
