"""Submitting jobs: submit_jobs and its kin, periodic_submitter, a dry run.

Which jobs may go is found by :mod:`.candidates`; one pass at a time submits them. On this machine a job submits
nothing: the process that the user looks at does, or :func:`periodic_submitter`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from coordinator.batch.candidates import Candidates, candidates, copies, ending, left, maxjobs, trial
from coordinator.batch.elements import Elements
from coordinator.batch.executors import JobExecutor, executor, jobs_named, name_of
from coordinator.batch.home import Home, home, submits_nothing, tell_absent
from coordinator.batch.selection import Batches, ids, of_batches, of_filter
from coordinator.jobs import schema
from coordinator.jobs.reconcile import Look, reconcile
from coordinator.jobs.records import job_of
from coordinator.jobs.states import INIT
from coordinator.jobs.submissions import Trial
from coordinator.jobs.submitting import Pass, Plan, Submitter, one_at_a_time

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
    return _submit(executor(Executor), of_filter(Filter), MaxJobs, MinPrior)


def submit_one_batch(
    BatchID: Batches, Executor: JobExecutor | str | None = None, SubCount: int = 0, MaxJobs: float = 1e6
) -> int:
    """The jobs of one batch (or of several) that may go now by its own groups; ``SubCount`` and how many they were."""
    if _ignored():
        return SubCount
    batches = set(ids(BatchID, "BatchID"))
    tell_absent(home(), sorted(batches))
    return SubCount + _submit(executor(Executor), of_batches(BatchID), MaxJobs, batches=batches)


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
        spawned = copies(connection, of_batches(BatchID, indices))
        cancelled = ending(connection)
    trials = spawned[:SpawnCount] if Spawn else [trial(j) for j in jobs if j.state == INIT and j.id not in cancelled]
    for job in jobs:
        if not Spawn and job.state != INIT:
            print(f"job {job.index} of batch {job.batch} is {job.state}: set_job_field({job.batch}, {job.index}) first")
        elif not Spawn and job.id in cancelled:
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


def dry_run(by: JobExecutor, chosen: ColumnElement[bool], limit: float | None = None) -> tuple[Plan, Candidates]:
    """What :func:`submit_where` would do now, and what it would find. Nothing is changed."""
    at = home()
    limit = maxjobs(at) if limit is None else limit
    with at.store.reading() as connection:
        found = candidates(connection, chosen, limit)
        submitter = Submitter(at.store, at.submissions, by.jobs, name_of(by), _elements(at, by, connection, False))
    return submitter.plan(found.trials), found


def submit_where(
    by: JobExecutor,
    chosen: ColumnElement[bool],
    limit: float | None = None,
    least: float = -math.inf,
    batches: set[int] | None = None,
) -> tuple[Pass, dict[int, str]]:
    """Submit what may go now of jobs of a condition (``limit``, ``least``, ``batches``: see :func:`candidates`; by
    default what JobDir/maxjobs says); what was done, and {batch: why it does not go on}. It says nothing, and whoever
    calls has looked what is there."""
    at = home()
    limit = maxjobs(at) if limit is None else limit
    found = Candidates()

    def trials() -> list[Trial]:
        nonlocal found
        with at.store.reading() as connection:
            found = candidates(connection, chosen, limit, least, batches)
        return found.trials

    result = _pass(at, by, trials)
    result.words += found.full
    return result, found.stuck


def look(at: Home) -> Look:
    """See what is there, and say what cannot be seen."""
    found = reconciled(at)
    for words in (*found.words, *found.damaged):
        print(words)
    return found


def reconciled(at: Home) -> Look:
    """The same, without a word."""
    return reconcile(at.store, at.inbox, jobs_named)


# --- inside ---------------------------------------------------------------------------------------------


def _ignored() -> bool:
    """Jobs of this machine submit nothing."""
    if not submits_nothing():
        return False
    print("a job of this machine submits nothing: submit_jobs or periodic_submitter in the main process does")
    return True


def _submit(
    by: JobExecutor,
    chosen: ColumnElement[bool],
    limit: float | None,
    least: float = -math.inf,
    batches: set[int] | None = None,
) -> int:
    look(home())
    result, stuck = submit_where(by, chosen, limit, least, batches)
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
