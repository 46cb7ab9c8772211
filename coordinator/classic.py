"""The calls of classic Coordinators and processors, with the manual's names and shapes.

controller.py puts them on the wire beside our own notes; whoever speaks XML-RPC can take part in a farm by them. Each
is carried out at the desks of the office and logged with its author. ``False`` never means that something is broken.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.beats import Beat, check_pid, check_positive, check_text
from coordinator.core.hosts import check_host
from coordinator.office import Office

METHODS = (
    *("register_coordinator", "unregister_coordinator", "register_processor", "unregister_processor", "report_load"),
    *("request_cpus", "get_resource", "acquire_rule", "release_rule"),
)


class ClassicCalls:
    """Each says what it did by what it returns, or raises the error that is the fault on the wire."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def register_coordinator(
        self, name: str, url: str, user: str, priority: float, resources: list[str], immediate: bool, demand_ncpu: int
    ) -> bool:
        """Join the queue; for the name and URL of a job in it: change its priority, immediate and demand_ncpu."""
        note = {
            **{"name": name, "url": url, "user": user, "priority": priority, "resources": resources},
            **{"immediate": bool(immediate), "demand_ncpu": demand_ncpu},
        }
        beat = replace(Beat.from_note(note), user=self._office.user())
        before = self._office.farm.jobs.get(url)
        if before is not None and before.beat.name == name and not before.classic:
            self._office.farm.direct(before, beat.priority, beat.immediate, beat.demand_ncpu)
        else:
            self._office.claim(beat.url)
            self._office.farm.hear(beat, self._office.clock(), self._office.wall(), classic=True)
        values = (name, url, user, priority, immediate, demand_ncpu)
        self._office.did("register_coordinator %s url=%s user=%s priority=%g immediate=%s demand_ncpu=%d", *values)
        self._office.jobs.rebalance_soon()
        return True

    def unregister_coordinator(self, name: str, url: str, message: str) -> bool:
        """Leave the queue. The message goes to the log."""
        self._office.did("unregister_coordinator %s url=%s message=%s", name, url, message)
        job = self._office.farm.jobs.get(check_text("url", url))
        if job is not None and job.beat.name == name:
            self._office.check_job(url)
            self._office.drop(url)
        self._office.jobs.rebalance_soon()
        return True

    def register_processor(self, host: str, pid: int, url: str) -> bool:
        """A classic processor of the job at ``url`` runs on ``host``."""
        job = self._office.jobs.job(url)
        self._office.check_job(url)
        self._office.farm.join(job, check_host(host), check_pid(pid), self._office.clock())
        self._office.did("register_processor host=%s pid=%d url=%s", host, pid, url)
        return True

    def unregister_processor(self, host: str, pid: int, url: str) -> bool:
        """It ends; the locks that it holds are free."""
        job = self._office.farm.jobs.get(check_text("url", url))
        if job is not None:
            self._office.check_job(url)
            self._office.farm.leave(job, check_host(host), check_pid(pid), self._office.clock())
        self._office.processor_gone(check_host(host), check_pid(pid))
        self._office.did("unregister_processor host=%s pid=%d url=%s", host, pid, url)
        return True

    def report_load(self, host: str, pid: int, load: float) -> bool:
        """The load of a host in runnable processes. True: go on; False: the host is overloaded."""
        self._office.jobs.known(host)
        load = check_positive("load", load)
        self._office.farm.load(host, load, self._office.clock())
        for job in self._office.farm.jobs.values():
            if (host, pid) in job.pids:
                job.heard = self._office.clock()
        self._office.did("report_load host=%s pid=%d load=%.2f", host, check_pid(pid), load)
        self._office.jobs.rebalance_soon()
        return not self._office.farm.overloaded(host, load)

    def request_cpus(self, name: str, url: str) -> list[str]:
        """Hosts on which the job may start a processor now, one entry for each."""
        job = self._office.jobs.job(url)
        self._office.check_job(url)
        job.heard = self._office.clock()
        self._office.did("request_cpus %s url=%s", name, url)
        self._office.jobs.rebalance()
        return self._office.farm.to_start(job)

    def get_resource(self, host: str, pid: int, rsrc: str) -> str | bool:
        """The path of a resource on a host; False: apply its rule; True: wait, it is being built."""
        self._office.did("get_resource %s host=%s pid=%d", check_text("rsrc", rsrc), check_host(host), check_pid(pid))
        return self._office.desk(rsrc).look(host, pid, rsrc)

    def acquire_rule(self, host: str, pid: int, rsrc: str) -> list[str] | bool:
        """The rule, locked for this processor on this host; True: wait, it is being built."""
        self._office.did("acquire_rule %s host=%s pid=%d", check_text("rsrc", rsrc), check_host(host), check_pid(pid))
        mark = self._office.rules.mark(self._office.caller, "")
        now, at = self._office.clock(), self._office.wall()
        return self._office.desk(rsrc).acquire(host, pid, rsrc, now, at, mark)

    def release_rule(self, host: str, pid: int, rsrc: str) -> bool:
        """Free a lock: the processor's own at the end of its work, or by hand."""
        desk = self._office.desk(rsrc)
        self._office.check_lock(desk, (check_host(host), check_text("rsrc", rsrc)))
        path = desk.release(host, check_pid(pid), rsrc, self._office.clock(), self._office.wall())
        self._office.did("release_rule %s host=%s pid=%d built=%s", rsrc, host, pid, path)
        return True
