"""Executors of jobs by the names that people say: ``local``, ``file``, ``slurm``, ``sge``, ``pbs``, ``torque``,
``lsf``, and ``ssh:HOST`` for a host without a scheduler.

Whoever starts jobs asks here. A dialect that another package brings is found by its entry point
``coordinator.schedulers``, whose name is the executor's and whose object is a class without arguments.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from functools import cache
from importlib import import_module, metadata

from coordinator.errors import BadOption
from coordinator.executors.dialect import Dialect
from coordinator.executors.jobexecutor import JobExecutor
from coordinator.executors.scheduler import Scheduler

LOCAL, FILE = "local", "file"
#: in front of a host's name
SSH = "ssh:"
#: {name: (module, class)} of the dialects that come with this package
DIALECTS = {
    "slurm": ("coordinator.executors.slurm", "Slurm"),
    "sge": ("coordinator.executors.sge", "Sge"),
    "pbs": ("coordinator.executors.pbs", "Pbs"),
    "torque": ("coordinator.executors.pbs", "Torque"),
    "lsf": ("coordinator.executors.lsf", "Lsf"),
}
GROUP = "coordinator.schedulers"


def names() -> list[str]:
    """All that can be named here, beside the hosts."""
    return [LOCAL, FILE, *DIALECTS, *sorted(point.name for point in metadata.entry_points(group=GROUP))]


def dialect_of(name: str) -> Dialect:
    """Raises BadOption."""
    if name in DIALECTS:
        module, kind = DIALECTS[name]
        made: Callable[[], Dialect] = getattr(import_module(module), kind)
        return made()
    for point in metadata.entry_points(group=GROUP, name=name):
        found: Callable[[], Dialect] = point.load()
        return found()
    raise BadOption(f"there is no executor {name!r}; there are {', '.join(names())}, {SSH}HOST")


def job_executor(name: str) -> JobExecutor:
    """Raises BadOption."""
    if name == LOCAL:
        from coordinator.executors.localjobs import LocalJobs

        return LocalJobs()
    if name == FILE:
        from coordinator.executors.filejobs import FileJobs

        return FileJobs()
    if name.startswith(SSH):
        from coordinator.executors.sshjobs import SshJobs

        return SshJobs(name.removeprefix(SSH))
    return Scheduler(dialect_of(name), getpass.getuser())


def element_of(name: str, native: str, index: int, count: int) -> str:
    """What the executor of that name calls an element of a job there, as people would type it."""
    dialect = _dialect_if_any(name)
    if dialect is None:
        return native if count == 1 else f"{native}.{index}"
    return dialect.element(native, index, count)


@cache  # entry points are looked for among all packages that are installed, and elements come in tens of thousands
def _dialect_if_any(name: str) -> Dialect | None:
    if name in (LOCAL, FILE) or name.startswith(SSH):
        return None
    try:
        return dialect_of(name)
    except BadOption:
        return None  # a user's own; or another package brought it, and is not here any more
