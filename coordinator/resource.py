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
from typing import Any, ClassVar

from coordinator import farmview
from coordinator.core.beats import Beat, Fields, check_text
from coordinator.core.farm import Farm
from coordinator.core.hosts import HostInfo, check_host
from coordinator.errors import BadInput, StateError
from coordinator.farmdesk import FarmDesk
from coordinator.ruledesk import RuleDesk

log = logging.getLogger(__name__)

CLASSIC_METHODS = (
    *("load_balance", "setrule", "delrule", "report_load", "register_coordinator", "unregister_coordinator"),
    *("register_processor", "unregister_processor", "get_resource", "acquire_rule", "release_rule", "request_cpus"),
    *("retry_unused_hosts", "get_status", "setthrottle", "del_lock", "get_hostinfo", "set_hostinfo", "setload"),
    *("get_farm", "stop"),
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
        self.on_stop: Callable[[], None] | None = None
        # Numbers of this life are larger than those of earlier ones, so that nobody takes an old answer for a new one.
        first = int(wall() * 1000) << 10
        limits = (_positive("throttle", throttle), _positive("overload_margin", overload_margin))
        frequency = _positive("rebalance_frequency", rebalance_frequency)
        self.jobs = FarmDesk(base, hosts, first, *limits, frequency, clock)
        self.rules = RuleDesk(base, hosts is not None, first)

    @property
    def farm(self) -> Farm:
        return self.jobs.farm

    @property
    def version(self) -> int:
        """Rises whenever a question that had no answer may have one now."""
        return self.farm.version + self.rules.version

    # --- notes: what our own Coordinators and processors say ---

    def beat_job(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """A Coordinator registers, or tells how it stands; the slots that it may use if they changed since ``seen``."""
        beat = Beat.from_note(note)
        job = self.jobs.hear(beat, self.wall())
        for host, pid in beat.gone:
            self.rules.processor_gone(host, pid, self.clock())
        self.jobs.rebalance_soon()
        return self.jobs.answer(job, beat.seen)

    def await_resource(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """Where a resource lies on a host, or that the asker is to build it; None while somebody else builds it."""
        return self.rules.await_resource(note, self.clock(), self.wall())

    def settle_rule(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """A processor built a resource, or could not."""
        return self.rules.settle_rule(note, self.clock(), self.wall())

    def missing_resources(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the names that have neither a rule nor a built file."""
        return {"missing": self.rules.book.missing(Fields(note).texts("names"))}

    def again(self, method: str, note: Mapping[str, Any], asked: float, late: bool = False) -> dict[str, Any] | None:
        """The answer to a note that had none when it came (``asked``); with ``late`` it is answered in any case."""
        if method == "beat_job":
            return self.jobs.late_answer(note["url"], None if late else int(note.get("seen", 0)))
        answer = self.rules.ask_again(note, asked, self.clock(), self.wall())
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
        beat = Beat.from_note(note)
        before = self.farm.jobs.get(url)
        if before is not None and before.beat.name == name and not before.classic:
            self.farm.direct(before, beat.priority, beat.immediate, beat.demand_ncpu)
        else:
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
            self.farm.drop(url, self.clock())
            self.rules.job_gone(name, job.marks, job.pids, self.clock())
        self.jobs.rebalance_soon()
        return True

    def register_processor(self, host: str, pid: int, url: str) -> bool:
        """A classic processor of the job at ``url`` runs on ``host``."""
        self.farm.join(self.jobs.job(url), check_host(host), _pid(pid), self.clock())
        self._did("register_processor host=%s pid=%d url=%s", host, pid, url)
        return True

    def unregister_processor(self, host: str, pid: int, url: str) -> bool:
        """It ends; the locks that it holds are free."""
        job = self.farm.jobs.get(check_text("url", url))
        if job is not None:
            self.farm.leave(job, check_host(host), _pid(pid), self.clock())
        self.rules.processor_gone(check_host(host), _pid(pid), self.clock())
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
        job.heard = self.clock()
        self._did("request_cpus %s url=%s", name, url)
        self.jobs.rebalance()
        return self.farm.to_start(job)

    def get_resource(self, host: str, pid: int, rsrc: str) -> str | bool:
        """The path of a resource on a host; False: apply its rule; True: wait, it is being built."""
        self._did("get_resource %s host=%s pid=%d", check_text("rsrc", rsrc), check_host(host), _pid(pid))
        return self.rules.look(host, pid, rsrc)

    def acquire_rule(self, host: str, pid: int, rsrc: str) -> list[str] | bool:
        """The rule, locked for this processor on this host; True: wait, it is being built."""
        self._did("acquire_rule %s host=%s pid=%d", check_text("rsrc", rsrc), check_host(host), _pid(pid))
        return self.rules.acquire(host, pid, rsrc, self.clock(), self.wall())

    def release_rule(self, host: str, pid: int, rsrc: str) -> bool:
        """Free a lock: the processor's own at the end of its work, or by hand."""
        path = self.rules.release(check_host(host), _pid(pid), check_text("rsrc", rsrc), self.clock(), self.wall())
        self._did("release_rule %s host=%s pid=%d built=%s", rsrc, host, pid, path)
        return True

    # --- directives of people ---

    def load_balance(self) -> bool:
        """Share the hosts anew, now."""
        self._did("load_balance")
        self.jobs.rebalance()
        return True

    def setrule(self, rsrc: str, rule: object) -> bool:
        """Set how a resource is made: (local path, shell command with %s)."""
        checked = self.rules.set(rsrc, rule)
        self._did("setrule %s path=%s command=%s", rsrc, checked.path, checked.command)
        return True

    def delrule(self, rsrc: str) -> bool:
        """Forget a rule; files that it built stay in use."""
        self.rules.delete(rsrc)
        self._did("delrule %s", rsrc)
        return True

    def del_lock(self, host: str, rsrc: str) -> bool:
        """Free a lock, whoever holds it."""
        pid = self.rules.unlock(check_host(host), check_text("rsrc", rsrc))
        self._did("del_lock %s host=%s pid=%d", rsrc, host, pid)
        return True

    def retry_unused_hosts(self) -> bool:
        """Try hosts that are not in use, and rules that failed, again now."""
        unused = self.farm.retry_unused()
        self.rules.retry()
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
        return farmview.status(self)

    def get_farm(self) -> dict[str, Any]:
        """Everything that is known, as a dictionary."""
        self.jobs.rebalance_soon()
        return farmview.farm(self)

    def stop(self) -> bool:
        """End the ResourceController. Its jobs go on."""
        if self.on_stop is None:
            raise StateError("this ResourceController is part of its job and ends with it")
        self._did("stop")
        self.on_stop()
        return True

    # --- time ---

    def tick(self) -> None:
        """Call it every second: takes up edits of the hosts file, drops silent jobs, rebalances what is due."""
        for job in self.jobs.tick():
            self.rules.job_gone(job.beat.name, job.marks, job.pids, self.clock())
        self.rules.forget_ended(self.clock())

    def close(self) -> None:
        """Close the shelves."""
        self.rules.close()

    def _did(self, message: str, *args: object) -> None:
        """Each request is logged with its author."""
        log.info(message + " by=%s", *args, self.author or os.environ.get("USER") or f"uid {os.geteuid()}")


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise BadInput(f"{name} must be a number from 0, not {value!r}")
    return float(value)


def _pid(pid: object) -> int:
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 0:
        raise BadInput(f"a pid is a whole number, not {str(pid)[:80]!r}")
    return pid
