"""What the tests of the journal share: a small job's records, and the states of its commits."""

from __future__ import annotations

from typing import Any

from coordinator.core import ids
from coordinator.core.records import Kind
from coordinator.core.replay import Recovered
from coordinator.disk import Disk
from coordinator.journal import Journal


def as_dict(found: Recovered) -> dict[str, Any]:
    return {**vars(found), "slices": list(found.slices), "errors": [vars(group) for group in found.errors]}


def begin(journal: Journal, life: int = 1) -> None:
    journal.append(Kind.LIFE, {"run": "r1", "name": "job", "life": life, "port": 8888, "options": {}, "at": 1.0})
    journal.commit(sync=True)


def add_slice(journal: Journal, start: int, values: list[Any]) -> list[str]:
    texts = ids.encode_many(values)
    first = ids.as_integers(values)
    header: dict[str, Any] = {"start": start, "count": len(values)}
    if first is None:
        text = "\n".join(texts)
        journal.append(Kind.SLICE, {**header, "digest": ids.slice_digest(text)}, text)
    else:
        journal.append(Kind.SLICE, {**header, "digest": ids.integers_digest(first, len(values)), "first": first})
    return texts


def lease(journal: Journal, n: int, a: int, b: int) -> None:
    journal.append(Kind.LEASE, {"n": n, "p": 1, "a": a, "b": b})


def done(journal: Journal, n: int, *ranges: tuple[int, int]) -> None:
    journal.append(Kind.DONE, {"n": n, "p": 1, "r": [list(ab) for ab in ranges]})


def fail(journal: Journal, n: int, pos: int, *, final: bool = True, attempt: int = 1, **more: Any) -> None:
    header = {"pos": pos, "n": n, "p": 1, "attempt": attempt, "final": final, "kind": "ValueError", "at": 5.0}
    header |= {
        "message": f"bad {pos}",
        "traceback": f"Traceback {pos}",
        "where": "job.py:3 in f",
        "host": "h",
        "pid": 9,
    }
    journal.append(Kind.FAILED, {**header, **more})


def result(journal: Journal, n: int, *pairs: tuple[int, Any]) -> None:
    journal.append(Kind.RESULTS, {"n": n}, "\n".join(f"{pos}\t{ids.encode_result(value)}" for pos, value in pairs))


def redo(journal: Journal, *ranges: tuple[int, int]) -> None:
    journal.append(Kind.REDO, {"r": [list(ab) for ab in ranges]})


def small_job(journal: Journal, commits: int = 30, first: int = 0) -> None:
    """A commit of everything that a job writes, some of them synced."""
    count = journal.recovered.count
    for number in range(first, first + commits):
        add_slice(journal, count, [f"task {count + at} of the job" for at in range(10)])
        lease(journal, number, count, count + 10)
        done(journal, number, (count, count + 6))
        result(journal, number, (count, {"value": number}))
        fail(journal, number, count + 7)
        fail(journal, number, count + 8, final=False)
        count += 10
        journal.commit(sync=number % 3 == 0)


class NoSync(Disk):
    """Writes and never waits for the disk; for tests that recover thousands of times."""

    def sync(self, fd: int) -> None:
        pass

    def datasync(self, fd: int) -> None:
        pass
