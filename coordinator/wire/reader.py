"""Any XML-RPC message to Python values, under limits: only :mod:`coordinator.wire.codec` calls this.

expat finds the elements; the reader here knows which may stand where, and counts. It does not recurse, so that depth
costs nothing. It never resolves an entity, never guesses at a value that is not written as the specification has it,
and raises ProtocolError (no message of ours), BadRequest (over a limit) or BadParameters (a value that cannot be).
"""

from __future__ import annotations

import binascii

from coordinator import errors
from coordinator.wire.bounds import BODY_BYTES, DEPTH, METHOD_BYTES, VALUES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def parse(body: bytes | bytearray, root: str) -> Reader:
    """What the message says; ``root`` is ``methodCall`` or ``methodResponse``."""
    from xml.parsers import expat

    if len(body) > BODY_BYTES:
        raise errors.BadRequest(f"The message has {len(body)} bytes; {BODY_BYTES} are allowed.")
    reader = Reader(root)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text.append
    parser.StartDoctypeDeclHandler = _refuse_declaration
    parser.EntityDeclHandler = _refuse_declaration
    parser.ProcessingInstructionHandler = _refuse_declaration
    parser.ExternalEntityRefHandler = _refuse_declaration
    parser.SkippedEntityHandler = _refuse_declaration
    try:
        parser.Parse(bytes(body) if isinstance(body, bytearray) else body, True)
    # ValueError, LookupError: an encoding that the XML declaration names and that Python cannot use.
    except (expat.ExpatError, ValueError, LookupError) as wrong:
        raise errors.ProtocolError("The message is not well-formed XML.") from wrong
    return reader


def _refuse_declaration(*declared: object) -> int:
    raise errors.BadRequest("The message has a DTD, an entity or a processing instruction; none is allowed.")


_HOLDERS = frozenset(("params", "param", "fault", "data", "struct", "member"))
_NOTHING: frozenset[str] = frozenset()


class Reader:
    """Takes the parser's events and holds what the message said; knows which tag may stand where."""

    def __init__(self, root: str) -> None:
        self.method: str | None = None
        self.params: list[Any] | None = None
        self.fault: dict[str, Any] | None = None
        self.text: list[str] = []
        self._path: list[str] = []
        self._frames: list[list[Any]] = []
        self._root = root
        self._value: Any = None
        self._typed = False  # the open <value> has had its typed child
        self._depth = 0
        self._values = 0

    def start(self, tag: str, attributes: object) -> None:
        path = self._path
        allowed = tag in _CHILDREN.get(path[-1], _NOTHING) if path else tag == self._root
        if not allowed:
            raise errors.ProtocolError("The message has an element where none of its kind may be.")
        if self.text:
            self._only_space()
        if tag == "value":
            self._values += 1
            self._depth += 1
            if self._depth > DEPTH:
                raise errors.BadRequest(f"The message has values more than {DEPTH} deep.")
            if self._values > VALUES:
                raise errors.BadRequest(f"The message has more than {VALUES} values.")
            if path[-1] == "member" and len(self._frames[-1]) != 1:
                raise errors.ProtocolError("A member of a struct is not a name and a value.")
            self._typed = False
        elif path and path[-1] == "value" and self._typed:
            raise errors.ProtocolError("A value has two types.")
        elif tag in _HOLDERS:
            self._frames.append([])
        elif tag == "name" and self._frames[-1]:
            raise errors.ProtocolError("A member of a struct has two names.")
        path.append(tag)

    def end(self, tag: str) -> None:
        self._path.pop()
        if tag == "value":
            self._depth -= 1
            if self._typed:
                if self.text:
                    self._only_space()
                self._frames[-1].append(self._value)
            else:
                self._frames[-1].append(self._said())
            self._typed = False
        elif tag in _SCALARS:
            self._value = _SCALARS[tag](self._said())
            self._typed = True
        elif tag == "name":
            self._frames[-1].append(self._said())
        elif tag == "methodName":
            self._end_of_name()
        else:
            if self.text:
                self._only_space()
            if tag in _HOLDERS:
                self._end_of_holder(tag, self._frames.pop())
            elif tag == "array" and not self._typed:
                raise errors.ProtocolError("An array has no data.")

    def _end_of_holder(self, tag: str, held: list[Any]) -> None:
        if tag == "data":
            if self._typed:
                raise errors.ProtocolError("An array has two lists of data.")
            self._value, self._typed = held, True
        elif tag == "struct":
            self._value, self._typed = dict(held), True
            if len(self._value) != len(held):
                raise errors.ProtocolError("A struct has two members of one name.")
        elif tag == "params":
            if self.params is not None or self.fault is not None:
                raise errors.ProtocolError("The message has two lists of parameters.")
            self.params = held
        elif len(held) != (2 if tag == "member" else 1):
            raise errors.ProtocolError("An element of the message does not hold what it must.")
        elif tag == "member":
            self._frames[-1].append((held[0], held[1]))
        elif tag == "param":
            self._frames[-1].append(held[0])
        elif self.params is not None or self.fault is not None or type(held[0]) is not dict:
            raise errors.ProtocolError("The message has a fault that is none.")
        else:
            self.fault = held[0]

    def _end_of_name(self) -> None:
        name = self._said().strip()
        if self.method is not None or self.params is not None:
            raise errors.ProtocolError("The call does not begin with the name of one method.")
        if not 0 < len(name) <= METHOD_BYTES or not (name.isascii() and name.isprintable()):
            raise errors.BadRequest(f"The name of a method is 1 to {METHOD_BYTES} printable ASCII characters.")
        self.method = name

    def _said(self) -> str:
        said = "".join(self.text)
        self.text.clear()
        return said

    def _only_space(self) -> None:
        if self._said().strip():
            raise errors.ProtocolError("The message has text between its elements.")


def _integer(bits: int) -> Callable[[str], int]:
    def load(text: str) -> int:
        text = text.strip()
        digits = text[1:] if text[:1] in ("-", "+") else text
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 24:  # int() would take 1_0, and is slow on many
            raise errors.BadParameters(f"An integer of {bits} bits is not a number, or has too many digits.")
        value = int(text)
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise errors.BadParameters(f"An integer does not fit {bits} bits.")
        return value

    return load


def _boolean(text: str) -> bool:
    if text.strip() not in ("0", "1"):
        raise errors.BadParameters("A boolean is neither 0 nor 1.")
    return text.strip() == "1"


def _double(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if "_" in text or not -1.8e308 < value < 1.8e308:
        raise errors.BadParameters("A double is not a finite number.")
    return value


def _bytes(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both
        raise errors.BadParameters("A base64 value is not base64.") from None


def _date(text: str) -> Any:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise errors.BadParameters("A date is not written as 20260131T23:59:59.") from None


def _nil(text: str) -> None:
    if text.strip():
        raise errors.BadParameters("A nil is not empty.")


_SCALARS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "int": _integer(32),
    "i4": _integer(32),
    "i1": _integer(8),
    "i2": _integer(16),
    "i8": _integer(64),
    "boolean": _boolean,
    "double": _double,
    "base64": _bytes,
    "dateTime.iso8601": _date,
    "nil": _nil,
    "ex:nil": _nil,
}

_CHILDREN = {
    "methodCall": frozenset(("methodName", "params")),
    "methodResponse": frozenset(("params", "fault")),
    "params": frozenset(("param",)),
    "param": frozenset(("value",)),
    "fault": frozenset(("value",)),
    "value": frozenset((*_SCALARS, "array", "struct")),
    "array": frozenset(("data",)),
    "data": frozenset(("value",)),
    "struct": frozenset(("member",)),
    "member": frozenset(("name", "value")),
}
