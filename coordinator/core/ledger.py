"""Who has which task: TODO, LEASED, waiting for a retry, DONE, FAILED, in ranges of positions.

The task server asks the ledger for every decision about tasks and writes what it answers to the journal; the
simulator drives the same methods with seeded events. No clock, no random number, no file: the same calls give
the same answers.

A task is its position in the stream. What is settled (DONE or FAILED) leaves the ledger but for two counters,
so that memory follows what is unsettled and not what was ever read. The states of one position::

    TODO --lease--> LEASED --done--> DONE
      ^               |  \\--failed, attempts left--> waiting --due--> TODO
      |               |  \\--failed, none left------> FAILED
      |               |  \\--its processor died-----> waiting for another place --lease--> LEASED
      +--given back, lost, lapsed and leased anew----+

Invariants (tests/unit/test_ledger.py): every position is in exactly one state; DONE and FAILED absorb; a
position is open under at most one lease that has not lapsed; only the newest lease of a position is believed.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from coordinator.core.health import retry_delay_s
from coordinator.core.leases import TERM_S, Lease
from coordinator.core.spans import Spans


class Policy(NamedTuple):
    """What happens to a task that failed.

    ``retries``: further attempts after an attempt that raised. ``deaths``: so many processors may die with the
    task, each on another host as far as one asks within ``elsewhere_s``, before it is given up.
    ``backoff_s``/``backoff_cap_s``: seconds before the first retry, doubling up to the cap.
    """

    retries: int = 0
    deaths: int = 3
    elsewhere_s: float = 5.0
    backoff_s: float = 1.0
    backoff_cap_s: float = 300.0


class Verdict:
    """What a report changed: ranges now DONE, ``failed`` as (position, attempt, final), tasks that came too late."""

    __slots__ = ("done", "failed", "late")

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []
        self.failed: list[tuple[int, int, bool]] = []
        self.late = 0

    def __bool__(self) -> bool:
        return bool(self.done or self.failed)


class Ledger:
    """The state of every unsettled task of one run."""

    def __init__(self, policy: Policy | None = None, first_lease: int = 1, term_s: float = TERM_S) -> None:
        self.policy = policy or Policy()
        self.term_s = term_s
        self.count = 0
        self.ended = False
        self.done = 0
        self.failed = 0
        self.late = 0
        self.todo: Spans = Spans()
        self.leases: dict[int, Lease] = {}
        self._by_holder: dict[int, dict[int, Lease]] = {}
        self._lapsed: dict[int, Lease] = {}
        self._waiting: list[tuple[float, int]] = []
        self._attempts: dict[int, int] = {}
        self._deaths: dict[int, int] = {}
        #: where processors died with the task, and until when which of these tasks wait for another place
        self._died_at: dict[int, set[str]] = {}
        self._shunned: dict[int, float] = {}
        #: executions that ended without a word and without being to blame
        self._interrupted: dict[int, int] = {}
        #: what the newest lease took over from lapsed ones: (number, holder, start, stop)
        self.taken_over: list[tuple[int, int, int, int]] = []
        self.next_lease = first_lease

    # --- the stream ---------------------------------------------------------------------------------

    def extend(self, count: int) -> None:
        """``count`` more tasks were read from the stream."""
        self.todo.add(self.count, self.count + count)
        self.count += count

    def end(self) -> None:
        """The stream has no more tasks."""
        self.ended = True

    # --- what one can ask -----------------------------------------------------------------------------

    @property
    def settled(self) -> int:
        return self.done + self.failed

    @property
    def waiting(self) -> int:
        """Tasks that failed and wait for their next attempt: for its time, or for another place."""
        return len(self._waiting) + len(self._shunned)

    @property
    def shuns(self) -> bool:
        """Does any task wait for another host than those where processors died with it?"""
        return bool(self._shunned)

    @property
    def retried(self) -> bool:
        """Is any unsettled task beyond its first attempt?"""
        return bool(self._attempts or self._deaths or self._interrupted)

    @property
    def leased(self) -> int:
        return self.count - self.settled - self.todo.total() - self.waiting

    @property
    def finished(self) -> bool:
        return self.ended and self.settled == self.count

    def attempt(self, position: int) -> int:
        """The number of the attempt that works, or will work, on the task; the first is 1."""
        earlier = (self._attempts, self._deaths, self._interrupted)
        return 1 + sum(table.get(position, 0) for table in earlier)

    def interruptions(self, position: int) -> int:
        """How many executions of the task ended with nobody to blame."""
        return self._interrupted.get(position, 0)

    def held_by(self, holder: int) -> list[Lease]:
        return list(self._by_holder.get(holder, {}).values())

    def holders(self) -> list[int]:
        """Who has leases."""
        return list(self._by_holder)

    def next_due(self) -> float | None:
        """When the first waiting retry is due, on the caller's clock."""
        return self._waiting[0][0] if self._waiting else None

    # --- leasing ------------------------------------------------------------------------------------

    def lease(
        self,
        holder: int,
        most: int,
        now: float,
        term_s: float | None = None,
        place: str = "",
        places: Collection[str] = (),
    ) -> Lease | None:
        """Give at most ``most`` tasks to ``holder``; None when there is none to give now.

        ``place``: the holder's host; ``places``: those that work. A task with which a processor died is not given to
        the same host for a while, if there are others that it has not been to.
        """
        self._wake(now)
        self.taken_over.clear()
        taken = self._take_shunned(place, places, now) or self.todo.take(most)
        if taken is None:
            return None
        start, stop = taken
        if self._lapsed:
            self._supersede(start, stop)
        term = self.term_s if term_s is None else term_s
        lease = Lease(self.next_lease, start, stop, holder, now + term, term, given=now)
        self.next_lease += 1
        self._keep(lease)
        return lease

    def restore(self, lease: Lease) -> None:
        """Put back a lease that an earlier life of the Coordinator gave; its open positions leave TODO."""
        self.next_lease = max(self.next_lease, lease.number + 1)
        for start, stop in list(lease.open):
            self.todo.remove(start, stop)
        self._keep(lease)

    def remember(
        self,
        attempts: Mapping[int, int],
        deaths: Mapping[int, int],
        interrupted: Mapping[int, int],
        died_at: Mapping[int, Collection[str]],
        now: float,
    ) -> None:
        """How often unsettled tasks failed before this life of the Coordinator; how often of these by a death in them,
        and how often their execution was interrupted; the hosts of those deaths, which they shun anew. Leases are
        restored before."""
        self._deaths.update(deaths)
        self._interrupted.update(interrupted)
        raised = ((p, count - deaths.get(p, 0) - interrupted.get(p, 0)) for p, count in attempts.items())
        self._attempts.update((position, count) for position, count in raised if count > 0)
        for position, places in died_at.items():
            self._died_at[position] = set(places)
            if position in self.todo:
                self.todo.remove(position, position + 1)
                self._shunned[position] = now + self.policy.elsewhere_s

    def interrupt(self, position: int) -> int:
        """An execution of the task ended, and nobody is to blame; the number of that attempt."""
        attempt = self.attempt(position)
        self._interrupted[position] = self._interrupted.get(position, 0) + 1
        return attempt

    def hold(self, holder: int, numbers: Sequence[int], now: float) -> list[int]:
        """``holder`` says which leases it has: the others are free, these are renewed.

        Returns the numbers it must drop, because they are not (or no longer, or not wholly) its own: it begins no
        more of their tasks, and what it did begin is welcome if nobody else was given it.
        """
        mine = self._by_holder.get(holder)
        for number in [n for n in mine or () if n not in numbers]:
            self._free(self.leases[number])
        self.renew(holder, now)
        known = self._by_holder.get(holder, {})
        return [n for n in numbers if n not in known or known[n].shared_out]

    def renew(self, holder: int, now: float) -> None:
        """Somebody who can know says that ``holder`` lives."""
        for lease in self._by_holder.get(holder, {}).values():
            if lease.lapsed and not lease.shared_out:
                self._revive(lease)
            if not lease.lapsed:
                lease.deadline = now + lease.term_s

    def renew_all(self, now: float) -> None:
        """The server itself slept: who slept judges nobody."""
        for holder in self._by_holder:
            self.renew(holder, now)

    def give_back(self, number: int, start: int, stop: int) -> int:
        """The holder of a lease gives back tasks that it has not begun; returns how many were its own."""
        lease = self.leases.get(number)
        if lease is None:
            return 0
        returned = 0
        for a, b in lease.open.overlaps(start, stop):
            lease.open.remove(a, b)
            self.todo.add(a, b)
            returned += b - a
        self._forget_if_empty(lease)
        return returned

    def lapse(self, now: float) -> list[Lease]:
        """End every lease whose deadline passed: its tasks may be given to others from now on."""
        over = [lease for lease in self.leases.values() if not lease.lapsed and lease.deadline < now]
        for lease in over:
            lease.lapsed = True
            self._lapsed[lease.number] = lease
            for start, stop in lease.open:
                self.todo.add(start, stop)
        return over

    def lost(
        self, holder: int, current: int | None, now: float, place: str = ""
    ) -> tuple[list[tuple[int, int]], Verdict]:
        """``holder``, on the host ``place``, is dead: its tasks go to others at once; ``current``: the task it died in.

        Returns the freed ranges and the verdict on ``current``, which fails for good when it killed too many.
        """
        freed: list[tuple[int, int]] = []
        verdict = Verdict()
        for lease in self.held_by(holder):
            if current is not None and current in lease.open:
                self._died(lease, current, verdict, now, place)
            freed.extend(lease.open)
            self._free(lease)
        return freed, verdict

    # --- reports ------------------------------------------------------------------------------------

    def report(
        self, number: int, done: Iterable[tuple[int, int]], failed: Iterable[int], now: float, final: bool = False
    ) -> Verdict:
        """Believe a report as far as its lease is the newest of each task; the rest is counted as late.

        ``done`` are ranges of positions, ``failed`` positions whose attempt raised; ``final`` forbids retries.
        """
        verdict = Verdict()
        lease = self.leases.get(number)
        for start, stop in done:
            if lease is None:
                verdict.late += stop - start
                continue
            if (
                start == lease.start
                and stop == lease.stop
                and len(lease.open) == 1
                and lease.open.total() == stop - start
            ):
                believed = [(start, stop)]
            else:
                believed = lease.open.overlaps(start, stop)
            for a, b in believed:
                self._close(lease, a, b)
                self._settle(a, b)
                self.done += b - a
                verdict.done.append((a, b))
                stop -= b - a
            verdict.late += stop - start
        for position in failed:
            if lease is None or position not in lease.open:
                verdict.late += 1
                continue
            self._close(lease, position, position + 1)
            self._fail(position, verdict, now, final)
        if lease is not None:
            self._forget_if_empty(lease)
        self.late += verdict.late
        return verdict

    def redo(self, ranges: Iterable[tuple[int, int]], was_done: int, was_failed: int) -> None:
        """Settled tasks become TODO again; the caller says how many of them were DONE and FAILED."""
        for start, stop in ranges:
            self.todo.add(start, stop)
        self.done -= was_done
        self.failed -= was_failed

    # --- inside -------------------------------------------------------------------------------------

    def _keep(self, lease: Lease) -> None:
        self.leases[lease.number] = lease
        self._by_holder.setdefault(lease.holder, {})[lease.number] = lease

    def _drop(self, lease: Lease) -> None:
        del self.leases[lease.number]
        self._lapsed.pop(lease.number, None)
        mine = self._by_holder[lease.holder]
        del mine[lease.number]
        if not mine:
            del self._by_holder[lease.holder]

    def _forget_if_empty(self, lease: Lease) -> None:
        if not lease.open:
            self._drop(lease)

    def _free(self, lease: Lease) -> None:
        """The holder will never report on it: its open tasks go back."""
        for start, stop in lease.open:
            self.todo.add(start, stop)
        self._drop(lease)

    def _close(self, lease: Lease, start: int, stop: int) -> None:
        lease.open.remove(start, stop)
        if lease.lapsed:
            self.todo.remove(start, stop)

    def _supersede(self, start: int, stop: int) -> None:
        """A new lease makes every older one of these positions stale."""
        for lease in list(self._lapsed.values()):
            overlaps = lease.open.overlaps(start, stop)
            lease.shared_out = lease.shared_out or bool(overlaps)
            self.taken_over += [(lease.number, lease.holder, a, b) for a, b in overlaps]
            lease.open.remove(start, stop)
            self._forget_if_empty(lease)

    def _revive(self, lease: Lease) -> None:
        """It lapsed, and nobody was given any of it since: it goes on as if it had not."""
        for start, stop in lease.open:
            self.todo.remove(start, stop)
        lease.lapsed = False
        del self._lapsed[lease.number]

    def _settle(self, start: int, stop: int) -> None:
        for table in (self._attempts, self._deaths, self._died_at, self._interrupted):
            if not table:
                continue
            if len(table) > stop - start:
                for position in range(start, stop):
                    table.pop(position, None)
            else:
                for position in [p for p in table if start <= p < stop]:
                    del table[position]

    def _fail(self, position: int, verdict: Verdict, now: float, final: bool) -> None:
        attempt = self.attempt(position)
        failures = self._attempts.get(position, 0) + 1
        if final or failures > self.policy.retries:
            self._settle(position, position + 1)
            self.failed += 1
            verdict.failed.append((position, attempt, True))
            return
        self._attempts[position] = failures
        delay = retry_delay_s(failures, self.policy.backoff_s, self.policy.backoff_cap_s)
        heapq.heappush(self._waiting, (now + delay, position))
        verdict.failed.append((position, attempt, False))

    def _died(self, lease: Lease, position: int, verdict: Verdict, now: float, place: str) -> None:
        attempt = self.attempt(position)
        deaths = self._deaths.get(position, 0) + 1
        if deaths < self.policy.deaths:
            self._deaths[position] = deaths
            verdict.failed.append((position, attempt, False))
            if place:
                self._died_at.setdefault(position, set()).add(place)
                self._close(lease, position, position + 1)
                self._shunned[position] = now + self.policy.elsewhere_s
            return
        self._close(lease, position, position + 1)
        self._settle(position, position + 1)
        self.failed += 1
        verdict.failed.append((position, attempt, True))

    def _take_shunned(self, place: str, places: Collection[str], now: float) -> tuple[int, int] | None:
        for position, until in self._shunned.items():
            died_at = self._died_at[position]
            if place not in died_at or died_at.issuperset(places) or now >= until:
                del self._shunned[position]
                return position, position + 1
        return None

    def _wake(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, position = heapq.heappop(self._waiting)
            self.todo.add(position, position + 1)
