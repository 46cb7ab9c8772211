"""What schedulers are told and what they say, in words that are the same for all of them.

An :class:`Intent` is written down before a scheduler hears of it and carries the mark by which its job is found again;
a :class:`Row` is what a scheduler says of one of its jobs. Silence is ``UNKNOWN``, never an end. Values only: the
dialects make rows of text, and :mod:`coordinator.executors.scheduler` does everything that takes time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from coordinator.core.needs import Needs

#: letters and digits of a mark; 10 of 32 letters are 50 bits
MARK = re.compile(r"[a-z2-7]{10}")
_NAME = re.compile(r"[^A-Za-z0-9_]+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


class State(Enum):
    """Of a job, as its scheduler sees it."""

    WAITS = "waits"  #: it has not begun; the words say why
    RUNS = "runs"  #: it has begun, or is about to end
    ENDED = "ended"  #: it will not run again under this id
    UNKNOWN = "unknown"  #: the scheduler does not say


class Cause(Enum):
    """Why a job ended that did not end by itself."""

    NONE = ""
    TIME = "time limit"
    MEMORY = "memory"
    NODE = "node"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    DEPENDENCY = "dependency"
    LAUNCH = "launch"


@dataclass(frozen=True)
class Used:
    """What a job has used: seconds of the clock and of CPU, the most bytes of memory at a time. None: not told."""

    wall_s: float | None = None
    cpu_s: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Status:
    """``code``, ``signal``: how it ended, None where that is not told; ``words``: the scheduler's own; ``forgotten``:
    it is UNKNOWN although the scheduler answers, which says that it has no such job."""

    state: State
    code: int | None = None
    signal: int | None = None
    cause: Cause = Cause.NONE
    words: str = ""
    host: str = ""
    used: Used = Used()
    forgotten: bool = False


@dataclass(frozen=True)
class Row:
    """``native``: the id of a job or of a whole array; ``indices``: the elements that this row speaks for, none where
    it speaks for all that no other row names; ``name``: as :func:`name_of` made it, if it is one of ours."""

    native: str
    indices: tuple[int, ...]
    name: str
    status: Status


@dataclass(frozen=True)
class Intent:
    """Jobs that are submitted together, numbered from 1: one job, or an array of ``count``. ``name``: for people;
    ``directory``: where its script and its table are, on every host that may run it."""

    mark: str
    name: str
    directory: str
    needs: Needs = field(default_factory=Needs)
    count: int = 1


def mark_of(number: int) -> str:
    """A mark from 50 random bits."""
    return "".join(_LETTERS[number >> 5 * place & 31] for place in range(10))


def name_of(intent: Intent, most: int = 64) -> str:
    """The name that the scheduler's job has: something that people know it by, and the mark. At most ``most`` bytes, of
    which the first is a letter."""
    plain = _NAME.sub("_", intent.name).strip("_") or "job"
    if not plain[0].isalpha():
        plain = "j" + plain
    return f"{plain[: most - len(intent.mark) - 1]}.{intent.mark}"


def mark_in(name: str) -> str:
    """The mark that ends a name of ours, or ""."""
    _, dot, mark = name.rpartition(".")
    return mark if dot and MARK.fullmatch(mark) else ""


def indices_of(text: str) -> tuple[int, ...]:
    """``1-3,7,10-20:5`` as numbers; ``%4``, the limit of how many run, is left out. Raises ValueError."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        span, _, step = part.partition(":")
        first, dash, last = span.partition("-")
        found += range(int(first), int(last if dash else first) + 1, int(step or 1))
    return tuple(found)
