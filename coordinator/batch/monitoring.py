"""get_queue: the state of all jobs, as a dashboard or as a value, and what is missing.

It looks first (:mod:`coordinator.jobs.reconcile`), so that what it shows is what is there. How it is laid out for
people is in :mod:`.dashboard`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

from sqlalchemy import ColumnElement, Connection, and_, func, select

from coordinator.batch import dashboard, joblogs
from coordinator.batch.candidates import waiting
from coordinator.batch.dashboard import Overview, Queue
from coordinator.batch.deleting import set_back
from coordinator.batch.executors import JobExecutor, executor, name_of
from coordinator.batch.home import home
from coordinator.batch.selection import of_filter
from coordinator.batch.submission import reconciled
from coordinator.jobs import schema
from coordinator.jobs.states import ACTIVE, COLLECTED, COMPLETE, FAILED, GOOD, INIT, LOST, SPAWN, Stage


def get_queue(
    Verbose: bool = True,
    ResetMissing: bool = False,
    ReportMissing: bool = False,
    Display: Container[str] | None = None,
    Filter: str = "",
    Executor: JobExecutor | str | None = None,
) -> Queue | None:
    """Show the state of all jobs. ``Verbose=False``: return {BatchID: {state: JobIndices}} instead, which other calls
    take as B. ``Display``: only these states; ``Filter``: only these jobs, by conditions on BatchID, JobIndex, name,
    batch_type, state and priority. ``ReportMissing``: print the last stderr of missing jobs; ``ResetMissing``: set them
    back to init. Raises BadFilter, which shows where.
    """
    chosen = of_filter(Filter)
    found = overview(chosen, executor(Executor))
    if Display is not None:
        found.only(Display)
    if Verbose:
        dashboard.show(found)
    if ReportMissing:
        for batch, indices in found.missing.items():
            joblogs.print_log(batch, indices, "stderr")
    if ResetMissing and found.missing:
        jobs = [(batch, index) for batch, indices in found.missing.items() for index in indices]
        undone = schema.job.c.state.not_in((COMPLETE, COLLECTED))
        reset = set_back(and_(schema.among(schema.pair(schema.job), jobs), undone), {"state": INIT})
        if Verbose:
            print(f"{reset:,} missing job{'s were' if reset != 1 else ' was'} set back to init")
        else:
            found.queue = overview(chosen, executor(Executor)).queue
    return None if Verbose else found.queue


def get_sql_queue(Filter: str = "") -> list[dict[str, object]]:
    """A dictionary for each job that fits: BatchID, JobIndex, state, priority, name, batch_type."""
    jobs, batches = schema.job, schema.batch
    columns = (jobs.c.batch_id, jobs.c.job_index, jobs.c.state, jobs.c.priority, batches.c.name, batches.c.batch_type)
    names = ("BatchID", "JobIndex", "state", "priority", "name", "batch_type")
    query = select(*columns).join(batches, batches.c.batch_id == jobs.c.batch_id).where(of_filter(Filter))
    with home().store.reading() as connection:
        rows = connection.execute(query.order_by(jobs.c.batch_id, jobs.c.job_index))
        return [dict(zip(names, row, strict=True)) for row in rows]


def overview(chosen: ColumnElement[bool], by: JobExecutor) -> Overview:
    """After a look at what is there."""
    at = home()
    look = reconciled(at)
    found = Overview(executor=name_of(by), words=[*look.words, *look.damaged])
    jobs, attempts = schema.job, schema.attempt
    with at.store.reading() as connection:
        table: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        order = (jobs.c.batch_id, jobs.c.job_index)
        for batch, index, state in connection.execute(select(*order, jobs.c.state).where(chosen).order_by(*order)):
            table[batch][state].append(index)
        found.queue = {batch: dict(states) for batch, states in table.items()}
        titles = select(schema.batch.c.batch_id, schema.batch.c.name)
        found.titles = {batch: name for batch, name in connection.execute(titles) if batch in table}
        own = and_(attempts.c.batch_id == jobs.c.batch_id, attempts.c.job_index == jobs.c.job_index)
        counted = select(attempts.c.batch_id, attempts.c.job_index, func.count()).join(jobs, own)
        counted = counted.where(attempts.c.stage == Stage.BEGUN.value, chosen)
        for batch, index, count in connection.execute(counted.group_by(attempts.c.batch_id, attempts.c.job_index)):
            found.stars[batch, index] = count
        for batch, index in missing(connection, chosen):
            found.missing.setdefault(batch, []).append(index)
        for batch, indices in found.missing.items():
            found.reasons[batch] = _reasons(connection, batch, indices)
        mine = and_(schema.submission.c.executor == found.executor, attempts.c.mark == schema.submission.c.mark)
        under_way = select(func.count()).select_from(attempts).join(schema.submission, mine)
        found.busy = connection.scalar(under_way.where(attempts.c.stage != Stage.OVER.value)) or 0
        if _may_stand_still(connection, table):
            found.stuck = {batch: why for batch, why in waiting(connection).stuck.items() if batch in found.queue}
    return found


def missing(connection: Connection, chosen: ColumnElement[bool]) -> Iterable[tuple[int, int]]:
    """Jobs that somebody has to look at: see :func:`coordinator.jobs.states.missing`."""
    jobs, attempts = schema.job, schema.attempt
    columns = (jobs.c.batch_id, jobs.c.job_index)
    failed = {
        tuple(row) for row in connection.execute(select(*columns).where(chosen, jobs.c.state.in_((FAILED, LOST))))
    }
    mine = and_(attempts.c.batch_id == jobs.c.batch_id, attempts.c.job_index == jobs.c.job_index,
                attempts.c.number == jobs.c.attempt)  # fmt: skip
    gone = (attempts.c.stage == Stage.OVER.value) | attempts.c.forgotten.is_(True)
    # Of one whose submission or whose own row was damaged nothing will be heard.
    gone |= and_(attempts.c.mark != "", attempts.c.mark.not_in(select(schema.submission.c.mark)))
    silent = and_(attempts.c.said == "", gone)
    alone = and_(jobs.c.state != SPAWN, attempts.c.spawn == 0, silent)
    copies = and_(jobs.c.state == SPAWN, silent)
    none = attempts.c.number.is_(None)
    query = select(*columns).outerjoin(attempts, mine).where(chosen, jobs.c.state.in_(ACTIVE), alone | copies | none)
    return sorted(failed | {tuple(row) for row in connection.execute(query)})


def _may_stand_still(connection: Connection, batches: Iterable[int]) -> bool:
    """Can a job of these batches be held until somebody does something? No plan of 100,000 jobs is made where none can:
    one is held by another that it depends on, or by a group with a job that is not done and at which nobody is."""
    jobs, attempts = schema.job, schema.attempt

    def some(*conditions: ColumnElement[bool]) -> bool:
        theirs = select(jobs.c.batch_id).where(schema.among(jobs.c.batch_id, batches), *conditions)
        return connection.execute(theirs.limit(1)).first() is not None

    if not some(jobs.c.state == INIT):
        return False
    under_way = select(attempts.c.batch_id, attempts.c.job_index).where(attempts.c.stage != Stage.OVER.value)
    return (
        some(jobs.c.state == INIT, jobs.c.after.is_not(None))
        or some(jobs.c.state.not_in({INIT} | GOOD | ACTIVE))
        or some(jobs.c.state.in_(ACTIVE), schema.pair(jobs).not_in(under_way))
    )


def _reasons(connection: Connection, batch: int, indices: Iterable[int]) -> list[tuple[str, list[int]]]:
    """The most frequent first."""
    jobs, wanted = schema.job, set(indices)
    by_words: dict[str, list[int]] = defaultdict(list)
    for index, state, words in connection.execute(
        select(jobs.c.job_index, jobs.c.state, jobs.c.words).where(jobs.c.batch_id == batch)
    ):
        if index in wanted:
            by_words[words or (f"{state}, and its last attempt is over" if state in ACTIVE else state)].append(index)
    return sorted(by_words.items(), key=lambda each: -len(each[1]))
