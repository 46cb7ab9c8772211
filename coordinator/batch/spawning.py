"""Jobs that multiply: spawn_submit, spawn_complete, spawn_resubmit, spawn_get_info.

A job that finds out how many parts its work has makes copies of itself; each runs the same script, asks get_job_info,
sees the state spawn and its SpawnID, and says spawn_complete. The one that asked is number 0. On this machine the main
process submits the copies with its next submit_jobs.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from sqlalchemy import and_, func, insert, select, update

from coordinator.batch import submission
from coordinator.batch.executors import JobExecutor, executor
from coordinator.batch.home import home, this_job
from coordinator.errors import BadInput, StateError
from coordinator.jobs import schema
from coordinator.jobs.information import cluster_id
from coordinator.jobs.records import Attempt, attempts_of, job_of, submissions_of
from coordinator.jobs.reports import Place, report, take_up
from coordinator.jobs.states import COMPLETE, LAST, REPLACED, SPAWN, Stage


def spawn_submit(
    JobInfo: MutableMapping[str, Any] | None = None, N: int = 1, Executor: JobExecutor | str | None = None
) -> dict[str, Any]:
    """Make ``N`` copies of the job that calls, and submit them. Raises StateError outside a job."""
    place, at = _inside(JobInfo), home()
    if isinstance(N, bool) or not isinstance(N, int):
        raise BadInput(f"N is the number of copies, not {N!r:.100}")
    info = report(at.store, at.inbox, {"store": at.id, "kind": "spawn", "by": list(place), "count": N})
    if JobInfo is not None:
        JobInfo.update(info)
    submission.submit_one_job(place[0], place[1], executor(Executor), Spawn=True)
    return info


def spawn_complete(JobInfo: MutableMapping[str, Any] | None = None) -> dict[str, Any]:
    """The copy that calls has done its part: the JobInfo, whose state is ``complete`` for the last of all copies, which
    finishes the job, and ``spawn`` for the others. Exactly one is told that it is the last."""
    place, at = _inside(JobInfo), home()
    return report(at.store, at.inbox, {"store": at.id, "kind": "spawn_complete", "by": list(place)})


def spawn_resubmit(
    BatchID: int,
    JobIndex: int,
    Executor: JobExecutor | str | None = None,
    SpawnCount: int | None = None,
    spawn_state: str = "submit",
) -> int:
    """Copies that ended without a word are made again and submitted, at most ``SpawnCount``; how many.

    ``spawn_state``: ``init`` leaves it to the next submit_jobs to submit them.
    """
    at, table = home(), schema.attempt
    submission.look(at)
    with at.store.writing() as connection:
        job = job_of(connection, BatchID, JobIndex)
        if job.state != SPAWN:
            raise StateError(f"job {JobIndex} of batch {BatchID} is {job.state}, not spawn: set_job_field resets it")
        mine = and_(table.c.batch_id == BatchID, table.c.job_index == JobIndex, table.c.number == job.attempt)
        over = [a for a in attempts_of(connection, BatchID, JobIndex)
                if a.number == job.attempt and a.said == "" and (a.stage is Stage.OVER or a.forgotten)]  # fmt: skip
        over = over[:SpawnCount]
        most = connection.scalar(select(func.max(table.c.spawn)).where(mine)) or 0
        for number, attempt in enumerate(over, most + 1):
            this = and_(mine, table.c.spawn == attempt.spawn)
            connection.execute(update(table).where(this).values(said=REPLACED))
            row = {"batch_id": BatchID, "job_index": JobIndex, "number": job.attempt, "spawn": number}
            connection.execute(insert(table), {**row, "stage": Stage.WRITTEN.value, "at": attempt.at})
    if spawn_state == "submit" and over:
        submission.submit_one_job(BatchID, JobIndex, executor(Executor), Spawn=True)
    return len(over)


def spawn_get_info(BatchID: int | None = None, JobIndex: int | None = None) -> list[dict[str, Any]]:
    """A dictionary for each copy of a job, by default of the one that calls: SpawnID, ClusterID, stdout, stderr,
    spawn_state (init, submit, run, complete, failed, lost or cancelled)."""
    if BatchID is None or JobIndex is None:
        BatchID, JobIndex = _inside(None)[:2]
    at = home()
    take_up(at.store, at.inbox)
    with at.store.reading() as connection:
        job = job_of(connection, BatchID, JobIndex)
        copies = [
            a for a in attempts_of(connection, BatchID, JobIndex) if a.number == job.attempt and a.said != REPLACED
        ]
        submissions = submissions_of(connection, copies)
        return [
            {"SpawnID": a.spawn, "ClusterID": cluster_id(a, submissions.get(a.mark)), "stdout": a.stdout,
             "stderr": a.stderr, "spawn_state": _state(a)}
            for a in copies
        ]  # fmt: skip


def _state(attempt: Attempt) -> str:
    if attempt.said in (COMPLETE, LAST):
        return COMPLETE
    if attempt.outcome is not None:
        return "lost" if attempt.outcome.value == "ok" else attempt.outcome.value
    if attempt.stage is Stage.BEGUN:
        return "run"
    return "submit" if attempt.mark else "init"


def _inside(JobInfo: MutableMapping[str, Any] | None) -> Place:
    place = this_job()
    if place is None:
        raise StateError("only a job multiplies itself: this is no job of a batch")
    if JobInfo is not None and (JobInfo.get("BatchID"), JobInfo.get("JobIndex")) != place[:2]:
        raise BadInput("a job multiplies itself, not another one")
    return place
