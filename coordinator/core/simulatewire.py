"""Processors on three hosts, and the wire between them and a Coordinator: one half of the world of core/simulate.py.

Each ``do_...`` method is one event: it changes the world and returns what it was, False if nothing could happen. All
chance comes from ``rng``. It judges nothing; the oracle is told what there is to know. The other half, keepers and the
lives of the Coordinator, is core/simulateworld.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from coordinator.core.exchange import Answer, Request
from coordinator.core.ledger import Policy
from coordinator.core.simulatehand import Hand
from coordinator.core.simulateoracle import Oracle
from coordinator.core.simulateplay import Play, demand
from coordinator.core.simulateserver import Journal, Server, remains

#: seconds a lease lasts here, and a processor looks for a Coordinator that is away
TERM_S, GRACE_S = 8.0, 60.0
HOSTS = 3

Sent = Sequence[tuple[int, Answer | None]]


class Wire(Play):
    """``nature``: what each task does to who works on it. A keeper's number modulo HOSTS is its host."""

    def __init__(self, seed: int, make_run: Callable[..., Any], fine_only: bool = False) -> None:
        super().__init__(seed)
        rng = self.rng
        self._make_run = make_run
        self.executions: Counter[int] = Counter()
        self.policy = Policy(retries=rng.choice((0, 0, 1, 2)), deaths=rng.choice((2, 3)))
        self.oracle = Oracle(self.policy, TERM_S)
        self.total = rng.choice((1, 8, 16, 40))
        weights = (1, 0, 0, 0) if fine_only else (84, 6, 6, 4)
        self.nature = rng.choices(("fine", "bad", "flaky", "poison"), weights, k=self.total)
        self._most = rng.choice((2, 2, 3))
        #: in half the jobs all keepers are on one host, which is never to blame for what fails
        self._machines = rng.choice((1, HOSTS))
        self._slow = rng.choice((0.0, 0.7))
        self._as_text = rng.random() < 0.25
        self.journal, self._before = remains(Journal([]), False, False)
        self._run_number, self._run = 1, "run1"
        self.server: Server | None = None
        self._power = False
        self.hands: dict[int, Hand] = {}
        self.wire: list[Request | tuple[int, Answer | None]] = []
        self._old: list[Request] = []
        self.cut: dict[int, str] = {}
        self.quiet: set[int] = set()
        self.keepers = list(range(HOSTS))
        self._exits: dict[int, list[tuple[int, str, int, str]]] = {keeper: [] for keeper in self.keepers}
        self._leaving: set[int] = set()
        #: whom the event was about, for the log
        self.whom: object = None

    @property
    def living(self) -> list[Hand]:
        return [hand for hand in self.hands.values() if hand.alive]

    @property
    def finished(self) -> bool:
        return self.server is not None and bool(self.server.run.ledger.finished)

    def _some(self, hands: Sequence[Hand]) -> Hand | None:
        return hands[int(self.rng.random() * len(hands))] if hands else None

    # --- processors ---------------------------------------------------------------------------------

    def do_work(self) -> str | bool:
        hand = self._some([hand for hand in self.living if not hand.stopped])
        if hand is None or (hand.working and self.rng.random() < self._slow):
            return False  # its task takes long
        return self.work(hand)

    def do_dash(self) -> bool:
        """A processor whose tasks are quick gets far before it says anything."""
        hand = self._some([hand for hand in self.living if hand.current is not None and not hand.stopped])
        return hand is not None and self._dash(hand) > 2

    def _dash(self, hand: Hand) -> int:
        steps = 0
        while self.work(hand) in ("begins", "finishes", "raises"):
            steps += 1
        return steps

    def work(self, hand: Hand) -> str | bool:
        """One step of a processor."""
        self.whom = (hand.number, hand.board)
        if hand.left:
            return self._ends(hand, "exit status 0", "leaves")
        if hand.working and hand.current is not None:
            nature = self.nature[hand.current.position]
            if nature == "poison":
                return self._ends(hand, "signal 11 (SIGSEGV)", "is killed by its task")
            error = nature == "bad" or (nature == "flaky" and self.rng.random() < 0.5)
            hand.finish(error)
            return "raises" if error else "finishes"
        block = hand.begin(self.now)
        if block is not None:
            self.executions[block.position] += 1
            self.whom = (hand.number, block.position, block.lease)
            if hand.run == self._run:
                self.oracle.begun(block.position, block.lease)
            return "begins"
        return bool(hand.outbox) and self._says(hand)

    def do_look_out(self) -> str | bool:
        hand = self._some([hand for hand in self.living if hand.working and not hand.stopped])
        if hand is not None:
            hand.look_out(self.now)
        return hand is not None and bool(hand.outbox) and self._says(hand)

    def do_say_again(self) -> str | bool:
        hand = self._some([hand for hand in self.living if hand.asked is not None and not hand.stopped])
        return hand is not None and self.say_again(hand)

    def say_again(self, hand: Hand) -> str | bool:
        if hand.asked is not None and self.now - hand.asked_at > GRACE_S:
            return self._ends(hand, "exit status 1", "gives up")
        hand.again()
        # It does so on a new connection; what lies in the old one is not read any more.
        self.wire = [message for message in self.wire if isinstance(message, Request) or message[0] != hand.number]
        return bool(hand.outbox) and self._says(hand)

    def _says(self, hand: Hand) -> str:
        self.whom = (hand.number, hand.seq)
        self.wire += hand.outbox
        hand.outbox.clear()
        return "says"

    def machine_of(self, keeper: int) -> str:
        return f"h{keeper % self._machines}"

    def do_hire(self) -> bool:
        """The Coordinator has a processor started; it is when the number is safe."""
        server = self.server
        if server is None or len(self.living) >= self._most or server.journal.stalled or server.disk_works:
            return False
        keeper = self.rng.choice(self.keepers)
        number = server.run.new_number()
        demand(number not in self.hands, f"processor number {number} is given twice")
        self._leave(server.settle(self.now))
        server.posts.setdefault(keeper, server.new_post(self.now)).numbers.add(number)
        self.hands[number] = Hand(
            self._run, number, keeper, self.machine_of(keeper), 1000 + number, self.rng.choice((0.001, 0.001, 1.0))
        )
        return True

    def do_die(self) -> str | bool:
        hand = self._some(self.living)
        if hand is None:
            return False
        return self._ends(hand, "signal 9 (SIGKILL)", "at work" if hand.working else "idle")

    def do_time_limit(self) -> str | bool:
        hand = self._some([hand for hand in self.living if hand.working])
        return hand is not None and self._ends(hand, "signal 9 (SIGKILL)", "kills", "time limit")

    def _ends(self, hand: Hand, how: str, what: str, cause: str = "") -> str:
        hand.alive = False
        if hand.run == self._run:
            self._exits[hand.host].append((hand.number, how, hand.board, cause))
        return what

    def do_stop(self) -> bool:
        hand = self._some([hand for hand in self.living if hand.current is not None]) or self._some(self.living)
        if hand is None:
            return False
        if self.rng.random() < 0.5:
            self._dash(hand)  # what it did lies untold in it
        hand.stopped = hand.alive
        return True

    def do_wake(self) -> bool:
        hand = self._some([hand for hand in self.living if hand.stopped])
        if hand is not None:
            hand.stopped = False
        return hand is not None

    def do_leave(self) -> bool:
        """The host has more processors than it shall have."""
        hand = self._some(self.living)
        if hand is not None:
            self._leaving.add(hand.number)
        return hand is not None

    # --- the wire -----------------------------------------------------------------------------------

    def do_deliver(self) -> str | bool:
        if not self.wire:
            return False
        index = 0 if self.rng.random() < 0.7 else int(self.rng.random() * len(self.wire))
        return self.deliver(index)

    def deliver(self, index: int) -> str | bool:
        message = self.wire.pop(index)
        if isinstance(message, Request):
            if self.rng.random() < 0.1:
                self._old.append(message)
            requests = [message]
            if self.wire and isinstance(other := self.wire[0], Request) and self.rng.random() < 0.3:
                requests.append(other)  # both in one turn
                del self.wire[0]
            return self._arrive(requests)
        number, answer = message
        hand = self.hands[number]
        self.whom = (number, None if answer is None else (answer.seq, answer.lease, answer.start, answer.count))
        if not hand.alive or self.cut.get(hand.host % HOSTS) in ("in", "both"):
            return "nobody hears"
        if hand.stopped:
            self.wire.append(message)
            return False
        if answer is None:
            return self._ends(hand, "exit status 0", "its run is over")
        hand.hear(Answer.from_text(answer.to_text())[0] if self._as_text else answer, self.now)
        self._says(hand)
        return f"answer {answer.state}{', give' if answer.give else ''}{', drop' if answer.drop else ''}"

    def _arrive(self, requests: list[Request]) -> str:
        if self.server is None:
            return "nobody hears"
        through = [r for r in requests if self.cut.get(self.hands[r.processor].host % HOSTS) not in ("out", "both")]
        if self._as_text:
            through = [Request.from_text(request.to_text()) for request in through]
        self.whom = [(one.processor, one.seq, one.held) for one in through]
        refused = self.server.refused
        self._leave(self.server.turn(through, self.now))
        return "refused" if self.server.refused > refused else "request" if through else "nobody hears"

    def _leave(self, sent: Sent) -> None:
        self.wire += sent

    def do_lose(self) -> bool:
        if self.wire:
            self.wire.pop(int(self.rng.random() * len(self.wire)))
            return True
        return False

    def do_double(self) -> bool:
        requests = [message for message in self.wire if isinstance(message, Request)]
        if requests:
            self.wire.append(self.rng.choice(requests))
        return bool(requests)

    def do_come_late(self) -> str | bool:
        """A copy of a request that arrived long ago arrives again."""
        return bool(self._old) and self._arrive([self._old.pop(int(self.rng.random() * len(self._old)))])

    def do_cut_off(self) -> str:
        how = self.rng.choice(("both", "in", "out"))
        self.cut[self.rng.randrange(HOSTS)] = how
        return how

    def do_heal(self) -> bool:
        return bool(self.cut) and bool(self.cut.pop(self.rng.choice(list(self.cut))))
