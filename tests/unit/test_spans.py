"""core/spans.py against a set of integers, which is what it stands for."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coordinator.core.spans import Spans

positions = st.integers(0, 60)
ranges = st.tuples(positions, st.integers(-3, 15)).map(lambda pair: (pair[0], pair[0] + pair[1]))


class SpansAgainstSet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.spans = Spans()
        self.model: set[int] = set()

    @rule(ab=ranges)
    def add(self, ab: tuple[int, int]) -> None:
        new = set(range(*ab)) - self.model
        assert self.spans.add(*ab) == len(new)
        self.model |= new

    @rule(ab=ranges)
    def remove(self, ab: tuple[int, int]) -> None:
        gone = set(range(*ab)) & self.model
        assert self.spans.remove(*ab) == len(gone)
        self.model -= gone

    @rule(most=st.integers(-1, 10))
    def take(self, most: int) -> None:
        taken = self.spans.take(most)
        if not self.model or most <= 0:
            assert taken is None
            return
        assert taken is not None
        a, b = taken
        assert a == min(self.model)
        assert 0 < b - a <= most
        assert set(range(a, b)) <= self.model
        assert b - a == most or b not in self.model
        self.model -= set(range(a, b))

    @rule(ab=ranges)
    def ask(self, ab: tuple[int, int]) -> None:
        inside, outside = self.spans.overlaps(*ab), self.spans.gaps(*ab)
        assert {at for x, y in inside for at in range(x, y)} == set(range(*ab)) & self.model
        assert {at for x, y in outside for at in range(x, y)} == set(range(*ab)) - self.model
        assert all(x < y for x, y in inside + outside)
        assert self.spans.covered(*ab) == len(set(range(*ab)) & self.model)

    @rule()
    def go_through_flat_numbers(self) -> None:
        self.spans = Spans.from_flat(self.spans.to_flat())

    @rule()
    def empty(self) -> None:
        self.spans.clear()
        self.model.clear()

    @invariant()
    def it_is_the_same_set(self) -> None:
        flat = self.spans.to_flat()
        assert flat == sorted(set(flat)), "ranges are sorted, disjoint, and do not touch"
        assert {at for a, b in self.spans for at in range(a, b)} == self.model
        assert self.spans.total() == len(self.model)
        assert bool(self.spans) == bool(self.model)
        assert len(self.spans) == len(flat) // 2
        assert self.spans.first() == min(self.model, default=None)
        for at in range(-1, 80):
            assert (at in self.spans) == (at in self.model)


TestSpansAgainstSet = SpansAgainstSet.TestCase


def test_copies_do_not_share() -> None:
    one = Spans([(0, 5)])
    other = one.copy()
    numbers = one.to_array()
    one.add(7, 8)
    assert other == Spans([(0, 5)])
    assert other != one
    assert numbers == array("q", [0, 5])
    numbers[0] = 3
    assert Spans.from_flat(numbers).total() == 2
    assert 0 in other


@pytest.mark.parametrize("flat", [[1], [1, 1], [2, 1], [0, 2, 2, 3], [0, 2, 1, 3]])
def test_numbers_that_are_no_ranges_are_refused(flat: list[int]) -> None:
    with pytest.raises(ValueError, match="ranges"):
        Spans.from_flat(flat)


def test_it_shows_the_first_ranges() -> None:
    assert repr(Spans([(0, 2), (5, 6)])) == "Spans(0-2, 5-6)"
    assert repr(Spans((at, at + 1) for at in range(0, 100, 2))).endswith(", ...)")
    assert (Spans() == 3) is False


def test_a_set_that_grows_at_its_end_stays_one_range() -> None:
    spans = Spans()
    for at in range(10_000):
        spans.add(at * 10, at * 10 + 10)
    assert len(spans) == 1
    assert spans.total() == 100_000
