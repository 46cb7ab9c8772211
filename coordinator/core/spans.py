"""Spans: a set of positions, kept as sorted, disjoint, half-open ranges.

The ledger and the journal count tasks with it: what is done, failed, leased, to do. It costs 16 bytes a
range, whatever the number of positions, and never holds the positions themselves.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Spans:
    """Ranges ``[a, b)`` of positions; ranges that touch are one."""

    # The ranges lie flat: a0, b0, a1, b1, ...; strictly increasing, so that an even index is a start.
    __slots__ = ("_flat", "_total")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._flat = array("q")
        self._total = 0
        for a, b in ranges:
            self.add(a, b)

    @classmethod
    def from_flat(cls, numbers: Iterable[int]) -> Spans:
        """From ``[a0, b0, a1, b1, ...]``; raises ValueError if they do not increase."""
        spans = cls()
        flat = numbers if isinstance(numbers, array) and numbers.typecode == "q" else array("q", numbers)
        if len(flat) % 2 or any(flat[i] >= flat[i + 1] for i in range(len(flat) - 1)):
            raise ValueError("not the ends of sorted disjoint ranges")
        spans._flat = flat[:]
        spans._total = sum(flat[1::2]) - sum(flat[0::2])
        return spans

    def to_flat(self) -> list[int]:
        return self._flat.tolist()

    def to_array(self) -> array[int]:
        """The same as an ``array('q')``, a copy."""
        return self._flat[:]

    def copy(self) -> Spans:
        other = Spans()
        other._flat = self._flat[:]
        other._total = self._total
        return other

    # --- changes ----------------------------------------------------------------------------------

    def add(self, a: int, b: int) -> int:
        """Take in ``[a, b)``; returns how many of its positions are new."""
        if a >= b:
            return 0
        flat = self._flat
        if not flat or a > flat[-1]:
            flat.append(a)
            flat.append(b)
            self._total += b - a
            return b - a
        if a == flat[-1]:
            flat[-1] = b
            self._total += b - a
            return b - a
        new = b - a - self.covered(a, b)
        i, j = bisect_left(flat, a), bisect_right(flat, b)
        ends = array("q")
        if not i & 1:
            ends.append(a)
        if not j & 1:
            ends.append(b)
        flat[i:j] = ends
        self._total += new
        return new

    def remove(self, a: int, b: int) -> int:
        """Leave out ``[a, b)``; returns how many positions that were."""
        flat = self._flat
        if a >= b or not flat or b <= flat[0] or a >= flat[-1]:
            return 0
        if len(flat) == 2:  # of most leases one range is open, and all of it is reported at once
            x, y = flat
            if a <= x and y <= b:
                self.clear()
                return y - x
        gone = self.covered(a, b)
        if gone:
            i, j = bisect_left(flat, a), bisect_right(flat, b)
            ends = array("q")
            if i & 1:
                ends.append(a)
            if j & 1:
                ends.append(b)
            flat[i:j] = ends
            self._total -= gone
        return gone

    def take(self, most: int) -> tuple[int, int] | None:
        """Remove and return at most ``most`` positions from the start of the first range; None if there are none."""
        flat = self._flat
        if not flat or most <= 0:
            return None
        a, b = flat[0], flat[1]
        if b - a > most:
            b = a + most
            flat[0] = b
        else:
            del flat[0:2]
        self._total -= b - a
        return a, b

    def clear(self) -> None:
        del self._flat[:]
        self._total = 0

    # --- questions --------------------------------------------------------------------------------

    def __contains__(self, position: int) -> bool:
        return bool(bisect_right(self._flat, position) & 1)

    def covered(self, a: int, b: int) -> int:
        """How many positions of ``[a, b)`` are in."""
        return sum([y - x for x, y in self.overlaps(a, b)])

    def overlaps(self, a: int, b: int) -> list[tuple[int, int]]:
        """The ranges of ``[a, b)`` that are in."""
        if a >= b:
            return []
        flat = self._flat
        i, j = bisect_right(flat, a), bisect_left(flat, b)
        inside = flat[i:j].tolist()
        if i & 1:
            inside.insert(0, a)
        if j & 1:
            inside.append(b)
        return list(zip(inside[::2], inside[1::2], strict=True))

    def gaps(self, a: int, b: int) -> list[tuple[int, int]]:
        """The ranges of ``[a, b)`` that are not in."""
        found = []
        for x, y in self.overlaps(a, b):
            if a < x:
                found.append((a, x))
            a = y
        if a < b:
            found.append((a, b))
        return found

    def total(self) -> int:
        """The number of positions."""
        return self._total

    def first(self) -> int | None:
        """The lowest position; None if there is none."""
        return self._flat[0] if self._flat else None

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._flat) // 2

    def __bool__(self) -> bool:
        return bool(self._flat)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        flat = self._flat
        for i in range(0, len(flat), 2):
            yield flat[i], flat[i + 1]

    def __eq__(self, other: object) -> bool:
        return self._flat == other._flat if isinstance(other, Spans) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        most = 8
        ranges = ", ".join(
            f"{a}-{b}" for a, b in zip(self._flat[: 2 * most : 2], self._flat[1 : 2 * most : 2], strict=True)
        )
        return f"Spans({ranges}{', ...' if len(self) > most else ''})"
