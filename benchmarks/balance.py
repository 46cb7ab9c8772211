"""How long one Plan takes on a large farm: 5,000 hosts of 16 slots shared by 50 jobs.

    python -m benchmarks.balance

The first Plan places 80,000 processors; the next ones are what an event costs while all of them run: a host that goes,
a job that comes. All of them must be far below two seconds, since every event makes one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from coordinator.core.balance import Claim, Plan, assign
from coordinator.core.hosts import HostInfo

HOSTS, SLOTS, JOBS = 5000, 16, 50


def timed(what: str, plan: Callable[[], Plan]) -> Plan:
    begun = time.perf_counter()
    made = plan()
    took_s = time.perf_counter() - begun
    placed = sum(sum(slots.values()) for slots in made.slots.values())
    print(f"{what:<34} {took_s:6.2f} s   {placed} processors")
    return made


def main() -> None:
    hosts = {f"node{number}": HostInfo(f"node{number}", float(SLOTS)) for number in range(HOSTS)}
    jobs = [Claim(f"job{number}", number, priority=1.0 + number % 3, immediate=True) for number in range(JOBS)]
    print(f"{HOSTS} hosts of {SLOTS} slots, {JOBS} jobs")
    plan = timed("the first plan", lambda: assign(hosts, {}, {}, jobs))
    running = [replace(job, placed=plan.slots[job.key], processors=plan.slots[job.key]) for job in jobs]
    timed("the same again", lambda: assign(hosts, {}, {}, running))
    timed("a host has other work", lambda: assign(hosts, {"node0": 20.0}, {}, running))
    more = [*running, Claim("new", JOBS, priority=3.0, immediate=True)]
    timed("one more job", lambda: assign(hosts, {}, {}, more))
    cut = [replace(job, avoid={"node1": "unreachable"}) for job in running]
    timed("a host that nobody reaches", lambda: assign(hosts, {}, {}, cut))


if __name__ == "__main__":
    main()
