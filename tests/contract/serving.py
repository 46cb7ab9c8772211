"""A real TurnServer over loopback, in a thread of the test; and the other way round, a server that answers anything."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from coordinator.wire.server import Call, Limits, TurnServer, each, token_check

TOKEN = "a-token-of-the-test"
HANG_S = 20.0
ECHO: Mapping[str, Callable[..., Any]] = {"echo": lambda value: value, "count": lambda *values: len(values)}


class Served:
    """A running server: its port, its URL with the token, and raw HTTP to it."""

    def __init__(self, server: TurnServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.port = server.address[1]
        self.plain_url = f"http://127.0.0.1:{self.port}"
        self.url = f"http://me:{TOKEN}@127.0.0.1:{self.port}"

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` on the server's thread and wait for its result."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(HANG_S)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), HANG_S)

    def exchange(self, request: bytes) -> bytes:
        """Send bytes and return all that comes until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            return to_the_end(client)


def to_the_end(client: socket.socket) -> bytes:
    received = b""
    try:
        while some := client.recv(65536):
            received += some
    except ConnectionResetError:
        pass
    return received


def request(body: bytes = b"", *, token: str = TOKEN, close: bool = True, **changes: str | None) -> bytes:
    """A request that is right but for the changes: ``Content_Type='text/plain'``, or None to leave a header out."""
    fields: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Content-Type": "text/xml",
        "Authorization": "Basic " + base64.b64encode(f"me:{token}".encode()).decode(),
        "Content-Length": str(len(body)),
        "Connection": "close" if close else None,
    }
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(["POST /RPC2 HTTP/1.1", *lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@contextmanager
def serving(
    methods: Mapping[str, Callable[..., Any]] = ECHO,
    *,
    turn: Callable[[list[Call]], None] | None = None,
    token: str | None = TOKEN,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Served]:
    authorise = token_check(token) if token is not None else None
    server = TurnServer(turn or each(methods), authorise, host, 0, limits, tls)
    server.listen()
    loop = asyncio.new_event_loop()
    server.start(loop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = Served(server, loop)
    try:
        yield served
    finally:
        served.on_loop(server.stop)
        served.on_loop(lambda: None)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(HANG_S)
        loop.close()


@contextmanager
def answering(answer: bytes | Callable[[socket.socket], None]) -> Iterator[str]:
    """A hostile server: reads one request's header, answers with these bytes, closes. The URL is given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG_S)

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(HANG_S)
                received = b""
                while b"\r\n\r\n" not in received:
                    received += client.recv(65536)
                try:
                    if callable(answer):
                        answer(client)
                    else:
                        client.sendall(answer)
                        client.shutdown(socket.SHUT_WR)
                        to_the_end(client)
                except OSError:  # the client has had enough
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(HANG_S)


def ok(body: bytes, **fields: str) -> bytes:
    """An answer of HTTP with this body."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body
