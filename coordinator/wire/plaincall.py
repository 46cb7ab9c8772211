"""A call as common XML-RPC clients write it, read without a parser: plain values between known markup.

:func:`coordinator.wire.codec.load_call` asks here before it asks the parser, which knows every other way to say the
same and takes six times as long. What is read here is what the parser would read; nothing is refused here.
"""

from __future__ import annotations

import re
from typing import Any

#: longer messages are left to the parser, which has the limits
MOST_BYTES = 4096

# The text is printable ASCII without < > &: nothing in it is escaped, and nothing of it is markup.
_VALUE = re.compile(rb"<value><(string|int|i4|boolean)>([ -%'-;=?-~]*)</\1></value>")
# What stands around the values: as xmlrpc.client writes it, or without its line breaks.
_HEAD = re.compile(
    rb"(?:<\?xml version=(?:'1\.0'|\"1\.0\")\?>\n?)?<methodCall>\n?<methodName>([A-Za-z0-9_.]{1,99})</methodName>\n?"
    rb"<params>\n?<param>\n?"
)
_GAPS = frozenset((b"</param><param>", b"\n</param>\n<param>\n"))
_TAILS = frozenset((b"</param></params></methodCall>", b"\n</param>\n</params>\n</methodCall>\n"))
_BOOLEANS = {b"0": False, b"1": True}


def load(body: bytes | bytearray) -> tuple[str, tuple[Any, ...]] | None:
    """``(method, params)``, or None where the parser must look."""
    if len(body) > MOST_BYTES:
        return None
    head, *values = _VALUE.split(bytes(body))  # head, then type, text and what follows it, for each value
    begun = _HEAD.fullmatch(head)
    if begun is None or not values or values[-1] not in _TAILS or not _GAPS.issuperset(values[2:-1:3]):
        return None
    params: list[Any] = []
    for kind, text in zip(values[::3], values[1::3], strict=True):
        if kind == b"string":
            params.append(text.decode("ascii"))
        elif kind == b"boolean" and text in _BOOLEANS:
            params.append(_BOOLEANS[text])
        elif kind != b"boolean" and text.isdigit() and len(text) < 10:  # of more digits some do not fit 32 bits
            params.append(int(text))
        else:
            return None
    return begun[1].decode("ascii"), tuple(params)
