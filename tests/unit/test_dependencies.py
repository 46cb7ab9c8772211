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


@given(start=st.integers(0, 7), edges=graphs)
def test_a_way_around_is_found_where_there_is_one_and_is_a_way(start: int, edges: Mapping[JobId, list[JobId]]) -> None:
    reached: set[JobId] = set()
    left = deque(edges.get((1, start), ()))
    while left:
        here = left.popleft()
        if here not in reached:
            reached.add(here)
            left += edges.get(here, ())
    found = around((1, start), edges)
    assert bool(found) == ((1, start) in reached)
    if found:
        assert found[0] == found[-1] == (1, start)
        assert all(after in edges[before] for before, after in pairwise(found))


def test_a_chain_of_many_thousand_jobs_is_no_circle() -> None:
    edges = {(1, index): [(1, index + 1)] for index in range(50_000)}
    assert around((1, 0), edges) == []
    edges[1, 50_000] = [(1, 0)]
    assert len(around((1, 0), edges)) == 50_002


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
