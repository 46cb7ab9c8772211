"""The JobExecutors of PARASCHUT by name: what ``Executor=`` takes in every call, and what users may subclass.

The five (and LSF) are names for the executors of :mod:`coordinator.executors`, which submit arrays, ask once for all
jobs, and find again what was torn off. A class of a user's with the old calls (``submit, delete, qstat``) is driven job
by job behind the same protocol.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator import load
from coordinator.batch.config import config
from coordinator.batch.home import EXECUTOR
from coordinator.core.slots import Room
from coordinator.core.statuses import Intent, State, Status
from coordinator.errors import BadOption, CoordinatorError, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors import jobexecutor, named
from coordinator.executors.filejobs import FileJobs
from coordinator.executors.jobexecutor import Place, script_of, write_submission
from coordinator.executors.jobscript import NATIVE_ID, Element
from coordinator.executors.localjobs import LocalJobs

#: of the script of a job that a user's own executor starts; nobody sets them, since it is one job
ID_VARIABLE, INDEX_VARIABLE = "COORDINATOR_OWN_ID", "COORDINATOR_OWN_INDEX"


class JobExecutor:
    """What starts jobs. Subclass it with ``submit``, ``delete`` and ``qstat`` for a scheduler that is not here.

    ``name``: as the store keeps it; a subclass is its own name. Jobs that were given to it are asked for where a call
    has it as ``Executor``.
    """

    name = ""
    #: seconds between two calls of :meth:`qstat`
    poll_s = 0.0

    def submit(self, JobInfo: dict[str, Any], Spawn: bool = False) -> str:
        """Start ``JobInfo['script']``, an executable file; the job's id, or 'failed'."""
        raise NotImplementedError

    def delete(self, JobInfo: dict[str, Any]) -> None:
        """End the job of ``JobInfo['ClusterID']``."""
        raise NotImplementedError

    def qstat(self) -> dict[str, list[str]]:
        """{id: [name, 'R' or 'Q']} of the jobs that run or wait."""
        raise NotImplementedError

    def get_job_id(self) -> str | None:
        """Of the job that calls; None outside one."""
        return os.environ.get(NATIVE_ID)

    def get_job_summary(self, ClusterID: str | None = None) -> dict[str, Any]:
        """What is known of a job, by default of the one that calls."""
        id = ClusterID if ClusterID is not None else self.get_job_id()
        found = self.qstat().get(str(id))
        return {"id": id, "name": found[0], "state": found[1]} if found else {"id": id}

    def isconnected(self) -> bool:
        """Can jobs be submitted from here?"""
        return True

    def shutdown(self) -> None:
        """Nothing is kept open."""

    @property
    def jobs(self) -> jobexecutor.JobExecutor:
        """As the rest of coordinator drives it."""
        return _Own(self)


class _Ours(JobExecutor):
    """One that is a name for an executor of ours."""

    def __init__(self) -> None:
        self._jobs = named.job_executor(self.name)

    @property
    def jobs(self) -> jobexecutor.JobExecutor:
        return self._jobs

    def submit(self, JobInfo: dict[str, Any], Spawn: bool = False) -> str:
        raise BadOption(f"{type(self).__name__} submits whole arrays: call submit_jobs or submit_one_job")

    def delete(self, JobInfo: dict[str, Any]) -> None:
        raise BadOption(f"{type(self).__name__} ends jobs by their mark: call qdel_job or qdel_batch")

    def qstat(self) -> dict[str, list[str]]:
        raise BadOption(f"{type(self).__name__} is asked for jobs of a batch: call get_queue")

    def get_job_summary(self, ClusterID: str | None = None) -> dict[str, Any]:
        id = ClusterID if ClusterID is not None else self.get_job_id()
        if id is None:
            return {}
        native, _, index = id.rpartition(".") if ClusterID is None else (id, "", "1")
        return {"id": id, "details": self._jobs.details(native, int(index or 1))}

    def isconnected(self) -> bool:
        try:
            self._jobs.version()
        except SchedulerError:
            return False
        return True


class PBSJobExecutor(_Ours):
    name = "pbs"


class TorqueJobExecutor(_Ours):
    name = "torque"


class SGEJobExecutor(_Ours):
    name = "sge"


class SlurmJobExecutor(_Ours):
    name = "slurm"


class LSFJobExecutor(_Ours):
    name = "lsf"


class LocalJobExecutor(_Ours):
    """This machine, ``max_workers`` cores of it. Jobs go on when the shell that submitted them is closed."""

    name = "local"

    def __init__(self, max_workers: int | None = None, submitter: object = None, verbose: bool = False) -> None:
        room = None if max_workers is None else Room(max_workers, load.memory_bytes())
        self._jobs: jobexecutor.JobExecutor = LocalJobs(room)


class FileJobExecutor(_Ours):
    """A shell script that a person runs."""

    def __init__(self, script_file: str | os.PathLike[str] = "jobs.sh") -> None:
        path = Path(os.path.abspath(script_file))
        self.name = f"file:{path}"
        self._jobs: jobexecutor.JobExecutor = FileJobs(path)


class SSHJobExecutor(_Ours):
    """A host without a scheduler, logged in to over SSH; one for each host."""

    def __init__(self, host: str) -> None:
        self.name = f"{named.SSH}{host}"
        super().__init__()


CLASSES: Mapping[str, type[JobExecutor]] = {
    kind.name: kind
    for kind in (LocalJobExecutor, SlurmJobExecutor, SGEJobExecutor, PBSJobExecutor, TorqueJobExecutor, LSFJobExecutor)
}
#: those that users made and gave to a call in this process
_given: dict[str, JobExecutor] = {}


def executor(given: JobExecutor | str | None = None) -> JobExecutor:
    """What ``Executor=`` means: an object, a name, or None for that of the configuration (in a job, for its own).

    Raises BadOption.
    """
    if isinstance(given, JobExecutor):
        if type(given).jobs is JobExecutor.jobs:
            _given[name_of(given)] = given
        return given
    name = given or os.environ.get(EXECUTOR) or config.executor_name()
    if not isinstance(name, str):
        raise BadOption(f"Executor is a JobExecutor or its name, not {name!r:.100}")
    found = named_executor(name)
    if found is None:
        raise BadOption(f"there is no executor {name!r}; there are {', '.join(named.names())}, {named.SSH}HOST")
    return found


def name_of(executor: JobExecutor) -> str:
    """As the store keeps it."""
    return executor.name or type(executor).__name__


def named_executor(name: str) -> JobExecutor | None:
    """By the name that the store has; None for a user's own that no call in this process was given."""
    if name in _given:
        return _given[name]
    if name in CLASSES:
        return CLASSES[name]()
    if name == "file" or name.startswith("file:"):
        return FileJobExecutor(name.partition(":")[2] or "jobs.sh")
    if name.startswith(named.SSH):
        return SSHJobExecutor(name.removeprefix(named.SSH))
    if name in named.names():
        kind = type(f"{name.title()}JobExecutor", (_Ours,), {"name": name})
        found: JobExecutor = kind()
        return found
    return None


def jobs_named(name: str) -> jobexecutor.JobExecutor | None:
    """The same, as the reconciler asks it."""
    found = named_executor(name)
    return None if found is None else found.jobs


class _Own:
    """A user's JobExecutor behind our protocol: one job at a time, and its queue is all that is known."""

    here = False

    def __init__(self, own: JobExecutor) -> None:
        self._own = own
        self.poll_s = own.poll_s

    @property
    def name(self) -> str:
        return name_of(self._own)

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        write_submission(intent, elements, (ID_VARIABLE,), (INDEX_VARIABLE,))
        os.chmod(script_of(intent), 0o700)
        return [script_of(intent)]

    def submit(self, intent: Intent) -> str:
        needs = intent.needs
        info = {"name": intent.name, "script": script_of(intent), "queue": needs.queue, "resources": needs.told()}
        try:
            id = self._own.submit(info, Spawn=False)
        except CoordinatorError:
            raise
        except Exception as error:  # it is the user's code, which may raise anything
            raise SubmitUnclear(
                f"{self._failed('submit', error)}: whether it took {intent.name} is not known"
            ) from error
        if not id or id == "failed":
            raise SubmitRefused(f"{self.name} did not take {intent.name}")
        return str(id)

    def find(self, intent: Intent) -> str | None:
        """It knows no marks. Given twice, the script runs once."""
        return None

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        try:
            queue = {native: told[1] for native, told in self._own.qstat().items()}
        except Exception as error:  # noqa: BLE001 - it is the user's code, which may raise and return anything
            unknown = Status(State.UNKNOWN, words=self._failed("qstat", error))
            return {(native, index): unknown for native, (_, indices) in asked.items() for index in indices}
        found = {}
        for native, (_, indices) in asked.items():
            there = queue.get(native)
            status = Status(State.UNKNOWN, words=f"{self.name} does not list it", forgotten=True)
            if there is not None:
                status = Status(State.RUNS if there == "R" else State.WAITS)
            found.update({(native, index): status for index in indices})
        return found

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        for native, _, _ in places:
            try:
                self._own.delete({"ClusterID": native})
            except CoordinatorError:
                raise
            except Exception as error:  # it is the user's code, which may raise anything
                raise SchedulerError(self._failed("delete", error)) from error

    def _failed(self, call: str, error: Exception) -> str:
        return f"{self.name}.{call} failed ({type(error).__name__}: {error})"

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        return "\n".join(f"{name} {value}" for name, value in self._own.get_job_summary(native).items())

    def largest_array(self) -> int:
        return 1

    def version(self) -> str:
        return f"{self.name} on {socket.gethostname()}"
