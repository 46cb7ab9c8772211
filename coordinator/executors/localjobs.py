"""This machine as an executor of jobs: written down in the spool, started by the user's own supervisor.

A shell may submit and close: the supervisor, which the first submission starts, keeps the slots and the ends of all
jobs of the user on this machine. Nothing here starts a job itself.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from coordinator import daemons, load, paths, procs
from coordinator.core import slots
from coordinator.core.needs import GIB
from coordinator.core.slots import Room
from coordinator.core.statuses import Intent, State, Status, name_of
from coordinator.errors import LaunchFailed, SchedulerAway, SubmitRefused, SubmitUnclear
from coordinator.executors.jobexecutor import Place, output_of, script_of, write_submission
from coordinator.executors.jobscript import Element
from coordinator.executors.local import package_path
from coordinator.executors.spool import Spool
from coordinator.executors.supervisor import ID_VARIABLE, IDLE_S, INDEX_VARIABLE

log = logging.getLogger(__name__)

#: most elements of one submission; each waits as a number
LARGEST = 100_000


class LocalJobs:
    """``room``: what jobs may use of this machine together, all of it if not said; ``spool``: of the user here;
    ``idle_s``: after which a supervisor that is started now ends."""

    name = "local"
    #: it asks nobody but a directory
    poll_s = 0.5
    here = True

    def __init__(self, room: Room | None = None, spool: Spool | None = None, idle_s: float = IDLE_S) -> None:
        self._room = room or Room(load.cores(), load.memory_bytes())
        self._idle_s = idle_s
        self._spool = spool or Spool(paths.state_directory() / "jobs" / os.uname().nodename)

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        write_submission(intent, elements, (ID_VARIABLE,), (INDEX_VARIABLE,))
        return ["/bin/sh", script_of(intent)]

    def submit(self, intent: Intent) -> str:
        reason = slots.never(self._room, intent.needs)
        if reason is not None:
            raise SubmitRefused(f"{intent.name} can never run on this machine: {reason}")
        told = {
            "mark": intent.mark,
            "name": name_of(intent),
            "script": script_of(intent),
            "output": output_of(intent),
            "directory": intent.directory,
            "count": intent.count,
            "needs": intent.needs.told(),
            "at": time.time(),
            "environment": dict(os.environ),
        }
        try:
            number = self._spool.ask(told)
        except OSError as error:
            raise SchedulerAway(f"the job cannot be written down in {self._spool.place}: {error.strerror}") from error
        try:
            self._call()
        except SchedulerAway as error:
            raise SubmitUnclear(error.message) from error  # it is written down, and may be begun by the next one
        return str(number)

    def find(self, intent: Intent) -> str | None:
        for number in reversed(self._spool.ids("asked")):
            asked = self._spool.asked(number)
            if asked is not None and asked.mark == intent.mark:
                return str(number)
        return None

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        found: dict[Place, Status] = {}
        alive = self._wake() if asked else True
        waits = False
        # An end is written down before its element runs no more, so that this look comes first: what ends between the
        # two is over, and what is in neither had not begun yet.
        begun = self._spool.begun_places()
        for native, (mark, indices) in asked.items():
            number = int(native)
            told = self._spool.asked(number)
            known = told is not None and told.mark == mark
            over = self._spool.over(number) if known else {}
            for index in indices:
                status = Status(State.UNKNOWN, words=f"{self._spool.place} knows nothing of it", forgotten=True)
                if index in over:
                    status = over[index].status
                elif known and (number, index) in begun:
                    status = Status(State.RUNS, host=os.uname().nodename)
                elif known:
                    status = Status(State.WAITS, words="it waits for room on this machine")
                waits = waits or status.state in (State.RUNS, State.WAITS)
                found[native, index] = status
        if waits and not alive:
            try:
                self._call()  # it was killed, and somebody has to go on
            except SchedulerAway as error:
                log.warning("%s", error.message)
        return found

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        asked = False
        for native, index, _ in places:
            self._spool.ask_to_cancel(int(native), index)
            asked = True
        if asked:
            self._call()

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        asked = self._spool.asked(int(native))
        if asked is None:
            return f"job {native}: {self._spool.place} knows nothing of it\n"
        status = self.poll({native: (asked.mark, [index])})[native, index]
        lines = {
            "job": f"{native}.{index} of {asked.count}",
            "name": asked.name,
            "state": " ".join(filter(None, (status.state.value, status.words))),
            "script": asked.script,
            "needs": ", ".join(f"{name} {value}" for name, value in asked.needs.told().items()) or "nothing special",
            "asked": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(asked.at)),
        }
        return "".join(f"{name:8}{value}\n" for name, value in lines.items())

    def largest_array(self) -> int:
        return LARGEST

    def version(self) -> str:
        return f"this machine: {self._room.cores} cores, {self._room.memory / GIB:.1f} GiB"

    # --- the supervisor ---------------------------------------------------------------------------------

    def _wake(self) -> bool:
        """Tell the supervisor that there is something new. False if there is none."""
        try:
            wake = os.open(self._spool.wake, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        try:
            os.write(wake, b"w")
        except BlockingIOError:
            pass  # it has been woken more often than it has looked
        except BrokenPipeError:
            return False
        finally:
            os.close(wake)
        return True

    def _call(self) -> None:
        """Wake the supervisor, or start it. Raises SchedulerAway."""
        if self._wake():
            return
        with paths.locked(self._spool.place / "starting"):
            if self._wake():
                return
            room = self._room
            words = [str(self._spool.place), str(room.cores), str(room.memory), str(room.gpus), str(self._idle_s)]
            argv = [sys.executable, "-m", "coordinator.executors.supervisor", *words]
            # A job may submit jobs, which do not end with it.
            env = {name: value for name, value in os.environ.items() if name != procs.TAG}
            env["PYTHONPATH"] = os.pathsep.join(package_path())
            try:
                daemons.start_daemon(argv, env, self._spool.place / "supervisor.log")
            except LaunchFailed as error:
                raise SchedulerAway(f"the supervisor of local jobs cannot be started: {error.message}") from error
