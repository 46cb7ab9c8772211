"""Trials: when tasks fail at once on one host, is it the host or are it the tasks?

A host whose first tasks all fail in no time eats a job: it is always free for more. The run asks here how much such
a host may be given, and whether it is to rest: that is known when others do better. Here are names and numbers
only; time, tasks and processes are the caller's.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

#: a task that failed sooner than this says something about its host; one that fails within milliseconds does, however
#: busy the machine is
AT_ONCE_S = 0.2
#: so many of them in a row, without a success between, and the host is to be judged
IN_A_ROW = 5
#: a failure at once, with what its report takes to arrive (it waits for no other task, but for the link and for a busy
#: machine), is here before its task is so old; a task that is older did not fail at once
SHOWN_S = 1.0
#: processors that may leave a host one after another with too many errors, or unable to start, without one task done
#: there, before it rests; and so many in all, before the job stops
LEAVES = 3
#: positions whose failures were put down to a host are remembered up to so many
MOST_EXCUSED = 100_000


class Judgement(Enum):
    """What is known of a host."""

    FINE = "nothing speaks against it, or the tasks are at fault"
    DOUBTFUL = "all fails there, and nobody can tell yet how others do"
    AT_FAULT = "all fails there, and others do better"


class Trials:
    """The hosts of one run. A host is named by any text; a task by its position."""

    def __init__(self) -> None:
        self._good: set[str] = set()
        self._in_a_row: dict[str, list[int]] = {}
        self._excused: set[int] = set()
        #: hosts in doubt that were sent to rest, and those that may try one task after it
        self._resting: set[str] = set()
        self._probing: set[str] = set()

    def succeeded(self, host: str) -> None:
        """A task was done there."""
        self._in_a_row.pop(host, None)
        self._probing.discard(host)
        self._good.add(host)

    def failed(self, host: str, position: int, took_s: float) -> None:
        """The task at ``position`` failed there. One that failed elsewhere before says nothing about this host."""
        if took_s < AT_ONCE_S and position not in self._excused:
            self._in_a_row.setdefault(host, []).append(position)
            self._probing.discard(host)

    def proven(self, host: str) -> bool:
        """Was the last that was heard of it a success?"""
        return host in self._good and host not in self._in_a_row

    @property
    def doubtful(self) -> list[str]:
        """The hosts that wait to be judged."""
        return [host for host in self._in_a_row if self._full(host)]

    def judge(self, host: str, others: Collection[str]) -> Judgement:
        """``others``: the other hosts that have processors."""
        if not self._full(host) or not others:
            return Judgement.FINE
        if any(other in self._good and not self._full(other) for other in others):
            return Judgement.AT_FAULT
        return Judgement.FINE if any(other in self._in_a_row for other in others) else Judgement.DOUBTFUL

    def room(self, host: str, others: Collection[str], young: int, old: int = 0) -> int | None:
        """How many tasks more it may be given while so many are there: ``young`` ones, which may all fail at once yet,
        and ``old`` ones, which did not within SHOWN_S. None: as many as it wants.

        A host that has not done any has no more young ones than it takes to judge it, however many processors it has,
        or than there are old ones: what takes its time fills it by doubling. A failure is one of those that judge it.
        """
        if not others or self.proven(host):
            return None
        if self.judge(host, others) is not Judgement.FINE:
            return max(0, 1 - young) if host in self._probing else 0
        row = self._in_a_row.get(host)
        if row is None:
            return max(0, max(IN_A_ROW, old) - young)
        return max(0, IN_A_ROW - len(row) - young) if not self._full(host) else None

    def rest(self, host: str) -> bool:
        """It is in doubt and is to rest; False if it was told so already."""
        if host in self._resting or host in self._probing:
            return False
        self._resting.add(host)
        return True

    def again(self, host: str) -> None:
        """A processor begins there: after a rest it may try one task."""
        if host in self._resting:
            self._resting.discard(host)
            self._probing.add(host)

    def blame(self, host: str) -> list[int]:
        """It is at fault: the positions that failed there, which are to be tried elsewhere; it begins anew."""
        row = self._in_a_row.pop(host, [])
        for known in (self._good, self._resting, self._probing):
            known.discard(host)
        if len(self._excused) < MOST_EXCUSED:
            self._excused.update(row)
        return sorted(set(row))

    def _full(self, host: str) -> bool:
        return len(self._in_a_row.get(host, ())) >= IN_A_ROW
