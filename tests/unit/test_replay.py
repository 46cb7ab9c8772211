"""core/replay.py: what the records of a journal mean, and that a checkpoint means the same as the records before it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import ids
from coordinator.core.errorgroups import MAX_GROUPS
from coordinator.core.records import Kind, Record
from coordinator.core.replay import Recovered, State, checkpoint, fold
from coordinator.core.slices import INTEGERS, SliceIndex

LIFE = (Kind.LIFE, {"run": "r1", "name": "job", "life": 1, "port": 8888, "options": {"n": 1}})


def failed(pos: int, n: int, final: bool, **more: Any) -> tuple[Kind, dict[str, Any]]:
    header = {"pos": pos, "n": n, "p": 1, "attempt": 1, "final": final, "kind": "ValueError", "message": f"bad {pos}"}
    return Kind.FAILED, {**header, "traceback": "tb", "where": "a.py:1 in f", "host": "h", "pid": 1, "at": 1.0, **more}


def sliced(start: int, count: int, first: int | None = None) -> tuple[Kind, dict[str, Any]]:
    header: dict[str, Any] = {"start": start, "count": count, "digest": ids.integers_digest(start, count)}
    return Kind.SLICE, header if first is None else {**header, "first": first}


def state_of(*records: tuple[Any, ...]) -> State:
    state = State()
    for kind, header, *text in records:
        fold(state, Record(kind, header, *text))
    return state


def recovered_of(*records: tuple[Any, ...]) -> Recovered:
    return Recovered(state_of(*records))


def test_a_new_journal_knows_nothing() -> None:
    found = Recovered(State())
    assert (found.run, found.life, found.count, found.ended, found.closed) == (None, 0, 0, False, False)


def test_a_life_tells_run_port_and_options_and_is_open_until_closed() -> None:
    found = recovered_of(LIFE)
    assert (found.run, found.name, found.life, found.port, found.options) == ("r1", "job", 1, 8888, {"n": 1})
    assert not found.closed
    end = (Kind.CLOSED, {"state": "done", "reason": None, "done": 0, "failed": 0, "at": 1.0})
    assert recovered_of(LIFE, end).closed
    assert recovered_of(LIFE, end).outcome == end[1]
    again = recovered_of(LIFE, end, (Kind.LIFE, {"run": "r1", "life": 2}))
    assert (again.life, again.closed, again.name, again.port) == (2, False, "job", None)


def test_slices_follow_each_other_and_are_held_against_a_resumed_stream() -> None:
    found = recovered_of(sliced(0, 10), sliced(10, 5), (Kind.ENDED, {"count": 15, "reason": None}))
    assert found.count == 15
    assert found.ended
    assert list(found.slices) == [(10, ids.integers_digest(0, 10)), (5, ids.integers_digest(10, 5))]
    assert found.slices[-1] == found.slices[1]
    assert found.slices[0:1] == [(10, ids.integers_digest(0, 10))]
    with pytest.raises(IndexError):
        found.slices[2]
    with pytest.raises(ValueError, match="10 positions are known"):
        state_of(sliced(0, 10), sliced(11, 5))


def test_slices_after_the_end_mean_that_the_stream_goes_on() -> None:
    ended = (Kind.ENDED, {"count": 1, "reason": "ValueError"})
    assert recovered_of(sliced(0, 1), ended).reason == "ValueError"
    found = recovered_of(sliced(0, 1), ended, sliced(1, 1))
    assert (found.ended, found.reason) == (False, None)


def test_a_lease_is_open_until_each_position_is_settled() -> None:
    lease = (Kind.LEASE, {"n": 7, "p": 3, "a": 0, "b": 10})
    assert recovered_of(lease).leases == [(7, 3, 0, 10)]
    assert recovered_of(lease).top_lease == 7
    part = recovered_of(lease, (Kind.DONE, {"n": 7, "p": 3, "r": [[2, 4]]}), failed(5, 7, final=True))
    assert part.leases == [(7, 3, 0, 2), (7, 3, 4, 5), (7, 3, 6, 10)]
    whole = state_of(lease, (Kind.DONE, {"n": 7, "p": 3, "r": [[0, 10]]}))
    assert whole.leases == {}
    assert whole.done.total() == 10


def test_a_position_belongs_to_its_newest_lease_only() -> None:
    old, new = (Kind.LEASE, {"n": 1, "p": 1, "a": 0, "b": 10}), (Kind.LEASE, {"n": 2, "p": 2, "a": 5, "b": 15})
    assert recovered_of(old, new).leases == [(1, 1, 0, 5), (2, 2, 5, 15)]
    # What failed under the new one and waits for its next try does not fall back to the old one.
    assert recovered_of(old, new, failed(6, 2, final=False)).leases == [(1, 1, 0, 5), (2, 2, 5, 6), (2, 2, 7, 15)]
    # Nor does what was done under the new one and is to be done again.
    redone = recovered_of(old, new, (Kind.DONE, {"n": 2, "p": 2, "r": [[5, 15]]}), (Kind.REDO, {"r": [[5, 15]]}))
    assert redone.leases == [(1, 1, 0, 5)]


def test_attempts_count_until_the_task_is_settled() -> None:
    lease = (Kind.LEASE, {"n": 1, "p": 1, "a": 0, "b": 3})
    tried = failed(1, 1, final=False, attempt=2)
    assert recovered_of(lease, tried).attempts == {1: 2}
    assert recovered_of(lease, tried).leases == [(1, 1, 0, 1), (1, 1, 2, 3)]
    assert recovered_of(lease, tried, (Kind.DONE, {"n": 2, "p": 1, "r": [[0, 3]]})).attempts == {}
    assert recovered_of(lease, tried, failed(1, 2, final=True)).attempts == {}
    assert recovered_of(lease, tried, (Kind.REDO, {"r": [[0, 3]]})).attempts == {}


def test_where_processors_died_with_a_task_is_known_until_it_is_settled() -> None:
    lease = (Kind.LEASE, {"n": 1, "p": 1, "a": 0, "b": 3})
    deaths = [failed(1, 1, final=False, died=True, host=host) for host in ("h1", "h2", "h1")]
    raised = failed(2, 1, final=False)
    state = state_of(lease, *deaths, raised)
    assert Recovered(state).died_at == {1: {"h1", "h2"}}
    header, text = checkpoint(state)
    again = json.loads(json.dumps(header))
    assert recovered_of((Kind.CHECKPOINT, again, text.encode())).died_at == {1: {"h1", "h2"}}
    del again["died_at"]  # as earlier versions wrote it
    assert recovered_of((Kind.CHECKPOINT, again, text.encode())).died_at == {}
    for settled in (
        (Kind.DONE, {"n": 2, "p": 1, "r": [[0, 3]]}),
        failed(1, 2, final=True, died=True),
        (Kind.REDO, {"r": [[0, 3]]}),
        (Kind.LIFE, {"run": "r2", "life": 2}),
    ):
        assert recovered_of(lease, *deaths, settled).died_at == {}


def test_a_failed_task_that_succeeds_later_is_done_and_not_failed() -> None:
    found = recovered_of(failed(1, 1, final=True), (Kind.DONE, {"n": 2, "p": 1, "r": [[0, 3]]}))
    assert found.failed.to_flat() == []
    assert found.done.to_flat() == [0, 3]


def test_a_redo_makes_tasks_neither_done_nor_failed() -> None:
    found = recovered_of(
        (Kind.DONE, {"n": 1, "p": 1, "r": [[0, 3]]}), failed(4, 1, final=True), (Kind.REDO, {"r": [[1, 2], [4, 5]]})
    )
    assert found.done.to_flat() == [0, 1, 2, 3]
    assert not found.failed
    assert found.errors == [], "no failure is left, so none is counted"


def test_errors_are_grouped_by_what_failed_in_bounded_memory() -> None:
    many = [failed(at, 1, final=True, where="", message=f"no {chr(0x4E00 + at)}", kind="E") for at in range(1000)]
    one = [failed(at, 1, final=True) for at in range(2000, 2050)]
    found = recovered_of(*one, *many)
    assert len(found.errors) <= MAX_GROUPS + 1
    assert found.errors[0].count == 50
    assert found.errors[0].first == [2000, 2001, 2002]
    assert sum(group.count for group in found.errors) == 1050
    digits = recovered_of(*[failed(at, 1, final=True, where="", message=f"no row {at}") for at in range(9)])
    assert len(digits.errors) == 1


def test_numbers_and_results_are_counted() -> None:
    found = recovered_of(
        (Kind.NUMBERS, {"upto": 20}),
        (Kind.NUMBERS, {"upto": 10}),
        (Kind.RESULTS, {"n": 1}, b"0\t1\n1\t2"),
        (Kind.RESULTS, {"n": 1}, memoryview(b"2\t1")),
        (Kind.RESULTS, {"n": 1}, b""),
    )
    assert (found.numbers, found.nresults) == (20, 3)


def test_what_a_coordinator_takes_over_is_its_own() -> None:
    state = state_of(LIFE, failed(1, 1, final=True), sliced(0, 5))
    found = Recovered(state)
    found.done.add(0, 5)
    found.attempts[1] = 9
    found.errors[0].first.append(99)
    fold(state, Record(*sliced(5, 5)))
    assert not state.done
    assert state.attempts == {}
    assert 99 not in next(iter(state.errors.values())).first
    assert len(found.slices) == 1


# --- checkpoints: the same from records and from a checkpoint in any place ----------------------------


WHAT = ["slice", "lease", "lease", "done", "done", "fail", "redo", "end", "number", "result", "life"]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    records: list[tuple[Any, ...]] = [LIFE]
    count = lease = 0
    for _ in range(draw(st.integers(1, 25))):
        what = draw(st.sampled_from(WHAT))
        a = draw(st.integers(0, max(0, count - 1)))
        b = draw(st.integers(a, count))
        number = draw(st.integers(0, lease))
        if what == "slice":
            size = draw(st.integers(1, 9))
            records.append(sliced(count, size, first=draw(st.none() | st.integers(-(2**63), 2**62))))
            count += size
        elif what == "lease" and a < b:
            lease += 1
            records.append((Kind.LEASE, {"n": lease, "p": draw(st.integers(1, 3)), "a": a, "b": b}))
        elif what == "done" and a < b:
            records.append((Kind.DONE, {"n": number, "p": 1, "r": [[a, b]]}))
        elif what == "fail" and count:
            records.append(failed(a, number, draw(st.booleans()), where=draw(st.sampled_from(["", "x", "y"]))))
        elif what == "redo":
            records.append((Kind.REDO, {"r": [[a, b]]}))
        elif what == "end":
            records.append((Kind.ENDED, {"count": count, "reason": draw(st.none() | st.just("x"))}))
        elif what == "number":
            records.append((Kind.NUMBERS, {"upto": draw(st.integers(0, 99))}))
        elif what == "result":
            records.append((Kind.RESULTS, {"n": number}, b"0\t1\n1\t1"))
        elif what == "life":
            records.append((Kind.LIFE, {"run": "r1", "life": 2, "port": 1, "options": {}}))
    return records


@given(histories(), st.data())
def test_a_checkpoint_means_the_same_as_the_records_before_it(
    records: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(1, len(records)))
    header, text = checkpoint(state_of(*records[:at]))
    begun = (Kind.CHECKPOINT, json.loads(json.dumps(header)), text.encode("ascii"))
    assert text.isascii()
    plain, resumed, read_through = (
        recovered_of(*records),
        recovered_of(begun, *records[at:]),
        recovered_of(*records[:at], begun, *records[at:]),
    )
    for other in (resumed, read_through):
        # A checkpoint may remember that others had a part of a lease, which its own holder reported after all. That is
        # on the safe side: such a holder begins no more of it.
        assert other.shared_out >= plain.shared_out
        assert as_dict(other) | {"shared_out": None} == as_dict(plain) | {"shared_out": None}


def as_dict(found: Recovered) -> dict[str, Any]:
    return {**vars(found), "slices": list(found.slices), "errors": [vars(group) for group in found.errors]}


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=40))
def test_the_index_finds_the_slice_of_each_position(sizes: list[tuple[int, bool]]) -> None:
    index, expected = SliceIndex(), []
    for number, (count, integers) in enumerate(sizes):
        assert index.add(count, f"{number:032x}", number, INTEGERS if integers else number * 7, number) == number
        expected += [number] * count
    again = SliceIndex.from_lines(index.count, index.to_lines())
    for one in (index, again):
        assert [one.find(position) for position in range(len(expected))] == expected
        assert [one.digest(number) for number in range(len(one))] == [f"{number:032x}" for number in range(len(sizes))]
        assert one.spot(0) == (0, INTEGERS if sizes[0][1] else 0, 0)
        for wrong in (-1, len(expected)):
            with pytest.raises(IndexError):
                one.find(wrong)
