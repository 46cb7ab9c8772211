"""A connection to one server: whole calls, and notes that may be sent now and received later.

Processors, keepers, monitors and :mod:`coordinator.rpc` call it. It imports next to nothing, since a Processor's start
is waited for. It never tries a call twice (the caller knows whether that is safe), never follows a redirect or a proxy,
never believes a length without a limit, and never shows a token in a message.
"""

from __future__ import annotations

import binascii
import select
import socket
from time import monotonic

from coordinator import errors
from coordinator.wire import codec
from coordinator.wire.bounds import BODY_BYTES

TYPE_CHECKING = False  # a Processor must not pay for the import of typing
if TYPE_CHECKING:
    import ssl
    from typing import Any

HEADER_BYTES = 16384
#: A shorter body is sent in one piece with its header; a longer one is not copied for that.
ONE_PIECE_BYTES = 32 << 10


def name_to_resolve(host: str) -> Any:
    """``host`` as the resolver takes it at once: for a text Python first loads its codec of international names, which
    costs every process that opens a connection more than the connection does."""
    return host.encode("ascii") if host.isascii() else host


def split_url(url: str) -> tuple[str, int, str | None, str | None]:
    """``(host, port, user, token)`` of ``http[s]://[user:TOKEN@]host[:port][/RPC2]``; BadInput shows no token."""
    scheme, colon, rest = url.partition("://")
    place, _, path = rest.partition("/")
    login, at, address = place.rpartition("@")
    host, colon2, port = address.rpartition(":")
    if not colon2 or address.endswith("]"):
        host, port = address, "443" if is_https(url) else "80"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    shown = f"{scheme}://{address}"
    if not colon or scheme.lower() not in ("http", "https"):
        raise errors.BadInput(f"{shown!r} is no URL of a server; it must look like http://host:5000.")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise errors.BadInput(f"The port of {shown!r} is not a number from 1 to 65535.")
    if not host or path not in ("", "RPC2") or any(not c.isprintable() or c in " @/?#<>\\\"'" for c in host):
        raise errors.BadInput(f"The host of {shown!r} is missing, or something strange is in the URL.")
    user, colon3, token = login.partition(":")
    return host, int(port), _unquoted(user) if at else None, _unquoted(token) if colon3 else None


def is_https(url: str) -> bool:
    return url[:8].lower() == "https://"


class Connection:
    """To the server at ``url``. It is opened at the first call, and again at the next after it was lost.

    Every method raises PeerLost when the server cannot be reached, is too slow (``timeout_s`` from the sending to the
    last byte) or answers what no server of ours would; NotAuthorised when it does not take the token, or when the
    server of an https URL shows another certificate than that of ``fingerprint``: then nothing is sent to it. Not for
    use by two threads at once. It closes when nobody holds it any more.
    """

    _socket: socket.socket | ssl.SSLSocket | None = None

    def __init__(
        self,
        url: str,
        token: str | None = None,
        user: str = "coordinator",
        timeout_s: float = 30.0,
        reply_bytes: int = BODY_BYTES,
        fingerprint: str | None = None,
    ) -> None:
        self.host, self.port, url_user, url_token = split_url(url)
        self.timeout_s = timeout_s
        self.reply_bytes = reply_bytes
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        self._secure = is_https(url)
        self.fingerprint = fingerprint
        self.url = f"http{'s' if self._secure else ''}://{bracketed}:{self.port}"
        try:
            place = f"{bracketed}:{self.port}".encode("ascii")
        except UnicodeEncodeError:
            raise errors.BadInput(f"The host of {self.url!r} is not written in ASCII.") from None
        token = url_token if token is None else token
        self._has_token = token is not None
        lines = [b"POST /RPC2 HTTP/1.1", b"Host: " + place, b"Content-Type: text/xml"]
        if token is not None:
            login = binascii.b2a_base64(f"{url_user or user}:{token}".encode(), newline=False)
            lines.append(b"Authorization: Basic " + login)
        self._header = b"\r\n".join(lines).replace(b"%", b"%%") + b"\r\nContent-Length: %d\r\n\r\n"
        self._poll: select.poll | None = None
        self._unread = b""
        self._owed = 0  # answers that we have not received

    # --- calls ----------------------------------------------------------------------------------------------

    def call(self, method: str, *params: Any) -> Any:
        """Call and wait. A fault is raised as the error that it stands for."""
        self._none_owed()
        self._send(codec.dump_call(method, params))
        return self._load(self._receive())

    def note(self, method: str, text: str) -> str:
        """Send a note and wait for the note that answers it."""
        self._none_owed()
        self.send_note(method, text)
        return self.receive_note()

    def send_note(self, method: str, text: str) -> None:
        """Send a note; its answer is received by receive_note(), answers coming in the order of the notes."""
        self._send(codec.note_call(method, text))

    def receive_note(self) -> str:
        """The answer of the oldest note that is not answered yet. ``fileno()`` is readable when it comes, unless
        ``more``."""
        answer = self._load(self._receive())
        if type(answer) is not str:
            self.close()
            raise errors.ProtocolError(f"{self.url} answered a note with something else.")
        return answer

    @property
    def more(self) -> bool:
        """Was a further answer, or its beginning, read together with the last one?"""
        deciphered = getattr(self._socket, "pending", None)  # of TLS: what it holds, poll() does not see
        return bool(self._unread) or (deciphered is not None and deciphered() > 0)

    def _none_owed(self) -> None:
        if self._owed:
            raise errors.StateError("A note that was sent is not answered yet; its answer would be taken for this one.")

    def fileno(self) -> int:
        """The socket's number, -1 when it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Close; the next call opens again. Answers that are under way are lost."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._poll = None
        self._unread = b""
        self._owed = 0

    def __del__(self) -> None:
        if self._socket is not None:
            self._socket.close()

    # --- sending --------------------------------------------------------------------------------------------

    def _send(self, body: bytes) -> None:
        header = self._header % len(body)
        connected = self._connected()
        connected.settimeout(self.timeout_s)
        try:
            if len(body) <= ONE_PIECE_BYTES:
                connected.sendall(header + body)
            else:
                connected.sendall(header)
                connected.sendall(body)
        except OSError as wrong:
            # It may have refused us from the header alone, and said why before it closed.
            if not self._owed and isinstance(wrong, (BrokenPipeError, ConnectionResetError)):
                self._owed = 1
                self._receive()
            raise self._lost(wrong) from wrong
        self._owed += 1

    def _connected(self) -> socket.socket:
        if self._socket is not None and not self._owed and self._poll is not None and self._poll.poll(0):
            self.close()  # the server ended a connection that was idle: nothing was asked, so nothing is tried twice
        if self._socket is None:
            try:
                self._socket = socket.create_connection((name_to_resolve(self.host), self.port), self.timeout_s)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._secure:
                    self._socket = self._secured(self._socket)
            except (OSError, UnicodeError) as wrong:
                raise self._lost(wrong) from wrong
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
        return self._socket

    def _secured(self, connected: socket.socket) -> ssl.SSLSocket:
        """The connection after the handshake, with the server that was meant."""
        import ssl

        from coordinator import tls  # here, since most processors talk to their own machine and need none of it

        self._socket = None
        try:
            return tls.secured(connected, self.fingerprint, self.url)
        except ssl.SSLError as wrong:
            reason = (wrong.reason or "not understood").replace("_", " ").lower()
            raise errors.PeerLost(
                f"{self.url} does not speak TLS as we do ({reason}). Was that server started with --no-tls?"
            ) from wrong

    # --- receiving ------------------------------------------------------------------------------------------

    def _receive(self) -> bytes | bytearray:
        """The body of the next answer."""
        if self._socket is None or not self._owed:
            raise errors.StateError("There is no answer to wait for: nothing was sent, or the connection was lost.")
        deadline = monotonic() + self.timeout_s
        try:
            header = self._receive_header(deadline)
            status, fields = _parse_header(header)
            if status != 200:
                raise self._refused(status)
            body = self._receive_body(fields, deadline)
        except OSError as wrong:
            raise self._lost(wrong) from wrong
        except errors.CoordinatorError:
            self.close()
            raise
        self._owed -= 1
        if fields.get(b"connection", b"").lower() == b"close" or header.startswith(b"HTTP/1.0"):
            self.close()
        return body

    def _receive_header(self, deadline: float) -> bytes:
        received = self._unread
        end = received.find(b"\r\n\r\n")
        while end < 0:
            if len(received) > HEADER_BYTES:
                raise errors.PeerLost(f"{self.url} answers with a header that does not end.")
            start = max(0, len(received) - 3)
            received += self._some(deadline)
            end = received.find(b"\r\n\r\n", start)
        self._unread = received[end + 4 :]
        return received[:end]

    def _receive_body(self, fields: dict[bytes, bytes], deadline: float) -> bytes | bytearray:
        length = fields.get(b"content-length", b"")
        if not length.isdigit() or len(length) > 15:
            raise errors.PeerLost(f"{self.url} answers without saying how long its answer is; is that our server?")
        if (
            b"content-encoding" in fields
            or b"transfer-encoding" in fields
            or b"xml" not in fields.get(b"content-type", b"")
        ):
            raise errors.PeerLost(f"{self.url} answers with something that is not plain XML; is that our server?")
        wanted = int(length)
        if wanted > self.reply_bytes:
            raise errors.PeerLost(f"{self.url} answers with {wanted} bytes; at most {self.reply_bytes} are taken.")
        unread = self._unread
        if len(unread) >= wanted:
            self._unread = unread[wanted:]
            return unread[:wanted]
        body = bytearray(wanted)
        have = len(unread)
        body[:have] = unread
        self._unread = b""
        view = memoryview(body)
        assert self._socket is not None
        while have < wanted:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            got = self._socket.recv_into(view[have:])
            if not got:
                raise ConnectionResetError("it closed the connection in the middle of an answer")
            have += got
            if monotonic() > deadline:
                raise TimeoutError
        return body

    def _some(self, deadline: float) -> bytes:
        assert self._socket is not None
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        some = self._socket.recv(65536)
        if not some:
            raise ConnectionResetError("it closed the connection without an answer")
        return some

    def _load(self, body: bytes | bytearray) -> Any:
        try:
            return codec.load_reply(body)
        except errors.ProtocolError:
            self.close()
            raise

    # --- what went wrong ------------------------------------------------------------------------------------

    def _lost(self, wrong: Exception) -> errors.PeerLost:
        self.close()
        if isinstance(wrong, TimeoutError):
            return errors.PeerLost(f"{self.url} did not answer within {self.timeout_s:g} s.")
        reason = getattr(wrong, "strerror", None) or str(wrong) or type(wrong).__name__
        return errors.PeerLost(f"{self.url} cannot be reached: {reason}. Is the server running there?")

    def _refused(self, status: int) -> errors.CoordinatorError:
        if status == 401:
            what = "does not take this token" if self._has_token else "asks for a token"
            return errors.NotAuthorised(f"{self.url} {what}.")
        if status == 403 and not self._secure:
            return errors.NotAuthorised(
                f"{self.url} takes https only from other machines: use https://, with the fingerprint from the token "
                f"file of whoever started that server."
            )
        if status == 503:
            return errors.Overloaded(f"{self.url} has too much to do; try again later.")
        if 400 <= status < 500:
            return errors.BadRequest(f"{self.url} refused the request (HTTP status {status}).")
        return errors.PeerLost(f"{self.url} answered with the HTTP status {status}; is that our server?")


def _parse_header(header: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Status and fields, names in lower case."""
    lines = header.split(b"\r\n")
    first = lines[0].split(b" ", 2)
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or len(first[1]) != 3 or not first[1].isdigit():
        raise errors.PeerLost("What answers there does not speak HTTP.")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in fields and name == b"content-length":
            raise errors.PeerLost("The answer has two lengths.")
        fields[name] = value.strip()
    return int(first[1]), fields


def _unquoted(text: str) -> str:
    """``%41`` means ``A``, as in any URL."""
    first, *others = text.split("%")
    if not others:
        return text
    try:
        return b"".join((first.encode(), *(bytes.fromhex(o[:2]) + o[2:].encode() for o in others))).decode()
    except ValueError:
        raise errors.BadInput("The user or the token of the URL has a % that is not followed by two digits.") from None
