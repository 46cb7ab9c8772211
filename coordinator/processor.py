"""A Processor: the process that works on tasks, and what the user's function sees of it as ``server``.

The keeper forks it (or a person starts it with ``python script.py --url=...``); it pulls blocks of task IDs
through its :class:`~coordinator.hand.Hand` and runs the user's function over them, one task after another. One bad
task costs one task: an exception is reported with its traceback, and since Python ends a generator that raised, the
client function is called anew for the next ID. It imports little, because its start is what people wait for, and
never decides who works on what.
"""

from __future__ import annotations

import inspect
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import repeat
from typing import Any

from coordinator.clients import is_generator_client, name_of
from coordinator.core import ids
from coordinator.core.leases import GRACE_S
from coordinator.errors import (
    BadInput,
    CoordinatorLost,
    MissingYield,
    NotAGenerator,
    UnknownRun,
    WrongYield,
)
from coordinator.hand import REPORT_BYTES, Block, Hand, Line, Shelter
from coordinator.tracebacks import error_of, users_traceback
from coordinator.wire.client import Connection

log = logging.getLogger(__name__)

#: seconds between two looks of the lookout thread
LOOKOUT_S = 0.3
#: on the board, where else the position of the task is that was begun last
NOTHING_BEGUN = -1


class Processor:
    """Works on the tasks of one Coordinator.

    ``url``: the Coordinator's address; ``logfile``: where this process writes (only named, not opened); the other
    arguments come from the keeper, or from a test (``line``). Iterating over it gives task IDs; the usual way is
    :meth:`run_all`.
    """

    max_errors_in_a_row = 10
    max_tb = 10
    report_frequency = 600
    overload_max = 5

    def __init__(
        self,
        url: str = "http://localhost:8888",
        rc_url: str | None = None,
        logfile: str | bool = False,
        *,
        token: str | None = None,
        run: str | None = None,
        number: int | None = None,
        board: memoryview | None = None,
        slot: int = 0,
        grace_s: float = GRACE_S,
        host: str | None = None,
        fingerprint: str | None = None,
        line: Line | None = None,
        shelter: Shelter | None = None,
        **kwargs: Any,
    ) -> None:
        self.url, self.rc_url, self.logfile = url, rc_url, logfile
        # The name that the farm knows this host by, so that locks, logs and monitors name one host.
        self.host, self.pid = host or socket.gethostname(), os.getpid()
        self.user_options = kwargs
        self._token, self._fingerprint = token, fingerprint
        self._connection = Connection(url, token, timeout_s=60.0, fingerprint=fingerprint)
        if number is None or run is None:
            run, number = self._join()
        self.run, self.number = run, number
        self._board, self._slot = (_own_board(), 0) if board is None else (board, slot)
        who = {"host": self.host, "pid": self.pid, "log": logfile or "", "kept": board is not None}
        self._line = line or self._connection
        self._hand = Hand(self._line, run, number, f"{self.pid}.{time.time_ns():x}", who, grace_s, shelter)
        self._block: Block | None = None
        #: the task being worked on, from its begin until it is accepted or has failed
        self._id: Any = _NOTHING
        self._errors_in_a_row = 0
        self._stream = self._tasks()
        self._stop_lookout = threading.Event()
        #: is there a lookout thread; and is the main thread to look at the clock before the next task?
        self._lookout = self._look = False

    # --- what the user's function calls -----------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self._stream

    def __next__(self) -> Any:
        return next(self._stream)

    def next(self) -> Any:
        """The next task ID; StopIteration when there is none."""
        return next(self._stream)

    def result(self, value: Any) -> None:
        """Keep ``value`` (any JSON value, bytes or tuple) as the result of the current task.

        It is accepted together with the task, once; the last value of a task stands. Raises UnservableResult.
        """
        if self._block is None or not self._taken:
            raise BadInput("server.result() was called outside a task: call it between taking an ID and yielding it")
        self._block.result(ids.encode_result(value))
        self._weigh(self._block)

    @property
    def lease(self) -> int:
        """The number of the lease of the current task: it grows with every lease, for the user's own fencing."""
        return self._block.lease if self._block is not None else 0

    @property
    def attempt(self) -> int:
        """Which attempt of the current task this is; the first is 1."""
        return self._block.attempts.get(self._block.position, 1) if self._block is not None else 0

    def open_resource(self, resource: str, mode: str = "r") -> Any:
        """The file of ``resource`` on this host, opened; built first, by one processor of the host, if need be.

        A resource that is a directory gives an object with ``name`` and ``close()``. Raises NoSuchRule,
        BuildFailed (with the rule's own words) and OSError.
        """
        from coordinator.building import open_resource

        return open_resource(self._side_call, self.host, self.pid, resource, mode)

    def acquire_rule(self, resource: str) -> Any:
        """Lock ``resource`` on this host and get its rule, as the classic call does."""
        return self._side_connection().call("acquire_rule", self.host, self.pid, resource)

    def release_rule(self, resource: str) -> Any:
        """Unlock ``resource`` on this host."""
        return self._side_connection().call("release_rule", self.host, self.pid, resource)

    def report_success(self, task_id: Any) -> None:
        """Say that the current task is done without yielding it (for hand-written loops)."""
        self._accept(task_id)

    def report_error(self, task_id: Any) -> None:
        """Say that the current task failed with the exception being handled."""
        self._fail(sys.exc_info()[1] or MissingYield("report_error() was called without an exception being handled"))

    # --- running ------------------------------------------------------------------------------------

    def run_all(
        self,
        client: Callable[..., Any],
        setup: Callable[..., Any] | None = None,
        setup_options: Mapping[str, Any] | None = None,
        /,
        **kwargs: Any,
    ) -> str:
        """Work until there is no more to do; returns the message that this processor leaves with."""
        threading.Thread(target=self._look_out, name="lookout", daemon=True).start()
        try:
            message, setup_error = self._work(client, setup, setup_options or {}, kwargs)
            self._stop_lookout.set()
            self.exit(message, setup_error)
        except (CoordinatorLost, UnknownRun) as error:
            message = f"run_all {'coordinator lost' if isinstance(error, CoordinatorLost) else 'other run'}"
            print(f"processor {self.number}: {message}: {error.message}", flush=True)
        finally:
            self._stop_lookout.set()
        return message

    def run_interactive(self, it: Any, n: int = 1, **kwargs: Any) -> int:
        """Work on ``n`` tasks here and now, errors raised to the caller; returns how many were done.

        ``it``: a client generator function, or the generator that one returned.
        """
        threading.Thread(target=self._look_out, name="lookout", daemon=True).start()
        done = 0
        message = "run_interactive exit"
        try:
            for yielded in it(self, **kwargs) if callable(it) else it:
                self._accept(yielded)
                done += 1
                if done >= n:
                    break
        except Exception as error:
            message = "run_interactive error"
            if self._taken:
                self._fail(error)
            raise
        finally:
            self._stop_lookout.set()
            self.exit(message)
        return done

    def exit(self, message: str, setup_error: dict[str, Any] | None = None) -> None:
        """Hand in what is done, give back the rest and say goodbye."""
        self._settle_position()
        self._hand.goodbye(message, setup_error)
        self._line.close()
        print(f"processor {self.number}: {message}", flush=True)

    # --- inside -------------------------------------------------------------------------------------

    def _work(
        self,
        client: Callable[..., Any],
        setup: Callable[..., Any] | None,
        setup_options: Mapping[str, Any],
        options: dict[str, Any],
    ) -> tuple[str, dict[str, Any] | None]:
        if is_generator_client(client):
            run_once = self._generator_run(client, options)
        else:
            run_once = self._function_run(client, setup, setup_options, options)
        while True:
            self._id = _NOT_YET
            error: BaseException | None = None
            try:
                run_once()
            except (CoordinatorLost, UnknownRun):
                raise
            except (Exception, SystemExit) as raised:  # noqa: BLE001 - the user's code: what it raises is its task's
                error = raised
            if error is not None and self._taken:
                self._fail(error)
            elif error is not None:
                traceback.print_exception(error)
                if self._id is _NOT_YET:
                    return "run_all initialization error", error_of(error)
                # Else it came after a yield, between two tasks: it is no task's, and the next ID gets a new call.
            elif self._taken:
                self._fail(
                    MissingYield(
                        f"the client function returned without yielding {ids.shown(self._id)}: "
                        f"yield each ID when its work is done"
                    )
                )
            if self._errors_in_a_row >= self.max_errors_in_a_row:
                return f"run_all too many errors ({self._errors_in_a_row} in a row)", None
            if self._hand.over is not None and self._block is None:
                return "run_all done", None
            if error is None and self._id is _NOT_YET:
                early = MissingYield(
                    "the client function returned without taking a task: it must loop over the IDs that server gives, "
                    "as in `for task_id in server: ...; yield task_id`"
                )
                return "run_all initialization error", error_of(early)

    def _generator_run(self, client: Callable[..., Any], options: dict[str, Any]) -> Callable[[], None]:
        def run() -> None:
            produced = client(self, **options)
            if not isinstance(produced, Iterable):
                raise NotAGenerator(
                    f"{name_of(client)} returned {type(produced).__name__}: a client function whose first parameter is "
                    f"`server` must be a generator (it needs a `yield task_id` after the work on each ID)"
                )
            for yielded in produced:
                if yielded is self._id:
                    self._id = _NOTHING
                else:
                    self._accept(yielded)

        return run

    def _function_run(
        self,
        function: Callable[..., Any],
        setup: Callable[..., Any] | None,
        setup_options: Mapping[str, Any],
        options: dict[str, Any],
    ) -> Callable[[], None]:
        takes = set(list(inspect.signature(function).parameters)[1:])
        given = dict(options)
        if "server" in takes:
            given["server"] = self
        done: list[bool] = []

        def run() -> None:
            if setup is not None and not done:
                made = setup(self, **setup_options)
                if "setup" in takes:
                    given["setup"] = made
                done.append(True)
            work = partial(function, **given) if given else function
            for task_id in self._stream:
                value = work(task_id)
                if value is not None:
                    self.result(value)
                self._id = _NOTHING

        return run

    def _tasks(self) -> Iterator[Any]:
        """Every ID that this processor is given, across blocks. A task ends when the next one is asked for."""
        board, slot, hand = self._board, self._slot, self._hand
        clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME)  # hand.now, without a call of its own
        while True:
            block = self._block = hand.next_block()
            if block is None:
                return
            popleft, position = block.todo.popleft, block.position
            more = True
            while more:
                self._look = False
                if clock() > hand.good_until:
                    hand.confirm()
                for _ in repeat(None, hand.in_a_look if self._lookout else 1):
                    try:
                        self._id = task_id = popleft()
                    except IndexError:
                        more = False
                        break
                    board[slot] = position
                    yield task_id
                    if self._id is task_id:
                        self._fail(
                            MissingYield(
                                f"the client function took the next ID without yielding {ids.shown(task_id)}: "
                                f"yield each ID when its work is done"
                            )
                        )
                    elif self._errors_in_a_row and block.position == position:
                        self._errors_in_a_row = 0
                    position += 1
                    block.position = position
                    if self._look:
                        break
            board[slot] = NOTHING_BEGUN

    def _settle_position(self) -> None:
        """The task at the block's position is over, with or without an error: a report may name it from now on."""
        block = self._block
        if block is not None and not self._taken and self._board[self._slot] == block.position:
            block.position += 1

    @property
    def _taken(self) -> bool:
        """Is there a task being worked on?"""
        return not isinstance(self._id, _Nothing)

    def _accept(self, yielded: Any) -> None:
        if self._taken and (yielded is self._id or same_id(yielded, self._id)):
            self._id = _NOTHING
            return
        if not self._taken:
            raise WrongYield(
                f"the client function yielded {ids.shown(yielded)} while it had no task: yield each ID once"
            )
        raise WrongYield(
            f"the client function yielded {ids.shown(yielded)}, but the ID it was given is {ids.shown(self._id)}: "
            f"yield the ID itself when its work is done"
        )

    def _fail(self, error: BaseException) -> None:
        block = self._block
        assert block is not None
        traceback.print_exception(type(error), error, users_traceback(error), limit=self.max_tb)
        sys.stderr.flush()
        block.failed(error_of(error))
        self._weigh(block)
        self._id = _NOTHING
        self._errors_in_a_row += 1
        self._settle_position()

    def _weigh(self, block: Block) -> None:
        """What was reported at the end of the block might be too much for one message: report before the next task."""
        if block.weight > REPORT_BYTES:
            self._hand.good_until = 0.0
            self._look = True

    def _look_out(self) -> None:
        quiet_s = LOOKOUT_S
        begun = NOTHING_BEGUN
        self._lookout = True
        while not self._stop_lookout.wait(LOOKOUT_S):
            self._look = True  # short tasks may have become long ones
            # A task that goes on and on is asked about ever less often.
            running = self._board[self._slot]
            quiet_s = LOOKOUT_S if begun != running else min(quiet_s * 1.5, 5.0)
            begun = running
            try:
                self._hand.look_out(quiet_s)
            except (CoordinatorLost, UnknownRun):
                return  # the main thread meets the same at its next word, and ends

    def _join(self) -> tuple[str, int]:
        import json

        told = json.loads(
            self._connection.note("join", json.dumps({"host": self.host, "pid": self.pid, "log": self.logfile or ""}))
        )
        return told["run"], told["number"]

    def _side_connection(self) -> Connection:
        """A connection beside the hand's own, for calls that may wait."""
        return Connection(self.url, self._token, timeout_s=120.0, fingerprint=self._fingerprint)

    def _side_call(self, method: str, question: dict[str, Any]) -> dict[str, Any]:
        import json

        from coordinator.core.exchange import text_of

        connection = self._side_connection()
        try:
            answer: dict[str, Any] = json.loads(connection.note(method, text_of(question)))
        finally:
            connection.close()
        return answer


class _Nothing:
    """No task: no ID is one of these objects."""


#: the last task is over; and: the client function, called anew, has not begun one
_NOTHING, _NOT_YET = _Nothing(), _Nothing()


def _own_board() -> memoryview:
    """For a Processor that no keeper watches."""
    board = memoryview(bytearray(8)).cast("q")
    board[0] = NOTHING_BEGUN
    return board


def same_id(one: Any, other: Any) -> bool:
    """Two IDs are the same if their canonical texts are; Python's ``==`` is never asked."""
    try:
        return ids.encode(one) == ids.encode(other)
    except BadInput:
        return False
