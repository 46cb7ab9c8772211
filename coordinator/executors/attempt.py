"""One try to do something on a host: its time, what it holds open, and its turn at a busy SSH server.

The launcher makes an :class:`Attempt` for each host and ends it when its time is over; :mod:`coordinator.executors.ssh`
asks it before each step. A :class:`Gate` lets few logins at once into one server. It knows nothing of SSH itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from coordinator.errors import LaunchFailed

T = TypeVar("T")

#: seconds for all that is done on one host
LAUNCH_S = 25.0
#: connections to one SSH server that are not logged in yet: by default OpenSSH drops some from the 11th on
AT_ONCE = 5
#: seconds between two looks whether somebody in front was cut
LOOK_S = 0.5


def failed(step: str, words: str) -> LaunchFailed:
    """The error to raise; ``step`` in one word for programs, ``words`` for people."""
    failure = LaunchFailed(words)
    failure.step = step
    return failure


class Attempt:
    """``step``: where it is, in words, for when it must be cut. Its thread runs, another one may cut."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.step = "waiting for its turn"
        #: the orders are about to leave: from here on it may have begun
        self.committed = False
        #: set: what it listens to has been followed for long enough
        self.enough = threading.Event()
        self.deadline = time.monotonic() + LAUNCH_S
        self._queued_since: float | None = None
        self._cut = threading.Event()
        self._open: list[Any] = []

    @property
    def over(self) -> bool:
        return self._cut.is_set()

    @contextmanager
    def queued(self) -> Iterator[None]:
        """While it waits for others at the same server its own time stands still."""
        self._queued_since = time.monotonic()
        try:
            yield
        finally:
            self.deadline += time.monotonic() - self._queued_since
            self._queued_since = None

    @property
    def late(self) -> bool:
        return self._queued_since is None and time.monotonic() > self.deadline

    def unlimited(self) -> None:
        """It has arrived and listens, for as long as people like."""
        self.deadline = math.inf

    def left_s(self, most_s: float = LAUNCH_S) -> float:
        """Seconds for the next step. Raises LaunchFailed when there are none."""
        left_s = self.deadline - time.monotonic()
        if self.over or left_s <= 0:
            raise self.too_slow()
        return min(left_s, most_s)

    def rest(self, pause_s: float) -> None:
        """Do nothing for a while, or until it is cut."""
        if self._cut.wait(pause_s):
            raise self.too_slow()

    def too_slow(self) -> LaunchFailed:
        words = f"{self.name} was not ready within {LAUNCH_S:g} s; it was {self.step}"
        return failed("reach", f"{words}. Try `ssh {self.name}` by hand.")

    def keep(self, thing: T) -> T:
        """``thing`` is closed with the attempt, by whoever ends it."""
        self._open.append(thing)
        if self.over:
            self.cut()
        return thing

    def cut(self) -> None:
        """Close all that it holds open; who waits on one of them gets an error."""
        self._cut.set()
        while self._open:
            with suppress(OSError, EOFError):
                self._open.pop().close()


class Gate:
    """The way into one SSH server: so many at once. When it did not answer one, those who queued hear that too."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[Attempt] = set()
        self._dead: tuple[float, LaunchFailed] | None = None

    def enter(self, attempt: Attempt) -> None:
        """Wait for room. Raises what made another fail meanwhile, if the server did not answer that one."""
        came = time.monotonic()
        with self._changed:
            while True:
                if attempt.over:
                    raise attempt.too_slow()
                if self._dead is not None and self._dead[0] > came:
                    raise self._dead[1]
                # One that was cut may hang for ever, where nobody can wake it; it does not count.
                self._inside = {one for one in self._inside if not one.over}
                if len(self._inside) < AT_ONCE:
                    break
                self._changed.wait(LOOK_S)
            self._inside.add(attempt)

    def leave(self, attempt: Attempt, failure: LaunchFailed | None = None) -> None:
        with self._changed:
            if failure is not None and failure.step == "reach":
                self._dead = (time.monotonic(), failure)
            self._inside.discard(attempt)
            self._changed.notify_all()
