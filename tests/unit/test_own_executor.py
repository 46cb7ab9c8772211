"""A user's own executor whose calls raise: its jobs are neither lost nor said to have failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordinator import batch as psu
from coordinator.batch.home import home
from coordinator.errors import NotCancelled


class Torn(psu.JobExecutor):
    """Takes jobs and runs none; the calls in ``torn`` raise."""

    def __init__(self) -> None:
        self.torn: set[str] = set()
        self.answer: Any = {"own1": ["job", "R"]}
        self.taken = 0

    def submit(self, JobInfo: dict[str, Any], Spawn: bool = False) -> str:
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
            raise ZeroDivisionError(f"{call} is torn")


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


def test_a_delete_that_raises_is_said(own: Torn) -> None:
    batch = add()
    psu.submit_jobs(own)
    (submission,) = (path.parent for path in home().submissions.glob("*/script"))
    (submission / "1.begun").touch()  # else nobody has to be asked
    own.torn.add("delete")
    with pytest.raises(NotCancelled, match=r"Torn\.delete failed \(ZeroDivisionError: delete is torn\)"):
        psu.qdel_job(batch, 0, Executor=own)
