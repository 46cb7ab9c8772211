"""Reports that could not be handed in, as files on their host."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

from coordinator import kept
from coordinator.core.exchange import LeaseReport, Request
from coordinator.kept import LIFE_S, KeptReport
from coordinator.testing import FakeExecutor
from tests.unit.jobs import Job
from tests.unit.test_crew import Yard


def test_a_report_lies_in_a_private_file_until_it_is_handed_in(tmp_path: Path) -> None:
    report = KeptReport(str(tmp_path), "job", "r1", 7)
    report.keep("first")
    report.keep("the same call, sent again")
    [(path, text)] = kept.found(str(tmp_path), "job", "r1")
    assert (path, text) == (kept.path_of(str(tmp_path), "job", "r1", 7), "first")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    report.forget()
    assert list(kept.found(str(tmp_path), "job", "r1")) == []
    report.keep("the next one")
    assert [text for _, text in kept.found(str(tmp_path), "job", "r1")] == ["the next one"]


def test_only_reports_of_the_same_run_are_found(tmp_path: Path) -> None:
    for name, run in (("job", "r1"), ("job", "r2"), ("jobs", "r1")):
        KeptReport(str(tmp_path), name, run, 1).keep(f"{name} {run}")
    assert [text for _, text in kept.found(str(tmp_path), "job", "r1")] == ["job r1"]


def test_what_nobody_asked_for_within_a_day_is_thrown_away(tmp_path: Path) -> None:
    for number in (1, 2):
        KeptReport(str(tmp_path), "job", "old", number).keep("late")
    old = kept.path_of(str(tmp_path), "job", "old", 1)
    os.utime(old, (time.time() - LIFE_S - 60,) * 2)
    assert list(kept.found(str(tmp_path), "other", "r9")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["job_old_2.kept"]


def test_a_disk_that_is_full_keeps_nothing_and_hurts_nobody(tmp_path: Path) -> None:
    report = KeptReport(str(tmp_path / "not there"), "job", "r1", 1)
    report.keep("x")
    report.forget()


# --- at the Coordinator -------------------------------------------------------------------------------------


def report_of(lease: int, *done: int, run: str = "r1", number: int = 0) -> str:
    return Request(run, number, "i", 5, [lease], [LeaseReport(lease, list(done))]).to_text()


def beaten(yard: Yard, text: str) -> dict[str, Any]:
    [answer] = yard.beat("old", "node1", kept=text)
    return answer


def test_the_next_keeper_hands_in_what_a_processor_of_an_earlier_life_did(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read("a", "b")
    lease = job.block(0, size=2).lease
    job.again()
    yard = Yard(job, FakeExecutor())
    assert beaten(yard, report_of(lease, 0, 1))["kept"] is True
    assert (job.run.ledger.done, job.run.ledger.late) == (1, 0)


def test_a_task_that_others_were_given_meanwhile_is_not_taken_from_a_file(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read("a")
    lease = job.block(0).lease
    job.clock.passes(1000.0)
    job.run.lapse(job.clock())
    job.block(1)
    yard = Yard(job, FakeExecutor())
    beaten(yard, report_of(lease, 0, 1))
    assert (job.run.ledger.done, job.run.ledger.late) == (0, 1)


def test_a_file_that_makes_no_sense_or_is_of_another_run_is_passed_on_once_and_refused(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.read("a")
    lease = job.block(0).lease
    yard = Yard(job, FakeExecutor())
    for text in ("", "{}", report_of(lease, 0, 1, run="r0"), report_of(lease, 0, 1, number=9)):
        assert beaten(yard, text)["kept"] is True
    assert job.run.ledger.done == 0
