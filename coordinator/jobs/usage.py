"""What an attempt has used against what was asked for it, whatever executor ran it. Values in, values and words out.

The command line and whoever shows jobs ask here. What is not known stays None, and the words say so: an executor that
counts no memory does not make a job that used none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from coordinator.core.needs import GIB, KIB, MIB, TIB, Needs, clock
from coordinator.jobs.records import Attempt


@dataclass(frozen=True)
class Usage:
    """Seconds and bytes. ``cores``: that the job had, on all its nodes; ``time_s``, ``memory_asked``: what was asked;
    ``ended``: is that all it will ever use?"""

    wall_s: float | None
    cpu_s: float | None
    memory: int | None
    cores: int | None
    time_s: int | None
    memory_asked: int | None
    ended: bool

    @property
    def time_share(self) -> float | None:
        return _share(self.wall_s, self.time_s)

    @property
    def cpu_share(self) -> float | None:
        """Of the cores that it had, for as long as it had them."""
        if self.wall_s is None or self.cores is None:
            return None
        return _share(self.cpu_s, self.wall_s * self.cores)

    @property
    def memory_share(self) -> float | None:
        return _share(self.memory, self.memory_asked)

    def told(self) -> dict[str, Any]:
        """For programs."""
        shares = {"time_share": self.time_share, "cpu_share": self.cpu_share, "memory_share": self.memory_share}
        return {**asdict(self), **shares}

    def lines(self) -> list[str]:
        """For people."""
        return [f"time    {self._time()}", f"cpu     {self._cpu()}", f"memory  {self._memory()}"]

    def _time(self) -> str:
        asked = "none was asked" if self.time_s is None else f"of {clock(self.time_s)} asked"
        if self.wall_s is None:
            return f"not known{'' if self.time_s is None else f', {clock(self.time_s)} asked'}"
        so_far = "" if self.ended else " so far"
        return f"{span(self.wall_s)}{so_far}{',' if self.time_s is None else ''} {asked}{_percent(self.time_share)}"

    def _cpu(self) -> str:
        had = "" if self.cores is None else f"{self.cores} core{'s' if self.cores > 1 else ''}"
        if self.cpu_s is None:
            return f"not known{' yet' if not self.ended else ''}{f', of {had}' if had else ''}"
        share = self.cpu_share
        if share is None:
            return f"{span(self.cpu_s)}{f', of {had}' if had else ''}"
        return f"{span(self.cpu_s)}, {share:.0%} of {had}"

    def _memory(self) -> str:
        if self.memory is None:
            asked = "none was asked" if self.memory_asked is None else f"{size(self.memory_asked)} asked"
            return f"not known{' yet' if not self.ended else ''}, {asked}"
        if self.memory_asked is None:
            return f"{size(self.memory)} at most, none was asked"
        return f"{size(self.memory)} at most of {size(self.memory_asked)} asked{_percent(self.memory_share)}"


def usage_of(attempt: Attempt, needs: Needs | None, now: float) -> Usage:
    """``needs``: of its submission, if that is known."""
    ended = attempt.outcome is not None
    wall_s = attempt.wall_s
    if wall_s is None and attempt.began is not None:
        until = attempt.ended if ended else now
        wall_s = None if until is None else max(0.0, until - attempt.began)
    cores = None if needs is None else needs.cores * needs.nodes
    time_s, memory_asked = (None, None) if needs is None else (needs.time_s, needs.memory)
    return Usage(wall_s, attempt.cpu_s, attempt.memory, cores, time_s, memory_asked, ended)


def size(count: int) -> str:
    """Bytes as people ask for them: ``1.5 GiB``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def span(seconds: float) -> str:
    """``12.3 s`` or ``04:59:00``."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(round(seconds))


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _percent(share: float | None) -> str:
    return "" if share is None else f" ({share:.0%})"
