"""Jobs, arrays and Processors under a real Grid Engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.statuses import Cause, State
from coordinator.errors import SchedulerAway, SubmitRefused
from coordinator.executors.scheduler import Scheduler
from coordinator.executors.sge import Sge
from tests.clusters.gridengine import GridEngine
from tests.clusters.schedulers import WAIT, Submission, accepted, run_script

pytestmark = pytest.mark.usefixtures("own_sge")


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Sge(), "root")


def test_grid_engine_says_what_it_is_and_how_large_an_array_may_be(scheduler: Scheduler) -> None:
    assert "8.1.9" in scheduler.version()
    assert scheduler.largest_array() == 75_000


def test_an_array_runs_and_its_ends_are_told_by_files_and_by_grid_engine(scheduler: Scheduler, tmp_path: Path) -> None:
    argvs = [["sh", "-c", f'echo "$NUMBER"; exit {code}'] for code in (0, 3, 0, 77)]
    jobs = Submission(scheduler, tmp_path, *argvs).submit()
    assert [end.code for end in jobs.exits()] == [0, 3, 0, 77]
    assert [status.code for status in jobs.wait()] == [0, 3, 0, 77]
    assert [jobs.out(number) for number in range(1, 5)] == ["1\n", "2\n", "3\n", "4\n"]


def test_a_single_job_needs_what_it_says_and_is_found_by_its_mark(scheduler: Scheduler, tmp_path: Path) -> None:
    words = "echo $NSLOTS $PE $QUEUE $SGE_TASK_ID"
    job = Submission(scheduler, tmp_path, ["sh", "-c", words], cores=2, memory="600mb", time="1h", queue="main.q")
    job.submit()
    assert scheduler.find(job.intent) == job.native
    job.exits()
    assert job.out() == "2 smp main.q undefined\n"
    job.wait()
    assert scheduler.find(job.intent) == job.native  # by the accounting, since the queue has forgotten it
    assert scheduler.find(Submission(scheduler, tmp_path, ["true"]).intent) is None


def test_what_grid_engine_refuses_is_a_refusal_with_its_words(scheduler: Scheduler, tmp_path: Path) -> None:
    with pytest.raises(SubmitRefused, match="unknown queue"):
        Submission(scheduler, tmp_path, ["true"], queue="nope.q").submit()


def test_who_waits_is_seen_and_a_cancel_ends_both(scheduler: Scheduler, tmp_path: Path) -> None:
    jobs = Submission(scheduler, tmp_path, *[["sleep", "100"]] * 3, cores=3).submit()
    jobs.until(lambda found: sorted(status.state.value for status in found) == ["runs", "waits", "waits"])
    jobs.cancel(1)
    jobs.cancel()
    jobs.wait(State.ENDED, State.UNKNOWN)
    jobs.cancel()  # once more is no fault


def test_a_job_that_has_had_its_time_is_ended_and_the_cause_is_told(scheduler: Scheduler, tmp_path: Path) -> None:
    job = Submission(scheduler, tmp_path, ["sleep", "100"], time="2s").submit()
    (status,) = job.wait()
    assert status.cause is Cause.TIME, status


@pytest.mark.timeout(240)  # its commands try again for a while
def test_while_the_master_is_away_nothing_has_ended_and_nothing_is_taken(
    scheduler: Scheduler, mortal_sge: GridEngine, tmp_path: Path
) -> None:
    job = Submission(scheduler, tmp_path, ["sh", "-c", f"{WAIT}; exit 4"]).submit()
    job.wait(State.RUNS)
    mortal_sge.daemons.kill("sge_qmaster")
    try:
        assert job.statuses()[0].state is State.UNKNOWN
        with pytest.raises(SchedulerAway):
            Submission(scheduler, tmp_path, ["true"]).submit()
        (tmp_path / "go").touch()
        assert job.exits()[0].code == 4
    finally:
        mortal_sge.daemons.start("sge_qmaster", "sge_qmaster")
        mortal_sge.daemons.wait("it does not answer", lambda: mortal_sge.run("qconf", "-sh").returncode == 0)
    assert job.wait()[0].code == 4


@pytest.mark.timeout(180)
def test_the_same_script_runs_on_grid_engine_by_one_option(tmp_path: Path) -> None:
    run_script(tmp_path, "--executor=sge", "--ntasks=3", "--n=300", "--pause=0.02")
    assert accepted(tmp_path) == list(range(300))
