"""Which jobs may be submitted now, and what the others wait for: priorities, dependencies, pauses between attempts.

Within a batch the jobs of the highest priority go first, and the next group when they are complete. A group of 100 or
more is before everything in every batch. Pure functions; whoever submits or explains asks here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coordinator.jobs.records import JobId, short
from coordinator.jobs.states import BAD, GOOD, INIT

#: from this priority on, a group is before those of all batches
GLOBAL = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A job, as far as it matters here. ``ending``: an earlier attempt at it was cancelled and still runs; ``idle``:
    nobody is at it, whatever its state says (of one in init that says nothing)."""

    batch: int
    index: int
    state: str
    priority: float
    not_before: float = 0.0
    after: Mapping[str, Sequence[JobId]] | None = None
    ending: bool = False
    idle: bool = False

    @property
    def id(self) -> JobId:
        return self.batch, self.index

    @property
    def runs(self) -> bool:
        """Somebody is at it, as far as is known."""
        return self.state != INIT and self.state not in GOOD and self.state not in BAD and not self.idle


@dataclass
class Plan:
    """``ready``: in the order in which they are submitted; ``waits``: groups of jobs with their reason; ``moving``:
    those that run or may go on by themselves; ``stuck``: {batch: why none of its jobs can go on until somebody does
    something}; ``at``: when one may be ready by itself."""

    ready: list[JobId] = field(default_factory=list)
    waits: list[tuple[list[JobId], str]] = field(default_factory=list)
    stuck: dict[int, str] = field(default_factory=dict)
    moving: set[JobId] = field(default_factory=set)
    at: float | None = None
    _reasons: dict[JobId, str] = field(default_factory=dict, repr=False)

    def wait(self, ids: Sequence[JobId], reason: str) -> None:
        """These wait for that."""
        self.waits.append((list(ids), reason))
        self._reasons.update(dict.fromkeys(ids, reason))

    def why(self, id: JobId) -> str:
        """What a job waits for; "" if nothing is known."""
        return self._reasons.get(id, "")


def plan(jobs: Iterable[Seen], goes_on: Mapping[int, bool], now: float, others: Iterable[Seen] = ()) -> Plan:
    """``jobs``: all of them; ``goes_on``: {batch: does it go on after a group in which some failed?}; ``others``: jobs
    that are not planned, and that some of these depend on."""
    batches: dict[int, list[Seen]] = defaultdict(list)
    known: dict[JobId, Seen] = {other.id: other for other in others}
    for job in jobs:
        batches[job.batch].append(job)
        known[job.id] = job
    heads = {
        batch: head for batch in sorted(batches)
        if (head := _head(batches[batch], goes_on.get(batch, False))) is not None
    }  # fmt: skip
    tops = {priority for priority, group in heads.values() if priority >= GLOBAL and _moves(group)}
    for first in sorted(tops, reverse=True):
        found = _planned(batches, heads, first, known, now)
        if found is not None:
            break
    else:
        found = _planned(batches, heads, None, known, now) or Plan()
    for batch, (priority, group) in heads.items():
        waiting = [job for job in batches[batch] if job.state == INIT]
        if waiting and not any(job.id in found.moving for job in batches[batch]):
            found.stuck[batch] = _stuck(priority, group) or f"job {waiting[0].index}: {found.why(waiting[0].id)}"
    return found


def _planned(
    batches: Mapping[int, Sequence[Seen]],
    heads: Mapping[int, tuple[float, Sequence[Seen]]],
    first: float | None,
    known: Mapping[JobId, Seen],
    now: float,
) -> Plan | None:
    """As it is where the groups of priority ``first`` hold all others; None if they do not, since none of their jobs
    goes on while the others are held: one that waits for what failed, or for a job that it would hold, stops nobody."""
    found = Plan()
    for batch, (priority, group) in heads.items():
        _lower(found, batches[batch], priority, _stuck(priority, group))
    behind = set() if first is None else {batch for batch, (priority, _) in heads.items() if priority < first}
    for batch in sorted(heads, key=lambda batch: (-heads[batch][0] if heads[batch][0] >= GLOBAL else 0, batch)):
        if batch in behind:
            continue
        for job in heads[batch][1]:
            if job.state != INIT:
                continue
            held = _held(job, known, now)
            if held:
                found.wait([job.id], held)
                if job.not_before > now:
                    found.at = min(found.at or job.not_before, job.not_before)
            else:
                found.ready.append(job.id)
    _move(found, batches, heads, first, behind, known, now)
    if first is None:
        return found
    before = (batch for batch, (p, group) in heads.items() if p == first and any(j.id in found.moving for j in group))
    holder = next(before, None)
    if holder is None:
        return None
    for batch in sorted(behind):
        waiting = [job.id for job in heads[batch][1] if job.state == INIT]
        if waiting:
            found.wait(waiting, f"priority {short(first)} of batch {holder} is before all other batches")
    return found


def _move(
    found: Plan,
    batches: Mapping[int, Sequence[Seen]],
    heads: Mapping[int, tuple[float, Sequence[Seen]]],
    first: float | None,
    behind: set[int],
    known: Mapping[JobId, Seen],
    now: float,
) -> None:
    """Who runs or may go on, and who may because of them: what waits for itself in a circle is not among them."""
    left: list[JobId] = [job.id for job in known.values() if job.runs]
    left += found.ready
    open_: dict[JobId, int] = {}
    followed: set[tuple[int, float]] = set()
    waiters: dict[JobId, list[JobId]] = defaultdict(list)
    for batch, (_, group) in heads.items():
        for job in () if batch in behind else group:
            if job.state != INIT:
                continue
            needed = [on for when, ids in (job.after or {}).items() for on in ids if _unmet(when, on, job, known)]
            if not all(_may_be_met(known.get(on)) for on in needed):
                continue
            if needed:
                open_[job.id] = len(needed)
                for on in needed:
                    waiters[on].append(job.id)
            elif job.ending or job.not_before > now:
                left.append(job.id)
    while left:
        id = left.pop()
        if id in found.moving:
            continue
        found.moving.add(id)
        for waiter in waiters.get(id, ()):
            open_[waiter] -= 1
            if not open_[waiter]:
                left.append(waiter)
        if id[0] not in heads or known[id].priority != heads[id[0]][0] or id[0] in behind:
            continue
        # Whatever becomes of its group, those behind it are looked at anew then.
        followers = [id[0], *(behind if heads[id[0]][0] == first else ())]
        for batch in followers:
            top = heads[batch][0] if batch == id[0] else math.inf
            if (batch, top) not in followed:
                followed.add((batch, top))
                left += [job.id for job in batches[batch] if job.state == INIT and job.priority < top]


def _head(jobs: Sequence[Seen], goes_on: bool) -> tuple[float, list[Seen]] | None:
    """The highest group that is not done with."""
    done = GOOD | BAD if goes_on else GOOD
    top = max((job.priority for job in jobs if job.state not in done), default=None)
    return None if top is None else (top, [job for job in jobs if job.priority == top])


def _moves(group: Sequence[Seen]) -> bool:
    return any(job.state == INIT or job.runs for job in group)


def _stuck(priority: float, group: Sequence[Seen]) -> str:
    if _moves(group):
        return ""
    bad = [job.index for job in group if job.state not in GOOD]
    some = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
    return (
        f"priority {short(priority)} did not succeed (job{'s' if len(bad) > 1 else ''} {some}), and the groups below "
        f"it wait: reset what failed, or let the batch go on with on_failure 'continue'"
    )


def _lower(found: Plan, jobs: Sequence[Seen], top: float, stuck: str) -> None:
    lower = [job.id for job in jobs if job.state == INIT and job.priority < top]
    if lower:
        found.wait(lower, stuck or f"jobs of priority {short(top)} of its batch are not complete")


def _held(job: Seen, known: Mapping[JobId, Seen], now: float) -> str:
    if job.ending:
        return "its last attempt was cancelled and has not ended yet"
    if job.not_before > now:
        return f"it is tried again in {job.not_before - now:.0f} s"
    for when, ids in (job.after or {}).items():
        for on in ids:
            reason = _unmet(when, on, job, known)
            if reason:
                return reason
    return ""


def _unmet(when: str, on: JobId, job: Seen, known: Mapping[JobId, Seen]) -> str:
    name = f"job {on[1]} of batch {on[0]}"
    other = known.get(on)
    if other is None:
        return f"it depends on {name}, which was removed: set another 'after'"
    if other.state in GOOD:
        return f"it is for the failure of {name}, which is {other.state}" if when == "failed" else ""
    if other.state in BAD:
        return f"it depends on {name}, which is {other.state}: reset that one" if when == "ok" else ""
    if other.batch == job.batch and other.priority < job.priority and other.state == INIT:
        return f"it waits for {name}, whose priority is lower, so that each waits for the other: raise that one's"
    if other.idle and other.state != INIT:
        return f"it waits for {name}, which is in state {other.state} and has ended: set that one's state"
    return f"it waits for {name}, which is in state {other.state}"


def _may_be_met(other: Seen | None) -> bool:
    """By itself, of one that is unmet."""
    return other is not None and other.state not in GOOD and other.state not in BAD
