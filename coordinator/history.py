"""What became of a job's tasks, for people and their programs: results, failures, what succeeded.

``coordinator.results``, ``coordinator errors`` and the like read here, while the job runs or after it ended, in
constant memory. It reads the journal up to where it was when the reading began, and never changes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from coordinator import frames
from coordinator.core import ids
from coordinator.core.errorgroups import MAX_GROUPS, error_key
from coordinator.core.records import Kind, Record
from coordinator.core.replay import Recovered
from coordinator.core.spans import Spans
from coordinator.errors import NoSuchJob
from coordinator.lines import Lines


@dataclass(frozen=True)
class Failure:
    """One attempt at a task that failed."""

    id: Any
    position: int
    attempt: int
    kind: str  #: name of the exception's class
    message: str
    traceback: str
    where: str  #: the last line of the user's code, "file.py:12 in f"
    host: str
    pid: int
    at: float  #: seconds since 1970
    final: bool  #: no retry followed by itself


@dataclass(frozen=True)
class ErrorGroup:
    """Failures of the same kind at the same place."""

    kind: str
    where: str
    message: str  #: of the first
    count: int
    first_ids: list[Any]
    traceback: str  #: of the first


def find(job: str | os.PathLike[str]) -> str:
    """The journal's directory of ``NAME``, ``some/where/NAME`` or the directory itself; NoSuchJob if there is none."""
    path = os.fspath(job)
    for directory in (f"{path}.journal", path):
        if os.path.isdir(directory) and (directory != path or path.rstrip("/").endswith(".journal")):
            return directory
    raise NoSuchJob(f"there is no job {path}: no directory {path}.journal. Give its path, or go where it was started")


def read(job: str | os.PathLike[str]) -> Recovered:
    """Where the job stands, as a Coordinator that started now would find it."""
    return Recovered(frames.replay(find(job)).state)


def results(job: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """``(task ID, value)`` of each result, in the order of acceptance; of tasks done again only the new ones."""
    past = _Past(find(job))
    for position, value in past.results():
        yield ids.decode(past.id_text(position)), ids.decode(value)


def result_lines(directory: str, end: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """``(canonical ID, canonical value)`` of each result before ``end`` (segment, byte), for the printer."""
    past = _Past(directory, end)
    for position, value in past.results():
        yield past.id_text(position), value


def succeeded(job: str | os.PathLike[str]) -> Iterator[Any]:
    """The IDs of the tasks that are done, in the order of the stream."""
    past = _Past(find(job))
    for a, b in past.state.done:
        for texts in past.lines.texts(a, b):
            yield from ids.decode_many(ids.to_array(texts))


def failures(job: str | os.PathLike[str], history: bool = False) -> Iterator[Failure]:
    """The last failure of each task that has failed for good; with ``history`` each failed attempt there ever was."""
    past = _Past(find(job))
    newest = {} if history else _newest_failures(past)
    for number, record in past.records():
        if record.kind != Kind.FAILED:
            continue
        position = record.header["pos"]
        stands = record.header["final"] and position in past.state.failed and newest.get(position, number) == number
        if stands or history:
            yield _failure(past, record.header)


def group_errors(failures: Iterable[Failure]) -> list[ErrorGroup]:
    """Failures grouped by exception and place, the most frequent first; what is beyond many groups is one more."""
    counts: dict[tuple[str, str], int] = {}
    firsts: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        key = error_key(failure.kind, failure.where, failure.message)
        if key not in counts and len(counts) >= MAX_GROUPS:
            key = ("", "")
        counts[key] = counts.get(key, 0) + 1
        first = firsts.setdefault(key, [])
        if len(first) < 3:
            first.append(failure)
    return [
        ErrorGroup(
            kind=firsts[key][0].kind if key[0] else "other errors",
            where=firsts[key][0].where,
            message=firsts[key][0].message,
            count=count,
            first_ids=[failure.id for failure in firsts[key]],
            traceback=firsts[key][0].traceback,
        )
        for key, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


# --- reading ----------------------------------------------------------------------------------------


class _Past:
    """A journal up to where it is now (or up to ``end``): its fold, and all its records from the first."""

    def __init__(self, directory: str, end: tuple[int, int] | None = None) -> None:
        self.directory = directory
        replayed = frames.replay(directory)
        self.state = replayed.state
        self.end = end or (replayed.last, replayed.length)
        self.lines = Lines(directory, replayed.state.slices)

    def records(self) -> Iterator[tuple[int, Record]]:
        number = 0
        for segment in frames.chain(self.directory, base=1):
            if segment.number > self.end[0]:
                return
            for frame in frames.read_segment(segment):
                if (segment.number, frame.end) > self.end:
                    return
                for record in frame.records():
                    yield number, record
                    number += 1

    def id_text(self, position: int) -> str:
        return self.lines.id_text(position)

    def results(self) -> Iterator[tuple[int, str]]:
        """Position and canonical value of the results that count."""
        later = _LaterRedos(self)
        for _, record in self.records():
            if record.kind == Kind.REDO:
                later.passed()
            elif record.kind == Kind.RESULTS and record.text:
                for line in str(record.text, "ascii").split("\n"):
                    position, _, value = line.partition("\t")
                    if int(position) not in later.spans:
                        yield int(position), value


class _LaterRedos:
    """While records are read in order: the positions that a REDO still to come makes void."""

    def __init__(self, past: _Past) -> None:
        self._redos = [record.header["r"] for _, record in past.records() if record.kind == Kind.REDO]
        self.spans = Spans()
        self._unite()

    def passed(self) -> None:
        del self._redos[0]
        self._unite()

    def _unite(self) -> None:
        self.spans = Spans((a, b) for ranges in self._redos for a, b in ranges)


def _newest_failures(past: _Past) -> dict[int, int]:
    """The number of the newest final failure of each position that has several: of what failed in several lives."""
    seen, newest = Spans(), {}
    for number, record in past.records():
        if record.kind == Kind.FAILED and record.header["final"]:
            position = record.header["pos"]
            if not seen.add(position, position + 1):
                newest[position] = number
    return newest


def _failure(past: _Past, header: dict[str, Any]) -> Failure:
    return Failure(
        id=ids.decode(past.id_text(header["pos"])),
        position=header["pos"],
        attempt=header["attempt"],
        kind=header["kind"],
        message=header["message"],
        traceback=header.get("traceback") or "",
        where=header.get("where") or "",
        host=header.get("host") or "",
        pid=header.get("pid") or 0,
        at=header.get("at") or 0.0,
        final=header["final"],
    )
