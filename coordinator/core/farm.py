"""The farm as the ResourceController sees it: its hosts, their loads, the jobs in the queue, and the last Plan.

The ResourceController tells it what happened (a beat, a load, a host's new maxload, time passing) and asks what each
job may have. Time comes in as ``now``, seconds of a clock that only goes forward; ``at`` is wall time, for people.
It calls nobody and keeps nothing on disk. A job that is not heard of leaves the queue; its processors go on without
us, for they are its Coordinator's.
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.core.balance import Plan, assign, room
from coordinator.core.beats import Beat
from coordinator.core.hosts import HostInfo
from coordinator.core.jobs import Job, Places, known_by
from coordinator.core.loads import LOOKS_AT_ONCE, HostLoad, ask_for

#: a job whose Coordinator is silent for so long is out of the queue: within 30 s of its death, looks and all
SILENT_S = 28.0
#: after the ResourceController came back, jobs that were there before keep what they have for so long, and grow later:
#: the slots of those that are not back yet look free
SETTLE_S = 5.0
#: a Coordinator that knows only the classic calls has no beat; its processors report every ten minutes
CLASSIC_SILENT_S = 1800.0


class Farm:
    """Hosts, loads and jobs. ``first`` starts the version numbers of this life, larger than those of any earlier one.

    ``loads_matter`` False: somebody asked for exactly these slots, whatever else the machine does.
    """

    def __init__(
        self, first: int = 1, throttle: float = 1.0, overload_margin: float = 0.6, loads_matter: bool = True
    ) -> None:
        self.hosts: dict[str, HostInfo] = {}
        self.jobs: dict[str, Job] = {}
        self.throttle = throttle
        self.overload_margin = overload_margin
        self.plan = Plan({}, {}, {})
        #: rises whenever any answer may have changed
        self.version = first
        self._first = first
        #: rises when people ask to try unused hosts again
        self.retry = first
        self.due = True
        #: when this life of the ResourceController began, wall time; 0 where nobody cares
        self.born = 0.0
        self._loads: dict[str, HostLoad] = {}
        self._loads_matter = loads_matter
        self._order = 0
        self._places = Places()
        #: {url: {host: why}} of hosts that can be reached and are of no use to a job, for want of a resource
        self.barred: dict[str, dict[str, str]] = {}

    # --- jobs ---

    def hear(self, beat: Beat, now: float, at: float, classic: bool = False) -> tuple[Job, bool]:
        """A Coordinator registers or beats. Returns its job, and whether it is new in the queue."""
        job = self.jobs.get(beat.url)
        if job is not None and job.beat.name != beat.name:
            self.drop(beat.url, now)  # another job on a dead job's port is not that job
            job = None
        new = job is None
        if job is None:
            self._order += 1
            job = Job(beat, self._place(beat, at), at, now, classic)
            # A Coordinator that came back under its name, on another port perhaps, has its place again.
            predecessor = self._with_name(beat)
            if predecessor is not None:
                job.order, job.started = predecessor.order, predecessor.started
                self.drop(predecessor.beat.url, now)
            elif (place := self._places.take(beat, now)) is not None:
                job.order, job.started = place
            if 0 < beat.seen < self._first:
                job.settles = now + SETTLE_S
            self.jobs[beat.url] = job
            self._count(job.processors, +1, now)
            self.due = True
        else:
            before, was_running = job.claim({}), job.processors
            job.classic = classic
            job.heed(beat)
            job.heard = now
            if job.processors != was_running:
                self._count(was_running, -1, now)
                self._count(job.processors, +1, now)
            self.due |= job.claim({}) != before
        for host, load in beat.loads.items():
            self.load(host, load, now)
        for host, memory_bytes in beat.memory.items():
            if host in self._loads:
                self._loads[host].memory_available_bytes = memory_bytes
        return job, new

    def _place(self, beat: Beat, at: float) -> int:
        """The place of a new job in the queue: the last. Jobs that are older than we are, and join again after our
        restart, stand before all others, by their age: who works must not wait because somebody else was first."""
        if 0.0 < beat.since < self.born and at - self.born < SILENT_S:
            return round((beat.since - self.born) * 1000)
        return self._order

    def direct(self, job: Job, priority: float, immediate: bool, demand_ncpu: int) -> None:
        """People change what a Coordinator asks for."""
        job.direct((priority, immediate, demand_ncpu))
        self._changed()

    def drop(self, url: str, now: float) -> Job | None:
        job = self.jobs.pop(url, None)
        if job is not None:
            self._count(job.processors, -1, now)
            self._changed()
        return job

    def join(self, job: Job, host: str, pid: int, now: float) -> None:
        """A classic processor registers."""
        job.heard = now
        if (host, pid) not in job.pids:
            job.pids.add((host, pid))
            if job.classic:
                self._count({host: 1}, +1, now)
            self._changed()

    def leave(self, job: Job, host: str, pid: int, now: float) -> None:
        """A classic processor unregisters."""
        job.heard = now
        if (host, pid) in job.pids:
            job.pids.remove((host, pid))
            if job.classic:
                self._count({host: 1}, -1, now)
            self._changed()

    def expire(self, now: float) -> list[Job]:
        """Take the jobs out of the queue that are not heard of. Returns them."""
        lost = [job for job in self.jobs.values() if now - job.heard > (CLASSIC_SILENT_S if job.classic else SILENT_S)]
        for job in lost:
            self.drop(job.beat.url, now)
            self._places.keep(job, now)
        return lost

    def renew(self, now: float) -> None:
        """We slept ourselves: nobody is judged by the time that we were away."""
        for job in self.jobs.values():
            job.heard = now

    def _with_name(self, beat: Beat) -> Job | None:
        who = known_by(beat)
        return next((job for job in self.jobs.values() if who is not None and known_by(job.beat) == who), None)

    # --- hosts and loads ---

    def set_hosts(self, hosts: Mapping[str, HostInfo]) -> None:
        if dict(hosts) != self.hosts:
            # Answers hold the options of hosts too, which the Plan does not show.
            self.hosts = dict(hosts)
            for job in self.jobs.values():
                job.version = 0
            self._changed()

    def load(self, host: str, load: float, now: float) -> None:
        """The load of a host, everybody's processes, ours included."""
        if host not in self.hosts:
            return
        known = self._loads.setdefault(host, HostLoad(ours_now=now))
        known.report(load, now)
        self._room_changed(host, now)

    def overloaded(self, host: str, load: float) -> bool:
        return load > self.hosts[host].maxload + self.overload_margin

    def loads(self) -> dict[str, float]:
        """{host: load}; where nobody reported one, the processors that we know of."""
        shown = {}
        for host in self.hosts:
            known = self._loads.get(host, HostLoad())
            shown[host] = float(known.running) if known.reported is None else known.reported
        return shown

    def memory_available_bytes(self, host: str) -> int | None:
        """What new processes can have on a host; None where nobody said so."""
        known = self._loads.get(host)
        return known.memory_available_bytes if known else None

    def running(self, host: str) -> int:
        known = self._loads.get(host)
        return known.running if known else 0

    def retry_unused(self) -> list[str]:
        """Forget the load of hosts where nothing of ours runs, and let every job try its unreachable hosts again."""
        unused = [host for host in self.hosts if not self.running(host)]
        for host in unused:
            self._loads.pop(host, None)
        self.retry += 1
        for job in self.jobs.values():
            job.version = 0
        self._changed()
        return unused

    def bar(self, barred: Mapping[str, Mapping[str, str]]) -> None:
        """``barred``: {url of a job: {host: why it is of no use to that job}}."""
        self.barred = {url: dict(hosts) for url, hosts in barred.items() if hosts}
        self._changed()

    def tell_all(self) -> None:
        """Every Coordinator is answered anew."""
        for job in self.jobs.values():
            job.version = 0
        self._changed()

    def _count(self, processors: Mapping[str, int], sign: int, now: float) -> None:
        for host, count in processors.items():
            known = self._loads.setdefault(host, HostLoad(ours_now=now))
            known.follow(now)
            known.running = max(0, known.running + sign * count)
        self.due = True

    def _room_changed(self, host: str, now: float) -> None:
        if self._loads_matter and self.plan.room.get(host) != self._room(host, now):
            self.due = True

    def _room(self, host: str, now: float) -> int:
        return room(self.hosts[host].maxload, self._loads[host].of_others(now), self.overload_margin)

    def _look_around(self, now: float) -> None:
        """Ask the first job that works to look at hosts that nobody tells of, a few at a time: their load, memory and
        whether they can be reached are to be known before they are given to anybody."""
        for job in self.jobs.values():
            still = tuple(host for host in job.look if self._is_looked_at(host, job, now))
            if still != job.look:
                self._ask_to_look(job, still)
        able = [job for job in self.jobs.values() if any(job.processors.values()) and not job.classic]
        able = [job for job in able if job.state(now) != "lost"]
        more = LOOKS_AT_ONCE - sum(len(job.look) for job in self.jobs.values())
        if not able or more <= 0:
            return
        taken = {host for job in self.jobs.values() for host in (*job.slots, *job.processors, *job.beat.unreachable)}
        idle = (host for host, info in self.hosts.items() if info.maxload > 0 and host not in taken)
        if asked := ask_for(idle, self._loads, now, more):
            first = min(able, key=lambda job: job.order)
            self._ask_to_look(first, (*first.look, *asked))

    def _is_looked_at(self, host: str, job: Job, now: float) -> bool:
        known = self._loads.get(host, HostLoad())
        return known.awaited(now) and host in self.hosts and host not in job.beat.unreachable

    def _ask_to_look(self, job: Job, hosts: tuple[str, ...]) -> None:
        job.look = hosts
        self.version += 1
        job.version = self.version

    # --- the Plan ---

    def grow_old(self, now: float) -> None:
        """Loads that are too old to count make room, and jobs that have come back may grow; call it now and then."""
        for job in self.jobs.values():
            if 0.0 < job.settles <= now:
                job.settles = 0.0
                self.due = True
        if self._loads_matter:
            self._look_around(now)
        for host in self._loads.keys() & self.hosts.keys():
            self._room_changed(host, now)

    def rebalance(self, now: float) -> list[Job]:
        """Make a new Plan. Returns the jobs whose answer changed."""
        others = {host: known.of_others(now) for host, known in self._loads.items()} if self._loads_matter else {}
        claims = [job.claim(job.slots, self._barred(job), now < job.settles) for job in self.jobs.values()]
        self.plan = assign(self.hosts, others, {}, claims, self.throttle, self.overload_margin)
        self.due = False
        changed = []
        for url, job in self.jobs.items():
            slots, reason = self.plan.slots[url], self.plan.reasons.get(url)
            if now < job.settles and not slots:
                reason = "the ResourceController has just come back and hears first what other jobs have"
            if job.version == 0 or slots != job.slots or reason != job.reason:
                changed.append(job)
                self.version += 1
                job.slots, job.reason, job.version = slots, reason, self.version
        return changed

    def _barred(self, job: Job) -> Mapping[str, str] | None:
        """None if there is no host without a fault: then the job meets it everywhere, and is to tell."""
        barred = self.barred.get(job.beat.url, {})
        usable = [host for host, info in self.hosts.items() if info.maxload > 0 and host not in job.beat.unreachable]
        return barred if any(host not in barred for host in usable) else None

    def to_start(self, job: Job) -> list[str]:
        """Hosts on which the job may start a processor now, one entry for each."""
        running = job.processors
        return [host for host, count in job.slots.items() for _ in range(count - running.get(host, 0))]

    def _changed(self) -> None:
        self.version += 1
        self.due = True
