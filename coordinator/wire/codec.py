"""XML-RPC messages to values and back, for both ends: the server, the client, nobody else.

A message is refused before it costs memory: no DTD, entity or processing instruction, at most DEPTH values inside each
other, VALUES values, BODY_BYTES bytes. A *note* is the message of our own processes: one string parameter that needs no
escaping, between constant markup; it is read and written without a parser. Anything else is read by
:mod:`coordinator.wire.reader`. This file never touches a socket, never looks at what a method means, and never raises
anything but :mod:`coordinator.errors` (``note_*``: ValueError).
"""

from __future__ import annotations

import binascii

from coordinator import errors
from coordinator.wire.bounds import BODY_BYTES, DEPTH, FAULT_CHARS, METHOD_BYTES, VALUES

TYPE_CHECKING = False  # a Processor must not pay for the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_CALL_HEAD = b"<?xml version='1.0'?><methodCall><methodName>"
_CALL_GAP = b"</methodName><params><param><value><string>"
_CALL_TAIL = b"</string></value></param></params></methodCall>"
_REPLY_HEAD = b"<?xml version='1.0'?><methodResponse><params><param><value><string>"
_REPLY_TAIL = b"</string></value></param></params></methodResponse>"
# Deleting these from a note leaves the brackets of its constant markup, if its text is plain printable ASCII.
_PLAIN = bytes(range(32, 127)).translate(None, b"<&>")
_CALL_BRACKETS = (_CALL_HEAD + _CALL_GAP + _CALL_TAIL).translate(None, _PLAIN)
_REPLY_BRACKETS = (_REPLY_HEAD + _REPLY_TAIL).translate(None, _PLAIN)


# --- notes ----------------------------------------------------------------------------------------------------


def note_call(method: str, text: str) -> bytes:
    """The call of ``method`` with one string; ValueError if the text is not ASCII or would need escaping."""
    if "<" in text or "&" in text:
        raise ValueError("the text of a note must not hold < or &")
    return b"".join((_CALL_HEAD, method.encode("ascii"), _CALL_GAP, text.encode("ascii"), _CALL_TAIL))


def note_reply(text: str) -> bytes:
    """The answer that is one string; ValueError if the text is not ASCII or would need escaping."""
    if "<" in text or "&" in text:
        raise ValueError("the text of a note must not hold < or &")
    return b"".join((_REPLY_HEAD, text.encode("ascii"), _REPLY_TAIL))


# --- reading --------------------------------------------------------------------------------------------------


def load_call(body: bytes | bytearray) -> tuple[str, tuple[Any, ...]]:
    """``(method, params)`` of a call. Raises ProtocolError, BadRequest or BadParameters."""
    if body.startswith(_CALL_HEAD) and body.translate(None, _PLAIN) == _CALL_BRACKETS:
        gap = body.find(_CALL_GAP, len(_CALL_HEAD), len(_CALL_HEAD) + METHOD_BYTES + len(_CALL_GAP))
        if gap > 0 and body.endswith(_CALL_TAIL) and len(body) <= BODY_BYTES:
            method = str(body[len(_CALL_HEAD) : gap], "ascii")
            if method.isidentifier():
                return method, (str(memoryview(body)[gap + len(_CALL_GAP) : -len(_CALL_TAIL)], "ascii"),)
    from coordinator.wire import plaincall

    plain = plaincall.load(body)
    if plain is not None:
        return plain
    from coordinator.wire.reader import parse

    reader = parse(body, "methodCall")
    if reader.method is None:
        raise errors.ProtocolError("The call names no method.")
    return reader.method, tuple(reader.params or ())


def load_reply(body: bytes | bytearray) -> Any:
    """The value of an answer. A fault is raised as the error that it stands for."""
    if (
        body.startswith(_REPLY_HEAD)
        and body.endswith(_REPLY_TAIL)
        and len(body) <= BODY_BYTES
        and body.translate(None, _PLAIN) == _REPLY_BRACKETS
    ):
        return str(memoryview(body)[len(_REPLY_HEAD) : -len(_REPLY_TAIL)], "ascii")
    from coordinator.wire.reader import parse

    reader = parse(body, "methodResponse")
    if reader.fault is not None:
        code, text = reader.fault.get("faultCode"), reader.fault.get("faultString")
        if type(code) is not int or type(text) is not str:
            raise errors.ProtocolError("The fault of the answer has no number or no text.")
        raise errors.from_fault(code, text[:FAULT_CHARS])
    if reader.params is None or len(reader.params) != 1:
        raise errors.ProtocolError("The answer does not hold exactly one value.")
    return reader.params[0]


# --- writing --------------------------------------------------------------------------------------------------


def dump_call(method: str, params: Iterable[Any] = ()) -> bytes:
    """A call. BadParameters names the value that cannot travel."""
    out = [f"<?xml version='1.0'?><methodCall><methodName>{_escaped(method)}</methodName><params>"]
    for value in params:
        out.append("<param>")
        _write(value, out, 1)
        out.append("</param>")
    out.append("</params></methodCall>")
    return _joined(out)


def dump_reply(value: Any) -> bytes:
    """An answer. BadParameters names the value that cannot travel."""
    if type(value) is str and value.isascii():
        text = value.encode("ascii")
        if not text.translate(None, _PLAIN):
            return _bounded(b"".join((_REPLY_HEAD, text, _REPLY_TAIL)))
    out = ["<?xml version='1.0'?><methodResponse><params><param>"]
    _write(value, out, 1)
    out.append("</param></params></methodResponse>")
    return _joined(out)


def dump_fault(error: BaseException) -> bytes:
    """The fault of an error. What is not a CoordinatorError tells nothing of itself: its text may hold secrets."""
    known = error if isinstance(error, errors.CoordinatorError) else errors.InternalError()
    fault = {"faultCode": known.code, "faultString": legible(known.message[:FAULT_CHARS])}
    out = ["<?xml version='1.0'?><methodResponse><fault>"]
    _write(fault, out, 1)
    out.append("</fault></methodResponse>")
    return "".join(out).encode()


def legible(value: Any) -> Any:
    """The same value with escapes in its strings for the characters that XML cannot carry: for what people read.

    A traceback, or the last words of a command, may hold any character.
    """
    if isinstance(value, str):
        if not _unwritable(value):
            return value
        return "".join(ascii(c)[1:-1] if not c.isprintable() and _unwritable(c) else c for c in value)
    if isinstance(value, dict):
        return {legible(key): legible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [legible(item) for item in value]
    return value


def _joined(out: list[str]) -> bytes:
    return _bounded("".join(out).encode())


def _bounded(body: bytes) -> bytes:
    if len(body) > BODY_BYTES:
        raise errors.BadParameters(f"The message would have {len(body)} bytes; {BODY_BYTES} are allowed.")
    return body


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > DEPTH:
        raise errors.BadParameters(f"A value is more than {DEPTH} deep, or holds itself.")
    if len(out) > 4 * VALUES:  # at most four pieces a value: a list that could never be read is not written out first
        raise errors.BadParameters(f"There are more than {VALUES} values.")
    if isinstance(value, str):
        out.append(f"<value><string>{_escaped(value)}</string></value>")
    elif isinstance(value, bool):
        out.append(f"<value><boolean>{value:d}</boolean></value>")
    elif isinstance(value, int):
        _write_integer(int(value), out)
    elif value is None:
        out.append("<value><nil/></value>")
    elif isinstance(value, float):
        if not -1.8e308 < value < 1.8e308:
            raise errors.BadParameters(f"{value!r} is not a finite number and cannot travel.")
        out.append(f"<value><double>{float(value)!r}</double></value>")
    elif isinstance(value, (list, tuple)):
        out.append("<value><array><data>")
        for item in value:
            _write(item, out, depth + 1)
        out.append("</data></array></value>")
    elif isinstance(value, dict):
        out.append("<value><struct>")
        for name, item in value.items():
            if not isinstance(name, str):
                raise errors.BadParameters(f"The key {_shown(name)} of a dictionary is not a string and cannot travel.")
            out.append(f"<member><name>{_escaped(name)}</name>")
            _write(item, out, depth + 1)
            out.append("</member>")
        out.append("</struct></value>")
    elif isinstance(value, (bytes, bytearray)):
        out.append(f"<value><base64>{binascii.b2a_base64(value, newline=False).decode()}</base64></value>")
    else:
        _write_date(value, out)


def _write_integer(value: int, out: list[str]) -> None:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        out.append(f"<value><int>{value}</int></value>")
    elif -(1 << 63) <= value < 1 << 63:
        out.append(f"<value><i8>{value}</i8></value>")
    else:
        raise errors.BadParameters("An integer of more than 64 bits cannot travel.")


def _write_date(value: Any, out: list[str]) -> None:
    from datetime import datetime

    if not isinstance(value, datetime):
        raise errors.BadParameters(f"{_shown(value)} of type {type(value).__name__} cannot travel.")
    out.append(f"<value><dateTime.iso8601>{value:%Y%m%dT%H:%M:%S}</dateTime.iso8601></value>")


def _escaped(text: str) -> str:
    if not text.isprintable():
        found = _unwritable(text)
        if found:
            raise errors.BadParameters(f"The character {found} cannot travel as text: {_shown(text)}")
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\r", "&#13;")  # a parser would read a bare one as a newline


def _unwritable(text: str) -> str:
    """The first character that XML 1.0 cannot carry, as Python writes it, or ''."""
    import re

    found = re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return ascii(found[0])[1:-1] if found else ""


def _shown(value: object) -> str:
    shown = ascii(value) if isinstance(value, (str, int, float, bytes)) else "A value"
    return shown if len(shown) <= 80 else shown[:77] + "..."
