"""Beats: what a Coordinator tells the ResourceController every few seconds, and the checking of it.

A beat arrives as a JSON object; :func:`Beat.from_note` makes a value of it or raises BadParameters that names the
field, so that nothing behind this door meets a wrong type. :class:`Fields` does the same for other notes. Nothing is
decided here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from coordinator.core.hosts import check_host
from coordinator.errors import BadInput, BadParameters

MOST_TEXT = 4096
MOST_ENTRIES = 100_000
MOST_PROCESSORS = 10_000_000

_T = TypeVar("_T")
_REQUIRED: Any = object()


class Fields:
    """The fields of a note, taken out one by one with their types checked. Fields that nobody asks for are ignored,
    so that a newer peer can say more."""

    def __init__(self, note: object) -> None:
        if not isinstance(note, Mapping):
            raise BadParameters(f"a note is a JSON object, not {_short(note)}")
        self._note = note

    def text(self, name: str, default: str = _REQUIRED, most: int = MOST_TEXT) -> str:
        value = self._take(name, default)
        if not isinstance(value, str) or len(value) > most:
            raise BadParameters(f"{name!r} must be a string of at most {most} characters, not {_short(value)}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise BadParameters(f"{name!r} must be true or false, not {_short(value)}")
        return value

    def number(self, name: str, default: float = _REQUIRED, least: float = 0.0) -> float:
        return _number(name, self._take(name, default), least)

    def count(self, name: str, default: int = _REQUIRED, most: int = MOST_PROCESSORS) -> int:
        return _count(name, self._take(name, default), most)

    def maybe_count(self, name: str) -> int | None:
        value = self._note.get(name)
        return None if value is None else _count(name, value)

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._take(name, ())
        if not isinstance(values, (list, tuple)) or len(values) > MOST_ENTRIES:
            raise BadParameters(f"{name!r} must be a list of strings, not {_short(values)}")
        for value in values:
            if not isinstance(value, str) or len(value) > MOST_TEXT:
                raise BadParameters(f"{name!r} must be a list of strings, but holds {_short(value)}")
        return tuple(values)

    def by_host(self, name: str, kind: Callable[[str, Any], _T]) -> dict[str, _T]:
        values = self._take(name, {})
        if not isinstance(values, Mapping) or len(values) > MOST_ENTRIES:
            raise BadParameters(f"{name!r} must be an object with a value for each host, not {_short(values)}")
        return {_host(name, host): kind(name, value) for host, value in values.items()}

    def processes(self, name: str) -> tuple[tuple[str, int], ...]:
        values = self._take(name, ())
        if not isinstance(values, (list, tuple)) or len(values) > MOST_ENTRIES:
            raise BadParameters(f"{name!r} must be a list of [host, pid], not {_short(values)}")
        found = []
        for value in values:
            if not isinstance(value, (list, tuple)) or len(value) != 2:
                raise BadParameters(f"{name!r} must be a list of [host, pid], but holds {_short(value)}")
            found.append((_host(name, value[0]), _count(name, value[1], 2**63)))
        return tuple(found)

    def _take(self, name: str, default: Any) -> Any:
        value = self._note.get(name, default)
        if value is _REQUIRED:
            raise BadParameters(f"the note lacks {name!r}")
        return value


@dataclass(frozen=True)
class Beat:
    """A Coordinator's own words about its job. Counts are processors, loads runnable processes, by host.

    ``wants`` None: as many as it can get; ``unreachable`` the hosts that it cannot use, with the reason; ``gone`` the
    processors that ended since the last beat; ``seen`` the version of the last answer that it knows.
    """

    name: str
    url: str
    user: str = ""
    priority: float = 1.0
    resources: tuple[str, ...] = ()
    immediate: bool = False
    demand_ncpu: int = 0
    ncpu_limit: int | None = None
    run: str = ""
    host: str = ""
    pid: int = 0
    directory: str = ""
    wants: int | None = None
    processors: Mapping[str, int] = field(default_factory=dict)
    loads: Mapping[str, float] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[tuple[str, int], ...] = ()
    seen: int = 0
    wait_s: float = 0.0
    #: of the certificate that its Coordinator shows; empty where it speaks plain HTTP
    fingerprint: str = ""
    #: when its Coordinator began, wall time in seconds; 0 where that is not told
    since: float = 0.0
    #: bytes that a new process can have, by host
    memory: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_note(cls, note: object) -> Beat:
        fields = Fields(note)
        name, url = fields.text("name"), fields.text("url")
        if not name or not url:
            raise BadParameters("a job's name and url may not be empty")
        return cls(
            name,
            url,
            fields.text("user", ""),
            fields.number("priority", 1.0),
            fields.texts("resources"),
            fields.flag("immediate"),
            fields.count("demand_ncpu", 0),
            fields.maybe_count("ncpu_limit"),
            fields.text("run", ""),
            fields.text("host", ""),
            fields.count("pid", 0),
            fields.text("directory", ""),
            fields.maybe_count("wants"),
            fields.by_host("processors", _count),
            fields.by_host("loads", _number),
            fields.by_host("unreachable", _text),
            fields.processes("gone"),
            fields.count("seen", 0, 2**63),
            fields.number("wait_s", 0.0),
            fields.text("fingerprint", ""),
            fields.number("since", 0.0),
            fields.by_host("memory", lambda name, value: _count(name, value, 2**63)),
        )


def check_text(name: str, value: object) -> str:
    """``value`` if it is a string of bearable length."""
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise BadParameters(f"{name!r} must be a string of at most {MOST_TEXT} characters, not {_short(value)}")
    return value


def check_positive(name: str, value: object) -> float:
    """``value`` if it is a number from 0, else BadInput."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise BadInput(f"{name} must be a number from 0, not {value!r}")
    return float(value)


def check_pid(pid: object) -> int:
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 0:
        raise BadInput(f"a pid is a whole number, not {str(pid)[:80]!r}")
    return pid


def _number(name: str, value: object, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadParameters(f"{name!r} must be a number, not {_short(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < least:
        raise BadParameters(f"{name!r} must be a finite number from {least:g}, not {_short(value)}")
    return number


def _count(name: str, value: object, most: int = MOST_PROCESSORS) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most or value != int(value):
        raise BadParameters(f"{name!r} must be a whole number from 0, not {_short(value)}")
    return int(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadParameters(f"{name!r} must hold strings, not {_short(value)}")
    return value[:MOST_TEXT]


def _host(name: str, value: object) -> str:
    try:
        return check_host(value)
    except BadInput as error:
        raise BadParameters(f"{name!r}: {error.message}") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
