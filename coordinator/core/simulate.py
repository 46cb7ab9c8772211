"""A farm without machines: the production run, its ledger, exchange and replay under seeded random events.

``simulate(seed, Run)`` plays one job: calls are lost, doubled and late, processors die, stop and wake, keepers fall
silent, hosts are cut off, the Coordinator is killed in the middle of its turns, loses power, sleeps, and finds its
disk full. Then everything heals, and the job must end. core/simulateoracle.py judges each step. The same seed gives
the same events, so that a seed that fails is replayed by its number. Here is no clock, no file and no process; hosts
and rules have a simulator of their own, core/simulatefarm.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from coordinator.core.simulateplay import demand
from coordinator.core.simulateserver import Killed
from coordinator.core.simulateworld import World

#: how often each thing happens in the first half of a job ...
USUAL = {
    **{"work": 300, "deliver": 300, "beat": 60, "tick": 40, "dash": 20, "look out": 40, "say again": 20},
    **{"slice": 20, "hire": 25, "wake": 15, "wait": 20},
    **{"guard back": 10, "heal": 10, "disk slow": 20, "disk done": 30, "disk free": 15, "start again": 25},
}
#: ... and what goes wrong: some of these in each job, since a job in which everything goes wrong goes nowhere
FAULTS = {
    **{"lose": 20, "double": 20, "come late": 15, "beat lost": 10, "sleep": 10, "disk full": 8},
    **{"die": 10, "stop": 15, "nap": 15, "time limit": 8, "guard silent": 8, "host dies": 5, "cut off": 16, "leave": 5},
    **{"kill": 10, "power cut": 8, "start another run": 10},
}
WEIGHTS = USUAL | FAULTS
#: only the Coordinator dies, hence nothing may run twice
ONLY_THE_COORDINATOR = (
    *("work", "deliver", "beat", "tick", "look out", "say again", "double", "slice", "hire", "disk slow", "disk done"),
    *("kill", "start again"),
)
#: what a Coordinator does not notice
UNSEEN = ("work", "dash", "look out", "say again", "lose", "double", "stop", "wake", "cut off", "heal")
STEPS = 240
MOST_ROUNDS = 400


@dataclass(frozen=True)
class Outcome:
    """What one seed did. ``digest`` is the same if the same happened; ``executions`` by position."""

    seed: int
    digest: str
    events: Counter[str]
    transitions: Counter[str]
    executions: Counter[int]
    total: int


def simulate(seed: int, make_run: Callable[..., Any], kinds: Iterable[str] = tuple(WEIGHTS)) -> Outcome:
    """Play one seed. ``make_run``: coordinator.run.Run, which lives a floor above. ``kinds``: what may happen.

    Raises Violation, with the seed and the last events, if a promise is broken.
    """
    play = _Job(seed, make_run, list(kinds))
    play.play()
    return Outcome(seed, play.digest(), play.events, play.oracle.transitions, play.executions, play.total)


class _Job(World):
    def __init__(self, seed: int, make_run: Callable[..., Any], kinds: list[str]) -> None:
        self._all = len(kinds) == len(WEIGHTS)
        super().__init__(seed, make_run, fine_only=not self._all)
        self._kinds = kinds

    def chaos(self) -> None:
        for kind in ("slice", "hire", "hire"):
            self.happen(kind, self.action(kind))
        some = [kind for kind in self._kinds if not self._all or kind in USUAL or self.rng.random() < 0.4]
        self.draw({kind: WEIGHTS[kind] for kind in some}, STEPS)

    def calm(self) -> None:
        """Everything heals; the job must come to its end by itself, and its journal must say so."""
        self.cut.clear()
        self.quiet.clear()
        for hand in self.living:
            hand.stopped = False
        for _ in range(MOST_ROUNDS):
            self._round()
            if self.finished and not self.living:
                break
        self.oracle.final(p for p, nature in enumerate(self.nature) if nature == "fine")
        assert self.server is not None
        left = list(self.server.run.ledger.leases)
        demand(not left, f"leases {left} are left at the end")
        self.dies()
        self.do_start_again()  # raises if the journal says otherwise

    def _round(self) -> None:
        for kind in ("start again", "disk done", "disk free", "slice"):
            self.happen(kind, self.action(kind))
        if not self.living and not self.finished:
            self.happen("hire", self.do_hire)
        for hand in self.living:
            if hand.asked is not None:
                self.happen("say again", partial(self.say_again, hand))
            while hand.alive and self.happen("work", partial(self.work, hand)):
                pass
        while self.wire:
            self.happen("deliver", partial(self.deliver, 0))
        for keeper in self.keepers:
            self.happen("beat", partial(self.beat, keeper))
        self.happen("wait", partial(self.passes, 1.0))

    def happen(self, kind: str, action: Callable[[], str | bool]) -> bool:
        self.whom, self._seen = None, kind not in UNSEEN
        try:
            return super().happen(kind, action)
        except Killed:
            return super().happen("turn", self.dies)

    def detail(self) -> object:
        return self.whom

    def judge(self) -> None:
        if self._seen and self.server is not None:
            self.oracle.weigh(self.server.run.ledger)
