"""The objects of an XMLRPCServerBase, seen from afar: XMLRPCClient, get_connection.

For users, who find both in :mod:`coordinator`, and for monitors and commands. It is apart from
:mod:`coordinator.rpc` so that a client does not wait for the import of a server. It never tries a call twice, and never
keeps an answer other than the list of an object's methods.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from coordinator import errors
from coordinator.addresses import address_of
from coordinator.wire.client import Connection, split_url


class XMLRPCClient(Mapping[str, "XMLRPCClientObject"]):
    """The objects of a server by name: ``XMLRPCClient(url)['name'].method(...)``; KeyError for a name it has not.

    A URL without a token takes the one that is kept for its host and port, if there is one; so does an https URL with
    the ``fingerprint`` of its server's certificate. Threads may share it.
    """

    def __init__(self, url: str, timeout_s: float = 30.0, fingerprint: str | None = None) -> None:
        self._host, self._port, _, _ = split_url(url)
        self._address = address_of(url, fingerprint=fingerprint)
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._pid = os.getpid()
        self._known: dict[str, XMLRPCClientObject] = {}

    def call(self, method: str, *params: Any) -> Any:
        """Call a method of the server itself."""
        if self._pid != os.getpid():  # a forked child must not talk on its parent's connections
            self._idle, self._pid = [], os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._address.connect(self._timeout_s)
        try:
            return connection.call(method, *params)
        except errors.NotAuthorised as wrong:
            if self._address.token is not None:
                raise
            from coordinator import paths

            raise errors.NoToken(
                f"{wrong.message} None is kept for {self._host}:{self._port} in {paths.token_file()}; put it there, "
                f"or into the URL: http://user:TOKEN@{self._host}:{self._port}."
            ) from None
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections; the next call opens one again."""
        while self._idle:
            self._idle.pop().close()

    def __getitem__(self, name: str) -> XMLRPCClientObject:
        if name not in self._known:
            try:
                methods = self.call("objectInfo", name)
            except errors.UnknownMethod as wrong:
                raise KeyError(wrong.message) from None
            self._known[name] = XMLRPCClientObject(self, name, methods)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.call("objectList"))

    def __len__(self) -> int:
        return len(self.call("objectList"))

    def __contains__(self, name: object) -> bool:
        return name in self.call("objectList")


class XMLRPCClientObject:
    """A served object, seen from afar: it has a method for each that its server lists."""

    def __init__(self, server: XMLRPCClient, name: str, methods: Mapping[str, Any]) -> None:
        self._server = server
        self._name = name
        self._methods = sorted(methods)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_") and method not in self.__dict__.get("_methods", ()):
            raise AttributeError(method)
        if method not in self._methods:
            raise AttributeError(f"The object {self._name} has no method {method}; it has {', '.join(self._methods)}.")
        return partial(self._call, method)

    def _call(self, method: str, *args: Any) -> Any:
        return self._server.call("methodCall", self._name, method, list(args))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._methods]

    def __repr__(self) -> str:
        return f"<{self._name}: {', '.join(self._methods)}>"


_clients: dict[str, XMLRPCClient] = {}
_clients_lock = threading.Lock()


def get_connection(url: str, name: str) -> XMLRPCClientObject:
    """The object ``name`` of the server at ``url``; objects of one URL share its client, and both are kept."""
    with _clients_lock:
        client = _clients.get(url)
        if client is None:
            client = _clients[url] = XMLRPCClient(url)
    return client[name]
