"""A Coordinator as core/simulate.py plays it: the turns of taskserver.py around the production Run and its ledger.

A turn takes calls, decides, commits, answers, and may be cut off between any two of these. The journal lies in memory
and knows what a kill and what a power cut leave of it. Everything that happens is told to the oracle as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coordinator.core.exchange import Answer, Request
from coordinator.core.records import Kind, Record
from coordinator.core.replay import Recovered, State, checkpoint, fold
from coordinator.core.simulateoracle import Oracle
from coordinator.core.spans import Spans
from coordinator.errors import BadParameters, BadRequest, UnknownRun

#: seconds between two looks at the time, and the gap between them that means that the Coordinator itself slept
TICK_S, SLEPT_S = 0.25, 2.0
#: how a processor departs that may come back: its keeper was given up
NOT_HEARD_OF = "not heard of any more"
#: where a turn can be cut off
WINDOWS = ("before append", "before write", "before sync", "before reply", "after reply")


class Killed(Exception):
    """The Coordinator is killed in the middle of a turn."""


class Journal:
    """Records in memory. Those up to ``written`` outlive a kill, those up to ``synced`` a power cut.

    ``base``: a CHECKPOINT that stands for the first so many records.
    """

    def __init__(self, records: list[Record], base: tuple[Record, int] | None = None) -> None:
        self.records, self.base = records, base
        self.written = self.synced = len(records)
        self.stalled = False

    def append(self, kind: Kind, header: dict[str, Any], text: str = "") -> None:
        self.records.append(Record(kind, header, text.encode()))

    def integers(self, a: int, b: int) -> int | None:
        return a

    def id_text(self, position: int) -> str:
        return str(position)

    def settled(self) -> tuple[Spans, Spans]:
        state = State()
        for record in self.records:
            fold(state, record)
        return state.done, state.failed


@dataclass
class Post:
    """A keeper as the Coordinator knows it."""

    heard: float
    numbers: set[int] = field(default_factory=set)


@dataclass
class Beat:
    """What a keeper says: who lives and is not stopped, and who ended how (number, words, position, cause)."""

    host: int
    machine: str
    living: list[tuple[int, int, int]]
    exits: list[tuple[int, str, int, str]]


class Server:
    """One life of a Coordinator. ``make_run``: the production Run; ``doom``: the window in which it is killed next."""

    def __init__(
        self,
        make_run: Callable[..., Any],
        journal: Journal,
        before: Recovered,
        run: str,
        again: bool,
        oracle: Oracle,
        now: float,
    ) -> None:
        self.journal, self.oracle, self.run_id, self.life = journal, oracle, run, before.life + 1
        self.run = make_run(journal, before, run, oracle.policy, lambda: 0.0, oracle.term_s)
        self.posts: dict[int, Post] = {}
        #: hosts that are to rest because all fails there; they have rested by the next look at the time
        self._resting: list[str] = []
        self.run.host_trials.rests = lambda host, words: self._resting.append(host)
        self.doom: str | None = None
        self.refused = 0
        self._parked: dict[int, Request] = {}
        self._pending: list[tuple[int, Answer | None]] = []
        #: so many records will be safe, these answers leave then, and these tasks are acknowledged by them
        self._under_way: tuple[int, list[tuple[int, Answer | None]], list[int]] | None = None
        self._backlog: list[Request] = []
        self._last_tick = now
        journal.append(Kind.LIFE, {"run": run, "name": "sim", "life": self.life, "same_run": again})
        self.run.restore(before, now, again)
        self.begin(True)
        self.end()

    # --- a turn -------------------------------------------------------------------------------------

    def turn(self, requests: list[Request], now: float) -> list[tuple[int, Answer | None]]:
        """Take calls; what leaves then, as (processor, answer), None where it is told that its run is over."""
        if self.journal.stalled:
            self._backlog += requests
            return []
        self._window("before append")
        for request in requests:
            self._handle(request, now)
        return self.settle(now)

    def settle(self, now: float) -> list[tuple[int, Answer | None]]:
        """End a turn: tell those who wait, commit, send."""
        self.run.ask_back()
        mark = len(self.journal.records)
        for number, answer in self.run.serve_waiting(now):
            mine = [one for one in self.journal.records[mark:] if one.header.get("p") == number]
            if (request := self._parked.pop(number, None)) is not None:
                self.oracle.answered(request, answer.to_text(), mine, now)
                self._pending.append((number, answer))
        if self.journal.stalled or self.disk_works:
            return []
        self.begin(self.run.accepted)
        return self.end()

    @property
    def disk_works(self) -> bool:
        """Is a commit under way?"""
        return self._under_way is not None

    def begin(self, sync: bool) -> None:
        """Write what was decided, and let the disk work; what is decided until its end is of the next commit."""
        self._window("before write")
        self.journal.written = len(self.journal.records)
        synced = self.journal.written if sync else self.journal.synced
        self._under_way = synced, self._pending, self.oracle.unacknowledged()
        self._pending = []
        self.run.accepted = False

    def end(self) -> list[tuple[int, Answer | None]]:
        """The disk has it: send."""
        assert self._under_way is not None
        self._window("before sync")
        (self.journal.synced, leaving, accepted), self._under_way = self._under_way, None
        self._window("before reply")
        self.oracle.acknowledge(accepted)
        return leaving

    def writable_again(self, now: float) -> list[tuple[int, Answer | None]]:
        """The disk has room again: what was held back is written and sent, what waited is worked on."""
        self.journal.stalled = False
        self._heard_nobody(now)
        backlog, self._backlog = self._backlog, []
        return self.settle(now) + self.turn(backlog, now)

    def _handle(self, request: Request, now: float) -> None:
        mark = len(self.journal.records)
        try:
            answer = self.run.exchange(request, now)
        except UnknownRun:
            self._pending.append((request.processor, None))
            return
        except (BadRequest, BadParameters):
            self.refused += 1
            return
        if answer is not None and answer.state == "who":
            self._pending.append((request.processor, answer))
            return
        self._parked.pop(request.processor, None)
        text = None if answer is None else answer.to_text()
        self.oracle.exchanged(request, text, self.journal.records[mark:], now)
        if answer is None:
            self._parked[request.processor] = request
        else:
            self._pending.append((request.processor, answer))

    def _window(self, name: str) -> None:
        if self.doom == name:
            raise Killed

    # --- keepers ------------------------------------------------------------------------------------

    def new_post(self, now: float) -> Post:
        return Post(now)

    def beat(self, told: Beat, now: float) -> None:
        """A keeper speaks: it vouches for those who live, and tells who ended. May be told twice."""
        post = self.posts.setdefault(told.host, Post(now))
        post.heard = now
        for number, pid, position in told.living:
            post.numbers.add(number)
            hired = self.run.hired.get(number) or self.run.hire(number, told.machine, pid, "", now, kept=True)
            hired.position = position
            self.run.ledger.renew(number, now)
            self.oracle.vouch(number, now)
        for number, how, position, cause in told.exits:
            if number in post.numbers:
                post.numbers.discard(number)
                in_order = how == "exit status 0"
                self._depart(number, how, None if in_order or position < 0 else position, now, cause)

    def silent(self, now: float) -> int:
        """Give up keepers that are not heard of for a whole term, and their processors that are not either."""
        given_up = 0
        for host, post in list(self.posts.items()):
            if now - post.heard > self.oracle.term_s:
                del self.posts[host]
                for number in sorted(post.numbers):
                    hired = self.run.hired.get(number)
                    if hired is None or now - hired.heard > self.oracle.term_s:
                        self._depart(number, NOT_HEARD_OF, None, now, "")
                        given_up += 1
        return given_up

    def _depart(self, number: int, how: str, position: int | None, now: float, cause: str) -> None:
        mark = len(self.journal.records)
        self.run.depart(number, how, position, now, cause)
        self._parked.pop(number, None)
        self.oracle.died(number, self.journal.records[mark:], now, seen=how != NOT_HEARD_OF)

    # --- the stream and the time --------------------------------------------------------------------

    def extend(self, count: int) -> None:
        mark = len(self.journal.records)
        self.run.extend(count, "0" * 32, self.run.ledger.count, "")
        self.oracle.recorded(self.journal.records[mark:], 0.0)

    def tick(self, now: float) -> str:
        """Look at the time; returns what was seen."""
        gap, self._last_tick = now - self._last_tick, now
        if gap > TICK_S + SLEPT_S:
            self._heard_nobody(now)
            return "slept"
        if self.journal.stalled:
            return "stalled"
        resting, self._resting = self._resting, []
        for host in resting:
            self.run.host_trials.again(host)
        numbers = [lease.number for lease in self.run.lapse(now)]
        self.oracle.lapsed(numbers, now)
        given_up = self.silent(now)
        return "silent" if given_up else "lapsed" if numbers else "tick"

    def _heard_nobody(self, now: float) -> None:
        """It slept, or its disk was full and all calls waited: nobody is judged by that time."""
        self.run.ledger.renew_all(now)
        for post in self.posts.values():
            post.heard = now
        self.oracle.slept(now)

    def awake(self, now: float) -> None:
        """It looked at the time all along."""
        self._last_tick = now - TICK_S


def remains(journal: Journal, power_cut: bool, fold_up: bool) -> tuple[Journal, Recovered]:
    """What a kill (or a power cut) leaves, behind a checkpoint if ``fold_up``, and what it means."""
    survivors = journal.records[: journal.synced if power_cut else journal.written]
    state, begin = State(), 0
    if journal.base is not None:
        record, begin = journal.base
        fold(state, record)
    for record in survivors[begin:]:
        fold(state, record)
    base = journal.base
    if fold_up:
        header, text = checkpoint(state)
        base = (Record(Kind.CHECKPOINT, header, text.encode()), len(survivors))
    return Journal(survivors, base), Recovered(state)
