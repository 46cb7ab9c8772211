"""Remote: a ResourceController or a job as whoever asks it sees it: its URL, the token for it, and its words.

The monitors, the command line and a job that looks for others call their servers by this. A connection is made for
each call and never kept, so that none grows stale between two. Nothing is called twice, but for a call that was
refused under a token that is no longer good.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from coordinator.addresses import Address, address_of, known_address, url_of
from coordinator.errors import (
    ControllerLost,
    CoordinatorLost,
    NotAuthorised,
    PeerLost,
    ProtocolError,
    UnknownMethod,
)
from coordinator.paths import Login
from coordinator.wire.client import split_url

DEFAULT_PORT = 5000


def bare(url: str) -> str:
    """The URL without user and token, fit to be shown."""
    scheme, mark, rest = url.rpartition("://")
    place, slash, path = rest.partition("/")
    return scheme + mark + place.rpartition("@")[2] + slash + path


class Remote:
    """One server and the token for it: calls its methods, and says in words what went wrong."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        fallback: str | Login | None = None,
        fingerprint: str | None = None,
        lost: Callable[[str], PeerLost] = PeerLost,
        timeout_s: float = 30.0,
    ) -> None:
        """`token` wins, then the URL's own, then the user's token file, then `fallback`; none of them, where one is
        asked for: NoToken.

        `fingerprint` goes with `token` and with `fallback`; the token file has those of its own."""
        _, _, _, own = split_url(url)
        if token or own:
            addresses = [address_of(url, token or own, fingerprint)]
        else:
            addresses = [address_of(url)]
            if isinstance(fallback, str):
                addresses.append(address_of(url, fallback, fingerprint))
            elif fallback is not None:
                addresses.append(address_of(url, fallback.token, fallback.fingerprint, fallback.user))
        self._addresses: list[Address] = [one for one in addresses if one.token] or [known_address(url)]
        self.timeout_s = timeout_s
        self._lost = lost
        self._methods: list[str] | None = None

    @property
    def url(self) -> str:
        return self._addresses[0].url

    @property
    def token(self) -> str:
        return self._addresses[0].token or ""

    @property
    def fingerprint(self) -> str | None:
        return self._addresses[0].fingerprint

    def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """The answer of one call; a connection of its own, so that none grows stale between two."""
        while len(self._addresses) > 1:
            # The file may still hold the token of an earlier server on that port. What is refused was not carried out.
            try:
                return self._call(method, params, timeout_s)
            except NotAuthorised:
                del self._addresses[0]
        return self._call(method, params, timeout_s)

    def _call(self, method: str, params: tuple[Any, ...], timeout_s: float | None) -> Any:
        connection = self._addresses[0].connect(timeout_s or self.timeout_s)
        try:
            return connection.call(method, *params)
        except PeerLost as problem:
            raise self._lost(str(problem)) from None
        finally:
            connection.close()

    def methods(self) -> list[str]:
        """The names that the server serves; asked for once."""
        if self._methods is None:
            names = self.call("system.listMethods")
            self._methods = sorted(str(name) for name in names)
        return self._methods

    def attribute(self, owner: object, name: str) -> Callable[..., Any]:
        """The server's method as a function; AttributeError for what it does not serve."""
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            known: list[str] | None = self.methods()
        except (UnknownMethod, ProtocolError):
            known = None
        if known is not None and name not in known:
            near = difflib.get_close_matches(name, [*known, *vars(owner)], n=3)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise AttributeError(f"neither {type(owner).__name__} nor its server has {name!r}{hint}")

        def forwarded(*params: Any) -> Any:
            return self.call(name, *params)

        forwarded.__name__ = forwarded.__qualname__ = name
        forwarded.__doc__ = f"{name}() of the server at {self.url}."
        return forwarded


def controller_url(host: str | None = None, port: int = DEFAULT_PORT) -> str:
    """Where the ResourceController is expected: `host` is a name, host:port, a whole URL, or None for this machine."""
    if host is None:
        from coordinator import paths

        return url_of(paths.full_hostname(), port)
    if "://" in host:
        return host
    # One colon is a port's; a bare IPv6 address has more.
    return f"http://{host}" if host.count(":") == 1 or host.startswith("[") else url_of(host, port)


def controller(rc_url: str | None = None) -> Remote:
    """The ResourceController at that URL, or the default one of this machine."""
    url = controller_url(rc_url)
    return Remote(url, lost=controller_lost(url))


def job_remote(
    url: str,
    *,
    token: str | None = None,
    fallback: str | Login | None = None,
    fingerprint: str | None = None,
    timeout_s: float = 30.0,
) -> Remote:
    """The Coordinator of a job at that URL."""
    return Remote(url, token=token, fallback=fallback, fingerprint=fingerprint, lost=_job_lost, timeout_s=timeout_s)


def job_logins(remote: Remote) -> dict[str, Login]:
    """{url of a job: how the caller may ask it}, from a ResourceController.

    Only the caller's own jobs are shown the caller's token; those of others get a ticket that opens nothing else.
    """
    logins = {}
    for url, told in remote.call("get_tickets").items():
        fingerprint = told.get("fingerprint") or None
        if told.get("mine"):
            logins[str(url)] = Login(remote.token, fingerprint)
        elif told.get("ticket"):
            logins[str(url)] = Login(str(told["ticket"]), fingerprint, str(told["user"]))
    return logins


def controller_lost(url: str) -> Callable[[str], PeerLost]:
    def lost(reason: str) -> PeerLost:
        return ControllerLost(
            f"No ResourceController answers at {bare(url)} ({reason.rstrip('.')}). Start one there with "
            f"`coordinator --rc=NAME`, or name the one to ask: rc_url, or host and port."
        )

    return lost


def _job_lost(reason: str) -> PeerLost:
    return CoordinatorLost(
        f"{reason} The job has ended or was killed: `coordinator status NAME` in its directory says which."
    )
