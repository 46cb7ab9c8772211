"""A processor as core/simulate.py plays it: what hand.py says and believes, without wire, threads or clock.

The world lets it take one step at a time; what it says lies in ``outbox`` until the world carries it. Its requests
are those of the real hand: one at a time with rising numbers, sent again with the same number until answered.
"""

from __future__ import annotations

from copy import copy

from coordinator.core import exchange
from coordinator.core.exchange import Answer, LeaseReport, Request


class Block:
    """The tasks of one lease: those before ``position`` are over, those before ``reported`` are told."""

    __slots__ = ("failed", "lease", "position", "reported", "stop")

    def __init__(self, answer: Answer) -> None:
        self.lease = answer.lease
        self.position = self.reported = answer.start
        self.stop = answer.start + answer.count
        self.failed: list[int] = []

    def report(self) -> LeaseReport:
        """What became known since the last report."""
        done: list[int] = []
        begin = self.reported
        for position in [*self.failed, self.position]:
            if position > begin:
                done += (begin, position)
            begin = position + 1
        told = LeaseReport(self.lease, done, [(p, {"kind": "ValueError", "message": "no"}) for p in self.failed])
        self.reported, self.failed = self.position, []
        return told


class Hand:
    """One processor. ``board``: the task that its guard sees it work on, -1 for none; ``pace_s``: seconds a task;
    ``host``: its keeper; ``machine``: the name of the host that both are on."""

    def __init__(self, run: str, number: int, host: int, machine: str, pid: int, pace_s: float) -> None:
        self.run, self.number, self.host, self.pid, self.pace_s = run, number, host, pid, pace_s
        self.machine = machine
        self.incarnation = f"i{number}"
        self.alive, self.stopped, self.working = True, False, False
        self.board = -1
        self.seq = 0
        self.asked: Request | None = None
        self.asked_at = self.good_until = 0.0
        self.current: Block | None = None
        self.ahead: Block | None = None
        self.over = self.left = False
        self.outbox: list[Request] = []
        self._reports: list[LeaseReport] = []
        self._returned: list[tuple[int, int, int]] = []
        self._worked = (0, 0.0)

    @property
    def who(self) -> dict[str, object]:
        return {"host": self.machine, "pid": self.pid, "log": "", "kept": True}

    # --- the work -----------------------------------------------------------------------------------

    def begin(self, now: float) -> Block | None:
        """Begin the next task if there is one that may be begun; else say what must be said first."""
        block = self.current
        if block is not None and block.position < block.stop:
            if now <= self.good_until:
                self.working, self.board = True, block.position
                return block
            if self.asked is None:
                self._say(now)
        elif self.asked is None:
            self._next_block(now)
        return None

    def finish(self, error: bool) -> None:
        """The task that it works on is over."""
        block = self.current
        assert block is not None
        if error:
            block.failed.append(block.position)
        block.position += 1
        self.working = False

    def look_out(self, now: float) -> None:
        """While a task takes long: report those before it, give back those after it."""
        block = self.current
        if block is None or not self.working or self.asked is not None or self.over:
            return
        self._leave_ahead()
        self._give_back(block, block.stop - block.position - 1)
        self._reports.append(block.report())
        self._say(now)

    def again(self) -> None:
        """Nothing was heard: say it once more, under the same number."""
        if self.asked is not None:
            self.outbox.append(self.asked)

    def hear(self, answer: Answer, now: float) -> None:
        """An answer arrives. One that nobody waits for came on a connection that was given up."""
        if self.asked is None or answer.seq != self.asked.seq:
            return
        if answer.state == exchange.WHO:
            self.asked = copy(self.asked)
            self.asked.who = self.who
            self.outbox.append(self.asked)
            return
        said_bye, self.asked = self.asked.bye is not None, None
        if said_bye:
            self.left, self.board = True, -1
            return
        self.good_until = self.asked_at + answer.term_s
        if self.current is not None and self.current.lease in answer.drop:
            self.current.stop = self.current.position + self.working
        if self.ahead is not None and self.ahead.lease in answer.drop:
            self.ahead = None
        if answer.state == exchange.WORK:
            self.ahead = Block(answer)
        elif answer.state in (exchange.END, exchange.STOP):
            self.over = True
            self._give_back(self.current, 1 << 30)
            self._leave_ahead()
        if answer.give and not self.over:
            self._share(now)

    # --- what it says -------------------------------------------------------------------------------

    def _next_block(self, now: float) -> None:
        self._finish_current()
        if self.over:
            self._leave_ahead()
            self._say(now, bye="done")
        elif self.ahead is not None:
            self.current, self.ahead = self.ahead, None
            self._say(now, want=True)
        else:
            self._say(now, want=True, idle=True)

    def _finish_current(self) -> None:
        block, self.current, self.board = self.current, None, -1
        if block is not None:
            self._worked = (4, 4 * self.pace_s)
            self._reports.append(block.report())
            self._give_back(block, 1 << 30)

    def _give_back(self, block: Block | None, most: int) -> None:
        if block is None:
            return
        count = min(most, block.stop - block.position - (self.working and block is self.current))
        if count > 0:
            self._returned.append((block.lease, block.stop - count, block.stop))
            block.stop -= count

    def _leave_ahead(self) -> None:
        self._give_back(self.ahead, 1 << 30)
        self.ahead = None

    def _share(self, now: float) -> None:
        if self.ahead is not None and self.current is not None:
            self._leave_ahead()
        elif (block := self.current or self.ahead) is not None:
            self._give_back(block, (block.stop - block.position - (self.working and block is self.current)) // 2)
        if self._returned:
            self._say(now)

    def _say(self, now: float, want: bool = False, idle: bool = False, bye: str | None = None) -> None:
        self.seq += 1
        held = [block.lease for block in (self.current, self.ahead) if block is not None]
        reports = [report for report in self._reports if report]
        held += [report.lease for report in reports if report.lease not in held]
        worked, self._worked = self._worked, (0, 0.0)
        who = self.who if self.seq == 1 else None
        me, returned = (self.run, self.number, self.incarnation, self.seq), self._returned
        self.asked = Request(*me, held, reports, returned, worked, want, idle, who, bye)
        self._reports, self._returned = [], []
        self.asked_at = now
        self.outbox.append(self.asked)
