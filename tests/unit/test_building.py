"""A resource is built whole or not at all, by one builder."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator.building import ResourceDirectory, open_resource, run_rule, size_bytes
from coordinator.errors import BuildFailed


class FakeController:
    """Answers in the order that the test wrote down; what was not asked for fails the test."""

    def __init__(self, *answers: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, method: str, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((method, dict(question)))
        answer = self._answers.pop(0)
        return answer(question) if callable(answer) else answer

    def __enter__(self) -> FakeController:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert kind is not None or not self._answers, f"nobody asked for {self._answers}"

    def settled(self) -> dict[str, Any]:
        [told] = [question for method, question in self.asked if method == "settle_rule"]
        return told


def file(path: Path) -> dict[str, Any]:
    return {"state": "file", "path": str(path)}


def build(path: Path, command: str, **more: Any) -> dict[str, Any]:
    return {"state": "build", "path": str(path), "command": command, "lock": 7, **more}


def files(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.endswith(".lock"))


# --- opening ------------------------------------------------------------------------------------------


def test_what_is_built_is_opened_in_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "genome"
    path.write_bytes(b"ACGT")
    with FakeController(file(path)) as ask, open_resource(ask, "node1", 42, "genome", "rb") as opened:
        assert opened.read() == b"ACGT"
    [(method, question)] = ask.asked
    assert (method, question["host"], question["pid"], question["name"]) == ("await_resource", "node1", 42, "genome")
    assert question["wait_s"] > 0


def test_a_resource_may_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    with FakeController(file(tmp_path / "db")) as ask, open_resource(ask, "h", 1, "db") as opened:
        assert isinstance(opened, ResourceDirectory)
        assert os.fspath(opened) == opened.name == str(tmp_path / "db")
    assert opened.closed


def test_it_asks_again_as_long_as_others_build(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("built")
    with FakeController({"state": "wait"}, {}, file(path)) as ask, open_resource(ask, "h", 1, "x") as opened:
        assert opened.read() == "built"


def test_a_file_that_is_gone_is_reported_so_that_it_is_built_anew(tmp_path: Path) -> None:
    path = tmp_path / "x"
    answers = [file(path), build(path, "echo again > %s"), {}, file(path)]
    with FakeController(*answers) as ask, open_resource(ask, "h", 1, "x") as opened:
        assert opened.read() == "again\n"
    gone = [question["gone"] for method, question in ask.asked if method == "await_resource"]
    assert gone == [False, True, False]


def test_a_rule_that_failed_elsewhere_is_an_error_with_its_words(tmp_path: Path) -> None:
    refused = FakeController({"state": "failed", "reason": "gunzip: not in gzip format"})
    with pytest.raises(BuildFailed, match=r"'genome' could not be built on node1: gunzip: not in gzip format"):
        open_resource(refused, "node1", 1, "genome")


# --- building -----------------------------------------------------------------------------------------


def test_the_builder_builds_says_so_and_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    answers = [build(path, "printf ACGT > %s"), {}, file(path)]
    with FakeController(*answers) as ask, open_resource(ask, "node1", 42, "x") as opened:
        assert opened.read() == "ACGT"
    told = ask.settled()
    assert (told["built"], told["error"], told["size_bytes"], told["lock"]) == (True, "", 4, 7)
    assert files(path.parent) == ["x"]


def test_a_failed_rule_is_told_with_its_stderr_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    failed = {"state": "failed", "reason": "as told"}
    ask = FakeController(build(path, "echo half > %s; echo no such thing >&2; exit 3"), {}, failed)
    with pytest.raises(BuildFailed, match="as told"):
        open_resource(ask, "h", 1, "x")
    told = ask.settled()
    assert not told["built"]
    assert "exit status 3: no such thing" in told["error"]
    assert files(tmp_path) == []


def test_a_directory_that_cannot_be_made_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ask = FakeController(build(tmp_path / "file" / "x", "true"), {}, {"state": "failed", "reason": "as told"})
    with pytest.raises(BuildFailed):
        open_resource(ask, "h", 1, "x")
    assert not ask.settled()["built"]
    assert ask.settled()["error"]


def test_where_a_partition_left_two_builders_the_second_finds_it_built(tmp_path: Path) -> None:
    path = tmp_path / "x"
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    asked = threading.Event()

    def order(_: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        return build(path, "echo second > %s")

    ask = FakeController(order, {}, file(path))
    read: list[str] = []

    def second() -> None:
        with open_resource(ask, "h", 2, "x") as opened:
            read.append(opened.read())

    thread = threading.Thread(target=second)
    thread.start()
    assert asked.wait(30)
    path.write_text("first")
    os.close(lock)
    thread.join(30)
    assert read == ["first"]
    assert ask.settled()["built"]


def test_who_missed_it_before_another_built_it_does_not_build_it_again(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def built_meanwhile(_: dict[str, Any]) -> dict[str, Any]:
        path.write_text("first")
        return build(path, "echo second > %s")

    with FakeController(file(path), built_meanwhile, {}, file(path)) as ask, open_resource(ask, "h", 2, "x") as opened:
        assert opened.read() == "first"
    assert (ask.settled()["built"], ask.settled()["size_bytes"]) == (True, 5)


def test_the_next_builder_takes_away_the_half_files_of_those_that_were_killed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    (tmp_path / "x.building.3").write_text("hal")
    (tmp_path / "x.building.4").mkdir()
    (tmp_path / "x.building.4" / "part").write_text("ha")
    (tmp_path / "xy.building.3").write_text("another's")
    answers = [build(path, "echo whole > %s"), {}, file(path)]
    with FakeController(*answers) as ask, open_resource(ask, "h", 1, "x") as opened:
        assert opened.read() == "whole\n"
    assert files(tmp_path) == ["x", "xy.building.3"]


def test_a_rebuild_replaces_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    answers = [build(path, "echo new > %s", rebuild=True), {}, file(path)]
    with FakeController(*answers) as ask, open_resource(ask, "h", 1, "x") as opened:
        assert opened.read() == "new\n"


# --- rules --------------------------------------------------------------------------------------------


def test_only_the_place_of_the_file_is_put_into_the_command(tmp_path: Path) -> None:
    path = tmp_path / "it's a $(touch pwned) file"
    run_rule("printf '100%%d' > %s", str(path), f"{path}.building.1")
    assert path.read_text() == "100%d"
    assert files(tmp_path) == [path.name]


def test_a_failing_part_of_a_pipe_fails_the_rule(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="exit status 5"):
        run_rule("(exit 5) | cat > %s", str(tmp_path / "x"), str(tmp_path / "x.building.1"))
    assert files(tmp_path) == []


def test_a_rule_that_is_killed_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="signal 9"):
        run_rule("kill -9 $$", str(tmp_path / "x"), str(tmp_path / "x.building.1"))


def test_a_rule_that_makes_no_file_is_told_what_it_must_do(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="it must write to the name that stands for %s"):
        run_rule("true", str(tmp_path / "x"), str(tmp_path / "x.building.1"))


def test_a_directory_is_built_whole_over_what_an_earlier_builder_left(tmp_path: Path) -> None:
    path, temporary = tmp_path / "db", tmp_path / "db.building.1"
    for directory in (path, temporary):
        directory.mkdir()
        (directory / "old").write_text("")
    run_rule("mkdir %s && printf abc > %s/new", str(path), str(temporary))
    assert files(path) == ["new"]
    assert files(tmp_path) == ["db"]
    assert size_bytes(str(path)) == 3
