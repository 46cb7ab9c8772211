"""A ResourceController inside a Coordinator: the whole one of ``--local``, or the rules that a job brought itself.

Its links are what ``link`` describes, without a wire. They keep no state about tasks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from coordinator.addresses import Address
from coordinator.errors import CoordinatorError
from coordinator.job import Job
from coordinator.link import Heard, Link, RemoteLink
from coordinator.resource import ResourceController


def link_of(job: Job, rc: Address | None, host: str, slots: int) -> Link:
    """A job's line to the ResourceController at ``rc``, or, without one, to its own with ``slots`` on ``host``."""
    own = {name: rule for name, rule in job.resources.items() if rule is not None}
    if rc is not None and not own:
        return RemoteLink(rc)
    controller = ResourceController(job.name, hosts={host: float(slots)}, directory=os.path.dirname(job.files.base))
    for resource, rule in own.items():
        controller.setrule(resource, list(rule))
    return EmbeddedLink(controller) if rc is None else OwnRules(RemoteLink(rc), controller, set(own))


class EmbeddedLink:
    """The ResourceController of ``--local``: an object of this process, with this machine as its only host."""

    def __init__(self, controller: ResourceController) -> None:
        self.controller = controller
        self._tell: Callable[[], dict[str, Any]] = dict
        self._hear: Callable[[dict[str, Any]], None] = lambda _: None
        self._waiting: list[tuple[str, dict[str, Any], float, Heard]] = []
        self._told: dict[str, Any] = {}

    def first(self, told: dict[str, Any]) -> dict[str, Any] | None:
        self._told = told
        return self.controller.beat_job(told)

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[], dict[str, Any]],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        self._tell, self._hear = tell, hear

    def step(self) -> None:
        self.controller.tick()
        plan = self.controller.beat_job(self._tell())
        if plan is not None:
            self._hear(plan)
        self.ask_again()

    def ask_again(self) -> None:
        """Ask anew for everybody who waits for a resource."""
        waiting, self._waiting = self._waiting, []
        for method, note, asked, heard in waiting:
            self._try(method, note, asked, heard)

    def ask(self, method: str, note: dict[str, Any], heard: Heard) -> None:
        self._try(method, note, self.controller.clock(), heard)
        if method == "settle_rule":
            self.ask_again()

    def _try(self, method: str, note: dict[str, Any], asked: float, heard: Heard) -> None:
        late = self.controller.clock() - asked > float(note.get("wait_s", 0.0))
        try:
            if method == "await_resource":
                answer = self.controller.again(method, note, asked, late)
            else:
                answer = getattr(self.controller, method)(note)
        except CoordinatorError as error:
            heard(error)
            return
        if answer is None:
            self._waiting.append((method, note, asked, heard))
        else:
            heard(answer)

    def finish(self, message: str) -> None:
        self.controller.unregister_coordinator(self._told.get("name", ""), self._told.get("url", ""), message)
        self.controller.close()


class OwnRules:
    """A link whose job brought rules of its own: those are answered here, everything else by the link behind."""

    def __init__(self, link: Link, own: ResourceController, names: set[str]) -> None:
        self._link, self._own, self._names = link, EmbeddedLink(own), names
        self.first = link.first

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[], dict[str, Any]],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        own = self._own.controller

        def tell_both() -> dict[str, Any]:
            told = tell()
            for host, pid in told["gone"]:
                own.processor_gone(host, pid)
            return told

        self._link.start(loop, tell_both, hear)

    def step(self) -> None:
        self._own.controller.tick()
        self._own.ask_again()
        self._link.step()

    def ask(self, method: str, note: dict[str, Any], heard: Heard) -> None:
        (self._own if note.get("name") in self._names else self._link).ask(method, note, heard)

    def finish(self, message: str) -> None:
        self._link.finish(message)
        self._own.controller.close()
