"""What happened to jobs: an append-only log, each event in the transaction in which it happened.

Every room of jobs that changes one writes here; whoever merges a change that was begun earlier reads what was there
then. An event's ``told`` is JSON: of a change ``{field: [before, after]}``, of others words and outcomes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, select

from coordinator.jobs import schema
from coordinator.jobs.records import Job, text_of
from coordinator.jobs.store import executed_many


def event(id: tuple[int, int | None], version: int, kind: str, told: Mapping[str, Any], at: float) -> dict[str, Any]:
    """A row. ``id``: of a job, or of its batch and None; ``version``: the job's, if it is a change that made it, else
    0. Raises BadInput."""
    return {"at": at, "batch_id": id[0], "job_index": id[1], "version": version, "kind": kind, "told": text_of(told)}


def write(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """Any number of them."""
    if events:
        columns: dict[str, Any] = {name: bindparam(name) for name in events[0]}
        executed_many(connection, insert(schema.event).values(columns), events)


def note(
    connection: Connection, batch: int, index: int | None, kind: str, told: Mapping[str, Any], version: int = 0
) -> None:
    """One, as it happens. ``index``: None where it is of no job alone."""
    connection.execute(insert(schema.event), event((batch, index), version, kind, told, time.time()))


def fields_at(connection: Connection, job: Job, version: int) -> dict[str, Any]:
    """The fields that were changed since that version, as they were then."""
    table = schema.event
    mine = and_(table.c.batch_id == job.batch, table.c.job_index == job.index, table.c.version > version)
    found: dict[str, Any] = {}
    for text in connection.scalars(select(table.c.told).where(mine).order_by(table.c.version)):
        for name, values in json.loads(text).items():
            if isinstance(values, list) and len(values) == 2:  # others are no changes: words, outcomes
                found.setdefault(name, values[0])
    return found


def removed(connection: Connection) -> set[int]:
    """Batches that were in the store and are there no more."""
    told = connection.scalars(select(schema.event.c.told).where(schema.event.c.kind == "removed"))
    gone = {batch for text in told for batch in json.loads(text)["batches"]}
    return gone - set(connection.scalars(select(schema.batch.c.batch_id)))
