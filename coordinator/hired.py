"""Hired: one processor of a run, as its Coordinator knows it.

The run makes them and keeps them; crew, face, description and log read them. It is a record: it decides nothing.
"""

from __future__ import annotations

from coordinator.core.exchange import Answer

#: how a processor departs that may come back: its keeper was given up
NOT_HEARD_OF = "not heard of any more"
#: how one departs that died with its zygote, as its guard says
WITH_ZYGOTE = "lost with its zygote"


class Hired:
    """One processor as the run knows it. Times are steady seconds but for ``joined``, which is the time of day."""

    __slots__ = (
        "answer", "classic", "dead", "done", "failed", "frozen", "give", "heard", "host", "incarnation", "joined",
        "kept", "last_s", "leaving", "log", "number", "pid", "position", "seq", "silent", "since_s", "size", "task_s",
    )  # fmt: skip

    def __init__(self, number: int, host: str = "", joined: float = 0.0) -> None:
        self.number, self.host, self.joined = number, host, joined
        self.pid, self.log = 0, ""
        self.kept = self.classic = False
        self.incarnation, self.seq = "", 0
        self.answer: Answer | None = None
        self.size = 1
        self.task_s: float | None = None
        #: the same of its newest report alone
        self.last_s = 0.0
        self.done = self.failed = 0
        self.give = self.leaving = False
        self.position, self.since_s = -1, 0.0
        self.heard = 0.0
        self.frozen = False
        #: a lease of it lapsed, and nothing was heard of it since
        self.silent = False
        #: its process has ended, whatever of it is still on the wire
        self.dead = False
