"""A job, an attempt at it, and a submission as they are read from the store; and a job's JobInfo, as users see it.

Who changes one asks :mod:`coordinator.jobs.changes`. A row that cannot be read is said so, set aside at the next
change, and nothing else stops because of it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select

from coordinator.core.needs import Needs
from coordinator.errors import BadInput, NoSuchJob
from coordinator.jobs import schema
from coordinator.jobs.states import Outcome, Stage
from coordinator.jobs.store import WRITES

log = logging.getLogger("coordinator.jobs")

#: (BatchID, JobIndex)
JobId = tuple[int, int]
#: fields of a JobInfo that are told, and not the user's to set in it
FIXED = frozenset(
    ("BatchID", "JobIndex", "version", "subtime", "submit_id", "ClusterID", "hostname", "stdout", "stderr", "qstat",
     "attempts", "SpawnID")
)  # fmt: skip
#: those that have a column
COLUMNS = {"state": "state", "priority": "priority", "after": "after"}


@dataclass(frozen=True)
class Job:
    """``fields``: of its JobInfo, without those that are said here; ``after``: {"ok", "failed", "any": ids}."""

    batch: int
    index: int
    state: str
    priority: float
    attempt: int = 0
    version: int = 1
    not_before: float = 0.0
    after: Mapping[str, Sequence[JobId]] = field(default_factory=dict)
    words: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> JobId:
        return self.batch, self.index

    @property
    def info(self) -> dict[str, Any]:
        """Its JobInfo."""
        found: dict[str, Any] = {"BatchID": self.batch, "JobIndex": self.index, "priority": plain(self.priority)}
        found.update(self.fields)
        found["state"] = self.state
        if self.after:
            found["after"] = {when: [list(one) for one in ids] for when, ids in self.after.items()}
        found["version"] = self.version
        return found

    @classmethod
    def of(cls, row: Row[Any]) -> Job:
        """Raises ValueError where it is damaged."""
        batch, index, state, priority, attempt, version, not_before, after, words, text = tuple(row)
        fields = json.loads(text)
        if not isinstance(fields, dict) or not isinstance(state, str):
            raise ValueError("its fields are not an object, or its state is not a word")
        on = {} if after is None else {when: [(b, j) for b, j in ids] for when, ids in json.loads(after).items()}
        return cls(batch, index, state, priority, attempt, version, not_before, on, words, fields)


@dataclass(frozen=True)
class Attempt:
    """See the columns of :data:`coordinator.jobs.schema.attempt`."""

    batch: int
    index: int
    number: int
    spawn: int
    mark: str
    element: int
    native: str | None
    stage: Stage
    said: str
    asked: bool
    cancelled: bool
    seen: str
    silent_since: float | None
    forgotten: bool
    outcome: Outcome | None
    code: int | None
    signal: int | None
    cause: str
    words: str
    host: str
    at: float
    began: float | None
    ended: float | None
    wall_s: float | None
    cpu_s: float | None
    memory: int | None
    stdout: str
    stderr: str

    @property
    def id(self) -> JobId:
        return self.batch, self.index

    @property
    def place(self) -> tuple[int, int, int, int]:
        return self.batch, self.index, self.number, self.spawn

    @classmethod
    def of(cls, row: Row[Any]) -> Attempt:
        told = dict(row._mapping)
        told["batch"], told["index"] = told.pop("batch_id"), told.pop("job_index")
        outcome = told["outcome"]
        told.update(stage=Stage(told["stage"]), outcome=None if outcome is None else Outcome(outcome))
        return cls(**told)


@dataclass(frozen=True)
class Submission:
    """What one call gave to an executor: a job or an array. ``native``: its id there, once it is known."""

    mark: str
    executor: str
    directory: str
    name: str
    needs: Needs
    count: int
    native: str | None
    stage: str
    words: str
    at: float

    @classmethod
    def of(cls, row: Row[Any]) -> Submission:
        return cls(**{**row._mapping, "needs": Needs.of(json.loads(row.needs))})


def job_of(connection: Connection, batch: int, index: int) -> Job:
    """Raises NoSuchJob."""
    found = next(jobs_where(connection, and_(schema.job.c.batch_id == batch, schema.job.c.job_index == index)), None)
    if found is None:
        raise NoSuchJob(f"there is no job {index} in batch {batch}: it was never added, or it was removed")
    return found


def jobs_where(connection: Connection, condition: ColumnElement[bool]) -> Iterator[Job]:
    """In order of batch and index. What is damaged is said and left out; in a change it is set aside, too."""
    order = (schema.job.c.batch_id, schema.job.c.job_index)
    for row in connection.execute(select(schema.job).where(condition).order_by(*order)).all():
        try:
            yield Job.of(row)
        except (ValueError, TypeError, AttributeError) as error:
            _damaged(connection, row, error)


def _damaged(connection: Connection, row: Row[Any], error: Exception) -> None:
    words = f"job {row.job_index} of batch {row.batch_id} is damaged in the store ({error})"
    if not connection.get_execution_options().get(WRITES):
        log.warning("%s and is left out", words)
        return
    log.warning("%s and is set aside; its row is kept in the table 'damaged'", words)
    content = json.dumps(list(row), default=repr)
    connection.execute(schema.damaged.insert(), {"at": time.time(), "words": words, "content": content})
    table = schema.job
    connection.execute(table.delete().where(table.c.batch_id == row.batch_id, table.c.job_index == row.job_index))


def attempts_where(connection: Connection, condition: ColumnElement[bool]) -> list[Attempt]:
    """In order of job, number and copy."""
    table = schema.attempt
    order = (table.c.batch_id, table.c.job_index, table.c.number, table.c.spawn)
    return [Attempt.of(row) for row in connection.execute(select(table).where(condition).order_by(*order))]


def attempts_of(connection: Connection, batch: int, index: int) -> list[Attempt]:
    table = schema.attempt
    return attempts_where(connection, and_(table.c.batch_id == batch, table.c.job_index == index))


def submissions_where(connection: Connection, condition: ColumnElement[bool]) -> list[Submission]:
    found = []
    for row in connection.execute(select(schema.submission).where(condition).order_by(schema.submission.c.at)):
        try:
            found.append(Submission.of(row))
        except (ValueError, TypeError, BadInput) as error:
            log.warning("submission %s is damaged in the store and left out: %s", row.mark, error)
    return found


def plain(number: float) -> float | int:
    """1 is 1 to people, not 1.0."""
    return int(number) if number == int(number) else number
