"""Jobs before they are submitted: a template of a JobInfo, scripts and data of their own, the way into the store.

Scripts of users call these; what a job says while it runs is in :mod:`.runtime`.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select, update

from coordinator import paths
from coordinator.batch import resources
from coordinator.batch.config import config
from coordinator.batch.executors import executor, name_of
from coordinator.batch.home import home
from coordinator.batch.template import filled
from coordinator.errors import BadInput
from coordinator.jobs import changes, schema
from coordinator.jobs.records import JobId

_STAMP = "%Y%m%d%H%M%S"


def get_id() -> int:
    """A BatchID: 14 digits of date and time, unique in this store; a second later where one is taken."""
    table = schema.about
    with home().store.writing() as connection:
        last = connection.scalar(select(table.c.value).where(table.c.name == "last batch"))
        id = int(time.strftime(_STAMP))
        newest = max(int(last or 0), connection.scalar(select(func.max(schema.batch.c.batch_id))) or 0)
        if newest >= id:
            id = _after(newest)
        if last is None:
            connection.execute(insert(table), {"name": "last batch", "value": str(id)})
        else:
            connection.execute(update(table).where(table.c.name == "last batch").values(value=str(id)))
    return id


def get_job_template(SetID: bool = False) -> dict[str, Any]:
    """A JobInfo with the fields that a job must have. ``SetID``: with a BatchID of its own, too."""
    info = config.job_template()
    if config.Retries:
        info["retries"] = deepcopy(dict(config.Retries))
    if SetID:
        info["BatchID"] = get_id()
    return info


def generate_script(JobInfo: MutableMapping[str, Any], Template: str | None = None) -> dict[str, Any]:
    """Write the job's own script from a template, whose fields ``{field}`` are those of the JobInfo.

    The new path is in ``JobInfo['script']``; the JobInfo is returned, too. A command line becomes a filled one.
    Raises BadInput, BadTemplate with the line, OSError.
    """
    source = Template if Template is not None else JobInfo.get("script")
    if not isinstance(source, str) or not source:
        raise BadInput("generate_script needs a template: the path of a file, or a command line, in JobInfo['script']")
    if not os.path.isfile(source):
        if Template is not None:
            raise BadInput(f"there is no template {Template}")
        JobInfo["script"] = filled(source, JobInfo)
        return dict(JobInfo)
    place = _directory(JobInfo) / "scripts"
    place.mkdir(parents=True, exist_ok=True)
    stem, ending = os.path.splitext(os.path.basename(source))
    path = place / f"{stem}_{_index(JobInfo)}{ending}"
    with open(source, encoding="utf-8", errors="surrogateescape") as file:
        text = filled(file.read(), JobInfo)
    paths.replace_private(path, text.encode("utf-8", "surrogateescape"))
    os.chmod(path, 0o700)
    JobInfo["script"] = str(path)
    return dict(JobInfo)


def generate_data(JobInfo: MutableMapping[str, Any], Data: Any, Pickle: bool = False) -> dict[str, Any]:
    """Save data for a job and put the file's path into ``JobInfo['data']``: JSON, or a pickle if asked for.

    Raises BadInput for what JSON cannot hold, OSError.
    """
    place = _directory(JobInfo)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"data_{_index(JobInfo)}.{'pkl' if Pickle else 'json'}"
    try:
        content = pickle.dumps(Data) if Pickle else json.dumps(Data).encode("ascii")
    except (TypeError, ValueError) as error:
        raise BadInput(f"the data of job {_index(JobInfo)} cannot be JSON ({error}): use Pickle=True") from error
    paths.replace_private(path, content)
    JobInfo["data"] = str(path)
    return dict(JobInfo)


def add_batch_to_queue(
    BatchID: int,
    Jobs: Iterable[MutableMapping[str, Any]],
    set_index: bool = False,
    build_script: bool = False,
    OnFailure: str | None = None,
) -> list[JobId]:
    """Put the jobs of a batch into the store; they are not submitted yet. Returns their (BatchID, JobIndex).

    ``set_index``: number them from 0, or after those that are there; ``build_script``: :func:`generate_script` for
    each; ``OnFailure``: ``stop`` or ``continue`` with the next group when some of a group failed.
    Raises BadInput, DuplicateJob, BadDependency, BadNeeds; then none of them is there.
    """
    jobs = list(Jobs)
    for job in jobs:
        if job.get("BatchID") is None:
            job["BatchID"] = BatchID
        elif job["BatchID"] != BatchID:
            raise BadInput(f"a job of batch {job['BatchID']} is given to batch {BatchID}")
    return add_job_to_queue(jobs, set_index, build_script, OnFailure)


def add_job_to_queue(
    job_list: MutableMapping[str, Any] | Iterable[MutableMapping[str, Any]],
    set_index: bool = False,
    build_script: bool = False,
    OnFailure: str | None = None,
) -> list[JobId]:
    """The same for one job, or for jobs of several batches."""
    jobs: list[MutableMapping[str, Any]] = [job_list] if isinstance(job_list, MutableMapping) else list(job_list)
    on_failure = config.OnFailure if OnFailure is None else OnFailure
    if on_failure not in ("stop", "continue"):
        raise BadInput(f"OnFailure is 'stop' or 'continue', not {on_failure!r}")
    if set_index:
        _number(jobs)
    _check_resources(jobs)
    if build_script:
        for job in jobs:
            generate_script(job)
    with home().store.writing() as connection:
        added = changes.add(connection, jobs, on_failure, os.getcwd())
        if OnFailure is not None:
            changes.let_go_on(connection, {batch for batch, _ in added}, OnFailure)
        return added


def _number(jobs: Sequence[MutableMapping[str, Any]]) -> None:
    table = schema.job
    for job in jobs:
        if not hasattr(job.get("BatchID"), "__index__"):
            raise BadInput(
                f"a job cannot be numbered in its batch, since its BatchID is {job.get('BatchID')!r:.100}: "
                f"get_job_template(SetID=True), or get_id(), gives a number"
            )
    with home().store.reading() as connection:
        last = select(table.c.batch_id, func.max(table.c.job_index)).group_by(table.c.batch_id)
        batches = {job.get("BatchID") for job in jobs}
        following = {batch: most + 1 for batch, most in connection.execute(last) if batch in batches}
    for job in jobs:
        job["JobIndex"] = following.get(job["BatchID"], 0)
        following[job["BatchID"]] = job["JobIndex"] + 1


def _check_resources(jobs: Iterable[Mapping[str, Any]]) -> None:
    """What can be seen to be wrong now is said now, not when the job is submitted. Raises BadNeeds."""
    name = name_of(executor())
    seen = set()
    for job in jobs:
        told, queue = job.get("resources") or {}, str(job.get("queue") or "")
        key = json.dumps([told, queue], sort_keys=True, default=repr)
        if key not in seen:
            seen.add(key)
            resources.read(told, queue, executor=name)


def _after(id: int) -> int:
    try:
        return int((datetime.strptime(str(id), _STAMP) + timedelta(seconds=1)).strftime(_STAMP))
    except ValueError:
        return id + 1  # a BatchID that somebody made up


def _directory(JobInfo: Mapping[str, Any]) -> Path:
    batch = JobInfo.get("BatchID")
    if isinstance(batch, bool) or not isinstance(batch, int):
        raise BadInput("the job has no BatchID yet, which is a number: get_job_template(SetID=True), or get_id()")
    return home().place / str(batch)


def _index(JobInfo: Mapping[str, Any]) -> int:
    index = JobInfo.get("JobIndex")
    if isinstance(index, bool) or not isinstance(index, int):
        raise BadInput("the job has no JobIndex yet: a number of its own in its batch, from 0")
    return index
