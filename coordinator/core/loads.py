"""Load of a host: which part of it is ours, and which part other people's.

A load average lags a minute behind. What it still shows of processors that ended a moment ago would keep the next job
from their slots, and what it does not yet show of new ones would invite too many; so our own part is followed with the
same inertia as the kernel's. The farm keeps one HostLoad for each host. Nothing is measured here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

#: the kernel's one-minute load average follows what runs with this time constant
LOAD_MEMORY_S = 60.0
#: others' load counts as the least within this time, so that a spike makes nobody leave
SPIKE_S = 15.0
#: after this a load is history; on a host where nothing of ours runs nobody will report a newer one
FRESH_S = 900.0
FRESH_IF_IDLE_S = 120.0
#: a host where nothing of ours runs is looked at so often, before its load is history
LOOK_S = 100.0
#: and so many at a time; whoever was asked and has not told by then is not waited for
LOOKS_AT_ONCE = 4
LOOK_HANG_S = 60.0


@dataclass
class HostLoad:
    """What is known of the load of a host. ``ours`` follows what the kernel's average says of our own processors."""

    reported: float | None = None
    reported_now: float = -math.inf
    memory_available_bytes: int | None = None
    #: when somebody was last asked to look there
    asked: float = -math.inf
    running: int = 0
    ours: float = 0.0
    ours_now: float = 0.0
    others: deque[tuple[float, float]] = field(default_factory=deque)

    def follow(self, now: float) -> None:
        """A load average still shows processors that have ended a moment ago; that load is ours, not other people's."""
        fade = math.exp(-max(0.0, now - self.ours_now) / LOAD_MEMORY_S)
        self.ours = self.ours * fade + self.running * (1.0 - fade)
        self.ours_now = now

    def report(self, load: float, now: float) -> None:
        self.follow(now)
        self.reported, self.reported_now = load, now
        self.others.append((now, max(0.0, load - max(self.ours, self.running))))
        while len(self.others) > 1 and self.others[0][0] < now - SPIKE_S:
            self.others.popleft()

    def awaited(self, now: float) -> bool:
        """Has somebody been asked to look, and may still tell?"""
        return self.asked > self.reported_now and now - self.asked < LOOK_HANG_S

    def of_others(self, now: float) -> float:
        fresh = FRESH_S if self.running else FRESH_IF_IDLE_S
        if self.reported is None or now - self.reported_now > fresh:
            return 0.0
        return min(load for _, load in self.others)


def ask_for(hosts: Iterable[str], loads: dict[str, HostLoad], now: float, most: int) -> list[str]:
    """At most so many of the hosts, of which nobody has told for long, nor been asked; they are noted as asked for."""
    found: list[str] = []
    for host in hosts:
        if len(found) >= most:
            break
        known = loads.get(host) or HostLoad(ours_now=now)
        if now - max(known.reported_now, known.asked) >= LOOK_S:
            known.asked = now
            loads[host] = known
            found.append(host)
    return found
