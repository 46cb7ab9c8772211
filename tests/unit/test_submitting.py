"""Submissions of the jobs of a batch: how many, and what is asked. The scheduler's commands are answered here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from coordinator import batch as psu
from coordinator.batch import home as homes
from coordinator.batch.executors import jobs_named
from coordinator.errors import SubmitUnclear
from coordinator.executors import named
from coordinator.executors.scheduler import Ran, Scheduler
from coordinator.jobs import reconcile as reconciling
from coordinator.jobs import schema
from coordinator.jobs.reconcile import begun_in, reconcile


class Slurm:
    """Answers like Slurm 22.05 with its default MaxArraySize; what it was not made for is an error."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.arrays: dict[int, tuple[str, int]] = {}
        self.deaf = False

    def __call__(self, argv: Sequence[str], limit_s: float = 0) -> Ran:
        self.calls.append(argv[0])
        if argv[:3] == ["scontrol", "show", "config"]:
            return Ran(0, "MaxArraySize            = 1001\nMaxJobCount             = 10000\n", "")
        if argv[0] == "sbatch":
            told = " ".join(argv)
            name = re.search(r"--job-name=(\S+)", told)
            count = re.search(r"--array=1-(\d+)", told)
            assert name is not None
            number = 1 + len(self.arrays)
            self.arrays[number] = (name[1], int(count[1]) if count else 1)
            if self.deaf:
                raise SubmitUnclear("sbatch has not answered for 90 s")
            return Ran(0, f"{number}\n", "")
        if argv[0] == "squeue":
            lines = [
                f"{number}|{index if count > 1 else 'N/A'}|RUNNING|node1|None|{name}"
                for number, (name, count) in self.arrays.items()
                for index in range(1, count + 1)
            ]
            return Ran(0, "\n".join(lines) + "\n", "")
        if argv[0] == "sacct":
            return Ran(1, "", "Slurm accounting storage is disabled")
        raise AssertionError(f"nobody said what {argv} answers")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    monkeypatch.chdir(tmp_path)
    made = Slurm()
    monkeypatch.setattr(named, "Scheduler", partial(Scheduler, run=made))
    psu.config.Executor = "slurm"
    yield made
    del psu.config.Executor


def add(count: int, **fields: object) -> int:
    batch = psu.get_id()
    jobs = [{**psu.get_job_template(), "script": f"echo {index}", **fields} for index in range(count)]
    psu.add_batch_to_queue(batch, jobs, set_index=True)
    return batch


def test_ten_thousand_jobs_are_ten_submissions_and_one_look_at_the_queue(slurm: Slurm) -> None:
    batch = add(10_000)
    assert psu.submit_jobs() == 10_000
    assert slurm.calls.count("sbatch") == 10
    assert [count for _, count in slurm.arrays.values()] == [1000] * 10
    slurm.calls.clear()
    for _ in range(2):
        assert psu.get_queue(Verbose=False) == {batch: {"run": list(range(10_000))}}
    assert slurm.calls == ["squeue"]


def test_the_queue_is_asked_once_in_half_a_minute_whoever_looks(slurm: Slurm) -> None:
    add(3)
    psu.submit_jobs()
    slurm.calls.clear()
    home = homes.home()
    for at in (1000.0, 1010.0, 1029.0, 1031.0, 1060.0, 1061.5):
        reconcile(home.store, home.inbox, jobs_named, clock=lambda at=at: at)  # type: ignore[misc]
    assert slurm.calls == ["squeue"] * 3


def test_an_answer_that_did_not_come_is_looked_for_and_nothing_is_submitted_twice(
    slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = add(3)
    slurm.deaf = True
    assert psu.submit_jobs() == 0
    assert "not submitted yet: sbatch has not answered for 90 s" in capsys.readouterr().out
    assert psu.get_queue(Verbose=False) == {batch: {"submit": [0, 1, 2]}}
    slurm.deaf = False
    psu.submit_jobs()
    assert slurm.calls.count("sbatch") == 1
    assert psu.get_job_info(batch, 1)["ClusterID"] == "1_2"


def test_jobs_with_other_needs_are_a_submission_of_their_own(slurm: Slurm) -> None:
    batch = psu.get_id()
    jobs = [
        {**psu.get_job_template(), "script": "true", "resources": {"mem": memory}, "queue": queue}
        for memory, queue in (("1gb", ""), ("2gb", ""), ("1gb", "short"), ("1gb", ""))
    ]
    psu.add_batch_to_queue(batch, jobs, set_index=True)
    psu.submit_jobs()
    assert sorted(count for _, count in slurm.arrays.values()) == [1, 1, 2]


def test_a_job_that_cannot_be_made_fails_alone_and_says_why(slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    batch = add(3)
    psu.set_job_field(batch, 1, {"script": "echo {nothing}"})
    assert psu.submit_jobs() == 2
    assert f"job 1 of batch {batch} failed: " in capsys.readouterr().out
    assert psu.get_queue(Verbose=False) == {batch: {"run": [0, 2], "failed": [1]}}


def test_thousands_of_jobs_that_cannot_be_made_fail_in_one_change_of_the_store(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = add(1_000, script="echo {nothing}")
    add(1)
    store, changed = homes.home().store, 0
    writing = store.writing

    def counted() -> Any:
        nonlocal changed
        changed += 1
        return writing()

    monkeypatch.setattr(store, "writing", counted)
    assert psu.submit_jobs() == 1
    assert 0 < changed < 10
    assert "... and 990 more failed; get_queue shows them" in capsys.readouterr().out
    found = psu.get_queue(Verbose=False, Filter=f"BatchID == {batch}")
    assert found == {batch: {"failed": list(range(1_000))}}
    with store.reading() as connection:
        told = Counter(connection.scalars(select(schema.event.c.kind).where(schema.event.c.batch_id == batch)))
    assert told == {"added": 1_000, "refused": 1_000}


def test_who_began_a_job_is_read_once_and_kept_whatever_is_looked_at_later(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = add(40)
    psu.submit_jobs()
    (submission,) = (path.parent for path in homes.home().submissions.glob("*/script"))
    for index in range(40):
        native = 99 if index == 1 else 1  # it happened twice, and the other one was faster
        (submission / f"{index + 1}.begun").write_text(f"{native}.{index + 1} node1 1700000000\n")
    read: list[int] = []

    def counted(directory: str, element: int) -> str:
        read.append(element)
        return begun_in(directory, element)

    monkeypatch.setattr(reconciling, "begun_in", counted)
    for _ in range(5):
        assert psu.get_queue(Verbose=False) == {batch: {"run": list(range(40))}}
    assert sorted(read) == list(range(1, 41))
    assert [psu.get_job_info(batch, index)["ClusterID"] for index in (0, 1, 39)] == ["1_1", "99_2", "1_40"]
