"""The canonical text of a task ID, and of a result: one value, one text.

The feeder encodes what the user's generator gives, Processors decode it for the user's code, and everything
between carries text. The text is JSON with tags for what JSON lacks::

    (1, b"x")            {"$tuple":[1,{"$bytes":"eA=="}]}
    {"$tuple": 1}        {"$dict":{"$tuple":1}}        (a user's dict that looks like a tag is wrapped)

It is ASCII in one line, and never holds ``&``, ``<`` or ``>``, so it travels in XML as it is. Two IDs are the
same if their texts are; Python's ``==`` is never asked (1, True, 1.0, "1", (1,) and [1] are six IDs).
What cannot travel is refused where it is born and is never rounded, normalised or pickled.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from coordinator.errors import CoordinatorError, UnservableResult, UnservableTaskID

MAX_ID_BYTES = 1 << 20
MAX_DEPTH = 64

_TAGS = ("$tuple", "$bytes", "$dict")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_CONSTANTS = frozenset(("true", "false", "null", "NaN", "Infinity", "-Infinity"))
# What begins so, and has no escape in it, is printed plain: it is neither a number nor one of the constants.
_PLAIN_STARTS = frozenset("ABCDEFGHJKLMOPQRSTUVWXYZabcdeghijklmopqrsuvwxyz/._+~@%=:#")
# A line that does not begin so.
_OTHER_START = re.compile(f'\n(?!"[{re.escape("".join(sorted(_PLAIN_STARTS)))}])')
# What stands in a canonical text as it is.
_UNESCAPED = bytes(byte for byte in range(0x20, 0x7F) if chr(byte) not in '"\\&<>')
# The last digits of a thousand numbers, each after those that they share: a tenth of the time of writing each.
_THOUSAND = "\n".join([f"#{number:03d}" for number in range(1000)])
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class _Refused(Exception):
    """Why a value cannot travel; mapped to the caller's error at the door."""


# --- value to text --------------------------------------------------------------------------------


def encode(value: object, refusal: type[CoordinatorError] = UnservableTaskID) -> str:
    """The canonical text of ``value``; raises ``refusal`` (UnservableTaskID) with the value shown and the reason."""
    try:
        text = _escaped(_encode(value, 0))
        if len(text) > MAX_ID_BYTES:
            raise _Refused(f"it is {len(text)} bytes long, more than {MAX_ID_BYTES}")
    except _Refused as reason:
        raise refusal(f"{shown(value)} cannot travel: {reason}") from None
    return text


def encode_result(value: object) -> str:
    """The canonical text of a result; what cannot travel is an UnservableResult."""
    return encode(value, UnservableResult)


def encode_many(values: Sequence[object]) -> list[str]:
    """The canonical texts of ``values``; an UnservableTaskID has the offset of the bad one as ``index``."""
    kinds = set(map(type, values))
    if kinds == {str}:
        texts = list(map(_quoted, values))  # type: ignore[arg-type]
        joined = "".join(texts)
        # Surrogates show as \ud in the text; one search over all (kept apart by NUL) tells halves of a pair.
        if "\\ud" not in joined or not _SPLIT_PAIR.search("\0".join(values)):  # type: ignore[arg-type]
            if "&" in joined or "<" in joined or ">" in joined:
                texts = list(map(_escaped, texts))
            if max(map(len, texts)) <= MAX_ID_BYTES:
                return texts
    elif kinds == {int}:
        try:
            return list(map(int.__repr__, values))
        except ValueError:  # more digits than Python prints; found again below, with its index
            pass
    texts = []
    for index, value in enumerate(values):
        try:
            texts.append(encode(value))
        except UnservableTaskID as error:
            error.index = index
            raise
    return texts


def encode_lines(values: Sequence[object]) -> str:
    """``encode_many``, joined by newlines; quick where all are strings that need no escape."""
    if values and _are_all(values, str):
        joined = "".join(values)  # type: ignore[arg-type]
        if len(joined) <= MAX_ID_BYTES and joined.isascii() and not joined.encode("ascii").translate(None, _UNESCAPED):
            return '"' + '"\n"'.join(values) + '"'  # type: ignore[arg-type]
    return "\n".join(encode_many(values))


def _escaped(text: str) -> str:
    # These three can only stand inside strings, where an escape means the same.
    if "&" in text or "<" in text or ">" in text:
        return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return text


def _encode(value: Any, depth: int) -> str:
    kind = type(value)
    if kind is str:
        # JSON writes a split pair and the character it stands for alike, so one of the two would change on its way.
        if not value.isascii() and _SPLIT_PAIR.search(value):
            raise _Refused("it has a surrogate pair in two halves")
        return _quoted(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        try:
            return int.__repr__(value)
        except ValueError:
            raise _Refused("an integer of so many digits is not readable elsewhere") from None
    if value is None:
        return "null"
    if kind is float:
        if not math.isfinite(value):
            raise _Refused("NaN and the infinities are not JSON")
        return float.__repr__(value)
    if kind is bytes:
        return f'{{"$bytes":"{binascii.b2a_base64(value, newline=False).decode("ascii")}"}}'
    if depth >= MAX_DEPTH:
        raise _Refused(f"it is nested more than {MAX_DEPTH} deep")
    if kind is list:
        return f"[{','.join([_encode(item, depth + 1) for item in value])}]"
    if kind is tuple:
        return f'{{"$tuple":[{",".join([_encode(item, depth + 1) for item in value])}]}}'
    if kind is dict:
        return _encode_dict(value, depth)
    if any(base.__module__ == "numpy" and base.__name__ == "generic" for base in kind.__mro__):
        item = value.item()
        if type(item) in (str, bool, int, float, bytes):
            return _encode(item, depth)
    raise _Refused(
        f"its type is {kind.__module__}.{kind.__qualname__}; only JSON values, bytes and tuples of them can travel"
        " (str(value) would do for a path)"
    )


def _encode_dict(value: dict[Any, Any], depth: int) -> str:
    for key in value:
        if type(key) is not str:
            raise _Refused(f"it has the key {shown(key)}, and JSON's keys are strings")
    pairs = [f"{_encode(key, depth)}:{_encode(value[key], depth + 1)}" for key in sorted(value)]
    text = f"{{{','.join(pairs)}}}"
    if len(value) == 1 and next(iter(value)).startswith("$"):
        return f'{{"$dict":{text}}}'
    return text


# --- text to value --------------------------------------------------------------------------------


def decode(text: str) -> Any:
    """The value that a canonical text stands for; malformed text is an UnservableTaskID."""
    value = _parsed(text)
    return _untagged(value) if '"$' in text else value


def decode_many(text: str) -> list[Any]:
    """The values of a JSON array of canonical texts (``"[" + ",".join(texts) + "]"``)."""
    values = _parsed(text)
    if type(values) is not list:
        raise UnservableTaskID(f"{shown(text)} is not an array")
    return untag_many(values) if '"$' in text else values


def untag_many(values: list[Any]) -> list[Any]:
    """The values of an array of canonical texts that plain JSON parsed."""
    return [_untagged(value) if type(value) in (list, dict) else value for value in values]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_parser = json.JSONDecoder(parse_constant=_no_constant)


def _parsed(text: str) -> Any:
    try:
        return _parser.decode(text)
    except (ValueError, RecursionError) as error:
        raise UnservableTaskID(f"{shown(text)} is not the text of an ID: {error}") from None


def _untagged(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_untagged(item) for item in value]
    if kind is not dict:
        return value
    if len(value) == 1:
        tag, inner = next(iter(value.items()))
        if tag.startswith("$"):
            return _from_tag(tag, inner)
    return {key: _untagged(item) for key, item in value.items()}


def _from_tag(tag: str, inner: Any) -> Any:
    if tag == "$tuple" and type(inner) is list:
        return tuple([_untagged(item) for item in inner])
    if tag == "$bytes" and type(inner) is str:
        try:
            return binascii.a2b_base64(inner, strict_mode=True)
        except ValueError:  # binascii.Error is one
            pass
    if tag == "$dict" and type(inner) is dict:
        return {key: _untagged(item) for key, item in inner.items()}
    raise UnservableTaskID(f"{shown({tag: inner})} is not the text of an ID; the tags are {', '.join(_TAGS)}")


# --- texts by the slice -----------------------------------------------------------------------------


def integer_texts(first: int, count: int) -> str:
    """The canonical texts of consecutive integers, joined by newlines."""
    parts, at, end = [], first, first + count
    while at < end:
        thousand, low = divmod(at, 1000)
        high = min(low + end - at, 1000)
        if thousand > 0:
            parts.append(_THOUSAND[5 * low : 5 * high - 1].replace("#", str(thousand)))
        else:
            parts.append("\n".join(map(str, range(at, at + high - low))))
        at += high - low
    return "\n".join(parts)


def to_array(texts: str) -> str:
    """Canonical texts joined by newlines, as a JSON array."""
    return "[" + texts.replace("\n", ",") + "]"


def fingerprint(text: str) -> bytes:
    """128 bits that stand for a canonical text."""
    import hashlib  # brings OpenSSL, and most processes that import this file make no digest

    return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()


def slice_digest(text: str) -> str:
    """The digest of a slice of the stream: canonical texts joined by newlines."""
    import hashlib

    # Every processor of today has instructions for it: half the time of BLAKE2 or MD5.
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def integers_digest(first: int, count: int) -> str:
    """The digest of a slice of ``count`` consecutive integers, which is never written out."""
    return slice_digest(f"ints:{first}:{count}")


def as_integers(values: Sequence[object]) -> int | None:
    """The first of ``values`` if they are consecutive 64-bit integers, else None."""
    if not values or type(values[0]) is not int or type(values[-1]) is not int:
        return None
    first, last = values[0], values[-1]
    if last - first != len(values) - 1 or first < -(1 << 63) or last >= 1 << 63:
        return None
    if not _are_all(values, int) or list(values) != list(range(first, last + 1)):
        return None
    return first


def _are_all(values: Sequence[object], kind: type) -> bool:
    # Counting a list compares by identity first: half the time of a set of the types.
    return list(map(type, values)).count(kind) == len(values)


# --- for people -----------------------------------------------------------------------------------


def to_line(text: str) -> str:
    """A canonical text as a line of NAME.success: a string plain where that is unambiguous, else the text itself."""
    if not text.startswith('"'):
        return text
    plain: str = text[1:-1] if "\\" not in text else json.loads(text)
    if not plain or plain[0] in ' "{[' or plain[-1] == " " or not plain.isprintable():
        return text
    if plain in _CONSTANTS or (plain[0] in "-0123456789" and _NUMBER.fullmatch(plain)):
        return text
    return plain


def to_lines(texts: str) -> bytes:
    """``to_line`` of many, joined by newlines: lines of NAME.success, each with its end."""
    if '"' not in texts:
        return f"{texts}\n".encode("ascii")  # numbers and the like: a line is the text
    joined = f"\n{texts}\n"
    spaced = " " in joined and ' "\n' in joined
    if spaced or "\\" in joined or "\x7f" in joined or _OTHER_START.search(joined, 0, len(joined) - 1):
        return "".join([f"{to_line(text)}\n" for text in texts.split("\n")]).encode()
    # The only quotes in it are those around the strings.
    return joined.encode("ascii").translate(None, b'"')[1:]


def from_line(line: str) -> str:
    """The canonical text that a line of NAME.success, or an ID typed by a person, stands for."""
    try:
        value = decode(line)
    except UnservableTaskID:
        value = line
    return encode(value)


def shown(value: object, limit: int = 80) -> str:
    """A short repr for messages, whatever the value's own repr does."""
    if isinstance(value, (str, bytes)) and len(value) > limit:
        value = value[:limit]
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the user's own __repr__ may raise anything
        text = f"<{type(value).__qualname__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."
