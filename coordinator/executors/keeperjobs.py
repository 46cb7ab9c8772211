"""Keepers on their way to a scheduler: written down with their orders, submitted as arrays, and taken back.

:mod:`coordinator.executors.site` calls it in a thread, since it waits for a scheduler and for a file system that hosts
share. What is submitted is on disk first, in ``NAME.site/MARK``, with the orders of each keeper in a file that only the
user can read. Nothing here knows what becomes of a keeper that was submitted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import coordinator
from coordinator import paths
from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status, mark_of
from coordinator.errors import BadInput, CoordinatorError, SubmitUnclear
from coordinator.executors.base import Started
from coordinator.executors.jobexecutor import JobExecutor, most_elements
from coordinator.executors.jobscript import Element
from coordinator.executors.local import package_path

log = logging.getLogger("coordinator.site")

#: seconds before the end of a keeper's time at which its Processors leave, and at which what still runs is ended; at
#: most a fourth and a tenth of the time
LEAVE_S, KILL_S = 60.0, 15.0


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


class KeeperJobs:
    """``jobs``: the scheduler; ``needs``: of each keeper; ``base``: path without ending of the job's files."""

    def __init__(self, jobs: JobExecutor, needs: Needs, base: str, name: str) -> None:
        self._jobs, self._needs, self._name = jobs, needs, name
        self._place = f"{os.path.abspath(base)}.site"
        self._directories: list[str] = []
        #: nobody knows whether what lies there was submitted
        self._unclear: set[str] = set()

    @property
    def of_earlier(self) -> bool:
        """Is there anything of an earlier life?"""
        return os.path.isdir(self._place)

    def submit(self, wanted: list[Keeper]) -> list[Submission]:
        """Give them to the scheduler, in arrays as long as it allows. Who comes for the second time is looked for."""
        most = most_elements(self._jobs)
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

    def cancel_leftovers(self, *states: State) -> None:
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

    def clear(self) -> None:
        """Nobody needs the orders any more, in which there is a token, and no later life has to look here."""
        for directory in self._directories:
            if directory in self._unclear:
                continue
            for name in os.listdir(directory):
                if name == "intent" or name.startswith("orders."):
                    os.unlink(os.path.join(directory, name))

    # --- inside -----------------------------------------------------------------------------------------

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


def _orders_file(keeper: Keeper) -> str:
    assert keeper.intent is not None
    return os.path.join(keeper.intent.directory, f"orders.{keeper.index}")
