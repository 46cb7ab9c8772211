"""A job, an attempt at it, and a submission as they are read from the store; and a job's JobInfo, as users see it.

Who changes one asks :mod:`coordinator.jobs.changes`. A row that cannot be read is said so, set aside (its content is
kept in the table ``damaged``), and nothing else stops because of it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, select

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent
from coordinator.errors import BadInput, NoSuchJob
from coordinator.jobs import schema
from coordinator.jobs.states import Outcome, Stage
from coordinator.jobs.store import AFTERWARDS, WRITES

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
_encoded = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
#: of the columns of an attempt
_STAGE, _OUTCOME = map(list(schema.attempt.c.keys()).index, ("stage", "outcome"))


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
        found: dict[str, Any] = {
            "BatchID": self.batch,
            "JobIndex": self.index,
            "priority": short(self.priority),
        }
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
        if not isinstance(fields, dict) or not isinstance(state, str) or not state.isprintable():
            raise ValueError("its fields are not an object, or its state is not a word")
        if not isinstance(priority, int | float):
            raise ValueError("its priority is not a number")
        return cls(batch, index, state, priority, attempt, version, not_before, after_of(after), words, fields)


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

    @property
    def key(self) -> dict[str, Any]:
        """For :func:`.schema.this_attempt`."""
        return {"b": self.batch, "j": self.index, "n": self.number, "s": self.spawn}

    @classmethod
    def of(cls, row: Row[Any]) -> Attempt:
        values = list(row)  # the columns are in the order of the fields
        values[_STAGE] = Stage(values[_STAGE])
        values[_OUTCOME] = None if values[_OUTCOME] is None else Outcome(values[_OUTCOME])
        return cls(*values)


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
    tries: int
    not_before: float
    at: float

    @property
    def intent(self) -> Intent:
        """As its executor was given it."""
        return Intent(self.mark, self.name, self.directory, self.needs, self.count)

    @classmethod
    def of(cls, row: Row[Any]) -> Submission:
        return cls(**{**row._mapping, "needs": Needs.of(json.loads(row.needs))})


def job_of(connection: Connection, batch: int, index: int) -> Job:
    """Raises NoSuchJob."""
    found = next(jobs_where(connection, and_(schema.job.c.batch_id == batch, schema.job.c.job_index == index)), None)
    if found is None:
        raise no_such_job(batch, index)
    return found


def no_such_job(batch: int, index: int) -> NoSuchJob:
    return NoSuchJob(f"there is no job {index} in batch {batch}: it was never added, or it was removed")


def jobs_where(connection: Connection, condition: ColumnElement[bool]) -> Iterator[Job]:
    """In order of batch and index. What is damaged is said, left out and set aside."""
    table = schema.job
    order = (table.c.batch_id, table.c.job_index)
    for row in connection.execute(select(table).where(condition).order_by(*order)).all():
        try:
            yield Job.of(row)
        except (ValueError, TypeError, AttributeError) as error:
            _damaged(connection, table, row, f"job {row.job_index} of batch {row.batch_id}", error)


def attempts_where(connection: Connection, condition: ColumnElement[bool]) -> list[Attempt]:
    """In order of job, number and copy. What is damaged is said, left out and set aside."""
    table, found = schema.attempt, []
    order = (table.c.batch_id, table.c.job_index, table.c.number, table.c.spawn)
    for row in connection.execute(select(table).where(condition).order_by(*order)).all():
        try:
            found.append(Attempt.of(row))
        except (ValueError, TypeError) as error:
            name = f"attempt {row.number} at job {row.job_index} of batch {row.batch_id}"
            _damaged(connection, table, row, name, error)
    return found


def after_of(text: str | None) -> dict[str, list[JobId]]:
    """The column of that name. Raises ValueError, TypeError, AttributeError where it is damaged."""
    return {} if text is None else {when: [(b, j) for b, j in ids] for when, ids in json.loads(text).items()}


def attempts_of(connection: Connection, batch: int, index: int) -> list[Attempt]:
    table = schema.attempt
    return attempts_where(connection, and_(table.c.batch_id == batch, table.c.job_index == index))


def submissions_where(connection: Connection, condition: ColumnElement[bool]) -> list[Submission]:
    """The oldest first. What is damaged is said, left out and set aside."""
    table, found = schema.submission, []
    for row in connection.execute(select(table).where(condition).order_by(table.c.at)).all():
        try:
            found.append(Submission.of(row))
        except (ValueError, TypeError, AttributeError, BadInput) as error:
            _damaged(connection, table, row, f"submission {row.mark}", error)
    return found


def submissions_of(connection: Connection, attempts: Iterable[Attempt]) -> dict[str, Submission]:
    """Those that attempts belong to, by their marks."""
    marks = {attempt.mark for attempt in attempts if attempt.mark}
    return {one.mark: one for one in submissions_where(connection, schema.among(schema.submission.c.mark, marks))}


def text_of(value: Any) -> str:
    """As the store keeps what people and jobs said. Raises BadInput."""
    try:
        return _encoded(value)
    except (TypeError, ValueError) as error:
        raise BadInput(f"a JobInfo holds what JSON can hold: {error}") from error


def short(number: float) -> float | int:
    """As people write it: 1, not 1.0."""
    return int(number) if number == int(number) else number


def _damaged(connection: Connection, table: Table, row: Row[Any], name: str, error: Exception) -> None:
    """Where nothing may be changed it is set aside when the reading is done, if it is still the same then."""
    words = f"{name} is damaged in the store ({str(error)[:200]!a})"
    log.warning("%s and is set aside; its row is kept in the table 'damaged'", words)
    this = and_(*(column == row._mapping[column.name] for column in table.primary_key))

    def aside(writing: Connection) -> None:
        now = writing.execute(select(table).where(this)).first()
        if now is None or tuple(now) != tuple(row):
            return
        content = json.dumps({"table": table.name, **row._mapping}, default=repr)
        writing.execute(schema.damaged.insert(), {"at": time.time(), "words": words, "content": content})
        writing.execute(table.delete().where(this))

    if connection.get_execution_options().get(WRITES):
        aside(connection)
    else:
        connection.info[AFTERWARDS].append(aside)
