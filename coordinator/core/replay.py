"""What the records of a journal mean: a fold of records into the state of a job.

The journal folds each record as it is appended, recovery folds what is on disk, and both must agree; so this
knows no file. The state grows with ranges and slices, not with tasks. See core/records.py for the records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from coordinator.core.errorgroups import ErrorCount, count_error
from coordinator.core.records import Kind, Record
from coordinator.core.slices import INTEGERS, SliceDigests, SliceIndex, packed, unpacked
from coordinator.core.spans import Spans


class OpenLease:
    """``open``: positions of it that are not settled; ``shared_out``: some of it was given to others."""

    def __init__(self, processor: int, open: Spans, shared_out: bool = False) -> None:
        self.processor, self.open, self.shared_out = processor, open, shared_out


class State:
    """The fold so far."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.run: str | None = None
        self.life = 0
        self.port: int | None = None
        self.options: dict[str, Any] = {}
        self.ended = False
        self.reason: str | None = None
        self.closed: dict[str, Any] | None = None
        self.numbers = 0
        self.nresults = 0
        self.top_lease = 0
        self.done, self.failed = Spans(), Spans()
        #: position: attempts that are over, lease of the last, how many of them ended with the death of their
        #: processor, and how many were interrupted
        self.attempts: dict[int, tuple[int, int, int, int]] = {}
        #: position: hosts on which a processor died with it; not settled, as above
        self.died_at: dict[int, list[str]] = {}
        self.leases: dict[int, OpenLease] = {}
        self.errors: dict[tuple[str, str], ErrorCount] = {}
        self.slices = SliceIndex()


class Recovered:
    """What a Coordinator that starts finds in its journal: copies of the state, so that neither side changes the
    other's."""

    def __init__(self, state: State) -> None:
        self.run = state.run  #: None: the journal is new
        self.name = state.name
        self.life = state.life  #: of the last Coordinator that wrote; 0 if none did
        self.port = state.port
        self.options: dict[str, Any] = json.loads(json.dumps(state.options))
        self.count = state.slices.count  #: positions known
        self.ended = state.ended  #: the stream was read to its end
        self.reason = state.reason  #: why the stream ended, if the user's generator raised
        self.done, self.failed = state.done.copy(), state.failed.copy()
        attempts = state.attempts.items()
        #: failed attempts of tasks that are neither done nor failed
        self.attempts = {position: attempt for position, (attempt, *_) in attempts}
        #: how many of these ended with the death of their processor, and on which hosts
        self.deaths = {position: deaths for position, (_, _, deaths, _) in attempts if deaths}
        self.died_at = {position: set(places) for position, places in state.died_at.items()}
        #: how many of these ended with nobody to blame
        self.interrupted = {position: times for position, (*_, times) in attempts if times}
        leases = list(open_leases(state))
        #: number, processor, a, b: leased and not settled, each position under its newest lease
        self.leases = sorted((number, lease.processor, a, b) for number, lease in leases for a, b in lease.open)
        #: the numbers of those leases of which a part was given to others: returned, or lapsed
        self.shared_out = {number for number, lease in leases if lease.shared_out}
        self.top_lease = state.top_lease
        self.numbers = state.numbers  #: processor numbers up to this are used
        self.slices = SliceDigests(state.slices)  #: (number of IDs, digest) of each slice of the stream
        self.nresults = state.nresults  #: results ever written
        self.closed = state.closed is not None  #: the last life ended in order
        self.outcome = state.closed  #: its CLOSED record
        #: failures for good, grouped, since the last time that none was left
        self.errors = [ErrorCount(**{**vars(group), "first": list(group.first)}) for group in state.errors.values()]


# --- the fold -------------------------------------------------------------------------------------


def fold(state: State, record: Record) -> None:
    """Take one record into the state; ValueError, KeyError or TypeError if it cannot be one of ours."""
    _FOLDS[record.kind](state, record.header, record)


def _segment(state: State, header: dict[str, Any], record: Record) -> None:
    state.name = header["name"]


def _life(state: State, header: dict[str, Any], record: Record) -> None:
    if header["run"] != state.run:
        # Nobody of an earlier run can report any more, and its attempts do not count in this one.
        state.leases.clear()
        state.attempts.clear()
        state.died_at.clear()
    state.run, state.life, state.closed = header["run"], header["life"], None
    state.name = header.get("name", state.name)
    state.port, state.options = header.get("port"), header.get("options") or {}


def _slice(state: State, header: dict[str, Any], record: Record) -> None:
    slices, count = state.slices, header["count"]
    if header["start"] != slices.count or count < 1 or len(header["digest"]) != 32:
        raise ValueError(f"a slice of {count} begins at {header['start']}, and {slices.count} positions are known")
    if "first" in header:
        slices.add(count, header["digest"], record.segment, INTEGERS, header["first"])
    else:
        slices.add(count, header["digest"], record.segment, record.offset, len(record.text))
    state.ended, state.reason = False, None


def _lease(state: State, header: dict[str, Any], record: Record) -> None:
    number = header["n"]
    state.top_lease = max(state.top_lease, number)
    state.leases[number] = OpenLease(header["p"], Spans([(header["a"], header["b"])]))


def _settle(state: State, number: int, a: int, b: int) -> None:
    lease = state.leases.get(number)
    if lease is not None:
        lease.open.remove(a, b)
        if not lease.open:
            del state.leases[number]


def _done(state: State, header: dict[str, Any], record: Record) -> None:
    number = header["n"]
    for a, b in header["r"]:
        state.done.add(a, b)
        state.failed.remove(a, b)
        _settle(state, number, a, b)
        _forget_attempts(state, a, b)


def _forget_attempts(state: State, a: int, b: int) -> None:
    attempts = state.attempts
    if not attempts:
        return
    for position in range(a, b) if b - a < len(attempts) else [at for at in attempts if a <= at < b]:
        attempts.pop(position, None)
        state.died_at.pop(position, None)


def _failed(state: State, header: dict[str, Any], record: Record) -> None:
    position = header["pos"]
    if not header.get("lost"):  # else whoever had it may still live, and have it until another is given it
        _settle(state, header["n"], position, position + 1)
    if not header["final"]:
        *_, deaths, interrupted = state.attempts.get(position, (0, 0, 0, 0))
        deaths, interrupted = deaths + bool(header.get("died")), interrupted + bool(header.get("lost"))
        state.attempts[position] = (header["attempt"], header["n"], deaths, interrupted)
        if header.get("died") and header["host"] not in (places := state.died_at.setdefault(position, [])):
            places.append(header["host"])
        return
    _forget_attempts(state, position, position + 1)
    if state.failed.add(position, position + 1):
        count_error(state.errors, header)


def _results(state: State, header: dict[str, Any], record: Record) -> None:
    text = bytes(record.text)
    state.nresults += text.count(b"\n") + 1 if text else 0


def _ended(state: State, header: dict[str, Any], record: Record) -> None:
    state.ended, state.reason = True, header.get("reason")


def _numbers(state: State, header: dict[str, Any], record: Record) -> None:
    state.numbers = max(state.numbers, header["upto"])


def _redo(state: State, header: dict[str, Any], record: Record) -> None:
    for a, b in header["r"]:
        settled = state.done.overlaps(a, b) + state.failed.overlaps(a, b)
        for x, y in settled:
            # A lease that a newer one replaced may still list them; it must not come back to life.
            for number, lease in list(state.leases.items()):
                lease.shared_out |= bool(lease.open.overlaps(x, y))
                _settle(state, number, x, y)
        state.done.remove(a, b)
        state.failed.remove(a, b)
        _forget_attempts(state, a, b)
    if not state.failed:
        state.errors.clear()


def _closed(state: State, header: dict[str, Any], record: Record) -> None:
    state.closed = header


def open_leases(state: State) -> Iterator[tuple[int, OpenLease]]:
    """Leases with what is still theirs, newest first: a position belongs to its newest lease only."""
    taken = Spans()
    tried = Spans((position, position + 1) for position in sorted(state.attempts))
    for number in sorted(state.leases, reverse=True):
        lease = state.leases[number]
        rest = lease.open.copy()
        for a, b in lease.open:
            for other in (taken, state.done, state.failed):
                for x, y in other.overlaps(a, b):
                    rest.remove(x, y)
            for x, y in tried.overlaps(a, b):
                for position in range(x, y):
                    if state.attempts[position][1] > number:  # failed under a newer lease, and waits for its next try
                        rest.remove(position, position + 1)
            taken.add(a, b)
        if rest:
            yield number, OpenLease(lease.processor, rest, lease.shared_out or rest != lease.open)


# --- checkpoints ----------------------------------------------------------------------------------


def checkpoint(state: State) -> tuple[dict[str, Any], str]:
    """Header and text of the CHECKPOINT record that stands for all records so far; drops leases that are replaced."""
    state.leases = dict(reversed(list(open_leases(state))))
    header = {
        "state": {
            key: getattr(state, key)
            for key in (
                "name",
                "run",
                "life",
                "port",
                "options",
                "ended",
                "reason",
                "closed",
                "numbers",
                "nresults",
                "top_lease",
            )
        },
        "count": state.slices.count,
        "attempts": [[position, *tried] for position, tried in state.attempts.items()],
        "died_at": list(state.died_at.items()),
        "leases": [
            [number, lease.processor, lease.open.to_flat(), lease.shared_out] for number, lease in state.leases.items()
        ],
        "errors": [[list(key), vars(group)] for key, group in state.errors.items()],
    }
    lines = [packed(state.done.to_array()), packed(state.failed.to_array()), *state.slices.to_lines()]
    return header, "\n".join(lines)


def _checkpoint(state: State, header: dict[str, Any], record: Record) -> None:
    if state.run is not None or state.slices.count:
        return  # read on from before it, so all that it says is known
    lines = str(record.text, "ascii").split("\n")
    for key, value in header["state"].items():
        setattr(state, key, value)
    state.attempts = {position: (a, n, d, i) for position, a, n, d, i in header["attempts"]}
    state.died_at = {position: places for position, places in header.get("died_at", ())}
    state.leases = {
        number: OpenLease(processor, Spans.from_flat(flat), shared_out)
        for number, processor, flat, shared_out in header["leases"]
    }
    state.errors = {(key[0], key[1]): ErrorCount(**group) for key, group in header["errors"]}
    state.done, state.failed = Spans.from_flat(unpacked(lines[0])), Spans.from_flat(unpacked(lines[1]))
    state.slices = SliceIndex.from_lines(header["count"], lines[2:])


_FOLDS: dict[int, Callable[[State, dict[str, Any], Record], None]] = {
    Kind.LIFE: _life,
    Kind.SLICE: _slice,
    Kind.LEASE: _lease,
    Kind.DONE: _done,
    Kind.FAILED: _failed,
    Kind.RESULTS: _results,
    Kind.ENDED: _ended,
    Kind.NUMBERS: _numbers,
    Kind.CHECKPOINT: _checkpoint,
    Kind.REDO: _redo,
    Kind.CLOSED: _closed,
    Kind.SEGMENT: _segment,
}
