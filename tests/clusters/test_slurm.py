"""Jobs, arrays and Processors under a real Slurm."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from coordinator.core.statuses import Cause, State
from coordinator.errors import SchedulerAway, SubmitRefused
from coordinator.executors.scheduler import Scheduler
from coordinator.executors.slurm import Slurm as Dialect
from tests.clusters.schedulers import (
    HANG_S,
    JOB_S,
    WAIT,
    Submission,
    accepted,
    log_of,
    run_script,
    script_in,
    worked,
)
from tests.clusters.slurm import MAX_ARRAY, Slurm

pytestmark = pytest.mark.usefixtures("own_slurm")


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Dialect(), "root")


def test_slurm_says_what_it_is_and_how_large_an_array_may_be(scheduler: Scheduler) -> None:
    assert scheduler.version().startswith("slurm")
    assert scheduler.largest_array() == MAX_ARRAY - 1


def test_an_array_runs_and_its_ends_are_told_by_files_and_by_slurm(scheduler: Scheduler, tmp_path: Path) -> None:
    argvs = [["sh", "-c", f'echo "$NUMBER"; exit {code}'] for code in (0, 3, 0, 77)]
    jobs = Submission(scheduler, tmp_path, *argvs).submit()
    assert [end.code for end in jobs.exits()] == [0, 3, 0, 77]
    statuses = jobs.wait()
    assert [status.cause for status in statuses] == [Cause.NONE] * 4
    assert [jobs.out(number) for number in range(1, 5)] == ["1\n", "2\n", "3\n", "4\n"]
    assert {end.native.split(".")[1] for end in jobs.exits()} == {"1", "2", "3", "4"}


def test_a_single_job_needs_what_it_says_and_is_found_by_its_mark(scheduler: Scheduler, tmp_path: Path) -> None:
    words = "echo $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE $SLURM_JOB_PARTITION"
    job = Submission(
        scheduler, tmp_path, ["sh", "-c", words], cores=2, memory="300mb", time="1m", queue="short",
        options={"slurm": ["--comment=two words"]},
    ).submit()  # fmt: skip
    assert scheduler.find(job.intent) == job.native
    job.exits()
    assert job.out() == "2 300 short\n"
    assert "Comment=two words" in scheduler.details(job.native)
    other = Submission(scheduler, tmp_path, ["true"])
    assert scheduler.find(other.intent) is None


@pytest.mark.parametrize("needs", [{"queue": "nope"}, {"memory": "1tb"}], ids=str)
def test_what_slurm_refuses_is_a_refusal_with_its_words(
    scheduler: Scheduler, tmp_path: Path, needs: dict[str, Any]
) -> None:
    with pytest.raises(SubmitRefused, match="Slurm: sbatch: error"):
        Submission(scheduler, tmp_path, ["true"], **needs).submit()


def test_who_waits_says_why_and_a_cancel_ends_both(scheduler: Scheduler, tmp_path: Path) -> None:
    jobs = Submission(scheduler, tmp_path, *[["sleep", "100"]] * 3, cores=4).submit()
    jobs.until(lambda found: sorted(status.state.value for status in found) == ["runs", "runs", "waits"])
    # Slurm gives the reason with its next look at the queue.
    found = jobs.until(lambda found: any(status.state is State.WAITS and status.words for status in found))
    waiting = next(status for status in found if status.state is State.WAITS)
    assert waiting.words in ("Resources", "Priority")
    jobs.cancel(1)
    jobs.cancel()
    assert [status.cause for status in jobs.wait()] == [Cause.CANCELLED] * 3
    jobs.cancel()  # once more is no fault


def test_a_job_that_takes_too_much_memory_is_ended_and_does_not_count_as_well(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    hungry = "import time; b = bytearray(400 << 20); b[::4096] = b'x' * len(b[::4096]); time.sleep(60)"
    job = Submission(scheduler, tmp_path, [sys.executable, "-c", hungry], memory="100mb").submit()
    (status,) = job.wait()
    assert (status.code, status.state) != (0, State.ENDED)


_SUBMITTER = """
import sys
from coordinator.core.statuses import Intent
from coordinator.executors.scheduler import Scheduler, run
from coordinator.executors.slurm import Slurm
directory, mark = sys.argv[1:]


def told(argv):
    print("command", flush=True)
    ran = run(argv)
    print("answer", flush=True)
    return ran


print("intent", flush=True)
print("id", Scheduler(Slurm(), "root", told).submit(Intent(mark, "test", directory)), flush=True)
"""


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_submitter_killed_at_any_moment_leaves_a_job_that_runs_once(scheduler: Scheduler, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    times = 100
    windows = {"before": 0, "intent": 0, "command": 0, "answer": 0, "id": 0}
    jobs = [Submission(scheduler, tmp_path, ["sh", "-c", f"echo ran >>ran.{n}"]) for n in range(times)]
    # When it speaks to Slurm, and how long it takes when nobody kills it: most of the moments lie between these two.
    argv = [sys.executable, "-c", _SUBMITTER]
    intent_s, whole_s = 1e9, 0.0
    for number, job in enumerate(jobs):
        words = [*argv, job.intent.directory, job.intent.mark]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        if number < 3:
            began = time.monotonic()
            said = process.stdout.readline()
            intent_s = min(intent_s, time.monotonic() - began)
            said += process.communicate(timeout=HANG_S)[0]
            whole_s = max(whole_s, time.monotonic() - began)
        else:
            earliest_s = 0.0 if number % 5 == 0 else 0.9 * intent_s
            time.sleep(dice.uniform(earliest_s, 1.05 * whole_s))  # the moment of the fault
            process.kill()
            said = process.communicate(timeout=HANG_S)[0]
        reached = [word for word in said.split() if word in windows]
        windows[reached[-1] if reached else "before"] += 1
    # Whoever comes next knows the intents only, and looks for them before it submits anything again.
    for job in jobs:
        job.native = scheduler.find(job.intent) or scheduler.submit(job.intent)
    for job in jobs:
        assert job.exits()[0].code == 0
    counts = [len((tmp_path / f"ran.{number}").read_text().split()) for number in range(times)]
    assert counts == [1] * times
    print(windows)
    assert windows["command"]
    assert windows["before"] + windows["intent"]
    assert windows["answer"] + windows["id"]


# --- the farm -----------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_the_same_script_runs_on_slurm_by_one_option(tmp_path: Path) -> None:
    run_script(tmp_path, "--executor=slurm", "--ntasks=3", "--memory=150mb", "--n=300", "--pause=0.02")
    assert accepted(tmp_path) == list(range(300))
    lines = worked(tmp_path)
    assert sorted(int(line.split()[0]) for line in lines) == list(range(300))
    assert {line.split()[1] for line in lines} <= {"1", "2", "3"}
    assert len({line.split()[1] for line in lines}) > 1


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_processor_that_slurm_takes_away_is_replaced(own_slurm: Slurm, tmp_path: Path) -> None:
    argv = [*script_in(tmp_path), "--executor=slurm", "--ntasks=1", "--n=100", "--pause=0.2"]
    with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        over = time.monotonic() + HANG_S
        while len(worked(tmp_path)) < 5:
            assert time.monotonic() < over, log_of(tmp_path)
            time.sleep(0.1)
        (running,) = own_slurm.jobs("RUNNING")
        own_slurm.run("scancel", running)
        try:
            process.wait(JOB_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        assert process.returncode == 0, log_of(tmp_path)
    assert accepted(tmp_path) == list(range(100))
    assert len(list(tmp_path.glob("worked.*"))) == 2
    assert not own_slurm.jobs("PENDING", "RUNNING")
    assert os.listdir(tmp_path / "JOB.site")


@pytest.mark.timeout(240)  # its commands try again for a while
def test_while_the_controller_is_away_nothing_has_ended_and_nothing_is_taken(
    scheduler: Scheduler, mortal_slurm: Slurm, tmp_path: Path
) -> None:
    job = Submission(scheduler, tmp_path, ["sh", "-c", f"{WAIT}; exit 4"]).submit()
    job.wait(State.RUNS)
    mortal_slurm.daemons.kill("slurmctld")
    try:
        (status,) = job.statuses()
        assert status.state is State.UNKNOWN
        assert "Unable to contact slurm controller" in status.words
        with pytest.raises(SchedulerAway):
            Submission(scheduler, tmp_path, ["true"]).submit()
        with pytest.raises(SchedulerAway):
            scheduler.find(job.intent)
        (tmp_path / "go").touch()
        assert job.exits()[0].code == 4  # its own word comes all the same
    finally:
        mortal_slurm.start_controller()
        mortal_slurm.wait_for_controller()
    # What it had not saved it has forgotten: it may say that this job waits, which has ended.
    job.cancel()
