"""A ResourceController inside a Coordinator: the whole one of ``--local``, or the rules that a job brought itself.

Its links are what ``link`` describes, without a wire. They keep no state about tasks. A job that is alone, has no
resource and claims nothing gets the whole host, which takes no ResourceController to tell: then it is loaded when time
has passed, and never for a job that is over by then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coordinator.addresses import Address
from coordinator.errors import CoordinatorError
from coordinator.job import Job
from coordinator.link import Heard, Link, RemoteLink
from coordinator.zygote import BOARD_SLOTS

if TYPE_CHECKING:
    import asyncio

    from coordinator.resource import ResourceController

log = logging.getLogger("coordinator.resource")


def link_of(job: Job, rc: Address | None, host: str, slots: int) -> Link:
    """A job's line to the ResourceController at ``rc``, or, without one, to its own with ``slots`` on ``host``."""
    own = job.own_rules
    if rc is not None and not own:
        return RemoteLink(rc)
    if rc is None:
        # Shelves that are there already are opened at once, since what is wrong with them stops the start.
        kept = any(os.path.lexists(f"{job.files.base}.{kind}") for kind in ("rules", "rsrc", "built"))
        return EmbeddedLink(lambda: own_controller(job, host, slots), None if own or kept else (host, slots))
    return OwnRules(RemoteLink(rc), own_controller(job, host, slots), set(own))


def own_controller(job: Job, host: str, slots: int) -> ResourceController:
    """A job's own, with the rules that it brought, and what was built by them before. Raises BadRule, StateError."""
    from coordinator.resource import ResourceController

    made = ResourceController(job.name, hosts={host: float(slots)}, directory=os.path.dirname(job.files.base))
    for resource, rule in job.own_rules.items():
        made.setrule(resource, list(rule))
    return made


class EmbeddedLink:
    """The ResourceController of ``--local``: an object of this process, with this machine as its only host. ``make``
    makes it; ``whole``: the host and its slots, if a job may have the whole of it before that."""

    def __init__(self, make: Callable[[], ResourceController], whole: tuple[str, int] | None = None) -> None:
        self._make, self._whole = make, whole
        self._tell: Callable[[], dict[str, Any]] = dict
        self._hear: Callable[[dict[str, Any]], None] = lambda _: None
        self._waiting: list[tuple[str, dict[str, Any], float, Heard]] = []
        self._told: dict[str, Any] = {}

    @cached_property
    def controller(self) -> ResourceController:
        """It knows the job as soon as it is there."""
        made = self._make()
        if self._told:
            made.beat_job(self._told)
        return made

    def first(self, told: dict[str, Any]) -> dict[str, Any] | None:
        if self._whole is not None and (plan := whole_host(*self._whole, told)) is not None:
            log.info("slots %s %s", told["name"], plan["slots"])
            self._told = told
            return plan
        plan = self.controller.beat_job(told)
        self._told = told
        return plan

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
        if "controller" in self.__dict__:
            self.controller.unregister_coordinator(self._told.get("name", ""), self._told.get("url", ""), message)
            self.controller.close()


def whole_host(host: str, slots: int, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first plan of a job that is alone on that host; None where there is anything to decide, or to refuse."""
    if told["resources"] or told["demand_ncpu"] or told["ncpu_limit"] < slots or slots > BOARD_SLOTS:
        return None
    # Version 0 and no retry: the ResourceController's own first plan, which says the same, is heard later.
    hosts = {host: {"maxload": float(slots)}}
    return {"version": 0, "slots": {host: slots}, "hosts": hosts, "queued": None, "look": [], "retry": None}


class OwnRules:
    """A link whose job brought rules of its own: those are answered here, everything else by the link behind."""

    def __init__(self, link: Link, own: ResourceController, names: set[str]) -> None:
        self._link, self._own, self._names = link, EmbeddedLink(lambda: own), names
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
