"""Jobs that submit jobs: on this machine none does, those of a host over SSH and of a scheduler do, by their executor.

No job is started, and nobody logs in: what a host is asked is answered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from sqlalchemy import insert

from coordinator import batch as psu
from coordinator.batch.home import home, variables
from coordinator.core.statuses import Intent, State, Status
from coordinator.errors import SchedulerAway
from coordinator.executors.jobexecutor import Place
from coordinator.executors.sshjobs import SshJobs
from coordinator.jobs import schema
from coordinator.jobs.states import Stage
from tests.contract.jobs import ran


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """One whose first job is this process, and whose second one may go when that is complete."""
    monkeypatch.chdir(tmp_path)
    id = psu.get_id()
    template = {**psu.get_job_template(), "script": "true"}
    psu.add_batch_to_queue(id, [{**template, "priority": 2}, template], set_index=True)
    psu.set_job_field(id, 0, {"state": "run"})
    mark = {"mark": "m", "executor": "ssh:node1", "directory": str(tmp_path), "name": "", "needs": "{}", "count": 1,
            "native": "1", "stage": "sent", "at": 0.0}  # fmt: skip
    attempt = {"batch_id": id, "job_index": 0, "number": 1, "spawn": 0, "mark": "m", "element": 1,
               "stage": Stage.BEGUN.value, "at": 0.0}  # fmt: skip
    with home().store.writing() as connection:
        connection.execute(insert(schema.submission), mark)
        connection.execute(insert(schema.attempt), attempt)
        connection.execute(schema.job.update().where(schema.job.c.job_index == 0).values(attempt=1))
    return id


def inside(batch: int, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(home(), executor, (batch, 0, 1, 0)).items():
        monkeypatch.setenv(name, value)


class Asked:
    """What hosts are asked to submit, and what they answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: str | SchedulerAway = "7") -> None:
        self.submitted: list[tuple[str, int]] = []
        self._answer = answer

        def submit(jobs: SshJobs, intent: Intent) -> str:
            if isinstance(self._answer, SchedulerAway):
                raise self._answer
            self.submitted.append((jobs.name, intent.count))
            return self._answer

        monkeypatch.setattr(SshJobs, "submit", submit)
        monkeypatch.setattr(SshJobs, "poll", running)


def running(jobs: SshJobs, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
    return {(native, index): Status(State.RUNS) for native, (_, indices) in asked.items() for index in indices}


def state(batch: int, index: int) -> str:
    return str(psu.get_job_info(batch, index)["state"])


def test_a_job_of_a_host_submits_what_may_go_then_to_the_same_host(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    inside(batch, "ssh:node1", monkeypatch)
    psu.set_complete(Submit=True)
    assert asked.submitted == [("ssh:node1", 1)]
    assert (state(batch, 0), state(batch, 1)) == ("complete", "submit")


def test_a_job_whose_host_cannot_be_logged_in_to_from_there_is_complete_and_says_why_nothing_was_submitted(
    batch: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Asked(monkeypatch, SchedulerAway("node1 has no key for node1"))
    inside(batch, "ssh:node1", monkeypatch)
    psu.set_complete(Submit=True)
    assert "not submitted yet: node1 has no key for node1; the next pass tries again" in capsys.readouterr().out
    assert state(batch, 0) == "complete"


def test_a_job_of_this_machine_submits_nothing_whatever_executor_it_names(
    batch: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked(monkeypatch)
    inside(batch, "local", monkeypatch)
    psu.set_complete(Submit=True, Executor="ssh:node1")
    assert psu.submit_one_job(batch, 1) == 0
    said = capsys.readouterr().out
    assert said.count("a job of this machine submits nothing") == 2
    status, _, err = ran(capsys, "batch", "submit")
    assert (status, asked.submitted) == (1, [])
    assert "A job of this machine submits nothing" in err
    assert state(batch, 1) == "init"
