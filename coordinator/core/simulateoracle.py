"""What must be true of every task whatever happens: the judge of core/simulate.py.

It learns of the same events as the Coordinator, reads the records that go to the journal, and keeps a book of its own:
the newest lease of each position, who was vouched for when, what was acknowledged. It never asks the ledger what is
right; it only holds the ledger's sums against its own. A broken promise raises Violation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from coordinator.core.exchange import Request
from coordinator.core.ledger import Ledger, Policy
from coordinator.core.records import Kind, Record
from coordinator.core.simulateplay import demand

TODO, LEASED, WAITING, DONE, FAILED = "todo", "leased", "waiting", "done", "failed"

#: every change of a task's state that the ledger can make, by the name under which the oracle counts it
TRANSITIONS = (
    *("todo>leased", "waiting>leased", "lapsed>leased", "lapsed>done", "lapsed>leased by its holder again"),
    *("leased>done", "leased>waiting", "leased>failed", "leased>failed by deaths", "leased>todo by a death in it"),
    *("leased>todo holder died", "leased>todo given back", "leased>todo not held", "leased>leased over a restart"),
    *("leased>todo over a restart", "failed>todo", "late"),
)


class Promise:
    """One lease. ``shared``: others were given a part of it; ``excused``: its holder cannot know that it is void."""

    __slots__ = ("excused", "holder", "lapsed", "number", "open", "shared", "vouched")

    def __init__(self, number: int, holder: int, now: float, positions: Iterable[int] = ()) -> None:
        self.number, self.holder, self.vouched, self.open = number, holder, now, set(positions)
        self.lapsed = self.shared = self.excused = False


class Oracle:
    """The book of one simulated run. ``term_s``: how long a lease lasts without a word from its holder."""

    def __init__(self, policy: Policy, term_s: float) -> None:
        self.policy, self.term_s = policy, term_s
        self.transitions: Counter[str] = Counter()
        self.state: list[str] = []
        self.leases: dict[int, Promise] = {}
        self.newest: dict[int, int] = {}
        self.errors, self.deaths, self.accepted = (Counter[int]() for _ in range(3))
        self.acknowledged: set[int] = set()
        self.late = 0
        self._top = 0
        self._answers: dict[tuple[int, str, int], str] = {}
        self._dead, self._overran = set[int](), set[int]()
        self._unacknowledged: list[int] = []

    # --- what the Coordinator hears -----------------------------------------------------------------

    def exchanged(self, request: Request, answer: str | None, records: Sequence[Record], now: float) -> None:
        """A request was answered (``answer`` None: it waits), and these records were appended meanwhile."""
        if request.processor in self._dead:
            demand(not records, f"processor {request.processor} is dead, and its call was worked on")
            return
        key = (request.processor, request.incarnation, request.seq)
        if key in self._answers:
            demand(self._answers[key] == answer, f"call {key} was answered twice, and not the same")
            demand(not records, f"call {key} came twice and was worked on twice")
            return
        if answer is not None:
            self._answers[key] = answer
        for lease in [one for one in self.leases.values() if one.holder == request.processor]:
            if lease.number not in request.held:
                self._free(lease, "leased>todo not held")
        self.vouch(request.processor, now)
        reported = sum(b - a for report in request.reports for a, b in report.ranges)
        reported += sum(len(report.failed) for report in request.reports)
        self.recorded((one for one in records if one.kind != Kind.LEASE), now)
        for number, start, stop in request.returned:
            if (gave := self.leases.get(number)) is not None:
                for position in range(start, stop):
                    self._release(gave, position, "leased>todo given back")
        self.recorded((one for one in records if one.kind == Kind.LEASE), now)
        believed = sum(b - a for one in records if one.kind == Kind.DONE for a, b in one.header["r"])
        believed += sum(one.kind == Kind.FAILED and "lost" not in one.header for one in records)
        late = reported - believed
        self.late += late
        self.transitions["late"] += late

    def answered(self, request: Request, answer: str, records: Iterable[Record], now: float) -> None:
        """A request that waited was answered."""
        self._answers[request.processor, request.incarnation, request.seq] = answer
        self.recorded(records, now)

    def vouch(self, holder: int, now: float) -> None:
        """Somebody who can know said that it lives."""
        for lease in self.leases.values():
            if lease.holder == holder:
                lease.vouched = now
                if lease.lapsed and not lease.shared:
                    lease.lapsed = False
                    self.transitions["lapsed>leased by its holder again"] += 1

    def slept(self, now: float) -> None:
        """The Coordinator slept: nobody is judged by that time."""
        for holder in {lease.holder for lease in self.leases.values()}:
            self.vouch(holder, now)

    def lapsed(self, numbers: Iterable[int], now: float) -> None:
        """The ledger ended these leases."""
        for number in numbers:
            demand(number in self.leases, f"lease {number} lapsed, and nobody had it")
            lease = self.leases[number]
            silent_s = now - lease.vouched
            demand(silent_s > self.term_s, f"lease {number} lapsed {silent_s:.1f} s after its holder was heard of")
            lease.lapsed = True

    def died(self, holder: int, records: Iterable[Record], now: float, seen: bool) -> None:
        """The holder is dead, or (not ``seen``) given up; these records were appended."""
        if seen:
            self._dead.add(holder)
        self.recorded(records, now)
        for lease in [one for one in self.leases.values() if one.holder == holder]:
            self._free(lease, "leased>todo holder died")
        for key in [key for key in self._answers if key[0] == holder]:
            del self._answers[key]

    def unacknowledged(self) -> list[int]:
        """What was accepted since this was asked last."""
        accepted, self._unacknowledged = self._unacknowledged, []
        return accepted

    def acknowledge(self, accepted: Iterable[int]) -> None:
        """Answers leave: from now on nothing of this may be forgotten."""
        self.acknowledged.update(accepted)

    def begun(self, position: int, number: int) -> None:
        """A processor begins a task."""
        lease, newest = self.leases.get(number), self.newest.get(position)
        if lease is None or not lease.excused:
            demand(newest == number, f"task {position} is begun under lease {number}, and {newest} is live")

    # --- records ------------------------------------------------------------------------------------

    def recorded(self, records: Iterable[Record], now: float) -> None:
        for kind, header, *_ in records:
            if kind == Kind.SLICE:
                self.state += [TODO] * header["count"]
            elif kind == Kind.LEASE:
                self._leased(header["n"], header["p"], range(header["a"], header["b"]), now)
            elif kind == Kind.DONE:
                for a, b in header["r"]:
                    for position in range(a, b):
                        self._settled(header["n"], header["p"], position, DONE)
                        self.accepted[position] += 1
                        self._unacknowledged.append(position)
            elif kind == Kind.FAILED and "lost" not in header:
                self._failed(header)
            elif kind == Kind.REDO:
                for a, b in header["r"]:
                    self._excused(range(a, b))

    def _leased(self, number: int, holder: int, positions: range, now: float) -> None:
        demand(number > self._top, f"lease {number} was given after lease {self._top}")
        self._top = number
        self.leases[number] = Promise(number, holder, now, positions)
        for position in positions:
            state = self.state[position]
            if state == LEASED:
                older = self.leases[self.newest[position]]
                words = f"task {position} was given under lease {number}, and lease {older.number} of it is live"
                demand(older.lapsed, words)
                older.shared = True
                older.open.discard(position)
                state = "lapsed"
            demand(state in (TODO, WAITING, "lapsed"), f"task {position} was given again, and it is {state}")
            self.transitions[f"{state}>leased"] += 1
            self.state[position], self.newest[position] = LEASED, number

    def _settled(self, number: int, holder: int, position: int, state: str) -> None:
        was, newest = self.state[position], self.newest.get(position)
        words = f"task {position} is {was} under {newest}; {number} made it {state}"
        demand(was == LEASED and newest == number, words)
        lease = self.leases[number]
        demand(lease.holder == holder, f"task {position} of {lease.holder} was made {state} by {holder}")
        self.state[position] = state
        self.transitions[f"{'lapsed' if lease.lapsed else 'leased'}>{state}"] += 1
        lease.open.discard(position)
        del self.newest[position]

    def _failed(self, header: dict[str, Any]) -> None:
        position, final, died = header["pos"], header["final"], header["kind"] == "ProcessorDied"
        counts = self.deaths if died else self.errors
        counts[position] += 1
        if header["kind"] == "TaskTimeLimit":
            self._overran.add(position)
        most = self.policy.deaths if died else self.policy.retries + 1
        words = f"given up: {final}, after {counts[position]} of {most} {'deaths' if died else 'errors'}"
        demand(final == (counts[position] >= most), f"task {position} was {words}")
        if died and not final:
            self.transitions["leased>todo by a death in it"] += 1
            return  # its lease is freed as a whole
        lease = self.leases[header["n"]]
        if died:
            self.transitions["leased>failed by deaths"] += 1
        self._settled(lease.number, lease.holder if died else header["p"], position, FAILED if final else WAITING)

    def _free(self, lease: Promise, how: str) -> None:
        for position in list(lease.open):
            self._release(lease, position, how)
        del self.leases[lease.number]

    def _release(self, lease: Promise, position: int, how: str) -> None:
        if position in lease.open:
            lease.open.discard(position)
            self.state[position] = TODO
            del self.newest[position]
            self.transitions[how] += 1

    # --- a Coordinator that starts again ------------------------------------------------------------

    def restarted(self, records: Sequence[Record], same_run: bool, now: float) -> None:
        """Begin again from what was written; what was acknowledged must be among it."""
        before = self.leases
        self.state, self.leases, self.newest = [], {}, {}
        for book in (self.errors, self.deaths, self.accepted, self._answers, self._dead, self._unacknowledged):
            book.clear()
        self.late = 0
        holders: dict[int, int] = {}
        shared: set[int] = set()
        for kind, header, *_ in records:
            if kind == Kind.LIFE and not header["same_run"]:
                self._forget_run(holders)
            elif kind == Kind.SLICE:
                self.state += [TODO] * header["count"]
            elif kind == Kind.LEASE:
                holders[header["n"]] = header["p"]
                for position in range(header["a"], header["b"]):
                    if self.state[position] == LEASED:
                        shared.add(self.newest[position])
                    self.newest[position], self.state[position] = header["n"], LEASED
            elif kind == Kind.DONE:
                for a, b in header["r"]:
                    for position in range(a, b):
                        self.state[position] = DONE
                        self.accepted[position] += 1
            elif kind == Kind.FAILED and "lost" not in header:
                counts = self.deaths if header["kind"] == "ProcessorDied" else self.errors
                counts[header["pos"]] += 1
                self.state[header["pos"]] = FAILED if header["final"] else TODO
            elif kind == Kind.REDO:
                for a, b in header["r"]:
                    self._excused(range(a, b))
        twice = [position for position, times in self.accepted.items() if times > 1]
        demand(not twice, f"tasks {twice} were accepted more than once")
        lost = [p for p in self.acknowledged if p >= len(self.state) or self.state[p] != DONE]
        demand(not lost, f"tasks {lost} were acknowledged and are not in the journal")
        self._again()
        if not same_run:
            self._forget_run(holders)
        for position, state in enumerate(self.state):
            if state == LEASED:
                number = self.newest[position]
                kept = self.leases.setdefault(number, Promise(number, holders[number], now))
                kept.open.add(position)
                kept.shared = number in shared
                self.transitions["leased>leased over a restart"] += 1
            else:
                self.newest.pop(position, None)
        for number, lost_lease in before.items():
            if number not in holders or not same_run:
                # Its record was lost with the power, or its run is over: whoever has it cannot be asked.
                self.leases.setdefault(number, Promise(number, lost_lease.holder, now)).excused = True

    def _forget_run(self, holders: dict[int, int]) -> None:
        """Another run begins: leases, errors and deaths of the one before count for nothing."""
        holders.clear()
        self.errors.clear()
        self.deaths.clear()
        for position, state in enumerate(self.state):
            if state == LEASED:
                self.state[position] = TODO
                self.transitions["leased>todo over a restart"] += 1

    def _again(self) -> None:
        """A Coordinator that starts tries failed tasks anew."""
        self._excused(range(len(self.state)))

    def _excused(self, positions: Iterable[int]) -> None:
        """What failed among these is TODO again, as if it had never been tried."""
        for position in positions:
            if self.state[position] == FAILED:
                self.state[position] = TODO
                self.errors.pop(position, None)
                self.deaths.pop(position, None)
                self.transitions["failed>todo"] += 1

    def weigh(self, ledger: Ledger) -> None:
        """Every position is in exactly one state, and the ledger's sums are ours."""
        total = sum(lease.open.total() for lease in ledger.leases.values() if not lease.lapsed)
        total += ledger.todo.total() + ledger.waiting + ledger.done + ledger.failed
        demand(total == ledger.count == len(self.state), f"{total} of {ledger.count} tasks are in some state")
        sums = (self.state.count(DONE), self.state.count(FAILED), self.late)
        told = (ledger.done, ledger.failed, ledger.late)
        demand(sums == told, f"done, failed, late are {sums}; the ledger says {told}")

    def final(self, fine: Iterable[int]) -> None:
        """The job is over: nothing is lost, and what could be done is done."""
        lost = [p for p, state in enumerate(self.state) if state not in (DONE, FAILED)]
        demand(not lost, f"tasks {lost} are neither done nor failed at the end")
        wronged = [p for p in fine if self.state[p] != DONE and not self.deaths[p] and p not in self._overran]
        demand(not wronged, f"tasks {wronged} failed, and nothing was wrong with them")
        demand(all(self.accepted[p] == (self.state[p] == DONE) for p in range(len(self.state))), "accepted twice")
