"""Rules under a scheduler: answered for the node on which a slot happens to be, and a lock dies with its holder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator import paths
from coordinator.embedded import own_controller
from coordinator.errors import BadOption, CoordinatorError, NoSuchRule
from coordinator.executors.choice import is_here
from coordinator.job import Job
from coordinator.sitelink import Site, SiteLink
from coordinator.standing import folders_of, log_folders
from coordinator.whereabouts import Place


def job(place: Path, **resources: Any) -> Job:
    return Job("JOB", "script.py", place, resources, False)


SITE = {"local": None, "executor": "slurm", "ntasks": 2, "submit_options": None, **dict.fromkeys(
    ("cores", "memory", "time", "gpus", "queue", "partition", "account"))}  # fmt: skip


class Line:
    """The link of a job with one rule, and who is gone."""

    def __init__(self, place: Path) -> None:
        self.link: SiteLink = Site.of(SITE).link(job(place, words=("/local/words", "echo text >%s")))
        self.gone: list[tuple[str, int]] = []
        self.loop = asyncio.new_event_loop()
        self.link.start(self.loop, self._tell, lambda plan: None)

    def _tell(self) -> dict[str, Any]:
        gone, self.gone = self.gone, []
        return {"gone": gone}

    def ask(self, slot: str, node: str, pid: int, gone: bool = False) -> list[dict[str, Any] | CoordinatorError]:
        """What is heard, now or later."""
        heard: list[dict[str, Any] | CoordinatorError] = []
        note = {"host": slot, "node": node, "pid": pid, "name": "words", "wait_s": 1000.0, "gone": gone, "job": "run"}
        self.link.ask("await_resource", note, heard.append)
        return heard

    def built(self, slot: str, node: str, pid: int, lock: int) -> None:
        told = {"host": slot, "node": node, "pid": pid, "name": "words", "lock": lock, "built": True, "size_bytes": 5}
        self.link.ask("settle_rule", told, lambda answer: None)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.link.finish("done")
    made.loop.close()


def states(*heard: list[Any]) -> list[str]:
    return [one[0]["state"] if one else "" for one in heard]


def test_one_of_a_node_builds_the_others_there_wait_and_another_node_is_another_place(line: Line) -> None:
    first, second = line.ask("slurm-1", "n1", 10), line.ask("slurm-2", "n1", 11)
    third = line.ask("slurm-3", "n2", 10)
    assert states(first, second, third) == ["build", "", "build"]
    line.built("slurm-1", "n1", 10, first[0]["lock"])  # type: ignore[index]
    assert states(second) == ["file"]
    # The slot is on another node the next time, where nobody has built.
    assert states(line.ask("slurm-1", "n3", 10)) == ["build"]


def test_the_next_one_who_waits_builds_when_the_builder_is_gone(line: Line) -> None:
    first, second = line.ask("slurm-1", "n1", 10), line.ask("slurm-2", "n1", 11)
    line.gone = [("slurm-2", 99), ("slurm-1", 10)]
    line.link.step()
    assert states(first, second) == ["build", "build"]


def test_a_job_without_rules_keeps_no_files_and_says_what_to_do(tmp_path: Path) -> None:
    link = Site.of(SITE).link(job(tmp_path))
    heard: list[Any] = []
    link.ask("await_resource", {"host": "slurm-1", "node": "n1", "pid": 1, "name": "hg17"}, heard.append)
    link.step()
    link.finish("done")
    assert isinstance(heard[0], NoSuchRule)
    assert "dictionary {'hg17': (path, command)}" in heard[0].message
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadOption, match="'hg17'"):
        Site.of(SITE).executor(job(tmp_path, hg17=None, words=("/local/words", "echo >%s")), None)


def test_what_was_built_by_a_rule_that_was_changed_is_built_anew(line: Line, tmp_path: Path) -> None:
    (first,) = line.ask("slurm-1", "n1", 10)
    line.built("slurm-1", "n1", 10, first["lock"])  # type: ignore[index]
    changed = own_controller(job(tmp_path, words=("/local/words", "echo other >%s")), "slurm", 2)
    note = {"host": "n1", "pid": 12, "name": "words", "gone": False}
    answer = changed.await_resource(note)
    changed.close()
    assert answer is not None
    assert (answer["state"], answer["rebuild"]) == ("build", True)


# --- their logs ------------------------------------------------------------------------------------------


def test_logs_of_a_slot_are_looked_for_beside_the_job_and_those_of_a_host_there(tmp_path: Path) -> None:
    files = paths.JobFiles(tmp_path, "JOB")
    place, logs = Place("JOB", files), Path(files.logs)
    logs.mkdir()
    (logs / "JOB_keeper_slurm-1.log").touch()
    known = [{"number": 0, "host": "slurm-2", "pid": 7, "log": f"{logs}/JOB_0.log"},
             {"number": 1, "host": "node1", "pid": 7, "log": "/tmp/coordinator-0/JOB_1.log"}]  # fmt: skip
    assert folders_of(place, known, "slurm-1") == [logs]  # its keeper could not begin
    assert folders_of(place, known, "slurm-2") == [logs]
    assert folders_of(place, known, "slurm-3") == folders_of(place, known, "node1") == []
    assert is_here("localhost")
    assert folders_of(place, known, "localhost") == log_folders(place)
    assert folders_of(Place("JOB"), known, "slurm-2") == []
