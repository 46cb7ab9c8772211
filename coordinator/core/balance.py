"""Shares: who gets which slots of which host.

The ResourceController asks :func:`assign` whenever something changed and sends the Plan on. One way through it::

    room of each host -> exact demands -> head of the queue and immediate jobs share by priority
      -> what they cannot use goes to the next in line -> every share is placed on hosts

It never remembers anything, never starts or stops a processor, and gives the same Plan for the same question.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from coordinator.core.hosts import HostInfo

#: sums of loads such as 0.1 + 0.2 must not cost a slot
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """A job as the balancer sees it. All counts are processors.

    ``order`` is its place in the queue; ``wants`` the most that would be of use; ``processors`` what runs now and
    ``placed`` what the last Plan gave, by host; ``avoid`` the hosts that it cannot use, with the reason.
    """

    key: str
    order: int
    name: str = ""
    priority: float = 1.0
    immediate: bool = False
    demand_ncpu: int = 0
    ncpu_limit: int | None = None
    wants: int | None = None
    processors: Mapping[str, int] = field(default_factory=dict)
    placed: Mapping[str, int] = field(default_factory=dict)
    avoid: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        return repr(self.name or self.key)


@dataclass(frozen=True)
class Plan:
    """``slots`` {job key: {host: processors}}; ``reasons`` {job key: why it has none, or less than it demanded};
    ``room`` {host: processors that it may carry for all jobs together}."""

    slots: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, str]
    room: Mapping[str, int]


def room(maxload: float, others: float, overload_margin: float) -> int:
    """Processors that a host may carry beside a load of ``others``, in whole slots.

    The margin forgives load that is not ours; it never makes a slot that maxload does not have at least a part of.
    """
    return max(0, min(math.ceil(maxload), math.floor(maxload + overload_margin - max(0.0, others) + _ROUNDING)))


def assign(
    hosts: Mapping[str, HostInfo],
    loads: Mapping[str, float],
    counted: Mapping[str, float],
    jobs: Sequence[Claim],
    throttle: float = 1.0,
    overload_margin: float = 0.6,
) -> Plan:
    """Divide the hosts among the jobs.

    hosts {name: HostInfo}; loads {host: runnable processes, ours included}; counted {host: how much of that load is
    ours}. throttle scales what is shared by priority; exact demands are held only by what exists.
    """
    free = {
        name: room(host.maxload, loads.get(name, 0.0) - counted.get(name, 0.0), overload_margin)
        for name, host in hosts.items()
    }
    queue = sorted(jobs, key=lambda job: (job.order, job.key))
    limits = {job.key: _most(job, free) for job in queue}
    available = sum(free.values())
    capacity = math.floor(sum(host.maxload for host in hosts.values()) * throttle + _ROUNDING)

    shares: dict[str, int] = {}
    demanded = 0
    for job in queue:
        if job.demand_ncpu > 0:
            shares[job.key] = min(job.demand_ncpu, limits[job.key], available - demanded)
            demanded += shares[job.key]
    pool = max(0, min(available, capacity) - demanded)
    line = [job for job in queue if job.demand_ncpu <= 0 and job.priority > 0]
    sharing = [job for place, job in enumerate(line) if place == 0 or job.immediate]
    parts = divide(pool, [Fraction(job.priority) for job in sharing], [limits[job.key] for job in sharing])
    shares.update({job.key: part for job, part in zip(sharing, parts, strict=True)})
    _pass_on(pool - sum(parts), line, shares, limits)

    placement = _Placement(free)
    placement.place(queue, shares)
    # A job that cannot use the hosts that are left gives way to one that can.
    stuck = {job.key for job in queue if placement.total(job.key) < shares.get(job.key, 0)}
    if stuck:
        more = {job.key: placement.total(job.key) for job in queue}
        exact = sum(more[job.key] for job in queue if job.demand_ncpu > 0)
        left = max(0, min(available, capacity) - exact) - (sum(more.values()) - exact)
        _pass_on(left, [job for job in [*sharing, *line] if job.key not in stuck], more, limits)
        placement.place(queue, more)
    reasons = {}
    for job in queue:
        if (reason := _reason(job, queue, placement.total(job.key), hosts, free, limits, pool, throttle)) is not None:
            reasons[job.key] = reason
    return Plan({job.key: placement.of(job.key) for job in queue}, reasons, free)


def divide(pool: int, weights: Sequence[Fraction], caps: Sequence[int]) -> list[int]:
    """``pool`` whole slots by weight, nobody over its cap, none lost: largest remainder, ties in the order given."""
    quotas = [Fraction(0)] * len(weights)
    open_ = [index for index in range(len(weights)) if weights[index] > 0 and caps[index] > 0]
    left = pool
    while open_:
        total = sum((weights[index] for index in open_), Fraction(0))
        full = {index for index in open_ if left * weights[index] >= caps[index] * total}
        if not full:
            for index in open_:
                quotas[index] = left * weights[index] / total
            break
        for index in full:
            quotas[index] = Fraction(caps[index])
        left -= sum(caps[index] for index in full)
        open_ = [index for index in open_ if index not in full]
    parts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - quotas[index], index))
    for index in by_remainder[: int(sum(quotas, Fraction(0))) - sum(parts)]:
        parts[index] += 1
    return parts


def _most(job: Claim, free: Mapping[str, int]) -> int:
    """The most processors that the job could use, were it alone."""
    usable = sum(free.values()) - sum(free.get(host, 0) for host in job.avoid)
    return max(0, min(count for count in (usable, job.ncpu_limit, job.wants) if count is not None))


def _pass_on(left: int, line: Sequence[Claim], shares: dict[str, int], limits: Mapping[str, int]) -> None:
    """Give slots that are over to the next in line, as far as each can use them."""
    for job in line:
        extra = max(0, min(left, limits[job.key] - shares.get(job.key, 0)))
        shares[job.key] = shares.get(job.key, 0) + extra
        left -= extra


class _Placement:
    """Where the processors of each job go: they stay where they are if they can, the others spread."""

    def __init__(self, free: Mapping[str, int]) -> None:
        self._size = free
        self._free = dict(free)
        self._given: dict[str, dict[str, int]] = {}

    def of(self, key: str) -> dict[str, int]:
        return {host: count for host, count in self._given.get(key, {}).items() if count}

    def total(self, key: str) -> int:
        return sum(self._given.get(key, {}).values())

    def place(self, queue: Sequence[Claim], shares: Mapping[str, int]) -> None:
        # What runs as planned stays first; then what is planned, for a processor that is just starting must not be
        # planned elsewhere; then what runs without being planned any more.
        for choose in (_running_as_planned, _planned, _running):
            for job in queue:
                given = self._given.get(job.key, {})
                have = {host: count - given.get(host, 0) for host, count in choose(job).items()}
                need = shares.get(job.key, 0) - self.total(job.key)
                for host, count in _keep(job, have, need, self._size).items():
                    self._give(job, host, count)
        self._spread(queue, shares)

    def _spread(self, queue: Sequence[Claim], shares: Mapping[str, int]) -> None:
        def entry(host: str) -> tuple[float, int, str]:
            used = self._size[host] - self._free[host]
            return ((used + 1) / self._size[host], -self._free[host], host)

        heap = [entry(host) for host, free in self._free.items() if free > 0]
        heapq.heapify(heap)
        # Who may use the fewest hosts chooses first.
        for job in sorted(queue, key=lambda job: (-len(job.avoid), job.order)):
            need = shares.get(job.key, 0) - self.total(job.key)
            aside = []
            while need > 0 and heap:
                top = heapq.heappop(heap)
                host = top[2]
                if host in job.avoid:
                    aside.append(top)
                    continue
                self._give(job, host, 1)
                need -= 1
                if self._free[host] > 0:
                    heapq.heappush(heap, entry(host))
            for top in aside:
                heapq.heappush(heap, top)

    def _give(self, job: Claim, host: str, count: int) -> None:
        count = min(count, self._free[host])
        if count > 0:
            given = self._given.setdefault(job.key, {})
            given[host] = given.get(host, 0) + count
            self._free[host] -= count


def _running_as_planned(job: Claim) -> Mapping[str, int]:
    return {host: min(count, job.processors.get(host, 0)) for host, count in job.placed.items()}


def _planned(job: Claim) -> Mapping[str, int]:
    return job.placed


def _running(job: Claim) -> Mapping[str, int]:
    return job.processors


def _keep(job: Claim, have: Mapping[str, int], most: int, size: Mapping[str, int]) -> dict[str, int]:
    """At most ``most`` of what the job has, taken away first where it has most."""
    kept = {
        host: min(count, size[host])
        for host, count in have.items()
        if count > 0 and size.get(host, 0) > 0 and host not in job.avoid
    }
    excess = sum(kept.values()) - max(0, most)
    if excess <= 0:
        return kept
    heap = [(-count, host) for host, count in kept.items()]
    heapq.heapify(heap)
    for _ in range(excess):
        count, host = heap[0]
        kept[host] -= 1
        heapq.heapreplace(heap, (count + 1, host))
    return kept


def _reason(
    job: Claim,
    queue: Sequence[Claim],
    got: int,
    hosts: Mapping[str, HostInfo],
    free: Mapping[str, int],
    limits: Mapping[str, int],
    pool: int,
    throttle: float,
) -> str | None:
    """Why the job has no slot (or fewer than it demanded), as a sentence; None if there is nothing to say."""
    demand = min(count for count in (job.demand_ncpu, job.ncpu_limit, job.wants) if count is not None)
    if got and got >= demand:
        return None
    if got:
        return f"{got} of the {job.demand_ncpu} processors that it demands: no more slots are free that it can use"
    if job.wants is not None and job.wants <= 0:
        return "it has no task to hand out just now"
    if job.ncpu_limit is not None and job.ncpu_limit <= 0:
        return "its ncpu_limit is 0"
    if job.priority <= 0 and job.demand_ncpu <= 0:
        return "its priority is 0"
    if not hosts:
        return "there are no hosts: the hosts file is empty"
    if all(host.maxload <= 0 for host in hosts.values()):
        return "every host has maxload 0; raise one with set_hostinfo or in the hosts file"
    if limits[job.key] <= 0:
        cut_off = [f"{host}: {job.avoid[host]}" for host in hosts if host in job.avoid]
        if cut_off and all(host in job.avoid or not free[host] for host in hosts):
            full = [
                f"{name}: {'its load is over maxload' if host.maxload > 0 else 'its maxload is 0'}"
                for name, host in hosts.items()
                if name not in job.avoid
            ]
            each = [*full, *cut_off]
            return f"no host can be used ({'; '.join(each[:3])}{'; ...' if len(each) > 3 else ''})"
        return "every host is busy with other work (its load is over maxload); it starts when that falls"
    if job.demand_ncpu <= 0 and pool <= 0:
        demanding = [other.shown for other in queue if other.demand_ncpu > 0]
        if demanding:
            return f"all slots are demanded by {', '.join(demanding[:3])}"
        if throttle <= 0:
            return "throttle is 0: nothing is started; raise it with setthrottle"
        return f"throttle {throttle:g} leaves no whole slot" if throttle < 1 else "maxload leaves no whole slot"
    ahead = [other for other in queue if other.order < job.order and other.demand_ncpu <= 0 and other.priority > 0]
    if ahead and not job.immediate and job.demand_ncpu <= 0:
        return f"queued behind {ahead[0].shown}; --immediate would share with it at once"
    return "its share beside the other jobs is less than one slot"
