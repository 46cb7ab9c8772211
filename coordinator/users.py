"""Who may use a ResourceController beside its owner, and how they are known: NAME.users, and tickets.

The ResourceController asks it whose a token is. The file holds no token, only what SHA-256 makes of it, so that it
opens nothing to who reads it. A *ticket* is what a user shows to the Coordinator of somebody else: the
ResourceController gives it to the user and the means to check it to that Coordinator, so that nobody's token goes to a
stranger's server.
Nothing here opens a socket or runs a command.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import NamedTuple

from coordinator import paths
from coordinator.errors import BadInput, StateError

#: who knows the ResourceController's own token
OWNER = "owner"
MOST_USERS = 10_000


class User(NamedTuple):
    """``digest``: SHA-256 of the token, hexadecimal; ``since``: wall time."""

    name: str
    digest: str
    since: float


class UserTable:
    """The users that the owner admitted, kept in ``path``. Only its ResourceController writes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._users = _read(self._path)

    def add(self, name: str, since: float) -> str:
        """Admit ``name``; returns the token, which is kept nowhere. On disk when it returns. Raises BadInput."""
        from coordinator.core.hosts import check_user

        check_user(name)
        if name == OWNER:
            raise BadInput(f"{OWNER!r} is what the owner is called here; choose another name")
        if name in self._users:
            raise BadInput(f"{name!r} is a user already; for a new token remove that one first")
        if len(self._users) >= MOST_USERS:
            raise BadInput(f"there are {MOST_USERS} users, and no more can be")
        token = paths.new_token()
        self._write({**self._users, name: User(name, digest_of(token), since)})
        return token

    def remove(self, name: str) -> None:
        """Raises BadInput for who is none."""
        if name not in self._users:
            raise BadInput(f"{str(name)[:80]!r} is none of the users ({', '.join(self._users) or 'there is none'})")
        self._write({other: user for other, user in self._users.items() if other != name})

    def whose(self, token: str) -> str | None:
        """The user who has this token. What is compared are digests, which tell nothing of a token."""
        digest = digest_of(token)
        found = None
        for user in self._users.values():
            if hmac.compare_digest(user.digest, digest):
                found = user.name
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._users

    def __bool__(self) -> bool:
        return bool(self._users)

    def list(self) -> list[User]:
        return [self._users[name] for name in sorted(self._users)]

    def _write(self, users: dict[str, User]) -> None:
        content = {user.name: {"sha256": user.digest, "since": user.since} for user in users.values()}
        try:
            paths.replace_private(self._path, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
        except OSError as error:
            raise StateError(f"{self._path} cannot be written: {error.strerror}; nothing was changed.") from error
        self._users = users


def _read(path: Path) -> dict[str, User]:
    from coordinator.core.hosts import check_user  # every Coordinator imports this file, and reads no table

    try:
        with os.fdopen(paths.open_private(path, os.O_RDONLY), "rb") as file:
            content = json.load(file)
        return {
            check_user(name): User(name, str(entry["sha256"]), float(entry["since"])) for name, entry in content.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, BadInput) as error:
        raise StateError(f"{path} is no table of users: mend it, or move it away and add the users again.") from error


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_ticket(text: str, secret: str, name: str) -> bool:
    return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), ticket_of(secret, name).encode())


def ticket_of(secret: str, name: str) -> str:
    """What ``name`` shows to the Coordinator that was given ``secret``."""
    return hmac.new(secret.encode(), name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
