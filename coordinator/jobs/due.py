"""Which jobs may be submitted now, and what the others wait for: priorities, dependencies, pauses between attempts.

Within a batch the jobs of the highest priority go first, and the next group when they are complete. A group of 100 or
more is before everything in every batch. Pure functions; whoever submits or explains asks here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coordinator.jobs.records import JobId, plain
from coordinator.jobs.states import BAD, GOOD, INIT

#: from this priority on, a group is before those of all batches
GLOBAL = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A job, as far as it matters here. ``ending``: an earlier attempt at it was cancelled and still runs."""

    batch: int
    index: int
    state: str
    priority: float
    not_before: float = 0.0
    after: Mapping[str, Sequence[JobId]] | None = None
    ending: bool = False

    @property
    def id(self) -> JobId:
        return self.batch, self.index


@dataclass
class Plan:
    """``ready``: in the order in which they are submitted; ``waits``: groups of jobs with their reason; ``stuck``:
    {batch: why none of its jobs can go on until somebody does something}; ``at``: when one may be ready by itself."""

    ready: list[JobId] = field(default_factory=list)
    waits: list[tuple[list[JobId], str]] = field(default_factory=list)
    stuck: dict[int, str] = field(default_factory=dict)
    at: float | None = None

    def why(self, id: JobId) -> str:
        """What a job waits for; "" if nothing is known."""
        return next((reason for ids, reason in self.waits if id in ids), "")


def plan(jobs: Iterable[Seen], goes_on: Mapping[int, bool], now: float) -> Plan:
    """``jobs``: all of them; ``goes_on``: {batch: does it go on after a group in which some failed?}."""
    batches: dict[int, list[Seen]] = defaultdict(list)
    states: dict[JobId, str] = {}
    for job in jobs:
        batches[job.batch].append(job)
        states[job.id] = job.state
    found = Plan()
    heads: dict[int, tuple[float, list[Seen]]] = {}
    for batch in sorted(batches):
        head = _head(batches[batch], goes_on.get(batch, False))
        if head is None:
            continue
        heads[batch] = head
        stuck = _stuck(*head)
        if stuck and any(job.state == INIT for job in batches[batch]):
            found.stuck[batch] = stuck
        _lower(found, batches[batch], head[0], stuck)
    first = max((priority for priority, group in heads.values() if priority >= GLOBAL and _moves(group)), default=None)
    order = sorted(heads, key=lambda batch: (-heads[batch][0] if heads[batch][0] >= GLOBAL else 0, batch))
    for batch in order:
        priority, group = heads[batch]
        waiting = [job for job in group if job.state == INIT]
        if not waiting:
            continue
        if first is not None and priority != first:
            before = next(other for other, (p, g) in heads.items() if p == first and _moves(g))
            reason = f"priority {plain(first)} of batch {before} is before all other batches"
            found.waits.append(([job.id for job in waiting], reason))
            continue
        for job in waiting:
            held = _held(job, states, now)
            if held:
                found.waits.append(([job.id], held))
                if job.not_before > now:
                    found.at = min(found.at or job.not_before, job.not_before)
            else:
                found.ready.append(job.id)
    return found


def _head(jobs: Sequence[Seen], goes_on: bool) -> tuple[float, list[Seen]] | None:
    """The highest group that is not done with."""
    done = GOOD | BAD if goes_on else GOOD
    top = max((job.priority for job in jobs if job.state not in done), default=None)
    return None if top is None else (top, [job for job in jobs if job.priority == top])


def _moves(group: Sequence[Seen]) -> bool:
    return any(job.state not in GOOD and job.state not in BAD for job in group)


def _stuck(priority: float, group: Sequence[Seen]) -> str:
    if _moves(group):
        return ""
    bad = [job.index for job in group if job.state in BAD]
    some = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
    return (
        f"priority {plain(priority)} did not succeed (job{'s' if len(bad) > 1 else ''} {some}), and the groups below "
        f"it wait: reset what failed, or let the batch go on with on_failure 'continue'"
    )


def _lower(found: Plan, jobs: Sequence[Seen], top: float, stuck: str) -> None:
    lower = [job.id for job in jobs if job.state == INIT and job.priority < top]
    if lower:
        found.waits.append((lower, stuck or f"jobs of priority {plain(top)} of its batch are not complete"))


def _held(job: Seen, states: Mapping[JobId, str], now: float) -> str:
    if job.ending:
        return "its last attempt was cancelled and has not ended yet"
    if job.not_before > now:
        return f"it is tried again in {job.not_before - now:.0f} s"
    for when, ids in (job.after or {}).items():
        for on in ids:
            reason = _unmet(when, on, states.get(on))
            if reason:
                return reason
    return ""


def _unmet(when: str, on: JobId, state: str | None) -> str:
    name = f"job {on[1]} of batch {on[0]}"
    if state is None:
        return f"it depends on {name}, which was removed: set another 'after'"
    if state in GOOD:
        return f"it is for the failure of {name}, which is {state}" if when == "failed" else ""
    if state in BAD:
        return f"it depends on {name}, which is {state}: reset that one" if when == "ok" else ""
    return f"it waits for {name}, which is in state {state}"
