"""TLS of one of the server's connections: bytes of the wire to bytes of HTTP, and back.

Made by :mod:`coordinator.wire.http` when the first byte of a connection is that of a TLS handshake. It owns no socket
and waits for nothing, so that the connection's one deadline holds for the handshake too.
"""

from __future__ import annotations

import ssl

#: the first byte of every TLS connection, and of no HTTP request
CLIENT_HELLO = 0x16


class ChannelError(Exception):
    """What arrives is no TLS, or was changed on its way; what is left to be sent says so to the client."""


class Channel:
    """``ended``: the client has said that it will send no more. ``established``: the handshake is over."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)
        self.established = False
        self.ended = False

    def take(self, data: memoryview) -> None:
        """Bytes of the wire, all of them, before anything is read."""
        self._arrived.write(data)

    def read_into(self, buffer: bytearray) -> int:
        """Put bytes of HTTP into ``buffer``; how many, 0 for none yet. Raises ChannelError."""
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            count = int(self._tls.read(len(buffer), buffer))
        except ssl.SSLWantReadError:
            return 0
        except ssl.SSLError as wrong:
            raise ChannelError(wrong.reason or "not understood") from wrong
        if not count:
            self.ended = True
        return count

    def sealed(self, content: bytes) -> bytes:
        """The bytes of the wire for these bytes of HTTP."""
        view = memoryview(content)
        try:
            while view:  # a record at a time
                view = view[self._tls.write(view) :]
        except ssl.SSLError:
            return b""  # it is ending, by its own fault
        return self.to_send()

    def farewell(self) -> bytes:
        """The bytes that say that nothing more will come."""
        try:
            if self.established:
                self._tls.unwrap()
        except ssl.SSLError:
            pass  # the client's farewell is not waited for
        return self.to_send()

    def to_send(self) -> bytes:
        """What TLS itself has to say on the wire."""
        return self._leaving.read()
