"""A user's own executor whose calls raise: its jobs are neither lost nor said to have failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import true, update

from coordinator import batch as psu
from coordinator.batch.home import home
from coordinator.core.statuses import Intent
from coordinator.errors import BadInput, NotCancelled, SchedulerAway
from coordinator.executors.jobscript import NOBODY, Element
from coordinator.jobs import changes, retries, schema, submissions
from coordinator.jobs.reconcile import begun_in
from coordinator.jobs.records import jobs_where, submissions_where
from coordinator.jobs.store import Store
from coordinator.jobs.submissions import Trial
from coordinator.jobs.submitting import MOST_TRIES


class Torn(psu.JobExecutor):
    """Takes jobs and runs none; the calls in ``torn`` raise."""

    def __init__(self) -> None:
        self.torn: set[str] = set()
        self.answer: Any = {"own1": ["job", "R"]}
        self.taken = self.given = 0
        self.error: type[Exception] = ZeroDivisionError

    def submit(self, JobInfo: dict[str, Any], Spawn: bool = False) -> str:
        self.given += 1
        self._tear("submit")
        self.taken += 1
        return f"own{self.taken}"

    def delete(self, JobInfo: dict[str, Any]) -> None:
        self._tear("delete")

    def qstat(self) -> dict[str, list[str]]:
        self._tear("qstat")
        return self.answer  # type: ignore[no-any-return]

    def _tear(self, call: str) -> None:
        if call in self.torn:
            raise self.error(f"{call} is torn")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torn:
    monkeypatch.chdir(tmp_path)
    return Torn()


def add() -> int:
    batch = psu.get_id()
    psu.add_job_to_queue({**psu.get_job_template(), "BatchID": batch, "JobIndex": 0, "script": "true"})
    return batch


@pytest.mark.parametrize("answer", [None, {"own1": None}, {"own1": ["job"]}, "torn"])
def test_what_a_qstat_that_fails_does_not_say_is_not_known(
    own: Torn, capsys: pytest.CaptureFixture[str], answer: Any
) -> None:
    batch = add()
    psu.submit_jobs(own)
    if answer == "torn":
        own.torn.add("qstat")
    own.answer = answer
    psu.get_queue(Executor=own)
    said = capsys.readouterr().out
    assert "not known now: " in said
    assert "Torn.qstat failed (" in said
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"submit": [0]}}
    own.torn, own.answer = set(), {"own1": ["job", "R"]}
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"run": [0]}}


def test_a_submit_that_raises_is_tried_again_by_the_next_pass(own: Torn, capsys: pytest.CaptureFixture[str]) -> None:
    batch = add()
    own.torn.add("submit")
    assert psu.submit_jobs(own) == 0
    assert "not submitted yet: Torn.submit failed (ZeroDivisionError: submit is torn)" in capsys.readouterr().out
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"submit": [0]}}
    own.torn.clear()
    psu.submit_jobs(own)
    assert own.taken == 1
    assert psu.get_job_info(batch, 0)["ClusterID"] == "own1"


def passes(own: Torn, count: int) -> None:
    """As if each pause were over."""
    for _ in range(count):
        with home().store.writing() as connection:
            connection.execute(update(schema.submission).values(not_before=0.0))
        psu.submit_jobs(own)


def test_a_submit_that_always_raises_comes_to_an_end_that_people_see(
    own: Torn, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = add()
    own.torn.add("submit")
    passes(own, MOST_TRIES)
    assert own.given == MOST_TRIES
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"submit": [0]}}
    capsys.readouterr()
    passes(own, 1)
    words = "Torn.submit failed (ZeroDivisionError: submit is torn): whether it took foo is not known"
    assert (
        f"job 0 of batch {batch} failed: {words}; it was given {MOST_TRIES} times, and nothing of it has begun"
        in capsys.readouterr().out
    )
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"failed": [0]}}
    assert psu.get_job_info(batch, 0)["qstat"]["cause"] == "launch"
    (submission,) = (path.parent for path in home().submissions.glob("*/script"))
    assert begun_in(str(submission), 1) == NOBODY  # what was taken after all will not run
    own.torn.clear()
    passes(own, 1)
    assert own.given == MOST_TRIES
    psu.set_job_field(batch, 0)
    passes(own, 1)
    assert own.taken == 1


def test_a_submit_that_raises_again_is_given_pauses_in_which_it_is_said(
    own: Torn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 600.0)
    add()
    own.torn.add("submit")
    for _ in range(5):
        psu.submit_jobs(own)
    assert own.given == 2
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" (tried 2 times, again in")[0] for line in said] == [
        "not submitted yet: Torn.submit failed (ZeroDivisionError: submit is torn): whether it took foo is not known"
        + ("; the next pass tries again" if number < 2 else "") for number in range(5)
    ]  # fmt: skip


def test_what_it_says_it_cannot_take_fails_at_once_and_stops_nobody(
    own: Torn, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, other = add(), add()
    own.torn.add("submit")
    own.error = BadInput
    psu.submit_jobs(own)
    assert f"job 0 of batch {batch} failed: submit is torn" in capsys.readouterr().out
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"failed": [0]}, other: {"failed": [0]}}
    assert own.given == 2


def test_what_says_that_it_is_away_is_waited_for(own: Torn) -> None:
    batch = add()
    own.torn.add("submit")
    own.error = SchedulerAway
    passes(own, 2 * MOST_TRIES)
    assert own.given == 2 * MOST_TRIES
    own.torn.clear()
    passes(own, 1)
    assert psu.get_job_info(batch, 0)["ClusterID"] == "own1"


@pytest.mark.parametrize("before", [1, MOST_TRIES])
def test_a_job_that_begins_although_its_submit_raised_is_not_given_again_and_its_end_counts(
    own: Torn, before: int
) -> None:
    batch = add()
    own.torn.add("submit")
    passes(own, before)
    (submission,) = (path.parent for path in home().submissions.glob("*/script"))
    (submission / "1.begun").write_text("none.1 node1 1700000000\n")
    passes(own, 2)
    assert own.given == before
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"run": [0]}}
    told = {"code": 0, "native": "none.1", "host": "node1", "began": 1700000000, "ended": 1700000001, "cpu": ""}
    (submission / "1.exit").write_text(json.dumps(told))
    assert psu.get_queue(Verbose=False, Executor=own) == {batch: {"complete": [0]}}


def test_of_an_array_that_is_given_up_the_elements_that_begin_in_that_moment_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.db")
    with store.writing() as connection:
        changes.add(connection, [{"BatchID": 1, "JobIndex": index} for index in range(3)], "stop", "/")
        trials = [Trial(job, 1) for job in jobs_where(connection, true())]
        element = Element(["true"], "/", "", "/dev/null", "/dev/null")
        intent = Intent("aaaaaaaaaa", "job", str(tmp_path), count=3)
        submissions.write_down(connection, intent, "own", [(trial, element) for trial in trials])
        assert submissions.over(connection, intent.mark, "nobody has it", taken=[2]) == [(1, 0), (1, 2)]
    with store.reading() as connection:
        assert [job.state for job in jobs_where(connection, true())] == ["failed", "submit", "failed"]
        assert [one.stage for one in submissions_where(connection, true())] == ["sent"]


def test_a_delete_that_raises_is_said(own: Torn) -> None:
    batch = add()
    psu.submit_jobs(own)
    (submission,) = (path.parent for path in home().submissions.glob("*/script"))
    (submission / "1.begun").touch()  # else nobody has to be asked
    own.torn.add("delete")
    with pytest.raises(NotCancelled, match=r"Torn\.delete failed \(ZeroDivisionError: delete is torn\)"):
        psu.qdel_job(batch, 0, Executor=own)
