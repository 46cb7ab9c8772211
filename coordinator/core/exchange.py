"""The one message between a Processor and its Coordinator: report what was done, receive the next block.

Both ends use this room and nothing else of each other. A message is JSON text inside one XML-RPC string (the
standard codec costs 1.7 microseconds an ID, this 0.1); it has no character that XML would have to escape, because
:mod:`coordinator.core.ids` writes ``& < >`` as JSON escapes and :func:`text_of` does the same for the rest.

Tasks travel as positions. IDs travel once, from the Coordinator to the Processor, as the canonical texts that the
journal holds. A request may arrive twice and an answer may be lost: the same ``seq`` gets the same answer, and
``held`` says which leases the sender really has.
"""

from __future__ import annotations

import json
import operator
from typing import Any

from coordinator.core.ids import untag_many

WORK, NOTHING, END, STOP, WHO = "work", "nothing", "end", "stop", "who"
#: what an answer can say: here is a block; no block now; no more tasks; leave; tell me who you are


_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def text_of(value: object) -> str:
    """JSON that needs no XML escaping."""
    text = _to_json(value)
    if "&" in text or "<" in text or ">" in text:
        text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return text


class _Said:
    """Two that say the same are equal."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = zip(self.__slots__, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said)})"

    def _values(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]


class LeaseReport(_Said):
    """What became of some tasks of one lease. Positions are absolute.

    ``done``: flat list ``[a, b, a, b, ...]`` of ranges; ``failed``: ``[[position, error], ...]`` with an error as
    :func:`error_of` makes it; ``results``: lines ``position TAB canonical value``.
    """

    __slots__ = ("done", "failed", "lease", "results")

    def __init__(
        self,
        lease: int,
        done: list[int] | None = None,
        failed: list[tuple[int, dict[str, Any]]] | None = None,
        results: list[str] | None = None,
    ) -> None:
        self.lease = lease
        self.done = done or []
        self.failed = failed or []
        self.results = results or []

    def __bool__(self) -> bool:
        return bool(self.done or self.failed)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return list(zip(self.done[::2], self.done[1::2], strict=True))

    def within(self, start: int, stop: int) -> bool:
        """Are all positions of it in ``[start, stop)``?"""
        done, failed = self.done, self.failed
        return (not done or (start <= min(done) and max(done) <= stop)) and (
            not failed or all(start <= position < stop for position, _ in failed)
        )


class Request(_Said):
    """Processor to Coordinator. ``worked``: (tasks, seconds) since the last request; ``idle``: it has nothing to do."""

    __slots__ = (
        "bye", "held", "idle", "incarnation", "processor", "reports", "returned", "run", "seq", "setup_error", "want",
        "who", "worked",
    )  # fmt: skip

    def __init__(
        self,
        run: str,
        processor: int,
        incarnation: str,
        seq: int,
        held: list[int] | None = None,
        reports: list[LeaseReport] | None = None,
        returned: list[tuple[int, int, int]] | None = None,
        worked: tuple[int, float] = (0, 0.0),
        want: bool = False,
        idle: bool = False,
        who: dict[str, Any] | None = None,
        bye: str | None = None,
        setup_error: dict[str, Any] | None = None,
    ) -> None:
        self.run, self.processor, self.incarnation, self.seq = run, processor, incarnation, seq
        self.held = held or []
        self.reports = reports or []
        self.returned = returned or []
        self.worked, self.want, self.idle = worked, want, idle
        self.who, self.bye, self.setup_error = who, bye, setup_error

    def to_text(self) -> str:
        message: dict[str, Any] = {
            "run": self.run,
            "p": self.processor,
            "i": self.incarnation,
            "s": self.seq,
            "h": self.held,
            "w": self.worked,
        }
        if self.reports:
            message["r"] = [[r.lease, r.done, r.failed, r.results] for r in self.reports]
        if self.returned:
            message["g"] = self.returned
        if self.want:
            message["want"] = 1
        if self.idle:
            message["idle"] = 1
        if self.who is not None:
            message["who"] = self.who
        if self.bye is not None:
            message["bye"] = self.bye
        if self.setup_error is not None:
            message["setup"] = self.setup_error
        return text_of(message)

    @classmethod
    def from_text(cls, text: str) -> Request:
        """Raises ValueError, KeyError or TypeError for anything that :meth:`to_text` could not have written."""
        try:
            m = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deep") from None
        count, seconds = m["w"]
        return cls(
            _a(str, m["run"]),
            _a(int, m["p"]),
            _a(str, m["i"]),
            _a(int, m["s"]),
            [_a(int, n) for n in m["h"]],
            [
                LeaseReport(
                    _a(int, lease),
                    _ranges(done),
                    [(_a(int, p), _a(dict, e)) for p, e in failed],
                    [_a(str, line) for line in results],
                )
                for lease, done, failed, results in m.get("r", ())
            ],
            [(_a(int, n), _a(int, a), _a(int, b)) for n, a, b in m.get("g", ())],
            (int(count), float(seconds)),
            bool(m.get("want")),
            bool(m.get("idle")),
            _a(dict, m["who"]) if "who" in m else None,
            _a(str, m["bye"]) if "bye" in m else None,
            _a(dict, m["setup"]) if "setup" in m else None,
        )


class Answer(_Said):
    """Coordinator to Processor.

    ``ids``: JSON array text of the canonical IDs of the block, or ``first`` for consecutive integers; ``term_s``:
    how long the leases held now are good for, from the moment the answer is read; ``give``: somebody is idle,
    please return what you have not begun; ``drop``: leases that are not the reader's any more.
    """

    __slots__ = (
        "attempts", "count", "drop", "first", "give", "ids", "lease", "reason", "seq", "start", "state", "term_s",
    )  # fmt: skip

    def __init__(
        self,
        seq: int,
        state: str,
        lease: int = 0,
        start: int = 0,
        count: int = 0,
        ids: str = "",
        first: int | None = None,
        term_s: float = 0.0,
        give: bool = False,
        drop: list[int] | None = None,
        attempts: dict[int, int] | None = None,
        reason: str | None = None,
    ) -> None:
        self.seq, self.state, self.term_s, self.reason = seq, state, term_s, reason
        self.lease, self.start, self.count, self.ids, self.first = lease, start, count, ids, first
        self.give = give
        self.drop = drop or []
        self.attempts = attempts or {}

    def to_text(self) -> str:
        # Written by hand, since a server gives thousands in a second.
        text = f'{{"s":{self.seq},"state":"{self.state}","term":{self.term_s!r}'
        if self.give:
            text += ',"give":1'
        if self.drop:
            text += f',"drop":{text_of(self.drop)}'
        if self.reason is not None:
            text += f',"reason":{text_of(self.reason)}'
        if self.state == WORK:
            text += f',"n":{self.lease},"a":{self.start},"c":{self.count}'
            if self.attempts:
                text += f',"try":{text_of(sorted(self.attempts.items()))}'
            if self.first is not None:
                text += f',"first":{self.first}'
        # The IDs are canonical text already: they are put in as they are, not encoded again.
        return f'{text},"ids":{self.ids}}}' if self.ids else text + "}"

    @classmethod
    def from_text(cls, text: str) -> tuple[Answer, list[Any] | None]:
        """The answer, and the IDs; None where they are consecutive integers, or where there is no block."""
        m = json.loads(text)
        answer = cls(
            m["s"],
            m["state"],
            m.get("n", 0),
            m.get("a", 0),
            m.get("c", 0),
            "",
            m.get("first"),
            m["term"],
            bool(m.get("give")),
            m.get("drop", []),
            {p: k for p, k in m.get("try", ())},
            m.get("reason"),
        )
        values = m.get("ids")
        return answer, untag_many(values) if values and '"$' in text else values


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, got {type(value).__name__}")
    return value


def _ranges(flat: list[int]) -> list[int]:
    starts, stops = flat[::2], flat[1::2]
    if len(starts) != len(stops) or not {int}.issuperset(map(type, flat)):
        raise ValueError("not a list of ranges")
    if starts and not (min(starts) >= 0 and all(map(operator.lt, starts, stops))):
        raise ValueError("not a list of ranges")
    return flat
