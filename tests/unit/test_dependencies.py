"""On which jobs a job depends: what may be written, circles, and what becomes of it when jobs change or go."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import true

from coordinator.errors import BadDependency
from coordinator.jobs import changes, schema
from coordinator.jobs.dependencies import around, read
from coordinator.jobs.records import JobId, job_of
from coordinator.jobs.store import Store


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"ok": []}, {}),
        ({"ok": 3}, {"ok": [(7, 3)]}),
        ({"ok": [0, 1], "any": [[8, 4]]}, {"ok": [(7, 0), (7, 1)], "any": [(8, 4)]}),
        ({"failed": [(8, 4)]}, {"failed": [(8, 4)]}),
    ],
)
def test_a_number_is_a_job_of_the_same_batch_and_a_pair_one_of_any(told: Any, expected: Any) -> None:
    assert read(7, told) == expected


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([0], "after is a dictionary of ok, failed, any"),
        ("ok", "after is a dictionary"),
        ({"done": [0]}, "after is a dictionary of ok, failed, any"),
        ({"ok": "0"}, "'0' is no list of jobs"),
        ({"ok": ["0"]}, "'0' is no job: write its JobIndex"),
        ({"ok": [True]}, "True is no job"),
        ({"ok": [[1, 2, 3]]}, "is no job"),
        ({"ok": [[1, "2"]]}, "is no job"),
        ({"ok": None}, "None is no list of jobs"),
    ],
)
def test_what_names_no_job_is_refused(told: Any, words: str) -> None:
    with pytest.raises(BadDependency, match=words):
        read(7, told)


graphs = st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=4)).map(
    lambda edges: {(1, a): [(1, b) for b in bs] for a, bs in edges.items()}
)


def reached(start: JobId, edges: Mapping[JobId, list[JobId]]) -> set[JobId]:
    found: set[JobId] = set()
    left = deque(edges.get(start, ()))
    while left:
        here = left.popleft()
        if here not in found:
            found.add(here)
            left += edges.get(here, ())
    return found


@given(starts=st.lists(st.integers(0, 7), max_size=3), edges=graphs)
def test_a_way_around_is_found_where_there_is_one_and_is_a_way(
    starts: list[int], edges: Mapping[JobId, list[JobId]]
) -> None:
    ahead = {one for start in starts for one in ((1, start), *reached((1, start), edges))}
    found = around([(1, start) for start in starts], edges)
    assert bool(found) == any(one in reached(one, edges) for one in ahead)
    if found:
        assert found[0] == found[-1]
        assert found[0] in ahead
        assert len(set(found)) == len(found) - 1
        assert all(after in edges[before] for before, after in pairwise(found))


def test_a_chain_of_many_thousand_jobs_is_no_circle() -> None:
    edges = {(1, index): [(1, index + 1)] for index in range(50_000)}
    assert around([(1, 0)], edges) == []
    edges[1, 50_000] = [(1, 0)]
    assert len(around([(1, 0)], edges)) == 50_002


class Counted(dict[JobId, list[JobId]]):
    """How often somebody asked for what a job depends on."""

    asked = 0

    def get(self, key: JobId, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


@pytest.mark.parametrize("step", [1, -1])
def test_each_job_of_a_long_chain_is_looked_at_once_whatever_their_order(step: int) -> None:
    edges = Counted({(1, index): [(1, index + 1)] for index in range(10_000)})
    starts = [(1, index) for index in range(10_000)][::step]
    assert around(starts, edges) == []
    assert edges.asked == 10_001
    edges[1, 10_000] = [(1, 9_999)]
    edges.asked = 0
    assert around(starts, edges)[1:] in ([(1, 10_000), (1, 9_999)], [(1, 9_999), (1, 10_000)])
    assert edges.asked <= 10_001


# --- in the store ----------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "jobs.db")


def add(store: Store, *afters: Any, batch: int = 1, first: int = 0) -> None:
    infos = [{"BatchID": batch, "JobIndex": index, "after": after} for index, after in enumerate(afters, first)]
    with store.writing() as connection:
        changes.add(connection, infos, "stop", "/")


def after_of(store: Store, batch: int, index: int) -> Any:
    with store.reading() as connection:
        return job_of(connection, batch, index).after


def test_a_circle_is_refused_with_its_way_and_nothing_of_it_is_there(store: Store) -> None:
    with pytest.raises(BadDependency) as refused:
        add(store, {"ok": [2]}, {"any": [0]}, {"failed": [1]})
    way = " → ".join(f"job {index} of batch 1" for index in (0, 2, 1, 0))
    assert f"in a circle: {way}" in str(refused.value)
    with store.reading() as connection:
        assert connection.execute(schema.job.select()).all() == []


def test_a_job_cannot_wait_for_itself_or_for_one_that_is_not_there(store: Store) -> None:
    with pytest.raises(BadDependency, match="job 0 of batch 1 → job 0 of batch 1"):
        add(store, {"ok": [0]})
    with pytest.raises(BadDependency, match="job 0 of batch 1 depends on job 5 of batch 1, which is not there"):
        add(store, {"ok": [5]})


def test_jobs_that_are_added_together_may_name_each_other_in_any_order(store: Store) -> None:
    add(store, {"ok": [1]}, None)
    add(store, {"ok": [[1, 0]]}, batch=2)
    assert after_of(store, 2, 0) == {"ok": [(1, 0)]}


def test_a_chain_of_many_thousand_jobs_is_added_at_once_and_a_circle_at_its_end_refused(store: Store) -> None:
    count = 30_000  # the limit of a test is what fails where each of them is searched by itself
    add(store, None, *({"ok": [index]} for index in range(count)))
    assert after_of(store, 1, count) == {"ok": [(1, count - 1)]}
    with pytest.raises(BadDependency, match="job 0 of batch 2 → job 1 of batch 2 → job 0 of batch 2"):
        add(store, {"ok": [1]}, {"ok": [0]}, *({"ok": [index]} for index in range(1, count)), batch=2)


def test_a_change_that_would_close_a_circle_is_refused(store: Store) -> None:
    add(store, None, {"ok": [0]})
    with store.reading() as connection:
        info = job_of(connection, 1, 0).info
    with pytest.raises(BadDependency, match="in a circle"), store.writing() as connection:
        changes.merge(connection, {**info, "after": {"ok": [1]}})
    with pytest.raises(BadDependency, match="in a circle"), store.writing() as connection:
        changes.change_many(connection, true(), {"after": {"any": [1]}})
    assert after_of(store, 1, 0) == {}


def test_a_change_of_many_reads_a_number_as_a_job_of_each_ones_own_batch(store: Store) -> None:
    add(store, None, None)
    add(store, None, None, batch=2)
    with store.writing() as connection:
        assert changes.change_many(connection, schema.job.c.job_index == 1, {"after": {"ok": [0]}}) == 2
    assert (after_of(store, 1, 1), after_of(store, 2, 1)) == ({"ok": [(1, 0)]}, {"ok": [(2, 0)]})
    with store.writing() as connection:
        assert changes.change_many(connection, schema.job.c.job_index == 1, {"after": None}) == 2
    assert after_of(store, 1, 1) == {}
