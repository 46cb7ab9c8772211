"""Jobs in the queue of a farm: what each Coordinator said last, what people directed, and whose place is whose.

core.farm keeps them and asks; the balancer sees a job as its Claim. A job is known by its URL while it beats, and by
its name, user, host and directory when it comes back. Nothing is shared here, and nobody is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from coordinator.core.balance import Claim
from coordinator.core.beats import Beat

#: a job that is silent for so long is shown as lost; its beats come every second or, at a busy time, every ten
LATE_S = 15.0
#: so long, and for no more jobs than that, is the place of one that was lost kept for its return
PLACE_KEPT_S = 86400.0
MOST_PLACES = 10_000

#: (priority, immediate, demand_ncpu)
Wishes = tuple[float, bool, int]


@dataclass
class Job:
    """A Coordinator in the queue: its last beat, and what it may have."""

    beat: Beat
    order: int
    started: float
    heard: float
    classic: bool = False
    pids: set[tuple[str, int]] = field(default_factory=set)
    slots: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    version: int = 0
    #: what people directed, and what the Coordinator itself said then
    directed: Wishes | None = None
    own: Wishes | None = None
    #: it was there in an earlier life of the ResourceController, and is not to grow before this (the farm's clock)
    settles: float = 0.0
    #: hosts that it is asked to look at, where nothing of ours runs
    look: tuple[str, ...] = ()

    @property
    def processors(self) -> Mapping[str, int]:
        """Processors that run now, by host: what the Coordinator counts, or the classic registrations."""
        if not self.classic:
            return self.beat.processors
        counts: dict[str, int] = {}
        for host, _ in self.pids:
            counts[host] = counts.get(host, 0) + 1
        return counts

    @property
    def marks(self) -> set[str]:
        """The words by which its processors may name it."""
        return {self.beat.url, self.beat.run, self.beat.name} - {""}

    def state(self, now: float) -> str:
        if not self.classic and now - self.heard > LATE_S:
            return "lost"
        return "running" if self.slots or self.processors else "queued"

    def direct(self, wishes: Wishes) -> None:
        """People change what its Coordinator asks for; that holds until the Coordinator asks for something else."""
        if self.directed is None:
            self.own = _wishes_of(self.beat)
        self.directed = wishes
        self.beat = _with_wishes(self.beat, wishes)

    def heed(self, beat: Beat) -> None:
        """Its Coordinator's newest words."""
        if not self.classic and self.directed is not None:
            if _wishes_of(beat) == self.own:
                beat = _with_wishes(beat, self.directed)
            else:
                self.directed = None
        self.beat = beat

    def claim(
        self, placed: Mapping[str, int], barred: Mapping[str, str] | None = None, settling: bool = False
    ) -> Claim:
        """The job as the balancer sees it; ``placed``: what it was given before; ``barred``: hosts that can be reached
        and are of no use to it, with the reason; ``settling``: it is to have no more than it has."""
        beat = self.beat
        has = sum(self.processors.values()) if settling else None
        limits = [count for count in (beat.ncpu_limit, has) if count is not None]
        return Claim(
            beat.url,
            self.order,
            beat.name,
            beat.priority,
            beat.immediate,
            beat.demand_ncpu,
            min(limits, default=None),
            beat.wants,
            self.processors,
            placed,
            {**beat.unreachable, **barred} if barred else beat.unreachable,
        )


class Places:
    """The places in the queue of jobs whose Coordinator died, kept for the one that returns under its name."""

    def __init__(self) -> None:
        #: who -> order, since when it was in the queue, the time when it left
        self._left: dict[tuple[str, ...], tuple[int, float, float]] = {}

    def keep(self, job: Job, now: float) -> None:
        who = known_by(job.beat)
        if who is not None:
            self._left.pop(who, None)
            self._left[who] = (job.order, job.started, now)
            if len(self._left) > MOST_PLACES:
                del self._left[next(iter(self._left))]

    def take(self, beat: Beat, now: float) -> tuple[int, float] | None:
        """Its (order, started), if it had a place; it is its own again."""
        who = known_by(beat)
        kept = None if who is None else self._left.pop(who, None)
        return kept[:2] if kept is not None and now - kept[2] <= PLACE_KEPT_S else None


def known_by(beat: Beat) -> tuple[str, ...] | None:
    """By this a Coordinator that returns is known; None for one that does not say where it works."""
    return (beat.name, beat.user, beat.host, beat.directory) if beat.directory else None


def _wishes_of(beat: Beat) -> Wishes:
    return (beat.priority, beat.immediate, beat.demand_ncpu)


def _with_wishes(beat: Beat, wishes: Wishes) -> Beat:
    return replace(beat, priority=wishes[0], immediate=wishes[1], demand_ncpu=wishes[2])
