"""The ResourceController: shares hosts among jobs, and says which resource is where and who builds it.

Three kinds of peers call it: Coordinators (``beat_job``), processors by way of their Coordinator (``await_resource``,
``settle_rule``), and people and classic clients (``xmlrpc_methods``: classic.py and directives.py). Decisions are
core.farm's and core.rules', kept up to date by the desks of its office. controller.py puts it on the wire; a
Coordinator may also hold one in its own process, with ``hosts=``. It starts no process, reaches no host, and never
stops a job. An answer of None to a note means: nothing to say yet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from coordinator import classic, directives
from coordinator.classic import ClassicCalls
from coordinator.core.beats import Beat, Fields, check_positive
from coordinator.core.farm import Farm
from coordinator.core.hosts import HostInfo, check_host
from coordinator.directives import Directives
from coordinator.office import Office


class ResourceController:
    """One farm. ``rebalance_frequency`` in seconds is an upper bound: every event rebalances at once.

    With ``hosts`` ({name: slots}) there is no hosts file, load is not asked for, and the shelves are made when the
    first rule is set. ``clock`` gives seconds and only goes forward.
    """

    xmlrpc_methods: ClassVar[dict[str, int]] = dict.fromkeys((*classic.METHODS, *directives.METHODS), 0)
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

        self.name, self.port, self.host, self.clock, self.wall = check_name(rc), port, host, clock, wall
        self.directory = os.path.abspath(directory)
        self.errlog = os.path.join(self.directory, errlog if isinstance(errlog, str) and errlog else f"{rc}.log")
        self.office = Office(
            self.name,
            self.directory,
            self.errlog,
            hosts,
            check_positive("throttle", throttle),
            check_positive("overload_margin", overload_margin),
            check_positive("rebalance_frequency", rebalance_frequency),
            clock,
            wall,
        )
        calls = ClassicCalls(self.office)
        self.register_coordinator = calls.register_coordinator
        self.unregister_coordinator = calls.unregister_coordinator
        self.register_processor = calls.register_processor
        self.unregister_processor = calls.unregister_processor
        self.report_load = calls.report_load
        self.request_cpus = calls.request_cpus
        self.get_resource = calls.get_resource
        self.acquire_rule = calls.acquire_rule
        self.release_rule = calls.release_rule
        people = Directives(self.office)
        self.load_balance = people.load_balance
        self.setrule = people.setrule
        self.delrule = people.delrule
        self.del_lock = people.del_lock
        self.retry_unused_hosts = people.retry_unused_hosts
        self.setthrottle = people.setthrottle
        self.get_hostinfo = people.get_hostinfo
        self.set_hostinfo = people.set_hostinfo
        self.setload = people.setload
        self.get_status = people.get_status
        self.get_farm = people.get_farm
        self.add_user = people.add_user
        self.remove_user = people.remove_user
        self.get_users = people.get_users
        self.get_tickets = people.get_tickets
        self.stop = people.stop

    @property
    def farm(self) -> Farm:
        return self.office.farm

    @property
    def version(self) -> int:
        """Rises whenever a question that had no answer may have one now."""
        return self.office.version

    # --- notes: what our own Coordinators and processors say ---

    def beat_job(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """A Coordinator registers, or tells how it stands; the slots that it may use if they changed since ``seen``."""
        office = self.office
        beat = replace(Beat.from_note(note), user=office.user())
        office.claim(beat.url)
        job = office.jobs.hear(beat, self.wall())
        for host, pid in beat.gone:
            office.processor_gone(host, pid)
        office.look_at_rules()
        office.jobs.rebalance_soon()
        return self._introducing(beat.url, office.jobs.answer(job, beat.seen))

    def await_resource(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """Where a resource lies on a host, or that the asker is to build it; None while somebody else builds it."""
        return self.office.desk(note.get("name")).await_resource(self._marked(note), self.clock(), self.wall())

    def settle_rule(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """A processor built a resource, or could not."""
        fields = Fields(note)
        place = (check_host(fields.text("host")), fields.text("name"))
        desk = self.office.rules.holding(self.office.caller, place, note.get("lock"))
        self.office.check_lock(desk, place)
        answer = desk.settle_rule(note, self.clock(), self.wall())
        self.office.look_at_rules()
        return answer

    def missing_resources(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the names that have neither a rule nor a built file."""
        return {"missing": self.office.rules.missing(self.office.caller, Fields(note).texts("names"))}

    def again(self, method: str, note: Mapping[str, Any], asked: float, late: bool = False) -> dict[str, Any] | None:
        """The answer to a note that had none when it came (``asked``); with ``late`` it is answered in any case."""
        if method == "beat_job":
            url = note["url"]
            seen = None if late else int(note.get("seen", 0))
            return self._introducing(url, self.office.jobs.late_answer(url, seen))
        desk = self.office.desk(note.get("name"))
        answer = desk.ask_again(self._marked(note), asked, self.clock(), self.wall())
        return {"state": "wait"} if answer is None and late else answer

    def _introducing(self, url: str, answer: dict[str, Any] | None) -> dict[str, Any] | None:
        secret = self.office.users.secret_of(url)
        return answer if answer is None or secret is None else {**answer, "visitors": secret}

    def _marked(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        mark = self.office.rules.mark(self.office.caller, Fields(note).text("job", ""))
        return {**note, "job": mark}

    # --- time ---

    def tick(self) -> None:
        """Call it every second: takes up edits of the hosts file, drops silent jobs, rebalances what is due."""
        self.office.tick()

    def processor_gone(self, host: str, pid: int) -> None:
        """A processor of this process' own job has ended: the locks that it holds are free."""
        self.office.processor_gone(host, pid)

    def close(self) -> None:
        """Close the shelves."""
        self.office.close()
