"""Under a scheduler: what a user asked of it, and a job's line to no ResourceController.

``--executor=slurm --ntasks=N`` makes a :class:`Site`. Each of the N is a slot of its own, named ``slurm-1`` ...; who
gets how much is the scheduler's business, so that the link never has news. Nothing is started here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.core.needs import Needs
from coordinator.errors import BadOption, NoSuchRule
from coordinator.executors.local import LocalExecutor
from coordinator.executors.named import job_executor
from coordinator.executors.site import SiteExecutor
from coordinator.job import Job
from coordinator.link import Heard
from coordinator.options import NEEDS

if TYPE_CHECKING:
    import asyncio

NO_RESOURCES = (
    "there are no resources under a scheduler, since no ResourceController keeps rules for its nodes: run the job "
    "under one, without --executor, or make the file before"
)


@dataclass(frozen=True)
class Site:
    """``kind``: the executor's name; ``count``: most Processors; ``needs``: of each."""

    kind: str
    count: int
    needs: Needs

    @classmethod
    def of(cls, ours: Mapping[str, Any]) -> Site:
        """From the command line. Raises BadOption, BadNeeds."""
        if ours["local"] is not None:
            raise BadOption("--local and --executor exclude each other: a job has one place to run")
        told = {name: ours[name] for name in NEEDS}
        words = ours["submit_options"]
        if words:
            try:
                told["options"] = {ours["executor"]: shlex.split(words)}
            except ValueError as error:
                raise BadOption(f"--submit_options={words}: {error}") from error
        return cls(ours["executor"], ours["ntasks"], Needs.of(told))

    def executor(self, job: Job, warm: tuple[int, int] | None) -> SiteExecutor:
        """What starts keepers there. ``warm``: one of this machine that was forked beforehand, and is not needed.

        Raises BadOption, for a name that nobody knows and for a job that has resources.
        """
        LocalExecutor(warm).dismiss()
        if job.resources:
            raise BadOption(NO_RESOURCES)
        return SiteExecutor(job_executor(self.kind), self.needs, job.files.base, job.name)

    def link(self) -> SiteLink:
        return SiteLink(self.kind, self.count)


class SiteLink:
    """See :class:`~coordinator.link.Link`."""

    def __init__(self, kind: str, count: int) -> None:
        self._slots = {f"{kind}-{number}": 1 for number in range(1, count + 1)}

    def first(self, told: dict[str, Any]) -> dict[str, Any] | None:
        hosts = {host: {"maxload": 1.0} for host in self._slots}
        return {"version": 0, "slots": dict(self._slots), "hosts": hosts, "queued": None, "look": [], "retry": None}

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[], dict[str, Any]],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        """There will be no news."""

    def step(self) -> None:
        """Nobody is told."""

    def ask(self, method: str, note: dict[str, Any], heard: Heard) -> None:
        heard(NoSuchRule(NO_RESOURCES))

    def finish(self, message: str) -> None:
        """Nobody is told."""
