"""A Coordinator's line to its ResourceController: what the job needs goes there, slots and resources come back.

The ResourceController is another process, reached over HTTP by :class:`RemoteLink`, or an object in this one
(``--local``, see ``embedded``); who uses a :class:`Link` does not know which. A job whose ResourceController is away
goes on with what it has and does not grow. The link never keeps state about tasks.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from coordinator.addresses import Address
from coordinator.core.exchange import text_of
from coordinator.errors import ControllerLost, CoordinatorError, NoSuchRule, PeerLost
from coordinator.logs import tell_of_end

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("coordinator.link")

#: seconds that the ResourceController may keep a beat without news; tries after it went away
WAIT_S, RETRY_S = 1.0, 2.0

#: questions of processors that may wait at the ResourceController at once
PATIENT = 256

#: gets the answer to a question, or the error
Heard = Callable[[dict[str, Any] | CoordinatorError], None]


class Link(Protocol):
    """What the task server needs of a ResourceController."""

    def first(self, told: dict[str, Any]) -> dict[str, Any] | None:
        """Register the job, before the loop runs. Raises ControllerLost."""

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[], dict[str, Any]],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        """Beat from now on: ``tell()`` says how the job stands, ``hear(plan)`` is called with each new plan."""

    def step(self) -> None:
        """Something changed here: tell it, and ask again what waits for an answer."""

    def ask(self, method: str, note: dict[str, Any], heard: Heard) -> None:
        """A processor's question about a resource."""

    def finish(self, message: str) -> None:
        """The job is over."""


class RemoteLink:
    """The ResourceController at that address, with its token."""

    def __init__(self, address: Address) -> None:
        from concurrent.futures import ThreadPoolExecutor  # a job without a ResourceController needs none

        self.url, self._address = address.url, address
        self._line = address.connect(WAIT_S + 30.0)  # of the beats, one after another
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._questions: set[asyncio.Task[None]] = set()
        # Those that may wait have threads of their own, so that the word that ends their waiting is never behind them.
        self._patient = ThreadPoolExecutor(PATIENT, "question")
        self._prompt = ThreadPoolExecutor(4, "word")
        self._told: dict[str, Any] = {}
        self.away: str | None = None

    def first(self, told: dict[str, Any]) -> dict[str, Any] | None:
        self._told = told
        connection = self._address.connect(10.0)
        try:
            plan: dict[str, Any] = json.loads(connection.note("beat_job", text_of({**told, "wait_s": 0.0})))
        except PeerLost as error:
            raise ControllerLost(nobody_words(self.url, error)) from error
        finally:
            connection.close()
        return plan

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[], dict[str, Any]],
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        self._loop = loop
        self._task = loop.create_task(self._beat(tell, hear))
        # Beats end with the job.
        self._task.add_done_callback(partial(tell_of_end, log, "the beats to the resource controller ended"))

    async def _beat(self, tell: Callable[[], dict[str, Any]], hear: Callable[[dict[str, Any]], None]) -> None:
        import asyncio

        missed: list[Any] = []  # deaths that were told while nobody heard them
        while True:
            self._told = tell()
            self._told["gone"] = missed = [*missed, *self._told["gone"]]
            try:
                plan = await self._note("beat_job", {**self._told, "wait_s": WAIT_S})
            except CoordinatorError as error:
                if self.away is None:
                    log.warning(
                        "resource controller away url=%s reason=%s; the job goes on and does not grow",
                        self.url,
                        error.message,
                    )
                self.away = error.message
                await asyncio.sleep(RETRY_S)  # it is gone: nothing else will tell us that it is back
                continue
            missed = []
            if self.away is not None:
                log.info("resource controller back url=%s", self.url)
                self.away = None
            hear(plan)

    async def _note(self, method: str, told: dict[str, Any]) -> dict[str, Any]:
        assert self._loop is not None
        pool = self._patient if told.get("wait_s") else self._prompt
        return await self._loop.run_in_executor(pool, self._exchange, method, told)

    def _exchange(self, method: str, told: dict[str, Any]) -> dict[str, Any]:
        if method == "beat_job":
            beaten: dict[str, Any] = json.loads(self._line.note(method, text_of(told)))
            return beaten
        connection = self._address.connect(float(told.get("wait_s", 0.0)) + 30.0)
        try:
            answer: dict[str, Any] = json.loads(connection.note(method, text_of(told)))
        finally:
            connection.close()
        return answer

    def step(self) -> None:
        pass  # the beat under way is answered within WAIT_S, and the next one tells

    def ask(self, method: str, note: dict[str, Any], heard: Heard) -> None:
        def lost(error: PeerLost) -> ControllerLost:
            return ControllerLost(
                f"the ResourceController at {self.url} cannot be asked for resources: {error.message}"
            )

        if self._loop is None:  # before the job is served there is nobody to keep waiting
            try:
                found = self._exchange(method, note)
            except PeerLost as error:
                raise lost(error) from error
            heard(found)
            return

        async def question() -> None:
            try:
                answer = await self._note(method, note)
            except PeerLost as error:
                heard(lost(error))
            except CoordinatorError as error:
                heard(error)
            else:
                heard(answer)

        task = self._loop.create_task(question())
        self._questions.add(task)
        task.add_done_callback(self._questions.discard)

    def finish(self, message: str) -> None:
        if self._task is not None:
            self._task.cancel()
        self._patient.shutdown(wait=False, cancel_futures=True)
        self._prompt.shutdown(wait=False, cancel_futures=True)
        connection = self._address.connect(5.0)
        try:
            connection.call("unregister_coordinator", self._told.get("name", ""), self._told.get("url", ""), message)
        except CoordinatorError as error:
            log.warning("not unregistered url=%s reason=%s; it notices within 30 s", self.url, error.message)
        finally:
            connection.close()


def nobody_words(url: str, error: PeerLost) -> str:
    return (
        f"no ResourceController answers at {url} ({error.message}). Start one with `coordinator --rc=NAME`, name "
        f"another with --rc_url=URL, or run on this machine alone with --local."
    )


def check_resources(link: Link, names: list[str]) -> None:
    """Every resource of a job needs a rule or a built file. Raises NoSuchRule that names the missing ones."""
    missing: list[str] = []

    def heard(answer: dict[str, Any] | CoordinatorError) -> None:
        if isinstance(answer, CoordinatorError):
            raise answer
        missing.extend(answer["missing"])

    if names:
        link.ask("missing_resources", {"names": names}, heard)
    if missing:
        raise NoSuchRule(missing_words(missing))


def missing_words(missing: list[str]) -> str:
    first = missing[0]
    return (
        f"no rule and no file for the resource{'s' if len(missing) > 1 else ''} {', '.join(missing)}: set one with "
        f"coordinator.RCMonitor().setrule({first!r}, (path, 'command that makes %s')), or give the script's third "
        f"argument as a dictionary {{{first!r}: (path, command)}}"
    )
