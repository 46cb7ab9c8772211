"""The Coordinator of a job: one thread that takes turns, read, decide, write, sync, answer.

``start_client_or_server`` makes one and calls :meth:`Coordinator.serve_forever`. It wires the rooms together: the
feeder's slices and the processors' exchanges go to the :class:`~coordinator.run.Run`, keepers to the
:class:`~coordinator.crew.Crew`, people to the :class:`~coordinator.face.Face`; a turn ends with one commit of the
journal, and only then do its answers leave. When the journal cannot be written, answers wait until it can. The user's
code never runs in this process.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from coordinator import paths, procs
from coordinator.addresses import Address, known_address, url_of
from coordinator.core.exchange import Request, text_of
from coordinator.core.ids import shown
from coordinator.core.leases import GRACE_S, TERM_S
from coordinator.core.ledger import Policy
from coordinator.core.records import Kind
from coordinator.crew import Crew
from coordinator.description import Rate, describe
from coordinator.errors import BadParameters, CoordinatorError, JournalStalled, NameTaken, NotAuthorised, PortTaken
from coordinator.executors.choice import AnyExecutor, is_here
from coordinator.face import LATER, Face, Later
from coordinator.feed import Feed
from coordinator.feeder import fork_feeder
from coordinator.hand import now as steady
from coordinator.journal import Journal
from coordinator.keeper import fork_keeper, script_argv
from coordinator.link import EmbeddedLink, Link, OwnRules, RemoteLink, check_resources
from coordinator.logs import Trickle, open_log
from coordinator.printer import Printer
from coordinator.resource import ResourceController
from coordinator.run import NOT_HEARD_OF, Hired, Run
from coordinator.runfile import RunFile
from coordinator.users import is_ticket
from coordinator.wire import listing
from coordinator.wire.client import split_url
from coordinator.wire.codec import legible
from coordinator.wire.server import Call, TurnServer, token_check
from coordinator.zygote import Work

#: who shows a ticket of the ResourceController, and the calls that tell how the job stands
VISITOR, LOOKING = "visitor ", ("get_job", "get_status", "wait_job")
#: seconds between two looks at what time brings: deadlines, retries, printing
TICK_S = 0.25
#: a tick that comes so much too late means that this process slept, and judges nobody
SLEPT_S = 2.0
#: first port that is tried, and how many after it
FIRST_PORT, PORTS = 8888, 200
#: seconds that a restarted Coordinator waits for its keepers before it starts new ones
RETURN_S = 2.5
#: tracebacks of failed tasks that are logged in a second
FAILURES_PER_S = 5
#: records that are printed to NAME.success and its like in one tick
PRINT_RECORDS = 200


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``exit_status``: 0 all done, 1 some tasks failed or the job could not go on, 130 interrupted."""

    name: str
    done: int
    failed: int
    left: int
    reason: str | None
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        return not (self.failed or self.left or self.reason)

    @property
    def exit_status(self) -> int:
        return 130 if self.interrupted else 0 if self.ok else 1


class Coordinator:
    """Serves the tasks of ``it`` to processors that run ``script``, until all are done.

    ``it``: an iterable of task IDs, or a function that makes one (called in the feeder's process); ``resources``: names
    of resources that the job needs, or ``{name: (path, command)}``. ``local``: None for a job under the
    ResourceController at ``rc_url``, else the number of processors on this machine, 0 for one per core. Seconds:
    ``lease``, ``grace``, ``time_limit``. ``no_tls``: speak plain HTTP to other machines too. Other keyword arguments
    are the user's options.
    """

    def __init__(
        self,
        name: str,
        script: str,
        it: Iterable[Any] | Callable[[], Iterable[Any]],
        resources: Iterable[str] | dict[str, Any] = (),
        port: int | None = None,
        priority: float = 1.0,
        rc_url: str | None = None,
        errlog: str | bool = False,
        immediate: bool = False,
        ncpu_limit: int = 999999,
        demand_ncpu: int = 0,
        max_initialization_errors: int = 3,
        *,
        work: Work | None = None,
        local: int | None = None,
        host: str | None = None,
        retries: int = 0,
        time_limit: float | None = None,
        max_errors_in_a_row: int = 10,
        lease: float = TERM_S,
        grace: float | None = None,
        no_tls: bool = False,
        directory: str | os.PathLike[str] = ".",
        **kwargs: Any,
    ) -> None:
        self.name = paths.check_name(name)
        self.script = os.path.abspath(script)
        self.files = paths.JobFiles(Path(directory), name)
        self.errlog = os.path.abspath(errlog) if isinstance(errlog, str) and errlog else os.path.abspath(self.files.log)
        self.priority, self.immediate, self.demand_ncpu, self.ncpu_limit = priority, immediate, demand_ncpu, ncpu_limit
        self.resources = resources if isinstance(resources, dict) else dict.fromkeys(resources)
        self.local, self.host, self.port, self.rc_url = local, host, port, rc_url
        self.no_tls = no_tls
        #: of the certificate that other machines are shown; None where only plain HTTP is spoken
        self.fingerprint: str | None = None
        self._rc: Address | None = None
        #: checks the tickets of those whom the ResourceController lets look at this job
        self._visitors: str | None = None
        self.user_options = kwargs
        self.max_initialization_errors = max_initialization_errors
        self._make = it if callable(it) else lambda: it
        self._work = work
        self._policy = Policy(retries=retries)
        self._time_limit, self._max_errors = time_limit, max_errors_in_a_row
        self._lease_s = lease
        self._grace_s = grace if grace is not None else (60.0 if local is not None else GRACE_S)
        self.log = logging.getLogger("coordinator.job")
        self.now = steady
        self.started = time.time()
        self.on_tick: Callable[[Coordinator], None] = lambda _: None
        self.interrupted = False
        self.stalled: str | None = None
        self._pending: list[Callable[[], None]] = []
        self._backlog: list[Call] = []
        self._parked: dict[int, Call] = {}
        self._waiters: list[tuple[float, Call]] = []
        self._over: Outcome | None = None
        self._finishing_since = 0.0
        self.began = steady()
        self.rate = Rate()
        self._late_logged = 0
        self._failures_since = 0.0
        self._failures_said = self._failures_unsaid = 0
        self._seen = 0
        self._strangers = False
        self._unheard: list[dict[str, Any] | None] = []
        self._unprinted: str | None = None
        self.queued: str | None = None

    # --- life -------------------------------------------------------------------------------------------

    def serve_forever(self, announce: Callable[[dict[str, Any]], None] | None = None) -> Outcome:
        """Serve until every task is settled or the job is stopped; ``announce`` is called once it is served.

        Raises NameTaken, PortTaken, ControllerLost, NoSuchRule, JournalDamaged, JournalStalled before that.
        """
        # What forks has one thread and holds no lock, journal or socket.
        can_fork = procs.thread_count() == 1
        warm = fork_keeper(self._work) if self._work is not None and can_fork else None
        feeder = (
            fork_feeder(self._make, [warm[1]] if warm is not None else []) if can_fork or self._work is None else None
        )
        executor = AnyExecutor(warm)
        try:
            self._open(feeder, executor)
            announce_to = announce or (lambda _: None)
            announce_to({"name": self.name, "url": self.url, "pid": os.getpid(), "log": self.errlog})
            self._loop.run_until_complete(self._ended.wait())
        finally:
            self._close(executor)
        assert self._over is not None
        return self._over

    def _open(self, feeder: tuple[int, int, int] | None, executor: AnyExecutor) -> None:
        if self.local is None:
            open_log(self.errlog)
        self._claim = RunFile(self.files)
        self.journal = Journal.open(self.files.journal, self.name)
        recovered = self.journal.recovered
        self.journal.check = self._claim.check
        left = self._claim.left if recovered.run is not None and not recovered.closed else None
        if self.local is not None:
            open_log(self.errlog)
        self.run_id = recovered.run if left is not None and recovered.run is not None else secrets.token_hex(8)
        self.token = left["token"] if left is not None else paths.new_token()
        self.life = recovered.life + 1
        self.run = Run(self.journal, recovered, self.run_id, self._policy, time.time, self._lease_s)
        self._listen(left)
        self._link = self._linked()
        plan = self._link.first(self._tell(first=True))
        if plan is not None:
            executor.look_ahead({host: plan["hosts"].get(host, {}) for host in plan["slots"]})
        check_resources(self._link, [name for name, rule in self.resources.items() if rule is None])
        self.journal.append(Kind.LIFE, {
            "run": self.run_id, "name": self.name, "life": self.life, "at": self.started, "host": socket.gethostname(),
            "pid": os.getpid(), "port": self.server.address[1], "script": self.script,
            "options": {"signature": self._signature()},
        })  # fmt: skip
        returning = left is not None and may_return(left)
        self.before = self.run.restore(recovered, self.now(), returning)
        self.crew = Crew(self.run, executor, self._orders(), self._watch)
        self.crew.changed = self._publish
        if left is not None and returning:
            self._unheard, self._strangers = list(left.get("keepers", [])), bool(left.get("strangers"))
        self._publish()
        self.journal.commit(True)  # before any keeper is told of this life
        self._awaiting = returning
        if returning:
            self.crew.not_before = self.now() + RETURN_S
        self.printer = Printer(self.files.journal, self.files.base)
        self.printer.step(0)  # files that cannot be written are an error now, not when the work is done
        self.face = Face(self)
        self.trickle = Trickle(self.log, "exchanges", 20)
        self.run.on_failure = self._log_failure
        self._loop = asyncio.new_event_loop()
        executor.attend(self._loop)
        self._ended = asyncio.Event()
        self.server.start(self._loop)
        self._hear(plan)
        self._feed = Feed(self, feeder, recovered)
        self._loop.add_signal_handler(signal.SIGTERM, self.stop, "terminated")
        if self.local is not None:
            self._loop.add_signal_handler(signal.SIGINT, self._interrupt)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._link.start(self._loop, self._tell, self._hear)
        self._last_tick = self.now()
        self._loop.call_soon(self._tick)
        self.log.info(
            "coordinator started name=%s run=%s life=%d url=%s pid=%d script=%s done_before=%d",
            self.name, self.run_id, self.life, self.url, os.getpid(), self.script, self.before,
        )  # fmt: skip

    def _listen(self, left: dict[str, Any] | None) -> None:
        """The port that was given, or the one that this run had, or a free one."""
        address = self.host if self.host is not None else ("127.0.0.1" if self.local is not None else "")
        # Any port (0) will do only for a run that has none: its processors look for it where it was.
        wanted = [left["port"]] if left is not None and not self.port else []
        if self.port is not None:
            wanted.append(self.port)
        else:
            wanted += [0] if self.local is not None else range(FIRST_PORT, FIRST_PORT + PORTS)
        rc = self._controller_address()
        farm_token = None if rc is None else rc.token
        context = None
        if not (self.no_tls or paths.is_loopback(address)):
            from coordinator import tls

            self.fingerprint, context = tls.own_fingerprint(), tls.server_context()
        ours = token_check(self.token, "run")
        farm = token_check(farm_token, "user") if farm_token else None

        def authorise(user: str, password: str) -> str | None:
            known = ours(user, password) or (farm(user, password) if farm is not None else None)
            if known is None and self._visitors is not None and is_ticket(password, self._visitors, user):
                return VISITOR + user
            return known

        for index, port in enumerate(wanted):
            server = TurnServer(self._turn, authorise, address, port, tls=context)
            try:
                server.listen()
            except PortTaken:
                if index == len(wanted) - 1:
                    raise
                continue
            break
        self.server = server
        public = address or paths.full_hostname()
        self.url = url_of(public, server.address[1], context is not None and not paths.is_loopback(public))
        if farm_token:
            paths.keep_token(public, server.address[1], farm_token, self.fingerprint)

    def _controller_address(self) -> Address | None:
        """Where the ResourceController is, and its token; None for a job that has its own."""
        if self.local is not None:
            return None
        if self._rc is None:
            self._rc = known_address(self.rc_url or f"http://{paths.full_hostname()}:5000")
            # What the run's token opens (get_job) and the log must not show the farm's.
            self.rc_url = self._rc.url
        return self._rc

    def _linked(self) -> Link:
        own = {name: rule for name, rule in self.resources.items() if rule is not None}
        controller: ResourceController | None = None
        if self.local is not None or own:
            slots = self.local or os.cpu_count() or 1
            controller = ResourceController(
                self.name, hosts={self._host_name(): float(slots)}, directory=os.path.dirname(self.files.base)
            )
            for resource, rule in own.items():
                controller.setrule(resource, list(rule))
        if self.local is not None:
            assert controller is not None
            return EmbeddedLink(controller)
        rc = self._controller_address()
        assert rc is not None
        remote = RemoteLink(rc)
        return remote if controller is None else OwnRules(remote, controller, set(own))

    def _host_name(self) -> str:
        return "localhost" if self.local is not None else socket.gethostname()

    def _info(self) -> dict[str, Any]:
        identity = procs.own_identity()
        return {
            "run": self.run_id, "name": self.name, "url": self.url, "port": self.server.address[1], "token": self.token,
            "host": socket.gethostname(), "pid": identity.pid, "boot": identity.boot,
            "process_started": identity.started, "started": self.started,
            "directory": os.path.dirname(os.path.abspath(self.files.base)), "script": self.script,
            "log": self.errlog, "fingerprint": self.fingerprint,
        }  # fmt: skip

    def _publish(self) -> None:
        """NAME.run says who serves, and which keepers a successor may hear of."""
        here = {post.pid: is_here(post.host) for post in self.crew.posts.values()}
        known = [procs.identity_of(pid) if is_here else None for pid, is_here in here.items()]
        keepers = [asdict(identity) if identity is not None else None for identity in known]
        # Those of earlier lives that have not come back yet may come back to the next one.
        self._unheard = [
            one
            for one in self._unheard
            if one not in keepers and (one is None or could_live(procs.ProcessIdentity(**one)))
        ]
        self._claim.publish({**self._info(), "keepers": [*keepers, *self._unheard], "strangers": self._strangers})

    def _orders(self) -> dict[str, Any]:
        logs = f"{self.files.base}.logs" if self.local is not None else os.fspath(paths.log_directory())
        os.makedirs(logs, mode=0o700, exist_ok=True)
        return {
            "url": self.url if self.local is not None or self.host else f"http://127.0.0.1:{self.server.address[1]}",
            "token": self.token, "fingerprint": self.fingerprint, "run": self.run_id, "name": self.name,
            "tag": self.run_id, "urls": self._public_urls(), "script": self.script,
            "argv": script_argv(), "directory": os.getcwd(), "log_directory": os.path.abspath(logs),
            "grace_s": self._grace_s, "time_limit_s": self._time_limit, "beat_s": min(1.0, self._lease_s / 4),
            "max_errors_in_a_row": self._max_errors,
        }  # fmt: skip

    def _public_urls(self) -> list[str]:
        """What other machines may try: the announced name, then the address (*) at which they see this one."""
        named = [] if paths.is_loopback(split_url(self.url)[0]) else [self.url]
        return [*named, *([] if self.host else [url_of("*", self.server.address[1], self.fingerprint is not None)])]

    def _signature(self) -> str:
        """What a processor of an earlier life must share with this one: script and options."""
        import hashlib

        try:
            with open(self.script, "rb") as file:
                text = file.read()
        except OSError:
            text = b""
        return hashlib.blake2b(text + repr(sorted(self.user_options.items())).encode(), digest_size=16).hexdigest()

    def _close(self, executor: AnyExecutor) -> None:
        executor.dismiss()
        if hasattr(self, "_feed"):
            self._feed.close()
        if hasattr(self, "_link") and hasattr(self, "crew"):
            self._link.finish("done" if self._over is not None and self._over.ok else "ended")
        # The server last: whoever waits for it to go finds the name free and the journal closed.
        if hasattr(self, "journal"):
            self.journal.close()
        if hasattr(self, "_claim"):
            self._claim.release()
        if hasattr(self, "_loop"):
            self.server.stop()
            self._loop.run_until_complete(asyncio.sleep(0))  # the last answers leave
            self._loop.close()

    # --- turns ------------------------------------------------------------------------------------------

    def _turn(self, calls: list[Call]) -> None:
        if self._over is not None:
            return  # too late: the journal is closed, and these connections are about to be
        if self.stalled is not None:
            for call in calls:
                # What only reads is answered, with the reason; the rest waits for room on the disk.
                if call.method in ("get_job", "get_status", "wait_job"):
                    self._handle(call, self.now())
                else:
                    self._backlog.append(call)
            return
        now = self.now()
        for call in calls:
            self._handle(call, now)
        self.settle(now)

    def settle(self, now: float) -> None:
        """End a turn: tell those who wait, commit, send."""
        self.run.ask_back()
        for number, answer in self.run.serve_waiting(now):
            call = self._parked.pop(number, None)
            if call is not None:
                self._pending.append(partial(call.answer, answer.to_text()))
        self._commit()
        self._feed.look()
        self._look_for_end(now)

    def _commit(self) -> bool:
        """False if the journal could not be written: what waits to be sent goes on waiting."""
        try:
            self.journal.commit(self.run.accepted)
        except JournalStalled as error:
            if self.stalled is None:
                self.log.error("journal stalled: %s Serving stops until it can be written.", error.message)
            self.stalled = error.message
            return False
        except NameTaken as error:
            self.log.error("%s", error.message)
            self.run.reason = error.message
            self._end(keep_files=True)
            return False
        self.run.accepted = False
        if self.stalled is not None:
            self.log.info("journal writable again; serving goes on")
            self.stalled = None
        pending, self._pending = self._pending, []
        for send in pending:
            send()
        return True

    def _handle(self, call: Call, now: float) -> None:
        try:
            if call.caller.startswith(VISITOR) and not (call.method in LOOKING or call.method.startswith("system.")):
                raise NotAuthorised(
                    f"this job is {getpass.getuser()}'s: others may look at it, and {call.method} is more"
                )
            if call.method == "exchange":
                self._exchange(call, now)
            elif call.method == "beat":
                message = json.loads(call.params[0])
                self.crew.beat(message, now, lambda told: self._pending.append(lambda: call.answer(text_of(told))))
            elif call.method == "join":
                self._join(call, now)
            elif call.method in ("await_resource", "settle_rule"):
                self._resource(call)
            elif call.method == "wait_job":
                self._waiters.append((now + float(call.params[0]), call))
            else:
                value = listing.invoke(self._methods(), call.method, call.params)
                self._pending.append(lambda: call.answer(value))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            fault = BadParameters(f"{call.method}: {error!r}")
            self._pending.append(lambda: call.fault(fault))
        except CoordinatorError as error:
            refusal = error
            self._pending.append(lambda: call.fault(refusal))
        if self.stalled is not None:
            pending, self._pending = self._pending, []
            for send in pending:
                send()

    def _exchange(self, call: Call, now: float) -> None:
        request = Request.from_text(call.params[0])
        answer = self.run.exchange(request, now)
        # Only now: a stale duplicate, which is refused above, must not cost the live call its answer.
        earlier = self._parked.pop(request.processor, None)
        if earlier is not None:
            earlier.fault(BadParameters("the same processor asked again"))
        self.trickle.info(
            "exchange processor=%d seq=%d done=%d",
            request.processor,
            request.seq,
            sum(len(r.done) // 2 for r in request.reports),
        )
        if answer is None:
            self._parked[request.processor] = call
            return
        text = answer.to_text()
        self._pending.append(lambda: call.answer(text))

    def _join(self, call: Call, now: float) -> None:
        """A processor that a person started by hand."""
        who = json.loads(call.params[0])
        number = self.run.new_number()
        self.run.hire(number, str(who["host"]), int(who["pid"]), str(who["log"]), now)
        self.log.info("join processor=%d host=%s pid=%s", number, who["host"], who["pid"])
        if not self._strangers:
            self._strangers = True
            self._publish()
        answer = text_of({"run": self.run_id, "number": number})
        self._pending.append(lambda: call.answer(answer))

    def _log_failure(self, position: int, attempt: int, final: bool, hired: Hired, error: dict[str, Any]) -> None:
        """A traceback is logged in full, so many a second; the journal has them all."""
        now = self.now()
        if now - self._failures_since >= 1.0:
            if self._failures_unsaid:
                self.log.info("counted %d more failures; see `coordinator errors %s`", self._failures_unsaid, self.name)
            self._failures_since, self._failures_said, self._failures_unsaid = now, 0, 0
        if self._failures_said >= FAILURES_PER_S:
            self._failures_unsaid += 1
            return
        self._failures_said += 1
        self.log.error(
            "task failed id=%s position=%d attempt=%d%s processor=%d host=%s pid=%d %s: %s",
            shown(self.run.id_of(position)), position, attempt, "" if final else " (to be tried again)", hired.number,
            hired.host, hired.pid, error.get("kind"), error.get("message"), extra={"traceback": error.get("traceback")},
        )  # fmt: skip

    def _resource(self, call: Call) -> None:
        self.log.info("%s %s", call.method, call.params[0])
        note = {**json.loads(call.params[0]), "job": self.run_id}
        if self.local is not None:
            note["host"] = self._host_name()

        def heard(answer: dict[str, Any] | CoordinatorError) -> None:
            if isinstance(answer, CoordinatorError):
                call.fault(answer)
            else:
                call.answer(text_of(answer))

        self._link.ask(call.method, note, heard)

    def _methods(self) -> dict[str, Callable[..., Any]]:
        later = Later()
        methods = {name: getattr(later, name) for name in LATER}
        return methods | {name: getattr(self.face, name) for name in self.face.xmlrpc_methods}

    # --- time -------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._over is not None:
            return
        try:
            self._time_passes()
        finally:  # a fault in one look must not stop the clock of the job
            if self._over is None:
                self._loop.call_later(TICK_S, self._tick)

    def _time_passes(self) -> None:
        now = self.now()
        gap = now - self._last_tick
        self._last_tick = now
        if gap > TICK_S + min(SLEPT_S, self._lease_s / 2):
            self.log.warning("this process slept for %.1f s: all leases are renewed", gap)
            self.run.ledger.renew_all(now)
            self.crew.renew_all(now)
        elif self.stalled is None:
            for lease in self.run.lapse(now):
                self.log.warning(
                    "lease lapsed n=%d processor=%d tasks=%d..%d",
                    lease.number,
                    lease.holder,
                    lease.start,
                    lease.stop - 1,
                )
        self._log_late()
        if self._awaiting and now >= self.crew.not_before:
            self._awaiting = False
            self._miss_the_dead(now)
        self._link.step()
        if self.stalled is None:
            self.crew.silent(now, self._lease_s)
        self.crew.step(now, self._useful())
        if self.crew.fault is not None and self.run.stopping is None:
            self.stop(self.crew.fault)
            self.run.reason = self.crew.fault
        if self.stalled is not None:
            if self._commit():
                # Who was alive could not say so while nothing was answered.
                self.run.ledger.renew_all(now)
                self.crew.renew_all(now)
                backlog, self._backlog = self._backlog, []
                self._turn(backlog)
        else:
            self._print()
            self.settle(now)
        self.rate.look(self.run.ledger.settled, now)
        self.trickle.tick()
        self._answer_waiters(now)
        self.on_tick(self)

    def _print(self) -> None:
        """What cannot be printed now is printed later: the journal has it."""
        try:
            self.printer.step(PRINT_RECORDS)
            self._unprinted = None
        except JournalStalled as error:
            if self._unprinted is None:
                self.log.error("%s", error.message)
            self._unprinted = error.message

    def _miss_the_dead(self, now: float) -> None:
        """All keepers of earlier lives are back or dead: a processor that none of them has died with a lease."""
        if self._strangers or any(one is None or could_live(procs.ProcessIdentity(**one)) for one in self._unheard):
            return  # their leases lapse if they do not come
        here = {number for post in self.crew.posts.values() for number in post.numbers}
        for number in self.run.ledger.holders():
            if number not in here and number not in self.run.hired:
                self.log.info("processor missed number=%d: it ended before this life, its tasks go to others", number)
                self.run.depart(number, NOT_HEARD_OF, None, now)

    def _log_late(self) -> None:
        if self.run.ledger.late > self._late_logged:
            self.log.info("late reports so far: %d tasks, not accepted", self.run.ledger.late)
            self._late_logged = self.run.ledger.late

    def _useful(self) -> int:
        ledger = self.run.ledger
        return ledger.count - ledger.settled if ledger.ended else 1 << 30

    def _answer_waiters(self, now: float) -> None:
        due = [(until, call) for until, call in self._waiters if until <= now or self._over is not None]
        self._waiters = [waiter for waiter in self._waiters if waiter not in due]
        for _, call in due:
            call.answer(self.describe())

    def _look_for_end(self, now: float) -> None:
        """All settled, or stopping with nobody left: dismiss the keepers, then end."""
        done = self.run.ledger.finished or self.run.stopping is not None
        if not done or self._over is not None:
            return
        if self._finishing_since == 0.0:
            self._finishing_since = now
        working = any(self.run.ledger.held_by(n) for n in self.run.hired)
        if self.run.ledger.finished or not working or self.crew.killing:
            self.crew.ending = True
            self.crew.step(now, 0)
            self._commit()
            patience_s = 5.0
            if now - self._finishing_since > patience_s and not self.crew.killing:
                self.crew.kill_all("the job is over")
                self._commit()
            awaited = now < self.crew.not_before and bool(self._unheard)
            if (self.crew.empty and not awaited) or now - self._finishing_since > 3 * patience_s:
                self._end()

    def _end(self, keep_files: bool = False) -> None:
        ledger = self.run.ledger
        left = ledger.count - ledger.settled
        reason = self.run.reason or self.run.stopping
        self._over = Outcome(self.name, ledger.done, ledger.failed, left, reason, self.interrupted)
        if not keep_files:
            state = "done" if self._over.ok else "stopped" if self.run.stopping else "failed"
            closing = {
                "state": state,
                "reason": reason,
                "done": ledger.done,
                "failed": ledger.failed,
                "at": time.time(),
            }
            self.journal.append(Kind.CLOSED, closing)
            try:
                self.journal.commit(True)
                self.printer.finish()
            except (JournalStalled, OSError) as error:
                self.log.error("the end could not be written: %s", error)
                reason = reason or str(error)
                self._over = replace(self._over, reason=reason)
        self.trickle.flush()
        self._log_late()
        self.log.info("coordinator ended done=%d failed=%d left=%d reason=%s", ledger.done, ledger.failed, left, reason)
        self._answer_waiters(self.now())
        self._ended.set()

    # --- what others tell -------------------------------------------------------------------------------

    def _tell(self, first: bool = False) -> dict[str, Any]:
        crew = None if first else self.crew
        gone = [] if crew is None else crew.gone
        if crew is not None:
            crew.gone = []
        return {
            "name": self.name, "url": self.url, "user": getpass.getuser(), "priority": self.priority,
            "resources": sorted(self.resources), "immediate": self.immediate, "demand_ncpu": self.demand_ncpu,
            "ncpu_limit": min(self.ncpu_limit, crew.limit if crew else self.ncpu_limit), "run": self.run_id,
            "host": socket.gethostname(), "pid": os.getpid(), "fingerprint": self.fingerprint or "",
            "directory": os.path.dirname(os.path.abspath(self.files.base)),
            "wants": 1 << 20 if first else min(self._useful(), 1 << 20),
            "processors": {} if crew is None else crew.counted(), "loads": {} if crew is None else crew.loads(),
            "unreachable": {} if crew is None else crew.unreachable, "gone": gone, "seen": self._seen, "wait_s": 0.0,
            "since": self.started,
        }  # fmt: skip

    def _hear(self, plan: dict[str, Any] | None) -> None:
        if plan is None:
            return
        self._seen = plan["version"]
        self.queued = plan.get("queued")
        if plan.get("visitors") != self._visitors:
            self._visitors = plan.get("visitors")
            self.server.recheck()
        self.crew.heed(dict(plan["slots"]), plan["hosts"], plan.get("retry"))
        self.crew.step(self.now(), self._useful())
        if hasattr(self, "_feed"):
            self._commit()

    def _watch(self, pidfd: int, gone: Callable[[], None]) -> None:
        def ended() -> None:
            self._loop.remove_reader(pidfd)
            gone()
            if self._over is None:
                self.settle(self.now())

        self._loop.add_reader(pidfd, ended)

    def stop(self, message: str) -> None:
        """End the job in order: running tasks finish, nothing new begins."""
        if self.run.stopping is None:
            self.log.info("stop: %s", message)
            self.run.stopping = message
            self.settle(self.now())

    def _interrupt(self) -> None:
        if self.run.stopping is None:
            self.interrupted = True
            running = sum(1 for number in self.run.hired if self.run.ledger.held_by(number))
            words = f"stopping: {running} running tasks finish first; press Ctrl-C again to end them now"
            print(f"\n{words}", file=sys.stderr)  # noqa: T201 - to who pressed it
            self.stop("interrupted")
        else:
            self.crew.kill_all("interrupted")
            self._commit()

    def redo(self, what: Any) -> int:
        """Make settled tasks TODO again; returns how many."""
        from coordinator.redo import positions_of

        ranges, done, failed = positions_of(self.journal, what)
        if ranges:
            self.journal.append(Kind.REDO, {"r": ranges})
            self.run.ledger.redo([(a, b) for a, b in ranges], done, failed)
        return done + failed

    # --- for people -------------------------------------------------------------------------------------

    def state(self) -> tuple[str, str | None]:
        """One word, and the reason in words."""
        if self._over is not None:
            return ("done" if self._over.ok else "failed"), self._over.reason
        if self.stalled is not None:
            return "stalled", self.stalled
        if self.run.stopping is not None:
            return "stopping", self.run.stopping
        if self.run.ledger.finished:
            return "finishing", None
        if self.run.hired:
            return "running", self.run.reason
        return "starting", self._why_nobody()

    def _why_nobody(self) -> str | None:
        if self.queued:
            return str(self.queued)
        if self.crew.unreachable:
            return "; ".join(f"{host}: {why}" for host, why in self.crew.unreachable.items())
        if not self.crew.slots:
            return "the ResourceController has no free slot for this job"
        rests = {host: rest.reason for host, rest in self.crew.health.all_resting(self.now()).items()}
        return "; ".join(f"{host} rests: {why}" for host, why in rests.items()) or None

    def describe(self) -> dict[str, Any]:
        """Everything that is known about the job, for get_job and the monitors."""
        found: dict[str, Any] = legible(describe(self))
        return found


def may_return(left: dict[str, Any]) -> bool:
    """Can processors of the life that left this run file still be there? Then their leases are theirs for a while.

    Not if all its keepers were on this machine and are dead, since processors end with their keeper.
    """
    keepers = [procs.ProcessIdentity(**one) if one else None for one in left.get("keepers", [None])]
    return bool(left.get("strangers")) or any(one is None or could_live(one) for one in keepers)


def could_live(identity: procs.ProcessIdentity) -> bool:
    return identity.host != socket.gethostname() or procs.is_alive(identity)
