"""Whose rules: a RuleDesk for the owner's, and one for everybody else who set some.

A rule is a shell command that runs on hosts as the user of the job that needs it. The owner's rules are for every job;
a user's own are found by that user's jobs alone, before the owner's. The ResourceController asks it whose desk is
meant, and whose a lock is. It runs no command.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from coordinator.core.jobs import Job
from coordinator.core.rules import Lock, Place, Rule, RuleBook, check_resource
from coordinator.errors import BadInput, NotAuthorised
from coordinator.ruledesk import RuleDesk
from coordinator.users import OWNER

MOST_RULES = 1000


class UserRules:
    """``base`` is directory/NAME; a user's shelves are NAME.USER.rules and NAME.USER.rsrc, made with the first rule."""

    def __init__(self, base: str, first_lock: int, users: Iterable[str] = ()) -> None:
        self._base, self._first_lock = base, first_lock
        self._desks: dict[str, RuleDesk] = {}
        self._past = 0
        for user in users:
            if os.path.lexists(self._path(user, "rules")):
                self.made(user)

    @property
    def version(self) -> int:
        """Rises whenever a waiting question may have an answer."""
        return self._past + sum(desk.version for desk in self._desks.values())

    def of(self, user: str) -> RuleDesk | None:
        return self._desks.get(user)

    def made(self, user: str) -> RuleDesk:
        """The user's desk, which is made if there is none."""
        desk = self._desks.get(user)
        if desk is None:
            desk = self._desks[user] = RuleDesk(f"{self._base}.{user}", lazy=True, first_lock=self._first_lock)
        return desk

    def room(self, user: str, name: object) -> RuleDesk:
        """The same for one more rule. Raises BadInput where there are too many."""
        desk = self.made(user)
        if len(desk.book.rules) >= MOST_RULES and name not in desk.book.rules:
            raise BadInput(f"{user} has {MOST_RULES} rules, and no more can be; delete one first")
        return desk

    def forget(self, user: str) -> None:
        """Who comes later under this name must not run commands of this one."""
        desk = self._desks.pop(user, None)
        if desk is not None:
            self._past += desk.version + 1
            desk.close()
        for kind in ("rules", "rsrc", "built"):
            with suppress(FileNotFoundError):
                os.unlink(self._path(user, kind))

    def __iter__(self) -> Iterator[RuleDesk]:
        return iter(list(self._desks.values()))

    def close(self) -> None:
        for desk in self:
            desk.close()

    def _path(self, user: str, kind: str) -> str:
        return f"{self._base}.{user}.{kind}"


class Rules:
    """Everybody's rules as a caller meets them: the caller's own first, then the owner's.

    ``base`` is directory/NAME; ``lazy`` makes the owner's files only when the first rule is set. A lock belongs to the
    user in whose name it was asked for, so that nobody settles or frees one of somebody else.
    """

    def __init__(self, base: str, lazy: bool, first_lock: int, users: Iterable[str] = ()) -> None:
        self._shared = RuleDesk(base, lazy, first_lock)
        self._own = UserRules(base, first_lock, users)

    @property
    def version(self) -> int:
        """Rises whenever a waiting question may have an answer."""
        return self._shared.version + self._own.version

    def desks(self, caller: str) -> list[RuleDesk]:
        """Where the caller's jobs find rules, the caller's own first."""
        own = self._own.of(caller)
        return [self._shared] if own is None else [own, self._shared]

    def desk(self, caller: str, name: object) -> RuleDesk:
        """The one of them that has that resource."""
        for desk in self.desks(caller):
            if isinstance(name, str) and not desk.book.missing([name]):
                return desk
        return self._shared

    def books(self, caller: str) -> list[RuleBook]:
        """What the caller sees of rules, in the order in which later ones stand for earlier ones."""
        return [desk.book for desk in reversed(self.desks(caller))]

    def of(self, user: str) -> dict[str, Rule]:
        """That user's own."""
        desk = self._own.of(user)
        return {} if desk is None else dict(desk.book.rules)

    # --- directives ---

    def set(self, caller: str, name: object, value: object) -> Rule:
        """A user's own rule runs in that user's jobs only, the owner's in everybody's."""
        desk = self._shared if caller == OWNER else self._own.room(caller, name)
        return desk.set(name, value)

    def delete(self, caller: str, name: object) -> None:
        desk = self._shared if caller == OWNER else self._own.made(caller)
        name = check_resource(name)
        if desk is not self._shared and name not in desk.book.rules and name in self._shared.book.rules:
            raise NotAuthorised(f"the rule of {name!r} is the owner's, and only the owner deletes it")
        desk.delete(name)

    def retry(self, caller: str) -> None:
        for desk in self.desks(caller):
            desk.retry()

    def forget_user(self, user: str) -> None:
        self._own.forget(user)

    # --- questions ---

    def missing(self, caller: str, names: Iterable[str]) -> list[str]:
        """Those of the names that have neither a rule nor a built file."""
        missing = list(names)
        for desk in self.desks(caller):
            missing = desk.book.missing(missing)
        return missing

    def resting(self, user: str, names: Iterable[str], now: float) -> dict[str, str]:
        """{host: why} of the hosts where that user's jobs cannot have one of these resources for now."""
        wanted, found = list(names), {}
        for desk in self.desks(user):
            found.update(desk.book.resting(wanted, now))
            wanted = [name for name in wanted if name not in desk.book.rules]
        return found

    def birth(self, caller: str, place: Place) -> dict[str, Any]:
        """{size_bytes, since} of what is built at a place."""
        return self.desk(caller, place[1]).birth(place)

    def failures(self, now: float) -> frozenset[tuple[int, Place]]:
        """What rests now, at any desk: where this changes, hosts are to be shared anew."""
        desks = (self._shared, *self._own)
        return frozenset(
            (id(desk), place) for desk in desks for place, one in desk.book.failed.items() if now < one.until
        )

    def holding(self, caller: str, place: Place, number: object) -> RuleDesk:
        """The desk at which that lock is held; without one, that of the resource."""
        for desk in self.desks(caller):
            if (lock := desk.book.locks.get(place)) is not None and lock.number == number:
                return desk
        return self.desk(caller, place[1])

    # --- locks ---

    def mark(self, caller: str, job: str) -> str:
        """By this a lock knows whose it is: users cannot take words of others into their mouth."""
        return job if caller == OWNER else f"{caller}/{job}"

    def check_lock(self, caller: str, desk: RuleDesk, place: Place) -> None:
        """A lock of somebody else is neither settled nor freed by the caller."""
        lock = desk.book.locks.get(place)
        if lock is not None and not _is_of(lock, caller):
            raise NotAuthorised(f"the lock of {place[1]!r} on {place[0]} belongs to another user's job")

    def processor_gone(self, caller: str, host: str, pid: int, now: float) -> None:
        """Its locks are free, unless they are of another user's job."""
        locks = [lock for desk in self.desks(caller) for lock in desk.book.locks.values()]
        held = [lock for lock in locks if (lock.host, lock.pid) == (host, pid)]
        if all(_is_of(lock, caller) for lock in held):
            for desk in self.desks(caller):
                desk.processor_gone(host, pid, now)

    def job_gone(self, owner: str, job: Job, now: float) -> None:
        """The locks of all its processors are free."""
        marks = {self.mark(owner, mark) for mark in job.marks}
        for desk in (self._shared, *self._own):
            desk.job_gone(job.beat.name, marks, job.pids, now)

    def tidy(self, now: float) -> None:
        for desk in (self._shared, *self._own):
            desk.forget_ended(now)

    def close(self) -> None:
        self._shared.close()
        self._own.close()


def _is_of(lock: Lock, user: str) -> bool:
    return user == OWNER or lock.job.startswith(f"{user}/")
