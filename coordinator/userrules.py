"""Each user's own rules: a RuleDesk for everybody who set one, beside the owner's.

A rule is a shell command that runs on hosts as the user of the job that needs it. The owner's rules are for every job;
a user's own are found by that user's jobs alone, before the owner's. The ResourceController asks it whose desk is
meant. It runs no command.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from coordinator.errors import BadInput
from coordinator.ruledesk import RuleDesk

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
        for kind in ("rules", "rsrc"):
            with suppress(FileNotFoundError):
                os.unlink(self._path(user, kind))

    def __iter__(self) -> Iterator[RuleDesk]:
        return iter(list(self._desks.values()))

    def close(self) -> None:
        for desk in self:
            desk.close()

    def _path(self, user: str, kind: str) -> str:
        return f"{self._base}.{user}.{kind}"
