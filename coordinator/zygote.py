"""The zygote: the user's script loaded once on a host, forked for each Processor.

The keeper's guard starts it, with the script, and orders Processors over a socket; it says which pid each got and how
each ended. It has one thread and holds no lock, journal or listening socket, so that forking it is safe; where the
script's imports leave threads behind, it starts the script anew for each Processor instead and says so. When the
guard is gone it ends its Processors, tells the Coordinator in its place that they are dead (on another host nobody
else can), and ends itself: no work on a host outlives its guard.
"""

from __future__ import annotations

import errno
import io
import json
import mmap
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from coordinator import paths, procs
from coordinator.errors import LaunchFailed
from coordinator.kept import KeptReport

if TYPE_CHECKING:
    import subprocess

#: how a started interpreter learns that it is a zygote or a processor: "role:descriptor:descriptor"
ROLE = "COORDINATOR_ROLE"
#: 8 bytes for each processor of a host: the position of its current task, -1 for none
BOARD_SLOTS = 4096
#: zygotes as subprocess knows them. An object that nobody holds takes the status of a child that is dead by then, and
#: the guard would take one that was killed for a script that ended by itself
_loaders: dict[int, subprocess.Popen[bytes]] = {}


class Work(NamedTuple):
    """What the user's script gave to start_client_or_server, as far as a Processor needs it."""

    client: Callable[..., Any]
    setup: Callable[..., Any] | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    setup_options: Mapping[str, Any] = MappingProxyType({})


def new_board() -> int:
    """A descriptor of memory that guard and Processors share."""
    descriptor = os.memfd_create("coordinator-board")
    os.ftruncate(descriptor, BOARD_SLOTS * 8)
    return descriptor


def open_board(descriptor: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, BOARD_SLOTS * 8)).cast("q")


def receive(channel: socket.socket, before: bytes) -> tuple[list[dict[str, Any]], bytes] | None:
    """What guard or zygote hears of the other: whole messages, lines of JSON of which the first began with ``before``,
    and the beginning of the next; None when the other is gone."""
    try:
        heard = channel.recv(65536)
    except ConnectionResetError:
        heard = b""
    if not heard:
        return None
    *lines, rest = (before + heard).split(b"\n")
    return [json.loads(line) for line in lines], rest


def start_zygote(orders: dict[str, Any], board: int) -> tuple[socket.socket, int]:
    """Load the script in an interpreter of its own; returns the channel and the pid."""
    import subprocess  # where nothing can be forked; a start that forks does not wait for it

    ours, theirs = socket.socketpair()
    env = {**os.environ, ROLE: f"zygote:{theirs.fileno()}:{board}"}
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        env.setdefault(variable, "1")  # numpy would leave threads, and what has threads cannot be forked
    child = subprocess.Popen(
        orders["argv"], env=env, cwd=orders["directory"], pass_fds=(theirs.fileno(), board), stdin=subprocess.DEVNULL
    )
    theirs.close()
    _loaders[child.pid] = child
    return ours, child.pid


def script_argv() -> list[str]:
    """The command that runs this script again, as it was typed."""
    return [sys.executable, *sys.orig_argv[-len(sys.argv) :]] if len(sys.argv) else [sys.executable]


class Zygote:
    """Serves the guard at the other end of ``channel`` until it goes away."""

    def __init__(self, channel: socket.socket, board: int, work: Work, argv: list[str]) -> None:
        self._channel, self._board, self._work, self._argv = channel, board, work, argv
        self._selector = selectors.DefaultSelector()
        self._numbers: dict[int, tuple[int, int]] = {}
        self._heard = b""
        #: how to speak for the guard if it is killed; None where its end is seen
        self._will: dict[str, Any] | None = None

    def serve(self) -> int:
        """Fork and reap until the guard is gone; the exit status."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the Coordinator's to answer
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        procs.c_library()  # each Processor needs it
        self._selector.register(self._channel, selectors.EVENT_READ, None)
        self._say({"ready": os.getpid(), "threads": procs.thread_count()})
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._reap(key.data, key.fd)
                    continue
                heard = receive(self._channel, self._heard)
                if heard is None:
                    self._orphaned()
                    return 0
                orders, self._heard = heard
                for order in orders:
                    if "will" in order:
                        self._will = order["will"]
                    else:
                        self._start(order)

    def _start(self, order: dict[str, Any]) -> None:
        number = order["number"]
        order["parent"] = os.getpid()
        try:
            pid = self._spawn(order) if procs.thread_count() > 1 else procs.fork(lambda: self._become(order))
            descriptor = procs.open_pidfd(pid)
        except (LaunchFailed, OSError) as error:
            self._say({"exited": number, "pid": 0, "how": f"could not be started: {error}"})
            return
        self._numbers[descriptor] = (number, pid)
        self._selector.register(descriptor, selectors.EVENT_READ, number)
        self._say({"started": number, "pid": pid})

    def _spawn(self, order: dict[str, Any]) -> int:
        """Start the script anew as one Processor, its orders in a pipe."""
        import subprocess

        reading, writing = os.pipe()
        try:
            os.write(writing, json.dumps(order).encode())
            env = {**os.environ, ROLE: f"processor:{reading}:{self._board}"}
            child = subprocess.Popen(self._argv, env=env, pass_fds=(reading, self._board), stdin=subprocess.DEVNULL)
        finally:
            os.close(reading)
            os.close(writing)
        return child.pid

    def _become(self, order: dict[str, Any]) -> int:
        self._channel.close()
        self._selector.close()
        for descriptor in self._numbers:
            os.close(descriptor)
        return work_as_processor(order, self._board, self._work)

    def _reap(self, number: int, descriptor: int) -> None:
        _, pid = self._numbers.pop(descriptor)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        procs.kill_session(pid)  # what its task started; before the reaping frees the number of the session
        self._say({"exited": number, "pid": pid, "how": procs.reap(pid)})

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            self._orphaned()
            os._exit(0)

    def _orphaned(self) -> None:
        """The guard is gone: nobody would see how the Processors fare, so they end."""
        for _, pid in self._numbers.values():
            procs.kill_session(pid)
        exits = [[number, pid, f"lost with its keeper ({procs.reap(pid)})"] for number, pid in self._numbers.values()]
        if self._will is not None:
            procs.end_tagged(self._will["tag"])
            execute(self._will, exits)


def execute(will: dict[str, Any], exits: list[list[Any]]) -> None:
    """Tell the Coordinator that a guard was killed and its Processors are dead, so that their tasks go to others at
    once. One that is away is told when it is back, within the grace time."""
    from coordinator.core.exchange import text_of
    from coordinator.errors import CoordinatorError, PeerLost
    from coordinator.hand import RETRY_MOST_S, now
    from coordinator.wire.client import Connection

    said = {key: will[key] for key in ("run", "keeper", "host", "pid")}
    said |= {"seq": 0, "load": os.getloadavg()[0], "processors": [], "fault": None, "threads": 1}
    said["exits"] = [[number, pid, how, -1, ""] for number, pid, how in exits]
    over = now() + will["grace_s"]
    while True:
        connection = Connection(will["url"], will["token"], timeout_s=10.0, fingerprint=will.get("fingerprint"))
        try:
            if exits:
                connection.note("beat", text_of({**said, "leaving": False}))
            connection.note("beat", text_of({**said, "exits": [], "leaving": True}))
            return
        except PeerLost:
            if now() > over:
                return
            time.sleep(RETRY_MOST_S)  # nobody can wake us: the peer is gone
        except CoordinatorError:
            return  # the run is over: nobody misses them
        finally:
            connection.close()


def work_as_processor(order: dict[str, Any], board: int, work: Work) -> int:
    """Become processor ``order['number']`` and work until there is no more; the exit status."""
    from coordinator.processor import Processor

    os.setsid()
    procs.reset_signals()
    procs.die_with_parent(order["parent"])
    log = paths.open_private(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.close(log)
    os.close(null)
    sys.stdout, sys.stderr = _printing(sys.stdout, 1), _printing(sys.stderr, 2)
    _reseed()
    os.environ[procs.TAG] = order["tag"]
    os.environ["COORDINATOR_JOB"], os.environ["COORDINATOR_PROCESSOR"] = order["name"], str(order["number"])
    processor = Processor(
        order["url"],
        logfile=order["log"],
        token=order["token"],
        run=order["run"],
        number=order["number"],
        board=open_board(board),
        slot=order["slot"],
        grace_s=order["grace_s"],
        host=order.get("host"),
        fingerprint=order.get("fingerprint"),
        shelter=KeptReport(os.path.dirname(order["log"]), order["name"], order["run"], order["number"]),
    )
    processor.max_errors_in_a_row = order.get("max_errors_in_a_row", processor.max_errors_in_a_row)
    processor.run_all(work.client, work.setup, work.setup_options, **work.options)
    return 0


class _Log(io.FileIO):
    """What is printed while the disk is full is lost, and nothing else: it is no reason for a task to fail."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return memoryview(data).nbytes


def _printing(before: TextIO, descriptor: int) -> io.TextIOWrapper:
    """sys.stdout or sys.stderr of a Processor, a line at a time."""
    raw = io.BufferedWriter(_Log(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(raw, before.encoding, before.errors, line_buffering=True)


def _reseed() -> None:
    """Forked siblings would draw the same random numbers."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
