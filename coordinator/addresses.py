"""Addresses of servers and the tokens that go with them."""

from __future__ import annotations

from coordinator import paths
from coordinator.errors import NoToken
from coordinator.wire.client import split_url


def token_of(url: str) -> str:
    """The token for a server: the one in its URL, else the one in the user's token file under its host and port.

    Raises NoToken, which names the file, and BadInput for what is no URL.
    """
    host, port, _, token = split_url(url)
    token = token or paths.find_token(host, port)
    if token is None:
        raise NoToken(
            f"no token is known for {host}:{port}: {paths.token_file()} has none for that host and port. Ask the owner of that "
            f"server for one and give it in the URL, http://user:TOKEN@{host}:{port}"
        )
    return token
