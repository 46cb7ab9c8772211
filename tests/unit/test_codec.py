"""The codec: what travels arrives as it was, the fast way and the parser agree, and what may not travel is named."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator import errors
from coordinator.wire import codec, plaincall
from coordinator.wire.bounds import BODY_BYTES
from coordinator.wire.reader import parse

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")) | st.text(
    "\t\n\r<&>x"
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.binary()
    | st.datetimes(min_value=datetime(1000, 1, 1)).map(lambda moment: moment.replace(microsecond=0))
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


def same(a: Any, b: Any) -> bool:
    """Equal and of equal types: 1 is not True and not 1.0."""
    if isinstance(a, list):
        return type(b) is list and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


def call_of(value: str) -> bytes:
    return f"<methodCall><methodName>m</methodName><params><param>{value}</param></params></methodCall>".encode()


# --- what travels ---------------------------------------------------------------------------------------------


@given(VALUES)
def test_every_value_arrives_as_it_was(value: Any) -> None:
    method, params = codec.load_call(codec.dump_call("some.method", [value, value]))
    assert method == "some.method"
    assert same(list(params), [value, value])
    assert same(codec.load_reply(codec.dump_reply(value)), value)


@given(VALUES)
def test_the_standard_library_reads_what_we_write(value: Any) -> None:
    (read,), method = xmlrpc.client.loads(codec.dump_call("m", [value]), use_builtin_types=True)
    assert method == "m"
    assert same(read, value)


@given(VALUES)
def test_we_read_what_the_standard_library_writes(value: Any) -> None:
    value = [one for one in [value] if "\r" not in str(value) and "\\r" not in repr(value)]  # it does not escape \r
    try:
        body = xmlrpc.client.dumps((value,), "m", allow_none=True).encode()
    except OverflowError:  # its integers have 31 bits
        return
    assert same(codec.load_call(body), ("m", (value,))) or codec.load_call(body) == ("m", (value,))


def test_a_tuple_arrives_as_a_list_and_an_empty_call_has_no_parameters() -> None:
    assert codec.load_call(codec.dump_call("m", [(1, (2,))])) == ("m", ([1, [2]],))
    assert codec.load_call(codec.dump_call("m")) == ("m", ())
    assert codec.load_call(b"<methodCall><methodName> m </methodName></methodCall>") == ("m", ())


def test_integers_beyond_31_bits_are_written_as_i8() -> None:
    assert b"<i8>2147483648</i8>" in codec.dump_reply(2**31)
    assert b"<int>2147483647</int>" in codec.dump_reply(2**31 - 1)


# --- notes ----------------------------------------------------------------------------------------------------


@given(st.text('ab \x7f\x00\n\r]<>&é{}"\\u0026', max_size=12))
def test_a_note_is_read_as_the_parser_reads_it(text: str) -> None:
    try:
        body = codec.note_call("exchange", text)
    except ValueError:
        assert "<" in text or "&" in text or not text.isascii()
        return
    try:
        parsed = tuple(parse(body, "methodCall").params or ())
    except errors.ProtocolError:
        with pytest.raises(errors.ProtocolError):
            codec.load_call(body)
        return
    assert codec.load_call(body) == ("exchange", parsed)
    assert codec.load_reply(codec.note_reply(text)) == parsed[0]


@given(st.binary(max_size=40), st.integers(0, 200), st.integers(0, 40))
def test_a_mangled_note_is_read_as_the_parser_reads_it(inserted: bytes, at: int, cut: int) -> None:
    note = codec.note_call("exchange", '{"a":1}')
    mangled = note[:at] + inserted + note[at + cut :]
    try:
        reader = parse(mangled, "methodCall")
        expected: Any = (reader.method, tuple(reader.params or ()))
        if reader.method is None:
            expected = None
    except errors.ProtocolError:
        expected = None
    except errors.BadParameters:
        expected = None
    try:
        found: Any = codec.load_call(mangled)
    except (errors.ProtocolError, errors.BadParameters):
        found = None
    assert found == expected


def test_a_note_is_read_from_a_bytearray_too() -> None:
    assert codec.load_call(bytearray(codec.note_call("m", "{}"))) == ("m", ("{}",))
    assert codec.load_reply(bytearray(codec.note_reply("{}"))) == "{}"
    assert codec.load_reply(bytearray(codec.dump_reply([1]))) == [1]


def test_notes_are_read_without_importing_a_parser() -> None:
    program = (
        "import sys, coordinator; before = set(sys.modules); from coordinator.wire import client, codec\n"
        "codec.load_call(codec.note_call('m', '{}')); codec.load_reply(codec.dump_reply('{}'))\n"
        "heavy = {'typing', 're', 'asyncio', 'http', 'xmlrpc', 'xml', 'email', 'urllib', 'logging', 'inspect'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "[]\n"


# --- plain calls ----------------------------------------------------------------------------------------------


def by_us(values: list[Any]) -> bytes:
    return codec.dump_call("some.method", values)


def by_the_standard_library(values: list[Any]) -> bytes:
    return xmlrpc.client.dumps(tuple(values), "some.method").encode()


WRITERS = [by_us, by_the_standard_library]
PLAIN_VALUES = st.booleans() | st.integers(0, 999_999_999) | st.text(st.characters(min_codepoint=32, max_codepoint=126))
#: what makes of a plain call one that is not plain, or none at all
PIECES = [
    *("<string>", "</string>", "<int>", "</int>", "<i4>", "</i4>", "<i8>", "</i8>", "<boolean>", "</boolean>"),
    *("<value>", "</value>", "<param>", "</param>", "<params>", "</params>", "<methodName>", "</methodName>"),
    *("", " ", "\n", "\t", "\r", "0", "2", "-1", "+1", "9" * 9, "9" * 10, "<", ">", "&lt;", "]]>", "x", "\u00e9", "\0"),
    *("<value/>", "<!-- -->", "<![CDATA[x]]>", "<?xml version='1.0'?>", '<?xml version="1.0"?>', "<?xml?>"),
]  # fmt: skip


def outcome(load: Callable[[bytes], tuple[str, Any]], body: bytes) -> Any:
    """``[method, params]``, or the kind of error."""
    try:
        method, params = load(body)
    except errors.CoordinatorError as wrong:
        return type(wrong)
    return [method, list(params)]


def parsed(body: bytes) -> tuple[str, Any]:
    reader = parse(body, "methodCall")
    if reader.method is None:
        raise errors.ProtocolError
    return reader.method, reader.params or []


@given(st.sampled_from(WRITERS), st.lists(PLAIN_VALUES, min_size=1, max_size=4))
def test_a_plain_call_is_read_without_the_parser_and_as_the_parser_reads_it(
    write: Callable[[list[Any]], bytes], values: list[Any]
) -> None:
    body = write(values)
    plain = plaincall.load(body)
    assert (plain is None) == (b"&" in body)
    for taken in (body, bytearray(body)):
        assert same(outcome(codec.load_call, taken), outcome(parsed, body))


@pytest.mark.parametrize("write", WRITERS)
def test_a_plain_call_that_was_changed_anywhere_is_read_as_the_parser_reads_it(
    write: Callable[[list[Any]], bytes],
) -> None:
    tokens = re.findall(rb"<[^>]*>|[^<]+", write(["ab", 12, True]))
    for at, piece, instead in itertools.product(range(len(tokens) + 1), PIECES, (0, 1, 2)):
        body = b"".join([*tokens[:at], piece.encode(), *tokens[at + instead :]])
        found, expected = outcome(codec.load_call, body), outcome(parsed, body)
        assert found is expected or same(found, expected), body


@pytest.mark.parametrize("value", ["<int>2147483648</int>", "<int>12345678901</int>", "<int>-7</int>", "<int></int>"])
def test_an_integer_that_may_not_fit_is_left_to_the_parser(value: str) -> None:
    assert plaincall.load(call_of(f"<value>{value}</value>")) is None
    assert plaincall.load(call_of("<value><int>7</int></value>")) == ("m", (7,))


def test_a_long_plain_call_is_left_to_the_parser() -> None:
    values = ["x" * 1000] * 5
    body = codec.dump_call("m", values)
    assert plaincall.load(body) is None
    assert codec.load_call(body) == ("m", tuple(values))


# --- what may not travel --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        math.nan,
        math.inf,
        -math.inf,
        {1: 2},
        object(),
        {1, 2},
        1j,
        "\x01",
        "\ufffe",
        "\ud800",
        {"\0": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_travel_is_refused_where_it_is_written(value: Any) -> None:
    with pytest.raises(errors.BadParameters):
        codec.dump_call("m", [[value]])
    with pytest.raises(errors.BadParameters):
        codec.dump_reply(value)


def test_a_list_that_holds_itself_and_one_too_long_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (endless, [0] * 500_000, "x" * BODY_BYTES):
        with pytest.raises(errors.BadParameters):
            codec.dump_reply(value)


@pytest.mark.parametrize(
    "value",
    [
        "<value><int>1_0</int></value>",
        "<value><int></int></value>",
        "<value><int>2147483648</int></value>",
        "<value><int>\u0661</int></value>",
        "<value><i8>9223372036854775808</i8></value>",
        "<value><double>inf</double></value>",
        "<value><double>1e999</double></value>",
        "<value><double>1_0.5</double></value>",
        "<value><boolean>2</boolean></value>",
        "<value><base64>A</base64></value>",
        "<value><base64>*AAA</base64></value>",
        "<value><dateTime.iso8601>yesterday</dateTime.iso8601></value>",
        "<value><nil>1</nil></value>",
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused(value: str) -> None:
    with pytest.raises(errors.BadParameters):
        codec.load_call(call_of(value))


@pytest.mark.parametrize(
    "value",
    [
        "<value><int>1</int><int>2</int></value>",
        "<value>x<int>1</int></value>",
        "<value><int>1</int>x</value>",
        "<value><int><int>1</int></int></value>",
        "<value><array></array></value>",
        "<value><array><data></data><data></data></array></value>",
        "<value><struct><member><name>a</name></member></struct></value>",
        "<value><struct><member><value>1</value><name>a</name></member></struct></value>",
        "<value><struct><member><name>a</name><name>b</name></member></struct></value>",
        "<value><struct><member><name>a</name><value/></member><member><name>a</name><value/></member></struct></value>",
        "<value><what>1</what></value>",
        "<value><bigdecimal>1</bigdecimal></value>",
        "<value/><value/>",
        "",
        "x",
        "<value>]]></value>",
        "<value>&undefined;</value>",
    ],
)
def test_a_message_of_another_shape_is_refused(value: str) -> None:
    with pytest.raises(errors.ProtocolError):
        codec.load_call(call_of(value))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"{}",
        b"<methodCall/>",
        b"<methodResponse><params/></methodResponse>",
        b"<methodCall><methodName></methodName></methodCall>",
        b"<methodCall><methodName>a</methodName><methodName>b</methodName></methodCall>",
        b"<methodCall><params/><methodName>a</methodName></methodCall>",
        b"<methodCall><methodName>a</methodName><params/><params/></methodCall>",
        b"<methodCall><methodName>" + b"a" * 300 + b"</methodName></methodCall>",
        "<methodCall><methodName>\u00e9</methodName></methodCall>".encode(),
        b"<?xml version='1.0' encoding='rot13'?>" + call_of("<value/>"),
        b"<?xml version='1.0' encoding='no-such'?>" + call_of("<value/>"),
    ],
)
def test_what_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        codec.load_call(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for load in (codec.load_call, codec.load_reply):
        with pytest.raises(errors.CoordinatorError):
            load(body)


TAGS = "methodName params param value int i8 string array data struct member name double base64 nil fault".split()  # noqa: SIM905


@given(
    st.lists(
        st.sampled_from([f"<{t}>" for t in TAGS] + [f"</{t}>" for t in TAGS] + ["1", "x", " ", "&amp;"]), max_size=30
    )
)
def test_any_heap_of_tags_is_read_or_refused(pieces: list[str]) -> None:
    with suppress(errors.CoordinatorError):
        codec.load_call("".join(["<methodCall><methodName>m</methodName>", *pieces, "</methodCall>"]).encode())


# --- faults ---------------------------------------------------------------------------------------------------


def test_each_error_crosses_the_wire_as_itself() -> None:
    for kind in errors.by_code().values():
        with pytest.raises(kind) as caught:
            codec.load_reply(codec.dump_fault(kind("what happened <&> here")))
        assert type(caught.value) is kind
        assert caught.value.message == "what happened <&> here"


def test_an_error_of_nobodys_choice_tells_nothing_of_itself() -> None:
    body = codec.dump_fault(ZeroDivisionError("secret in /home/somebody/secret.py"))
    assert b"secret" not in body
    assert b"ZeroDivision" not in body
    with pytest.raises(errors.InternalError):
        codec.load_reply(body)


def test_a_fault_whose_text_cannot_travel_is_written_with_escapes() -> None:
    with pytest.raises(errors.UnservableTaskID, match=r"the ID a\\x01b\\ud800 is bad"):
        codec.load_reply(codec.dump_fault(errors.UnservableTaskID("the ID a\x01b\ud800 is bad")))


@pytest.mark.parametrize(
    "fault",
    [
        "<value><string>x</string></value>",
        "<value><struct></struct></value>",
        "<value><struct><member><name>faultCode</name><value>1</value></member></struct></value>",
    ],
)
def test_a_fault_that_is_none_is_refused(fault: str) -> None:
    with pytest.raises(errors.ProtocolError):
        codec.load_reply(f"<methodResponse><fault>{fault}</fault></methodResponse>".encode())


def test_a_fault_of_an_unknown_number_is_a_plain_error() -> None:
    body = xmlrpc.client.dumps(xmlrpc.client.Fault(4711, "what"), methodresponse=True).encode()
    with pytest.raises(errors.CoordinatorError, match="what") as caught:
        codec.load_reply(body)
    assert type(caught.value) is errors.CoordinatorError
