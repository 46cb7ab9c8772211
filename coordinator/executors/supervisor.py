"""The supervisor: one process of a user on a machine, which starts the jobs that wait there, from whichever shell.

    python -m coordinator.executors.supervisor SPOOL CORES MEMORY GPUS IDLE_S

:mod:`coordinator.executors.localjobs` starts it with the first job and tells it of others; it ends by itself when there
has been nothing to do for a while. It may be killed at any moment: jobs go on, what was started and what ended is in
the spool, and the next one takes over. It never reads what jobs print and never looks at what they are for.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from coordinator import daemons, paths, procs
from coordinator.core import slots
from coordinator.core.needs import Needs
from coordinator.core.slots import Room
from coordinator.core.statuses import Cause, Used
from coordinator.executors.spool import Asked, Over, Spool

log = logging.getLogger(__name__)

ID_VARIABLE, INDEX_VARIABLE = "COORDINATOR_LOCAL_ID", "COORDINATOR_LOCAL_INDEX"
#: seconds without a job after which it ends, and between a request to end and SIGKILL
IDLE_S, KILL_S = 3.0, 10.0
#: seconds that the ends of jobs are remembered
KEPT_S = 14 * 86_400.0


@dataclass
class Running:
    """A started element. ``since``: CLOCK_BOOTTIME; ``ours``: is it a child of this process, whose end we see?"""

    who: procs.ProcessIdentity
    pidfd: int
    since: float
    needs: Needs
    ours: bool
    tag: str
    cause: Cause = Cause.NONE
    kill_at: float | None = None

    @property
    def late_at(self) -> float | None:
        if self.kill_at is not None:
            return self.kill_at
        return None if self.needs.time_s is None else self.since + self.needs.time_s


class Supervisor:
    """``room``: all that jobs may use here; ``idle_s``: after which it ends."""

    def __init__(self, spool: Spool, room: Room, idle_s: float = IDLE_S) -> None:
        self._spool, self._room, self._idle_s = spool, room, idle_s
        self._asked: dict[int, Asked] = {}
        self._waiting: dict[int, list[int]] = {}
        self._running: dict[tuple[int, int], Running] = {}
        self._poll = select.poll()
        self._wake = -1

    def serve(self) -> None:
        """Until there has been nothing to do for a while. Another supervisor that ends is waited for."""
        lock = paths.open_private(self._spool.lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())  # for people
            self._listen()
            daemons.report_ready()
            self._adopt()
            self._forget_old()
            while self._turn():
                pass
        finally:
            os.close(lock)

    # --- a turn -----------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """False when it may end."""
        self._take_up()
        self._cancel()
        now = boottime()
        self._end_late(now)
        self._begin()
        busy = bool(self._running or self._waiting)
        late = [at for running in self._running.values() if (at := running.late_at) is not None]
        wait_s = max(0.0, min(late) - now) if late else (None if busy else self._idle_s)
        ready = {descriptor for descriptor, _ in self._poll.poll(None if wait_s is None else wait_s * 1000 + 1)}
        if self._wake in ready:
            with suppress(BlockingIOError):
                os.read(self._wake, 65536)
        for place, running in list(self._running.items()):
            if running.pidfd in ready:
                self._ended(place, running)
        return busy or bool(ready) or not self._may_end()

    def _may_end(self) -> bool:
        """Whoever finds nobody at the FIFO starts another supervisor; so close it, and look a last time."""
        self._poll.unregister(self._wake)
        os.close(self._wake)
        self._take_up()
        if not self._waiting and not self._spool.to_cancel():
            return True
        self._listen()
        return False

    def _listen(self) -> None:
        with suppress(FileExistsError):
            os.mkfifo(self._spool.wake, 0o600)
        # For writing, too: its end would be seen again and again while nobody writes.
        self._wake = os.open(self._spool.wake, os.O_RDWR | os.O_NONBLOCK)
        self._poll.register(self._wake, select.POLLIN)

    def _take_up(self) -> None:
        for number in self._spool.ids("asked"):
            if number in self._asked:
                continue
            asked = self._spool.asked(number)
            if asked is None:
                continue
            self._asked[number] = asked
            over = self._spool.over(number)
            left = [i for i in range(1, asked.count + 1) if i not in over and (number, i) not in self._running]
            if left:
                self._waiting[number] = left

    # --- beginning --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        room = self._room
        for running in self._running.values():
            room = room.without(running.needs)
        waiting = list(self._waiting)
        counts = slots.begin([(self._asked[n].needs, len(self._waiting[n])) for n in waiting], room)
        for number, count in zip(waiting, counts, strict=False):
            for _ in range(count):
                self._start(self._asked[number], self._waiting[number].pop(0))
            if not self._waiting[number]:
                del self._waiting[number]

    def _start(self, asked: Asked, index: int) -> None:
        tag, since = self._tag(asked.id, index), boottime()
        pid = procs.fork(partial(_job, self._spool, asked, index, tag, since, os.getpid()))
        who = procs.identity_of(pid)
        assert who is not None  # our child, and not reaped
        self._watch((asked.id, index), Running(who, os.pidfd_open(pid), since, asked.needs, True, tag))

    def _tag(self, number: int, index: int) -> str:
        return f"job.{self._spool.place}.{number}.{index}"

    def _watch(self, place: tuple[int, int], running: Running) -> None:
        self._running[place] = running
        self._poll.register(running.pidfd, select.POLLIN)

    def _adopt(self) -> None:
        """What an earlier supervisor started and nobody has seen the end of."""
        for number, index, who, since in list(self._spool.running()):
            asked = self._spool.asked(number)
            needs = Needs() if asked is None else asked.needs
            tag = self._tag(number, index)
            try:
                pidfd = procs.open_pidfd(who)
            except ProcessLookupError:
                procs.end_tagged(tag)
                self._spool.ended(number, Over(index, None))
                continue
            self._watch((number, index), Running(who, pidfd, since, needs, False, tag))

    # --- ending -----------------------------------------------------------------------------------------

    def _ended(self, place: tuple[int, int], running: Running) -> None:
        """Its exit status is that of the script, which is the job's own; whatever it left running ends with it."""
        number, index = place
        self._poll.unregister(running.pidfd)
        os.close(running.pidfd)
        del self._running[place]
        procs.kill_session(running.who.pid)
        procs.end_tagged(running.tag)
        wall_s = boottime() - running.since
        if not running.ours:
            self._spool.ended(number, Over(index, None, None, running.cause, Used(wall_s)))
            return
        _, status, usage = os.wait4(running.who.pid, 0)
        used = Used(round(wall_s, 3), round(usage.ru_utime + usage.ru_stime, 3), usage.ru_maxrss * 1024)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number_of_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self._spool.ended(number, Over(index, code, number_of_signal, running.cause, used))

    def _end_late(self, now: float) -> None:
        for place, running in self._running.items():
            if running.late_at is None or running.late_at > now:
                continue
            if running.kill_at is None:
                log.info("job %d.%d has had its time and is asked to end", *place)
                self._ask_to_end(running, Cause.TIME)
            else:
                procs.kill_session(running.who.pid)
                procs.end_tagged(running.tag)
                running.kill_at = now + KILL_S  # should it be starting processes faster than they can be ended

    def _ask_to_end(self, running: Running, cause: Cause) -> None:
        running.cause = cause
        running.kill_at = boottime() + KILL_S
        procs.kill_session(running.who.pid, signal.SIGTERM)

    def _cancel(self) -> None:
        for number, index in self._spool.to_cancel():
            waiting = self._waiting.get(number, [])
            for each in [i for i in waiting if index in (None, i)]:
                self._spool.ended(number, Over(each, None, None, Cause.CANCELLED))
                waiting.remove(each)
            if not waiting:
                self._waiting.pop(number, None)
            for (of, each), running in self._running.items():
                if of == number and index in (None, each) and running.kill_at is None:
                    self._ask_to_end(running, Cause.CANCELLED)
            self._spool.cancelled(number, index)

    def _forget_old(self) -> None:
        for number in self._spool.ids("asked"):
            if self._spool.age_s(number) < KEPT_S:
                continue  # most are young, and are read when they are taken up
            asked = self._spool.asked(number)
            if asked is not None and len(self._spool.over(number)) >= asked.count:
                self._spool.forget(number)


def _job(spool: Spool, asked: Asked, index: int, tag: str, since: float, supervisor: int) -> int:
    """In the child: write down who the job is, and become it.

    Until then it holds the supervisor's lock, as children do: the next supervisor finds what has become a job, or
    what never was one.
    """
    os.setsid()
    procs.reset_signals()
    if os.getppid() != supervisor:
        return 0  # it was killed meanwhile; the next one starts this element
    spool.begun(asked.id, index, procs.own_identity(), since)
    null = os.open(os.devnull, os.O_RDONLY)
    output = asked.output if asked.count == 1 else f"{asked.output}.{index}"
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, onto in ((null, 0), (said, 1), (said, 2)):
        os.dup2(descriptor, onto)
    os.chdir(asked.directory)
    own = {ID_VARIABLE: str(asked.id), INDEX_VARIABLE: str(index), procs.TAG: tag}
    os.execve("/bin/sh", ["/bin/sh", asked.script], {**asked.environment, **own})  # noqa: S606 - the job itself


def boottime() -> float:
    """Seconds that go on while the machine sleeps, and mean nothing after its next boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main() -> int:
    place, cores, memory, gpus, idle_s = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Ctrl-C and a closed terminal are the shell's that happened to start it, not everybody's.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Supervisor(Spool(Path(place)), Room(int(cores), int(memory), int(gpus)), float(idle_s)).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
