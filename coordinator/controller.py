"""The ResourceController as a server: its calls on the wire, those that wait, its run file, its life.

``coordinator --rc=NAME`` calls :func:`serve_controller` in a process of its own. A turn hands each call to the
ResourceController; a note that has no answer yet is parked here and answered when something changed or its time is
over. It never decides anything about hosts, jobs or rules, and never touches a job when it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from coordinator import paths
from coordinator.addresses import url_of
from coordinator.core.beats import Fields
from coordinator.door import INSECURE
from coordinator.errors import (
    BadOption,
    BadParameters,
    CoordinatorError,
    InternalError,
    NameTaken,
    NotAuthorised,
    PortTaken,
)
from coordinator.resource import ResourceController
from coordinator.users import OWNER
from coordinator.wire.call import Call
from coordinator.wire.server import Authorise, TurnServer, each, token_check

log = logging.getLogger(__name__)

TICK_S = 1.0
#: no note is parked for longer, so that a Coordinator that waits is never taken for a silent one
LONGEST_WAIT_S = {"beat_job": 10.0, "await_resource": 20.0}
#: our own loop was away for so long that nobody may be judged by it
GAP_S = 5.0


@dataclass(frozen=True)
class ControllerOptions:
    """The options of ``coordinator --rc=NAME``, as the manual has them. ``host`` chooses the interface; '' is all."""

    rc: str
    port: int = 5000
    overload_margin: float = 0.6
    rebalance_frequency: float = 1200.0
    errlog: str | None = None
    throttle: float = 1.0
    host: str = ""
    directory: str = "."
    #: log to the terminal instead of the log file
    foreground: bool = False
    #: speak plain HTTP to other machines too
    no_tls: bool = False
    #: ask nobody for a token: everybody who can reach the port is the owner
    insecure: bool = False


@dataclass
class _Parked:
    call: Call
    method: str
    note: Mapping[str, Any]
    asked: float
    deadline: float


class ControllerTurns:
    """The turn function of a ResourceController, and the notes that wait. One thread: that of the loop."""

    def __init__(self, controller: ResourceController) -> None:
        self.controller = controller
        self._notes = {name: getattr(controller, name) for name in controller.note_methods}
        classic = {name: getattr(controller, name) for name in controller.xmlrpc_methods}
        # Notes are answered by _note(); here they are listed, as they look on the wire.
        self._classic = each(classic | {name: _on_the_wire(method) for name, method in self._notes.items()})
        self._parked: list[_Parked] = []
        self._version = controller.version
        self._last_tick = controller.clock()

    def turn(self, calls: list[Call]) -> None:
        for call in calls:
            self.controller.office.author = f"{call.caller}@{call.peer}" if call.peer else call.caller
            self.controller.office.caller = call.caller or OWNER
            if call.method in self._notes:
                self._note(call)
            else:
                self._classic([call])
        self.controller.office.author, self.controller.office.caller = "", OWNER
        self._wake()

    def tick(self) -> None:
        """Once a second: time passes for the ResourceController and for those who wait."""
        now = self.controller.clock()
        if now - self._last_tick > GAP_S:
            log.warning("this process was away for %.0f s; nobody is judged by that time", now - self._last_tick)
            self.controller.farm.renew(now)
        self._last_tick = now
        self.controller.tick()
        self._wake()
        for parked in [parked for parked in self._parked if parked.deadline <= now]:
            self._parked.remove(parked)
            self._answer(parked, late=True)

    def _note(self, call: Call) -> None:
        try:
            note = read_note(call.params)
            answer = self._notes[call.method](note)
            if answer is not None:
                call.answer(note_text(answer))
                return
            now = self.controller.clock()
            wait_s = min(Fields(note).number("wait_s", 0.0), LONGEST_WAIT_S[call.method])
            self._parked.append(_Parked(call, call.method, note, now, now + wait_s))
            if wait_s == 0:
                self._answer(self._parked.pop(), late=True)
        except CoordinatorError as error:
            call.fault(error)
        except Exception:  # the boundary of the wire: one call must not end the turn of the others
            log.exception("the note %s failed", call.method)
            call.fault(InternalError())

    def _wake(self) -> None:
        """Ask again for everybody who waits, if there is news. Answers can make news: until there is none."""
        while self._version != self.controller.version:
            self._version = self.controller.version
            waiting, self._parked = self._parked, []
            self._parked = [parked for parked in waiting if not self._answer(parked, late=False)] + self._parked

    def forget(self, user: str) -> None:
        """What a removed user still asks is not answered."""
        theirs = [parked for parked in self._parked if parked.call.caller == user]
        for parked in theirs:
            self._parked.remove(parked)
            parked.call.fault(NotAuthorised(f"{user} is no longer a user of this ResourceController"))

    def _answer(self, parked: _Parked, late: bool) -> bool:
        self.controller.office.caller = parked.call.caller or OWNER
        try:
            answer = self.controller.again(parked.method, parked.note, parked.asked, late)
        except CoordinatorError as error:
            parked.call.fault(error)
            return True
        finally:
            self.controller.office.caller = OWNER
        if answer is None and not late:
            return False
        parked.call.answer(note_text(answer or {}))
        return True


def _on_the_wire(method: Callable[..., Any]) -> Callable[[str], str]:
    def note(note: str) -> str:
        return note_text(method(read_note((note,))) or {})

    note.__doc__ = method.__doc__
    return note


def read_note(params: tuple[Any, ...]) -> Mapping[str, Any]:
    """The object in the one JSON text of a note's parameters."""
    if len(params) != 1 or not isinstance(params[0], str):
        raise BadParameters("a note has one parameter, a JSON object as text")
    try:
        note = json.loads(params[0])
    except (ValueError, RecursionError):
        raise BadParameters("a note's parameter must be the text of a JSON object") from None
    if not isinstance(note, dict):
        raise BadParameters("a note's parameter must be the text of a JSON object")
    return note


def note_text(answer: Mapping[str, Any]) -> str:
    """JSON text in which nothing needs to be escaped in XML."""
    text = json.dumps(answer, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


class RunFile:
    """NAME.rc.json: where a ResourceController is, for ``coordinator stop --rc=NAME``. Mode 0600.

    Its process holds a lock on it for life, so that a second one of that name in the directory refuses, and a file
    that a kill -9 left behind hinders nobody.
    """

    def __init__(self, directory: str, name: str) -> None:
        self.path = os.path.join(directory, f"{name}.rc.json")
        self._descriptor = self._locked()

    def write(self, content: Mapping[str, Any]) -> None:
        data = (json.dumps(content, indent=1) + "\n").encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)

    def remove(self) -> None:
        """At a clean end; while we still hold the lock."""
        os.unlink(self.path)
        os.close(self._descriptor)

    def _locked(self) -> int:
        while True:
            descriptor = paths.open_private(self.path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                taken = os.pread(descriptor, 65536, 0)
                os.close(descriptor)
                raise NameTaken(_taken_text(self.path, taken)) from None
            try:
                if os.stat(self.path).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except FileNotFoundError:
                pass  # its owner removed it between our open and our lock
            os.close(descriptor)


def read_run_file(directory: str, name: str) -> dict[str, Any] | None:
    """What the run file of a ResourceController says ({name, url, pid, host, boot, started, log, port}), or None if
    there is none. It may be a dead one's: procs.is_alive tells."""
    try:
        descriptor = paths.open_private(os.path.join(directory, f"{paths.check_name(name)}.rc.json"), os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = json.load(file)
        except ValueError:
            return None  # a process that was killed while it started
    return content if isinstance(content, dict) else None


def _taken_text(path: str, content: bytes) -> str:
    try:
        run = json.loads(content)
        where = f" (pid {run['pid']}, {run['url']})"
    except (ValueError, KeyError, TypeError):
        where = ""
    return (
        f"a ResourceController of this name already runs in {os.path.dirname(path)}{where}; stop it with "
        f"`coordinator stop --rc={os.path.basename(path).removesuffix('.rc.json')}`, or choose another name"
    )


def serve_controller(options: ControllerOptions | Mapping[str, Any], announce: Callable[..., object]) -> None:
    """Be the ResourceController of these options until SIGTERM, SIGINT or stop().

    ``announce(name=, url=, pid=, log=, host=, port=, hosts=)`` is called once, when it serves. Before that a failure
    is raised: BadName, NameTaken, HostsFileError, StateError (shelves), PortTaken.
    """
    from coordinator import logs, procs, tls

    chosen = options if isinstance(options, ControllerOptions) else _options(options)
    directory = os.path.abspath(chosen.directory)
    paths.check_name(chosen.rc)
    run_file = RunFile(directory, chosen.rc)
    try:
        controller = ResourceController(
            chosen.rc,
            chosen.port,
            chosen.overload_margin,
            chosen.rebalance_frequency,
            chosen.errlog or False,
            chosen.throttle,
            chosen.host,
            directory=directory,
        )
        turns = ControllerTurns(controller)
        server = TurnServer(turns.turn, None, chosen.host, chosen.port)
        try:
            _, port = server.listen()
        except PortTaken as taken:
            raise PortTaken(f"{taken.message} Another ResourceController may be there: coordinator hosts") from None
        everywhere = chosen.host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound here
        public = paths.full_hostname() if everywhere else chosen.host
        fingerprint = None
        if not (chosen.no_tls or chosen.insecure or paths.is_loopback(chosen.host)):
            server.tls, fingerprint = tls.server_context(), tls.own_fingerprint()
        token = paths.find_token(public, port) or paths.new_token()
        paths.keep_token(public, port, token, fingerprint)
        server.authorise = None if chosen.insecure else authorise_users(token, controller)

        def removed(user: str) -> None:
            server.recheck()
            turns.forget(user)

        controller.office.on_removed = removed
        controller.port = port
        url = controller.office.url = url_of(public, port, fingerprint is not None and not paths.is_loopback(public))
        logs.open_log(None if chosen.foreground else controller.errlog)
        if chosen.insecure:
            log.warning("%s", INSECURE.format(port))
        me = procs.own_identity()
        told = {"name": chosen.rc, "url": url, "pid": me.pid, "log": controller.errlog, "port": port}
        written = {**told, "host": me.host, "boot": me.boot, "started": me.started, "fingerprint": fingerprint}
        run_file.write(written)
        procs.raise_open_files()
        _run(controller, turns, server, lambda: announce(**told, host=public, hosts=len(controller.farm.hosts)))
    finally:
        run_file.remove()


def authorise_users(token: str, controller: ResourceController) -> Authorise:
    """Who knows the token is the owner; the others are users with tokens of their own."""
    owner = token_check(token, OWNER)

    def authorise(user: str, password: str) -> str | None:
        return owner(user, password) or controller.office.users.whose(password)

    return authorise


def _run(
    controller: ResourceController, turns: ControllerTurns, server: TurnServer, announce: Callable[[], object]
) -> None:
    loop = asyncio.new_event_loop()
    try:
        # stop() is called within a turn: the loop ends after the answer was sent.
        controller.office.on_stop = lambda: _end_soon(loop, server)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _signalled, loop, server, number)
        server.start(loop)

        def tick() -> None:
            loop.call_later(TICK_S, tick)
            turns.tick()

        loop.call_later(TICK_S, tick)
        log.info("serve %s at %s with %d hosts", controller.name, controller.office.url, len(controller.farm.hosts))
        announce()
        loop.run_forever()
        log.info("end %s; its jobs go on", controller.name)
    finally:
        controller.close()
        loop.close()


def _signalled(loop: asyncio.AbstractEventLoop, server: TurnServer, number: int) -> None:
    log.info("told to end by %s", signal.Signals(number).name)
    _end_soon(loop, server)


def _end_soon(loop: asyncio.AbstractEventLoop, server: TurnServer) -> None:
    def end() -> None:
        server.stop()
        # Connections are closed by callbacks of the loop: it ends behind them.
        loop.call_soon(loop.call_soon, loop.stop)

    loop.call_soon(end)


def _options(given: Mapping[str, Any]) -> ControllerOptions:
    known = {field.name for field in fields(ControllerOptions)}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise BadOption(f"a ResourceController has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return ControllerOptions(**given)
