"""The message between a Processor and its Coordinator: what is said arrives, and nothing else is taken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import exchange, ids
from coordinator.core.exchange import Answer, LeaseReport, Request, text_of

NUMBERS = st.integers(0, 2**53)
POSITIONS = st.integers(0, 2**50)
ERRORS = st.fixed_dictionaries(
    {"kind": st.text(max_size=20), "message": st.text(max_size=50), "at": st.floats(0, 1e12)}
)
RANGES = st.lists(st.tuples(POSITIONS, st.integers(1, 1000)).map(lambda r: [r[0], r[0] + r[1]]), max_size=4)
REPORTS = st.builds(
    LeaseReport,
    NUMBERS,
    RANGES.map(lambda ranges: [x for pair in ranges for x in pair]),
    st.lists(st.tuples(POSITIONS, ERRORS), max_size=3),
    st.lists(st.text(max_size=30), max_size=3),
)
REQUESTS = st.builds(
    Request,
    run=st.text(max_size=20),
    processor=NUMBERS,
    incarnation=st.text(max_size=20),
    seq=NUMBERS,
    held=st.lists(NUMBERS, max_size=3),
    reports=st.lists(REPORTS, max_size=2),
    returned=st.lists(st.tuples(NUMBERS, POSITIONS, POSITIONS), max_size=2),
    worked=st.tuples(st.integers(0, 10**9), st.floats(0, 1e9)),
    want=st.booleans(),
    idle=st.booleans(),
    who=st.none() | st.fixed_dictionaries({"host": st.text(max_size=9), "pid": NUMBERS}),
    bye=st.none() | st.text(max_size=20),
    setup_error=st.none() | ERRORS,
)


def needs_no_escaping(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set("&<>") & set(text)


@given(REQUESTS)
def test_a_request_arrives_as_it_was_said_and_needs_no_escaping(request: Request) -> None:
    text = request.to_text()
    assert needs_no_escaping(text)
    assert Request.from_text(text) == request


@given(
    st.lists(st.text(max_size=20) | st.integers() | st.binary(max_size=9), min_size=1, max_size=9), NUMBERS, POSITIONS
)
def test_the_ids_of_an_answer_arrive_as_they_were_born(values: list[object], lease: int, start: int) -> None:
    texts = ids.encode_many(values)
    said = Answer(7, exchange.WORK, lease, start, len(values), f"[{','.join(texts)}]", term_s=60.0, attempts={start: 2})
    text = said.to_text()
    assert needs_no_escaping(text)
    answer, found = Answer.from_text(text)
    assert found is not None
    assert [(type(v), v) for v in found] == [(type(v), v) for v in values]
    assert (answer.lease, answer.start, answer.count, answer.attempts) == (lease, start, len(values), {start: 2})


@given(
    st.builds(
        Answer,
        seq=NUMBERS,
        state=st.sampled_from([exchange.WORK, exchange.NOTHING, exchange.STOP]),
        lease=NUMBERS,
        start=POSITIONS,
        count=st.integers(1, 10**6),
        first=st.none() | st.integers(-(2**63), 2**63),
        term_s=st.floats(1e-3, 1e9),
        give=st.booleans(),
        drop=st.lists(NUMBERS, max_size=3),
        attempts=st.dictionaries(POSITIONS, st.integers(2, 9), max_size=3),
        reason=st.none() | st.text(max_size=20) | st.text('<&>"\\\n', max_size=9),
    )
)
def test_an_answer_arrives_as_it_was_said_and_needs_no_escaping(said: Answer) -> None:
    text = said.to_text()
    assert needs_no_escaping(text)
    if said.state != exchange.WORK:
        said.lease, said.start, said.count, said.first, said.attempts = 0, 0, 0, None, {}
    assert Answer.from_text(text) == (said, None)


@given(REPORTS, POSITIONS, st.integers(0, 2000))
def test_a_report_is_within_a_lease_if_each_of_its_positions_is(report: LeaseReport, start: int, length: int) -> None:
    named = [*report.done, *(position for position, _ in report.failed)]
    for low in (start, *named, *(position - 1 for position in named)):
        stop = low + length
        ranges = [*report.ranges, *((position, position + 1) for position, _ in report.failed)]
        assert report.within(low, stop) == all(low <= a and b <= stop for a, b in ranges)


def test_consecutive_integers_travel_as_their_first() -> None:
    answer, raw = Answer.from_text(Answer(1, exchange.WORK, 2, 3, 1000, first=41, term_s=1.0).to_text())
    assert (answer.first, answer.count, raw) == (41, 1000, None)


@pytest.mark.parametrize(
    "change",
    [
        {"p": "0"},
        {"p": True},
        {"s": 1.5},
        {"h": [None]},
        {"h": 3},
        {"w": [1]},
        {"w": "ab"},
        {"r": [[1]]},
        {"r": [[1, [5, 5], [], []]]},
        {"r": [[1, [5, 3], [], []]]},
        {"r": [[1, [5], [], []]]},
        {"r": [[1, [-2, 3], [], []]]},
        {"r": [[1, [True, 3], [], []]]},
        {"r": [["1", [2, 3], [], []]]},
        {"r": [[1, [], [[2, "x"]], []]]},
        {"r": [[1, [], [], [9]]]},
        {"g": [[1, 2]]},
        {"run": None},
        {"who": []},
        {"bye": 7},
        {"setup": "x"},
    ],
    ids=str,
)
def test_what_no_processor_would_say_is_refused(change: dict[str, object]) -> None:
    said = json.loads(Request("run", 0, "i", 1).to_text()) | change
    with pytest.raises((ValueError, KeyError, TypeError)):
        Request.from_text(json.dumps(said))


@given(st.text())
def test_noise_is_refused_with_no_other_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Request.from_text(text)


def test_a_text_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(ValueError, match="deep"):
        Request.from_text("[" * 1_000_000)


def test_nan_never_leaves() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        text_of({"x": float("nan")})
