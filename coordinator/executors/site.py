"""Keepers as jobs of a scheduler: elements of an array that come and go as the scheduler starts and ends them.

The Coordinator's Crew asks for keepers as it does of hosts; here one submission is made of all that were asked for in
one turn (:mod:`.keeperjobs`). Commands of the scheduler run in a thread of their own; everything is decided on the
Coordinator's loop. It never speaks to a keeper: that one finds the Coordinator by its orders. That it ended is known by
its exit file a second later; the scheduler, which is asked each half minute, tells of those that were ended and left
none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status
from coordinator.errors import SchedulerError
from coordinator.executors import exits
from coordinator.executors.base import Started
from coordinator.executors.jobexecutor import JobExecutor
from coordinator.executors.keeperjobs import Keeper, KeeperJobs
from coordinator.logs import tell_of_end

log = logging.getLogger("coordinator.site")


class SiteExecutor:
    """``jobs``: the scheduler; ``needs``: of each keeper; ``base``: path without ending of the job's files."""

    def __init__(self, jobs: JobExecutor, needs: Needs, base: str, name: str) -> None:
        self._jobs, self._submissions = jobs, KeeperJobs(jobs, needs, base, name)
        #: one for commands, of which there is one at a time, and one for directories
        self._pool = ThreadPoolExecutor(2, "scheduler")
        self._wanted: list[Keeper] = []
        self._keepers: list[Keeper] = []
        self._cancels: list[Keeper] = []
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
        if self._submissions.of_earlier:
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
                self._submissions.cancel_leftovers(State.WAITS, State.RUNS)
            self._jobs.cancel(_places([*(k for k in self._keepers if k.end is None), *self._cancels]))
        except SchedulerError as error:
            log.warning("keepers not cancelled executor=%s: %s", self._jobs.name, error.message)
            return
        self._submissions.clear()

    # --- on the loop ------------------------------------------------------------------------------------

    async def _attend(self) -> None:
        assert self._loop is not None
        while True:
            # Not by wait_for(), which on Python 3.11 loses the end of a job that comes in the turn of such news.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._jobs.poll_s):
                    await self._news.wait()
            self._news.clear()
            try:
                if not self._cleared:
                    await self._loop.run_in_executor(self._pool, self._submissions.cancel_leftovers)
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
        self._flight = self._pool.submit(self._submissions.submit, wanted)
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
        cancels = set(self._cancels)
        if places := _places(self._cancels):
            await self._loop.run_in_executor(self._pool, self._jobs.cancel, places)
        # Not before: where that did not come to its end, they are still to be ended.
        self._cancels = [keeper for keeper in self._cancels if keeper not in cancels]

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


def _places(keepers: Iterable[Keeper]) -> list[tuple[str, int | None, int]]:
    return [(k.native, k.index, k.intent.count) for k in keepers if k.native is not None and k.intent is not None]


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
