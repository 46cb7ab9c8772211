"""Submitting jobs: submit_jobs and its kin, periodic_submitter, and what waits for what.

Which jobs may go is decided in :mod:`coordinator.jobs.due`; one pass at a time submits them. On this machine a job
submits nothing: the process that the user looks at does, or :func:`periodic_submitter`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from coordinator.batch.elements import Elements
from coordinator.batch.executors import JobExecutor, executor, jobs_named, name_of
from coordinator.batch.home import EXECUTOR, Home, home, tell_absent, this_job
from coordinator.batch.selection import Batches, ids, of_batches, of_filter
from coordinator.errors import BadInput
from coordinator.jobs import schema
from coordinator.jobs.due import Plan, Seen, plan
from coordinator.jobs.reconcile import Look, reconcile
from coordinator.jobs.records import Job, JobId, after_of, attempts_where, job_of, jobs_where
from coordinator.jobs.states import BAD, GOOD, INIT, SPAWN, Stage
from coordinator.jobs.submitting import Pass, Submitter, Trial, one_at_a_time

#: seconds between two passes of :func:`periodic_submitter`
PERIOD_S = 600.0


def submit_jobs(
    Executor: JobExecutor | str | None = None,
    MaxJobs: int | None = None,
    MinPrior: float = 0,
    ForceSubmit: bool = False,
    Filter: str = "",
) -> int:
    """Submit all jobs that may go now, by priority groups; how many.

    ``MaxJobs``: at most so many are under way then (by default what JobDir/maxjobs says, else any number);
    ``MinPrior``: only jobs of at least this priority; ``Filter``: only these, see get_queue. ``ForceSubmit`` is taken
    for old scripts: a pass that died leaves nothing here that had to be forced.
    """
    if _ignored():
        return 0
    chosen = of_filter(Filter)
    most = _most(home()) if MaxJobs is None else MaxJobs
    return _submit(executor(Executor), lambda job: job.priority >= MinPrior, chosen, most)


def submit_one_batch(
    BatchID: Batches, Executor: JobExecutor | str | None = None, SubCount: int = 0, MaxJobs: float = 1e6
) -> int:
    """The jobs of one batch (or of several) that may go now by its own groups; ``SubCount`` and how many they were."""
    if _ignored():
        return SubCount
    batches = set(ids(BatchID, "BatchID"))
    tell_absent(home(), sorted(batches))
    return SubCount + _submit(
        executor(Executor), lambda job: job.batch in batches, of_batches(BatchID), MaxJobs, batches
    )


def submit_one_job(
    BatchID: int,
    JobIndex: int | Iterable[int],
    Executor: JobExecutor | str | None = None,
    Spawn: bool = False,
    SpawnCount: int | None = None,
) -> int:
    """A job, whatever group it is in, if its state is init; how many were submitted. ``Spawn``: the copies that it
    waits for, at most ``SpawnCount``."""
    if _ignored():
        return 0
    at, chosen = home(), executor(Executor)
    look(at)
    indices = ids(JobIndex, "JobIndex")
    with at.store.reading() as connection:
        jobs = [job_of(connection, BatchID, index) for index in indices]
        copies = _copies(connection, of_batches(BatchID, indices))
        ending = _ending(connection)
    trials = copies[:SpawnCount] if Spawn else [_trial(j) for j in jobs if j.state == INIT and j.id not in ending]
    for job in jobs:
        if not Spawn and job.state != INIT:
            print(f"job {job.index} of batch {job.batch} is {job.state}: set_job_field({job.batch}, {job.index}) first")
        elif not Spawn and job.id in ending:
            print(f"job {job.index} of batch {job.batch}: its last attempt was cancelled and has not ended yet")
    return _told(_pass(at, chosen, lambda: trials), chosen)


def periodic_submitter(
    period: float = PERIOD_S, n: float = math.inf, Executor: JobExecutor | str | None = None, **choice: Any
) -> int:
    """submit_jobs again and again, every ``period`` seconds, at most ``n`` times, until no job is left that could go
    on; how many were submitted. Further arguments are those of submit_jobs. Ctrl-C ends it, and no job."""
    if _ignored():
        return 0
    count, passes, pause = 0, 0, threading.Event()
    while passes < n:
        count += submit_jobs(Executor, **choice)
        passes += 1
        if not left(of_filter(choice.get("Filter", ""))) or passes >= n:
            break
        pause.wait(period)
    return count


def dry_run(chosen: ColumnElement[bool], Executor: JobExecutor | str | None = None) -> list[Any]:
    """(command, script, lines of the table) of each submission that submit_jobs would make now. Nothing is changed."""
    at, by = home(), executor(Executor)
    with at.store.reading() as connection:
        trials = [_trial(job) for job in _ready(connection, chosen, lambda job: True, math.inf, None)]
        submitter = Submitter(at.store, at.submissions, by.jobs, name_of(by), _elements(at, by, connection, False))
    return submitter.command(trials)


def submit_where(
    by: JobExecutor,
    chosen: ColumnElement[bool],
    most: float | None = None,
    wanted: Callable[[Seen], bool] = lambda job: True,
    batches: set[int] | None = None,
) -> tuple[Pass, dict[int, str]]:
    """Submit what may go now of jobs of a condition; what was done, and {batch: why it does not go on}. It says
    nothing, and whoever calls has looked what is there."""
    at = home()
    limit = _most(at) if most is None else most
    stuck: dict[int, str] = {}
    full: list[str] = []

    def trials() -> list[Trial]:
        with at.store.reading() as connection:
            found = _copies(connection, chosen)
            jobs = _ready(connection, chosen, wanted, limit, batches, stuck, full)
        return [*found, *map(_trial, jobs)]

    result = _pass(at, by, trials)
    result.words += full
    return result, stuck


def left(chosen: ColumnElement[bool]) -> bool:
    """Is there a job that runs, or may go, now or later by itself? One that has said that it is complete still runs
    until its program has ended."""
    table, attempts = schema.job, schema.attempt
    with home().store.reading() as connection:
        runs = select(attempts.c.batch_id, attempts.c.job_index).where(
            attempts.c.stage == Stage.BEGUN.value, attempts.c.forgotten.is_(False))  # fmt: skip
        ending = select(table.c.batch_id).where(and_(chosen, schema.pair(table).in_(runs))).limit(1)
        if connection.execute(ending).first() is not None:
            return True
        moving = _plan(connection, None).moving
        open_ = select(table.c.batch_id, table.c.job_index).where(and_(chosen, table.c.state.not_in(GOOD | BAD)))
        return any(tuple(row) in moving for row in connection.execute(open_))


def look(at: Home) -> Look:
    """See what is there, and say what cannot be seen."""
    found = reconciled(at)
    for words in (*found.words, *found.damaged):
        print(words)
    return found


def reconciled(at: Home) -> Look:
    """The same, without a word."""
    return reconcile(at.store, at.inbox, jobs_named)


def waiting(connection: Connection, limited: bool = False) -> Plan:
    """What may go now, and what the others wait for. ``limited``: also for what JobDir/maxjobs says."""
    found = _plan(connection, None)
    if limited and (most := _most(home())) < math.inf:
        room = _room(connection, most)
        found.wait(found.ready[room:], _full(most))
        del found.ready[room:]
    return found


# --- inside ---------------------------------------------------------------------------------------------


def _ignored() -> bool:
    """Jobs of this machine submit nothing."""
    if this_job() is None or os.environ.get(EXECUTOR) != "local":
        return False
    print("a job of this machine submits nothing: submit_jobs or periodic_submitter in the main process does")
    return True


def _submit(
    by: JobExecutor,
    wanted: Callable[[Seen], bool],
    chosen: ColumnElement[bool],
    most: float,
    batches: set[int] | None = None,
) -> int:
    look(home())
    result, stuck = submit_where(by, chosen, most, wanted, batches)
    count = _told(result, by)
    for batch, reason in stuck.items():
        print(f"batch {batch}: {reason}")
    return count


def _pass(at: Home, by: JobExecutor, trials: Callable[[], Sequence[Trial]]) -> Pass:
    """Whoever comes while another pass is made waits for it, and finds what it left."""
    result = Pass()
    with one_at_a_time(at.submissions):
        with at.store.reading() as connection:
            make = _elements(at, by, connection)
            torn = select(schema.submission.c.executor).where(schema.submission.c.stage == "written")
            others = {name: jobs_named(name) for name in connection.scalars(torn.distinct()) if name != name_of(by)}
        for name, other in others.items():
            if other is not None:
                Submitter(at.store, at.submissions, other, name, make).settle(result)
        submitter = Submitter(at.store, at.submissions, by.jobs, name_of(by), make)
        submitter.settle(result)
        submitter.submit(trials(), result)
    return result


def _elements(at: Home, by: JobExecutor, connection: Connection, writes: bool = True) -> Elements:
    table = schema.batch
    directories = {
        row.batch_id: row.directory for row in connection.execute(select(table.c.batch_id, table.c.directory))
    }
    return Elements(at, name_of(by), directories, writes)


def _told(result: Pass, by: JobExecutor) -> int:
    for (batch, index), words in result.refused[:10]:
        print(f"job {index} of batch {batch} failed: {words}")
    if len(result.refused) > 10:
        print(f"... and {len(result.refused) - 10:,} more failed; get_queue shows them")
    for words in result.words:
        print(f"not submitted yet: {words}; the next pass tries again")
    return len(result.submitted)


def _trial(job: Job) -> Trial:
    return Trial(job, job.attempt + 1)


def _copies(connection: Connection, chosen: ColumnElement[bool]) -> list[Trial]:
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


def _ending(connection: Connection) -> set[JobId]:
    """Jobs whose last attempt was cancelled and still runs."""
    table = schema.attempt
    going = and_(table.c.cancelled.is_(True), table.c.stage != Stage.OVER.value, table.c.forgotten.is_(False))
    rows = connection.execute(select(table.c.batch_id, table.c.job_index).where(going))
    return {(batch, index) for batch, index in rows}


def _plan(connection: Connection, batches: set[int] | None) -> Plan:
    jobs, table = schema.job, schema.attempt
    ending = _ending(connection)
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
                found.append(Seen(b, j, state, priority + 0, not_before, on, (b, j) in ending, (b, j) not in tried))
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


def _ready(
    connection: Connection,
    chosen: ColumnElement[bool],
    wanted: Callable[[Seen], bool],
    most: float,
    batches: set[int] | None,
    stuck: dict[int, str] | None = None,
    full: list[str] | None = None,
) -> list[Job]:
    """In the order in which they are submitted. ``stuck``: gets why batches do not go on, ``full`` why not all go."""
    found = _plan(connection, batches)
    if stuck is not None:
        stuck.update(found.stuck)
    order = {id: at for at, id in enumerate(found.ready)}
    if not order:
        return []
    jobs = schema.job
    some = jobs_where(connection, and_(chosen, jobs.c.state == INIT))
    ready = sorted((job for job in some if job.id in order and wanted(_seen(job))), key=lambda job: order[job.id])
    if most < math.inf:
        room = _room(connection, most)
        if len(ready) > room and full is not None:
            full.append(_full(most))
        ready = ready[:room]
    return ready


def _room(connection: Connection, most: float) -> int:
    """How many attempts may begin beside those that are under way: copies too, and those whose job has said that it is
    complete, or has a state of the user's."""
    table = schema.attempt
    open_ = and_(table.c.stage != Stage.OVER.value, table.c.forgotten.is_(False))
    busy = connection.scalar(select(func.count()).select_from(table).where(open_)) or 0
    return max(0, int(most) - busy)


def _full(most: float) -> str:
    return f"maxjobs ({most:.0f}) is reached"


def _seen(job: Job) -> Seen:
    return Seen(job.batch, job.index, job.state, job.priority)


def _most(at: Home) -> float:
    try:
        return int((at.place / "maxjobs").read_text())
    except FileNotFoundError:
        return math.inf
    except ValueError as error:
        raise BadInput(f"{at.place / 'maxjobs'} is to hold one whole number, and does not: {error}") from error
