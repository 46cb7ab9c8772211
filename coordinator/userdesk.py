"""Whose job is whose: who registered each job, who is admitted beside the owner, and the tickets of both.

The ResourceController asks it before a caller speaks for a job, and for everything about users. It knows names only:
who called was proven by the wire, before. It decides nothing about hosts or rules.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from coordinator.core.farm import Farm
from coordinator.errors import BadInput, NotAuthorised, StateError
from coordinator.users import OWNER, User, UserTable, ticket_of


@dataclass(frozen=True)
class _Registration:
    """Who registered a job, and with what its Coordinator checks the tickets of others."""

    user: str
    secret: str


class UserDesk:
    """``path`` is that of NAME.users; None where the ResourceController is part of a job, which has no users."""

    def __init__(self, path: str | None, farm: Farm) -> None:
        self._farm = farm
        self._table = None if path is None else UserTable(path)
        self._registered: dict[str, _Registration] = {}

    # --- jobs ---

    def owner_of(self, url: str) -> str:
        registered = self._registered.get(url)
        return OWNER if registered is None else registered.user

    def jobs_of(self, user: str) -> list[str]:
        """The URLs under which that user registered jobs."""
        return [url for url, registered in self._registered.items() if registered.user == user]

    def register(self, url: str, user: str) -> None:
        if url not in self._registered or self._registered[url].user != user:
            self._registered[url] = _Registration(user, os.urandom(32).hex())

    def forget(self, url: str) -> None:
        self._registered.pop(url, None)

    def tidy(self) -> None:
        """Forget jobs that are out of the queue."""
        self._registered = {url: one for url, one in self._registered.items() if url in self._farm.jobs}

    def check(self, url: str, caller: str) -> None:
        if caller not in (OWNER, self.owner_of(url)):
            raise NotAuthorised(f"the job at {url[:200]} is not yours but another user's")

    # --- tickets ---

    def secret_of(self, url: str) -> str | None:
        """With it a Coordinator knows the tickets of those who may look at its job; None: there are no users."""
        registered = self._registered.get(url)
        return registered.secret if registered is not None and self._table else None

    def ticket(self, url: str, caller: str) -> str:
        registered = self._registered.get(url)
        return ticket_of(registered.secret, caller) if registered else ""

    def _renew(self) -> None:
        """Tickets that were given open nothing any more."""
        self._registered = {url: _Registration(one.user, os.urandom(32).hex()) for url, one in self._registered.items()}
        self._farm.tell_all()

    # --- users ---

    def add(self, name: str, since: float) -> str:
        """Admit a user; the token, which is kept nowhere."""
        token = self._users().add(name, since)
        self._renew()
        return token

    def remove(self, name: str) -> None:
        """That user's token opens nothing any more, and no ticket of anybody's that was given before."""
        self._users().remove(name)
        self._renew()

    def list(self) -> list[User]:
        return self._users().list()

    def whose(self, token: str) -> str | None:
        return None if self._table is None else self._table.whose(token)

    def names(self) -> tuple[str, ...]:
        return () if self._table is None else tuple(user.name for user in self._table.list())

    def _users(self) -> UserTable:
        if self._table is None:
            raise StateError("this ResourceController is part of its job and has no users")
        return self._table


def check_new(name: str, owner: str) -> None:
    """Raises BadInput for the owner's own name."""
    if name == owner:
        raise BadInput(f"{name!r} is the owner, who needs no other token")


def user_name() -> str:
    """The name of whom this process belongs to."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
