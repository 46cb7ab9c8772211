"""Which jobs of the store may go now, what the others wait for, and how many may be under way.

:mod:`.submission` submits what is found here; get_queue and ``coordinator batch why`` show it. The decision itself is
that of :mod:`coordinator.jobs.due`. Nothing is submitted here, and nothing is said.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from coordinator.batch.home import Home, home
from coordinator.errors import BadInput
from coordinator.jobs import schema
from coordinator.jobs.due import Plan, Seen, plan
from coordinator.jobs.records import Job, JobId, after_of, attempts_where, jobs_where
from coordinator.jobs.states import BAD, GOOD, INIT, SPAWN, Stage
from coordinator.jobs.submissions import Trial


@dataclass
class Candidates:
    """``trials``: in the order in which they are submitted; ``stuck``: {batch: why it does not go on}; ``full``: why
    not all go that might, nothing if they do; ``behind``: how many those are."""

    trials: list[Trial] = field(default_factory=list)
    stuck: dict[int, str] = field(default_factory=dict)
    full: list[str] = field(default_factory=list)
    behind: int = 0


def candidates(
    connection: Connection,
    chosen: ColumnElement[bool],
    most: float = math.inf,
    least: float = -math.inf,
    batches: set[int] | None = None,
) -> Candidates:
    """Of jobs of a condition. ``most``: so many may be under way then; ``least``: priority of a job; ``batches``: only
    these are planned, each by its own groups."""
    found = _plan(connection, batches)
    made = Candidates(copies(connection, chosen), found.stuck)
    order = {id: at for at, id in enumerate(found.ready)}
    if not order:
        return made
    some = jobs_where(connection, and_(chosen, schema.job.c.state == INIT))
    ready = sorted((job for job in some if job.id in order and job.priority >= least), key=lambda job: order[job.id])
    if most < math.inf:
        room = _room(connection, most)
        made.behind = len(ready[room:])
        made.full += [_full(most)] if made.behind else []
        del ready[room:]
    made.trials += map(trial, ready)
    return made


def trial(job: Job) -> Trial:
    return Trial(job, job.attempt + 1)


def copies(connection: Connection, chosen: ColumnElement[bool]) -> list[Trial]:
    """Copies that jobs made of themselves and nobody has submitted yet."""
    table = schema.attempt
    waits = and_(table.c.mark == "", table.c.stage == Stage.WRITTEN.value, table.c.spawn != 0)
    rows = attempts_where(connection, waits)
    if not rows:
        return []
    theirs = schema.among(schema.pair(schema.job), {row.id for row in rows})
    jobs = {job.id: job for job in jobs_where(connection, and_(chosen, theirs))}
    wanted = [row for row in rows if row.id in jobs and jobs[row.id].state == SPAWN]
    return [Trial(jobs[row.id], row.number, row.spawn) for row in wanted if row.number == jobs[row.id].attempt]


def ending(connection: Connection) -> set[JobId]:
    """Jobs whose last attempt was cancelled and still runs."""
    table = schema.attempt
    going = and_(table.c.cancelled.is_(True), table.c.stage != Stage.OVER.value, table.c.forgotten.is_(False))
    rows = connection.execute(select(table.c.batch_id, table.c.job_index).where(going))
    return {(batch, index) for batch, index in rows}


def waiting(connection: Connection, limited: bool = False) -> Plan:
    """What may go now, and what the others wait for. ``limited``: also for what JobDir/maxjobs says."""
    found = _plan(connection, None)
    if limited and (limit := maxjobs(home())) < math.inf:
        room = _room(connection, limit)
        found.wait(found.ready[room:], _full(limit))
        del found.ready[room:]
    return found


def left(chosen: ColumnElement[bool]) -> bool:
    """Is there a job that runs, or may go, now or later by itself? One that has said that it is complete still runs
    until its program has ended."""
    table, attempts = schema.job, schema.attempt
    with home().store.reading() as connection:
        runs = select(attempts.c.batch_id, attempts.c.job_index).where(
            attempts.c.stage == Stage.BEGUN.value, attempts.c.forgotten.is_(False))  # fmt: skip
        going = select(table.c.batch_id).where(and_(chosen, schema.pair(table).in_(runs))).limit(1)
        if connection.execute(going).first() is not None:
            return True
        moving = _plan(connection, None).moving
        open_ = select(table.c.batch_id, table.c.job_index).where(and_(chosen, table.c.state.not_in(GOOD | BAD)))
        return any(tuple(row) in moving for row in connection.execute(open_))


def maxjobs(at: Home) -> float:
    """How many may be under way, as JobDir/maxjobs says. Raises BadInput."""
    try:
        return int((at.place / "maxjobs").read_text())
    except FileNotFoundError:
        return math.inf
    except ValueError as error:
        raise BadInput(f"{at.place / 'maxjobs'} is to hold one whole number, and does not: {error}") from error


# --- inside ---------------------------------------------------------------------------------------------


def _plan(connection: Connection, batches: set[int] | None) -> Plan:
    jobs, table = schema.job, schema.attempt
    cancelled = ending(connection)
    open_ = select(table.c.batch_id, table.c.job_index).where(table.c.stage != Stage.OVER.value)
    tried = {tuple(row) for row in connection.execute(open_)}
    columns = (jobs.c.batch_id, jobs.c.job_index, jobs.c.state, jobs.c.priority, jobs.c.not_before, jobs.c.after)

    def seen(condition: ColumnElement[bool]) -> list[Seen]:
        found, damaged = [], []
        for b, j, state, priority, not_before, after in connection.execute(select(*columns).where(condition)):
            try:
                if not state.isprintable():
                    raise ValueError("no state of a job")
                on = None if after is None else after_of(after)
                found.append(Seen(b, j, state, priority + 0, not_before, on, (b, j) in cancelled, (b, j) not in tried))
            except (ValueError, TypeError, AttributeError):
                damaged.append((b, j))
        if damaged:  # whoever reads them whole says so and sets them aside
            list(jobs_where(connection, schema.among(schema.pair(jobs), damaged)))
        return found

    found = seen(true() if batches is None else schema.among(jobs.c.batch_id, batches))
    others: list[Seen] = []
    if batches is not None:
        on = {id for job in found for ids in (job.after or {}).values() for id in ids if id[0] not in batches}
        others = seen(schema.among(jobs.c.batch_id, {batch for batch, _ in on})) if on else []
    choices = select(schema.batch.c.batch_id, schema.batch.c.on_failure)
    goes_on = {batch: choice == "continue" for batch, choice in connection.execute(choices)}
    return plan(found, goes_on, time.time(), others)


def _room(connection: Connection, most: float) -> int:
    """How many attempts may begin beside those that are under way: copies too, and those whose job has said that it is
    complete, or has a state of the user's."""
    table = schema.attempt
    open_ = and_(table.c.stage != Stage.OVER.value, table.c.forgotten.is_(False))
    busy = connection.scalar(select(func.count()).select_from(table).where(open_)) or 0
    return max(0, int(most) - busy)


def _full(most: float) -> str:
    return f"maxjobs ({most:.0f}) is reached"
