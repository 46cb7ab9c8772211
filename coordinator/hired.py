"""Hired: one processor of a run, as its Coordinator knows it.

The run makes them and keeps them; crew, face, description and log read them. It is a record: it decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.exchange import Answer

#: how a processor departs that may come back: its keeper was given up
NOT_HEARD_OF = "not heard of any more"
#: how one departs that died with its zygote, as its guard says
WITH_ZYGOTE = "lost with its zygote"


@dataclass(slots=True)
class Hired:
    """One processor as the run knows it. Times are steady seconds but for ``joined``, which is the time of day."""

    number: int
    host: str = ""
    pid: int = 0
    log: str = ""
    kept: bool = False
    classic: bool = False
    joined: float = 0.0
    incarnation: str = ""
    seq: int = 0
    answer: Answer | None = None
    size: int = 1
    task_s: float | None = None
    #: the same of its newest report alone
    last_s: float = 0.0
    done: int = 0
    failed: int = 0
    give: bool = False
    leaving: bool = False
    position: int = -1
    since_s: float = 0.0
    heard: float = 0.0
    frozen: bool = False
    #: a lease of it lapsed, and nothing was heard of it since
    silent: bool = False
    #: its process has ended, whatever of it is still on the wire
    dead: bool = False
