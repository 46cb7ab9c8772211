"""Rest: how long a host, a rule or a task waits before it is tried again.

A Coordinator asks :class:`HostHealth` before it starts processors on a host, and :func:`retry_delay_s` before it
hands a failed task out again. Here are numbers only: nothing is started, nobody is told, no clock is read.
"""

from __future__ import annotations

from typing import NamedTuple

#: so begins what a Coordinator tells of a host that it can reach and leaves alone for a while
RESTING = "resting: "
#: a processor that ends in failure sooner than this says something about its host
FAST_S = 10.0
#: so many of them in a row, without a success between, and the host rests
FAST_FAILURES = 3
FIRST_REST_S = 10.0
LONGEST_REST_S = 600.0


def retry_delay_s(attempt: int, base_s: float, cap_s: float) -> float:
    """Seconds to wait after the failed ``attempt`` (from 1): base, twice base, four times ..., at most the cap."""
    if base_s <= 0 or cap_s <= 0:
        return 0.0
    # Beyond 2**60 every base has met every cap, and the power would no longer fit a float.
    return min(cap_s, base_s * 2.0 ** min(max(attempt, 1) - 1, 60))


class Rest(NamedTuple):
    """A host at rest: until when (seconds of the caller's clock), why, and how often by now without a success."""

    until: float
    reason: str
    times: int


class HostHealth:
    """Which hosts rest, and why. ``now`` is any clock that only goes forward, the same for all calls."""

    def __init__(
        self, base_s: float = FIRST_REST_S, cap_s: float = LONGEST_REST_S, fast_failures: int = FAST_FAILURES
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._fast_failures = fast_failures
        self._in_a_row: dict[str, int] = {}
        self._rests: dict[str, Rest] = {}

    def failed(self, host: str, now: float, lasted_s: float, reason: str) -> Rest | None:
        """A processor (or a launch: lasted_s 0) failed on the host. The rest that begins with it, if one does."""
        if lasted_s >= FAST_S:
            return None
        if (resting := self.resting(host, now)) is not None:
            return resting  # launched together with those that brought the rest: one fault, not three
        self._in_a_row[host] = self._in_a_row.get(host, 0) + 1
        if self._in_a_row[host] < self._fast_failures and host not in self._rests:
            return None
        return self._begin(host, now, reason)

    def unreachable(self, host: str, now: float, reason: str) -> Rest:
        """The host is of no use at all: it rests at once. If it rests already, that is why from now on."""
        resting = self.resting(host, now)
        if resting is None:
            return self._begin(host, now, reason)
        self._rests[host] = resting._replace(reason=reason)
        return self._rests[host]

    def succeeded(self, host: str) -> None:
        """A task was done on the host: all is forgiven."""
        self._in_a_row.pop(host, None)
        self._rests.pop(host, None)

    def resting(self, host: str, now: float) -> Rest | None:
        rest = self._rests.get(host)
        return rest if rest is not None and now < rest.until else None

    def all_resting(self, now: float) -> dict[str, Rest]:
        return {host: rest for host, rest in self._rests.items() if now < rest.until}

    def next_change(self, now: float) -> float | None:
        """When the next rest ends, on the caller's clock; None if nobody rests."""
        return min((rest.until for rest in self.all_resting(now).values()), default=None)

    def clear(self, host: str | None = None) -> None:
        """Try this host, or all of them, again at once (``retry_unused_hosts``)."""
        for table in (self._in_a_row, self._rests):
            if host is None:
                table.clear()
            else:
                table.pop(host, None)

    def _begin(self, host: str, now: float, reason: str) -> Rest:
        before = self._rests.get(host)
        times = before.times + 1 if before else 1
        rest = Rest(now + retry_delay_s(times, self._base_s, self._cap_s), reason, times)
        self._rests[host] = rest
        return rest
