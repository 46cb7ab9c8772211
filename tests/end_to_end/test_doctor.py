"""`coordinator doctor`: what is here, what comes through, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coordinator.core.statuses import State, Status
from coordinator.errors import SubmitRefused
from coordinator.executors.checkup import ABSENT, FAILED, OK, WAITS, check
from coordinator.executors.localjobs import LocalJobs
from tests.end_to_end.batches import end_supervisor
from tests.end_to_end.farm import Farm


def test_a_job_comes_through_this_machine_and_what_is_not_here_is_said(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin" if not Path("/usr/bin/sbatch").exists() else str(tmp_path))
    ended = farm.command("doctor", "--look", "--json")
    told = json.loads(ended.out)
    states = {each["name"]: each["verdict"] for each in told["executors"]}
    assert states["local"] == OK
    assert states["lsf"] == ABSENT
    words = {each["name"]: each["words"] for each in told["executors"]}
    assert words["lsf"] == "there is no bsub, bjobs, bkill on PATH"
    assert ended.status == 0


def test_executors_that_are_named_are_looked_at_and_no_others_hosts_too(farm: Farm) -> None:
    ended = farm.command("doctor", "local", "ssh:nowhere.invalid", "--look", "--json")
    local, host = json.loads(ended.out)["executors"]
    assert (local["name"], local["verdict"]) == ("local", OK)
    assert (host["name"], host["verdict"]) == ("ssh:nowhere.invalid", FAILED)
    assert "nowhere.invalid is not known on this machine" in host["words"]
    assert ended.status == 1
    assert farm.command("doctor", "local", "--look").status == 0
    nobody = farm.command("doctor", "qsub")
    assert nobody.status == 2
    assert "there is no executor 'qsub'; there are local" in nobody.err


def test_the_job_has_run_where_it_says_and_leaves_nothing(tmp_path: Path) -> None:
    found = check("local", tmp_path, 50.0)
    assert (found.verdict, found.words) == (OK, "")
    assert found.host
    assert found.seconds is not None
    assert found.seconds >= 1
    assert list(tmp_path.iterdir()) == []
    end_supervisor()


class Busy(LocalJobs):
    """Takes jobs and begins none."""

    def _call(self) -> None:
        pass

    def poll(self, asked):  # type: ignore[no-untyped-def]
        ((native, (_, (index,))),) = asked.items()
        return {(native, index): Status(State.WAITS, words="Resources")}


class Full(LocalJobs):
    def submit(self, intent):  # type: ignore[no-untyped-def]
        raise SubmitRefused("the queue is closed")


def test_a_job_that_waits_too_long_and_one_that_is_refused_are_said_with_the_reason(tmp_path: Path) -> None:
    waits = check("local", tmp_path, 0.3, lambda _: Busy())
    assert waits.verdict == WAITS
    assert waits.words == "a job of a second has not begun within 0.3 s: Resources"
    refused = check("local", tmp_path, 5.0, lambda _: Full())
    assert (refused.verdict, refused.words) == (FAILED, "the queue is closed")
    assert list(tmp_path.iterdir()) == []


def test_doctor_prints_a_table(farm: Farm) -> None:
    ended = farm.command("doctor", "--look")
    assert ended.out.splitlines()[0].split() == ["executor", "state", "version", "host", "seconds"]
    assert "this machine:" in ended.out
