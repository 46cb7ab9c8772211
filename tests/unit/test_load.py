"""The figures of a host: the machine's own, or those of the file that knows better."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from coordinator import load
from coordinator.load import VARIABLE, Figures


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where COORDINATOR_LOAD points to; not there yet."""
    path = tmp_path / "coordinator-load"
    monkeypatch.setenv(VARIABLE, os.fspath(path))
    return path


def test_the_machines_own_figures_are_those_of_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(load, "TOLD", "/nowhere")
    before, found, after = psutil.getloadavg()[0], load.figures(), psutil.getloadavg()[0]
    assert found.runnable in (before, after)
    assert found.cores == load.cores() <= (psutil.cpu_count() or 0)
    memory = psutil.virtual_memory()
    assert found.memory_available_bytes is not None
    # Others use memory meanwhile; it is the same quantity all the same.
    assert abs(found.memory_available_bytes - memory.available) < memory.total / 2
    assert 0 < found.memory_available_bytes < memory.total


def test_a_file_that_knows_better_is_believed_and_read_anew_each_time(file: Path) -> None:
    file.write_text("1.50 4294967296 2\n")
    assert load.figures() == Figures(1.5, 4294967296, 2)
    assert load.load_now() == 1.5
    file.write_text("0.25 1000 16\n")
    assert load.figures() == Figures(0.25, 1000, 16)


@pytest.mark.parametrize(
    "content", [None, "", "1.5\n", "a b c\n", "nan 1 1\n", "-1 1 1\n", "1 -1 1\n", "1 1 0\n", "1 2 3 4\n"]
)
def test_where_the_file_has_no_figures_the_machines_own_are_taken(file: Path, content: str | None) -> None:
    if content is not None:
        file.write_text(content)
    found = load.figures()
    assert found.cores == load.cores()
    assert found.memory_available_bytes is not None
    assert found.memory_available_bytes > 1 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write root's word")
def test_roots_word_counts_without_being_named_and_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "load"
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(load, "TOLD", os.fspath(told))
    told.write_text("1.25 1000000 3\n")
    told.chmod(0o644)
    assert load.figures() == Figures(1.25, 1_000_000, 3)
    told.chmod(0o664)
    assert load.told() is None
    told.chmod(0o644)
    os.chown(told, 1234, 0)
    assert load.told() is None
