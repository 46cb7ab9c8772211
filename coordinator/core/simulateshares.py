"""What must be true of a Plan: the judge of core/simulatefarm.py.

It reckons rooms and shares in a way of its own, where nothing but order, priority and limits matters, and raises
Violation where the Plan differs. It changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from coordinator.core.farm import Farm
from coordinator.core.loads import FRESH_IF_IDLE_S, SPIKE_S
from coordinator.core.simulateplay import demand

#: when the load of a host was told, and whether other people overload it
Report = tuple[float, bool]


def judge(farm: Farm, now: float, reports: Mapping[str, Sequence[Report]]) -> None:
    """Is the farm's Plan as promised? ``reports``: by host, oldest first."""
    slots = farm.plan.slots
    used: Counter[str] = Counter()
    for job in farm.jobs.values():
        beat, mine = job.beat, slots[job.beat.url]
        used.update(mine)
        demand(not set(mine) & set(beat.unreachable), f"{beat.name} has slots on hosts that it cannot reach")
        limits = [limit for limit in (beat.ncpu_limit, beat.wants) if limit is not None]
        demand(sum(mine.values()) <= min(limits, default=1 << 30), f"{beat.name} has more than its limit")
    most = 0
    for host, info in farm.hosts.items():
        told = reports.get(host, [])
        room = min(math.ceil(info.maxload), math.floor(info.maxload + farm.overload_margin + 1e-9))
        last = told[-1][0] if told else -math.inf
        if told and now - last <= FRESH_IF_IDLE_S and all(over for at, over in told if at >= last - SPIKE_S):
            demand(used[host] == 0, f"{host} is overloaded, and has {used[host]} processors to carry")
        demand(used[host] <= room, f"{host} has {used[host]} processors to carry, and room for {room}")
        if not told or any(not over for at, over in told if at >= last - SPIKE_S):
            words = f"nobody else uses {host} but for a moment, and its room is {farm.plan.room[host]} of {room}"
            demand(farm.plan.room[host] == room, words)
        most += farm.plan.room[host]
    demand(not set(used) - set(farm.hosts), "a host that is none has slots")
    _judge_shares(farm, most)


def _judge_shares(farm: Farm, available: int) -> None:
    """No slot lost, the queue kept, priorities exact: where nothing but priority and order matters."""
    jobs = sorted(farm.jobs.values(), key=lambda job: job.order)
    if any(job.beat.demand_ncpu or job.beat.unreachable for job in jobs):
        return
    capacity = math.floor(sum(info.maxload for info in farm.hosts.values()) * farm.throttle + 1e-9)
    pool = min(available, capacity)
    line = [job for job in jobs if job.beat.priority > 0]
    got = [sum(farm.plan.slots[job.beat.url].values()) for job in line]
    free = [job.beat.ncpu_limit is None and job.beat.wants is None for job in line]
    if any(free):
        demand(sum(got) == pool, f"{sum(got)} of {pool} slots are given, and somebody could use the rest")
    if line and all(free):
        sharing = [place == 0 or job.beat.immediate for place, job in enumerate(line)]
        weights = [Fraction(job.beat.priority) * shares for job, shares in zip(line, sharing, strict=True)]
        quotas = [pool * weight / sum(weights, Fraction(0)) for weight in weights]
        parts = [math.floor(quota) for quota in quotas]
        order = sorted(range(len(parts)), key=lambda at: (parts[at] - quotas[at], at))
        for at in order[: pool - sum(parts)]:
            parts[at] += 1
        demand(got == parts, f"shares are {got}, and by priority {parts}")
