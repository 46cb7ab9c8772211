"""What the Coordinator answers over XML-RPC to people, monitors and classic clients: the manual's names and shapes.

One class, one method per call; a turn dispatches to it and commits afterwards. Processors of our own speak
``exchange`` instead and never come here. It never waits and never starts anything itself.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from coordinator.core import ids
from coordinator.description import describe
from coordinator.errors import BadInput, BadParameters, StateError, UnknownHost, UnknownProcessor, UnservableTaskID
from coordinator.job import Job
from coordinator.wire.codec import legible


class Face:
    """The remote methods of one job."""

    xmlrpc_methods: ClassVar[dict[str, int]] = {
        "register_client": 0, "unregister_client": 0, "next": 0, "report_success": 0, "report_error": 0,
        "get_status": 0, "set_max_clients": 0, "stop_client": 0, "start_processors": 0, "get_job": 0,
        "stop": 0, "redo": 0,
    }  # fmt: skip

    def __init__(self, job: Job) -> None:
        self._job = job
        self._classic: dict[tuple[str, int], int] = {}

    # --- classic processors -----------------------------------------------------------------------------

    def register_client(self, host: str, pid: int, logfile: str) -> bool:
        """A processor of any make begins; it holds one task at a time."""
        if not (isinstance(host, str) and type(pid) is int and isinstance(logfile, str)):
            raise BadParameters("register_client takes a host's name, a pid and the name of a log file")
        run = self._job.run
        number = run.new_number()
        self._classic[host, pid] = number
        run.hire(number, host, pid, logfile, self._job.now(), classic=True)
        self._job.log.info("register_client host=%s pid=%s number=%d", host, pid, number)
        return True

    def unregister_client(self, host: str, pid: int, message: str) -> bool:
        """It ends; the task that it held goes to others."""
        number = self._classic.pop(_process(host, pid), None)
        self._job.log.info("unregister_client host=%s pid=%s message=%s", host, pid, message)
        if number is not None:
            self._job.run.depart(number, message, None, self._job.now())
        return True

    def next(self, host: str, pid: int, success_id: Any) -> Any:
        """Report the last task done (False: none) and get the next ID; False: no more; True: ask again in a while.

        A success_id that is not the task held serves that task again. An ID that plain XML-RPC cannot carry is a fault.
        """
        run, now = self._job.run, self._job.now()
        number = self._number(host, pid)
        held = run.ledger.held_by(number)
        if held and success_id is not False:
            position = held[0].start
            if plain(run.id_of(position)) == plain(success_id) and type(success_id) is not bool:
                run.classic_report(number, True, None, now)
                held = []
        if held:
            run.ledger.renew(number, now)
            return self._carried(held[0].start)
        if run.stopping is not None or run.hired[number].leaving:
            return False
        first = run.ledger.todo.first()
        # Refused before it is leased: it stays for processors that can take it.
        value = self._carried(first) if first is not None else None
        lease = run.classic_lease(number, now)
        if lease is None:
            return not run.ledger.finished
        return value if lease.start == first else self._carried(lease.start)

    def report_success(self, host: str, pid: int, id: Any) -> bool:
        """The task held is done."""
        self._check_held(host, pid, id)
        return self._job.run.classic_report(self._number(host, pid), True, None, self._job.now())

    def report_error(self, host: str, pid: int, id: Any, tb_report: str) -> bool:
        """The task held failed; the traceback goes to the log and to the job's errors."""
        self._check_held(host, pid, id)
        if not isinstance(tb_report, str):
            raise BadParameters("the traceback is a text")
        last = tb_report.strip().splitlines()[-1] if tb_report.strip() else "Error"
        kind, _, message = last.partition(":")
        error = {"kind": kind.strip(), "message": message.strip(), "traceback": tb_report, "where": ""}
        return self._job.run.classic_report(self._number(host, pid), False, error, self._job.now())

    def _number(self, host: str, pid: int) -> int:
        number = self._classic.get(_process(host, pid))
        if number is None or number not in self._job.run.hired:
            raise UnknownProcessor(
                f"process {pid} on {host} is not registered: call register_client(host, pid, logfile) first"
            )
        return number

    def _check_held(self, host: str, pid: int, task_id: Any) -> None:
        run = self._job.run
        held = run.ledger.held_by(self._number(host, pid))
        if not held or plain(run.id_of(held[0].start)) != plain(task_id):
            raise BadInput(f"process {pid} on {host} does not hold the task {ids.shown(task_id)}")

    def _carried(self, position: int) -> Any:
        """The ID at a position as plain XML-RPC carries it, there and back."""
        value = self._job.run.id_of(position)
        reason = uncarriable(value)
        if reason:
            raise UnservableTaskID(
                f"the next task's ID is {ids.shown(value)}, and a classic XML-RPC client cannot be given {reason}; "
                f"processors of this package can"
            )
        return value

    # --- monitors ---------------------------------------------------------------------------------------

    def get_status(self) -> list[Any]:
        """[name, errlog, n, nsuccess, nerrors, [[host, pid, done]...], [[id, host, pid, since]...],
        {logfile: [host, pid or False, number]}]; n counts the tasks handed out so far, in this run and before."""
        job, run = self._job, self._job.run
        now, wall = job.now(), time.time()
        running = [
            [self._shown_id(position), h.host, h.pid, wall - (now - since_s)]
            for h in run.hired.values()
            for position, since_s in [run.current(h, now)]
            if position >= 0
        ]
        logs = {h.log: [h.host, h.pid, h.number] for h in run.hired.values() if h.log}
        logs |= {h.log: [h.host, False, h.number] for h in run.departed.values() if h.log}
        ledger = run.ledger
        return [
            job.name,
            legible(str(job.errlog)),
            ledger.settled + ledger.leased,
            ledger.done,
            ledger.failed,
            [[legible(h.host), h.pid, h.done] for h in run.hired.values()],
            running,
            legible(logs),
        ]

    def get_job(self) -> dict[str, Any]:
        """Everything that our own tools show, as a dictionary."""
        return describe(self._job)

    def _shown_id(self, position: int) -> Any:
        value = self._job.run.id_of(position)
        return value if not uncarriable(value) else ids.encode(value)

    # --- directives -------------------------------------------------------------------------------------

    def set_max_clients(self, n: int) -> bool:
        """Never more than n processors from now on; those above leave when they next ask."""
        if type(n) is not int or n < 0:
            raise BadParameters(f"a number of processors from 0 is expected, not {ids.shown(n)}")
        self._job.log.info("set_max_clients %d", n)
        self._job.crew.limit = n
        return True

    def stop_client(self, host: str, pid: int) -> bool:
        """That processor leaves when it next asks for work."""
        for hired in self._job.run.hired.values():
            if (hired.host, hired.pid) == (host, pid):
                hired.leaving = True
                self._job.log.info("stop_client host=%s pid=%s", host, pid)
                return True
        raise UnknownProcessor(f"no processor with pid {pid} works on {host} for this job")

    def start_processors(self, hosts: list[str]) -> bool:
        """One more processor on each host of the list, all of them hosts that the ResourceController gave this job."""
        crew = self._job.crew
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise BadParameters("start_processors takes a list of hosts' names")
        for host in hosts:
            if host not in crew.slots:
                raise UnknownHost(
                    f"{ids.shown(host)} is not one of this job's hosts ({', '.join(crew.slots) or 'none yet'})"
                )
        for host in hosts:
            crew.slots[host] += 1
        return True

    def stop(self, message: str = "stopped") -> bool:
        """End the job: running tasks finish, nothing new begins; the same command goes on later."""
        self._job.stop(str(message))
        return True

    def redo(self, what: Any) -> int:
        """Make settled tasks TODO again: "failed", "all", or a list of IDs; returns how many."""
        if self._job.run.stopping is not None:
            raise StateError("the job is stopping; redo its tasks when it has ended")
        return self._job.redo(what)


def _process(host: Any, pid: Any) -> tuple[str, int]:
    if not isinstance(host, str) or type(pid) is not int:
        raise BadParameters(
            f"a processor is told by its host's name and its pid, not by {ids.shown(host)} and {ids.shown(pid)}"
        )
    return host, pid


class Later:
    """The calls that the task server answers itself, some in a later turn: here for system.listMethods and its like.

    A note is a JSON text that needs no escaping in XML, and so is its answer.
    """

    def exchange(self, note: str) -> str:
        """A processor reports and asks for tasks."""
        raise NotImplementedError

    def beat(self, note: str) -> str:
        """A keeper tells which processors of its host live; answered when there is news for it."""
        raise NotImplementedError

    def join(self, note: str) -> str:
        """A processor that a person started makes itself known."""
        raise NotImplementedError

    def await_resource(self, note: str) -> str:
        """A processor asks where a resource is; answered when it is built, or to be built by the asker."""
        raise NotImplementedError

    def settle_rule(self, note: str) -> str:
        """A processor built a resource, or could not."""
        raise NotImplementedError

    def wait_job(self, seconds: float) -> dict[str, Any]:
        """The same as get_job, when the job has ended or the time is over."""
        raise NotImplementedError


LATER = ("exchange", "beat", "join", "await_resource", "settle_rule", "wait_job")


def uncarriable(value: Any, inside: bool = False) -> str:
    """What in an ID plain XML-RPC cannot carry there and back, in words; empty if nothing."""
    if value is None or (isinstance(value, bool) and not inside):
        return f"{value}, which stands for something else there"
    if isinstance(value, int):
        return "" if -(1 << 31) <= value < 1 << 31 else "an integer of more than 32 bits"
    if isinstance(value, str):
        return "" if value.isprintable() or all(_carried(c) for c in value) else "control characters"
    if isinstance(value, (list, tuple)):
        return next((reason for item in value if (reason := uncarriable(item, True))), "")
    if isinstance(value, dict):
        return next((reason for item in [*value, *value.values()] if (reason := uncarriable(item, True))), "")
    return ""


def _carried(character: str) -> bool:
    """Does XML 1.0 know it?"""
    if character < " ":
        return character in "\t\n"
    return not "\ud800" <= character <= "\udfff" and character not in "\ufffe\uffff"


def plain(value: Any) -> Any:
    """A value as it looks after a way through plain XML-RPC: tuples are lists there; types count."""
    if isinstance(value, (list, tuple)):
        return ["list", *(plain(item) for item in value)]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return (type(value).__name__, value)
