"""What follows from what was seen of attempts, written down: attempts that go on or are over, and their jobs' states.

:mod:`.reconcile` brings what it has seen; here it is compared with what others have written meanwhile, decided with
:mod:`.states` and :mod:`.retries`, and written for all attempts together, since thousands may end between two looks.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select, update

from coordinator.errors import BadInput
from coordinator.jobs import events, retries, schema
from coordinator.jobs.records import Attempt, Job, JobId, jobs_where
from coordinator.jobs.states import (
    CANCELLED,
    COMPLETE,
    INIT,
    LAST,
    REPLACED,
    RUN,
    SPAWN,
    SUBMIT,
    End,
    Outcome,
    Stage,
    state_after,
)
from coordinator.jobs.store import executed_many

log = logging.getLogger("coordinator.jobs")

#: ids in one query
MANY = 500
#: columns of an attempt that a look may change
_SEEN = ("native", "seen", "silent_since", "forgotten", "code", "signal", "cause", "words", "host", "began", "ended",
         "wall_s", "cpu_s", "memory")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """``was``: the attempt as the store had it; ``now``: as it is; ``end``: None while it is not over."""

    was: Attempt
    now: Attempt
    end: End | None


def write(connection: Connection, verdicts: Sequence[Verdict], now: float) -> None:
    """All of them, but those of attempts that others have brought further meanwhile."""
    stages, asked = _stages(connection, verdicts)
    fresh = [verdict for verdict in verdicts if stages.get(verdict.was.place) == verdict.was.stage.value]
    if not fresh:
        return
    table = schema.attempt
    columns: dict[str, Any] = {name: bindparam(f"to_{name}") for name in (*_SEEN, "stage", "outcome")}
    executed_many(
        connection, update(table).where(schema.this_attempt()).values(columns), [_row(verdict) for verdict in fresh]
    )
    jobs = _jobs(connection, {verdict.was.id for verdict in fresh})
    moved: dict[JobId, Job] = {}
    told: list[dict[str, Any]] = []
    for verdict in fresh:
        job = moved.get(verdict.was.id) or jobs.get(verdict.was.id)
        # Removed, or given up and reset: what becomes of an earlier attempt changes nothing.
        if job is None or job.attempt != verdict.was.number or job.state == INIT:
            continue
        after, kind = _followed(connection, job, verdict, verdict.was.place in asked, now)
        if verdict.end is not None and verdict.was.spawn == 0 and job.state != SPAWN:
            told.append(events.event(job.id, 0, "ended", _told(verdict.end), now))
        if after is not job:
            moved[job.id] = after = replace(after, version=job.version + 1)
            if after.state != job.state:
                told.append(events.event(job.id, after.version, kind, {"state": [job.state, after.state]}, now))
    _move(connection, moved.values())
    events.write(connection, told)


# --- deciding ---------------------------------------------------------------------------------------------


def _followed(connection: Connection, job: Job, verdict: Verdict, asked: bool, now: float) -> tuple[Job, str]:
    """The job as it is after that, itself if nothing follows, and the kind of the event."""
    end = verdict.end
    if end is None:
        begun = verdict.now.stage is Stage.BEGUN and job.state == SUBMIT
        return (replace(job, state=RUN, words="") if begun else job), "changed"
    if job.state == SPAWN:
        return _multiplied(connection, job), "changed"
    if verdict.was.spawn:
        return job, "changed"
    state, words = state_after(job.state, asked, end), said(end)
    again_s = _again(connection, job, end) if state != job.state else None
    if again_s is not None:
        words = f"{words}; it is tried again"
        return replace(job, state=INIT, words=words, not_before=now + again_s), "retried"
    if state == job.state and words == job.words:
        return job, "changed"
    return replace(job, state=state, words="" if state == COMPLETE else words, not_before=0.0), "changed"


def said(end: End) -> str:
    """How it ended, in one line for people."""
    how = f"signal {end.signal}" if end.signal else f"exit status {end.code}" if end.code else ""
    where = f" on {end.host}" if end.host else ""
    parts = [part for part in (how, end.words if end.words != how else "") if part]
    return f"{', '.join(parts)}{where}" if parts else ""


def _told(end: End) -> dict[str, Any]:
    return {"outcome": end.outcome.value, "code": end.code, "signal": end.signal, "words": said(end),
            "cause": retries.cause_of(end)}  # fmt: skip


def _again(connection: Connection, job: Job, end: End) -> float | None:
    """Seconds until it is tried again by itself; None: it is not."""
    cause = retries.cause_of(end)
    told = job.fields.get("retries")
    if not cause or not told:
        return None
    try:
        policy = retries.read(told)
    except BadInput as error:
        log.warning("job %d of batch %d is not tried again: %s", job.index, job.batch, error.message)
        return None
    table = schema.event
    mine = and_(table.c.batch_id == job.batch, table.c.job_index == job.index)
    kinds = table.c.kind.in_(("ended", "retried", "changed"))
    rows = connection.execute(select(table.c.kind, table.c.told).where(mine, kinds).order_by(table.c.id)).all()
    used = retries.used((row.kind, json.loads(row.told)) for row in rows)
    return retries.again_s(policy, cause, used, random.random())


# --- reading and writing ----------------------------------------------------------------------------------


def _stages(
    connection: Connection, verdicts: Iterable[Verdict]
) -> tuple[dict[tuple[int, int, int, int], str], set[tuple[int, int, int, int]]]:
    """(where each attempt is now, those whose job has asked for its metadata): the jobs' own reports are in there."""
    table = schema.attempt
    marks = sorted({verdict.was.mark for verdict in verdicts})
    stages, asked = {}, set()
    for at in range(0, len(marks), MANY):
        query = select(table.c.batch_id, table.c.job_index, table.c.number, table.c.spawn, table.c.stage, table.c.asked)
        for *place, stage, has_asked in connection.execute(query.where(table.c.mark.in_(marks[at : at + MANY]))):
            key = (place[0], place[1], place[2], place[3])
            stages[key] = stage
            if has_asked:
                asked.add(key)
    return stages, asked


def _jobs(connection: Connection, ids: Iterable[JobId]) -> dict[JobId, Job]:
    return {job.id: job for job in jobs_where(connection, schema.among(schema.pair(schema.job), ids))}


def _multiplied(connection: Connection, job: Job) -> Job:
    """A job that multiplied, after all its copies are over: complete if all have said so and the one that was told to
    finish ended well; cancelled if some were. Itself while a copy is open, or has ended without a word."""
    table = schema.attempt
    mine = and_(table.c.batch_id == job.batch, table.c.job_index == job.index, table.c.number == job.attempt)
    query = select(table.c.stage, table.c.said, table.c.outcome, table.c.code, table.c.signal, table.c.words)
    copies = connection.execute(query.where(mine, table.c.said != REPLACED)).all()
    if not copies or any(copy.stage != Stage.OVER.value for copy in copies):
        return job
    if all(copy.said in (COMPLETE, LAST) for copy in copies):
        for copy in copies:
            if copy.said == LAST and copy.outcome != Outcome.OK.value:
                how = said(End(Outcome(copy.outcome), copy.code, copy.signal, words=copy.words))
                return replace(job, state=copy.outcome, words=f"its last copy, which was to finish it: {how}")
        return replace(job, state=COMPLETE, words="")
    if any(copy.outcome == Outcome.CANCELLED.value for copy in copies):
        return replace(job, state=CANCELLED, words="its copies were cancelled")
    return job


def settle_copies(connection: Connection, ids: Iterable[JobId]) -> None:
    """What follows for jobs that multiplied when some of their copies have ended without being looked at."""
    for job in _jobs(connection, ids).values():
        after = _multiplied(connection, job) if job.state == SPAWN else job
        if after is not job:
            after = replace(after, version=job.version + 1)
            _move(connection, [after])
            events.note(connection, *job.id, "changed", {"state": [job.state, after.state]}, after.version)


def _row(verdict: Verdict) -> dict[str, Any]:
    now = verdict.now
    row = {f"to_{name}": getattr(now, name) for name in _SEEN}
    row.update(to_stage=now.stage.value, to_outcome=None if now.outcome is None else now.outcome.value)
    return {**row, **verdict.was.key}


def _move(connection: Connection, jobs: Iterable[Job]) -> None:
    table = schema.job
    rows = [{"b": job.batch, "j": job.index, "to_state": job.state, "to_words": job.words, "to_version": job.version,
             "to_not_before": job.not_before} for job in jobs]  # fmt: skip
    if rows:
        values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in ("state", "words", "version", "not_before")}
        executed_many(connection, update(table).where(schema.this_job()).values(values), rows)
