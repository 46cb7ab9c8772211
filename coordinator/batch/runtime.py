"""What a job asks and says while it runs, and the same calls for a job from outside: get_job_info, update_job, ...

Inside a job every call finds its job from the environment. What a job says is on disk before the store is tried: if the
store cannot be written, the call says so and whoever looks next takes it up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from coordinator.batch import submission
from coordinator.batch.config import config
from coordinator.batch.deleting import set_back
from coordinator.batch.executors import JobExecutor, executor
from coordinator.batch.home import home, this_job
from coordinator.batch.selection import Batches, ids, not_in_states, of_batches, spared
from coordinator.errors import BadInput, StateError
from coordinator.executors.jobscript import BEGAN
from coordinator.jobs import changes
from coordinator.jobs.information import info_of
from coordinator.jobs.records import job_of
from coordinator.jobs.reports import Place, report, take_up
from coordinator.jobs.states import COMPLETE, INIT

UNLESS_DONE: Mapping[str, Any] = {"state": ["complete", "collected"]}


def get_job_info(BatchID: int | None = None, JobIndex: int | None = None, SetID: bool = False) -> dict[str, Any]:
    """The JobInfo of a job; by default of the one that calls. ``SetID``: it has begun, here: its state becomes run, and
    hostname and ClusterID are kept. Its ``qstat`` is what was seen last: no scheduler is asked (get_queue does).
    Raises NoSuchJob, and StateError if another attempt has taken its place."""
    place = _mine(BatchID, JobIndex)
    if SetID and place is not None:
        began = os.environ.get(BEGAN, "")
        told = {"kind": "begin", "by": list(place), "host": config.Hostname}
        return _report({**told, "began": float(began) if began.isdecimal() else time.time()})
    at = home()
    batch, index = place[:2] if place is not None else _named(BatchID, JobIndex)
    take_up(at.store, at.inbox)
    with at.store.reading() as connection:
        return info_of(connection, job_of(connection, batch, index))


def update_job(JobInfo: MutableMapping[str, Any], Release: bool = True) -> dict[str, Any]:
    """Keep what was changed in a JobInfo, which becomes what is kept. Fields that others changed meanwhile stay.

    Raises StaleChange for a field that both changed, NoSuchJob, BadInput.
    """
    place = _mine(JobInfo.get("BatchID"), JobInfo.get("JobIndex"))
    if place is not None:
        fresh = _report({"kind": "update", "by": list(place), "info": dict(JobInfo)})
    else:
        with home().store.writing() as connection:
            fresh = info_of(connection, changes.merge(connection, JobInfo))
    JobInfo.update(fresh)
    return fresh


def set_complete(
    BatchID: int | None = None,
    JobIndex: int | None = None,
    JobInfo: MutableMapping[str, Any] | None = None,
    Submit: bool = False,
    Executor: JobExecutor | str | None = None,
) -> dict[str, Any]:
    """A job is done. ``JobInfo``: keep what was changed in it, too; ``Submit``: submit what can go on now."""
    if JobInfo is not None:
        BatchID, JobIndex = JobInfo.get("BatchID"), JobInfo.get("JobIndex")
    place = _mine(BatchID, JobIndex)
    if place is not None:
        told: dict[str, Any] = {"kind": "complete", "by": list(place)}
        fresh = _report(told if JobInfo is None else {**told, "info": dict(JobInfo)})
    else:
        batch, index = _named(BatchID, JobIndex)
        with home().store.writing() as connection:
            job = job_of(connection, batch, index) if JobInfo is None else changes.merge(connection, JobInfo)
            fresh = info_of(connection, changes.change(connection, job, {"state": COMPLETE}))
    if JobInfo is not None:
        JobInfo.update(fresh)
    if Submit:
        submission.submit_jobs(Executor)
    return fresh


def set_job_field(
    BatchID: int,
    JobIndex: int | Iterable[int],
    Fields: Mapping[str, Any] | None = None,
    Unless: Mapping[str, Any] = UNLESS_DONE,
) -> int:
    """Set fields of some jobs of a batch, by default their state back to init; how many were changed.

    ``Unless``: jobs with one of these values are left as they are. An attempt that is under way at a job whose state is
    set back to init is ended.
    """
    return _set(BatchID, JobIndex, Fields, Unless)


def set_batch_field(
    BatchID: Batches, Fields: Mapping[str, Any] | None = None, Unless: Mapping[str, Any] = UNLESS_DONE
) -> int:
    """The same for all jobs of batches: a BatchID, several, or what ``get_queue(Verbose=False)`` gave.

    ``on_failure`` ('stop' or 'continue') is a field of the batch itself.
    """
    return _set(BatchID, None, Fields, Unless)


def boost_batch_priority(BatchID: Batches, Booster: float = 100) -> int:
    """Raise the priority of all jobs of batches; from 100 on, a batch is before all others."""
    with home().store.writing() as connection:
        return changes.raise_priority(connection, of_batches(BatchID), Booster)


def get_qstat(ClusterID: str | None = None, Executor: JobExecutor | str | None = None) -> dict[str, Any]:
    """What the scheduler tells of a job; by default of the one that calls. {} outside a job."""
    return executor(Executor).get_job_summary(ClusterID)


# --- inside ---------------------------------------------------------------------------------------------


def _report(told: Mapping[str, Any]) -> dict[str, Any]:
    at = home()
    return report(at.store, at.inbox, {"store": at.id, **told})


def _mine(batch: object, index: object) -> Place | None:
    """The place of the job that calls, if it is the one that is meant."""
    place = this_job()
    if place is None or (batch is None and index is None) or (batch, index) == place[:2]:
        return place
    return None


def _named(batch: object, index: object) -> tuple[int, int]:
    if batch is None or index is None:
        if batch is None and index is None:
            raise StateError("this is no job of a batch: say which one is meant, with BatchID and JobIndex")
        raise BadInput("a job is named by BatchID and JobIndex")
    return ids(batch, "BatchID")[0], ids(index, "JobIndex")[0]


def _set(B: Batches, J: object, Fields: Mapping[str, Any] | None, Unless: Mapping[str, Any]) -> int:
    fields = {"state": INIT} if Fields is None else dict(Fields)
    chosen = of_batches(B, J)
    at = home()
    on_failure = fields.pop("on_failure", None)
    if on_failure is not None:
        with at.store.writing() as connection:
            changes.let_go_on(connection, ids(B, "BatchID"), on_failure)
    if not fields:
        return 0
    condition = not_in_states(Unless)
    chosen, left = (chosen, spared(Unless)) if condition is None else (chosen & condition, None)
    if fields.get("state") == INIT:
        return set_back(chosen, fields, left)
    with at.store.writing() as connection:
        return changes.change_many(connection, chosen, fields, left)
