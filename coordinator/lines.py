"""Lines: the canonical IDs at given positions, read back from the journal a slice at a time.

The Coordinator asks for what it leases, the printer and people's listings for what they show. Memory stays
constant: the newest slices are kept, the rest is read again. What is read is checked against the slice's digest.
Nothing here writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from coordinator.core.ids import integer_texts, slice_digest
from coordinator.core.slices import INTEGERS, UNWRITTEN, SliceIndex
from coordinator.frames import damaged, segment_path

#: slices that are kept at most: those that are read ahead for two processors
MAX_SLICES = 16
MAX_CACHED_BYTES = 5 << 18


class Lines:
    """Reads through ``index``, which may grow meanwhile."""

    def __init__(self, directory: str, index: SliceIndex) -> None:
        self.index = index
        self._directory = directory
        # Slices as texts, oldest use first. Lines cost three times as much, so only the last slice has any.
        self._kept: dict[int, str] = {}
        self._pinned: dict[int, str] = {}
        self._split: tuple[int, list[str]] = (-1, [])

    def lines(self, a: int, b: int) -> list[str]:
        """The canonical texts of the IDs at positions ``a`` to ``b`` (exclusive); IndexError if one is not known."""
        if a >= b:
            return []
        found: list[str] = []
        number, last = self.index.find(a), self.index.find(b - 1)
        while number <= last:
            start, end = self.index.range(number)
            low, high = max(a, start) - start, min(b, end) - start
            _, offset, first = self.index.spot(number)
            if offset == INTEGERS:
                found += map(str, range(first + low, first + high))
            else:
                lines = self._slice(number)
                found += lines if high - low == len(lines) else lines[low:high]
            number += 1
        return found

    def id_text(self, position: int) -> str:
        """The canonical text of one ID; IndexError if it is not known."""
        number = self.index.find(position)
        start, _ = self.index.range(number)
        _, offset, first = self.index.spot(number)
        return str(first + position - start) if offset == INTEGERS else self._slice(number)[position - start]

    def texts(self, a: int, b: int) -> Iterator[str]:
        """What ``lines`` gives, joined by newlines, a slice at a time; slices that are wanted whole are never split."""
        while a < b:
            number = self.index.find(a)
            start, end = self.index.range(number)
            _, offset, first = self.index.spot(number)
            if offset == INTEGERS:
                yield integer_texts(first + a - start, min(b, end) - a)
            elif (a, min(b, end)) == (start, end):
                # Who wants it whole is done with it: what is kept for others stays.
                yield self._pinned.get(number) or self._kept.pop(number, None) or self._read(number)
            else:
                yield "\n".join(self.lines(a, min(b, end)))
            a = end

    def integers(self, a: int, b: int) -> int | None:
        """The first of the IDs at ``a`` to ``b`` if all are consecutive integers, known without reading; else None."""
        if a >= b:
            return None
        number, last = self.index.find(a), self.index.find(b - 1)
        start, end = self.index.range(number)
        _, offset, first = self.index.spot(number)
        answer = first + a - start
        while offset == INTEGERS and number < last:
            number += 1
            expected = first + end - start
            start, end = self.index.range(number)
            _, offset, first = self.index.spot(number)
            if first != expected:
                return None
        return answer if offset == INTEGERS else None

    def pin(self, number: int, text: str) -> None:
        """Hold a slice that is not in the file yet."""
        self._pinned[number] = text

    def unpin(self, number: int) -> None:
        """It is in the file now."""
        self.keep(number, self._pinned.pop(number))

    def _slice(self, number: int) -> list[str]:
        if self._split[0] != number:
            self._split = (-1, [])  # what was there goes before what comes
            self._split = (number, self._text(number).split("\n"))
        return self._split[1]

    def _text(self, number: int) -> str:
        text = self._pinned.get(number)
        if text is None:
            text = self._kept.pop(number, None) or self._read(number)
            self.keep(number, text)
        return text

    def keep(self, number: int, text: str) -> None:
        """Here is a slice that is likely to be asked for."""
        self._kept[number] = text
        while len(self._kept) > 1 and (len(self._kept) > MAX_SLICES or self._kept_bytes() > MAX_CACHED_BYTES):
            del self._kept[next(iter(self._kept))]

    def _kept_bytes(self) -> int:
        return sum([self.index.spot(number)[2] for number in self._kept])

    def _read(self, number: int) -> str:
        segment, offset, size = self.index.spot(number)
        path = segment_path(self._directory, segment)
        if offset == UNWRITTEN:
            raise IndexError(f"slice {number} is not written yet")
        with open(path, "rb", buffering=0) as file:
            read = os.pread(file.fileno(), size, offset)
        text = read.decode("ascii", "replace")
        if len(read) != size or not text.isascii() or slice_digest(text) != self.index.digest(number):
            raise damaged(path, offset, "the IDs there are not the ones that were written")
        return text
