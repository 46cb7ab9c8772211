"""Jobs of batches that are cancelled, set back and multiplied while something is under way at them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator import batch as psu
from coordinator.batch import home as homes
from coordinator.batch.joblogs import paths_of
from coordinator.errors import BadInput, StateError
from coordinator.executors.jobscript import NOBODY
from coordinator.jobs import cancelling, schema
from coordinator.jobs.records import attempts_of, job_of, submissions_where
from tests.end_to_end.batches import WAIT, Batches, batches, states

__all__ = ["batches"]


def test_a_cancel_that_was_killed_between_its_steps_is_finished_by_whoever_looks(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batches.add(*[WAIT] * 3, resources={"cores": 2})
    psu.submit_jobs()
    batches.until(lambda: states(batch).count("run") == 1)
    waiting = states(batch).index("submit")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as torn:
        torn.setattr(cancelling, "_over", killed)
        with pytest.raises(KeyboardInterrupt):
            psu.qdel_job(batch, waiting)
    assert states(batch)[waiting] == "cancelled"
    assert psu.qdel_job(batch, waiting) == 0  # it is over by then
    batches.go()
    batches.settle(batch)
    with homes.home().store.reading() as connection:
        (attempt,) = attempts_of(connection, batch, waiting)
        (submission,) = submissions_where(connection, schema.submission.c.mark == attempt.mark)
    assert (Path(submission.directory) / f"{attempt.element}.begun").read_text().split()[0] == NOBODY
    assert states(batch).count("complete") == 2


def test_what_a_job_reports_and_nobody_can_keep_is_refused_and_stops_nobody(batches: Batches) -> None:
    job = batches.program(
        """
        info = psu.get_job_info(SetID=True)
        info["version"] = {"a": 1}
        try:
            psu.update_job(info)
        except Exception as error:
            print(type(error).__name__, error)
        psu.set_complete()
        """
    )
    batch = batches.run(job, "true")
    assert states(batch) == ["complete", "complete"]
    (log,) = psu.get_job_info(batch, 0)["stdout"]
    assert Path(log).read_text().startswith("BadInput the version of a JobInfo is the number")
    assert list((batches.place / "batch" / "inbox").glob("*.json")) == []


def test_two_stores_in_one_directory_leave_each_others_reports_and_files_alone(batches: Batches) -> None:
    job = batches.program("""
        import os
        psu.get_job_info(SetID=True)
        while not os.path.exists("go"): pass
        psu.set_complete()
    """)
    batch = batches.add(*[job] * 2)
    psu.submit_jobs()
    batches.until(lambda: states(batch) == ["run", "run"])
    look = (
        "from coordinator import batch as psu; psu.config.QFile = 'other.db'\npsu.get_queue(); psu.clean_temp_folders()"
    )
    batches.go()
    for _ in range(3):
        subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, timeout=50)
    batches.settle(batch)
    assert states(batch) == ["complete", "complete"]
    assert (batches.place / "batch" / str(batch) / "logs").is_dir()
    assert psu.clean_temp_folders() == 0
    psu.remove_batch(batch)
    assert psu.clean_temp_folders() == 1


def test_a_job_whose_last_attempt_does_not_end_yet_is_not_begun_beside_it(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batches.add(f"trap '' TERM; echo up >>up; {WAIT}")
    psu.submit_jobs()
    batches.until(lambda: batches.lines("up") == ["up"])
    psu.set_job_field(batch, 0)
    assert psu.submit_jobs() == 0
    assert psu.submit_one_job(batch, 0) == 0
    assert "its last attempt was cancelled and has not ended yet" in capsys.readouterr().out
    batches.go()
    batches.until(lambda: psu.submit_jobs() == 1)
    batches.settle(batch)
    assert states(batch) == ["complete"]
    assert batches.lines("up") == ["up", "up"]


COPIES = """
import os, sys
info = psu.get_job_info(SetID=True)
if info["state"] == "run":
    psu.spawn_submit(info, 2)
    info["SpawnID"] = 0
print("copy", info["SpawnID"])
open("pids", "a").write(f"{os.getpid()}\\n")
open("copies", "a").write(f"{info['SpawnID']}\\n")
while not os.path.exists("go"): pass
if psu.spawn_complete()["state"] == "complete":
    sys.exit("the last one fails")
"""


def test_a_job_whose_last_copy_failed_to_finish_it_is_no_success(batches: Batches) -> None:
    batch = batches.add(batches.program(COPIES), resources={"cores": 1})
    psu.submit_jobs()
    batches.until(lambda: states(batch) == ["spawn"])
    batches.go()
    psu.submit_jobs()
    batches.until(lambda: states(batch) == ["failed"])
    assert "its last copy, which was to finish it: exit status 1" in psu_words(batch)


def copied(batches: Batches) -> int:
    """A batch whose job has multiplied; two of them run."""
    batch = batches.add(batches.program(COPIES), resources={"cores": 1})
    psu.submit_jobs()
    batches.until(lambda: states(batch) == ["spawn"])
    psu.submit_jobs()
    batches.until(lambda: len(batches.lines("copies")) == 2)
    return batch


def test_a_job_whose_copies_are_deleted_is_cancelled(batches: Batches) -> None:
    batch = copied(batches)
    assert psu.qdel_batch(batch) == 3
    batches.until(lambda: states(batch) == ["cancelled"])
    assert psu.get_queue(Verbose=False, ResetMissing=True) == {batch: {"cancelled": [0]}}
    assert psu.submit_jobs() == 0


def test_resetting_what_is_missing_ends_what_still_runs_of_it(batches: Batches) -> None:
    batch = copied(batches)
    os.kill(int(batches.lines("pids")[0]), signal.SIGKILL)
    batches.until(lambda: any(c["spawn_state"] == "failed" for c in psu.spawn_get_info(batch, 0) if states()))
    assert psu.get_queue(Verbose=False, ResetMissing=True) == {batch: {"init": [0]}}
    batches.until(lambda: psu.submit_jobs() == 1)  # not before all of them have ended
    psu.qdel_batch(batch)
    batches.settle(batch)


def test_a_variable_of_a_job_is_for_its_program_and_not_for_the_script_around_it(batches: Batches) -> None:
    batch = batches.run("/bin/echo $PATH", vars={"PATH": "/nowhere"})
    assert states(batch) == ["complete"]
    (log,) = psu.get_job_info(batch, 0)["stdout"]
    assert Path(log).read_text() == "/nowhere\n"


def test_nothing_that_a_job_says_of_itself_leads_out_of_the_directory_of_logs(batches: Batches) -> None:
    psu.config.LogFormat = "{BatchID}/{batch_type}/{name}_{JobIndex}"
    try:
        batch = batches.run("echo hello", batch_type="../../../../evil", name="../../evil")
    finally:
        del psu.config.LogFormat
    (log,) = psu.get_job_info(batch, 0)["stdout"]
    assert Path(log).resolve().is_relative_to(batches.place / "batch" / str(batch))
    with pytest.raises(BadInput, match="no BatchID yet, which is a number"):
        psu.generate_data({"BatchID": "../../evil2", "JobIndex": 0}, 1)


def test_what_is_added_from_elsewhere_runs_there(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batches.add("pwd")
    (batches.place / "elsewhere").mkdir()
    psu.config.QFile, psu.config.JobDir = str(batches.place / "coordinator.batch.db"), str(batches.place / "batch")
    try:
        monkeypatch.chdir(batches.place / "elsewhere")
        job = {**psu.get_job_template(), "BatchID": batch, "JobIndex": 1, "script": "pwd"}
        psu.add_job_to_queue(job, OnFailure="continue")
        monkeypatch.chdir(batches.place)
        psu.submit_jobs()
        batches.settle(batch)
        said = [Path(psu.get_job_info(batch, index)["stdout"][0]).read_text().strip() for index in (0, 1)]
        assert said == [str(batches.place), str(batches.place / "elsewhere")]
    finally:
        del psu.config.QFile, psu.config.JobDir


def test_periodic_submitter_in_a_job_of_this_machine_returns(batches: Batches) -> None:
    batch = batches.run(
        batches.program("psu.get_job_info(SetID=True)\npsu.periodic_submitter(0.1)\npsu.set_complete()")
    )
    assert states(batch) == ["complete"]


def test_a_reader_of_logs_who_pauses_keeps_nobody_waiting(batches: Batches) -> None:
    batch = batches.run("echo hello")
    paths = paths_of(batch, 0, ["stdout", "stderr"], -1)
    next(paths)
    psu.set_job_field(batch, 0, {"sample": "liver"}, Unless={})  # not StoreBusy
    assert len(list(paths)) == 1


def psu_words(batch: int) -> str:
    with homes.home().store.reading() as connection:
        return job_of(connection, batch, 0).words


def test_only_a_job_multiplies_itself(batches: Batches) -> None:
    with pytest.raises(StateError, match="this is no job of a batch"):
        psu.spawn_submit(None, 2)


def test_a_program_that_ends_with_0_because_it_was_asked_to_end_is_cancelled(batches: Batches) -> None:
    batch = batches.add(f"trap 'exit 0' TERM; echo up >>up; {WAIT}", "true", resources={"cores": 1})
    psu.submit_jobs()
    batches.until(lambda: batches.lines("up") == ["up"])
    batches.until(lambda: all((state == "complete") for state in states(batch)[1:]))
    psu.qdel_batch(batch)  # the second one has ended by itself
    batches.reach(batch, "cancelled", "complete")


def test_what_has_ended_by_itself_before_it_was_deleted_is_what_it_says(batches: Batches) -> None:
    batch = batches.add("echo done >>done")
    psu.submit_jobs()
    batches.until(lambda: len(list((batches.place / "batch" / "submissions").glob("*/1.exit"))) == 1)
    assert psu.qdel_batch(batch) == 0
    assert states(batch) == ["complete"]
