"""A farm's hosts and jobs without machines: the production Farm and balancer under seeded random events.

``simulate_farm(seed)`` plays Coordinators that come, beat, fall silent, come back under their name on another port, ask
for this and that; hosts that join, leave, are overloaded by other people; a ResourceController that sleeps or starts
again. Each Plan is judged by core/simulateshares.py, and after each event the farm's counts must be ours. The same seed
gives the same events. coordinator/farmdesk.py carries the same calls in production.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from coordinator.core.beats import Beat
from coordinator.core.farm import SILENT_S, Farm
from coordinator.core.hosts import HostInfo
from coordinator.core.simulateplay import Play, demand
from coordinator.core.simulateshares import Report, judge

STEPS = 90
HUGE = 1000.0
WEIGHTS = {
    **{"come": 12, "beat": 60, "follow": 40, "time": 30, "die": 3, "leave": 3, "come back": 4, "ask anew": 6},
    **{"direct": 3, "cut off": 3, "overload": 6, "fall": 6, "host joins": 4, "host leaves": 3, "maxload": 4},
    **{"throttle": 2, "retry": 2, "sleep": 2, "start again": 2},
}


@dataclass
class Owner:
    """A Coordinator as it is; the farm knows what its last beat said. ``order``: its place in the queue."""

    name: str
    order: int
    port: int
    wishes: dict[str, Any]
    alive: bool = True
    known: bool = False
    heard: float = 0.0
    told: dict[str, int] = field(default_factory=dict)
    processors: dict[str, int] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.name}:{self.port}"


def simulate_farm(seed: int) -> tuple[str, Counter[str]]:
    """Play one seed; the digest of what happened, and how often each thing did. Raises Violation."""
    play = _Play(seed)
    play.play()
    return play.digest(), play.events


class _Play(Play):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        names = [f"h{number}" for number in range(self.rng.randrange(1, 4))]
        self.hosts = {name: HostInfo(name, self.rng.choice((1.0, 2.0, 3.5))) for name in names}
        self.owners: list[Owner] = []
        self.others: dict[str, float] = {}
        #: when each host was reported to be overloaded (True) or free, since the controller started
        self.reports: dict[str, list[Report]] = {}
        self._throttle = 1.0
        self._version = 0
        self.farm = self._new_farm()

    def _new_farm(self) -> Farm:
        self._version += 1_000_000
        farm = Farm(self._version, self._throttle)
        farm.set_hosts(self.hosts)
        return farm

    def chaos(self) -> None:
        self.draw(WEIGHTS, STEPS)

    def calm(self) -> None:
        """Everybody beats, loads fall, processors follow: each job runs what the Plan says, and nothing moves on."""
        self.others.clear()
        for owner in self.owners:
            owner.unreachable.clear()
        for _ in range(6):
            self.happen("time", partial(self._pass, SILENT_S / 2))
            for owner in [one for one in self.owners if one.alive]:
                self.happen("beat", partial(self._beat, owner))
                self.happen("follow", partial(self._follow, owner))
                self.happen("beat", partial(self._beat, owner))
        demand({one.url for one in self.owners if one.alive} == set(self.farm.jobs), "the queue is not who lives")
        for owner in [one for one in self.owners if one.alive]:
            slots = dict(self.farm.jobs[owner.url].slots)
            demand(owner.processors == slots, f"{owner.name} runs {owner.processors}, and its slots are {slots}")
        demand(not self.farm.rebalance(self.now), "the same question got another Plan")

    # --- jobs ---------------------------------------------------------------------------------------

    def _wishes(self) -> dict[str, Any]:
        rng = self.rng
        return {
            "priority": rng.choice((1.0, 1.0, 2.0, 0.5, 0.0)),
            "immediate": rng.random() < 0.5,
            "demand_ncpu": rng.choice((0, 0, 0, 0, 2)),
            "ncpu_limit": rng.choice((None, None, None, 1, 3)),
            "wants": rng.choice((None, None, None, 0, 2)),
        }

    def _some(self, alive: bool = True) -> Owner | None:
        owners = [one for one in self.owners if one.alive == alive]
        return self.rng.choice(owners) if owners else None

    def do_come(self) -> bool:
        if sum(one.alive for one in self.owners) >= 4:
            return False
        self.owners.append(Owner(f"j{len(self.owners)}", 0, 8888, self._wishes()))
        self._beat(self.owners[-1])
        return True

    def do_beat(self) -> bool:
        owner = self._some()
        if owner is None or self.rng.random() < 0.1:
            return False  # lost on its way
        self._beat(owner)
        return True

    def _beat(self, owner: Owner) -> bool:
        loads = {}
        for host, count in owner.processors.items():
            others = self.others.get(host, 0.0)
            loads[host] = others + count
            if host in self.hosts:
                self.reports.setdefault(host, []).append((self.now, others == HUGE))
        beat = Beat(
            owner.name,
            owner.url,
            host="here",
            directory="/d",
            processors=dict(owner.processors),
            loads=loads,
            unreachable=dict(owner.unreachable),
            **owner.wishes,
        )
        known = owner.url in self.farm.jobs
        job, new = self.farm.hear(beat, self.now, 0.0)
        demand(new != known, f"{owner.name} is new: {new}")
        owner.known, owner.heard = True, self.now
        if self.farm.due:
            self._rebalance()
        owner.told = dict(job.slots)
        return True

    def do_follow(self) -> bool:
        owner = self._some()
        return owner is not None and self._follow(owner)

    def _follow(self, owner: Owner) -> bool:
        """Its processors become what it was told."""
        owner.processors = dict(owner.told)
        return True

    def do_die(self) -> bool:
        owner = self._some()
        if owner is not None:
            owner.alive = False
        return owner is not None

    def do_leave(self) -> bool:
        owner = self._some()
        if owner is None:
            return False
        owner.alive = False
        self.farm.drop(owner.url, self.now)
        return True

    def do_come_back(self) -> str | bool:
        """A Coordinator that was killed starts again under its name, on another port."""
        owner = self._some(alive=False)
        if owner is None:
            return False
        before = self.farm.jobs.get(owner.url)
        owner.alive, owner.port = True, owner.port + 1
        self._beat(owner)
        job = self.farm.jobs[owner.url]
        demand(before is None or before.order == job.order, f"{owner.name} came back and lost its place")
        return "in time" if before is not None else "too late"

    def do_ask_anew(self) -> bool:
        owner = self._some()
        if owner is None:
            return False
        owner.wishes = self._wishes()
        self._beat(owner)
        return True

    def do_direct(self) -> bool:
        """People change a job's priority; what the Coordinator itself said before does not undo it."""
        owner = self._some()
        job = self.farm.jobs.get(owner.url) if owner is not None else None
        if owner is None or job is None:
            return False
        self.farm.direct(job, 3.0, True, 0)
        self._beat(owner)
        demand(self.farm.jobs[owner.url].beat.priority == 3.0, f"the next beat of {owner.name} undid a directive")
        return True

    def do_cut_off(self) -> bool:
        owner = self._some()
        if owner is None or not self.hosts:
            return False
        host = self.rng.choice(list(self.hosts))
        if owner.unreachable.pop(host, None) is None:
            owner.unreachable[host] = "no route"
        return True

    # --- hosts, loads, people -----------------------------------------------------------------------

    def do_overload(self) -> bool:
        self.others[self.rng.choice(("h0", "h1", "h2"))] = HUGE
        return True

    def do_fall(self) -> bool:
        return bool(self.others) and self.others.pop(self.rng.choice(list(self.others))) > 0

    def do_host_joins(self) -> bool:
        name = self.rng.choice(("h0", "h1", "h2"))
        return name not in self.hosts and self._set_host(name)

    def do_maxload(self) -> bool:
        return bool(self.hosts) and self._set_host(self.rng.choice(list(self.hosts)))

    def _set_host(self, name: str) -> bool:
        self.hosts = {**self.hosts, name: HostInfo(name, self.rng.choice((0.0, 1.0, 1.5, 4.0)))}
        self.farm.set_hosts(self.hosts)
        return True

    def do_host_leaves(self) -> bool:
        if not self.hosts:
            return False
        gone = self.rng.choice(list(self.hosts))
        self.hosts = {name: host for name, host in self.hosts.items() if name != gone}
        self.farm.set_hosts(self.hosts)
        return True

    def do_throttle(self) -> bool:
        self._throttle = self.farm.throttle = self.rng.choice((1.0, 1.0, 0.5, 0.7))
        self.farm.due = True
        return True

    def do_retry(self) -> bool:
        for host in self.farm.retry_unused():
            self.reports.pop(host, None)
        return True

    # --- time ---------------------------------------------------------------------------------------

    def do_time(self) -> str | bool:
        return self._pass(self.rng.choice((1.0, 5.0, 10.0, 20.0)))

    def _pass(self, seconds: float) -> str | bool:
        self.now += seconds
        late = {one.url for one in self.owners if self.now - one.heard > SILENT_S} & set(self.farm.jobs)
        lost = {job.beat.url for job in self.farm.expire(self.now)}
        demand(lost == late, f"{lost} are out of the queue for their silence; silent were {late}")
        self.farm.grow_old(self.now)
        return "jobs lost" if lost else True

    def do_sleep(self) -> str | bool:
        """The controller slept: it judges nobody by that time."""
        self.now += 100.0
        self.farm.renew(self.now)
        for owner in self.owners:
            owner.heard = self.now
        return self._pass(0.0)

    def do_start_again(self) -> bool:
        """It knows hosts again, and jobs when they beat."""
        self.reports.clear()
        self.farm = self._new_farm()
        return True

    # --- the oracle ---------------------------------------------------------------------------------

    def judge(self) -> None:
        if self.farm.due:
            self._rebalance()
        for host in {*self.hosts, "h0", "h1", "h2"}:
            ours = sum(job.processors.get(host, 0) for job in self.farm.jobs.values())
            demand(self.farm.running(host) == ours, f"{self.farm.running(host)} processors on {host}, not {ours}")

    def detail(self) -> object:
        return [sorted(job.slots.items()) for job in self.farm.jobs.values()]

    def _rebalance(self) -> None:
        farm, before = self.farm, {url: (job.slots, job.version) for url, job in self.farm.jobs.items()}
        farm.rebalance(self.now)
        for url, job in farm.jobs.items():
            slots, version = before[url]
            demand(job.version > version or job.slots == slots, f"{url} has other slots and no new version")
        judge(farm, self.now, self.reports)
