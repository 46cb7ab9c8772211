"""What a real Slurm's accounting (slurmdbd on MariaDB) tells of jobs that its queue has forgotten."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coordinator.core.statuses import Cause, State, Status
from coordinator.errors import SchedulerAway
from coordinator.executors.scheduler import Scheduler
from coordinator.executors.slurm import Slurm as Dialect
from tests.clusters import slurm
from tests.clusters.conftest import found
from tests.clusters.schedulers import HANG_S, LOOK_S, Submission
from tests.clusters.slurm import Slurm

# The first one waits for Slurm's half minutes.
pytestmark = pytest.mark.timeout(240)

SCHEDULER = Scheduler(Dialect(), "root")
MIB = 1 << 20
HUNGRY = "import time; b = bytearray(150 << 20); b[::4096] = b'x' * len(b[::4096]); time.sleep(4)"


@dataclass
class Forgotten:
    """Jobs that have ended, and their cluster, whose queue knows none of them."""

    cluster: Slurm
    jobs: dict[str, Submission] = field(default_factory=dict)

    def statuses(self, name: str) -> list[Status]:
        return self.jobs[name].statuses()


def accounted(places: pytest.TempPathFactory) -> Slurm:
    """Not up yet."""
    reason = slurm.missing(accounting=True)
    if reason is not None:
        pytest.skip(f"a Slurm of the tests with accounting {reason}")
    return Slurm(places.mktemp("accounting"), nodes=1, accounting=True)


@pytest.fixture(scope="module")
def all_past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forgotten]:
    """Its queue knows one: "again" has the id that "late" had."""
    place = tmp_path_factory.mktemp("past")
    with pytest.MonkeyPatch.context() as monkeypatch, accounted(tmp_path_factory) as cluster:
        made = Forgotten(found(cluster, monkeypatch))
        held = {"slurm": ["--hold"]}
        made.jobs = {
            "late": Submission(SCHEDULER, place, ["sleep", "100"]),
            "ends": Submission(SCHEDULER, place, *[["sh", "-c", f"exit {code}"] for code in (0, 3, 77)]),
            "hungry": Submission(SCHEDULER, place, [sys.executable, "-c", HUNGRY], memory="400mb"),
            "cancelled": Submission(SCHEDULER, place, ["sleep", "100"]),
            "held": Submission(SCHEDULER, place, ["true"], ["true"], options=held),
        }
        for job in made.jobs.values():
            job.submit()
        made.jobs["late"].wait(State.RUNS)
        # Limits are whole minutes, and looked at twice in one.
        end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))
        assert cluster.run("scontrol", "update", f"JobId={made.jobs['late'].native}", f"EndTime={end}").returncode == 0
        made.jobs["cancelled"].wait(State.RUNS)
        made.jobs["cancelled"].cancel()
        made.jobs["held"].cancel()
        for job in made.jobs.values():
            job.wait()
        forget(cluster, *made.jobs.values())
        made.jobs["again"] = again = Submission(SCHEDULER, place, ["sh", "-c", "exit 5"]).submit()
        assert again.native == made.jobs["late"].native
        again.wait()
        yield made


@pytest.fixture
def past(all_past: Forgotten, monkeypatch: pytest.MonkeyPatch) -> Forgotten:
    found(all_past.cluster, monkeypatch)
    return all_past


def forget(cluster: Slurm, *jobs: Submission) -> None:
    """Make the queue begin anew, its ids too, when slurmdbd has heard who these were and how they have ended."""
    told = ("sacct", "--noheader", "--allocations", "--parsable2", "--duplicates", "--format=JobName,End")
    over = time.monotonic() + HANG_S
    while True:
        text = cluster.run(*told, f"--jobs={','.join(job.native for job in jobs)}").stdout
        if all(job.intent.mark in text for job in jobs) and "Unknown" not in text:
            break
        assert time.monotonic() < over, text
        time.sleep(LOOK_S)
    cluster.daemons.end("slurmctld")
    shutil.rmtree(cluster.place / "state")
    (cluster.place / "state").mkdir()
    cluster.start_controller()
    cluster.wait_for_controller()
    assert not cluster.jobs()


def test_ends_and_exit_codes_are_told(past: Forgotten) -> None:
    statuses = past.statuses("ends")
    assert [(s.state, s.code, s.cause) for s in statuses] == [(State.ENDED, code, Cause.NONE) for code in (0, 3, 77)]
    assert {status.host for status in statuses} == {"n1"}


def test_a_time_limit_is_told(past: Forgotten) -> None:
    (status,) = past.statuses("late")
    assert (status.state, status.cause) == (State.ENDED, Cause.TIME), status


def test_the_memory_that_was_used_is_told(past: Forgotten) -> None:
    (status,) = past.statuses("hungry")
    assert (status.state, status.code) == (State.ENDED, 0)
    assert status.used.memory is not None
    assert 150 * MIB <= status.used.memory < 400 * MIB
    assert status.used.wall_s is not None
    assert status.used.wall_s >= 3


def test_a_cancel_is_told_of_who_ran_and_of_who_had_not_begun(past: Forgotten) -> None:
    assert [status.cause for status in past.statuses("cancelled")] == [Cause.CANCELLED]
    assert [(s.state, s.cause) for s in past.statuses("held")] == [(State.ENDED, Cause.CANCELLED)] * 2


def test_a_job_is_found_by_its_mark_that_the_queue_has_forgotten(past: Forgotten, tmp_path: Path) -> None:
    for name in ("ends", "cancelled", "late"):
        assert SCHEDULER.find(past.jobs[name].intent) == past.jobs[name].native
    assert SCHEDULER.find(Submission(SCHEDULER, tmp_path, ["true"]).intent) is None


def test_an_id_that_was_given_again_is_told_of_each_by_its_mark(past: Forgotten, tmp_path: Path) -> None:
    assert past.statuses("again")[0].state is State.ENDED  # by the queue
    nobodys = Submission(SCHEDULER, tmp_path, ["true"])
    nobodys.native = past.jobs["late"].native
    assert nobodys.statuses()[0].state is State.UNKNOWN
    # sacct tells of both.
    assert past.statuses("late")[0].cause is Cause.TIME


def test_while_slurmdbd_is_away_what_the_queue_has_forgotten_is_unknown(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with accounted(tmp_path_factory) as cluster:
        found(cluster, monkeypatch)
        old = Submission(SCHEDULER, tmp_path, ["true"]).submit()
        old.wait()
        forget(cluster, old)
        assert old.statuses()[0].code == 0
        new = Submission(SCHEDULER, tmp_path, ["sh", "-c", "exit 6"], ["true"]).submit()
        new.wait()
        cluster.daemons.end("slurmdbd")
        (status,) = old.statuses()
        assert status.state is State.UNKNOWN
        with pytest.raises(SchedulerAway, match="Problem talking to the database"):
            SCHEDULER.find(old.intent)
        # What the queue knows is told all the same.
        assert [status.state for status in new.statuses()] == [State.ENDED, State.ENDED]
