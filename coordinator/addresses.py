"""Addresses of servers, and the tokens and fingerprints that go with them.

Whoever connects to a server of ours asks here what the user's token file knows of it. Nothing is sent but by
:func:`remember`, and to a server of which no token is known, to hear whether it wants one.
"""

from __future__ import annotations

from typing import NamedTuple

from coordinator import paths
from coordinator.errors import NotAuthorised, NoToken, PeerLost
from coordinator.wire.client import Connection, is_https, split_url


class Address(NamedTuple):
    """A server as a Connection is made to it. ``url`` has no token in it."""

    url: str
    token: str | None = None
    fingerprint: str | None = None
    user: str = "coordinator"

    def connect(self, timeout_s: float) -> Connection:
        return Connection(self.url, self.token, self.user, timeout_s=timeout_s, fingerprint=self.fingerprint)


def address_of(
    url: str, token: str | None = None, fingerprint: str | None = None, user: str = "coordinator"
) -> Address:
    """The server at ``url``: what is not given is taken from the URL or from the user's token file.

    Where a fingerprint is known, an http URL of another machine means https: what was once secure is never sent in
    the clear because of an old URL. Raises BadInput for what is no URL.
    """
    host, port, _, own = split_url(url)
    login = paths.find_login(host, port) if token is None or fingerprint is None else None
    if login is not None:
        token, fingerprint = token or own or login.token, fingerprint or login.fingerprint
    secure = is_https(url) or (fingerprint is not None and not paths.is_loopback(host))
    return Address(url_of(host, port, secure), token or own, fingerprint, user)


def url_of(host: str, port: int, secure: bool = False) -> str:
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def known_address(url: str) -> Address:
    """The server at ``url``, with a token, unless it is one that asks for none (``--insecure``).

    Raises NoToken, which names the token file, and BadInput for what is no URL.
    """
    address = address_of(url)
    host, port, _, _ = split_url(url)
    if address.token is None and not _is_open(address):
        raise NoToken(
            f"No token is known for {address.url}: {paths.token_file()} has none for that host and port. Start the "
            f"server first, or ask its owner for one, and copy its line from their token file, or give "
            f"http://user:TOKEN@{host}:{port} as its URL."
        )
    return address


def _is_open(address: Address) -> bool:
    """Does it answer to whoever shows no token?"""
    connection = address.connect(10.0)
    try:
        connection.call("system.listMethods")
    except (NotAuthorised, PeerLost):
        return False
    finally:
        connection.close()
    return True


def without_token(url: str) -> str:
    """The URL as it may be shown and logged."""
    return Connection(url).url


def remember(url: str) -> str:
    """The URL without its token, which is kept in the user's token file if the server takes it.

    For what is started with the URL in its argv, which everybody on the machine can read. Raises NotAuthorised and
    PeerLost.
    """
    host, port, _, token = split_url(url)
    address = address_of(url)
    if token is not None:
        connection = address.connect(10.0)
        try:
            connection.call("system.listMethods")
        finally:
            connection.close()
        paths.keep_token(host, port, token, address.fingerprint)
    return address.url
