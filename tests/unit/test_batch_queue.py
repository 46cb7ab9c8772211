"""What get_queue and submit_jobs say of jobs that wait: why a batch stands still, what runs, how many may be under way.

No job is started: attempts are written into the store as a submission leaves them.
"""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from coordinator import batch as psu
from coordinator.batch import dashboard, monitoring
from coordinator.batch.details import job_whole, why_batch
from coordinator.batch.executors import executor
from coordinator.batch.home import home
from coordinator.batch.selection import of_filter
from coordinator.jobs import schema
from coordinator.jobs.states import Stage


class Quiet(psu.JobExecutor):
    """Takes all jobs, and runs none of them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.looks = 0

    def submit(self, JobInfo: dict[str, Any], Spawn: bool = False) -> str:
        self.taken.append(JobInfo["script"])
        return f"q{len(self.taken)}"

    def delete(self, JobInfo: dict[str, Any]) -> None:
        self.taken.remove(JobInfo["ClusterID"])

    def qstat(self) -> dict[str, list[str]]:
        self.looks += 1
        return {f"q{number}": ["job", "R"] for number in range(1, len(self.taken) + 1)}


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quiet:
    monkeypatch.chdir(tmp_path)
    return Quiet()


def add(*jobs: dict[str, Any]) -> int:
    batch = psu.get_id()
    psu.add_batch_to_queue(
        batch, [{**psu.get_job_template(), "script": "true", **fields} for fields in jobs], set_index=True
    )
    return batch


def seen(text: str = "") -> dashboard.Overview:
    return monitoring.overview(of_filter(text), executor())


def running(batch: int, index: int, **told: Any) -> None:
    """An attempt that has begun."""
    row = {"batch_id": batch, "job_index": index, "number": 1, "spawn": 0, "mark": "", "element": 0,
           "stage": Stage.BEGUN.value, "at": 0.0, **told}  # fmt: skip
    with home().store.writing() as connection:
        connection.execute(insert(schema.attempt), row)


# --- a batch that stands still ---------------------------------------------------------------------------


def test_a_job_that_ended_in_a_state_of_its_own_holds_the_next_group_and_the_queue_says_so(
    quiet: Quiet, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = add({"priority": 2}, {"priority": 1})
    psu.set_job_field(batch, 0, {"state": "half-way"})
    psu.get_queue()
    assert "does not go on: priority 2 did not succeed (job 0)" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", 'state == "init"', "JobIndex == 1"])
def test_why_a_batch_stands_still_does_not_depend_on_which_of_its_jobs_are_shown(quiet: Quiet, text: str) -> None:
    batch, other = add({"priority": 2}, {"priority": 1}), add({})
    psu.set_job_field(batch, 0, {"state": "failed"})
    found = seen(text)
    assert found.stuck.keys() == {batch}
    assert "priority 2 did not succeed" in found.stuck[batch]
    assert other not in found.stuck


def test_a_batch_of_which_nothing_holds_a_job_is_not_planned_to_be_shown(
    quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of 100,000 jobs takes most of a second."""

    def planned(connection: object) -> None:
        raise AssertionError("nothing of these can stand still")

    monkeypatch.setattr(monitoring, "waiting", planned)
    batch = add({"priority": 2}, {"priority": 2}, {"priority": 1})
    psu.set_job_field(batch, 1, {"state": "run"})
    running(batch, 1)
    assert seen().stuck == {}
    psu.set_job_field(batch, 0, {"state": "half-way"})
    with pytest.raises(AssertionError, match="stand still"):
        seen()


# --- where it is printed ---------------------------------------------------------------------------------


def test_a_terminal_shows_a_table_and_a_file_plain_lines_whatever_is_imported(
    quiet: Quiet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    batch = add({"name": "plain"})
    dashboard.show(seen())
    assert capsys.readouterr().out.startswith(f"\n{batch}: plain\n  init            1: 0\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    dashboard.show(seen())
    assert "which (* runs)" in capsys.readouterr().out


def test_the_last_record_of_a_job_is_that_of_the_last_look_and_who_asks_for_it_asks_no_scheduler(quiet: Quiet) -> None:
    batch = add({}, {})
    psu.submit_jobs(quiet)
    psu.get_queue(Verbose=False, Executor=quiet)
    looks = quiet.looks
    assert looks > 0
    for _ in range(5):
        assert [psu.get_job_info(batch, index)["qstat"]["state"] for index in (0, 1)] == ["runs", "runs"]
    quiet.taken = []
    assert psu.get_job_info(batch, 0)["qstat"]["state"] == "runs"
    assert quiet.looks == looks
    psu.get_queue(Verbose=False, Executor=quiet)
    assert psu.get_job_info(batch, 0)["qstat"]["state"] == "unknown"


def test_a_job_that_pauses_before_its_next_try_goes_at_once_when_somebody_sets_it_back(quiet: Quiet) -> None:
    batch = add({"sample": "liver"}, {"sample": "lung"})
    with home().store.writing() as connection:
        connection.execute(schema.job.update().values(not_before=time.time() + 3000))
    assert psu.submit_jobs(quiet) == 0
    psu.set_batch_field(batch, Unless={"sample": "liver"})
    assert psu.submit_jobs(quiet) == 1
    assert [psu.get_job_info(batch, index)["state"] for index in (0, 1)] == ["init", "submit"]
    psu.set_job_field(batch, 0)
    assert psu.submit_jobs(quiet) == 1


# --- totals ----------------------------------------------------------------------------------------------


def test_totals_count_what_is_shown_and_nothing_else(quiet: Quiet) -> None:
    batch = add({}, {}, {})
    for index in (0, 1):
        psu.set_job_field(batch, index, {"state": "run"})
        running(batch, index)
    assert list(dashboard.totals(seen()))[-1] == "running/complete/total: 2/0/3"
    assert list(dashboard.totals(seen("JobIndex == 2")))[-1] == "running/complete/total: 0/0/1"
    shown = seen()
    shown.only(("init",))
    assert list(dashboard.totals(shown))[-1] == "running/complete/total: 0/0/1"


def test_jobs_in_a_row_are_folded_and_those_that_run_are_not() -> None:
    stars = {(7, 4): 1, (7, 5): 2, (8, 0): 1}
    assert dashboard.starred(7, [0, 1, 2, 3, 4, 5, 6, 7, 9], stars) == "0-3, 4*, 5**, 6, 7, 9"
    assert dashboard.starred(7, range(0, 100_000, 2), {}).endswith(", ...")


# --- how many may be under way ---------------------------------------------------------------------------


def test_maxjobs_counts_what_is_under_way_whatever_the_states_of_its_jobs_say(
    quiet: Quiet, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that has said that it is complete and still runs, copies, one in a state of its own; not what is over."""
    batch = add(*[{}] * 6)
    for index, state in enumerate(("complete", "half-way", "complete")):
        psu.set_job_field(batch, index, {"state": state})
    running(batch, 0, mark="m")
    running(batch, 0, mark="m", spawn=1)
    running(batch, 1, mark="m")
    running(batch, 2, mark="m", stage=Stage.OVER.value)
    submission = {"mark": "m", "executor": "Quiet", "directory": "", "name": "", "needs": "{}", "count": 1,
                  "native": "q1", "stage": "sent", "at": 0.0}  # fmt: skip
    with home().store.writing() as connection:
        connection.execute(insert(schema.submission), submission)
    quiet.taken = ["q1"]
    assert psu.submit_jobs(quiet, MaxJobs=3) == 0
    assert "not submitted yet: maxjobs (3) is reached" in capsys.readouterr().out
    assert psu.submit_jobs(quiet, MaxJobs=5) == 2


def test_a_job_for_which_there_is_no_room_waits_for_that(quiet: Quiet, capsys: pytest.CaptureFixture[str]) -> None:
    batch = add({}, {}, {})
    home().place.mkdir(exist_ok=True)
    (home().place / "maxjobs").write_text("1\n")
    assert job_whole(batch, 0).held == ""
    assert job_whole(batch, 1).held == "maxjobs (1) is reached"
    assert psu.submit_jobs(quiet) == 1
    assert "not submitted yet: maxjobs (1) is reached; the next pass tries again" in capsys.readouterr().out
    assert [reason.why for reason, _ in why_batch(batch, lambda *words: "")[2]] == ["maxjobs (1) is reached", ""]
    (home().place / "maxjobs").write_text("3\n")
    assert psu.submit_jobs(quiet) == 2
    assert "maxjobs" not in capsys.readouterr().out
