"""Under a scheduler: what a user asked of it, and a job's line to no ResourceController.

``--executor=slurm --ntasks=N`` makes a :class:`Site`. Each of the N is a slot of its own, named ``slurm-1`` ...; who
gets how much is the scheduler's business, so that the link never has news. Rules that the job brought are answered
here, for the nodes on which slots happen to be. Nothing is started here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.core.needs import Needs
from coordinator.embedded import EmbeddedLink, own_controller
from coordinator.errors import BadOption, NoSuchRule
from coordinator.executors.local import LocalExecutor
from coordinator.executors.named import job_executor
from coordinator.executors.site import SiteExecutor
from coordinator.job import Job
from coordinator.link import Heard
from coordinator.options import NEEDS

if TYPE_CHECKING:
    import asyncio

NO_RULE = (
    "under a scheduler no ResourceController keeps rules, and a job has those that it brings: give the script's third "
    "argument as a dictionary {{{0!r}: (path, command)}}, or make the file before"
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

        Raises BadOption, for a name that nobody knows and for a job that has resources without rules.
        """
        LocalExecutor(warm).dismiss()
        for name in sorted(job.resources.keys() - job.own_rules.keys()):
            raise BadOption(NO_RULE.format(name))
        return SiteExecutor(job_executor(self.kind), self.needs, job.files.base, job.name)

    def link(self, job: Job) -> SiteLink:
        """Raises BadRule, StateError."""
        if not job.own_rules:
            return SiteLink(self.kind, self.count)
        rules = own_controller(job, self.kind, self.count)
        return SiteLink(self.kind, self.count, EmbeddedLink(lambda: rules))


class SiteLink:
    """See :class:`~coordinator.link.Link`. ``rules``: what answers processors' questions about resources, if any.

    What is built on a node is there for all slots on it, and for whoever has one of their names later elsewhere it is
    not: so it is the node that questions are asked for, which each processor says."""

    def __init__(self, kind: str, count: int, rules: EmbeddedLink | None = None) -> None:
        self._slots = {f"{kind}-{number}": 1 for number in range(1, count + 1)}
        self._rules = rules
        #: {(slot, pid): the node}, of processors that have asked
        self._nodes: dict[tuple[str, int], str] = {}
        self._tell: Callable[[], dict[str, Any]] = dict

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
        self._tell = tell

    def step(self) -> None:
        """Who is gone holds no lock."""
        if self._rules is None:
            return
        for host, pid in self._tell()["gone"]:
            self._rules.controller.processor_gone(self._nodes.pop((host, pid), host), pid)
        self._rules.controller.tick()
        self._rules.ask_again()

    def ask(self, method: str, note: dict[str, Any], heard: Heard) -> None:
        if self._rules is None:
            heard(NoSuchRule(NO_RULE.format(note.get("name"))))
            return
        slot, pid, node = note.get("host"), note.get("pid"), note.get("node")
        if isinstance(slot, str) and isinstance(pid, int) and isinstance(node, str):
            self._nodes[slot, pid] = node
            note = {**note, "host": node}
        self._rules.ask(method, note, heard)

    def finish(self, message: str) -> None:
        """Nobody is told."""
        if self._rules is not None:
            self._rules.controller.close()
