"""The script that a person runs: lines come, go, and run once however often the script is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from coordinator.core.statuses import Intent, State
from coordinator.executors.filejobs import FileJobs
from coordinator.executors.jobscript import Element, exit_of

A, B = "aaaaaaaaaa", "bbbbbbbbbb"


def submitted(jobs: FileJobs, place: Path, mark: str, *argvs: list[str]) -> str:
    here = place / f"it's {mark}"
    here.mkdir()
    intent = Intent(mark, "test", str(here), count=len(argvs))
    at = [f"{here}/{number}" for number in range(1, len(argvs) + 1)]
    jobs.prepare(
        intent, [Element(argv, str(place), a, a + ".out", a + ".err") for a, argv in zip(at, argvs, strict=True)]
    )
    assert jobs.submit(intent) == mark
    return mark


def states(jobs: FileJobs, mark: str, count: int) -> list[State]:
    found = jobs.poll({mark: (mark, range(1, count + 1))})
    return [found[mark, index].state for index in range(1, count + 1)]


def test_jobs_are_lines_that_a_person_runs_and_each_runs_once(tmp_path: Path) -> None:
    jobs = FileJobs(tmp_path / "jobs.sh")
    submitted(jobs, tmp_path, A, ["sh", "-c", "echo a >>ran; exit 3"], ["sh", "-c", "echo b >>ran"])
    submitted(jobs, tmp_path, B, ["sh", "-c", "echo c >>ran"])
    assert states(jobs, A, 2) == [State.WAITS, State.WAITS]
    for _ in range(2):
        subprocess.run([str(tmp_path / "jobs.sh")], cwd="/", timeout=50)
    assert (tmp_path / "ran").read_text() == "a\nb\nc\n"
    assert exit_of((tmp_path / f"it's {A}" / "1.exit").read_text()).code == 3


def test_a_cancelled_job_is_a_line_less_and_one_submitted_again_is_no_line_more(tmp_path: Path) -> None:
    jobs = FileJobs(tmp_path / "jobs.sh")
    submitted(jobs, tmp_path, A, ["true"], ["true"], ["true"])
    submitted(jobs, tmp_path, B, ["true"])
    jobs.cancel([(A, 2, 3), (B, None, 1)])
    assert states(jobs, A, 3) == [State.WAITS, State.UNKNOWN, State.WAITS]
    intent = Intent(A, "test", str(tmp_path / f"it's {A}"), count=3)
    assert jobs.find(intent) == A
    assert jobs.find(Intent(B, "test", "/")) is None
    jobs.submit(intent)
    assert states(jobs, A, 3) == [State.WAITS] * 3
    assert len(jobs.details(A, 2).splitlines()) == 1
    assert os.access(tmp_path / "jobs.sh", os.X_OK)
