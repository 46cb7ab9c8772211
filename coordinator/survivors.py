"""Survivors: keepers and processors of a run's earlier lives, which may come back to this one.

A killed Coordinator leaves in NAME.run which keepers it had. Its successor asks here whether to wait for them, says
in its own run file whom a next one may still hear of, and takes the tasks from those that are known to be dead.
It starts and ends no process.
"""

from __future__ import annotations

import socket
from typing import Any

from coordinator import procs
from coordinator.crew import Post
from coordinator.executors.choice import is_here
from coordinator.hired import NOT_HEARD_OF
from coordinator.job import Job

#: seconds that a restarted Coordinator waits for its keepers before it starts new ones: for those here, and those on a
#: host elsewhere, which may be busy and have a network between
RETURN_S, FAR_S = 2.5, 10.0


class Survivors:
    """``left``: the run file of the killed life before this one; None if that ended in order, or there was none."""

    def __init__(self, job: Job, left: dict[str, Any] | None) -> None:
        self._job = job
        self.awaited = left is not None and may_return(left)
        self._unheard: list[dict[str, Any] | None] = list(left.get("keepers", [])) if left and self.awaited else []
        #: are there processors that people started by hand?
        self.strangers = bool(left.get("strangers")) if left and self.awaited else False

    def wait(self, now: float) -> None:
        """Give them time to come back before new keepers are started."""
        if self.awaited:
            crew = self._job.crew
            crew.not_before = now + RETURN_S
            far = [str(one["host"]) for one in self._unheard if one is not None and "keeper" in one]
            crew.awaited = dict.fromkeys(far, now + FAR_S)

    def published(self) -> dict[str, Any]:
        """For the run file: keepers and strangers that a successor may hear of."""
        keepers = [_mark(post) for post in self._job.crew.posts.values()]
        # Those of earlier lives that have not come back yet may come back to the next one.
        self._unheard = [one for one in self._unheard if one not in keepers and _could_be(one)]
        return {"keepers": [*keepers, *self._unheard], "strangers": self.strangers}

    def still_awaited(self, now: float) -> bool:
        """May somebody come who was not heard yet?"""
        return now < self._job.crew.not_before and bool(self._unheard)

    def look(self, now: float) -> None:
        """When the wait is over: a processor that no keeper here has, and whose own is dead, died with a lease."""
        if not self.awaited or now < self._job.crew.not_before:
            return
        if self.strangers or any(_could_be(one) for one in self._unheard):
            return  # while they do not come, nor end, only time tells: their leases lapse
        run = self._job.run
        here = {number for post in self._job.crew.posts.values() for number in post.numbers}
        # It may have spoken to this life before it died with its keeper, which had not.
        missing = [n for n in run.ledger.holders() if n not in here and ((h := run.hired.get(n)) is None or h.kept)]
        for number in missing:
            self._job.log.info("processor missed number=%d: its keeper is dead, its tasks go to others", number)
            run.depart(number, NOT_HEARD_OF, None, now)
        self.awaited = bool(missing)  # one that was about to die may have said one more word


def may_return(left: dict[str, Any]) -> bool:
    """Can processors of the life that left this run file still be there? Then their leases are theirs for a while.

    Not if all its keepers were on this machine and are dead, since processors end with their keeper.
    """
    return bool(left.get("strangers")) or any(_could_be(one) for one in left.get("keepers", [None]))


def _mark(post: Post) -> dict[str, Any] | None:
    """By which a successor knows it again: one here by its process, one on another machine by its name."""
    if not is_here(post.host):
        return {"keeper": post.keeper, "host": post.host}
    identity = procs.identity_of(post.pid)
    return identity._asdict() if identity is not None else None


def _could_be(keeper: dict[str, Any] | None) -> bool:
    """Could it still live? Of one on another machine nobody here can tell."""
    if keeper is None or "keeper" in keeper:
        return True
    identity = procs.ProcessIdentity(**keeper)
    return identity.host != socket.gethostname() or procs.is_alive(identity)
