"""Submissions as the store has them: written down with their attempts, sent, over, taken back, or never made.

:mod:`.submitting` comes here with a connection that may write, before and after it speaks to an executor. Each function
is part of one transaction; nothing here calls an executor or touches a submission's directory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Update, and_, bindparam, insert, not_, select, update

from coordinator.core.statuses import Cause, Intent
from coordinator.executors.jobscript import Element
from coordinator.jobs import events, schema
from coordinator.jobs.changes import move
from coordinator.jobs.records import Job, JobId, Submission
from coordinator.jobs.states import FAILED, INIT, SUBMIT, Outcome, Stage, before

#: of an attempt that its executor was not given, or did not take
_NEVER_BEGUN = {"stage": Stage.OVER.value, "outcome": Outcome.FAILED.value, "cause": Cause.LAUNCH.value}


@dataclass(frozen=True)
class Trial:
    """An attempt that is to be made. ``spawn``: 0, or the number of a copy that is in the store already."""

    job: Job
    number: int
    spawn: int = 0

    @property
    def place(self) -> tuple[int, int, int, int]:
        return self.job.batch, self.job.index, self.number, self.spawn


def still(connection: Connection, trials: Sequence[Trial]) -> set[tuple[int, int, int, int]]:
    """The places of those that nobody has changed since they were chosen."""
    jobs, table = schema.job, schema.attempt
    theirs = schema.among(schema.pair(jobs), {trial.job.id for trial in trials})
    chosen = select(jobs.c.batch_id, jobs.c.job_index, jobs.c.version).where(theirs)
    versions = {(row.batch_id, row.job_index): row.version for row in connection.execute(chosen)}
    waiting = select(table.c.batch_id, table.c.job_index, table.c.number, table.c.spawn).where(
        table.c.mark == "", table.c.stage == Stage.WRITTEN.value)  # fmt: skip
    copies = {tuple(row) for row in connection.execute(waiting)} if any(trial.spawn for trial in trials) else set()
    return {
        trial.place for trial in trials
        if (trial.place in copies if trial.spawn else versions.get(trial.job.id) == trial.job.version)
    }  # fmt: skip


def write_down(connection: Connection, intent: Intent, executor: str, kept: Sequence[tuple[Trial, Element]]) -> None:
    """The intent, before its executor hears of it."""
    now = time.time()
    connection.execute(insert(schema.submission), {
        "mark": intent.mark, "executor": executor, "directory": intent.directory, "name": intent.name,
        "needs": json.dumps(intent.needs.told()), "count": intent.count, "native": None, "stage": "written", "at": now,
    })  # fmt: skip
    fresh, copies, moved, told = [], [], [], []
    for at, (trial, element) in enumerate(kept, 1):
        job = trial.job
        row = {"mark": intent.mark, "element": at, "at": now, "stdout": element.out, "stderr": element.err}
        if trial.spawn:
            copies.append({**row, "b": job.batch, "j": job.index, "n": trial.number, "s": trial.spawn})
            continue
        fresh.append({**row, "batch_id": job.batch, "job_index": job.index, "number": trial.number, "spawn": 0,
                      "stage": Stage.WRITTEN.value})  # fmt: skip
        moved.append({"b": job.batch, "j": job.index, "n": trial.number, "v": job.version + 1})
        told.append(events.event(job.id, job.version + 1, "submitted", {"state": [INIT, SUBMIT]}, now))
    if fresh:
        connection.execute(insert(schema.attempt), fresh)
        jobs = schema.job
        values = {"state": SUBMIT, "attempt": bindparam("n"), "version": bindparam("v"), "words": ""}
        connection.execute(update(jobs).where(schema.this_job()).values(values), moved)
        events.write(connection, told)
    if copies:
        table = schema.attempt
        values = {name: bindparam(f"to_{name}") for name in ("mark", "element", "at", "stdout", "stderr")}
        rows = [{(name if len(name) == 1 else f"to_{name}"): value for name, value in row.items()} for row in copies]
        connection.execute(update(table).where(schema.this_attempt()).values(values), rows)


def sent(connection: Connection, mark: str, native: str | None) -> None:
    """Its executor has it. ``native``: None where nobody knows how it is called there."""
    table = schema.attempt
    waits = and_(table.c.mark == mark, table.c.stage.in_(before(Stage.SENT)))
    connection.execute(_this(mark).values(native=native, stage="sent", words=""))
    connection.execute(update(table).where(waits).values(stage=Stage.SENT.value))


def away(connection: Connection, mark: str, words: str) -> None:
    """Its executor could not be asked; why."""
    connection.execute(_this(mark).values(words=words))


def unclear(connection: Connection, mark: str, words: str, not_before: float) -> None:
    """Its executor was given it, and nobody knows whether it was taken."""
    tries = schema.submission.c.tries + 1
    connection.execute(_this(mark).values(words=words, tries=tries, not_before=not_before))


def over(connection: Connection, mark: str, words: str, taken: Collection[int] = ()) -> list[JobId]:
    """Its executor does not take it: its jobs failed, with the reason; which they are. ``taken``: elements that have
    begun all the same."""
    table = schema.attempt
    mine = and_(table.c.mark == mark, table.c.stage.in_(before(Stage.OVER)), not_(schema.among(table.c.element, taken)))
    rows = connection.execute(select(table.c.batch_id, table.c.job_index, table.c.number).where(mine)).all()
    connection.execute(_this(mark).values(stage="sent" if taken else "over", words=words))
    connection.execute(update(table).where(mine).values(**_NEVER_BEGUN, words=words))
    for batch, index, number in rows:
        move(connection, (batch, index), number, (SUBMIT,), FAILED, words, "refused")
    return [(batch, index) for batch, index, _ in rows]


def take_back(connection: Connection, submission: Submission) -> None:
    """Nobody was asked: its jobs are as they were."""
    jobs, table = schema.job, schema.attempt
    mine = table.c.mark == submission.mark
    alone = select(table.c.batch_id, table.c.job_index, table.c.number).where(mine, table.c.spawn == 0)
    for batch, index, number in connection.execute(alone).all():
        if move(connection, (batch, index), number, (SUBMIT,), INIT, "", "taken back"):
            back = update(jobs).where(schema.this_job()).values(attempt=number - 1)
            connection.execute(back, {"b": batch, "j": index})
    connection.execute(table.delete().where(mine, table.c.spawn == 0))
    connection.execute(update(table).where(mine).values(mark="", element=0))
    connection.execute(schema.submission.delete().where(schema.submission.c.mark == submission.mark))


def refuse(connection: Connection, refused: Sequence[tuple[Trial, str]]) -> None:
    """Those that cannot be made into anything that runs, each with the reason."""
    there = still(connection, [trial for trial, _ in refused])
    jobs, copies, told, at = [], [], [], time.time()
    for trial, words in refused:
        job = trial.job
        if trial.place not in there:
            continue
        if trial.spawn:  # its attempt is there already; the job goes on with its other copies
            copies.append({"b": job.batch, "j": job.index, "n": trial.number, "s": trial.spawn, "to_words": words})
            continue
        jobs.append({"b": job.batch, "j": job.index, "v": job.version + 1, "to_words": words})
        told.append(events.event(job.id, job.version + 1, "refused", {"state": [job.state, FAILED]}, at))
    if jobs:
        values = {"state": FAILED, "words": bindparam("to_words"), "version": bindparam("v")}
        connection.execute(update(schema.job).where(schema.this_job()).values(values), jobs)
        events.write(connection, told)
    if copies:
        values = {**_NEVER_BEGUN, "words": bindparam("to_words")}
        connection.execute(update(schema.attempt).where(schema.this_attempt()).values(values), copies)


def _this(mark: str) -> Update:
    return update(schema.submission).where(schema.submission.c.mark == mark)
