"""The JobInfo of a job as users see it: its own fields, and what is known of the attempts at it.

Every call that gives people or programs a JobInfo asks here. What is derived from attempts (logs, ids, hosts, the
scheduler's last word) is never a field that somebody sets: :data:`.records.FIXED`.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from coordinator.executors.named import element_of
from coordinator.jobs import schema
from coordinator.jobs.records import Attempt, Job, attempts_of, submissions_where


def info_of(connection: Connection, job: Job) -> dict[str, Any]:
    """``stdout``, ``stderr``: paths, one for each attempt; ``qstat``: the scheduler's last word on the newest."""
    info = job.info
    tried = [attempt for attempt in attempts_of(connection, job.batch, job.index) if attempt.mark]
    info["stdout"], info["stderr"] = [a.stdout for a in tried], [a.stderr for a in tried]
    newest = next((a for a in reversed(tried) if a.spawn == 0), None)
    if newest is not None:
        info["subtime"] = time.strftime("%Y%m%d%H%M%S", time.localtime(newest.at))
        info["ClusterID"] = info["submit_id"] = cluster_id(connection, newest)
        info["hostname"] = newest.host
        info["qstat"] = {name: value for name, value in _last(newest).items() if value not in (None, "")}
        info["attempts"] = len(tried)
    return info


def cluster_id(connection: Connection, attempt: Attempt) -> str:
    """What its scheduler calls it; "" while that is not known."""
    found = submissions_where(connection, schema.submission.c.mark == attempt.mark)
    native = attempt.native or (found[0].native if found else None)
    return "" if native is None else element_of(found[0].executor, native, attempt.element, found[0].count)


def _last(attempt: Attempt) -> dict[str, Any]:
    return {
        "state": attempt.seen or attempt.stage.value, "outcome": attempt.outcome and attempt.outcome.value,
        "exit_code": attempt.code, "signal": attempt.signal, "cause": attempt.cause, "words": attempt.words,
        "wall_s": attempt.wall_s, "cpu_s": attempt.cpu_s, "memory": attempt.memory, "began": attempt.began,
        "ended": attempt.ended,
    }  # fmt: skip
