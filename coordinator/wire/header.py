"""The header of a request, judged: pure functions that :mod:`coordinator.wire.http` asks before it reads a body.

They never see a body or a connection and never check a token; they only take it out of its header.
"""

from __future__ import annotations

import binascii
from typing import NamedTuple


class Refusal(NamedTuple):
    status: str
    reason: str
    header: str = ""

    def response(self) -> bytes:
        return (
            f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain\r\nConnection: close\r\n{self.header}"
            f"Content-Length: {len(self.reason) + 1}\r\n\r\n{self.reason}\n"
        ).encode("ascii")


UNAUTHORISED = Refusal(
    "401 Unauthorized", "The token is missing or wrong.", 'WWW-Authenticate: Basic realm="coordinator"\r\n'
)
TOO_LONG = Refusal("431 Request Header Fields Too Large", "The header is too long.")
TWICE = Refusal("400 Bad Request", "A header that must be single is there twice.")
UNREADABLE = Refusal("400 Bad Request", "That is no HTTP request that can be read.")
NOT_ENCRYPTED = Refusal(
    "403 Forbidden", "From other machines this server takes https only; it was started without --no-tls."
)
NO_ROOM = Refusal("503 Service Unavailable", "There are too many connections.", "Retry-After: 5\r\n")
TOO_MUCH = Refusal("503 Service Unavailable", "Too many bodies are under way.", "Retry-After: 5\r\n")


def judge(method: bytes, url: bytes, version: str, headers: dict[bytes, bytes]) -> Refusal | None:
    """Why a request is refused for its header, or None. ``headers`` have lower-case names; the token is not asked."""
    if method != b"POST":
        return Refusal("405 Method Not Allowed", "Calls are sent by POST.", "Allow: POST\r\n")
    if version not in ("1.0", "1.1") or b"upgrade" in headers:
        return Refusal("400 Bad Request", "HTTP/1.1 is spoken here, and nothing else.")
    if b"transfer-encoding" in headers:
        return Refusal("400 Bad Request", "A body has a Content-Length here, and no Transfer-Encoding.")
    if url not in (b"/", b"/RPC2"):
        return Refusal("404 Not Found", "Calls are sent to / or /RPC2.")
    if not is_host(headers.get(b"host", b"" if version == "1.1" else b"-")):
        return Refusal("400 Bad Request", "The Host header is missing or is no host.")
    if b"origin" in headers:
        return Refusal("403 Forbidden", "Calls from web pages are not taken.")
    if b"content-encoding" in headers:
        return Refusal("415 Unsupported Media Type", "A compressed body is not taken.")
    if not is_xml(headers.get(b"content-type", b"")):
        return Refusal("415 Unsupported Media Type", "The Content-Type must be text/xml.")
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        return Refusal("417 Expectation Failed", "Nothing but 100-continue can be expected.")
    return None


def judge_length(length: bytes, body_bytes: int) -> Refusal | None:
    """Why a Content-Length is refused, or None; it is apart since it alone differs in the calls of a connection."""
    if not length:
        return Refusal("411 Length Required", "The Content-Length is missing.")
    if not length.isdigit():
        return Refusal("400 Bad Request", "The Content-Length is no length.")
    if len(length) > 15 or int(length) > body_bytes:
        return Refusal("413 Content Too Large", f"At most {body_bytes} bytes are taken.")
    return None


def is_host(value: bytes) -> bool:
    """Is this the value of a Host header: a name or address, with or without a port?"""
    host, colon, port = value.rpartition(b":")
    if not colon or value.endswith(b"]"):
        host, port = value, b"0"
    if host.startswith(b"["):
        host = host[1:-1].replace(b":", b"") if host.endswith(b"]") else b""
    return port.isdigit() and 0 < len(host) <= 253 and not host.strip(_HOST_BYTES)


_HOST_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


def is_xml(value: bytes) -> bool:
    """Is this the Content-Type of XML in UTF-8? (A page of another site cannot send that without being asked first.)"""
    kind, _, parameters = value.lower().partition(b";")
    if kind.strip() not in (b"text/xml", b"application/xml"):
        return False
    charset = parameters.strip().removeprefix(b"charset=").strip(b'"')
    return charset in (b"", b"utf-8", b"utf8", b"us-ascii")


def credentials(header: bytes) -> tuple[str, str] | None:
    """``(user, password)`` of an Authorization header of the Basic kind."""
    kind, _, coded = header.partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        user, colon, password = binascii.a2b_base64(coded.strip(), strict_mode=True).decode().partition(":")
    except ValueError:  # binascii.Error and UnicodeDecodeError are both
        return None
    return (user, password) if colon else None
