"""A client function under the driver that Processors run, without a farm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import UnservableTaskID
from coordinator.processor import Processor
from coordinator.testing import run_client


def squares(server: Any, exponent: int = 2) -> Iterator[int]:
    for number in server:
        server.result(number**exponent)
        yield number


def test_a_generator_works_on_each_id_and_its_results_count() -> None:
    outcome = run_client(squares, range(10), exponent=3)
    assert outcome.done == list(range(10))
    assert outcome.results == [(n, n**3) for n in range(10)]
    assert outcome.message == "run_all done"


def test_a_plain_function_of_one_id_gives_its_value_as_the_result() -> None:
    outcome = run_client(lambda number: number * 2, range(5))
    assert outcome.results == [(n, n * 2) for n in range(5)]
    assert not run_client(lambda number: None, range(5)).results


def test_a_setup_function_runs_once_before_a_plain_function() -> None:
    calls: list[int] = []

    def setup(server: Any) -> str:
        calls.append(1)
        return "ready"

    outcome = run_client(lambda number, setup: f"{setup} {number}", range(9), setup)
    assert calls == [1]
    assert outcome.results[0] == (0, "ready 0")


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 7))
def test_one_bad_task_costs_one_task_wherever_it_stands(bad: list[bool], block: int) -> None:
    begun = []

    def client(server: Any) -> Iterator[int]:
        begun.append(1)
        for number in server:
            if bad[number]:
                raise ValueError(f"bad {number}")
            server.result(number)
            yield number

    longest = max((len(run) for run in "".join("x" if b else " " for b in bad).split()), default=0)
    outcome = run_client(client, range(len(bad)), block=block)
    if longest < Processor.max_errors_in_a_row:
        assert outcome.done == [n for n, b in enumerate(bad) if not b]
        assert [n for n, _ in outcome.failed] == [n for n, b in enumerate(bad) if b]
        assert [n for n, _ in outcome.results] == outcome.done
        assert len(begun) == 1 + sum(bad), "the set-up runs again after a generator raised"
    else:
        assert "too many errors" in outcome.message


def test_ten_errors_in_a_row_and_the_processor_leaves_with_what_it_has_not_begun_given_back() -> None:
    def client(server: Any) -> Iterator[int]:
        for _ in server:
            raise ValueError("always")
        yield 0

    outcome = run_client(client, range(30), block=8)
    assert len(outcome.failed) == 10
    assert outcome.message.startswith("run_all too many errors")


def failing(body: str) -> Any:
    space: dict[str, Any] = {}
    exec("def client(server):\n" + "".join(f"    {line}\n" for line in body.splitlines()), space)
    return space["client"]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("for n in server:\n    yield n + 1", "WrongYield", "the ID it was given is 0"),
        ("for n in server:\n    yield None", "WrongYield", "yielded None"),
        ("for n in server:\n    if n % 2: yield n", "MissingYield", "without yielding 0"),
        ("for n in server:\n    yield float(n)", "WrongYield", "yielded 0.0"),
        ("for n in server:\n    return\nyield", "MissingYield", "returned without yielding 0"),
    ],
)
def test_a_client_that_yields_wrongly_is_told_how_it_should_be(body: str, kind: str, words: str) -> None:
    outcome = run_client(failing(body), range(4))
    _, error = outcome.failed[0]
    assert error["kind"] == kind
    assert words in error["message"]
    assert 0 not in outcome.done


def test_a_client_that_takes_no_task_leaves_with_the_reason() -> None:
    outcome = run_client(failing("return\nyield"), range(4))
    assert "initialization error" in outcome.message
    assert outcome.setup_error is not None
    assert "must loop over the IDs" in outcome.setup_error["message"]


def test_what_fails_before_the_first_task_is_no_tasks_error() -> None:
    outcome = run_client(failing("1 / 0\nyield"), range(4))
    assert not outcome.failed
    assert outcome.setup_error is not None
    assert outcome.setup_error["kind"] == "ZeroDivisionError"


def test_sys_exit_in_a_task_is_that_tasks_error() -> None:
    outcome = run_client(failing("import sys\nfor n in server:\n    if n == 1: sys.exit(3)\n    yield n"), range(3))
    assert outcome.done == [0, 2]
    assert outcome.failed[0][1]["kind"] == "SystemExit"


def test_a_result_that_cannot_travel_is_its_tasks_error() -> None:
    outcome = run_client(lambda number: object() if number == 1 else number, range(3))
    assert outcome.done == [0, 2]
    assert outcome.failed[0][1]["kind"] == "UnservableResult"


def test_the_results_of_a_task_that_failed_count_for_nothing() -> None:
    def client(server: Any) -> Iterator[int]:
        for number in server:
            server.result("early")
            if number == 1:
                raise ValueError
            yield number

    assert [n for n, _ in run_client(client, range(3)).results] == [0, 2]


def test_the_traceback_begins_in_the_users_own_code() -> None:
    def client(server: Any) -> Iterator[int]:
        for _ in server:
            raise KeyError("x")
        yield 0

    _, error = run_client(client, [1]).failed[0]
    assert "coordinator/processor.py" not in error["traceback"]
    assert error["where"].startswith("test_processor.py:")


def test_ids_reach_the_function_as_what_they_were() -> None:
    values = [1, True, 1.0, "1", (1,), [1], b"1", None, {"a": (2,)}]
    seen = []

    def client(server: Any) -> Iterator[Any]:
        for value in server:
            seen.append(value)
            yield value

    assert run_client(client, values).done == values
    assert [type(v) for v in seen] == [type(v) for v in values]


def test_an_id_that_cannot_travel_is_refused_by_the_fake_too() -> None:
    with pytest.raises(UnservableTaskID):
        run_client(squares, [object()])


def test_resources_of_a_test_are_paths(tmp_path: Path) -> None:
    (tmp_path / "genome").write_text("ACGT")

    def client(server: Any) -> Iterator[int]:
        with server.open_resource("genome") as file:
            text = file.read()
        for number in server:
            server.result(text[number])
            yield number

    assert run_client(client, range(4), resources={"genome": str(tmp_path / "genome")}).results[3] == (3, "T")
    assert "initialization error" in run_client(client, range(4)).message
