"""What people tell a ResourceController to do, and ask it: rules, hosts, shares, users, its end.

RCMonitor and the command line call these by the manual's names. Each directive is carried out at the desks of the
office, logged with its author, and answered when it holds; what only the owner may do says so. Looking changes nothing.
"""

from __future__ import annotations

from typing import Any

from coordinator import farmview
from coordinator.core.beats import check_positive, check_text
from coordinator.core.hosts import check_host
from coordinator.errors import BadInput, StateError
from coordinator.office import Office
from coordinator.userdesk import check_new
from coordinator.wire.codec import legible

METHODS = (
    *("load_balance", "setrule", "delrule", "retry_unused_hosts", "get_status", "setthrottle", "del_lock"),
    *("get_hostinfo", "set_hostinfo", "setload", "get_farm", "get_tickets", "add_user", "remove_user", "get_users"),
    "stop",
)


class Directives:
    """``True`` means: it is done. What cannot be done raises."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def load_balance(self) -> bool:
        """Share the hosts anew, now."""
        self._office.did("load_balance")
        self._office.jobs.rebalance()
        return True

    def setrule(self, rsrc: str, rule: object) -> bool:
        """Set how a resource is made: (local path, shell command with %s). A user's own rule runs in that user's jobs
        only, the owner's in everybody's."""
        checked = self._office.rules.set(self._office.caller, rsrc, rule)
        self._office.did("setrule %s path=%s command=%s", rsrc, checked.path, checked.command)
        return True

    def delrule(self, rsrc: str) -> bool:
        """Forget a rule; files that it built stay in use."""
        self._office.rules.delete(self._office.caller, rsrc)
        self._office.did("delrule %s", rsrc)
        return True

    def del_lock(self, host: str, rsrc: str) -> bool:
        """Free a lock, whoever holds it."""
        desk = self._office.desk(rsrc)
        self._office.check_lock(desk, (check_host(host), check_text("rsrc", rsrc)))
        pid = desk.unlock(host, rsrc)
        self._office.did("del_lock %s host=%s pid=%d", rsrc, host, pid)
        return True

    def retry_unused_hosts(self) -> bool:
        """Try hosts that are not in use, and rules that failed, again now."""
        unused = self._office.farm.retry_unused()
        self._office.rules.retry(self._office.caller)
        self._office.did("retry_unused_hosts: %d hosts", len(unused))
        self._office.jobs.rebalance()
        return True

    def setthrottle(self, throttle: float) -> bool:
        """Scale what is shared: 0.5 leaves half of the load to other people."""
        self._office.jobs.set_throttle(check_positive("throttle", throttle))
        self._office.did("setthrottle %g", throttle)
        self._office.jobs.rebalance()
        return True

    def get_hostinfo(self, host: str, attr: str) -> float | str:
        """An attribute of a host."""
        known = self._office.jobs.known(host).attributes()
        if attr not in known:
            raise BadInput(f"host {host} has no {attr!r}; it has {', '.join(known)}")
        return known[attr]

    def set_hostinfo(self, host: str, attr: str, val: float) -> bool:
        """Set a host's maxload until its line in NAME.hosts is edited or the ResourceController is stopped; an unknown
        host is added."""
        if attr != "maxload":
            source = f"{self._office.name}.hosts" if self._office.jobs.has_file else "a hosts file"
            raise BadInput(f"a call can set maxload only; {str(attr)[:80]!r} and all options come from {source} only")
        self._office.jobs.set_maxload(host, val)
        self._office.did("set_hostinfo %s maxload=%g", host, float(val))
        self._office.jobs.rebalance()
        return True

    def setload(self, host: str, attr: str, val: float) -> bool:
        """The same as set_hostinfo."""
        return self.set_hostinfo(host, attr, val)

    def get_status(self) -> list[Any]:
        """[name, errlog, {host: load}, [[host, maxload]...], [[name, url, priority, allocated_ncpu, ncpu, start]...],
        {resource: [path, command]}, {'host:resource': path}, {'host:resource': pid of its builder}]."""
        self._office.jobs.rebalance_soon()
        found: list[Any] = legible(farmview.status(self._office))
        return found

    def get_farm(self) -> dict[str, Any]:
        """Everything that is known, as a dictionary."""
        self._office.jobs.rebalance_soon()
        found: dict[str, Any] = legible(farmview.farm(self._office))
        return found

    def stop(self) -> bool:
        """End the ResourceController. Its jobs go on. What was set by set_hostinfo, setload and setthrottle ends."""
        if self._office.on_stop is None:
            raise StateError("this ResourceController is part of its job and ends with it")
        self._office.owner_only("stop it")
        self._office.jobs.forget_changes()
        self._office.did("stop")
        self._office.on_stop()
        return True

    # --- users ---

    def add_user(self, name: str) -> str:
        """Admit a user; the token, which is shown this once and kept nowhere."""
        self._office.owner_only("admit users")
        check_new(name, self._office.user())
        token = self._office.users.add(name, self._office.wall())
        self._office.did("add_user %s", name)
        return token

    def remove_user(self, name: str) -> list[str]:
        """The token of a user opens nothing any more; the names of the jobs that left the queue with it. They go on
        with the processors that they have. The user's own rules are forgotten."""
        office = self._office
        office.owner_only("remove users")
        office.users.remove(name)
        urls = office.users.jobs_of(name)
        gone = [job.beat.name for url in urls if (job := office.farm.jobs.get(url)) is not None]
        for url in urls:
            office.drop(url)
        office.rules.forget_user(name)
        office.on_removed(name)
        office.did("remove_user %s jobs=%s", name, gone)
        office.jobs.rebalance()
        return gone

    def get_users(self) -> list[dict[str, Any]]:
        """[{name, since, jobs, rules}...]: since when they are admitted, their jobs' names, their own rules."""
        office = self._office
        office.owner_only("list users")
        found = []
        for user in office.users.list():
            jobs = [job.beat.name for url, job in office.farm.jobs.items() if office.users.owner_of(url) == user.name]
            rules = {name: rule.to_wire() for name, rule in office.rules.of(user.name).items()}
            found.append({"name": user.name, "since": user.since, "jobs": jobs, "rules": rules})
        return found

    def get_tickets(self) -> dict[str, dict[str, Any]]:
        """{url of a job: {mine, user, ticket, fingerprint}}: how the caller may ask each job how it stands."""
        caller, users = self._office.caller, self._office.users
        return {
            url: {
                "mine": users.owner_of(url) == caller,
                "user": caller,
                "ticket": users.ticket(url, caller),
                "fingerprint": job.beat.fingerprint,
            }
            for url, job in self._office.farm.jobs.items()
        }
