"""NAME.run: one process serves a name, and a successor finds what a killed one left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from coordinator import procs, runfile
from coordinator.errors import NameTaken
from coordinator.paths import JobFiles
from coordinator.runfile import RunFile

INFO = {"run": "r1", "pid": 42, "host": "h", "url": "http://h:8888", "token": "secret", "port": 8888}


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path, "job")


def test_the_file_is_private_and_says_what_was_published(files: JobFiles) -> None:
    claim = RunFile(files)
    assert claim.left is None
    claim.publish(INFO)
    assert runfile.read(files.run) == INFO
    assert stat.S_IMODE(os.stat(files.run).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(files.journal).st_mode) == 0o700
    claim.release()
    assert not os.path.exists(files.run)


def test_a_second_coordinator_is_told_who_has_the_name(files: JobFiles) -> None:
    claim = RunFile(files)
    with pytest.raises(NameTaken, match=r"job is being served already\. "):
        RunFile(files)
    claim.publish(INFO)
    with pytest.raises(NameTaken, match="as process 42 on h, http://h:8888") as refused:
        RunFile(files)
    assert "secret" not in refused.value.message
    claim.release()
    RunFile(files).release()


def test_a_killed_coordinator_leaves_the_file_and_not_the_lock(files: JobFiles) -> None:
    def served() -> int:
        RunFile(files).publish(INFO)
        os.kill(os.getpid(), 9)
        return 0

    procs.reap(procs.fork(served))
    claim = RunFile(files)
    assert claim.left == INFO
    claim.release()
    assert os.path.exists(files.run), "it was not published by this one, so it is not removed by it"


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_coordinator_whose_file_is_not_its_own_any_more_stops_writing(files: JobFiles, how: str) -> None:
    claim = RunFile(files)
    claim.publish(INFO)
    claim.check()
    claim.publish({**INFO, "port": 9})
    claim.check()
    if how == "replaced":
        other = Path(files.run).with_name("other")
        other.write_bytes(Path(files.run).read_bytes())
        os.rename(other, files.run)
    else:
        os.unlink(files.run)
    with pytest.raises(NameTaken, match="removed or replaced"):
        claim.check()
    claim.release()
    assert os.path.exists(files.run) == (how == "replaced"), "another's file is not removed"


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\xff", '{"pid": 1}'])
def test_a_file_that_is_not_ours_counts_as_none(files: JobFiles, text: str) -> None:
    Path(files.run).write_bytes(text.encode("latin-1"))
    assert runfile.read(files.run) is None
    claim = RunFile(files)
    assert claim.left is None
    claim.release()


def test_two_names_of_one_directory_do_not_meet(tmp_path: Path) -> None:
    one, other = RunFile(JobFiles(tmp_path, "a")), RunFile(JobFiles(tmp_path, "b"))
    one.release()
    other.release()
