"""What people changed by call: kept over a crash, ended by stop, and given up where a file of theirs says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.changes import Changes
from coordinator.errors import StateError
from coordinator.hostsfile import HostsFile
from coordinator.shelves import JSONShelf


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "x.hosts"
    path.write_text("a 1\nb 1,sshopts=-x\n")
    return path


def opened(hosts: Path) -> HostsFile:
    """The table of a new life; nothing of an earlier one was closed, as after kill -9."""
    return HostsFile(str(hosts), None, Changes(str(hosts.with_suffix(""))))


def maxloads(file: HostsFile) -> dict[str, float]:
    return {name: host.maxload for name, host in file.table.items()}


def test_a_change_holds_in_the_next_life_and_the_hosts_file_is_never_written(hosts: Path) -> None:
    text = hosts.read_text()
    file = opened(hosts)
    file.set_maxload("b", 5.0)
    file.set_maxload("new", 3.0)
    again = opened(hosts)
    assert maxloads(again) == {"a": 1.0, "b": 5.0, "new": 3.0}
    assert again.table["b"].options == {"sshopts": "-x"}
    assert hosts.read_text() == text


def test_a_line_that_was_edited_meanwhile_wins_and_the_change_is_over_for_good(hosts: Path) -> None:
    file = opened(hosts)
    for name in ("a", "b", "new"):
        file.set_maxload(name, 5.0)
    text = hosts.read_text()
    hosts.write_text("a 2\nb 1,sshopts=-x\nnew 1\n")
    assert maxloads(opened(hosts)) == {"a": 2.0, "b": 5.0, "new": 1.0}
    hosts.write_text(text)
    assert maxloads(opened(hosts)) == {"a": 1.0, "b": 5.0}


def test_a_line_that_was_taken_away_takes_its_change_with_it(hosts: Path) -> None:
    opened(hosts).set_maxload("a", 5.0)
    hosts.write_text("b 1\n")
    assert maxloads(opened(hosts)) == {"b": 1.0}


def test_an_edit_that_is_taken_up_while_it_runs_ends_the_change_in_the_next_life_too(hosts: Path) -> None:
    file = opened(hosts)
    file.set_maxload("a", 5.0)
    hosts.write_text("a 2\n")
    assert file.look()
    hosts.write_text("a 1\n")
    assert maxloads(opened(hosts)) == {"a": 1.0}


def test_what_is_forgotten_leaves_no_file_and_without_a_change_there_is_none(hosts: Path) -> None:
    file = hosts.with_suffix(".changes")
    changes = Changes(str(hosts.with_suffix("")))
    changes.forget()
    assert not file.exists()
    changes.set_maxload("a", 5.0, None)
    assert file.exists()
    changes.forget()
    assert not file.exists()
    assert Changes(str(hosts.with_suffix(""))).maxloads({}) == {}


def test_the_throttle_holds_until_another_option_is_typed(tmp_path: Path) -> None:
    base = str(tmp_path / "x")
    assert Changes(base).throttle(1.0) == 1.0
    Changes(base).set_throttle(0.5, 1.0)
    assert Changes(base).throttle(1.0) == 0.5
    assert Changes(base).throttle(0.8) == 0.8


@pytest.mark.parametrize("kept", [None, 5, {}, {"maxload": "many", "line": None}, {"maxload": -1, "line": None}])
def test_a_change_that_cannot_be_read_is_dropped_with_a_word(
    tmp_path: Path, kept: object, caplog: pytest.LogCaptureFixture
) -> None:
    base = str(tmp_path / "x")
    with JSONShelf(f"{base}.changes") as shelf:
        shelf["host:a"] = kept
        shelf["throttle"] = kept if kept is not None else 7
    assert Changes(base).maxloads({}) == {}
    assert Changes(base).throttle(1.0) == 1.0
    assert "cannot be read and is dropped" in caplog.text
    with JSONShelf(f"{base}.changes") as shelf:
        assert "host:a" not in shelf


def test_a_change_that_cannot_be_kept_is_refused_and_changes_nothing(hosts: Path) -> None:
    file = opened(hosts)
    hosts.with_suffix(".changes").mkdir()
    with pytest.raises(StateError, match=r"x\.changes"):
        file.set_maxload("a", 5.0)
    assert maxloads(file) == {"a": 1.0, "b": 1.0}
