"""Which IDs of today's stream the journal knows already."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator import resume
from coordinator.core import ids
from coordinator.journal import Journal
from tests.unit.journals import NoSync, add_slice, begin


def journal_of(directory: Path, *slices: list[Any]) -> list[tuple[int, str]]:
    """A journal that has these slices; what a feeder is told of them."""
    journal = Journal.open(directory, "job", NoSync())
    begin(journal)
    for values in slices:
        add_slice(journal, journal.count, values)
    journal.commit(True)
    digests = journal.digests()
    journal.close()
    return digests


def rest(directory: Path, known: list[tuple[int, str]], stream: Any) -> tuple[list[Any], int]:
    values, skipped = resume.rest_of(iter(stream), known, str(directory))
    return list(values), skipped


def test_what_the_journal_has_is_skipped_slice_by_slice(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "b"], [1, 2, 3], [(1,), None])
    assert rest(tmp_path, known, ["a", "b", 1, 2, 3, (1,), None, "new", "a"]) == (["new", "a"], 7)
    assert not (tmp_path / "known.sqlite").exists()


def test_the_same_stream_again_has_nothing_new(tmp_path: Path) -> None:
    known = journal_of(tmp_path, list(range(100)), list(range(100, 150)))
    assert rest(tmp_path, known, range(150)) == ([], 150)


def test_from_the_first_slice_that_differs_each_id_is_looked_up(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "b"], ["c", "d"], ["e", "f"])
    # "b2" is new in the middle, "d" comes no more.
    assert rest(tmp_path, known, ["a", "b", "c", "b2", "e", "f", "g"]) == (["b2", "g"], 2)
    assert not (tmp_path / "known.sqlite").exists()


def test_a_stream_in_another_order_has_nothing_new(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "b", "c"], ["d", "e"])
    assert rest(tmp_path, known, ["e", "d", "c", "b", "a"]) == ([], 0)


def test_a_shorter_stream_has_nothing_new(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "b", "c"], ["d", "e"])
    assert rest(tmp_path, known, ["a", "b"]) == ([], 0)


def test_an_id_that_comes_twice_is_two_tasks(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "a", "b"])
    assert rest(tmp_path, known, ["b", "a", "a", "a", "b"]) == (["a", "b"], 0)


def test_ids_are_the_same_by_their_canonical_text_alone(tmp_path: Path) -> None:
    known = journal_of(tmp_path, [1, "1", (1,)])
    new, _ = rest(tmp_path, known, [True, 1.0, [1], "1", (1,), 1])
    assert [(type(value), value) for value in new] == [(bool, True), (float, 1.0), (list, [1])]


def test_an_id_that_cannot_travel_is_passed_on_to_whoever_refuses_it_with_its_position(tmp_path: Path) -> None:
    strange = object()
    known = journal_of(tmp_path, ["a", "b"])
    assert rest(tmp_path, known, ["a", strange, "b"]) == ([strange], 0)
    assert resume.digest_of(["a", strange]) is None


def test_the_table_of_a_feeder_that_was_killed_is_made_anew(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "b"])
    (tmp_path / "known.sqlite").write_bytes(b"half a table")
    assert rest(tmp_path, known, ["b", "a", "c"]) == (["c"], 0)


def test_the_stream_is_not_read_ahead_of_who_takes_it(tmp_path: Path) -> None:
    known = journal_of(tmp_path, ["a", "b"])
    read = itertools.count()

    def stream() -> Iterator[Any]:
        for value in ("a", "b", "c", "d", "e"):
            next(read)
            yield value

    values, _ = resume.rest_of(stream(), known, str(tmp_path))
    assert next(read) == 2
    assert next(values) == "c"


VALUES = st.lists(st.sampled_from(["a", "b", "c", 1, 2, 3, True, None, (1,)]), max_size=12)


@given(st.lists(VALUES.filter(bool), max_size=4), VALUES, st.integers(0, 12))
def test_old_and_new_together_are_the_stream_of_today_and_what_was_before(
    tmp_path_factory: pytest.TempPathFactory, old: list[list[Any]], today: list[Any], kept: int
) -> None:
    """As a multiset of IDs: each is served as often as the larger of the two streams has it."""
    directory = tmp_path_factory.mktemp("journal")
    known = journal_of(directory, *old)
    before = [value for values in old for value in values]
    stream = [*before[:kept], *today]
    new, skipped = rest(directory, known, stream)
    assert skipped <= len(before)
    had, given = Counter(map(ids.encode, before)), Counter(map(ids.encode, stream))
    assert Counter(map(ids.encode, new)) == given - had


def test_the_digest_is_that_of_the_feeder() -> None:
    assert resume.digest_of([5, 6, 7]) == ids.integers_digest(5, 3)
    assert resume.digest_of(["a", 1]) == ids.slice_digest('"a"\n1')
