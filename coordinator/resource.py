"""The ResourceController: shares hosts among jobs, and says which resource is where and who builds it.

Three kinds of peers call it: Coordinators (``beat_job``), processors by way of their Coordinator (``await_resource``,
``settle_rule``), and people and classic clients (``xmlrpc_methods``, with the manual's names and shapes). Decisions
are core.farm's and core.rules', kept up to date by a FarmDesk and a RuleDesk. controller.py puts it on the wire; a
Coordinator may also hold one in its own process, with ``hosts=``. It starts no process, reaches no host, and never
stops a job. An answer of None to a note means: nothing to say yet.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from coordinator import farmview
from coordinator.core.beats import Beat, Fields, check_text
from coordinator.core.farm import Farm, Job
from coordinator.core.hosts import HostInfo, check_host
from coordinator.core.rules import Lock, Place, RuleBook, check_resource
from coordinator.errors import BadInput, NotAuthorised, StateError
from coordinator.farmdesk import FarmDesk
from coordinator.ruledesk import RuleDesk
from coordinator.userrules import UserRules
from coordinator.users import OWNER, UserTable, ticket_of
from coordinator.wire.codec import legible

log = logging.getLogger(__name__)

CLASSIC_METHODS = (
    *("load_balance", "setrule", "delrule", "report_load", "register_coordinator", "unregister_coordinator"),
    *("register_processor", "unregister_processor", "get_resource", "acquire_rule", "release_rule", "request_cpus"),
    *("retry_unused_hosts", "get_status", "setthrottle", "del_lock", "get_hostinfo", "set_hostinfo", "setload"),
    *("get_farm", "get_tickets", "add_user", "remove_user", "get_users", "stop"),
)


class ResourceController:
    """One farm. ``rebalance_frequency`` in seconds is an upper bound: every event rebalances at once.

    With ``hosts`` ({name: slots}) there is no hosts file, load is not asked for, and the shelves are made when the
    first rule is set. ``clock`` gives seconds and only goes forward.
    """

    xmlrpc_methods: ClassVar[dict[str, int]] = dict.fromkeys(CLASSIC_METHODS, 0)
    note_methods = ("beat_job", "await_resource", "settle_rule", "missing_resources")

    def __init__(
        self,
        rc: str = "controller",
        port: int = 5000,
        overload_margin: float = 0.6,
        rebalance_frequency: float = 1200.0,
        errlog: str | bool | None = False,
        throttle: float = 1.0,
        host: str = "",
        hosts: Mapping[str, float | HostInfo] | None = None,
        directory: str | os.PathLike[str] = ".",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        from coordinator.paths import check_name

        self.name = check_name(rc)
        self.port, self.host, self.clock, self.wall = port, host, clock, wall
        self.directory = os.path.abspath(directory)
        base = os.path.join(self.directory, self.name)
        self.errlog = os.path.join(self.directory, errlog) if isinstance(errlog, str) and errlog else f"{base}.log"
        self.url = ""
        self.started = wall()
        #: who calls, for the log; the wire sets it before each call
        self.author = ""
        #: who calls, by the token that was shown: the owner or the name of a user; set before each call too
        self.caller = OWNER
        self.on_stop: Callable[[], None] | None = None
        #: told when a user is removed: what was granted to that name counts no more
        self.on_removed: Callable[[str], None] = lambda _: None
        # Numbers of this life are larger than those of earlier ones, so that nobody takes an old answer for a new one.
        first = int(wall() * 1000) << 10
        limits = (_positive("throttle", throttle), _positive("overload_margin", overload_margin))
        frequency = _positive("rebalance_frequency", rebalance_frequency)
        self.jobs = FarmDesk(base, hosts, first, *limits, frequency, clock)
        self.farm.born = self.started
        self.rules = RuleDesk(base, hosts is not None, first)
        #: None where it is part of a job
        self.users = UserTable(f"{base}.users") if hosts is None else None
        self.own_rules = UserRules(base, first, [user.name for user in self.users.list()] if self.users else ())
        self._registered: dict[str, _Registration] = {}

    @property
    def farm(self) -> Farm:
        return self.jobs.farm

    @property
    def version(self) -> int:
        """Rises whenever a question that had no answer may have one now."""
        return self.farm.version + self.rules.version + self.own_rules.version

    # --- notes: what our own Coordinators and processors say ---

    def beat_job(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """A Coordinator registers, or tells how it stands; the slots that it may use if they changed since ``seen``."""
        beat = replace(Beat.from_note(note), user=self._user())
        self._claim(beat.url)
        job = self.jobs.hear(beat, self.wall())
        for host, pid in beat.gone:
            self._processor_gone(host, pid)
        self.jobs.rebalance_soon()
        return self._introducing(beat.url, self.jobs.answer(job, beat.seen))

    def await_resource(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """Where a resource lies on a host, or that the asker is to build it; None while somebody else builds it."""
        return self._desk(note.get("name")).await_resource(self._marked(note), self.clock(), self.wall())

    def settle_rule(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """A processor built a resource, or could not."""
        fields = Fields(note)
        place = (check_host(fields.text("host")), fields.text("name"))
        number = note.get("lock")
        held = [desk for desk in self._desks() if (lock := desk.book.locks.get(place)) and lock.number == number]
        desk = held[0] if held else self._desk(place[1])
        self._check_lock(desk, place)
        return desk.settle_rule(note, self.clock(), self.wall())

    def missing_resources(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the names that have neither a rule nor a built file."""
        missing = list(Fields(note).texts("names"))
        for desk in self._desks():
            missing = desk.book.missing(missing)
        return {"missing": missing}

    def again(self, method: str, note: Mapping[str, Any], asked: float, late: bool = False) -> dict[str, Any] | None:
        """The answer to a note that had none when it came (``asked``); with ``late`` it is answered in any case."""
        if method == "beat_job":
            url = note["url"]
            return self._introducing(url, self.jobs.late_answer(url, None if late else int(note.get("seen", 0))))
        answer = self._desk(note.get("name")).ask_again(self._marked(note), asked, self.clock(), self.wall())
        return {"state": "wait"} if answer is None and late else answer

    # --- classic calls: Coordinators and processors of any make ---

    def register_coordinator(
        self, name: str, url: str, user: str, priority: float, resources: list[str], immediate: bool, demand_ncpu: int
    ) -> bool:
        """Join the queue; for the name and URL of a job in it: change its priority, immediate and demand_ncpu."""
        note = {
            **{"name": name, "url": url, "user": user, "priority": priority, "resources": resources},
            **{"immediate": bool(immediate), "demand_ncpu": demand_ncpu},
        }
        beat = replace(Beat.from_note(note), user=self._user())
        before = self.farm.jobs.get(url)
        if before is not None and before.beat.name == name and not before.classic:
            self.farm.direct(before, beat.priority, beat.immediate, beat.demand_ncpu)
        else:
            self._claim(beat.url)
            self.farm.hear(beat, self.clock(), self.wall(), classic=True)
        values = (name, url, user, priority, immediate, demand_ncpu)
        self._did("register_coordinator %s url=%s user=%s priority=%g immediate=%s demand_ncpu=%d", *values)
        self.jobs.rebalance_soon()
        return True

    def unregister_coordinator(self, name: str, url: str, message: str) -> bool:
        """Leave the queue. The message goes to the log."""
        self._did("unregister_coordinator %s url=%s message=%s", name, url, message)
        job = self.farm.jobs.get(check_text("url", url))
        if job is not None and job.beat.name == name:
            self._check_job(url)
            self._drop(url)
        self.jobs.rebalance_soon()
        return True

    def register_processor(self, host: str, pid: int, url: str) -> bool:
        """A classic processor of the job at ``url`` runs on ``host``."""
        job = self.jobs.job(url)
        self._check_job(url)
        self.farm.join(job, check_host(host), _pid(pid), self.clock())
        self._did("register_processor host=%s pid=%d url=%s", host, pid, url)
        return True

    def unregister_processor(self, host: str, pid: int, url: str) -> bool:
        """It ends; the locks that it holds are free."""
        job = self.farm.jobs.get(check_text("url", url))
        if job is not None:
            self._check_job(url)
            self.farm.leave(job, check_host(host), _pid(pid), self.clock())
        self._processor_gone(check_host(host), _pid(pid))
        self._did("unregister_processor host=%s pid=%d url=%s", host, pid, url)
        return True

    def report_load(self, host: str, pid: int, load: float) -> bool:
        """The load of a host in runnable processes. True: go on; False: the host is overloaded."""
        self.jobs.known(host)
        load = _positive("load", load)
        self.farm.load(host, load, self.clock())
        for job in self.farm.jobs.values():
            if (host, pid) in job.pids:
                job.heard = self.clock()
        self._did("report_load host=%s pid=%d load=%.2f", host, _pid(pid), load)
        return not self.farm.overloaded(host, load)

    def request_cpus(self, name: str, url: str) -> list[str]:
        """Hosts on which the job may start a processor now, one entry for each."""
        job = self.jobs.job(url)
        self._check_job(url)
        job.heard = self.clock()
        self._did("request_cpus %s url=%s", name, url)
        self.jobs.rebalance()
        return self.farm.to_start(job)

    def get_resource(self, host: str, pid: int, rsrc: str) -> str | bool:
        """The path of a resource on a host; False: apply its rule; True: wait, it is being built."""
        self._did("get_resource %s host=%s pid=%d", check_text("rsrc", rsrc), check_host(host), _pid(pid))
        return self._desk(rsrc).look(host, pid, rsrc)

    def acquire_rule(self, host: str, pid: int, rsrc: str) -> list[str] | bool:
        """The rule, locked for this processor on this host; True: wait, it is being built."""
        self._did("acquire_rule %s host=%s pid=%d", check_text("rsrc", rsrc), check_host(host), _pid(pid))
        return self._desk(rsrc).acquire(host, pid, rsrc, self.clock(), self.wall(), self._mark(""))

    def release_rule(self, host: str, pid: int, rsrc: str) -> bool:
        """Free a lock: the processor's own at the end of its work, or by hand."""
        desk = self._desk(rsrc)
        self._check_lock(desk, (check_host(host), check_text("rsrc", rsrc)))
        path = desk.release(host, _pid(pid), rsrc, self.clock(), self.wall())
        self._did("release_rule %s host=%s pid=%d built=%s", rsrc, host, pid, path)
        return True

    # --- directives of people ---

    def load_balance(self) -> bool:
        """Share the hosts anew, now."""
        self._did("load_balance")
        self.jobs.rebalance()
        return True

    def setrule(self, rsrc: str, rule: object) -> bool:
        """Set how a resource is made: (local path, shell command with %s). A user's own rule runs in that user's jobs
        only, the owner's in everybody's."""
        desk = self.rules if self.caller == OWNER else self.own_rules.room(self.caller, rsrc)
        checked = desk.set(rsrc, rule)
        self._did("setrule %s path=%s command=%s", rsrc, checked.path, checked.command)
        return True

    def delrule(self, rsrc: str) -> bool:
        """Forget a rule; files that it built stay in use."""
        desk = self.rules if self.caller == OWNER else self.own_rules.made(self.caller)
        name = check_resource(rsrc)
        if desk is not self.rules and name not in desk.book.rules and name in self.rules.book.rules:
            raise NotAuthorised(f"the rule of {name!r} is the owner's, and only the owner deletes it")
        desk.delete(name)
        self._did("delrule %s", rsrc)
        return True

    def del_lock(self, host: str, rsrc: str) -> bool:
        """Free a lock, whoever holds it."""
        desk = self._desk(rsrc)
        self._check_lock(desk, (check_host(host), check_text("rsrc", rsrc)))
        pid = desk.unlock(host, rsrc)
        self._did("del_lock %s host=%s pid=%d", rsrc, host, pid)
        return True

    def retry_unused_hosts(self) -> bool:
        """Try hosts that are not in use, and rules that failed, again now."""
        unused = self.farm.retry_unused()
        for desk in self._desks():
            desk.retry()
        self._did("retry_unused_hosts: %d hosts", len(unused))
        self.jobs.rebalance()
        return True

    def setthrottle(self, throttle: float) -> bool:
        """Scale what is shared: 0.5 leaves half of the load to other people."""
        self.farm.throttle = _positive("throttle", throttle)
        self._did("setthrottle %g", throttle)
        self.jobs.rebalance()
        return True

    def get_hostinfo(self, host: str, attr: str) -> float | str:
        """An attribute of a host."""
        known = self.jobs.known(host).attributes()
        if attr not in known:
            raise BadInput(f"host {host} has no {attr!r}; it has {', '.join(known)}")
        return known[attr]

    def set_hostinfo(self, host: str, attr: str, val: float) -> bool:
        """Set a host's maxload for this life of the ResourceController; an unknown host is added."""
        if attr != "maxload":
            source = f"{self.name}.hosts" if self.jobs.has_file else "a hosts file"
            raise BadInput(f"a call can set maxload only; {str(attr)[:80]!r} and all options come from {source} only")
        self.jobs.set_maxload(host, val)
        self._did("set_hostinfo %s maxload=%g", host, float(val))
        self.jobs.rebalance()
        return True

    def setload(self, host: str, attr: str, val: float) -> bool:
        """The same as set_hostinfo."""
        return self.set_hostinfo(host, attr, val)

    def get_status(self) -> list[Any]:
        """[name, errlog, {host: load}, [[host, maxload]...], [[name, url, priority, allocated_ncpu, ncpu, start]...],
        {resource: [path, command]}, {'host:resource': path}, {'host:resource': pid of its builder}]."""
        self.jobs.rebalance_soon()
        found: list[Any] = legible(farmview.status(self))
        return found

    def get_farm(self) -> dict[str, Any]:
        """Everything that is known, as a dictionary."""
        self.jobs.rebalance_soon()
        found: dict[str, Any] = legible(farmview.farm(self))
        return found

    def stop(self) -> bool:
        """End the ResourceController. Its jobs go on."""
        if self.on_stop is None:
            raise StateError("this ResourceController is part of its job and ends with it")
        self._owner_only("stop it")
        self._did("stop")
        self.on_stop()
        return True

    # --- users ---

    def add_user(self, name: str) -> str:
        """Admit a user; the token, which is shown this once and kept nowhere."""
        self._owner_only("admit users")
        if name == self._user():
            raise BadInput(f"{name!r} is the owner, who needs no other token")
        token = self._table().add(name, self.wall())
        self._introduce_anew()
        self._did("add_user %s", name)
        return token

    def remove_user(self, name: str) -> list[str]:
        """The token of a user opens nothing any more; the names of the jobs that left the queue with it. They go on
        with the processors that they have. The user's own rules are forgotten."""
        self._owner_only("remove users")
        self._table().remove(name)
        urls = [url for url, registered in self._registered.items() if registered.user == name]
        gone = [job.beat.name for url in urls if (job := self.farm.jobs.get(url)) is not None]
        for url in urls:
            self._drop(url)
        self.own_rules.forget(name)
        self._introduce_anew()
        self.on_removed(name)
        self._did("remove_user %s jobs=%s", name, gone)
        self.jobs.rebalance()
        return gone

    def get_users(self) -> list[dict[str, Any]]:
        """[{name, since, jobs, rules}...]: since when they are admitted, their jobs' names, their own rules."""
        self._owner_only("list users")
        found = []
        for user in self._table().list():
            desk = self.own_rules.of(user.name)
            jobs = [job.beat.name for url, job in self.farm.jobs.items() if self._owner_of(url) == user.name]
            rules = {} if desk is None else {name: rule.to_wire() for name, rule in desk.book.rules.items()}
            found.append({"name": user.name, "since": user.since, "jobs": jobs, "rules": rules})
        return found

    def get_tickets(self) -> dict[str, dict[str, Any]]:
        """{url of a job: {mine, user, ticket, fingerprint}}: how the caller may ask each job how it stands."""
        found = {}
        for url, job in self.farm.jobs.items():
            registered = self._registered.get(url)
            found[url] = {
                "mine": self._owner_of(url) == self.caller,
                "user": self.caller,
                "ticket": ticket_of(registered.secret, self.caller) if registered else "",
                "fingerprint": job.beat.fingerprint,
            }
        return found

    def _table(self) -> UserTable:
        if self.users is None:
            raise StateError("this ResourceController is part of its job and has no users")
        return self.users

    def _owner_only(self, what: str) -> None:
        if self.caller != OWNER:
            raise NotAuthorised(f"only the owner of {self.name} may {what}, and you are {self.caller}")

    def _user(self) -> str:
        """The caller's name as it was proven, whatever a job says of itself."""
        return user_name() if self.caller == OWNER else self.caller

    def _owner_of(self, url: str) -> str:
        registered = self._registered.get(url)
        return OWNER if registered is None else registered.user

    def _claim(self, url: str) -> None:
        """The caller registers a job at ``url``: nobody speaks for a job of somebody else."""
        job = self.farm.jobs.get(url)
        if job is not None and self._owner_of(url) != self.caller:
            if job.state(self.clock()) != "lost":
                self._check_job(url)
            self._drop(url)  # a dead one's port is somebody else's now
        if url not in self._registered or self._registered[url].user != self.caller:
            self._registered[url] = _Registration(self.caller, os.urandom(32).hex())

    def _check_job(self, url: str) -> None:
        if self.caller not in (OWNER, self._owner_of(url)):
            raise NotAuthorised(f"the job at {url[:200]} is not yours but another user's")

    def _drop(self, url: str) -> None:
        job = self.farm.drop(url, self.clock())
        if job is not None:
            self._job_gone(url, job)
        self._registered.pop(url, None)

    def _job_gone(self, url: str, job: Job) -> None:
        owner = self._owner_of(url)
        marks = job.marks if owner == OWNER else {f"{owner}/{mark}" for mark in job.marks}
        for desk in (self.rules, *self.own_rules):
            desk.job_gone(job.beat.name, marks, job.pids, self.clock())

    def _introducing(self, url: str, answer: dict[str, Any] | None) -> dict[str, Any] | None:
        """With it a Coordinator knows the tickets of those who may look at its job."""
        registered = self._registered.get(url)
        if answer is None or registered is None or not self.users:
            return answer
        return {**answer, "visitors": registered.secret}

    def _introduce_anew(self) -> None:
        self._registered = {
            url: _Registration(registered.user, os.urandom(32).hex()) for url, registered in self._registered.items()
        }
        self.farm.tell_all()

    # --- whose rules ---

    def books(self) -> list[RuleBook]:
        """What the caller sees of rules, in the order in which later ones stand for earlier ones."""
        return [desk.book for desk in reversed(self._desks())]

    def _desks(self) -> list[RuleDesk]:
        """Where the caller's jobs find rules, the caller's own first."""
        own = self.own_rules.of(self.caller)
        return [self.rules] if own is None else [own, self.rules]

    def _desk(self, name: object) -> RuleDesk:
        """The one of them that has that resource."""
        for desk in self._desks():
            if isinstance(name, str) and not desk.book.missing([name]):
                return desk
        return self.rules

    def _mark(self, job: str) -> str:
        """By this a lock knows whose it is: users cannot take words of others into their mouth."""
        return job if self.caller == OWNER else f"{self.caller}/{job}"

    def _marked(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        return note if self.caller == OWNER else {**note, "job": self._mark(Fields(note).text("job", ""))}

    def _check_lock(self, desk: RuleDesk, place: Place) -> None:
        """A lock of somebody else is neither settled nor freed by the caller."""
        lock = desk.book.locks.get(place)
        if lock is not None and not self._is_mine(lock):
            raise NotAuthorised(f"the lock of {place[1]!r} on {place[0]} belongs to another user's job")

    def _processor_gone(self, host: str, pid: int) -> None:
        """Its locks are free, unless they are of another user's job."""
        locks = [lock for desk in self._desks() for lock in desk.book.locks.values()]
        held = [lock for lock in locks if (lock.host, lock.pid) == (host, pid)]
        if all(self._is_mine(lock) for lock in held):
            for desk in self._desks():
                desk.processor_gone(host, pid, self.clock())

    def _is_mine(self, lock: Lock) -> bool:
        return self.caller == OWNER or lock.job.startswith(f"{self.caller}/")

    # --- time ---

    def tick(self) -> None:
        """Call it every second: takes up edits of the hosts file, drops silent jobs, rebalances what is due."""
        for job in self.jobs.tick():
            self._job_gone(job.beat.url, job)
        self._registered = {url: one for url, one in self._registered.items() if url in self.farm.jobs}
        for desk in (self.rules, *self.own_rules):
            desk.forget_ended(self.clock())

    def close(self) -> None:
        """Close the shelves."""
        self.rules.close()
        self.own_rules.close()

    def _did(self, message: str, *args: object) -> None:
        """Each request is logged with its author."""
        log.info(message + " by=%s", *args, self.author or os.environ.get("USER") or f"uid {os.geteuid()}")


@dataclass(frozen=True)
class _Registration:
    """Who registered a job, and with what its Coordinator checks the tickets of others."""

    user: str
    secret: str


def user_name() -> str:
    """The name of whom this process belongs to."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise BadInput(f"{name} must be a number from 0, not {value!r}")
    return float(value)


def _pid(pid: object) -> int:
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 0:
        raise BadInput(f"a pid is a whole number, not {str(pid)[:80]!r}")
    return pid
