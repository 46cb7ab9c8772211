"""core/ids.py: one value, one text, and nothing that cannot travel gets through."""

from __future__ import annotations

import datetime
import enum
import itertools
import json
import math
import os
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import ids
from coordinator.errors import UnservableResult, UnservableTaskID


def _whole(text: str) -> bool:
    return not any(
        "\ud800" <= one <= "\udbff" and "\udc00" <= other <= "\udfff" for one, other in itertools.pairwise(text)
    )


# Lone surrogates are in: os.fsdecode makes them of file names that are not UTF-8.
strings = st.text(st.characters()).filter(_whole) | st.text(st.sampled_from('ab\udc80\ud83d\n\t<&>"\\ $é😀')).filter(
    _whole
)
keys = strings | st.sampled_from(["$tuple", "$bytes", "$dict", "$", "$x"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings
    | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, min_size=1, max_size=1)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down; Python's == says that 1 == True == 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


@given(values)
def test_what_is_encoded_comes_back_as_it_was(value: Any) -> None:
    text = ids.encode(value)
    assert same(ids.decode(text), value)
    assert ids.encode(ids.decode(text)) == text


@given(values)
def test_the_text_travels_in_xml_and_in_a_line_as_it_is(value: Any) -> None:
    text = ids.encode(value)
    assert text.isascii()
    assert not set(text) & set("&<>\n\r\t\x00")
    json.loads(text)


@given(values, values)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    assert (ids.encode(one) == ids.encode(other)) == same(one, other)


@given(st.lists(values) | st.lists(strings) | st.lists(st.integers()))
def test_many_at_once_are_encoded_and_decoded_as_one_by_one(many: list[Any]) -> None:
    texts = ids.encode_many(many)
    assert texts == [ids.encode(value) for value in many]
    assert ids.encode_lines(many) == "\n".join(texts)
    array = ids.to_array("\n".join(texts)) if many else "[]"
    assert same(ids.decode_many(array), many)
    assert same(ids.untag_many(json.loads(array)), many)


@given(st.lists(strings | st.text('aZ0 -"\x7f\\&é\n', max_size=4), min_size=1))
def test_strings_are_encoded_and_printed_alike_one_by_one_and_at_once(many: list[str]) -> None:
    texts = [ids.encode(value) for value in many]
    assert ids.encode_lines(many) == "\n".join(texts)
    assert ids.to_lines("\n".join(texts)) == "".join([f"{ids.to_line(text)}\n" for text in texts]).encode()


@given(values)
def test_a_line_of_a_printed_file_comes_back_as_its_id(value: Any) -> None:
    text = ids.encode(value)
    line = ids.to_line(text)
    assert ids.from_line(line) == text
    assert line.splitlines() in ([line], [])
    assert line == line.strip()
    assert line
    line.encode("utf-8")
    assert ids.to_lines(f"{text}\n{text}") == f"{line}\n{line}\n".encode()


@given(strings)
def test_a_line_that_other_programs_would_read_as_json_is_json(value: str) -> None:
    line = ids.to_line(ids.encode(value))
    try:
        read = json.loads(line)
    except ValueError:
        assert line == value
    else:
        assert type(read) is str


def test_six_ids_that_python_takes_for_fewer_are_six() -> None:
    assert len({ids.encode(value) for value in (1, True, 1.0, "1", (1,), [1])}) == 6
    assert ids.encode(0.0) != ids.encode(-0.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, b"x"), '{"$tuple":[1,{"$bytes":"eA=="}]}'),
        ({"$tuple": 1}, '{"$dict":{"$tuple":1}}'),
        ({"b": 1, "a": None}, '{"a":null,"b":1}'),
        ("a&b<c>", '"a\\u0026b\\u003cc\\u003e"'),
        (os.fsdecode(b"caf\xe9"), '"caf\\udce9"'),
        (2**63, "9223372036854775808"),
    ],
)
def test_the_canonical_text_is_what_the_format_says(value: Any, text: str) -> None:
    assert ids.encode(value) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"plain text"', "plain text"),
        ('"1234"', '"1234"'),
        ('"true"', '"true"'),
        ('"NaN"', '"NaN"'),
        ('"[x"', '"[x"'),
        ('" x"', '" x"'),
        ('""', '""'),
        ('"caf\\u00e9"', "café"),
        ('"a\\nb"', '"a\\nb"'),
        ('"\\udce9"', '"\\udce9"'),
        ("12", "12"),
        ('"1e5"', '"1e5"'),
        ('"1.2.3"', "1.2.3"),
        ('"-"', "-"),
        ('"a\\u0026b"', "a&b"),
    ],
)
def test_a_string_is_printed_plain_only_where_that_is_unambiguous(text: str, line: str) -> None:
    assert ids.to_line(text) == line
    assert ids.from_line(line) == text


def test_what_a_person_types_need_not_be_canonical() -> None:
    assert ids.from_line('{"b": 1, "a": 2}') == '{"a":2,"b":1}'
    assert ids.from_line("[half") == '"[half"'


class Colour(enum.StrEnum):
    RED = "red"


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


REFUSED: list[tuple[Any, str]] = [
    (math.nan, "NaN"),
    (-math.inf, "infinities"),
    (Path("/x"), "str(value)"),
    (Colour.RED, "Colour"),
    (Decimal(1), "Decimal"),
    (datetime.date(2026, 1, 1), "datetime.date"),
    ({1, 2}, "set"),
    ({1: "a"}, "key 1"),
    ([1, [object]], "type"),
    (Rude(), "whose repr raises RuntimeError"),
    (_deep(100), "deep"),
    ("\ud83d\ude00", "surrogate pair"),
    (10**5000, "digits"),
    ("x" * (1 << 20), "bytes long"),
    (SimpleNamespace(), "SimpleNamespace"),
]


@pytest.mark.parametrize(("value", "reason"), [pytest.param(*pair, id=pair[1]) for pair in REFUSED])
def test_what_cannot_travel_is_refused_with_the_value_and_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(UnservableTaskID) as caught:
        ids.encode(value)
    assert reason in caught.value.message
    assert len(caught.value.message) < 400
    with pytest.raises(UnservableTaskID) as caught:
        ids.encode_many(["fine", value])
    assert caught.value.index == 1
    with pytest.raises(UnservableResult):
        ids.encode_result(value)


def test_the_bad_one_of_many_like_it_is_named_by_its_index() -> None:
    with pytest.raises(UnservableTaskID) as caught:
        ids.encode_many(["a", "b", "\ud83d\ude00", "c"])
    assert caught.value.index == 2
    with pytest.raises(UnservableTaskID) as caught:
        ids.encode_many([1, 10**5000])
    assert caught.value.index == 1
    assert ids.encode_many(["\ud83d", "\ude00"]) == ['"\\ud83d"', '"\\ude00"']


def test_numpys_scalars_become_pythons() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    assert ids.encode(numpy.int64(7)) == "7"
    assert ids.encode(numpy.float64(0.5)) == "0.5"
    assert ids.encode(numpy.str_("a")) == '"a"'
    assert ids.encode((numpy.bool_(True),)) == '{"$tuple":[true]}'
    for refused in (numpy.array([1]), numpy.datetime64("2026-01-01"), numpy.float64("nan")):
        with pytest.raises(UnservableTaskID):
            ids.encode(refused)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"$tuple":5}', '{"$bytes":"?"}', '{"$bytes":1}', '{"$new":1}', "[" * 100_000]
)
def test_text_that_no_encoder_wrote_is_refused(text: str) -> None:
    with pytest.raises(UnservableTaskID):
        ids.decode(text)


def test_an_array_is_asked_for_where_many_are_decoded() -> None:
    with pytest.raises(UnservableTaskID):
        ids.decode_many('{"a":1}')


@given(st.integers(-(2**63), 2**63), st.integers(1, 50))
def test_consecutive_integers_are_known_by_their_first(first: int, count: int) -> None:
    many = list(range(first, first + count))
    fits = first + count <= 2**63
    assert ids.as_integers(many) == (first if fits else None)
    if count > 2:
        assert ids.as_integers([many[0], *many[2:], many[1]]) is None


@given(st.integers(-2500, 2500) | st.integers(0, 2**63).map(lambda first: first - first % 1000), st.integers(1, 3000))
def test_consecutive_integers_are_written_as_one_by_one(first: int, count: int) -> None:
    assert ids.integer_texts(first, count) == "\n".join(map(ids.encode, range(first, first + count)))


def test_what_only_looks_like_consecutive_integers_is_not() -> None:
    for many in ([], [0, True, 2], [0, 1.0, 2], ["0"], [True], [1, 1], [2, 1], [0, 2, 1, 3]):
        assert ids.as_integers(many) is None


def test_fingerprints_and_digests_tell_texts_apart() -> None:
    assert len(ids.fingerprint('"a"')) == 16
    assert ids.fingerprint('"a"') != ids.fingerprint('"b"')
    assert len(ids.slice_digest("1\n2")) == 32
    assert ids.integers_digest(0, 10) not in (ids.integers_digest(0, 11), ids.integers_digest(1, 10))


def test_a_shown_value_is_short() -> None:
    assert ids.shown("a") == "'a'"
    assert len(ids.shown("x" * 10_000_000)) == 80
    assert ids.shown(list(range(10_000)), limit=20).endswith("...")
