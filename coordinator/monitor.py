"""RCMonitor and CoordinatorMonitor: a ResourceController or a job as an object in somebody's shell.

Users make them in an interactive shell, a notebook or a program of their own; the command line reaches its servers
by Remote. Each attribute is what the last get_status() brought; every method of the server can be called as if it
were the monitor's own. They print as tables. A monitor keeps no connection between two calls and never calls twice
by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.errors import CoordinatorError
from coordinator.paths import Login
from coordinator.remote import DEFAULT_PORT, Remote, bare, controller_lost, controller_url, job_logins, job_remote
from coordinator.tables import (
    Column,
    Table,
    TableDict,
    TableList,
    as_html,
    as_rich,
    as_text,
    bytes_size,
    cell,
    clock_time,
    columns,
)

# A job that does not answer must not hold up the list of all others for long.
JOB_TIMEOUT_S = 5.0


_SINCE = Column("since", clock_time)
CLIENTS = columns("host", "pid", "done")
PENDING = columns("id", "host", "pid", _SINCE)
# A processor that has gone has False instead of its pid.
LOGFILES = columns("log", "host", Column("pid", lambda pid: "-" if pid is False else cell(pid)), "number")
_HOST_KEYS = ("maxload", "load", "memory_available_bytes", "slots", "processors", "state", "reason", "since")
HOSTS = columns(
    *("host", "maxload", "load", Column("memory", bytes_size), "slots", "processors", "state", "reason"),
    Column("since", clock_time),
)
LOADS = columns("host", "load")
RULES = columns("resource", "file", "command")
RESOURCES = columns("host:resource", "file")
LOCKS = columns("host:resource", "held by pid")
JOBS = columns(
    "name", "url", "priority", "processors", "allocated", "done", "failed", Column("started", clock_time), "problem"
)


class HostRow(list[Any]):
    """``[host, maxload]`` as the manual has it, which prints with all that the ResourceController knows of the host
    (``about``)."""

    def __init__(self, values: Iterable[Any], about: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.about = dict(about)

    def row(self) -> list[Any]:
        return host_row(str(self[0]), {"maxload": self[1], **self.about})


def host_row(name: str, about: Mapping[str, Any]) -> list[Any]:
    """The row of a host in a table with the heads HOSTS."""
    return [name, *(about.get(key) for key in _HOST_KEYS)]


class CoordinatorMonitor:
    """One job, seen through its Coordinator.

    `info` is the Coordinator's URL, or the six values that a ResourceController's get_status() has for it:
    [name, url, priority, allocated_ncpu, ncpu, start_time].
    """

    def __init__(
        self,
        info: str | Iterable[Any],
        token: str | None = None,
        fallback: str | Login | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """`fallback` is the token to use if neither the URL nor the user's token file has one; `fingerprint` is that
        of the certificate of an https server, which goes with `token` or `fallback`."""
        self.name: str | None = None
        self.priority: float | None = None
        self.allocated_ncpu: int | None = None
        self.ncpu: int | None = None
        self.start_time: float | None = None
        self.problem: str | None = None
        self.errlog: str | None = None
        self.n: int | None = None
        self.nsuccess: int | None = None
        self.nerrors: int | None = None
        self.client_report = TableList(heads=CLIENTS, empty="(no processors)")
        self.pending_report = TableList(heads=PENDING, empty="(nothing runs)")
        self.logfile = TableDict(heads=LOGFILES, empty="(no processor has started yet)")
        if isinstance(info, str):
            self.url = info
            self._remote = job_remote(info, token=token, fallback=fallback, fingerprint=fingerprint)
            self.url = self._remote.url
            self.get_status()
        else:
            values = list(info)
            self.url = str(values[1])
            self._remote = job_remote(
                self.url, token=token, fallback=fallback, fingerprint=fingerprint, timeout_s=JOB_TIMEOUT_S
            )
            self.take(values)

    def take(self, info: Iterable[Any]) -> None:
        """Take over what a ResourceController's status says of this job, then ask the job itself."""
        self.name, _, self.priority, self.allocated_ncpu, self.ncpu, self.start_time = list(info)[:6]
        try:
            self.get_status()
        except CoordinatorError as problem:
            # One job that cannot be asked is a line in the list, not the end of it.
            self.problem = str(problem)

    def get_status(self) -> None:
        """Bring every attribute up to date."""
        name, errlog, n, nsuccess, nerrors, clients, pending, logfile = self._remote.call("get_status")[:8]
        self.name, self.errlog, self.n, self.nsuccess, self.nerrors = name, errlog, n, nsuccess, nerrors
        self.client_report[:] = clients
        self.pending_report[:] = pending
        self.logfile.clear()
        self.logfile.update(logfile)
        self.problem = None

    def row(self) -> list[Any]:
        """What a table of jobs shows of this one, after its name."""
        processors = len(self.client_report) if self.problem is None else self.ncpu
        return [
            bare(self.url),
            self.priority,
            processors,
            self.allocated_ncpu,
            self.nsuccess,
            self.nerrors,
            self.start_time,
            self.problem or "",
        ]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._remote.attribute(self, name)

    def __dir__(self) -> list[str]:
        return _names(self, self._remote)

    def table(self) -> Table:
        return Table(JOBS, [[self.name, *self.row()]])

    def __repr__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def __rich__(self) -> Any:
        return as_rich(self.table())


class RCMonitor:
    """A ResourceController and the jobs that it knows.

    `host` is a host's name (this machine's if not given) or a whole URL, token included if need be. In `coordinators`
    a job is found by its name; of several jobs of one name the first in the queue has the name itself and the next
    ones are 'NAME (2)', 'NAME (3)', in the order of the queue.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int = DEFAULT_PORT,
        token: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.rc_url = controller_url(host, port)
        lost = controller_lost(self.rc_url)
        self._remote = Remote(self.rc_url, token=token, fingerprint=fingerprint, lost=lost)
        self.rc_url = self._remote.url
        self.name: str | None = None
        self.errlog: str | None = None
        self.systemLoad = TableDict(heads=LOADS, empty="(no host has reported its load)")
        self.hosts = TableList(heads=HOSTS, empty="(no hosts)")
        self.coordinators = TableDict(heads=JOBS, empty="(no jobs)")
        self.rules = TableDict(heads=RULES, empty="(no rules)")
        self.resources = TableDict(heads=RESOURCES, empty="(no resources are built)")
        self.locks = TableDict(heads=LOCKS, empty="(nothing is locked)")
        self.get_status()

    def get_status(self) -> None:
        """Bring every attribute up to date, those of the jobs included. A job that is still there keeps its object."""
        name, errlog, load, hosts, jobs, rules, resources, locks = self._remote.call("get_status")[:8]
        self.name, self.errlog = name, errlog
        about = self._remote.call("get_farm")["hosts"]
        self.hosts[:] = [HostRow(row, about.get(str(row[0]), {})) for row in hosts]
        for mine, theirs in (
            (self.systemLoad, load),
            (self.rules, rules),
            (self.resources, resources),
            (self.locks, locks),
        ):
            mine.clear()
            mine.update(theirs)
        known = {monitor.url: monitor for monitor in self.coordinators.values()}
        self.coordinators.clear()
        logins = job_logins(self._remote) if any(str(job[1]) not in known for job in jobs) else {}
        for job in jobs:
            monitor = known.get(str(job[1]))
            if monitor is None:
                monitor = CoordinatorMonitor(job, fallback=logins.get(str(job[1])))
            else:
                monitor.take(job)
            self.coordinators[_free_key(str(job[0]), self.coordinators)] = monitor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._remote.attribute(self, name)

    def __dir__(self) -> list[str]:
        return _names(self, self._remote)

    def tables(self) -> list[Table]:
        hosts, jobs = self.hosts.table(), self.coordinators.table()
        return [
            Table(HOSTS, hosts.rows, f"ResourceController {self.name} at {self.rc_url}", hosts.empty),
            Table(jobs.columns, jobs.rows, "Jobs", jobs.empty),
        ]

    def __repr__(self) -> str:
        return "\n\n".join(as_text(table) for table in self.tables())

    def _repr_html_(self) -> str:
        return "".join(as_html(table) for table in self.tables())

    def __rich__(self) -> Any:
        from rich.console import Group

        return Group(*(as_rich(table) for table in self.tables()))


def _free_key(name: str, taken: Iterable[str]) -> str:
    """The name, or 'NAME (2)', 'NAME (3)' if jobs of that name are there already."""
    held = set(taken)
    if name not in held:
        return name
    number = 2
    while f"{name} ({number})" in held:
        number += 1
    return f"{name} ({number})"


def _names(owner: object, remote: Remote) -> list[str]:
    """For completion in a shell: the monitor's own names and, if it answers, those that its server serves."""
    try:
        served = remote.methods()
    except CoordinatorError:
        served = []
    return sorted({*object.__dir__(owner), *(name for name in served if "." not in name)})
