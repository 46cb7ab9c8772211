"""One simulated play: its chance, its clock, what happened in it, and the digest of that.

core/simulate.py, simulatefarm.py and simulaterules.py each make one for a seed. It knows nothing of what is played.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b

#: events that are shown with a violation
SHOWN = 40


class Violation(AssertionError):
    """A promise was broken; the message says which, and the events that led there."""


class Play:
    """Events are methods ``do_...``; each returns what it was, False if nothing could happen."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 100.0
        self.events: Counter[str] = Counter()
        self.log: list[tuple[object, ...]] = []

    def play(self) -> None:
        """Chaos, then calm."""
        try:
            self.chaos()
            self.calm()
        except Violation as error:
            last = "\n  ".join(map(str, self.log[-SHOWN:]))
            raise Violation(f"seed {self.seed}, event {len(self.log)}: {error}\n  {last}") from error

    def chaos(self) -> None:
        raise NotImplementedError

    def calm(self) -> None:
        raise NotImplementedError

    def draw(self, weights: Mapping[str, float], steps: int) -> None:
        """Let so many events happen, each as often as its weight says."""
        actions = {kind: self.action(kind) for kind in weights}
        for kind in self.rng.choices(list(weights), list(weights.values()), k=steps):
            self.happen(kind, actions[kind])

    def action(self, kind: str) -> Callable[[], str | bool]:
        action: Callable[[], str | bool] = getattr(self, f"do_{kind.replace(' ', '_')}")
        return action

    def happen(self, kind: str, action: Callable[[], str | bool]) -> bool:
        """Let it happen, put it down, and judge."""
        told = action()
        if told is False:
            return False
        self.events[kind if told is True else f"{kind}: {told}"] += 1
        self.log.append((kind, told, round(self.now, 3), self.detail()))
        self.judge()
        return True

    def detail(self) -> object:
        """What else tells two events apart."""
        return None

    def judge(self) -> None:
        """What must be true after every event."""

    def digest(self) -> str:
        """The same if, and only if, the same happened."""
        return blake2b(repr(self.log).encode(), digest_size=16).hexdigest()


def demand(true: bool, words: str) -> None:
    """What must be true here, and what it means if it is not."""
    if not true:
        raise Violation(words)
