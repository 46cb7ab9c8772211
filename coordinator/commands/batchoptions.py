"""What the commands of batches share: options, the look before anything is shown, and how people go on.

The files of `coordinator batch ...` (:mod:`.batch`, :mod:`.batchjobs`, :mod:`.batchsubmit`) use it; it defines no
command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from coordinator.errors import NoSuchJob, StateError

if TYPE_CHECKING:
    from coordinator.batch.executors import JobExecutor

F = TypeVar("F", bound=Callable[..., Any])

_WHERE = "coordinator.batch.where"
#: (option, what it takes, help)
_NEEDS = (
    ("--memory", "SIZE", "500M, 1gb, ..."),
    ("--time", "TIME", "04:59:00, 90m, 1.5h, ..."),
    ("--cores", "N", "Of each job."),
    ("--gpus", "N", "Of each job."),
    ("--queue", "NAME", "A queue or a partition."),
    ("--account", "NAME", "Who pays."),
)


def where_options(command: F) -> F:
    """Where the store and the files of batches are."""
    for name, key, metavar, words in (
        ("--directory", "JobDir", "PATH", "Where batches have their files (config.JobDir)."),
        ("--store", "QFile", "PATH|URL", "The store of jobs (config.QFile)."),
    ):
        command = click.option(name, metavar=metavar, expose_value=False, callback=_configured(name, key), help=words)(
            command
        )
    return command


def executor_option(command: F) -> F:
    return click.option("--executor", metavar="NAME", help="What runs jobs: local, slurm, ... (config.Executor).")(
        command
    )


def needs_options(times: bool = False) -> Callable[[F], F]:
    """What jobs need, for a keyword argument each. ``times``: what is no name may be said as ``x2``, too."""

    def decorate(command: F) -> F:
        for name, metavar, words in reversed(_NEEDS):
            shown = f"{metavar}|x2" if times and metavar != "NAME" else metavar
            command = click.option(name, metavar=shown, help=words)(command)
        return command

    return decorate


def _configured(option: str, key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            from coordinator.batch.config import config

            setattr(config, key, value)
            ctx.meta.setdefault(_WHERE, []).extend((option, value))

    return keep


def typed(*words: object) -> str:
    """The command that a person types next, for the same store."""
    import shlex

    where = click.get_current_context().meta.get(_WHERE, [])
    return shlex.join(["coordinator", "batch", *map(str, words), *where])


def looked() -> list[str]:
    """See what is there; what could not be looked at. Raises NoSuchJob where nobody has ever added a job."""
    from coordinator.batch.home import home
    from coordinator.batch.submission import reconciled

    at = home()
    if at.store.path is not None and not at.store.path.exists():
        raise NoSuchJob(f"There are no batches here: {at.store.path} is not there. `coordinator batch add` makes it.")
    found = reconciled(at)
    return [*found.words, *found.damaged]


def warn(words: list[str]) -> None:
    from coordinator.tables import visible

    for one in words:
        print(f"not known now: {visible(one)}", file=sys.stderr)


def submitter(name: str | None) -> JobExecutor:
    """Raises BadOption, and StateError inside a job of this machine, which submits nothing."""
    from coordinator.batch.executors import executor
    from coordinator.batch.home import submits_nothing

    if submits_nothing():
        raise StateError("A job of this machine submits nothing: the process that submitted it does.")
    return executor(name)
