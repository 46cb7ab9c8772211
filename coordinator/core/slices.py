"""SliceIndex: which slice of the stream holds a position, and where in the journal its IDs lie.

A slice is what the feeder gives at once: up to a few thousand IDs, written once as one record. The index is
sparse: some fifty bytes a slice, in flat arrays, and no ID ever. Recovery fills it, lookups ask it, the
checkpoints of the journal carry it. It opens no file.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from binascii import a2b_base64, b2a_base64
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import overload

_DIGEST_BYTES = 16
#: the offset of a slice that is not written anywhere: consecutive integers, known by their first
INTEGERS = -1
#: the offset of a slice whose record is not in the file yet
UNWRITTEN = -2


class SliceIndex:
    """Slices in order of their positions, which follow each other without a gap."""

    __slots__ = ("_digests", "_offsets", "_segments", "_sizes", "_starts", "count")

    def __init__(self) -> None:
        self.count = 0  # positions known
        self._starts = array("q")
        self._segments = array("q")
        self._offsets = array("q")  # of the text in its segment, or INTEGERS, or UNWRITTEN
        self._sizes = array("q")  # bytes of the text; of consecutive integers the first
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, count: int, digest: str, segment: int, offset: int, size: int) -> int:
        """The next slice; returns its number."""
        self._starts.append(self.count)
        self._segments.append(segment)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._digests += bytes.fromhex(digest)
        self.count += count
        return len(self._starts) - 1

    def place(self, number: int, segment: int, offset: int) -> None:
        """The text of a slice now lies there (or is UNWRITTEN again)."""
        self._segments[number] = segment
        self._offsets[number] = offset

    def find(self, position: int) -> int:
        """The number of the slice that holds ``position``; IndexError if it is not known."""
        if not 0 <= position < self.count:
            raise IndexError(f"no task has the position {position}: {self.count} are known")
        return bisect_right(self._starts, position) - 1

    def range(self, number: int) -> tuple[int, int]:
        """The positions of a slice."""
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self.count
        return self._starts[number], end

    def spot(self, number: int) -> tuple[int, int, int]:
        """Where the text of a slice lies: segment, offset (or INTEGERS, UNWRITTEN) and bytes (or the first integer)."""
        return self._segments[number], self._offsets[number], self._sizes[number]

    def digest(self, number: int) -> str:
        at = number * _DIGEST_BYTES
        return self._digests[at : at + _DIGEST_BYTES].hex()

    # --- what a checkpoint carries ------------------------------------------------------------------

    def to_lines(self) -> list[str]:
        """The whole index as lines of text; from_lines reads them."""
        arrays = (self._starts, self._segments, self._offsets, self._sizes)
        return [*map(packed, arrays), b2a_base64(self._digests, newline=False).decode("ascii")]

    @classmethod
    def from_lines(cls, count: int, lines: Sequence[str]) -> SliceIndex:
        index = cls()
        index.count = count
        index._starts, index._segments, index._offsets, index._sizes = map(unpacked, lines[:4])
        index._digests = bytearray(a2b_base64(lines[4]))
        return index


class SliceDigests(Sequence[tuple[int, str]]):
    """``(number of IDs, digest)`` of each slice known when this was made; a resumed stream is held against it."""

    def __init__(self, index: SliceIndex) -> None:
        self._index = index
        self._len = len(index)

    def __len__(self) -> int:
        return self._len

    @overload
    def __getitem__(self, number: int) -> tuple[int, str]: ...
    @overload
    def __getitem__(self, number: slice) -> list[tuple[int, str]]: ...
    def __getitem__(self, number: int | slice) -> tuple[int, str] | list[tuple[int, str]]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(self._len))]
        if not -self._len <= number < self._len:
            raise IndexError(number)
        a, b = self._index.range(number % self._len)
        return b - a, self._index.digest(number % self._len)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number in range(self._len):
            yield self[number]


def packed(numbers: array[int]) -> str:
    """An ``array('q')`` as compressed text."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return b2a_base64(zlib.compress(numbers.tobytes(), 1), newline=False).decode("ascii")


def unpacked(text: str) -> array[int]:
    numbers = array("q")
    numbers.frombytes(zlib.decompress(a2b_base64(text)))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
