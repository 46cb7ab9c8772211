"""Was each ID of a stream accepted exactly once? The oracle of every run of ours.

It reads NAME.success as anybody could and knows nothing of the code that wrote it: an ID's number is found from its
text, and counted in one byte for each ID of the stream. It decides only; who calls it says what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.work import INTEGERS, id_of

#: IDs that are named in a message
SHOWN = 3


@dataclass(frozen=True)
class Acceptance:
    """How many IDs of ``n`` were accepted never, more than once, and how many lines are no ID of the stream."""

    n: int
    lost: int = 0
    doubled: int = 0
    strange: int = 0
    examples: tuple[str, ...] = field(default=())

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.strange)

    def __str__(self) -> str:
        if self.right:
            return f"each of {self.n:,} IDs accepted once"
        found = f"of {self.n:,} IDs {self.lost:,} lost, {self.doubled:,} doubled"
        more = f", {self.strange:,} that were never served" if self.strange else ""
        return f"{found}{more} ({', '.join(self.examples)})"


class NotAResult(Exception):
    """A run of ours that counts for nothing: an ID lost or doubled, or a command that failed."""


def judge(lines: Iterable[str], n: int, kind: str) -> Acceptance:
    """``lines``: accepted IDs; ``kind``: of stream (strings or integers) that had ``n`` of them."""
    number_of = _number_of(kind)
    times = bytearray(n)
    strange = 0
    examples: list[str] = []
    for line in lines:
        number = number_of(line)
        if number is None or not 0 <= number < n or str(id_of(kind, number)) != line:
            strange += 1
            examples.append(f"strange: {line[:60]!r}")
        elif times[number] < 255:
            times[number] += 1
    lost = times.count(0)
    doubled = n - lost - times.count(1)
    if lost:
        examples.append(f"lost: {id_of(kind, times.index(0))}")
    if doubled:
        examples.append(f"doubled: {id_of(kind, next(i for i, count in enumerate(times) if count > 1))}")
    return Acceptance(n, lost, doubled, strange, tuple(examples[:SHOWN]))


def check(success: Path, n: int, kind: str) -> None:
    """Raises NotAResult unless NAME.success holds each ID once."""
    try:
        with open(success, encoding="utf-8", newline="\n") as file:
            found = judge((line.rstrip("\n") for line in file), n, kind)
    except OSError as error:
        raise NotAResult(f"{success.name} cannot be read: {error.strerror}") from error
    if not found.right:
        raise NotAResult(f"{success.name}: {found}")


def _number_of(kind: str) -> Callable[[str], int | None]:
    def of_integer(line: str) -> int | None:
        return int(line) if line.isascii() and line.isdigit() else None

    def of_string(line: str) -> int | None:
        return of_integer(line.rpartition("-")[2])

    return of_integer if kind == INTEGERS else of_string
