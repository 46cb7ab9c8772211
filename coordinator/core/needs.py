"""What a job needs, under one set of names for every scheduler, and the checks that it passes before it is submitted.

The command line, a batch and the farm make :class:`Needs` from what people wrote; a dialect
(:mod:`coordinator.executors.dialect`) turns them into words of its scheduler. What is not said is left to the
scheduler's own defaults. No word of a user gets further than this with a line end or with a leading hyphen in it, and
nothing here knows how any scheduler spells anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coordinator.errors import BadNeeds

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
#: {small letter that people and schedulers write: bytes}
UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

#: more than these are slips of the keyboard
MOST_CORES, MOST_NODES, MOST_GPUS = 100_000, 10_000, 1_000
MOST_MEMORY, MOST_TIME_S = 1024 * TIB, 10_000 * DAY_S
MOST_WORDS, MOST_WORD = 100, 1_000

_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
_SPAN = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(s|sec|m|min|h|d)\s*", re.IGNORECASE)
_SPANS = {"s": 1, "sec": 1, "m": MINUTE_S, "min": MINUTE_S, "h": HOUR_S, "d": DAY_S}
_CLOCK = re.compile(r"(?:(\d{1,6})-)?(\d{1,7}):(\d{1,2})(?::(\d{1,2}))?")
_PLACE = re.compile(r"[A-Za-z0-9_@.][A-Za-z0-9_@.,:/+-]{0,127}")
#: ``x2``: twice what it was
TIMES = re.compile(r"\s*[x*]\s*(\d{1,4}(?:\.\d{1,4})?)\s*", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Needs:
    """Of one job. ``cores``, ``gpus``: on each of its ``nodes``; ``memory``: bytes on each node; ``time_s``: of the
    clock; ``queue``: a partition is one, too; ``account``: who pays; ``options``: {name of a dialect: words that are
    handed to its command as they are}. None and "" leave it to the scheduler."""

    cores: int = 1
    memory: int | None = None
    time_s: int | None = None
    gpus: int = 0
    queue: str = ""
    account: str = ""
    nodes: int = 1
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Needs:
        """From what people wrote: ``{"memory": "1.5gb", "time": "04:59:00", "partition": "short"}``.

        Raises BadNeeds, which names the key.
        """
        given: dict[str, Any] = {}
        for name, value in told.items():
            if name not in READERS:
                raise BadNeeds(f"{name!r} is nothing that a job can need: it needs {', '.join(sorted(READERS))}")
            to, read = READERS[name]
            if value is None:
                continue
            if to in given:
                raise BadNeeds(f"{name}: that is said twice, under two names")
            try:
                given[to] = read(value)
            except BadNeeds as error:
                raise BadNeeds(f"{name}: {error.message}") from error
        return cls(**given)

    def told(self) -> dict[str, Any]:
        """As JSON may keep it; :meth:`of` reads it back."""
        default, found = Needs(), {}
        for name, (to, _) in READERS.items():
            value = getattr(self, to)
            if value != getattr(default, to) and name != "partition":
                found[name] = {each: list(words) for each, words in value.items()} if to == "options" else value
        return found

    def changed(self, told: Mapping[str, Any]) -> Needs:
        """With other values for what ``told`` names, where ``"x2"`` is twice what it was. Raises BadNeeds."""
        plain: dict[str, Any] = {}
        for name, value in told.items():
            factor = TIMES.fullmatch(value) if isinstance(value, str) else None
            if factor is None:
                plain[name] = value
                continue
            to = READERS.get(name, ("", None))[0]
            was = getattr(self, to, None) if to in ("cores", "memory", "time_s", "gpus", "nodes") else None
            if was is None:
                raise BadNeeds(f"{name}: there is no number to multiply by {factor[1]}")
            plain[name] = round(was * float(factor[1]))
        read = Needs.of(plain)
        return replace(self, **{READERS[name][0]: getattr(read, READERS[name][0]) for name in plain})


def memory_of(value: Any) -> int:
    """Bytes: a number is one already; ``1gb``, ``500M``, ``1.5GiB`` are powers of 1,024, as schedulers count them."""
    if isinstance(value, str):
        size = _SIZE.fullmatch(value)
        if size is None:
            raise BadNeeds(f"{shown(value)} is no size: write 500M, 1gb or 1.5GiB")
        value = round(float(size[1]) * UNITS[size[2].lower()])
    return _whole(value, 1, MOST_MEMORY, "bytes")


def time_of(value: Any) -> int:
    """Seconds: a number is one already; ``04:59:00``, ``2-12:00:00``, ``90m``, ``1.5h``. ``10:30`` is hours and
    minutes, since jobs take hours."""
    if isinstance(value, str):
        if clock := _CLOCK.fullmatch(value.strip()):
            days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            value = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        elif span := _SPAN.fullmatch(value):
            value = round(float(span[1]) * _SPANS[span[2].lower()])
        elif value.strip().isdecimal() and len(value) < 12:
            value = int(value.strip())  # int() takes fewer signs for blanks
        else:
            raise BadNeeds(f"{shown(value)} is no time: write 04:59:00, 2-12:00:00, 90m or 1.5h")
    return _whole(value, 1, MOST_TIME_S, "seconds")


def clock(time_s: int) -> str:
    """``04:59:00``; days are hours, as every scheduler reads them."""
    return f"{time_s // HOUR_S:02}:{time_s // MINUTE_S % 60:02}:{time_s % MINUTE_S:02}"


def place_of(value: Any) -> str:
    """The name of a queue, a partition or an account."""
    if not isinstance(value, str) or (value and not _PLACE.fullmatch(value)):
        raise BadNeeds(f"{shown(value)} can be no name of it: letters, digits and . , : / + @ _ -, not a - in front")
    return value


def words_of(value: Any) -> dict[str, tuple[str, ...]]:
    """``{"slurm": ["--constraint=gpu"]}``: words for the command of one dialect."""
    if not isinstance(value, Mapping):
        raise BadNeeds(f"{shown(value)} is not a dictionary of words for each scheduler")
    found = {}
    for dialect, words in value.items():
        if isinstance(words, str) or not isinstance(words, Sequence):
            raise BadNeeds(f"the words for {shown(dialect)} are not a list")
        if not isinstance(dialect, str) or not dialect.isidentifier() or len(words) > MOST_WORDS:
            raise BadNeeds(f"{shown(dialect)} is no scheduler, or there are more than {MOST_WORDS} words for it")
        for word in words:
            if not isinstance(word, str) or not word or len(word) > MOST_WORD or _CONTROL.search(word):
                raise BadNeeds(f"{shown(word)} is no word of a command line: it has a control character, or no end")
        found[dialect] = tuple(words)
    return found


def one_line(value: str) -> bool:
    """May it stand in a line, and stay in it?"""
    return not _CONTROL.search(value)


def shown(value: object) -> str:
    """What somebody wrote, for a message."""
    return repr(value)[:80]


def _whole(value: Any, least: int, most: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadNeeds(f"{shown(value)} is not a number of {what} from {least:,} to {most:,}")
    return value


def _number(least: int, most: int, what: str) -> Any:
    def read(value: Any) -> int:
        if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
            value = int(value.strip())
        return _whole(value, least, most, what)

    return read


#: {what people write: (field, what reads it)}
READERS: Mapping[str, tuple[str, Any]] = {
    "cores": ("cores", _number(1, MOST_CORES, "cores")),
    "memory": ("memory", memory_of),
    "time": ("time_s", time_of),
    "gpus": ("gpus", _number(0, MOST_GPUS, "GPUs")),
    "queue": ("queue", place_of),
    "partition": ("queue", place_of),
    "account": ("account", place_of),
    "nodes": ("nodes", _number(1, MOST_NODES, "nodes")),
    "options": ("options", words_of),
}
