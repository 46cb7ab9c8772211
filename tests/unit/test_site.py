"""Keepers as jobs: what is asked of a scheduler that takes, refuses, does not answer, or answers late."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status
from coordinator.errors import CoordinatorError, SchedulerAway, SubmitRefused, SubmitUnclear
from coordinator.executors import exits
from coordinator.executors.base import Started
from coordinator.executors.jobexecutor import Place
from coordinator.executors.jobscript import Element
from coordinator.executors.site import SiteExecutor

HANG_S = 20.0


class Jobs:
    """Answers submissions in order: an id, an error, or an event to wait for before the id. ``states``: what it says of
    (id, number), RUNS if nothing else; ``marks``: whom it knows by mark."""

    name = "fake"
    poll_s = 0.02
    here = False

    def __init__(self, *answers: str | CoordinatorError | threading.Event) -> None:
        self._answers = list(answers)
        self.submitted: list[Intent] = []
        self.cancelled: list[tuple[str, int | None, int]] = []
        self.states: dict[Place, Status] = {}
        self.marks: dict[str, str] = {}
        self.sought: list[str] = []
        self.elements: list[Element] = []

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        self.elements += elements
        return []

    def submit(self, intent: Intent) -> str:
        self.submitted.append(intent)
        answer = self._answers.pop(0)
        if isinstance(answer, CoordinatorError):
            raise answer
        if isinstance(answer, threading.Event):
            assert answer.wait(HANG_S)
            return "late"
        return answer

    def find(self, intent: Intent) -> str | None:
        self.sought.append(intent.mark)
        return self.marks.get(intent.mark)

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        runs = Status(State.RUNS)
        return {(n, i): self.states.get((n, i), runs) for n, (_, indices) in asked.items() for i in indices}

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        self.cancelled += places

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        return ""

    def largest_array(self) -> int:
        return 3

    def version(self) -> str:
        return "fake"


class World:
    """A SiteExecutor on a loop of its own. ``failed``: what keepers were said to have failed with."""

    def __init__(self, place: Path, *answers: str | CoordinatorError | threading.Event) -> None:
        self.jobs = Jobs(*answers)
        self.place = place
        self.loop = asyncio.new_event_loop()
        self.failed: list[str] = []
        self.site = SiteExecutor(self.jobs, Needs(time_s=100), str(place / "JOB"), "JOB")
        self.site.attend(self.loop)
        self.started: list[Started] = []

    def start(self, count: int = 1) -> None:
        for number in range(count):
            orders = {"urls": ["https://here:1", "https://*:1"], "token": "secret", "host": f"fake-{number}"}
            self.started.append(self.site.start(f"fake-{number}", {}, orders, self.failed.append))

    def until(self, so: Callable[[], Any]) -> None:
        async def wait() -> None:
            while not so():
                await asyncio.sleep(0.01)  # the other thread's word

        self.loop.run_until_complete(asyncio.wait_for(wait(), HANG_S))

    def gone(self, number: int = 0) -> bool:
        """Has the end of a keeper been told?"""
        try:
            return os.eventfd_read(self.started[number].pidfd) > 0
        except BlockingIOError:
            return False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(*answers: str | CoordinatorError | threading.Event) -> World:
        made.append(World(tmp_path, *answers))
        return made[-1]

    yield make
    for each in made:
        each.site.dismiss()
        each.loop.close()


def test_what_is_asked_for_in_one_turn_is_submitted_together_within_the_sites_limit(
    world: Callable[..., World],
) -> None:
    w = world("1", "2")
    w.start(5)
    w.until(lambda: len(w.jobs.submitted) == 2)
    assert [intent.count for intent in w.jobs.submitted] == [3, 2]
    assert not w.failed
    orders = list(w.place.glob("JOB.site/*/orders.*"))
    assert len(orders) == 5
    assert {path.stat().st_mode & 0o777 for path in orders} == {0o600}
    assert not [word for element in w.jobs.elements for word in element.argv if "secret" in word]


@pytest.mark.parametrize(("here", "urls"), [(False, ["https://here:1"]), (True, None)], ids=["elsewhere", "here"])
def test_a_keeper_is_told_of_addresses_to_try_only_where_it_may_be_elsewhere(
    world: Callable[..., World], here: bool, urls: list[str] | None
) -> None:
    w = world("1")
    w.jobs.here = here
    w.start()
    w.until(lambda: w.jobs.submitted)
    (path,) = w.place.glob("JOB.site/*/orders.*")
    orders = json.loads(path.read_text())
    assert (orders.get("urls"), orders.get("remote", False)) == (urls, not here)


def test_a_refusal_is_told_to_each_and_nothing_is_sent_again(world: Callable[..., World]) -> None:
    w = world(SubmitRefused("no such queue"))
    w.start(2)
    w.until(lambda: w.failed)
    assert w.failed == ["no such queue"] * 2
    assert len(w.jobs.submitted) == 1


def test_a_scheduler_that_is_away_is_asked_again_and_the_job_is_looked_for_first(world: Callable[..., World]) -> None:
    w = world(SchedulerAway("down"), SchedulerAway("down"), "7")
    w.start()
    w.until(lambda: len(w.jobs.submitted) == 3)
    assert len({intent.mark for intent in w.jobs.submitted}) == 1
    assert w.jobs.sought == [w.jobs.submitted[0].mark] * 2
    assert not w.failed


def test_after_an_unclear_answer_a_job_that_is_there_is_not_submitted_again(world: Callable[..., World]) -> None:
    w = world(SubmitUnclear("timed out"))
    w.start()
    w.until(lambda: w.jobs.submitted)
    w.jobs.marks[w.jobs.submitted[0].mark] = "9"
    w.jobs.states["9", 1] = Status(State.ENDED, 1, words="exit status 1")
    w.until(lambda: w.failed)  # it is watched under the id that was found
    assert len(w.jobs.submitted) == 1
    assert w.failed == ["exit status 1"]


def test_one_that_is_given_up_while_it_is_submitted_is_cancelled(world: Callable[..., World]) -> None:
    answer = threading.Event()
    w = world(answer)
    w.start()
    w.until(lambda: w.jobs.submitted)
    w.site.abandon(w.started[0])
    assert w.failed == ["it was not needed any more"]
    answer.set()
    w.until(lambda: w.jobs.cancelled)
    assert w.jobs.cancelled == [("late", 1, 1)]


def test_the_end_of_one_that_was_here_is_told_by_its_descriptor(world: Callable[..., World]) -> None:
    w = world("1")
    w.start()
    w.until(lambda: w.jobs.submitted)
    w.started[0].under_way = False  # it has been heard of
    w.jobs.states["1", 1] = Status(State.ENDED, None, 9, words="TIMEOUT")
    w.until(lambda: w.gone())
    assert w.site.ended(w.started[0]) == "TIMEOUT"
    assert not w.failed


def leave_exit(world: World, code: int, number: int = 1) -> None:
    """As the job's script does when its keeper has ended."""
    (place,) = world.place.glob("JOB.site/*")
    text = f'{{"code": {code}, "native": "1.{number}", "host": "n1", "began": 5, "ended": 9, "cpu": "0m0.1s 0m0.1s"}}\n'
    (place / f"{number}.exit.new").write_text(text)
    (place / f"{number}.exit.new").rename(place / f"{number}.exit")


def test_one_that_left_its_exit_file_is_over_though_its_scheduler_still_says_that_it_runs(
    world: Callable[..., World],
) -> None:
    w = world("1")
    w.start(3)
    w.until(lambda: w.jobs.submitted)
    for started in w.started[:2]:
        started.under_way = False  # it has been heard of
    leave_exit(w, 0, 1)
    leave_exit(w, 3, 3)
    w.until(lambda: w.gone(0) and w.gone(2))
    assert w.site.ended(w.started[0]) == "exit status 0"
    assert w.failed == ["exit status 3"]  # it was never heard of
    assert not w.gone(1)


def test_an_exit_file_is_seen_while_the_scheduler_does_not_answer(world: Callable[..., World]) -> None:
    w = world("1")
    asked, answer = threading.Event(), threading.Event()
    told = w.jobs.poll

    def hang(places: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        asked.set()
        assert answer.wait(HANG_S)
        return told(places)

    w.jobs.poll = hang  # type: ignore[method-assign]
    w.start()
    try:
        w.until(asked.is_set)
        w.started[0].under_way = False
        leave_exit(w, 0)
        w.until(w.gone)
        assert not answer.is_set()
    finally:
        answer.set()


def test_why_a_signal_ended_one_is_asked_of_the_scheduler_before_the_exit_file_counts(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "LOOK_S", 0.02)
    w = world("1")
    w.jobs.poll_s = 0.5
    w.start(2)
    w.until(lambda: w.jobs.submitted)
    w.loop.run_until_complete(asyncio.sleep(0.1))  # it was asked, and will be again
    for started in w.started:
        started.under_way = False
    w.jobs.states["1", 1] = Status(State.ENDED, None, 15, words="TIMEOUT")
    w.jobs.states["1", 2] = Status(State.UNKNOWN, words="no answer")
    leave_exit(w, 143, 1)
    leave_exit(w, 137, 2)
    w.until(lambda: w.gone(0) and w.gone(1))
    assert [w.site.ended(started) for started in w.started] == ["TIMEOUT", "signal 9"]


def test_a_damaged_exit_file_is_no_end(world: Callable[..., World]) -> None:
    w = world("1")
    w.start(2)
    w.until(lambda: w.jobs.submitted)
    for started in w.started:
        started.under_way = False
    (place,) = w.place.glob("JOB.site/*")
    (place / "1.exit").write_text("{")
    leave_exit(w, 0, 2)
    w.until(lambda: w.gone(1))  # both were looked at
    assert not w.gone(0)


def test_one_that_is_put_back_into_the_queue_is_over_and_cancelled_there(world: Callable[..., World]) -> None:
    w = world("1")
    w.start()
    w.until(lambda: w.jobs.submitted)
    w.started[0].under_way = False
    w.loop.run_until_complete(asyncio.sleep(0.1))  # it is seen to run
    w.jobs.states["1", 1] = Status(State.WAITS)
    w.until(lambda: w.jobs.cancelled)
    assert w.gone()
    assert w.site.ended(w.started[0]) == "its scheduler put it back into the queue"


def test_what_the_scheduler_does_not_know_goes_on(world: Callable[..., World]) -> None:
    w = world("1")
    w.start()
    w.until(lambda: w.jobs.submitted)
    w.jobs.states["1", 1] = Status(State.UNKNOWN, words="no answer")
    w.loop.run_until_complete(asyncio.sleep(0.2))
    assert not w.failed
    assert not w.gone()


def test_what_an_earlier_life_had_waiting_is_taken_back_before_anything_is_submitted(
    world: Callable[..., World], tmp_path: Path
) -> None:
    old = tmp_path / "JOB.site" / "aaaaaaaaaa"
    old.mkdir(parents=True)
    (old / "intent").write_text('{"mark": "aaaaaaaaaa", "count": 2}')
    (tmp_path / "JOB.site" / "bbbbbbbbbb").mkdir()
    (tmp_path / "JOB.site" / "bbbbbbbbbb" / "intent").write_text("{")
    w = world("5")
    w.jobs.marks["aaaaaaaaaa"] = "4"
    w.jobs.states["4", 2] = Status(State.WAITS)
    w.start()
    w.until(lambda: w.jobs.submitted)
    assert w.jobs.cancelled == [("4", 2, 2)]
    assert not (old / "intent").exists()


def test_a_keeper_is_told_when_its_time_is_over(world: Callable[..., World]) -> None:
    w = world("1")
    w.start()
    w.until(lambda: w.jobs.submitted)
    (path,) = w.place.glob("JOB.site/*/orders.1")
    text = path.read_text()
    assert '"leave_after_s": 75.0' in text
    assert '"end_after_s": 90.0' in text
    assert "https://*:1" not in text


@pytest.mark.timeout(HANG_S)
@pytest.mark.parametrize("turns", range(6))
def test_a_job_ends_in_whichever_turn_of_news_it_is_told_to(world: Callable[..., World], turns: int) -> None:
    w = world("1")
    w.jobs.poll_s = HANG_S
    w.start(2)
    w.until(lambda: w.started[1].waits)
    w.site.abandon(w.started[1])
    for _ in range(turns):
        w.loop.run_until_complete(asyncio.sleep(0))
    w.site.dismiss()
    assert {place[:2] for place in w.jobs.cancelled} == {("1", 1), ("1", 2)}
