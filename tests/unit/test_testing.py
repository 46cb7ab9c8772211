"""The fakes of coordinator.testing: strict, and true to the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import exchange
from coordinator.core.exchange import Answer, LeaseReport, Request
from coordinator.errors import BadOption, LaunchFailed, NoSuchRule, PeerLost, UnservableTaskID
from coordinator.executors.base import Executor
from coordinator.hand import Line
from coordinator.link import Link
from coordinator.testing import FakeClock, FakeCoordinator, FakeExecutor, FakeLine, FakeLink, FakeServer, run_client


def client(server: Any, exponent: int = 2) -> Iterator[int]:
    for number in server:
        server.result(number**exponent)
        yield number


def nothing(reason: str) -> None:
    """A failure that nobody is to be told of."""


# --- run_client and FakeServer ------------------------------------------------------------------------


def test_a_client_function_runs_without_a_farm() -> None:
    outcome = run_client(client, [1, 2, 3], exponent=3)
    assert (outcome.done, outcome.results, outcome.failed) == ([1, 2, 3], [(1, 1), (2, 8), (3, 27)], [])
    assert outcome.message == "run_all done"


@given(st.integers(0, 20), st.integers(1, 7), st.sets(st.integers(0, 19), max_size=6))
def test_each_task_is_done_or_failed_once_whatever_the_blocks(count: int, block: int, bad: set[int]) -> None:
    def sometimes(server: Any) -> Iterator[int]:
        for number in server:
            if number in bad:
                raise ValueError(number)
            yield number

    outcome = run_client(sometimes, range(count), block=block)
    assert outcome.done == [n for n in range(count) if n not in bad]
    assert [n for n, _ in outcome.failed] == [n for n in range(count) if n in bad]


def test_retries_come_at_once_and_are_counted() -> None:
    attempts: list[tuple[str, int]] = []

    def unlucky(server: Any) -> Iterator[str]:
        for task_id in server:
            attempts.append((task_id, server.attempt))
            if task_id == "a" and server.attempt < 3:
                raise OSError("not yet")
            if task_id == "b":
                raise OSError("never")
            yield task_id

    outcome = run_client(unlucky, ["a", "b", "c"], retries=2)
    assert sorted(outcome.done) == ["a", "c"]
    assert [task_id for task_id, _ in outcome.failed] == ["b"]
    assert sorted(task_id for task_id, _ in outcome.retried) == ["a", "a", "b", "b"]
    assert sorted(attempts) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3), ("c", 1)]


def test_each_function_gets_the_options_that_it_names_and_one_that_nobody_takes_is_an_error() -> None:
    def setup(server: Any, table: str) -> str:
        return table

    def plain(number: int, setup: str, factor: int = 1) -> str:
        return f"{setup} {number * factor}"

    assert run_client(plain, [2], setup, table="t", factor=4).results == [(2, "t 8")]
    with pytest.raises(BadOption, match="'exponnent'"):
        run_client(client, [1], exponnent=3)


def test_a_loop_of_ones_own_says_what_became_of_each_task() -> None:
    with FakeServer(["a", "b", "c"], block=2) as server:
        for task_id in server:
            try:
                if task_id == "b":
                    raise ValueError("no")
            except ValueError:
                server.report_error(task_id)
            else:
                server.report_success(task_id)
    assert server.outcome.done == ["a", "c"]
    assert [task_id for task_id, _ in server.outcome.failed] == ["b"]


def test_what_a_loop_of_ones_own_has_not_begun_is_not_done() -> None:
    with FakeServer(["a", "b", "c"]) as server:
        server.report_success(server.next())
    assert server.outcome.done == ["a"]


def test_a_number_of_tasks_can_be_worked_on_interactively() -> None:
    server = FakeServer(range(10))
    assert server.run_interactive(client, n=3) == 3
    assert server.outcome.done == [0, 1, 2]
    server = FakeServer(range(10))
    with pytest.raises(TypeError):
        server.run_interactive(client, n=3, exponent="x")
    assert [number for number, _ in server.outcome.failed] == [0]


def test_resources_are_the_paths_that_the_test_gave(tmp_path: Path) -> None:
    (tmp_path / "genome").write_text("ACGT")
    server = FakeServer([], resources={"genome": str(tmp_path / "genome"), "db": str(tmp_path)})
    with server.open_resource("genome") as file:
        assert file.read() == "ACGT"
    assert server.open_resource("db").name == str(tmp_path)
    with pytest.raises(NoSuchRule, match="'hg17'"):
        server.open_resource("hg17")
    with pytest.raises(AssertionError, match="no rules"):
        server.acquire_rule("genome")
    with pytest.raises(AssertionError, match="no rules"):
        server.release_rule("genome")


def test_an_id_that_could_not_travel_is_refused() -> None:
    with pytest.raises(UnservableTaskID):
        FakeServer([1, object()])


# --- FakeCoordinator ----------------------------------------------------------------------------------


def say(farm: FakeCoordinator, **said: Any) -> Answer:
    farm.send_note("exchange", Request("test", 0, "i", 1, **said).to_text())
    return Answer.from_text(farm.receive_note())[0]


def test_a_report_of_what_was_not_given_fails_the_test() -> None:
    farm = FakeCoordinator(["a", "b"], block=1, retries=0)
    lease = say(farm, want=True).lease
    with pytest.raises(AssertionError, match="does not hold them"):
        say(farm, held=[lease], reports=[LeaseReport(lease, [0, 2])])


def test_a_result_of_a_task_that_is_not_done_fails_the_test() -> None:
    farm = FakeCoordinator(["a", "b"], block=2, retries=0)
    lease = say(farm, want=True).lease
    with pytest.raises(AssertionError, match="not done"):
        say(farm, held=[lease], reports=[LeaseReport(lease, [0, 1], [], ["1\t7"])])


def test_a_goodbye_with_a_task_in_the_air_fails_the_test() -> None:
    farm = FakeCoordinator(["a", "b"], block=2, retries=0)
    lease = say(farm, want=True).lease
    assert say(farm, held=[lease], bye="done").state == exchange.END
    with pytest.raises(AssertionError, match="2 tasks were neither reported nor given back"):
        farm.close()


def test_who_speaks_out_of_turn_fails_the_test() -> None:
    farm = FakeCoordinator([], block=1, retries=0)
    with pytest.raises(AssertionError, match="asked nothing"):
        farm.receive_note()
    with pytest.raises(AssertionError, match="'beat'"):
        farm.send_note("beat", "{}")
    farm.send_note("exchange", Request("test", 0, "i", 1).to_text())
    with pytest.raises(AssertionError, match="before it had heard"):
        farm.send_note("exchange", Request("test", 0, "i", 2).to_text())


# --- the others ---------------------------------------------------------------------------------------


def test_they_have_the_shapes_that_the_farm_asks_for() -> None:
    line: Line = FakeLine()
    executor: Executor = FakeExecutor()
    link: Link = FakeLink()
    for fake, real in ((line, Line), (executor, Executor), (link, Link)):
        for name in vars(real):
            assert name.startswith("_") or callable(getattr(fake, name))


def test_time_passes_when_the_test_says_so_and_never_goes_back() -> None:
    clock = FakeClock(5.0)
    clock.passes(2.5)
    assert clock() == clock() == 7.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.passes(-1.0)


def test_a_line_fails_on_what_the_test_did_not_foresee() -> None:
    said = Request("r", 0, "i", 1).to_text()
    with pytest.raises(AssertionError, match="nobody asked for these answers"), FakeLine(Answer(0, exchange.END)):
        pass
    with pytest.raises(AssertionError, match="nobody heard the answer"), FakeLine() as line:
        line.send_note("exchange", said)
    line = FakeLine()
    line.send_note("exchange", said)
    with pytest.raises(AssertionError, match="the test has no answer"):
        line.receive_note()
    with pytest.raises(AssertionError, match="before it had heard"):
        line.send_note("exchange", said)
    with pytest.raises(AssertionError, match="'beat'"):
        line.send_note("beat", said)
    with pytest.raises(AssertionError, match="asked nothing"):
        FakeLine().receive_note()
    with pytest.raises(ZeroDivisionError), FakeLine(Answer(0, exchange.END)):
        _ = 1 / 0  # the test's own failure is the one that is shown


def test_a_line_can_be_cut() -> None:
    line = FakeLine(PeerLost("gone"), Answer(0, exchange.END))
    line.refuse(1)
    with pytest.raises(PeerLost):
        line.send_note("exchange", Request("r", 0, "i", 9).to_text())
    for _ in range(2):
        line.send_note("exchange", Request("r", 0, "i", 9).to_text())
        try:
            answer, _ = Answer.from_text(line.receive_note())
        except PeerLost:
            continue
        assert answer.seq == 9
    line.check()
    assert len(line.said) == 2


def test_a_keeper_that_nobody_claims_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"nobody claimed: \['node1'\]"), FakeExecutor() as executor:
        executor.start("node1", {}, {}, nothing)
    executor = FakeExecutor({"node2": "down"}, seen=True)
    with pytest.raises(LaunchFailed, match="down"):
        executor.start("node2", {}, {}, nothing)
    with pytest.raises(AssertionError, match="0 keepers"):
        executor.claim("node1")
    started = executor.start("node1", {}, {"x": 1}, nothing)
    assert executor.claim("node1").orders == {"x": 1}
    with pytest.raises(AssertionError, match="did not end"):
        executor.ended(started)
    gone: list[str] = []
    executor.watch(started.pidfd, lambda: gone.append(executor.ended(started)))
    executor.end(started.pidfd, "signal 9")
    assert gone == ["signal 9"]
    executor.check()


def test_a_question_without_an_answer_and_a_job_without_an_end_fail_the_test() -> None:
    with pytest.raises(AssertionError, match="questions that nobody answered"), FakeLink() as link:
        link.ask("await_resource", {"name": "x"}, lambda _: None)
    with pytest.raises(AssertionError, match="did not finish"), FakeLink({"slots": {}}) as link:
        assert link.first({}) == {"slots": {}}
    link = FakeLink()
    with pytest.raises(AssertionError, match="nobody asked"):
        link.answer("await_resource", {})
    with pytest.raises(AssertionError, match="before start"):
        link.grant({})
    with pytest.raises(AssertionError, match="before start"):
        link.step()
    link.finish("done")
    with pytest.raises(AssertionError, match="twice"):
        link.finish("done")
    with pytest.raises(AssertionError, match="after the job had finished"):
        link.ask("await_resource", {}, lambda _: None)


def test_a_link_tells_hears_and_answers() -> None:
    heard: list[Any] = []
    with FakeLink({"slots": {}}) as link:
        link.first({"name": "job"})
        link.start(None, lambda: {"done": 3}, heard.append)
        link.step()
        link.grant({"slots": {"node1": 1}})
        link.ask("await_resource", {"name": "x"}, heard.append)
        assert link.answer("await_resource", {"state": "wait"}) == {"name": "x"}
        link.finish("done")
    assert link.told == [{"name": "job"}, {"done": 3}]
    assert heard == [{"slots": {"node1": 1}}, {"state": "wait"}]
