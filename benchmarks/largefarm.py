"""A farm of many Processors on paper: one Coordinator, simulated in time, with costs that are given.

scaling.py asks it how well so many Processors are used. The product decides as it does in earnest: core/blocks says
how large a block is and how much is read ahead, a real ledger leases and settles. What each step costs is one of the
``Costs``, and all that is random comes from a seed. It leaves out what ends a job (blocks that are given back),
failures, and the Processors' own machinery.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import deque
from dataclasses import dataclass, field

from benchmarks.measures import percentile
from coordinator.core import blocks
from coordinator.core.leases import Lease
from coordinator.core.ledger import Ledger
from coordinator.feeder import SLICE

#: tasks of one kind take this share more or less time (standard deviation), and at least this share
SPREAD, SHORTEST = 0.3, 0.1
#: exchanges of each Processor before the figures begin, while its blocks grow, and while they are taken: many, since an
#: overloaded Coordinator answers all Processors in step; and of all together at least so many
WARM_UP, MEASURED, LEAST_MEASURED = 6, 20, 1000


@dataclass(frozen=True)
class Costs:
    """Seconds. ``exchange_s``, ``id_s``, ``turn_s``, ``beat_s``: of the Coordinator's CPU, for an exchange, for each ID
    of its block, for a turn with its commit, for a keeper's beat; ``feed_s``: of the feeder's CPU for an ID, the
    generator included; ``syncs_s``: how long fdatasync takes, as quantiles; ``round_trip_s``: of the network."""

    exchange_s: float
    id_s: float
    turn_s: float
    beat_s: float
    feed_s: float
    round_trip_s: float
    syncs_s: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """``efficiency``: work / (Processors x time); ``load``: the share of time in which the Coordinator computes;
    ``block``: tasks in one, on average."""

    processors: int
    task_s: float
    efficiency: float
    exchanges_per_s: float
    tasks_per_s: float
    block: float
    load: float
    p99_ms: float


@dataclass(slots=True)
class Processor:
    """One of them, as its hand works: a block ahead if tasks are short, reports with the next question."""

    number: int
    size: int = 1
    task_s: float | None = None
    last_s: float = blocks.LONG_TASK_S
    current: Lease | None = None
    ahead: Lease | None = None
    asking: bool = False
    idle: bool = False
    asked_at: float = 0.0
    took_s: float = 0.0
    done: list[tuple[Lease, float]] = field(default_factory=list)
    said: list[tuple[Lease, float]] = field(default_factory=list)


class Farm:
    """One Coordinator, its feeder and ``processors``. ``tasks``: of the whole job, None for one without end."""

    def __init__(self, costs: Costs, processors: int, task_s: float, seed: int = 0, tasks: int | None = None) -> None:
        self._costs, self._task_s, self._tasks = costs, task_s, tasks
        self._random = random.Random(f"{seed} {processors} {task_s}")
        self.ledger = Ledger()
        self._processors = [Processor(number) for number in range(processors)]
        self.now = 0.0
        self._events: list[tuple[float, int, str, Processor | None]] = []
        self._numbers = iter(range(sys.maxsize))
        # The Coordinator: questions that have arrived, who waits for a task, answers that wait for their commit.
        self._arrived: deque[Processor] = deque()
        self._parked: deque[Processor] = deque()
        self._pending: list[Processor] = []
        self._syncing: list[Processor] = []
        self._busy = self._committing = self._accepted = self._feeding = False
        # What is counted.
        self._working, self._working_since, self.worked_s = 0, 0.0, 0.0
        self.computed_s = 0.0
        self.exchanges = self.done = 0
        self.latencies_s: list[float] = []

    # --- from outside -------------------------------------------------------------------------------------

    def finish(self) -> float:
        """The whole job; when its last task is accepted."""
        self._begin()
        while not self.ledger.finished:
            self._next()
        return self.now

    def measure(self) -> Figures:
        """What an endless job comes to once its blocks have grown."""
        self._begin()
        count = len(self._processors)
        self._until(WARM_UP * count)
        begun, worked_s, computed_s, done = self.now, self._work_so_far(), self.computed_s, self.done
        self.latencies_s.clear()
        exchanges = self.exchanges
        self._until(exchanges + max(MEASURED * count, LEAST_MEASURED))
        seconds, made = self.now - begun, self.exchanges - exchanges
        return Figures(
            processors=count,
            task_s=self._task_s,
            efficiency=(self._work_so_far() - worked_s) / (count * seconds),
            exchanges_per_s=made / seconds,
            tasks_per_s=(self.done - done) / seconds,
            block=(self.done - done) / made,
            load=min(1.0, (self.computed_s - computed_s) / seconds),
            p99_ms=1000 * percentile(self.latencies_s, 0.99),
        )

    def _begin(self) -> None:
        self._read_on()
        for processor in self._processors:
            self._at(self._random.uniform(0, blocks.AIM_S), "ask", processor)

    def _until(self, exchanges: int) -> None:
        while self.exchanges < exchanges:
            self._next()

    def _work_so_far(self) -> float:
        """Seconds of all Processors together."""
        self.worked_s += self._working * (self.now - self._working_since)
        self._working_since = self.now
        return self.worked_s

    # --- events -------------------------------------------------------------------------------------------

    def _at(self, seconds_from_now: float, what: str, processor: Processor | None = None) -> None:
        heapq.heappush(self._events, (self.now + seconds_from_now, next(self._numbers), what, processor))

    def _next(self) -> None:
        self.now, _, what, processor = heapq.heappop(self._events)
        if processor is None:
            {"slice": self._slice, "turn over": self._turn_over, "synced": self._synced}[what]()
        elif what == "ask":
            self._ask(processor)
        elif what == "arrive":
            self._arrived.append(processor)
            self._turn()
        elif what == "answer":
            self._hear(processor)
        else:
            self._block_over(processor)

    # --- a Processor --------------------------------------------------------------------------------------

    def _ask(self, one: Processor) -> None:
        one.asking, one.idle, one.asked_at = True, one.current is None, self.now
        one.said, one.done = one.done, []
        self._at(self._costs.round_trip_s / 2, "arrive", one)

    def _hear(self, one: Processor) -> None:
        one.asking = False
        self.exchanges += 1
        self.latencies_s.append(self.now - one.asked_at)
        if one.current is None:
            self._go_on(one)

    def _go_on(self, one: Processor) -> None:
        """Begin the block ahead, and ask for the next one if tasks are short; without one, ask and wait."""
        one.current, one.ahead = one.ahead, None
        if one.current is None:
            self._ask(one)
            return
        self._work_so_far()
        self._working += 1
        count = len(one.current)
        spread = self._random.gauss(1.0, SPREAD / count**0.5)
        one.took_s = count * self._task_s * max(SHORTEST, spread)
        self._at(one.took_s, "block over", one)
        if one.last_s < blocks.LONG_TASK_S:
            self._ask(one)

    def _block_over(self, one: Processor) -> None:
        self._work_so_far()
        self._working -= 1
        assert one.current is not None
        one.done.append((one.current, one.took_s))
        one.last_s = one.took_s / len(one.current)
        one.current = None
        if not one.asking:
            self._go_on(one)

    # --- the Coordinator ------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """All that has arrived is decided; meanwhile more arrives."""
        if self._busy or not (self._arrived or (self._parked and self.ledger.todo)):
            return
        self._busy = True
        cpu_s = self._costs.turn_s + self._costs.exchange_s * len(self._arrived)
        while self._arrived:
            one = self._arrived.popleft()
            self._believe(one)
            cpu_s += self._serve(one)
        for _ in range(len(self._parked) if self.ledger.todo else 0):
            cpu_s += self._serve(self._parked.popleft())
        self.computed_s += cpu_s
        self._at(cpu_s, "turn over")

    def _believe(self, one: Processor) -> None:
        """Take a report."""
        for lease, seconds in one.said:
            verdict = self.ledger.report(lease.number, [(lease.start, lease.stop)], (), self.now)
            self.done += sum(b - a for a, b in verdict.done)
            self._accepted = True
            one.task_s = blocks.smoothed(one.task_s, seconds / len(lease))
        one.said = []

    def _serve(self, one: Processor) -> float:
        """Lease a block, or let it wait; the CPU that its IDs cost."""
        known = self.ledger.todo.total()
        aim_s = blocks.aim_s(self.ledger.next_lease, len(self._processors))
        one.size = blocks.block_size(one.task_s, one.size, known, len(self._processors), aim_s=aim_s)
        one.ahead = self.ledger.lease(one.number, one.size, self.now)
        self._read_on()
        if one.ahead is None and one.idle:
            self._parked.append(one)
            return 0.0
        self._pending.append(one)
        return 0.0 if one.ahead is None else self._costs.id_s * len(one.ahead)

    def _turn_over(self) -> None:
        self._busy = False
        self._commit()
        self._turn()

    def _commit(self) -> None:
        """The disk makes safe what was decided, one commit after the other; the turns go on meanwhile."""
        if self._committing or not (self._pending or self._accepted):
            return
        if not self._accepted:
            self._answer(self._pending)
            self._pending = []
            return
        self._accepted, self._committing = False, True
        self._syncing, self._pending = self._pending, []
        self._at(self._random.choice(self._costs.syncs_s), "synced")

    def _synced(self) -> None:
        self._answer(self._syncing)
        self._syncing, self._committing = [], False
        self._commit()

    def _answer(self, answered: list[Processor]) -> None:
        for one in answered:
            self._at(self._costs.round_trip_s / 2, "answer", one)

    # --- the feeder ---------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        most = blocks.read_ahead(len(self._processors))
        if not self._feeding and not self.ledger.ended and self.ledger.todo.total() < most // 2:
            self._feeding = True
            self._at(self._costs.feed_s * SLICE, "slice")

    def _slice(self) -> None:
        ledger = self.ledger
        ledger.extend(SLICE if self._tasks is None else min(SLICE, self._tasks - ledger.count))
        if ledger.count == self._tasks:
            ledger.end()
        self._feeding = not ledger.ended and ledger.todo.total() <= blocks.read_ahead(len(self._processors))
        if self._feeding:
            self._at(self._costs.feed_s * SLICE, "slice")
        self._turn()
