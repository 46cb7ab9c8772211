"""The JobInfo of a job as users see it: its own fields, and what is known of the attempts at it.

Every call that gives people or programs a JobInfo asks here. What is derived from attempts (logs, ids, hosts, the
scheduler's last word) is never a field that somebody sets: :data:`.records.FIXED`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_

from coordinator.executors.named import element_of
from coordinator.jobs import schema
from coordinator.jobs.records import Attempt, Job, JobId, Submission, attempts_where, submissions_of


def info_of(connection: Connection, job: Job) -> dict[str, Any]:
    """``stdout``, ``stderr``: paths, one for each attempt; ``qstat``: the scheduler's last word on the newest."""
    (info,) = infos_of(connection, [job])
    return info


def infos_of(connection: Connection, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The same of many, in their order, which may name a job more than once."""
    theirs = schema.among(schema.pair(schema.attempt), {job.id for job in jobs})
    tried: dict[JobId, list[Attempt]] = defaultdict(list)
    for attempt in attempts_where(connection, and_(theirs, schema.attempt.c.mark != "")):
        tried[attempt.id].append(attempt)
    newest = {id: next((a for a in reversed(some) if a.spawn == 0), None) for id, some in tried.items()}
    submissions = submissions_of(connection, [attempt for attempt in newest.values() if attempt is not None])
    infos = []
    for job in jobs:
        last = newest.get(job.id)
        infos.append(_info(job, tried[job.id], last, submissions.get(last.mark) if last is not None else None))
    return infos


def cluster_id(attempt: Attempt, submission: Submission | None) -> str:
    """What its scheduler calls it; "" while that is not known."""
    native = attempt.native or (submission.native if submission is not None else None)
    if submission is None or native is None:
        return ""
    return element_of(submission.executor, native, attempt.element, submission.count)


def _info(job: Job, tried: Sequence[Attempt], newest: Attempt | None, submission: Submission | None) -> dict[str, Any]:
    info = job.info
    info["stdout"], info["stderr"] = [a.stdout for a in tried], [a.stderr for a in tried]
    if newest is not None:
        info["subtime"] = time.strftime("%Y%m%d%H%M%S", time.localtime(newest.at))
        info["ClusterID"] = info["submit_id"] = cluster_id(newest, submission)
        info["hostname"] = newest.host
        info["qstat"] = {name: value for name, value in _last(newest).items() if value not in (None, "")}
        info["attempts"] = len(tried)
    return info


def _last(attempt: Attempt) -> dict[str, Any]:
    return {
        "state": attempt.seen or attempt.stage.value, "outcome": attempt.outcome and attempt.outcome.value,
        "exit_code": attempt.code, "signal": attempt.signal, "cause": attempt.cause, "words": attempt.words,
        "wall_s": attempt.wall_s, "cpu_s": attempt.cpu_s, "memory": attempt.memory, "began": attempt.began,
        "ended": attempt.ended,
    }  # fmt: skip
