"""Deleting: attempts that are ended (qdel_*), jobs that leave the store (remove_*), files that go (clean_*).

What has not begun will never run; what runs is ended with all that it started. Logs and data of users stay until they
clean them.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, update

from coordinator.batch.config import config
from coordinator.batch.executors import JobExecutor, executor, jobs_named
from coordinator.batch.home import Home, home, tell_absent
from coordinator.batch.selection import Batches, attempts_of_batches, ids, of_batches
from coordinator.errors import BadInput, NoSuchJob, NotCancelled
from coordinator.jobs import changes, events, schema
from coordinator.jobs.cancelling import cancel
from coordinator.jobs.records import Job, jobs_where
from coordinator.jobs.states import INIT, Stage
from coordinator.jobs.submitting import one_at_a_time


def qdel_job(
    BatchID: int | None = None,
    JobIndex: int | Iterable[int] | None = None,
    JobInfo: dict[str, Any] | None = None,
    Executor: JobExecutor | str | None = None,
) -> int:
    """End the attempts that are under way at some jobs, with all that they started; how many.

    Raises NotCancelled where a scheduler did not do it, with its reason.
    """
    if JobInfo is not None:
        BatchID, JobIndex = JobInfo["BatchID"], JobInfo["JobIndex"]
    if BatchID is None or JobIndex is None:
        raise BadInput("say which job is to be ended, with BatchID and JobIndex or with its JobInfo")
    executor(Executor)
    return _cancel(attempts_of_batches(BatchID, JobIndex))


def qdel_batch(BatchID: Batches, Executor: JobExecutor | str | None = None) -> int:
    """The same for all jobs of batches."""
    executor(Executor)
    tell_absent(home(), ids(BatchID, "BatchID"))
    return _cancel(attempts_of_batches(BatchID))


def remove_batch(BatchID: Batches) -> int:
    """Take batches out of the store; what is under way is ended. How many jobs. Logs and data files stay."""
    return _remove(of_batches(BatchID), attempts_of_batches(BatchID))


def remove_batch_by_state(state: str | Iterable[str]) -> int:
    """Take all batches out of the store of which every job is in that state (or in one of these)."""
    states = [state] if isinstance(state, str) else list(state)
    table = schema.job
    with home().store.reading() as connection:
        others = select(table.c.batch_id).where(table.c.state.not_in(states))
        batches = connection.scalars(select(table.c.batch_id).where(table.c.batch_id.not_in(others)).distinct()).all()
    return remove_batch(batches) if batches else 0


def clean_temp_files(dir_str: str | None = None, batch_list: Batches | None = None) -> int:
    """Remove what fits the pattern (config.TempFiles) in the directories of batches, of all by default; how many."""
    pattern = config.TempFiles if dir_str is None else dir_str
    count = 0
    for place in _directories(home(), batch_list):
        for path in glob.glob(os.path.join(glob.escape(str(place)), "**", pattern), recursive=True):
            count += _delete(path)
    return count


def clean_temp_folders(batch_list: Batches | None = None) -> int:
    """Remove the directories of batches (logs, scripts, data): of those named, else of all that were removed from this
    store; how many."""
    at = home()
    with at.store.reading() as connection:
        gone = events.removed(connection)
    named = batch_list is not None
    return sum(_delete(str(p)) for p in _directories(at, batch_list) if named or int(p.name) in gone)


def set_back(
    chosen: ColumnElement[bool], fields: Mapping[str, Any], spared: Callable[[Job], bool] | None = None
) -> int:
    """Set fields of jobs of which one is their state, back to init; how many. What is under way at them is ended, and
    what cannot be ended is said. Nobody submits one of them meanwhile."""
    at = home()
    with one_at_a_time(at.submissions):
        for reason in end_attempts(chosen, spared):
            print(f"an attempt that was under way could not be ended: {reason}")
        with at.store.writing() as connection:
            wait_no_longer(connection, chosen, spared)
            return changes.change_many(connection, chosen, fields, spared)


def wait_no_longer(
    connection: Connection, chosen: ColumnElement[bool], spared: Callable[[Job], bool] | None = None
) -> None:
    """Jobs that are in init already, and wait for their next try, may go at once: so says who sets them back."""
    table = schema.job
    pausing = jobs_where(connection, and_(chosen, table.c.state == INIT, table.c.not_before > 0))
    some = [job.id for job in pausing if spared is None or not spared(job)]
    if some:
        connection.execute(update(table).where(schema.among(schema.pair(table), some)).values(not_before=0.0))


def end_attempts(chosen: ColumnElement[bool], spared: Callable[[Job], bool] | None = None) -> list[str]:
    """End what is under way at jobs whose state is set back; why what could not be ended was not. Its reports are
    refused from then on."""
    at, table = home(), schema.attempt
    with at.store.reading() as connection:
        busy = select(table.c.batch_id, table.c.job_index).where(table.c.stage != Stage.OVER.value)
        jobs = [job.id for job in jobs_where(connection, and_(chosen, schema.pair(schema.job).in_(busy)))
                if spared is None or not spared(job)]  # fmt: skip
    return cancel(at.store, jobs_named, schema.among(schema.pair(table), jobs))[1] if jobs else []


# --- inside ---------------------------------------------------------------------------------------------


def _cancel(chosen: ColumnElement[bool]) -> int:
    at = home()
    count, words = cancel(at.store, jobs_named, chosen)
    if words:
        raise NotCancelled("; ".join(dict.fromkeys(words)))
    return count


def _remove(chosen: ColumnElement[bool], attempts: ColumnElement[bool]) -> int:
    at = home()
    with at.store.reading() as connection:
        if connection.execute(select(schema.job.c.batch_id).where(chosen).limit(1)).first() is None:
            raise NoSuchJob("there is no such batch: get_queue shows those that are there")
    _cancel(attempts)
    with at.store.writing() as connection:
        gone = changes.remove(connection, chosen)
        directories = changes.forget_submissions(connection)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    return len(gone)


def _directories(at: Home, batches: Batches | None) -> list[Path]:
    if batches is not None:
        return [at.place / str(batch) for batch in ids(batches, "BatchID") if (at.place / str(batch)).is_dir()]
    return [p for p in sorted(at.place.iterdir()) if p.name.isdecimal() and p.is_dir()] if at.place.is_dir() else []


def _delete(path: str) -> int:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    else:
        return 0
    return 1
