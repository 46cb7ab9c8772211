"""Logs of a job on a host: which files these are, and that neither side waits for one that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from coordinator import paths
from coordinator.errors import LaunchFailed
from coordinator.executors import farside
from coordinator.executors.attempt import Attempt
from coordinator.logfiles import JobLogs, logs_of

HANG_S = 30.0


def test_logs_of_a_job_are_told_from_those_of_others(tmp_path: Path) -> None:
    names = [
        "one_0.log", "one_12.log", "one_3.2.log", "one_keeper_node1.log", "one_keeper_node2.log", "one.txt", "one.log",
        "one_1_0.log", "one_\N{SUPERSCRIPT TWO}.log", "two_0.log", "xone_0.log", "one_-1.log", "one_0.log.gz",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    found = [
        (file.number, os.path.basename(file.path)) for file in logs_of("one", [tmp_path, tmp_path / "no"], "node1")
    ]
    assert found == [(-1, "one_keeper_node1.log"), (0, "one_0.log"), (3, "one_3.2.log"), (12, "one_12.log")]
    assert [file.number for file in logs_of("one", [tmp_path])] == [0, 3, 12]
    assert [os.path.basename(file.path) for file in logs_of("one_1", [tmp_path])] == ["one_1_0.log"]


def test_files_that_come_later_belong_to_the_job_and_those_of_another_one_never(tmp_path: Path) -> None:
    for name in ("one_0.log", "one_1.log"):
        (tmp_path / name).write_text("old\n")
    logs = JobLogs("one", [tmp_path], "node1", 1, only=["one_1.log"])
    assert [(os.path.basename(path), text) for path, text in logs.last_lines()] == [("one_1.log", "old\n")]
    for name in ("one_0.log", "one_1.log", "one_2.log"):
        with (tmp_path / name).open("a") as file:
            file.write("new\n")
    found = [(os.path.basename(path), text) for path, text in logs.appended()]
    assert found == [("one_1.log", "new\n"), ("one_2.log", "new\n")]
    assert list(logs.appended()) == []


@contextmanager
def served(wanted: dict[str, Any], silent_s: float) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A reader as it runs on a host, its stdin and its stdout."""
    code = (
        "import json, sys; from coordinator import keeper, logfiles; "
        f"logfiles.SILENT_S, logfiles.BEAT_S, logfiles.FOLLOW_EVERY_S = {silent_s}, 0.05, 0.05; sys.exit(keeper.main())"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"logs": wanted}) + "\n")
        child.stdin.flush()
        yield child, child.stdin, child.stdout


WANTED = {"name": "one", "host": "node1", "lines": 10, "follow": True, "only": None, "number": None}


def test_a_reader_that_hears_nothing_ends_by_itself() -> None:
    (paths.log_directory() / "one_0.log").write_text("a line\n")
    with served(WANTED, silent_s=0.3) as (child, _, stdout):
        said = stdout.read()  # its stdin stays open all the time
        assert child.wait(HANG_S) == 0
    found = [json.loads(line) for line in said.splitlines()]
    assert found[0]["ready"] == child.pid
    assert found[1]["text"] == "a line\n"
    assert found[2:-1] == [{"alive": True}] * len(found[2:-1])
    assert found[-1] == {"end": True}


def test_a_reader_gives_what_is_there_when_its_asker_has_heard_enough() -> None:
    log = paths.log_directory() / "one_0.log"
    log.write_text("é" * 200_000 + "\n")
    with served(WANTED, silent_s=60.0) as (child, stdin, stdout):
        first = [json.loads(stdout.readline()) for _ in range(5)]
        assert "".join(one["text"] for one in first[1:]) == log.read_text()
        with log.open("a") as file:
            file.write("last words")
        stdin.close()
        rest = [json.loads(line) for line in stdout]
        assert child.wait(HANG_S) == 0
    assert [one for one in rest if "alive" not in one] == [{"log": str(log), "text": "last words"}, {"end": True}]


class Channel:
    """Says nothing; ``shutdown_write`` is noted."""

    def __init__(self) -> None:
        self.sent, self.finished = b"", False

    def settimeout(self, limit_s: float) -> None:
        pass

    def recv(self, most: int) -> bytes:
        raise TimeoutError

    def sendall(self, words: bytes) -> None:
        self.sent += words

    def shutdown_write(self) -> None:
        self.finished = True


def test_a_host_that_falls_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farside, "SILENT_S", 0.2)
    monkeypatch.setattr(farside, "BEAT_S", 0.05)
    attempt, channel = Attempt("node1"), Channel()
    target: Any = SimpleNamespace(place="node1")
    with pytest.raises(LaunchFailed, match=r"nothing has been heard of node1 for 0.2 s: it hangs, or the way to it is"):
        farside._relay(attempt, target, channel, farside._Heard(attempt, channel), lambda said: None)
    assert set(channel.sent) == set(b"\n")
    assert not channel.finished
