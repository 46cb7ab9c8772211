"""One connection of the server: bytes to calls and answers to bytes, in order, within limits.

Made and owned by :class:`coordinator.wire.server.TurnServer`. A request is judged when its header is complete, by pure
functions, before a byte of its body is kept: POST, Content-Length alone, XML, the token. The rest of a connection whose
request was refused is read and thrown away for a moment, so that the refusal arrives, then cut. This file never decides
what a call means and never waits: each connection has one deadline, which the server looks at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import httptools

from coordinator import errors, paths
from coordinator.wire import codec, header
from coordinator.wire.call import Call
from coordinator.wire.channel import CLIENT_HELLO, Channel, ChannelError
from coordinator.wire.header import Refusal

if TYPE_CHECKING:
    import ssl

    from coordinator.wire.call import Limits

log = logging.getLogger(__name__)

LINGER_S = 2.0
NEVER = float("inf")


class _Refused(Exception):
    pass


_SINGLE = frozenset(
    b"host authorization content-type content-encoding content-length transfer-encoding origin expect upgrade".split()
)
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n"
_OK_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
_HEADER, _BODY, _IDLE, _HANDSHAKE = range(4)


class Owner(Protocol):
    """What a connection needs of its server."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    #: one for all connections, and the bytes of unfinished bodies of all
    buffer: bytearray
    buffered_bytes: int
    tls: ssl.SSLContext | None
    authorise: Callable[[str, str], str | None] | None

    def opened(self, connection: HTTPConnection) -> bool:
        """False if there are too many."""

    def closed(self, connection: HTTPConnection) -> None:
        """It is gone."""

    def refused(self, peer: str, why: str) -> None:
        """Somebody was turned away."""

    def arrived(self, call: Call, body: bytes) -> None:
        """A call is complete."""

    def to_flush(self, connection: HTTPConnection) -> None:
        """It has answers to send at the end of the turn."""


class HTTPConnection(asyncio.BufferedProtocol):
    """A client's connection. All connections of a server read into its one buffer, which nothing outlives."""

    def __init__(self, owner: Owner) -> None:
        self.peer = ""
        self.deadline = owner.loop.time() + owner.limits.idle_s
        self.proven = False  # a request of it was taken: it is no stranger
        self.flushing = False
        self._owner = owner
        self._limits = owner.limits
        self._now = owner.loop.time
        self._transport: asyncio.Transport | None = None
        self._channel: Channel | None = None  # if TLS is spoken
        self._unknown = owner.tls is not None  # the first byte will tell what is spoken
        self._parser = httptools.HttpRequestParser(self)
        self._calls: deque[Call] = deque()  # handed over, or answered and not yet sent
        self._held: deque[tuple[Call, bytes]] = deque()  # received, but more than may be handed over
        self._phase = _IDLE
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._header_bytes = 0
        self._unparsed_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._length = b""
        self._taken: dict[bytes, bytes] | None = None  # the last header that was found good, without its length
        self._choked_until = NEVER
        self._caller = ""
        self._ending = False  # nothing more is read as a request
        self._paused = False
        self._choked = False

    # --- the transport's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else "?"
        if not self._owner.opened(self):
            self._refuse(header.NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ending = True
        self._calls.clear()
        self._held.clear()
        self._drop_body()
        self._owner.closed(self)
        # The parser holds this object, and TLS much memory: nobody shall have to look for them.
        del self._parser
        self._channel = None

    def eof_received(self) -> bool:
        """A client may close its side and wait for its answers."""
        self._ending = True
        if self._held:
            self._held[-1][0].closing = True
        elif self._calls:
            self._calls[-1].closing = True
        return bool(self._calls)

    def pause_writing(self) -> None:
        self._choked = True
        self._choked_until = self._now() + self._limits.body_s
        self._settle()

    def resume_writing(self) -> None:
        self._choked = False
        self._release()
        self._settle()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._owner.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending:
            return
        if self._unknown:
            self._recognise(self._owner.buffer[0])
        if self._channel is not None:
            self._decrypt(self._channel, nbytes)
        elif not self._ending:
            self._received(nbytes)

    # --- TLS ------------------------------------------------------------------------------------------------

    def _recognise(self, first_byte: int) -> None:
        """TLS, or plain HTTP, which is for those whose bytes do not leave this machine."""
        self._unknown = False
        if first_byte == CLIENT_HELLO and self._owner.tls is not None:
            self._channel = Channel(self._owner.tls)
            self._phase = _HANDSHAKE
            self.deadline = self._now() + self._limits.header_s
        elif not paths.is_loopback(self.peer.rpartition(":")[0]):
            self._refuse(header.NOT_ENCRYPTED)

    def _decrypt(self, channel: Channel, nbytes: int) -> None:
        buffer = self._owner.buffer
        try:
            channel.take(memoryview(buffer)[:nbytes])
            while (count := channel.read_into(buffer)) and not self._ending:
                if self._phase == _HANDSHAKE:
                    self._phase = _IDLE
                self._received(count)
        except ChannelError as wrong:
            self._owner.refused(self.peer, f"TLS: {wrong}")
            self._ending = True
            self.deadline = self._now() + LINGER_S
            self._hurry(channel)
            self.finish()
            return
        self._hurry(channel)
        if self._phase == _HANDSHAKE and channel.established:
            self._phase = _IDLE
            self._settle()
        if channel.ended and not self._ending and not self.eof_received():
            self.finish()

    def _hurry(self, channel: Channel) -> None:
        """Send what TLS itself has to say."""
        words = channel.to_send()
        if words and self._transport is not None and not self._transport.is_closing():
            self._transport.write(words)

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content if self._channel is None else self._channel.sealed(content))

    # --- received -------------------------------------------------------------------------------------------

    def _received(self, nbytes: int) -> None:
        """So many bytes of HTTP lie in the buffer."""
        if self._phase == _IDLE:
            self._begin()
        self._unparsed_bytes += nbytes
        try:
            self._parser.feed_data(memoryview(self._owner.buffer)[:nbytes])
        except httptools.HttpParserCallbackError as wrong:
            if not isinstance(wrong.__context__, _Refused):
                raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._ending:
                self._refuse(header.UNREADABLE)
        if self._phase == _HEADER and self._unparsed_bytes > self._limits.header_bytes and not self._ending:
            self._refuse(header.TOO_LONG)
        self._settle()

    # --- the parser's side ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._phase == _IDLE:
            self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.header_bytes:
            self._refuse(header.TOO_LONG)
            raise _Refused
        if name == b"content-length" and not self._length:
            self._length = value
        elif name in _SINGLE:
            if name in self._headers or name == b"content-length":
                self._refuse(header.TWICE)
                raise _Refused
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        if self._ending:
            raise _Refused
        self._phase = _BODY
        headers = self._headers
        refusal = None
        if headers != self._taken or self._url != b"/RPC2" or self._parser.get_method() != b"POST":
            refusal = self._judge()
        refusal = refusal or header.judge_length(self._length, self._limits.body_bytes)
        if refusal is not None:
            self._refuse(refusal)
            raise _Refused
        self._taken = headers
        self.deadline = self._now() + self._limits.body_s
        if b"expect" in headers and self._transport is not None and not self._calls:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        self._owner.buffered_bytes += len(body)
        if self._owner.buffered_bytes > self._limits.buffered_bytes:
            self._refuse(header.TOO_MUCH)
            raise _Refused

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._drop_body()
        self._phase = _IDLE
        self.proven = True
        call = Call("", (), self._caller, self.peer, self._call_finished)
        if not self._parser.should_keep_alive():
            call.closing = self._ending = True
        self._held.append((call, body))
        self._release()

    # --- decisions ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._phase = _HEADER
        self._headers = {}
        self._url = self._length = b""
        self._header_bytes = self._unparsed_bytes = 0
        self.deadline = self._now() + self._limits.header_s

    def recheck(self) -> None:
        self._taken = None

    def _judge(self) -> Refusal | None:
        parser, headers = self._parser, self._headers
        refusal = header.judge(parser.get_method(), self._url, parser.get_http_version(), headers)
        if self._owner.authorise is None or (refusal is not None and refusal.status[:3] in ("405", "400")):
            return refusal
        given = header.credentials(headers.get(b"authorization", b""))
        caller = None if given is None else self._owner.authorise(*given)
        if caller is None:
            return header.UNAUTHORISED
        self._caller = caller
        return refusal

    def _refuse(self, refusal: Refusal) -> None:
        """Answer once more, after the answers that others before it still wait for, and end."""
        self._ending = True
        self._drop_body()
        call = Call("", (), "", self.peer, self._call_finished)
        call.closing = True
        call.reply = refusal.response()
        self._owner.refused(self.peer, refusal.status)
        self._held.append((call, b""))
        self._release()

    def _release(self) -> None:
        """Hand over what may be. One receipt holds hundreds of small calls; their answers must not all be in memory."""
        while self._held and len(self._calls) < self._limits.pipelined and not self._choked:
            call, body = self._held.popleft()
            self._calls.append(call)
            if call.reply is None:
                self._owner.arrived(call, body)
            else:
                self._owner.to_flush(self)

    def _drop_body(self) -> None:
        self._owner.buffered_bytes -= self._body_bytes
        self._body_bytes = 0
        self._body = []

    # --- answers --------------------------------------------------------------------------------------------

    def _call_finished(self, call: Call) -> None:
        if self._transport is None:
            return
        reply = call.reply or b""
        if len(reply) > self._limits.body_bytes:
            log.error("the answer of %s has %d bytes, more than may travel", call.method, len(reply))
            reply = codec.dump_fault(errors.InternalError("The answer is too long to travel."))
        call.reply = (_OK_CLOSE if call.closing else _OK) % len(reply) + reply
        if not self.flushing:
            self._owner.to_flush(self)

    def flush(self) -> None:
        """Write what is answered, in the order in which it was asked."""
        self.flushing = False
        calls, transport = self._calls, self._transport
        ready: list[bytes] = []
        closing = False
        while calls and calls[0].reply is not None and not closing:
            call = calls.popleft()
            closing = call.closing
            if call.reply:
                ready.append(call.reply)
        if transport is None or transport.is_closing():
            return
        if ready:
            self._write(ready[0] if len(ready) == 1 else b"".join(ready))
        if closing:
            calls.clear()
            self._held.clear()
            self.deadline = self._now() + (self._limits.body_s if transport.get_write_buffer_size() else LINGER_S)
            self._ending = True
            if self._channel is not None:
                transport.write(self._channel.farewell())
            if transport.can_write_eof():
                with suppress(OSError):  # who is gone by now is not told that this is the end
                    transport.write_eof()
            self._resume()
        else:
            self._release()
            self._settle()

    def _settle(self) -> None:
        """Read on or not, and until when this connection may stay as it is."""
        if self._transport is None:
            return
        waiting = len(self._calls)
        full = bool(self._held) or self._choked
        if self._ending:
            if waiting:
                self.deadline = self._choked_until if self._choked else NEVER
        elif full:
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
            # What we do not read is not late; a client that does not read its answers is.
            self.deadline = self._choked_until if self._choked else NEVER
        else:
            if self._paused:
                self._resume()
                self.deadline = self._now() + self._limits.body_s
            if self._phase == _IDLE:
                self.deadline = NEVER if waiting else self._now() + self._limits.idle_s

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def cut(self) -> None:
        """End without a word: the deadline has passed, or the server stops."""
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Send what is under way and close."""
        if self._transport is not None:
            if self._channel is not None and not self._transport.is_closing():
                self._transport.write(self._channel.farewell())
            self._transport.close()
