"""PARASCHUT's manual on real schedulers: submission, monitoring, deletion and resubmission of the jobs of a batch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator import batch as psu
from coordinator.batch import home as homes
from coordinator.executors.scheduler import Scheduler
from coordinator.jobs import schema
from coordinator.jobs.records import submissions_where
from tests.clusters.gridengine import GridEngine
from tests.clusters.schedulers import HANG_S, LOOK_S
from tests.clusters.slurm import Slurm
from tests.end_to_end.batches import Batches
from tests.end_to_end.notebook import shows_its_batch

#: calls of the library from inside a job
MAP = """
import sys
from coordinator import batch as psu
job = psu.get_job_info(SetID=True)
print("map", job["JobIndex"], job["ClusterID"], job["hostname"])
if job["JobIndex"] == 1 and job["attempts"] == 1:
    sys.exit("a fault of the first attempt")
job["result"] = job["JobIndex"] ** 2
psu.set_complete(JobInfo=job, Submit=True)
"""
REDUCE = """
from coordinator import batch as psu
mine = psu.get_job_info(SetID=True)
done = psu.get_queue(Verbose=False)[mine["BatchID"]]["complete"]
mine["total"] = sum(psu.get_job_info(mine["BatchID"], index)["result"] for index in done)
psu.update_job(mine)
for index in done:
    psu.set_job_field(mine["BatchID"], index, {"state": "collected"}, Unless={})
psu.set_complete()
"""


@pytest.fixture(scope="session", params=["slurm", "sge"])
def cluster(request: pytest.FixtureRequest) -> tuple[str, Slurm | GridEngine]:
    """(its name, itself); of the session, so that its daemons are not taken for what a test left behind."""
    return request.param, request.getfixturevalue({"slurm": "slurm_cluster", "sge": "sge_cell"}[request.param])


@pytest.fixture
def executor(cluster: tuple[str, Slurm | GridEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name, daemons = cluster
    for variable, value in daemons.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # These clusters are the tests' own: they may be asked more often than one that is everybody's.
    monkeypatch.setattr(Scheduler, "poll_s", 0.3)
    psu.config.Executor = name
    yield name
    del psu.config.Executor


def batch_of(*scripts: str, **fields: object) -> int:
    return Batches(Path.cwd()).add(*scripts, resources={"mem": "200mb", "time": "00:05:00"}, **fields)


def wait(batch: int, so: Callable[[dict[str, list[int]]], bool]) -> dict[str, list[int]]:
    """Until its states are so."""
    over = time.monotonic() + HANG_S
    while True:
        states = (psu.get_queue(Verbose=False) or {}).get(batch, {})
        if so(states):
            return states
        assert time.monotonic() < over, states
        time.sleep(LOOK_S)


def test_a_map_and_a_reduce_step_with_a_fault_in_between(
    executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.py").write_text(MAP)
    (tmp_path / "reduce.py").write_text(REDUCE)
    batch = batch_of(*[f"{sys.executable} map.py"] * 3, priority=2)
    last = psu.get_job_template()
    last.update(BatchID=batch, priority=1, script=f"{sys.executable} reduce.py", resources={"mem": "200mb"})
    psu.add_job_to_queue(last, set_index=True)
    assert psu.submit_jobs() == 3
    wait(batch, lambda states: states == {"complete": [0, 2], "failed": [1], "init": [3]})
    said = ""

    def quiet() -> bool:
        """Who has said that it is complete may still be about to end."""
        nonlocal said
        capsys.readouterr()
        psu.get_queue(ReportMissing=True)
        said = capsys.readouterr().out
        return "running/complete/total: 0/2/4" in said

    Batches(tmp_path).until(quiet)
    assert f"{batch}: 1 (exit status 1 on " in said
    assert "does not go on: priority 2 did not succeed (job 1)" in said
    assert "a fault of the first attempt" in said
    psu.get_queue(ResetMissing=True)
    # From now on the jobs submit each other; where they cannot, the shell does.
    psu.submit_jobs()
    wait(batch, lambda states: "failed" not in states and "submit" not in states and "run" not in states)
    psu.submit_jobs()
    wait(batch, lambda states: states == {"collected": [0, 1, 2], "complete": [3]})
    assert psu.get_job_info(batch, 3)["total"] == 0 + 1 + 4
    info = psu.get_job_info(batch, 1)
    assert (info["attempts"], info["qstat"]["exit_code"]) == (2, 0)
    capsys.readouterr()
    psu.print_log(batch, 1, "stdout", [0, 1])
    assert capsys.readouterr().out.count("map 1 ") == 2


def test_what_runs_has_an_asterisk_and_deleting_it_ends_it(
    executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batch_of(*["echo up; exec sleep 1000"] * 2)
    psu.submit_jobs()
    wait(batch, lambda states: states == {"run": [0, 1]})
    capsys.readouterr()
    psu.get_queue(Display={"run"})
    said = capsys.readouterr().out
    assert "0*, 1*" in said
    assert f"total jobs on {executor} queue: 2" in said
    psu.qdel_job(batch, 0)
    wait(batch, lambda states: states == {"cancelled": [0], "run": [1]})
    assert psu.qdel_batch(batch) == 1
    wait(batch, lambda states: states == {"cancelled": [0, 1]})
    assert psu.set_batch_field(batch) == 2
    assert psu.submit_one_job(batch, 0) == 1
    wait(batch, lambda states: states == {"run": [0], "init": [1]})
    assert psu.remove_batch(batch) == 2
    assert psu.get_queue(Verbose=False) == {}


def test_jobs_that_differ_share_an_array_and_those_with_other_needs_do_not(executor: str, tmp_path: Path) -> None:
    batch = batch_of(*[f"echo {n} $COLOUR" for n in range(30)], vars={"COLOUR": "red"})
    other = psu.get_job_template()
    other.update(BatchID=batch, script="true", resources={"mem": "300mb", "time": "00:05:00"})
    psu.add_job_to_queue(other, set_index=True)
    assert psu.submit_jobs() == 31
    with homes.home().store.reading() as connection:
        submissions = submissions_where(connection, schema.submission.c.executor == executor)
    assert sorted(submission.count for submission in submissions) == [1, 30]
    wait(batch, lambda states: states == {"complete": list(range(31))})
    logs = psu.get_job_info(batch, 7)["stdout"]
    assert Path(logs[-1]).read_text() == "7 red\n"


def test_a_job_that_the_scheduler_refuses_says_why_and_stops_no_other(
    executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batch_of("true")
    wrong = psu.get_job_template()
    wrong.update(BatchID=batch, script="true", queue="nosuchqueue", resources={"mem": "100mb"})
    psu.add_job_to_queue(wrong, set_index=True)
    assert psu.submit_jobs() == 1
    assert f"job 1 of batch {batch} failed: " in capsys.readouterr().out
    states = wait(batch, lambda states: "complete" in states)
    assert states == {"complete": [0], "failed": [1]}
    assert os.listdir(tmp_path / "batch" / str(batch) / "logs")


@pytest.mark.timeout(300)
def test_the_notebook_of_the_manual_runs_on_slurm_as_it_is(
    own_slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("BATCH_EXECUTOR", "slurm")
    shows_its_batch(tmp_path, 90.0, monkeypatch)
