"""Going on with a job: which IDs of today's stream does the journal know already?

The feeder calls it. The stream is skipped slice by slice while digests match, at a fraction of a microsecond an ID.
From the first slice that does not match (the generator gives something else today) each ID is looked up by a 128-bit
fingerprint in a table on disk, occurrences counted: an ID that the journal has twice is skipped twice. Memory does not
follow the stream. It only reads the journal.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from coordinator import frames
from coordinator.core import ids
from coordinator.errors import UnservableTaskID
from coordinator.lines import Lines

#: IDs that are looked up in one go
BATCH = 2048


def rest_of(stream: Iterator[Any], known: Sequence[Sequence[Any]], journal: str) -> tuple[Iterator[Any], int]:
    """What of ``stream`` is new, and how many IDs were skipped by digests.

    ``known``: (count, digest) of each slice that the journal ``journal`` (a directory) has, in order.
    """
    skipped = 0
    for count, digest, *_ in known:
        values = list(islice(stream, count))
        if len(values) < count or digest_of(values) != digest:
            total = sum(int(one[0]) for one in known)
            return _unknown(chain(values, stream), journal, skipped, total), skipped
        skipped += count
    return stream, skipped


def digest_of(values: list[Any]) -> str | None:
    """The digest that the feeder gave a slice of these IDs; None if one of them cannot travel."""
    first = ids.as_integers(values)
    if first is not None:
        return ids.integers_digest(first, len(values))
    try:
        return ids.slice_digest(ids.encode_lines(values))
    except UnservableTaskID:
        return None


def _unknown(stream: Iterator[Any], journal: str, start: int, stop: int) -> Iterator[Any]:
    """The IDs of ``stream`` that the journal's positions ``start`` to ``stop`` do not have."""
    path = os.path.join(journal, "known.sqlite")
    with suppress(FileNotFoundError):
        os.unlink(path)  # of a feeder that was killed: it may be anything
    table = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # Made anew at each start and of no use afterwards, so it need not survive anything.
        for line in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE known (fingerprint BLOB PRIMARY KEY, occurrences INTEGER NOT NULL) WITHOUT ROWID",
        ):
            table.execute(line)
        lines = Lines(journal, frames.replay(journal).state.slices)
        for a in range(start, stop, BATCH):
            texts = lines.lines(a, min(stop, a + BATCH))
            table.executemany(
                "INSERT INTO known VALUES (?, 1) ON CONFLICT DO UPDATE SET occurrences = occurrences + 1",
                [(ids.fingerprint(text),) for text in texts],
            )
        for value in stream:
            try:
                fingerprint = ids.fingerprint(ids.encode(value))
            except UnservableTaskID:
                yield value  # refused by whoever encodes it, with its position
                continue
            changed = table.execute(
                "UPDATE known SET occurrences = occurrences - 1 WHERE fingerprint = ? AND occurrences > 0",
                (fingerprint,),
            )
            if changed.rowcount == 0:
                yield value
    finally:
        table.close()
        os.unlink(path)
