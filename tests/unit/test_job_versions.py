"""A JobInfo that was held for a while and is handed in after the job went on: its state stays what it is now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import true

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, Status
from coordinator.errors import BadInput, SchedulerAway, StaleChange, SubmitRefused
from coordinator.executors.jobexecutor import Place, script_of
from coordinator.executors.jobscript import Element
from coordinator.jobs import changes
from coordinator.jobs.cancelling import cancel
from coordinator.jobs.records import job_of
from coordinator.jobs.store import Store
from coordinator.jobs.submissions import Trial
from coordinator.jobs.submitting import Pass, Submitter, one_at_a_time


class Taking:
    """An executor that takes jobs, or does with them what the test says."""

    name = "taking"
    here = False
    poll_s = 0.0

    def __init__(self, submitted: Callable[[], str] = lambda: "1") -> None:
        self._submitted = submitted

    def prepare(self, intent: Intent, elements: Iterable[Element]) -> list[str]:
        Path(script_of(intent)).write_text("")
        return []

    def submit(self, intent: Intent) -> str:
        return self._submitted()

    def find(self, intent: Intent) -> str | None:
        return None

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        return {}

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        pass

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        return ""

    def largest_array(self) -> int:
        return 10

    def version(self) -> str:
        return ""


class Queue:
    """A store with one job."""

    def __init__(self, place: Path) -> None:
        self.store, self.place = Store(place / "jobs.db"), place / "submissions"
        with self.store.writing() as connection:
            changes.add(connection, [{"BatchID": 1, "JobIndex": 0, "script": "true"}], "stop", "/")

    @property
    def info(self) -> dict[str, Any]:
        with self.store.reading() as connection:
            return job_of(connection, 1, 0).info

    def hand_in(self, info: Mapping[str, Any]) -> None:
        with self.store.writing() as connection:
            changes.merge(connection, info)

    def submit(self, executor: Taking, make: Any = None) -> None:
        submitter = Submitter(self.store, self.place, executor, "taking", make or self._make)
        with self.store.reading() as connection:
            job = job_of(connection, 1, 0)
        with one_at_a_time(self.place):
            submitter.settle(Pass())
            if job.state == "init":
                submitter.submit([Trial(job, job.attempt + 1)], Pass())

    @staticmethod
    def _make(trial: Trial) -> tuple[Element, Needs]:
        return Element(["true"], "/", "", "/dev/null", "/dev/null"), Needs()


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def refuse() -> str:
    raise SubmitRefused("too large")


def away() -> str:
    raise SchedulerAway("it is asleep")


def test_one_that_was_refused_before_its_submission_stays_failed(queue: Queue) -> None:
    def broken(trial: Trial) -> tuple[Element, Needs]:
        raise BadInput("no script")

    held = queue.info
    queue.submit(Taking(), broken)
    queue.hand_in({**held, "note": "mine"})
    assert (queue.info["state"], queue.info["note"]) == ("failed", "mine")


def held_while_it_is_submitted(queue: Queue, then: Callable[[], str]) -> dict[str, Any]:
    """The JobInfo that somebody reads in that moment."""
    held: list[dict[str, Any]] = []

    def submitted() -> str:
        held.append(queue.info)
        return then()

    queue.submit(Taking(submitted))
    assert held[0]["state"] == "submit"
    return held[0]


def test_one_that_its_executor_refused_stays_failed(queue: Queue) -> None:
    held = held_while_it_is_submitted(queue, refuse)
    queue.hand_in({**held, "note": "mine"})
    assert (queue.info["state"], queue.info["note"]) == ("failed", "mine")


def test_one_whose_submission_was_taken_back_waits_again(queue: Queue) -> None:
    held = held_while_it_is_submitted(queue, away)
    for script in queue.place.glob("*/script"):
        script.unlink()  # as if its submitter had been killed before it was written
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Submitter, "submit", lambda *told: None)
        queue.submit(Taking())
    assert queue.info["state"] == "init"
    queue.hand_in({**held, "note": "mine"})
    assert (queue.info["state"], queue.info["note"]) == ("init", "mine")


def test_one_that_was_cancelled_before_it_began_stays_cancelled(queue: Queue) -> None:
    held = held_while_it_is_submitted(queue, lambda: "1")
    cancel(queue.store, lambda name: Taking(), true())
    queue.hand_in({**held, "note": "mine"})
    assert (queue.info["state"], queue.info["note"]) == ("cancelled", "mine")


def test_a_state_that_both_have_changed_is_refused(queue: Queue) -> None:
    held = held_while_it_is_submitted(queue, refuse)
    with pytest.raises(StaleChange, match="state"):
        queue.hand_in({**held, "state": "mine"})
