"""On which other jobs a job depends: ``after={"ok": [0, 1], "any": [[20210101000000, 4]]}`` in its JobInfo.

``ok``: they must be complete; ``failed``: they must have ended badly; ``any``: they must have ended. A number is a job
of the same batch. Circles are refused when jobs are added; what a job waits for is decided in :mod:`.due`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, select

from coordinator.errors import BadDependency
from coordinator.jobs import schema
from coordinator.jobs.records import Job, JobId, after_of

WHEN = ("ok", "failed", "any")


def read(batch: int, told: object) -> dict[str, list[JobId]]:
    """Raises BadDependency."""
    if told is None:
        return {}
    if not isinstance(told, Mapping) or not told.keys() <= set(WHEN):
        raise BadDependency(f"after is a dictionary of {', '.join(WHEN)}, each with a list of jobs, not {told!r:.100}")
    return {when: [_id(batch, one) for one in _many(ids)] for when, ids in told.items() if _many(ids)}


def check(connection: Connection, jobs: Iterable[Job]) -> None:
    """Raises BadDependency where a job depends on one that is not there, or in the end on itself."""
    table = schema.job
    edges: dict[JobId, list[JobId]] = {}
    there: set[JobId] = set()
    for row in connection.execute(select(table.c.batch_id, table.c.job_index, table.c.after)):
        there.add((row.batch_id, row.job_index))
        if row.after is not None:
            with suppress(ValueError, TypeError, AttributeError):  # damaged: whoever reads the whole row says so
                edges[row.batch_id, row.job_index] = [one for ids in after_of(row.after).values() for one in ids]
    jobs = list(jobs)
    for job in jobs:
        for on in (one for ids in job.after.values() for one in ids):
            if on not in there:
                raise BadDependency(f"{_said(job.id)} depends on {_said(on)}, which is not there")
    circle = around((job.id for job in jobs), edges)
    if circle:
        raise BadDependency("jobs wait for each other in a circle: " + " → ".join(map(_said, circle)))


def around(starts: Iterable[JobId], edges: Mapping[JobId, Sequence[JobId]]) -> list[JobId]:
    """A way along dependencies from a job back to itself, of these and all that they depend on; or nothing. Each job is
    looked at once, however many depend on it."""
    done: set[JobId] = set()
    for start in starts:
        # The way to where we are, each job with those of its dependencies that were not looked at.
        way = {} if start in done else {start: iter(edges.get(start, ()))}
        while way:
            on = next(way[next(reversed(way))], None)
            if on is None:
                done.add(way.popitem()[0])
            elif on in way:
                ids = list(way)
                return [*ids[ids.index(on) :], on]
            elif on not in done:
                way[on] = iter(edges.get(on, ()))
    return []


def _id(batch: int, told: object) -> JobId:
    if isinstance(told, int) and not isinstance(told, bool):
        return batch, told
    if isinstance(told, Sequence) and not isinstance(told, str) and len(told) == 2 and all(
        isinstance(part, int) and not isinstance(part, bool) for part in told
    ):  # fmt: skip
        return int(told[0]), int(told[1])
    raise BadDependency(f"{told!r:.100} is no job: write its JobIndex, or [BatchID, JobIndex]")


def _many(ids: object) -> Sequence[Any]:
    if isinstance(ids, int):
        return [ids]
    if isinstance(ids, Sequence) and not isinstance(ids, str):
        return ids
    raise BadDependency(f"{ids!r:.100} is no list of jobs")


def _said(id: JobId) -> str:
    return f"job {id[1]} of batch {id[0]}"
