"""What is known of a batch or of a job of it, gathered from the store and from logs: for `coordinator batch show` and
`why`. Whoever calls has looked what is there (:func:`coordinator.batch.submission.reconciled`).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, select

from coordinator.batch.candidates import waiting
from coordinator.batch.executors import jobs_named
from coordinator.batch.home import home
from coordinator.core.needs import Needs
from coordinator.errors import NoSuchJob
from coordinator.jobs import reasons, schema
from coordinator.jobs.information import cluster_id
from coordinator.jobs.measuring import measure
from coordinator.jobs.reasons import Command, Facts
from coordinator.jobs.records import (
    Attempt,
    Job,
    Submission,
    attempts_of,
    attempts_where,
    job_of,
    jobs_where,
    submissions_of,
)  # fmt: skip
from coordinator.jobs.states import FAILED, GOOD, INIT, LOST
from coordinator.jobs.usage import Usage, usage_of
from coordinator.logfiles import tail
from coordinator.reasons import Reason

#: of stderr, in words on why a job failed
LAST_LINES, LONGEST_LINE = 5, 300


@dataclass(frozen=True)
class Try:
    """An attempt with what belongs to it."""

    attempt: Attempt
    submission: Submission | None
    usage: Usage

    @property
    def executor(self) -> str:
        return "" if self.submission is None else self.submission.executor

    @property
    def id(self) -> str:
        """What its scheduler calls it; "" while that is not known."""
        return cluster_id(self.attempt, self.submission)

    def told(self) -> dict[str, Any]:
        """For programs."""
        one = self.attempt
        return {
            "number": one.number, "copy": one.spawn, "executor": self.executor or None, "id": self.id or None,
            "stage": one.stage.value, "scheduler": one.seen or None,
            "outcome": None if one.outcome is None else one.outcome.value, "exit_code": one.code,
            "signal": one.signal, "cause": one.cause or None, "words": one.words or None, "host": one.host or None,
            "submitted": one.at, "began": one.began, "ended": one.ended, "stdout": one.stdout or None,
            "stderr": one.stderr or None, "used": self.usage.told(),
        }  # fmt: skip


@dataclass(frozen=True)
class Whole:
    """A job with all attempts at it, the newest last. ``held``: what it waits for, "" if nothing."""

    job: Job
    tries: Sequence[Try]
    held: str

    def facts(self) -> Facts:
        last = [one for one in self.tries if one.attempt.number == self.job.attempt]
        mine = next((one for one in last if one.attempt.spawn == 0), None)
        attempts = [one.attempt for one in last]
        if mine is None:
            return Facts(self.job, attempts, self.held)
        said = last_lines(mine.attempt.stderr) if self.job.state in (FAILED, LOST) else []
        refused = "" if mine.submission is None else mine.submission.words
        return Facts(self.job, attempts, self.held, mine.executor, mine.id, refused, mine.usage, said)


def job_whole(batch: int, index: int) -> Whole:
    """Raises NoSuchJob."""
    at = home()
    with at.store.reading() as connection:
        tried = attempts_of(connection, batch, index)
    measure(at.store, jobs_named, tried)
    with at.store.reading() as connection:
        job = job_of(connection, batch, index)
        tries = _tries(connection, attempts_of(connection, batch, index))
        held = waiting(connection, limited=True).why(job.id) if job.state == INIT else ""
    return Whole(job, tries, held)


def jobs_newest(batch: int) -> list[tuple[Job, Try | None]]:
    """All jobs of a batch, each with its newest attempt. Raises NoSuchJob."""
    at = home()
    with at.store.reading() as connection:
        _there(connection, batch)
        found = _newest(connection, batch)
    measure(at.store, jobs_named, [one.attempt for _, one in found if one is not None])
    with at.store.reading() as connection:
        return _newest(connection, batch)


def why_batch(batch: int, command: Command) -> tuple[dict[str, int], str, list[tuple[Reason, list[int]]]]:
    """({state: how many}, why it does not go on, the most frequent reasons with their jobs). Raises NoSuchJob."""
    with home().store.reading() as connection:
        _there(connection, batch)
        plan = waiting(connection, limited=True)
        jobs = [(job, None if one is None else one.attempt) for job, one in _newest(connection, batch)]
    held = {id: words for ids, words in plan.waits for id in ids if id[0] == batch}
    open_ = [(job, attempt) for job, attempt in jobs if job.state not in GOOD]
    counts = Counter(job.state for job, _ in jobs)
    return dict(counts), plan.stuck.get(batch, ""), reasons.of_batch(batch, open_, held, command)


def last_lines(path: str) -> list[str]:
    """Of a log that is there; none of one that is not."""
    if not path or not os.path.isfile(path):
        return []
    lines = tail(path, LAST_LINES)[0].splitlines()
    return [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..." for line in lines]


def _there(connection: Connection, batch: int) -> None:
    if connection.execute(select(schema.batch.c.batch_id).where(schema.batch.c.batch_id == batch)).first() is None:
        raise NoSuchJob(f"there is no batch {batch}: coordinator batch list shows those that are there")


def _newest(connection: Connection, batch: int) -> list[tuple[Job, Try | None]]:
    jobs = list(jobs_where(connection, schema.job.c.batch_id == batch))
    table = schema.attempt
    current = and_(table.c.batch_id == schema.job.c.batch_id, table.c.job_index == schema.job.c.job_index,
                   table.c.number == schema.job.c.attempt)  # fmt: skip
    mine = and_(table.c.batch_id == batch, table.c.spawn == 0, current)
    tries = {one.attempt.index: one for one in _tries(connection, attempts_where(connection, mine))}
    return [(job, tries.get(job.index)) for job in jobs]


def _tries(connection: Connection, attempts: Sequence[Attempt]) -> list[Try]:
    submissions = submissions_of(connection, attempts)
    now = time.time()

    def whole(attempt: Attempt) -> Try:
        submission = submissions.get(attempt.mark)
        needs: Needs | None = None if submission is None else submission.needs
        return Try(attempt, submission, usage_of(attempt, needs, now))

    return list(map(whole, attempts))
