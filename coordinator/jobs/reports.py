"""What a job says of itself while it runs, applied to the store: it began, changed something, is complete, multiplied.

A report is on disk before anybody tries to apply it (:mod:`.inbox`); it is applied once, in one transaction with its
answer, by the job itself or by whoever looks next. One of an attempt that was cancelled, or that another attempt has
taken the place of, changes nothing and is told so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, exc, func, insert, not_, select, update

from coordinator.errors import BadInput, CoordinatorError, StateError, from_fault
from coordinator.jobs import changes, events, schema
from coordinator.jobs.inbox import Inbox
from coordinator.jobs.information import infos_of
from coordinator.jobs.records import Job, JobId, attempts_where, jobs_where, no_such_job
from coordinator.jobs.states import ACTIVE, COMPLETE, GOOD, LAST, REPLACED, RUN, SPAWN, SUBMIT, Stage, before
from coordinator.jobs.store import Store

#: seconds that the answers to reports are kept
KEPT_S = 86_400.0
#: reports that are applied in one transaction
MANY = 1_000
#: most copies that a job may make of itself at a time
MOST_COPIES = 100_000

#: what a database or JSON says of values that it does not take. That it is busy, full or away is something else
UNFIT = (exc.InterfaceError, exc.ProgrammingError, exc.DataError, OverflowError, UnicodeError, RecursionError,
         TypeError, ValueError, KeyError)  # fmt: skip

#: (batch, index, number of the attempt, number of the copy)
Place = tuple[int, int, int, int]


@dataclass
class Reporters:
    """The jobs of reports that are applied together, as they are by now; ``going``: attempts that nobody cancelled."""

    jobs: dict[JobId, Job]
    going: frozenset[Place]

    def current(self, by: Place) -> Job:
        """The job of an attempt that is still the one. Raises NoSuchJob, StateError."""
        batch, index, number, _ = by
        job = self.jobs.get((batch, index))
        if job is None:
            raise no_such_job(batch, index)
        if job.attempt != number or by not in self.going:
            raise StateError(
                f"attempt {number} at job {index} of batch {batch} was cancelled, or another has taken its place: it "
                f"can say nothing more"
            )
        return job


@dataclass(frozen=True)
class Done:
    """What a report has brought about. ``told``: fields of the JobInfo that its reporter gets, and nobody else."""

    job: Job
    told: Mapping[str, Any] = field(default_factory=dict)


def report(store: Store, inbox: Inbox, told: Mapping[str, Any]) -> dict[str, Any]:
    """Say something and see what came of it: the job's JobInfo. Raises the error that it met; after StoreBusy or
    StoreUnwritable the report is still there, and is taken up by whoever looks next."""
    id = inbox.drop(told)
    take_up(store, inbox)
    with store.reading() as connection:
        text = connection.execute(select(schema.report.c.answer).where(schema.report.c.id == id)).scalar_one()
    answer = json.loads(text)
    if "error" in answer:
        raise from_fault(*answer["error"])
    return dict(answer["info"])


def take_up(store: Store, inbox: Inbox) -> int:
    """Apply all reports that wait; how many they were. Raises StoreBusy, StoreUnwritable."""
    count = 0
    while inbox.waiting(store.id, 1):
        count += _take_up_some(store, inbox)
    return count


def _take_up_some(store: Store, inbox: Inbox) -> int:
    with store.writing() as connection:
        waiting = inbox.waiting(store.id, MANY)  # those that came while others were writing, too
        ids = [id for id, _ in waiting]
        table = schema.report
        known = set(connection.scalars(select(table.c.id).where(table.c.id.in_(ids))))
        fresh = [(id, told) for id, told in waiting if id not in known]
        reporters = _reporters(connection, [tuple(told["by"]) for _, told in fresh])
        applied = [(id, _applied(connection, reporters, told)) for id, told in fresh]
        now = time.time()
        rows = [
            {"id": id, "at": now, "answer": json.dumps(answer)}
            for (id, _), answer in zip(applied, _answers(connection, [what for _, what in applied]), strict=True)
        ]
        if rows:
            connection.execute(insert(table), rows)
        connection.execute(table.delete().where(table.c.at < now - KEPT_S))
    inbox.forget(ids)
    return len(ids)


def _reporters(connection: Connection, places: Sequence[Place]) -> Reporters:
    ids = {(batch, index) for batch, index, *_ in places}
    jobs = jobs_where(connection, schema.among(schema.pair(schema.job), ids))
    attempts = attempts_where(connection, schema.among(schema.pair(schema.attempt), ids))
    return Reporters({job.id: job for job in jobs}, frozenset(a.place for a in attempts if not a.cancelled))


def _applied(connection: Connection, reporters: Reporters, told: Mapping[str, Any]) -> Done | CoordinatorError:
    """What a report has changed, or why it was refused: then it has changed nothing."""
    try:
        with connection.begin_nested():
            done = _apply(connection, reporters, told)
    except CoordinatorError as error:
        refused = error
    except UNFIT as error:
        refused = BadInput(f"what the job reported cannot be kept: {error}")
    else:
        reporters.jobs[done.job.id] = done.job
        return done
    batch, index = (*told.get("by", ()), 0, 0)[:2]
    events.note(connection, batch, index, "refused", {"report": told.get("kind"), "words": refused.message})
    return refused


def _answers(connection: Connection, applied: Sequence[Done | CoordinatorError]) -> Iterator[dict[str, Any]]:
    infos = iter(infos_of(connection, [one.job for one in applied if isinstance(one, Done)]))
    for one in applied:
        if isinstance(one, Done):
            yield {"info": {**next(infos), **one.told}}
        else:
            yield {"error": [one.code, one.message]}


def _apply(connection: Connection, reporters: Reporters, told: Mapping[str, Any]) -> Done:
    by: Place = tuple(told["by"])
    job = reporters.current(by)
    kind = told.get("kind")
    if kind == "begin":
        return _begun(connection, job, by, told)
    if kind == "update":
        return Done(changes.merge(connection, told["info"]))
    if kind == "complete":
        job = changes.merge(connection, told["info"]) if "info" in told else job
        return Done(changes.change(connection, job, {"state": COMPLETE}))
    if kind == "spawn":
        return Done(_multiplied(connection, job, by, int(told["count"])))
    if kind == "spawn_complete":
        return _one_complete(connection, job, by)
    raise StateError(f"there is no report {kind!r}: this job runs another version of the program")


def _begun(connection: Connection, job: Job, by: Place, told: Mapping[str, Any]) -> Done:
    table = schema.attempt
    connection.execute(update(table).where(_is(by)).values(asked=True, host=str(told.get("host", ""))))
    waits = table.c.stage.in_(before(Stage.BEGUN))
    connection.execute(update(table).where(_is(by), waits).values(stage=Stage.BEGUN.value, began=told.get("began")))
    if job.state == SUBMIT:
        job = changes.change(connection, job, {"state": RUN})
    return Done(job, {"SpawnID": by[3]} if job.state == SPAWN else {})


def _multiplied(connection: Connection, job: Job, by: Place, count: int) -> Job:
    """Copies that are to be submitted, with the one that asked as number 0. Earlier copies of this attempt are over."""
    if not 0 < count <= MOST_COPIES:
        raise StateError(f"a job makes from 1 to {MOST_COPIES:,} copies of itself, not {count:,}")
    if job.state not in ACTIVE or by[3] != 0:
        raise StateError(f"job {job.index} of batch {job.batch} is {job.state}, or a copy itself, and makes no copies")
    table = schema.attempt
    others = and_(_job(by), table.c.number == by[2], table.c.spawn != 0)
    running = connection.scalar(
        select(func.count()).select_from(table).where(others, table.c.stage != Stage.OVER.value)
    )
    if running:
        raise StateError(f"{running} copies of job {job.index} of batch {job.batch} are still under way")
    first = 1 + (connection.scalar(select(func.max(table.c.spawn)).where(_job(by), table.c.number == by[2])) or 0)
    now = time.time()
    rows = [
        {
            "batch_id": by[0],
            "job_index": by[1],
            "number": by[2],
            "spawn": spawn,
            "stage": Stage.WRITTEN.value,
            "at": now,
        }
        for spawn in range(first, first + count)
    ]
    connection.execute(update(table).where(_job(by), table.c.number == by[2]).values(said=REPLACED))
    connection.execute(update(table).where(_is(by)).values(said=""))
    connection.execute(insert(table), rows)
    return changes.change(connection, job, {"state": SPAWN})


def _one_complete(connection: Connection, job: Job, by: Place) -> Done:
    """The last one is told state complete and finishes the job; the store says so when it has."""
    table = schema.attempt
    open_ = and_(_job(by), table.c.number == by[2], table.c.said == "")
    said = connection.scalar(select(table.c.said).where(_is(by)))
    left = said == COMPLETE or connection.scalar(select(func.count()).select_from(table).where(open_, not_(_is(by))))
    connection.execute(update(table).where(_is(by)).values(said=COMPLETE if left else LAST))
    return Done(job, {} if job.state in GOOD else {"state": SPAWN if left else COMPLETE})


def _job(by: Place) -> Any:
    return and_(schema.attempt.c.batch_id == by[0], schema.attempt.c.job_index == by[1])


def _is(by: Place) -> Any:
    return and_(_job(by), schema.attempt.c.number == by[2], schema.attempt.c.spawn == by[3])
