"""Jobs, arrays and Processors under PBS and LSF, as far as their documents and others' recordings go (tests/fakes)."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from coordinator.core.statuses import Cause, State
from coordinator.errors import SchedulerAway, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import Dialect
from coordinator.executors.lsf import Lsf as LsfDialect
from coordinator.executors.pbs import Pbs as PbsDialect
from coordinator.executors.scheduler import Scheduler, run
from tests.clusters.schedulers import HANG_S, WAIT, Submission, accepted, log_of, run_script, script_in, worked
from tests.fakes.lsf import Lsf
from tests.fakes.pbs import Pbs
from tests.fakes.server import Fake

BOTH = pytest.mark.parametrize("fake", ["pbs", "lsf"], indirect=True)
DIALECTS: dict[str, Callable[[], Dialect]] = {"pbs": PbsDialect, "lsf": LsfDialect}


@pytest.fixture
def fake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Its commands are on PATH; who runs them is called tester."""
    monkeypatch.setenv("USER", "tester")
    monkeypatch.setenv("LOGNAME", "tester")
    place = tmp_path / "fake"
    with Pbs(place) if request.param == "pbs" else Lsf(place, minute_s=1.0) as made:
        monkeypatch.setenv("PATH", made.path)
        yield made


@pytest.fixture
def scheduler(fake: Fake) -> Scheduler:
    return Scheduler(DIALECTS[type(fake).__name__.lower()](), "tester")


def asked(fake: Fake, program: str) -> int:
    return sum(each.program == program for each in fake.asked)


@BOTH
def test_it_says_what_it_is_and_how_large_an_array_may_be(scheduler: Scheduler, fake: Fake) -> None:
    assert scheduler.version() in ("pbs_version = 23.06.06", "IBM Spectrum LSF Standard 10.1.0.0, Jun 15 2016")
    assert scheduler.largest_array() == {"pbs": 10_000, "lsf": 1000}[scheduler.name]


@BOTH
def test_an_array_runs_and_its_ends_are_told_by_files_and_by_the_scheduler(
    scheduler: Scheduler, fake: Fake, tmp_path: Path
) -> None:
    argvs = [["sh", "-c", f'echo "$NUMBER"; exit {code}'] for code in (0, 3, 0, 77)]
    jobs = Submission(scheduler, tmp_path, *argvs).submit()
    assert [end.code for end in jobs.exits()] == [0, 3, 0, 77]
    statuses = jobs.wait()
    assert [(status.code, status.cause) for status in statuses] == [(code, Cause.NONE) for code in (0, 3, 0, 77)]
    assert [jobs.out(number) for number in range(1, 5)] == ["1\n", "2\n", "3\n", "4\n"]
    assert [end.native.rpartition(".")[2] for end in jobs.exits()] == ["1", "2", "3", "4"]
    assert asked(fake, {"pbs": "qsub", "lsf": "bsub"}[scheduler.name]) == 1
    assert sorted(path.name for path in jobs.here.glob("output*")) == [f"output.{n}" for n in range(1, 5)]


@BOTH
def test_a_single_job_asks_for_all_it_needs_and_is_found_by_its_mark(scheduler: Scheduler, tmp_path: Path) -> None:
    words = "test -e ../go || sleep 100; pwd"
    job = Submission(
        scheduler, tmp_path, ["sh", "-c", words], cores=2, memory="600mb", time="1h", gpus=1, queue="short",
        account="lab",
    ).submit()  # fmt: skip
    assert scheduler.find(job.intent) == job.native
    job.wait(State.RUNS)
    (status,) = job.statuses()
    assert status.host
    assert job.native in scheduler.details(job.native)
    job.cancel()
    (status,) = job.wait()
    assert status.cause is Cause.CANCELLED, status
    assert scheduler.find(job.intent) == job.native  # by the history
    assert scheduler.find(Submission(scheduler, tmp_path, ["true"]).intent) is None


@BOTH
def test_what_is_refused_is_a_refusal_with_the_schedulers_words(scheduler: Scheduler, tmp_path: Path) -> None:
    with pytest.raises(SubmitRefused, match=r"Unknown queue|No such queue"):
        Submission(scheduler, tmp_path, ["true"], queue="nope").submit()


@pytest.mark.parametrize("fake", ["pbs", "lsf"], indirect=True)
def test_an_array_that_is_too_large_is_refused(scheduler: Scheduler, fake: Fake, tmp_path: Path) -> None:
    fake.largest = 2  # type: ignore[attr-defined]
    with pytest.raises(SubmitRefused, match=r"exceeds server or queue size limit|index too large"):
        Submission(scheduler, tmp_path, *[["true"]] * 3).submit()


@BOTH
def test_who_waits_says_why_and_a_cancel_ends_all(scheduler: Scheduler, tmp_path: Path) -> None:
    jobs = Submission(scheduler, tmp_path, *[["sleep", "100"]] * 3, cores=2).submit()
    jobs.wait(State.RUNS, State.WAITS)
    states = [status.state for status in jobs.statuses()]
    assert states == [State.RUNS, State.RUNS, State.WAITS]
    jobs.cancel(3)
    jobs.cancel(1)
    jobs.cancel()
    first, second, third = jobs.wait()
    assert (first.cause, second.cause) == (Cause.CANCELLED, Cause.CANCELLED)
    # Of an element that was deleted before it began PBS says only that there is nothing to wait for.
    assert third.cause is (Cause.CANCELLED if scheduler.name == "lsf" else Cause.NONE)
    assert third.code is None
    jobs.cancel()  # once more is no fault
    jobs.cancel(2)


@BOTH
def test_a_job_too_large_for_the_machine_waits_until_it_is_cancelled(scheduler: Scheduler, tmp_path: Path) -> None:
    job = Submission(scheduler, tmp_path, ["true"], cores=5).submit()
    (status,) = job.statuses()
    assert status.state is State.WAITS
    assert status.words in (
        "Can Never Run: Insufficient amount of resource: ncpus",
        "New job is waiting for scheduling",
    )
    job.cancel()
    assert job.wait()[0].cause is Cause.CANCELLED


@BOTH
def test_a_job_that_has_had_its_time_is_ended_and_the_cause_is_told(scheduler: Scheduler, tmp_path: Path) -> None:
    job = Submission(scheduler, tmp_path, ["sleep", "100"], time="1s").submit()
    (status,) = job.wait()
    assert status.cause is Cause.TIME, status


@BOTH
def test_while_the_server_is_away_nothing_has_ended_and_nothing_is_taken(
    scheduler: Scheduler, fake: Fake, tmp_path: Path
) -> None:
    # Of PBS every command says that it is away; LSF's wait for it until they are killed.
    limit_s = HANG_S if scheduler.name == "pbs" else 0.3
    impatient = Scheduler(scheduler.dialect, "tester", partial(run, limit_s=limit_s))
    job = Submission(scheduler, tmp_path, ["sh", "-c", f"{WAIT}; exit 4"]).submit()
    job.wait(State.RUNS)
    fake.stop()
    job.scheduler = impatient
    try:
        assert job.statuses()[0].state is State.UNKNOWN
        # Who kills bsub does not know what it has done.
        with pytest.raises(SchedulerAway if scheduler.name == "pbs" else SubmitUnclear):
            Submission(impatient, tmp_path, ["true"]).submit()
        with pytest.raises(SchedulerAway):
            impatient.find(job.intent)
        with pytest.raises(SchedulerAway):
            job.cancel()
        (tmp_path / "go").touch()
        assert job.exits()[0].code == 4  # its own word comes all the same
    finally:
        fake.start()
        job.scheduler = scheduler
    assert job.wait()[0].code == 4


@BOTH
def test_a_submission_whose_answer_is_lost_is_found_by_its_mark(
    scheduler: Scheduler, fake: Fake, tmp_path: Path
) -> None:
    job = Submission(scheduler, tmp_path, ["true"])
    fake.lose_answer = True
    with pytest.raises(SubmitUnclear):
        job.submit()
    job.native = scheduler.find(job.intent) or ""
    assert job.wait()[0].code == 0


@BOTH
def test_an_old_id_that_belongs_to_another_job_now_is_unknown(scheduler: Scheduler, tmp_path: Path) -> None:
    job = Submission(scheduler, tmp_path, ["true"]).submit()
    job.wait()
    other = Submission(scheduler, tmp_path, ["true"])
    other.native = job.native
    assert other.statuses()[0].state is State.UNKNOWN


# --- what is forgotten --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fake", ["lsf"], indirect=True)
def test_what_lsf_has_forgotten_is_unknown(scheduler: Scheduler, fake: Fake, tmp_path: Path) -> None:
    old, new = (Submission(scheduler, tmp_path, ["true"]) for _ in range(2))
    old.submit().wait()
    with fake.jobs.lock:
        fake.jobs.forget()
    assert old.statuses()[0].state is State.UNKNOWN
    assert scheduler.find(old.intent) is None
    old.cancel()  # no fault
    new.submit().wait()
    asked = {each.native: (each.intent.mark, [1]) for each in (old, new)}
    assert [status.state for status in scheduler.poll(asked).values()] == [State.UNKNOWN, State.ENDED]


@pytest.mark.parametrize("fake", ["pbs"], indirect=True)
def test_what_pbs_keeps_no_history_of_is_unknown_and_no_elements_end_is_taken_for_anothers(
    scheduler: Scheduler, fake: Fake, tmp_path: Path
) -> None:
    assert isinstance(fake, Pbs)
    fake.history = False
    jobs = Submission(scheduler, tmp_path, ["true"], ["sh", "-c", WAIT], ["sh", "-c", f"{WAIT}; exit 3"]).submit()
    jobs.until(lambda found: [status.state for status in found] == [State.ENDED, State.RUNS, State.RUNS])
    # The server tells how the whole array is doing as the exit status of an element that it has no record of.
    first, *_ = jobs.statuses()
    assert (first.code, first.signal, first.cause) == (None, None, Cause.NONE)
    (tmp_path / "go").touch()
    assert [end.code for end in jobs.exits()] == [0, 0, 3]
    first, *_ = jobs.wait(State.UNKNOWN)
    assert "not configured to maintain job history" in first.words
    assert scheduler.find(jobs.intent) is None
    jobs.cancel()  # no fault


# --- the farm -----------------------------------------------------------------------------------------------


def at(name: str, *words: str) -> list[str]:
    """Options of a job there."""
    return ["--port=0", f"--executor={name}", *words]


@pytest.mark.timeout(180)
@BOTH
def test_the_same_script_runs_there_by_one_option(scheduler: Scheduler, fake: Fake, tmp_path: Path) -> None:
    run_script(tmp_path, *at(scheduler.name, "--ntasks=3", "--memory=150mb", "--time=2h", "--n=300", "--pause=0.02"))
    assert accepted(tmp_path) == list(range(300))
    lines = worked(tmp_path)
    assert sorted(int(line.split()[0]) for line in lines) == list(range(300))
    assert {line.split()[1] for line in lines} <= {"1", "2", "3"}
    assert asked(fake, {"pbs": "qsub", "lsf": "bsub"}[scheduler.name]) == 1


@pytest.mark.timeout(180)
@BOTH
def test_a_job_is_over_when_its_processors_have_left_and_does_not_wait_for_the_queue(
    scheduler: Scheduler, fake: Fake, tmp_path: Path
) -> None:
    run_script(tmp_path, *at(scheduler.name, "--ntasks=2", "--n=20", "--pause=0.01"))
    # Whoever was not known to have ended would have been taken out of the queue at the end.
    assert asked(fake, {"pbs": "qdel", "lsf": "bkill"}[scheduler.name]) == 0
    assert "keepers not cancelled" not in (tmp_path / "JOB.log").read_text()


@pytest.mark.faults
@pytest.mark.timeout(180)
@BOTH
def test_a_killed_coordinator_goes_on_and_takes_back_what_still_waited(
    scheduler: Scheduler, fake: Fake, tmp_path: Path
) -> None:
    # The second of two jobs has no room beside the first one, which has work until the second was taken back.
    words = [*script_in(tmp_path), *at(scheduler.name, "--ntasks=2", "--cores=3", "--n=300", "--pause=0.1")]

    def until(so: Callable[[], bool]) -> None:
        over = time.monotonic() + HANG_S
        while not so():
            assert time.monotonic() < over, (log_of(tmp_path), fake.jobs.all())
            time.sleep(0.1)

    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        until(lambda: len(worked(tmp_path)) >= 5)
        process.send_signal(signal.SIGKILL)
    (waits,) = (job for job in fake.jobs.all() if job.waits)
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        until(lambda: waits.deleted)
        (tmp_path / "go").touch()
        assert process.wait(HANG_S) == 0, log_of(tmp_path)
    assert accepted(tmp_path) == list(range(300))
    assert not list((tmp_path / "JOB.site").glob("*/orders.*"))  # there is a token in each
    # The first life's Processor was dismissed, and leaves by itself.
    until(lambda: not any(job.runs for job in fake.jobs.all()))
