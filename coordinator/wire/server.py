"""A server that takes turns: all calls that arrived together are handed over as one list, on one thread.

The Coordinator, the ResourceController and every XMLRPCServerBase stand on it; a turn is where they decide, write and
sync, once for all calls of the list. It accepts, bounds and cuts connections and knows no method. It never blocks,
never starts a thread or a process, and never answers for a turn that has not answered.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from coordinator import errors
from coordinator.wire import codec, listing
from coordinator.wire.call import Call, Limits
from coordinator.wire.client import name_to_resolve
from coordinator.wire.listing import method_help, signatures

if TYPE_CHECKING:
    import asyncio
    import ssl

    from coordinator.wire.http import HTTPConnection

__all__ = ["Authorise", "Call", "Limits", "TurnServer", "each", "method_help", "signatures", "token_check"]

log = logging.getLogger(__name__)

Authorise = Callable[[str, str], str | None]  # (user, password) -> who calls, or None

BACKLOG = 1024
ACCEPTS_AT_ONCE = 64
RECEIVE_BYTES = 256 << 10


def token_check(token: str, caller: str = "owner") -> Authorise:
    """An ``authorise`` that lets in whoever knows ``token``, under any user name, as ``caller``."""
    wanted = token.encode()

    def authorise(user: str, password: str) -> str | None:
        import hmac  # brings OpenSSL: not before somebody calls

        return caller if hmac.compare_digest(password.encode(), wanted) else None

    return authorise


def each(methods: Mapping[str, Callable[..., Any]]) -> Callable[[list[Call]], None]:
    """A turn that calls ``methods[name](*params)`` for each call; ``system.listMethods`` and the like included."""

    def turn(calls: list[Call]) -> None:
        for call in calls:
            try:
                call.answer(listing.invoke(methods, call.method, call.params))
            except errors.CoordinatorError as wrong:
                call.fault(wrong)

    return turn


class TurnServer:
    """``turn(calls)`` answers each call at once or later. ``authorise(user, password)`` names the caller, or None.

    With ``tls`` other machines must speak TLS, and connections of this machine's loopback may; without it everybody
    speaks plain HTTP.
    listen() in the foreground, then start(loop); ``address`` is (host, port). All but listen() belong to the loop's
    thread.
    """

    def __init__(
        self,
        turn: Callable[[list[Call]], None],
        authorise: Authorise | None = None,
        host: str = "",
        port: int = 0,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.authorise = authorise
        self.tls = tls
        self.address = (host, port)
        self.loop: asyncio.AbstractEventLoop
        self.buffer = bytearray(RECEIVE_BYTES)
        self.buffered_bytes = 0
        self._turn = turn
        self._listener: socket.socket | None = None
        self._reserve = -1
        self._turned_away = 0
        self._refusals = 0
        self._last_refusal = ""
        self._connections: dict[HTTPConnection, None] = {}  # in the order of their coming
        self._greetings: set[asyncio.Task[Any]] = set()
        self._arrived: list[tuple[Call, bytes]] = []
        self._to_flush: list[HTTPConnection] = []
        self._in_turn = False
        self._sweep_s = min(1.0, self.limits.header_s / 4, self.limits.body_s / 4, self.limits.idle_s / 4)
        self._swept = 0.0
        self._sweeper: asyncio.TimerHandle | None = None

    # --- life -----------------------------------------------------------------------------------------------

    def listen(self) -> tuple[str, int]:
        """Bind and listen. Raises PortTaken, or BadInput for a host that is not this machine's."""
        host, port = self.address
        if not 0 <= port <= 65535:  # the resolver would cut it to 16 bits without a word
            raise errors.BadInput(f"{port} is no port: ports are 0 to 65535.")
        try:
            found = socket.getaddrinfo(
                name_to_resolve(host) or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as wrong:
            raise errors.BadInput(f"Cannot listen on host {host!r}: {wrong.strerror}.") from wrong
        family, kind, protocol, _, place = sorted(found, key=lambda one: one[0] != socket.AF_INET)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(place)
            listener.listen(BACKLOG)
        except OSError as wrong:
            listener.close()
            if wrong.errno == errno.EADDRINUSE:
                raise errors.PortTaken(f"Port {port} is in use; choose another one with --port.") from wrong
            if wrong.errno == errno.EACCES:
                raise errors.PortTaken(f"Port {port} is not for you; choose one above 1023 with --port.") from wrong
            raise errors.BadInput(f"Cannot listen on host {host!r}, port {port}: {wrong.strerror}.") from wrong
        self._listener = listener
        self.address = (host, int(listener.getsockname()[1]))
        return self.address

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve on ``loop``, which the caller runs."""
        from coordinator.wire.http import HTTPConnection  # half of what a server loads; nobody needs it to listen

        if self._listener is None:
            self.listen()
        assert self._listener is not None
        self.loop = loop
        self._connection = partial(HTTPConnection, self)
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        loop.add_reader(self._listener, self._accept)
        self._swept = loop.time()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)

    def stop(self) -> None:
        """Accept no more, send the answers that are given, close. Calls that are not answered are dropped."""
        if self._listener is not None:
            if self._sweeper is not None:
                self.loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
            os.close(self._reserve)
        for task in self._greetings:
            task.cancel()
        self._flush()
        for connection in list(self._connections):
            connection.finish()

    # --- connections ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if self._listener is None:
                return
            try:
                client, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as wrong:
                self._cannot_accept(wrong)
                return
            client.setblocking(False)
            task = self.loop.create_task(self.loop.connect_accepted_socket(self._connection, client))
            self._greetings.add(task)
            task.add_done_callback(self._greeted)

    def _greeted(self, task: asyncio.Task[Any]) -> None:
        self._greetings.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a connection was lost before it began: %s", task.exception())

    def _cannot_accept(self, wrong: OSError) -> None:
        """No descriptor is left: take the connection with the one in reserve and hang up, or it would wait for ever
        and the loop would spin."""
        if self._turned_away % 1000 == 0:
            log.warning("a connection was turned away: %s (%d before it)", wrong.strerror, self._turned_away)
        self._turned_away += 1
        if wrong.errno in (errno.EMFILE, errno.ENFILE) and self._listener is not None:
            os.close(self._reserve)
            with suppress(OSError):
                self._listener.accept()[0].close()
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        elif self._listener is not None:
            self.loop.remove_reader(self._listener)
            self.loop.call_later(1.0, self._accept_again)

    def _accept_again(self) -> None:
        if self._listener is not None:
            self.loop.add_reader(self._listener, self._accept)

    def opened(self, connection: HTTPConnection) -> bool:
        """A connection has come; False: there is no room. The stranger who came first makes room, if there is one."""
        self._connections[connection] = None
        if len(self._connections) <= self.limits.connections:
            return True
        for other in self._connections:
            if not other.proven and other is not connection:
                del self._connections[other]  # now: it must not make room twice
                other.cut()
                return True
        return False

    def recheck(self) -> None:
        """``authorise`` may answer otherwise from now on: it is asked again about connections that are open."""
        for connection in self._connections:
            connection.recheck()

    def closed(self, connection: HTTPConnection) -> None:
        self._connections.pop(connection, None)

    def refused(self, peer: str, status: str) -> None:
        """A request was refused. The log has one line about all of a moment, or strangers could fill the disk."""
        self._refusals += 1
        self._last_refusal = f"peer={peer} status={status}"

    def _sweep(self) -> None:
        now = self.loop.time()
        late = now - self._swept - self._sweep_s
        self._swept = now
        if late > self._sweep_s:
            # We were stopped or busy: what our clients sent meanwhile is unread, so that none of them is late.
            for connection in self._connections:
                connection.deadline += late
        else:
            overdue = [one for one in self._connections if one.deadline < now]
            for connection in overdue:
                connection.cut()
            if overdue:
                log.info("connections cut at their deadline count=%d last peer=%s", len(overdue), overdue[-1].peer)
        if self._refusals:
            log.info("requests refused count=%d last %s", self._refusals, self._last_refusal)
            self._refusals = 0
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)

    # --- turns ----------------------------------------------------------------------------------------------

    def arrived(self, call: Call, body: bytes) -> None:
        if not self._arrived:
            self.loop.call_soon(self._take_turn)
        self._arrived.append((call, body))

    def _take_turn(self) -> None:
        arrived, self._arrived = self._arrived, []
        calls = []
        self._in_turn = True
        for call, body in arrived:
            try:
                call.method, call.params = codec.load_call(body)
            except errors.CoordinatorError as wrong:
                call.fault(wrong)
            else:
                calls.append(call)
        del arrived
        try:
            if calls:
                self._turn(calls)
        except Exception:  # the boundary to whoever decides: a turn that failed must not end the server
            log.exception("a turn of %d calls failed", len(calls))
            for call in calls:
                call.fault(errors.InternalError())
        finally:
            self._in_turn = False
            self._flush()

    def to_flush(self, connection: HTTPConnection) -> None:
        connection.flushing = True
        if not self._to_flush and not self._in_turn:
            self.loop.call_soon(self._flush)
        self._to_flush.append(connection)

    def _flush(self) -> None:
        connections, self._to_flush = self._to_flush, []
        for connection in connections:
            connection.flush()
