"""A Processor's hand on the wire: it reports what is done and fetches the next block, one block ahead.

The Processor's main thread calls :meth:`Hand.next_block` between blocks; its lookout thread calls
:meth:`Hand.look_out` while a slow task runs. One lock keeps their words apart, and nobody waits for the wire while
a task could run: the request for the next block is sent before the work on the current one begins, and its answer
lies in the socket until it is needed. The hand never runs user code and never decides what a failure means.

A call that fails is sent again with the same number until the Coordinator answers or the grace time is over: the
Coordinator gives the same number the same answer, so nothing is done twice and nothing reported is lost.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Protocol

from coordinator.core import exchange
from coordinator.core.blocks import LONG_TASK_S
from coordinator.core.exchange import Answer, LeaseReport, Request
from coordinator.errors import CoordinatorLost, PeerLost, UnknownRun

#: bytes of results and errors after which a report is sent before the block is over: a message has at most 4 MiB
REPORT_BYTES = 512 << 10
#: seconds of work, and tasks, that may pass without a look at the clock: a look costs as much as a task of nothing
LOOK_S, LOOK_MOST = 0.001, 64
#: seconds between two tries to reach a Coordinator that is away: the first and the longest pause
RETRY_S, RETRY_MOST_S = 0.05, 1.0


class Line(Protocol):
    """What the hand needs of a connection (:class:`coordinator.wire.client.Connection` is one)."""

    def send_note(self, method: str, text: str) -> None:
        """Raises PeerLost."""

    def receive_note(self) -> str:
        """Raises PeerLost."""

    def close(self) -> None:
        """Nothing more will be said."""


class Shelter(Protocol):
    """Where a report is safe that cannot be handed in (:class:`coordinator.kept.KeptReport` is one)."""

    def keep(self, text: str) -> None:
        """Hold this request."""

    def forget(self) -> None:
        """It was handed in after all."""


class Block:
    """The tasks of one lease. ``todo`` shrinks from the left as tasks begin, from the right as they are given back.

    The main thread works, the lookout thread reports, without a lock between them: everything about a task is put
    down before ``position`` passes it, and a report takes only what lies below ``position``.
    """

    __slots__ = ("_failed", "_reported", "_results", "attempts", "lease", "position", "start", "stop", "todo", "weight")

    def __init__(self, answer: Answer, values: list[Any] | None) -> None:
        self.lease = answer.lease
        self.start = self.position = self._reported = answer.start
        self.stop = answer.start + answer.count
        self.attempts = answer.attempts
        if values is None:
            first = answer.first or 0
            values = list(range(first, first + answer.count))
        self.todo: deque[Any] = deque(values)
        #: bytes of what will be reported
        self.weight = 0
        self._failed: deque[tuple[int, dict[str, Any]]] = deque()
        self._results: deque[tuple[int, str]] = deque()

    def failed(self, error: dict[str, Any]) -> None:
        """The task at ``position`` failed: its results count for nothing."""
        while self._results and self._results[-1][0] == self.position:
            self._results.pop()
        self._failed.append((self.position, error))
        self.weight += len(exchange.text_of(error))

    def result(self, text: str) -> None:
        """The canonical text of a result of the task at ``position``; the last one stands."""
        while self._results and self._results[-1][0] == self.position:
            self._results.pop()
        self._results.append((self.position, text))
        self.weight += len(text)

    @property
    def news(self) -> bool:
        return self.position > self._reported

    def report(self) -> LeaseReport:
        """What became known since the last report; the block forgets it."""
        upto = self.position
        self.weight = 0
        done: list[int] = []
        failed: list[tuple[int, dict[str, Any]]] = []
        begin = self._reported
        while self._failed and self._failed[0][0] < upto:
            position, error = self._failed.popleft()
            failed.append((position, error))
            if position > begin:
                done += (begin, position)
            begin = position + 1
        if upto > begin:
            done += (begin, upto)
        results = []
        while self._results and self._results[0][0] < upto:
            position, text = self._results.popleft()
            results.append(f"{position}\t{text}")
        self._reported = upto
        return LeaseReport(self.lease, done, failed, results)


class Hand:
    """The conversation of one processor with its Coordinator. Times are CLOCK_BOOTTIME seconds."""

    def __init__(
        self,
        connection: Line,
        run: str,
        number: int,
        incarnation: str,
        who: dict[str, Any],
        grace_s: float,
        shelter: Shelter | None = None,
    ) -> None:
        self._connection, self._shelter = connection, shelter
        self._run, self.number, self._incarnation = run, number, incarnation
        self._who, self._grace_s = who, grace_s
        self._lock = threading.Lock()
        self._seq = 0
        self._asked: Request | None = None
        self._current: Block | None = None
        self._ahead: Block | None = None
        self._returned: list[tuple[int, int, int]] = []
        self._reports: list[LeaseReport] = []
        self._worked_from = 0.0
        self._worked: tuple[int, float] = (0, 0.0)
        self._task_s = LONG_TASK_S  # until the first was done: nothing is fetched ahead that others could begin
        self._unsent = False
        self._last_said = 0.0
        self.over: Answer | None = None
        #: until when tasks may be begun without asking
        self.good_until = 0.0

    # --- the main thread ------------------------------------------------------------------------------

    def next_block(self) -> Block | None:
        """Report the block just finished and get the next one; None when there is no more work for this processor.

        Waits while others may still give something back. Raises CoordinatorLost after the grace time.
        """
        with self._lock:
            self._finish_current()
            if self._asked is not None:
                self._take(self._receive())
            while self._ahead is None and self.over is None:
                self._say(want=True, idle=True)
                self._take(self._receive())
            if self.over is not None:
                self._leave_ahead()
                return None
            block, self._ahead = self._ahead, None
            self._current = block
            self._worked_from = time.monotonic()
            if self._task_s < LONG_TASK_S:
                self._say(want=True)
            elif any(self._reports) or self._returned:
                self._say()
            return block

    def confirm(self) -> None:
        """Called before a task is begun after ``good_until``: a lease that is ours no more loses its tasks."""
        with self._lock:
            if self._asked is not None:
                self._take(self._receive())
            block = self._current
            while self.over is None and (
                now() > self.good_until or (block is not None and block.weight > REPORT_BYTES)
            ):
                if block is not None:
                    self._reports.append(block.report())
                self._say()
                self._take(self._receive())

    def goodbye(self, message: str, setup_error: dict[str, Any] | None = None) -> None:
        """Hand in what is left and say why this processor ends."""
        with self._lock:
            self._finish_current()
            if self._asked is not None:
                self._take(self._receive())
            self._leave_ahead()
            self._say(bye=message, setup_error=setup_error)
            self._receive()

    @property
    def in_a_look(self) -> int:
        """How many tasks may begin on one look at the clock: what is done in a moment, by the last block."""
        return max(1, min(LOOK_MOST, int(LOOK_S / self._task_s))) if self._task_s > 0 else LOOK_MOST

    # --- the lookout thread ---------------------------------------------------------------------------

    def look_out(self, quiet_s: float) -> None:
        """While one task takes long: report those before it and give back those after it, which anybody can begin."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            block = self._current
            if block is None or now() - self._last_said < quiet_s or self.over is not None:
                return
            # What was asked for may lie in the socket: tasks that others could begin.
            if not (block.news or block.todo or self._ahead or self._asked):
                return
            if self._asked is not None:
                self._take(self._receive())
            self._leave_ahead()
            self._give_back(block, len(block.todo))
            self._reports.append(block.report())
            self._say()
            self._take(self._receive())
        finally:
            self._lock.release()

    # --- inside ---------------------------------------------------------------------------------------

    def _finish_current(self) -> None:
        block, self._current = self._current, None
        if block is None:
            return
        tasks = block.position - block.start
        seconds = time.monotonic() - self._worked_from
        if tasks:
            self._worked = (tasks, seconds)
            self._task_s = seconds / tasks
        self._reports.append(block.report())
        self._give_back(block, len(block.todo))

    def _give_back(self, block: Block, count: int) -> None:
        """Return up to ``count`` tasks from the end of a block; each was not begun, since ``pop`` got it first."""
        popped = 0
        while popped < count:
            try:
                block.todo.pop()
            except IndexError:
                break
            popped += 1
        if popped:
            self._returned.append((block.lease, block.stop - popped, block.stop))
            block.stop -= popped

    def _leave_ahead(self) -> None:
        if self._ahead is not None:
            self._give_back(self._ahead, len(self._ahead.todo))
            self._ahead = None

    def _take(self, taken: tuple[Answer, list[Any] | None]) -> None:
        answer, values = taken
        self.good_until = self._last_said + answer.term_s
        if self._current is not None and self._current.lease in answer.drop:
            self._current.todo.clear()
        if self._ahead is not None and self._ahead.lease in answer.drop:
            self._ahead = None
        if answer.state == exchange.WORK:
            self._ahead = Block(answer, values)
        elif answer.state in (exchange.END, exchange.STOP):
            self.over = answer
            if self._current is not None:
                self._give_back(self._current, len(self._current.todo))
            self._leave_ahead()
        if answer.give:
            self._share()

    def _share(self) -> None:
        """Somebody is idle: return the block ahead, or else half of what is left of this one."""
        if self._ahead is not None and self._current is not None:
            self._leave_ahead()
        else:
            block = self._current or self._ahead
            if block is not None:
                self._give_back(block, len(block.todo) // 2)
        if self._returned:
            self._say()
            self._take(self._receive())

    def _say(
        self, want: bool = False, idle: bool = False, bye: str | None = None, setup_error: dict[str, Any] | None = None
    ) -> None:
        self._seq += 1
        held = [block.lease for block in (self._current, self._ahead) if block is not None]
        worked, self._worked = self._worked, (0, 0.0)
        reports = [report for report in self._reports if report]
        for report in reports:
            if report.lease not in held:
                held.append(report.lease)
        self._asked = Request(
            self._run,
            self.number,
            self._incarnation,
            self._seq,
            held,
            reports,
            self._returned,
            worked,
            want,
            idle,
            self._who if self._seq == 1 else None,
            bye,
            setup_error,
        )
        self._reports, self._returned = [], []
        self._last_said = now()
        try:
            self._connection.send_note("exchange", self._asked.to_text())
        except PeerLost:
            self._unsent = True  # _receive says it again

    def _receive(self) -> tuple[Answer, list[Any] | None]:
        """The answer to the request under way, however often it has to be sent. Raises CoordinatorLost."""
        asked = self._asked
        assert asked is not None
        lost_at: float | None = self._last_said if self._unsent else None
        self._unsent = False
        pause = RETRY_S
        while True:
            try:
                if lost_at is not None:
                    self._connection.send_note("exchange", asked.to_text())
                answer, values = Answer.from_text(self._connection.receive_note())
            except PeerLost as error:
                lost_at = lost_at or now()
                if self._shelter is not None and asked.reports:
                    self._shelter.keep(asked.to_text())
                if now() - lost_at > self._grace_s:
                    raise CoordinatorLost(
                        f"{error.message}; waited {self._grace_s:.0f} s for it to come back, so this processor ends"
                    ) from error
                time.sleep(pause)  # nobody can wake us: the peer is gone
                pause = min(pause * 2, RETRY_MOST_S)
                continue
            except UnknownRun:
                if self._shelter is not None:
                    self._shelter.forget()  # nobody will ever want it
                raise
            if answer.state == exchange.WHO:
                asked.who = self._who
                lost_at = lost_at or now()
                continue
            self._asked = None
            if self._shelter is not None:
                self._shelter.forget()
            return answer, values


def now() -> float:
    """Seconds that go on while the machine sleeps: a lease is not longer because a lid was closed."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
