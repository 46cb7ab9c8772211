"""The records of a journal: their kinds, and the keys of their headers.

The Coordinator appends them, replay folds them, frames.py puts them in files. A header is a JSON object with
short keys; ``r`` is always ``[[a, b], ...]``, ranges of positions; text is ASCII::

    SEGMENT     segment, name, base, sealed: [segment, bytes] | null       first of each file, written by the journal
    LIFE        run, name, life, at, host, pid, port, script, options
    SLICE       start, count, digest, first?        text: canonical IDs, one a line; with ``first`` none: integers
    LEASE       n, p, a, b                          lease n of positions a..b to processor p
    DONE        n, p, r
    FAILED      pos, n, p, attempt, final, died?, lost?, kind, message, traceback, where, host, pid, at
    RESULTS     n                                   text: "position TAB canonical value", one a line
    ENDED       count, reason | null                the stream is over
    NUMBERS     upto                                processor numbers up to this are reserved
    CHECKPOINT  the state of all records before, written by the journal
    REDO        r                                   these are to do again
    CLOSED      state, reason, done, failed, at     the last of a life that ended in order
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from coordinator.core.slices import UNWRITTEN


class Kind(IntEnum):
    LIFE = 1
    SLICE = 2
    LEASE = 3
    DONE = 4
    FAILED = 5
    RESULTS = 6
    ENDED = 7
    NUMBERS = 8
    CHECKPOINT = 9
    REDO = 10
    CLOSED = 11
    SEGMENT = 12


class Record(NamedTuple):
    """One record, and where its text lies if it was read from a file."""

    kind: int
    header: dict[str, Any]
    text: bytes | memoryview = b""
    segment: int = 0
    offset: int = UNWRITTEN
