"""Keepers as jobs of a scheduler: elements of an array that come and go as the scheduler starts and ends them.

The Coordinator's Crew asks for keepers as it does of hosts; here one submission is made of all that were asked for in
one turn. What is submitted is on disk first, in ``NAME.site/MARK``, with the orders of each keeper in a file that only
the user can read. Commands of the scheduler run in a thread of their own; everything is decided on the Coordinator's
loop. It never speaks to a keeper: that one finds the Coordinator by its orders. That it ended is known by its exit file
a second later; the scheduler, which is asked each half minute, tells of those that were ended and left none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import coordinator
from coordinator import paths
from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status, mark_of
from coordinator.errors import BadInput, CoordinatorError, SchedulerError, SubmitUnclear
from coordinator.executors import exits
from coordinator.executors.base import Started
from coordinator.executors.jobexecutor import JobExecutor
from coordinator.executors.jobscript import Element
from coordinator.executors.local import package_path
from coordinator.logs import tell_of_end

log = logging.getLogger("coordinator.site")

#: seconds before the end of a keeper's time at which its Processors leave, and at which what still runs is ended; at
#: most a fourth and a tenth of the time
LEAVE_S, KILL_S = 60.0, 15.0
#: most elements of one submission where the scheduler does not say
USUAL_ARRAY = 1000


@dataclass(eq=False)
class Keeper:
    """One that was asked for. ``native``, ``index``: its element, once it was submitted; ``killed``: its exit file says
    that a signal ended it, and its scheduler is still to be asked why."""

    host: str
    orders: dict[str, Any]
    failed: Callable[[str], None]
    started: Started
    intent: Intent | None = None
    native: str | None = None
    index: int = 0
    ran: bool = False
    killed: Status | None = None
    end: str | None = None


class SiteExecutor:
    """``jobs``: the scheduler; ``needs``: of each keeper; ``base``: path without ending of the job's files."""

    def __init__(self, jobs: JobExecutor, needs: Needs, base: str, name: str) -> None:
        self._jobs, self._needs, self._name = jobs, needs, name
        self._place = f"{os.path.abspath(base)}.site"
        #: one for commands, of which there is one at a time, and one for directories
        self._pool = ThreadPoolExecutor(2, "scheduler")
        self._wanted: list[Keeper] = []
        self._keepers: list[Keeper] = []
        self._cancels: list[Keeper] = []
        self._directories: list[str] = []
        #: nobody knows whether what lies there was submitted
        self._unclear: set[str] = set()
        self._cleared = False
        self._flight: Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._said = ""

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the first start."""
        self._loop = loop
        for task, words in (
            (self._attend(), "nobody looks after the scheduler any more"),
            (self._look_for_exits(), "nobody looks for the ends of keepers any more"),
        ):
            self._tasks.append(loop.create_task(task))
            self._tasks[-1].add_done_callback(partial(tell_of_end, log, words))
        if os.path.isdir(self._place):
            self._news.set()  # of an earlier life: what waits of it is not left to begin meanwhile

    # --- what the Crew asks -----------------------------------------------------------------------------

    def start(
        self, host: str, options: dict[str, Any], orders: dict[str, Any], failed: Callable[[str], None]
    ) -> Started:
        # The end of a keeper is told by a file or its scheduler; who waits for it waits at this descriptor.
        started = Started(0, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), under_way=True)
        self._wanted.append(Keeper(host, orders, failed, started))
        self._news.set()
        return started

    def abandon(self, started: Started) -> None:
        keeper = next((k for k in (*self._wanted, *self._keepers) if k.started is started and k.end is None), None)
        if keeper is None:
            return
        if keeper in self._wanted:
            self._wanted.remove(keeper)
        else:
            self._cancels.append(keeper)
            self._news.set()
        keeper.end = "it was not needed any more"
        self._not_begun(keeper)

    def ended(self, started: Started) -> str:
        os.close(started.pidfd)
        keeper = next((keeper for keeper in self._keepers if keeper.started is started), None)
        if keeper is None or keeper.end is None:
            return "it was not submitted"
        self._keepers.remove(keeper)
        return keeper.end

    def look_ahead(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """Whether its scheduler is there is seen with the first submission."""

    def sweep(self, pids: list[int]) -> None:
        """They are on other machines, and end with their keeper's job."""

    def dismiss(self) -> None:
        """The job is over: what still waits in the queue is of no use."""
        if self._tasks and self._loop is not None:
            for task in self._tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(self._tasks))
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._flight is not None and self._flight.done() and not self._flight.cancelled():
            for submission in self._flight.result():
                submission.settle()
        try:
            if not self._cleared:  # there was no time for it
                self._cancel_leftovers(State.WAITS, State.RUNS)
            self._jobs.cancel(_places([*(k for k in self._keepers if k.end is None), *self._cancels]))
        except SchedulerError as error:
            log.warning("keepers not cancelled executor=%s: %s", self._jobs.name, error.message)
            return
        for directory in self._directories:
            # Nobody needs the orders any more, in which there is a token, and no later life has to look here.
            if directory in self._unclear:
                continue
            for name in os.listdir(directory):
                if name == "intent" or name.startswith("orders."):
                    os.unlink(os.path.join(directory, name))

    # --- on the loop ------------------------------------------------------------------------------------

    async def _attend(self) -> None:
        assert self._loop is not None
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._jobs.poll_s)
            self._news.clear()
            try:
                if not self._cleared:
                    await self._loop.run_in_executor(self._pool, self._cancel_leftovers)
                    self._cleared = True
                await self._submit_wanted()
                await self._cancel_wanted()
                await self._look()
            except SchedulerError as error:
                self._say(error.message)

    async def _submit_wanted(self) -> None:
        assert self._loop is not None
        wanted, self._wanted = self._wanted, []
        if not wanted:
            return
        self._keepers += wanted
        self._flight = self._pool.submit(self._submit, wanted)
        submissions = await asyncio.wrap_future(self._flight, loop=self._loop)
        self._flight = None
        for submission in submissions:
            submission.settle()
            if submission.native is not None:
                words = (self._jobs.name, submission.native, len(submission.keepers))
                log.info("keepers submitted executor=%s id=%s count=%d", *words)
                for keeper in submission.keepers:
                    keeper.started.waits = _queued(self._jobs.name, submission.native)
                continue
            assert submission.error is not None
            for keeper in submission.keepers:
                self._keepers.remove(keeper)
            left = [keeper for keeper in submission.keepers if keeper.end is None]
            if submission.error.transient:
                self._say(submission.error.message)
                self._wanted += left
                continue
            for keeper in left:
                keeper.end = submission.error.message
                self._not_begun(keeper)

    async def _cancel_wanted(self) -> None:
        assert self._loop is not None
        cancels, self._cancels = self._cancels, []
        if not (places := _places(cancels)):
            return
        try:
            await self._loop.run_in_executor(self._pool, self._jobs.cancel, places)
        except SchedulerError:
            self._cancels += cancels
            raise

    async def _look_for_exits(self) -> None:
        """Who ended by itself is over at once. Of a signal the scheduler may know the reason, and has its turn first:
        its time was over, or it was cancelled."""
        assert self._loop is not None
        while True:
            await asyncio.sleep(exits.LOOK_S)
            wanted: dict[str, list[int]] = {}
            for _, intent, index, _ in self._under_way():
                wanted.setdefault(intent.directory, []).append(index)
            found = await self._loop.run_in_executor(self._pool, exits.exits_in, wanted) if wanted else {}
            for keeper, intent, index, _ in self._under_way() if found else ():
                exit = found.get((intent.directory, index))
                if exit is None:
                    continue
                if exit.signal:
                    keeper.killed = exits.status_of(exit)
                else:
                    self._over(keeper, _end_of(keeper, exits.status_of(exit)))

    def _under_way(self) -> list[tuple[Keeper, Intent, int, str]]:
        """Those that are submitted and have not ended: (keeper, submission, its number there, native id)."""
        return [
            (keeper, keeper.intent, keeper.index, keeper.native)
            for keeper in self._keepers
            if keeper.end is None and keeper.native is not None and keeper.intent is not None
        ]

    async def _look(self) -> None:
        """What became of them, by their scheduler."""
        assert self._loop is not None
        asked: dict[str, tuple[str, list[int]]] = {}
        for _, intent, index, native in self._under_way():
            asked.setdefault(native, (intent.mark, []))[1].append(index)
        if not asked:
            return
        found = await self._loop.run_in_executor(self._pool, self._jobs.poll, asked)
        for keeper, _, index, native in self._under_way():
            self._heed(keeper, found[native, index])

    def _heed(self, keeper: Keeper, status: Status) -> None:
        if status.state is State.WAITS and keeper.ran:
            self._cancels.append(keeper)  # it was put back into the queue; another one is asked for
            self._over(keeper, "its scheduler put it back into the queue")
        elif status.state is State.WAITS:
            keeper.started.waits = _queued(self._jobs.name, keeper.native, status.words)
        elif status.state is State.ENDED:
            self._over(keeper, _end_of(keeper, status))
        elif keeper.killed is not None:
            self._over(keeper, _end_of(keeper, keeper.killed))
        elif status.state is State.RUNS:
            keeper.ran = True
        elif status.state is State.UNKNOWN:
            self._say(status.words)

    def _over(self, keeper: Keeper, words: str) -> None:
        keeper.end = words
        if keeper.started.under_way:
            self._not_begun(keeper)
        else:
            os.eventfd_write(keeper.started.pidfd, 1)

    def _not_begun(self, keeper: Keeper) -> None:
        assert keeper.end is not None
        keeper.started.under_way = False
        keeper.failed(keeper.end)
        os.eventfd_write(keeper.started.pidfd, 1)  # so that nobody waits for it any more

    def _say(self, words: str) -> None:
        """Once, not each half minute."""
        if words != self._said:
            self._said = words
            log.warning("scheduler executor=%s: %s", self._jobs.name, words)

    # --- in the thread ----------------------------------------------------------------------------------

    def _submit(self, wanted: list[Keeper]) -> list[Submission]:
        try:
            most = self._jobs.largest_array()
        except SchedulerError:
            most = USUAL_ARRAY
        again: dict[str, list[Keeper]] = {}
        fresh = []
        for keeper in wanted:
            if keeper.intent is None:
                fresh.append(keeper)
            else:
                again.setdefault(keeper.intent.mark, []).append(keeper)
        made = [Submission(keepers) for keepers in again.values()]
        made += [Submission(fresh[at : at + most]) for at in range(0, len(fresh), most)]
        for submission in made:
            try:
                submission.native = self._submit_one(submission.keepers)
            except CoordinatorError as error:
                submission.error = error
                intent = submission.keepers[0].intent
                if isinstance(error, SubmitUnclear) and intent is not None:
                    self._unclear.add(intent.directory)
            except OSError as error:
                submission.error = BadInput(f"{error.filename or self._place}: {error.strerror}")
        return made

    def _submit_one(self, keepers: list[Keeper]) -> str:
        """Raises SchedulerError, BadInput, OSError."""
        intent = keepers[0].intent
        if intent is not None:  # what became of it was unclear, or it was refused for the moment
            native = self._jobs.find(intent)
            self._unclear.discard(intent.directory)
            return native if native is not None else self._jobs.submit(intent)
        mark = mark_of(int.from_bytes(os.urandom(7)))
        here = os.path.join(self._place, mark)
        os.makedirs(here, mode=0o700)
        self._directories.append(here)
        os.chmod(self._place, 0o700)
        intent = Intent(mark, self._name, here, self._needs, len(keepers))
        elements = []
        for index, keeper in enumerate(keepers, 1):
            keeper.intent, keeper.index = intent, index
            orders = _orders_file(keeper)
            paths.replace_private(orders, json.dumps(self._orders(keeper)).encode() + b"\n")
            start = 'exec "$1" -P -m coordinator.keeper <"$2"'
            argv = ["/bin/sh", "-c", start, "sh", sys.executable, orders]
            at = os.path.join(here, str(index))
            elements.append(
                Element(argv, here, at, f"{at}.out", f"{at}.err", {"PYTHONPATH": os.pathsep.join(package_path())})
            )
        paths.replace_private(os.path.join(here, "intent"), json.dumps({"mark": mark, "count": len(keepers)}).encode())
        self._jobs.prepare(intent, elements)
        return self._jobs.submit(intent)

    def _orders(self, keeper: Keeper) -> dict[str, Any]:
        orders = {**keeper.orders, "stays": True, "version": coordinator.__version__, "keeper_log": None}
        if self._jobs.here:
            orders.pop("urls")  # the other one is right on this machine
        else:
            orders |= {"remote": True, "urls": [url for url in orders["urls"] if "//*:" not in url]}
        time_s = self._needs.time_s
        if time_s is not None:
            leave_s = time_s - min(LEAVE_S, time_s / 4)
            orders |= {"leave_after_s": leave_s, "end_after_s": time_s - min(KILL_S, time_s / 10)}
        return orders

    def _cancel_leftovers(self, *states: State) -> None:
        """An earlier life was killed: what it had in the queue would be too many. What is in one of these states, if
        any is given, else what waits. Raises SchedulerAway."""
        for mark in os.listdir(self._place) if os.path.isdir(self._place) else ():
            path = os.path.join(self._place, mark, "intent")
            try:
                with open(path, encoding="ascii") as file:
                    count = int(json.load(file)["count"])
            except FileNotFoundError:
                continue  # it was over
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("leftover of an earlier life path=%s: %s", path, error)
                continue
            intent = Intent(mark, self._name, os.path.join(self._place, mark), self._needs, count)
            native = self._jobs.find(intent)
            if native is not None:
                indices = range(1, count + 1)
                found = self._jobs.poll({native: (mark, indices)})
                useless = [index for index in indices if found[native, index].state in (states or (State.WAITS,))]
                log.info("leftover of an earlier life id=%s cancelled=%d", native, len(useless))
                self._jobs.cancel([(native, index, count) for index in useless])
            os.unlink(path)
            self._directories.append(intent.directory)  # its orders are read until the job is over


@dataclass
class Submission:
    """Keepers that were submitted together, and what was answered."""

    keepers: list[Keeper]
    native: str | None = None
    error: CoordinatorError | None = None

    def settle(self) -> None:
        if self.native is not None:
            for keeper in self.keepers:
                keeper.native = self.native


def _places(keepers: Iterable[Keeper]) -> list[tuple[str, int | None, int]]:
    return [(k.native, k.index, k.intent.count) for k in keepers if k.native is not None and k.intent is not None]


def _orders_file(keeper: Keeper) -> str:
    assert keeper.intent is not None
    return os.path.join(keeper.intent.directory, f"orders.{keeper.index}")


def _queued(scheduler: str, native: str | None, why: str = "") -> str:
    return f"in the queue of {scheduler}, job {native}" + (f": {why}" if why else "")


def _end_of(keeper: Keeper, status: Status) -> str:
    """In words: what the keeper said when it could not begin, else what its scheduler says."""
    said = ""
    if keeper.intent is not None:
        path = os.path.join(keeper.intent.directory, f"{keeper.index}.out")
        with suppress(OSError, ValueError, KeyError, TypeError, IndexError), open(path, encoding="utf-8") as file:
            said = str(json.loads(file.readlines()[-1])["error"])
    how = status.words or (f"signal {status.signal}" if status.signal else f"exit status {status.code}")
    cause = status.cause.value
    return said or (how if not cause or cause in how else f"{cause}: {how}")
