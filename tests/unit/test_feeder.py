"""The feeder: slices, read-ahead, and how a stream ends."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator import procs
from coordinator.core import ids
from coordinator.feeder import SLICE, SLICE_BYTES, Feeder, fork_feeder
from coordinator.journal import Journal
from tests.unit.journals import NoSync, add_slice, begin

#: a hang bound
PATIENCE_S = 30.0


class Stream:
    """A feeder in a thread of this process, and the Coordinator's end of its pipe."""

    def __init__(self, make: Callable[[], Iterable[Any]], kind: type[Feeder] = Feeder, **orders: Any) -> None:
        reading, writing = os.pipe()
        self._pipe = os.fdopen(reading, "rb")

        def feed() -> None:
            try:
                self.status = kind(make, writing, {"slices": [], **orders}).feed()
            finally:
                os.close(writing)

        self.status: int | None = None
        self._thread = threading.Thread(target=feed)
        self._thread.start()

    def heard(self) -> tuple[dict[str, Any], str] | None:
        """The next message; None after the last."""
        line = self._pipe.readline()
        if not line:
            return None
        head = json.loads(line)
        return head, self._pipe.read(head["bytes"]).decode("ascii")

    def rest(self) -> list[tuple[dict[str, Any], str]]:
        """All that is still to come, when the feeder has ended."""
        messages = list(iter(self.heard, None))
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._pipe.close()
        assert self.status == 0
        return messages


def values_of(head: dict[str, Any], text: str) -> list[Any]:
    """The IDs of a slice, its digest checked."""
    if head["first"] is not None:
        assert head["digest"] == ids.integers_digest(head["first"], head["count"])
        return list(range(head["first"], head["first"] + head["count"]))
    assert head["digest"] == ids.slice_digest(text)
    lines = text.split("\n")
    assert len(lines) == head["count"]
    return [ids.decode(line) for line in lines]


def everything(make: Callable[[], Iterable[Any]], **orders: Any) -> tuple[list[Any], dict[str, Any] | None]:
    """The IDs that were sent, in order, and how the stream ended."""
    messages = Stream(make, **orders).rest()
    *slices, (last, _) = messages
    sent = [value for head, text in slices if "count" in head for value in values_of(head, text)]
    return sent, last["ended"]


def test_the_ids_arrive_in_order_in_slices_of_bounded_size() -> None:
    count = 3 * SLICE + 17
    messages = Stream(lambda: (f"task {n}" for n in range(count))).rest()
    *slices, (last, _) = messages
    assert last["ended"] is None
    assert all(1 <= head["count"] <= SLICE for head, _ in slices)
    assert [v for head, text in slices for v in values_of(head, text)] == [f"task {n}" for n in range(count)]


def test_consecutive_integers_are_sent_as_their_first() -> None:
    *slices, _ = Stream(lambda: range(10, 10 + 2 * SLICE)).rest()
    assert all(text == "" and head["first"] is not None for head, text in slices)
    assert [v for head, text in slices for v in values_of(head, text)] == list(range(10, 10 + 2 * SLICE))


def test_a_stream_without_ids_ends_at_once() -> None:
    assert everything(list) == ([], None)


@settings(max_examples=20)
@given(st.lists(st.text(max_size=5) | st.integers() | st.binary(max_size=3) | st.tuples(st.integers()), max_size=50))
def test_ids_of_any_kind_arrive_as_they_were_born(values: list[Any]) -> None:
    sent, ended = everything(lambda: values)
    assert [(type(v), v) for v in sent] == [(type(v), v) for v in values]
    assert ended is None


def test_long_ids_are_sent_in_parts() -> None:
    long = ["x" * (SLICE_BYTES // 4) + str(n) for n in range(10)]
    messages = Stream(lambda: long).rest()
    assert all(len(text) <= SLICE_BYTES for _, text in messages)
    assert [v for head, text in messages[:-1] for v in values_of(head, text)] == long


def test_an_id_that_is_longer_than_a_slice_travels_alone() -> None:
    sent, ended = everything(lambda: ["a", "x" * (SLICE_BYTES - 10), "b"])
    assert [len(value) for value in sent] == [1, SLICE_BYTES - 10, 1]
    assert ended is None


# --- time ---------------------------------------------------------------------------------------------


def test_a_slow_generator_delays_nothing_that_it_has_given() -> None:
    go = threading.Event()

    def slow() -> Iterator[str]:
        yield "a"
        assert go.wait(PATIENCE_S)
        yield "b"

    stream = Stream(slow)
    message = stream.heard()
    assert message is not None
    assert values_of(*message) == ["a"], "it is there while the generator works on the next one"
    go.set()
    assert [values_of(head, text) for head, text in stream.rest()[:-1]] == [["b"]]


def test_a_generator_that_turns_slow_within_a_slice_delays_nothing_that_it_has_given() -> None:
    go = threading.Event()

    def turning() -> Iterator[int]:
        yield from range(3 * SLICE + 5)
        assert go.wait(PATIENCE_S)

    stream = Stream(turning)
    seen: list[int] = []
    while len(seen) < 3 * SLICE + 5:
        message = stream.heard()
        assert message is not None
        seen += values_of(*message)
    assert seen == list(range(3 * SLICE + 5)), "all of it, in order, while the generator is not at its end"
    go.set()
    assert [head for head, _ in stream.rest() if "count" in head] == []


def test_a_fast_generator_waits_when_nobody_reads() -> None:
    sent = most = 0
    ended = threading.Event()

    class Counting(Feeder):
        def _send(self, values: list[Any]) -> bool:
            nonlocal sent
            sent += len(values)
            return super()._send(values)

    def generator() -> Iterator[str]:
        nonlocal most
        for n in range(4 * SLICE):
            most = max(most, n + 1 - sent)
            yield f"{n:0>100}"
        ended.set()

    stream = Stream(generator, Counting)
    assert not ended.wait(0.2), "what nobody reads is more than a pipe holds, so it cannot come to its end"
    messages = stream.rest()
    assert [v for head, text in messages[:-1] for v in values_of(head, text)] == list(generator())
    assert most <= SLICE


def test_ids_arrive_in_order_whoever_sends_them() -> None:
    total, stretch = 40 * SLICE, 2 * SLICE + 7
    taken = 0
    more, at_the_door = threading.Condition(), threading.Event()
    senders = set()

    class Telling(Feeder):
        def _send(self, values: list[Any]) -> bool:
            nonlocal taken
            senders.add(sender := threading.current_thread().name)
            with more:
                taken += len(values)
                more.notify()
            if sender == "watch" and taken % stretch == 0:
                # The generator goes on meanwhile, and what it gives must not overtake this.
                assert at_the_door.wait(PATIENCE_S)
            return super()._send(values)

        def _send_all(self) -> None:
            at_the_door.set()
            super()._send_all()
            at_the_door.clear()

    def generator() -> Iterator[str]:
        for n in range(total):
            if n % stretch == 0:  # slow, until the other thread has taken what there is
                with more:
                    assert more.wait_for(lambda n=n: taken == n, PATIENCE_S)
            yield f"task {n}"

    messages = Stream(generator, Telling).rest()
    assert [v for head, text in messages[:-1] for v in values_of(head, text)] == [f"task {n}" for n in range(total)]
    assert len(senders) == 2


# --- ends ---------------------------------------------------------------------------------------------


def test_what_was_given_before_the_generator_raised_is_sent_and_then_the_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def generator() -> Iterator[int]:
        yield from range(1000)
        raise OSError("the table is gone")

    sent, ended = everything(generator)
    assert sent == list(range(1000))
    assert ended is not None
    assert (ended["kind"], ended["message"]) == ("OSError", "the table is gone")
    assert "test_feeder.py" in ended["traceback"]
    assert "coordinator/feeder.py" not in ended["traceback"]
    assert ended["where"].endswith("in generator")
    assert "the table is gone" in capsys.readouterr().err, "it is in the log too"


def test_a_generator_that_raises_at_once_or_calls_exit_or_is_none_says_so() -> None:
    def raising() -> Iterable[int]:
        raise KeyError("x")

    def leaving() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    sent, ended = everything(raising)
    assert (sent, ended and ended["kind"]) == ([], "KeyError")
    sent, ended = everything(leaving)
    assert (sent, ended and ended["kind"]) == ([1], "SystemExit")
    _, ended = everything(lambda: None)  # type: ignore[arg-type, return-value]
    assert ended is not None
    assert ended["message"] == "'NoneType' object is not iterable"


@pytest.mark.parametrize("position", [0, 1, 5, SLICE + 3])
def test_an_id_that_cannot_travel_ends_the_stream_and_its_position_is_told(position: int) -> None:
    def generator() -> Iterator[Any]:
        for n in range(2 * SLICE):
            yield float("nan") if n == position else n

    sent, ended = everything(generator)
    assert sent == list(range(position))
    assert ended is not None
    assert ended["kind"] == "UnservableTaskID"
    assert ended["message"].startswith(f"the ID at position {position} of the stream: ")
    assert "nan" in ended["message"]


def test_a_generator_that_raises_after_an_id_that_could_not_travel_changes_nothing() -> None:
    refused = threading.Event()

    class Telling(Feeder):
        def _watch(self) -> None:
            super()._watch()
            refused.set()

    def generator() -> Iterator[Any]:
        yield object()
        assert refused.wait(PATIENCE_S)
        raise OSError("later")

    [(last, _)] = Stream(generator, Telling).rest()
    assert last["ended"]["kind"] == "UnservableTaskID"


def test_an_endless_generator_is_left_when_an_id_cannot_travel() -> None:
    def generator() -> Iterator[Any]:
        while True:
            yield object()

    sent, ended = everything(generator)
    assert sent == []
    assert ended is not None


# --- going on -----------------------------------------------------------------------------------------


def test_when_a_job_goes_on_it_says_how_many_it_skipped_and_sends_the_rest(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j", "job", NoSync())
    begin(journal)
    add_slice(journal, 0, ["a", "b", "c"])
    journal.commit(True)
    orders = {"slices": [list(one) for one in journal.digests()], "journal": str(tmp_path / "j")}
    journal.close()
    messages = Stream(lambda: ["a", "b", "c", "d", object()], **orders).rest()
    (first, _), (second, text), (last, _) = messages
    assert first["skipped"] == 3
    assert values_of(second, text) == ["d"]
    assert "the ID at position 4 of the stream" in last["ended"]["message"]


# --- the process --------------------------------------------------------------------------------------


def test_the_feeder_is_a_process_that_begins_when_it_has_its_orders_and_prints_to_the_log(tmp_path: Path) -> None:
    def make() -> Iterator[int]:
        os.write(1, b"hello from the generator\n")  # pytest has sys.stdout
        yield os.getpid()

    pid, orders, slices = fork_feeder(make)
    told = {"parent": os.getpid(), "log": str(tmp_path / "log"), "slices": [], "journal": str(tmp_path)}
    with os.fdopen(orders, "wb") as file:
        file.write(json.dumps(told).encode() + b"\n")
    with os.fdopen(slices, "rb") as pipe:
        assert json.loads(pipe.readline())["first"] == pid
        assert json.loads(pipe.readline())["ended"] is None
    assert procs.reap(pid) == "exit status 0"
    assert (tmp_path / "log").read_text() == "hello from the generator\n"


@pytest.mark.parametrize("what", ["no orders", "another parent", "the pipe is closed"])
def test_the_feeder_ends_quietly_when_its_coordinator_is_gone(tmp_path: Path, what: str) -> None:
    def make() -> Iterator[int]:
        while True:
            yield 7

    pid, orders, slices = fork_feeder(make)
    if what != "no orders":
        parent = os.getpid() if what == "the pipe is closed" else 1
        told = {"parent": parent, "log": "", "slices": [], "journal": ""}
        os.write(orders, json.dumps(told).encode() + b"\n")
    if what == "the pipe is closed":
        os.read(slices, 1)
    os.close(slices)
    os.close(orders)
    assert procs.reap(pid) == "exit status 0"
