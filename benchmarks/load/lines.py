"""Lines to a server: HTTP/1.1 connections that stay, many in one thread, each with one call under way.

The load clients own a :class:`Lines` and give it what to do with an answer. It sends what it is told, finds where an
answer ends, and knows when it came; what is inside is others' business.
"""

from __future__ import annotations

import base64
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

#: told of an answer: the line, its body, and the seconds from its call
Heard = Callable[["Line", bytes, float], None]
READ_BYTES = 1 << 20


class Broken(Exception):
    """The server refused a call or closed a connection."""


@dataclass(frozen=True)
class Address:
    """Where and with which token: what NAME.run says."""

    host: str
    port: int
    token: str = ""

    def header(self) -> bytes:
        login = base64.b64encode(f"coordinator:{self.token}".encode()).decode()
        fields = f"Host: {self.host}:{self.port}\r\nContent-Type: text/xml\r\nAuthorization: Basic {login}\r\n"
        return f"POST /RPC2 HTTP/1.1\r\n{fields}Content-Length: ".encode()


class Line:
    """One connection. ``number``: whose; ``sent``: time.monotonic() of the call under way."""

    __slots__ = ("_begin", "_unread", "_wanted", "connection", "number", "sent")

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number, self.connection = number, connection
        self.sent = 0.0
        self._unread = b""
        self._begin = self._wanted = 0

    def read(self) -> bytes | None:
        """The body of an answer that is complete now, else None. Raises Broken."""
        try:
            some = self.connection.recv(READ_BYTES)
        except BlockingIOError:
            return None
        if not some:
            raise Broken(f"connection {self.number} was closed by the server")
        self._unread = self._unread + some if self._unread else some
        if not self._wanted:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self._unread[:end]
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
                raise Broken(f"the server refused a call: {head.splitlines()[0].decode()}")
            at = head.lower().find(b"content-length:")
            self._begin = end + 4
            self._wanted = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._unread) < self._wanted:
            return None
        body = self._unread[self._begin : self._wanted]
        self._unread, self._wanted = b"", 0
        return body


class Lines:
    """``heard``: called with each answer; it may call :meth:`say` for the same line or another."""

    def __init__(self, address: Address, heard: Heard) -> None:
        self._address, self._heard = address, heard
        self._header = address.header()
        self._poll = select.epoll()
        self._lines: dict[int, Line] = {}

    def open(self, number: int) -> Line:
        connection = socket.create_connection((self._address.host, self._address.port), 30.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        line = Line(number, connection)
        self._lines[connection.fileno()] = line
        self._poll.register(connection, select.EPOLLIN)
        return line

    def say(self, line: Line, body: bytes) -> None:
        """Send a call. The calls of these clients are small enough for any socket's buffer."""
        line.sent = time.monotonic()
        message = b"%s%d\r\n\r\n%s" % (self._header, len(body), body)
        if line.connection.send(message) != len(message):
            raise Broken(f"connection {line.number} took only a part of a call")

    def turn(self, wait_s: float) -> None:
        """Hear what has come; wait for something at most so long."""
        for descriptor, _ in self._poll.poll(wait_s):
            line = self._lines[descriptor]
            body = line.read()
            if body is not None:
                self._heard(line, body, time.monotonic() - line.sent)

    def close(self) -> None:
        for line in self._lines.values():
            line.connection.close()
        self._lines.clear()
        self._poll.close()
