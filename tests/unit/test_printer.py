"""printer.py: NAME.success, .error and .results say what the journal says, whatever became of an earlier printing."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator import history
from coordinator.core import ids
from coordinator.errors import JournalStalled
from coordinator.journal import Journal
from coordinator.printed import PrintedFile
from coordinator.printer import Printer

from .journals import add_slice, begin, done, fail, redo, result, small_job


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path / "job.journal", "job")
    begin(journal)
    yield journal
    journal.close()


def printer_in(tmp_path: Path) -> Printer:
    return Printer(tmp_path / "job.journal", tmp_path / "job")


def printed(tmp_path: Path) -> tuple[list[str], list[str], list[str]]:
    success, error, results = (
        (tmp_path / f"job.{name}").read_text(encoding="utf-8").split("\n")[:-1]
        for name in ("success", "error", "results")
    )
    return success, error, results


def said(tmp_path: Path) -> tuple[list[str], list[str], list[str]]:
    """What the journal says, by the other way of reading it."""
    job = tmp_path / "job"
    return (
        sorted(ids.to_line(ids.encode(value)) for value in history.succeeded(job)),
        sorted(ids.to_line(ids.encode(failure.id)) for failure in history.failures(job)),
        sorted(f"{ids.to_line(ids.encode(task))}\t{ids.encode(value)}" for task, value in history.results(job)),
    )


def assert_complete(tmp_path: Path) -> None:
    assert tuple(map(sorted, printed(tmp_path))) == said(tmp_path)


def test_each_file_has_one_line_for_each_that_it_names(tmp_path: Path, journal: Journal) -> None:
    add_slice(journal, 0, ["plain", "12", ("a", 1), b"x", "line\nbreak", "café", os.fsdecode(b"\xff"), 12])
    done(journal, 1, (0, 3), (4, 8))
    fail(journal, 1, 3)
    result(journal, 1, (0, {"a": [1, None]}), (2, "text & <more>"))
    journal.commit(sync=True)
    printer = printer_in(tmp_path)
    printer.finish()
    success, error, results = printed(tmp_path)
    assert success == ["plain", '"12"', '{"$tuple":["a",1]}', '"line\\nbreak"', "café", '"\\udcff"', "12"]
    assert error == ['{"$bytes":"eA=="}']
    assert results == ['plain\t{"a":[1,null]}', '{"$tuple":["a",1]}\t"text \\u0026 \\u003cmore\\u003e"']
    assert_complete(tmp_path)
    for name in ("success", "error", "results"):
        assert stat.S_IMODE((tmp_path / f"job.{name}").stat().st_mode) == 0o600
    printer.close()


def test_a_job_without_any_task_prints_empty_files(tmp_path: Path) -> None:
    Journal.open(tmp_path / "job.journal", "job").close()
    printer = printer_in(tmp_path)
    printer.finish()
    assert printed(tmp_path) == ([], [], [])
    assert not printer.step()
    printer.close()


def test_it_prints_as_the_job_goes_on_a_few_records_at_a_time(tmp_path: Path, journal: Journal) -> None:
    printer = printer_in(tmp_path)
    for number in range(10):
        add_slice(journal, number * 3, [f"{number}a", f"{number}b", f"{number}c"])
        done(journal, number, (number * 3, number * 3 + 2))
        fail(journal, number, number * 3 + 2)
        result(journal, number, (number * 3, number))
        journal.commit(sync=number % 2 == 0)
        while printer.step(1):
            pass
        success, error, results = printed(tmp_path)
        assert success[-2:] == [f"{number}a", f"{number}b"]
        assert error[-1] == f"{number}c"
        assert results[-1] == f"{number}a\t{number}"
    printer.finish()
    assert_complete(tmp_path)
    printer.close()


def test_it_goes_on_over_checkpoints_and_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "CHECKPOINT_BYTES", 3000)
    printer = printer_in(tmp_path)
    for life in (1, 2, 3):
        journal = Journal.open(tmp_path / "job.journal", "job")
        begin(journal, life)
        for _ in range(4):
            small_job(journal, 10, first=life * 1000)
            journal.recovered.__dict__["count"] += 100
            while printer.step(7):
                pass
        journal.close()
    printer.finish()
    assert len(printed(tmp_path)[0]) == 720
    assert_complete(tmp_path)
    printer.close()


def test_a_new_printer_goes_on_from_the_note_and_prints_nothing_twice(tmp_path: Path, journal: Journal) -> None:
    chance = random.Random(3)
    for round_ in range(12):
        small_job(journal, 5, first=round_ * 5)
        journal.recovered.__dict__["count"] += 50
        printer = printer_in(tmp_path)
        for _ in range(chance.randrange(6)):
            printer.step(chance.randrange(1, 20))
        if round_ % 3 == 0:
            printer.finish()
        printer.close()  # as after a kill: what was printed since the note does not count
    printer = printer_in(tmp_path)
    printer.finish()
    assert_complete(tmp_path)
    printer.close()


@pytest.mark.parametrize(
    "harm", ["file gone", "file shorter", "file longer", "note gone", "note torn", "journal shorter"]
)
def test_whatever_happens_to_its_files_they_are_printed_again(tmp_path: Path, journal: Journal, harm: str) -> None:
    small_job(journal, 10)
    printer = printer_in(tmp_path)
    printer.finish()
    printer.close()
    expected = printed(tmp_path)
    file, note = tmp_path / "job.success", tmp_path / "job.journal" / "printed.json"
    if harm == "file gone":
        file.unlink()
    elif harm == "file shorter":
        os.truncate(file, 5)
    elif harm == "file longer":
        with file.open("a") as out:
            out.write("what a crash left be")
    elif harm == "note gone":
        note.unlink()
    elif harm == "note torn":
        os.truncate(note, 10)
    else:  # a power cut took what was printed before it was safe
        note.write_text(note.read_text().replace('"offset": ', '"offset": 9'))
    printer = printer_in(tmp_path)
    printer.finish()
    assert tuple(map(sorted, printed(tmp_path))) == tuple(map(sorted, expected))
    assert_complete(tmp_path)
    printer.close()


def test_what_is_to_be_done_again_leaves_the_files_until_it_is(tmp_path: Path, journal: Journal) -> None:
    add_slice(journal, 0, ["a", "b", "c", "d"])
    done(journal, 1, (0, 2))
    result(journal, 1, (0, "old"), (1, "stays"))
    fail(journal, 1, 2)
    fail(journal, 1, 3)
    journal.commit(sync=True)
    printer = printer_in(tmp_path)
    printer.finish()
    assert printed(tmp_path) == (["a", "b"], ["c", "d"], ['a\t"old"', 'b\t"stays"'])
    redo(journal, (0, 1), (2, 3))
    journal.commit(sync=True)
    printer.finish()
    assert printed(tmp_path) == (["b"], ["d"], ['b\t"stays"'])
    done(journal, 2, (0, 1), (3, 4))  # d was retried although nobody asked for it: it is no failure now
    result(journal, 2, (0, "new"))
    journal.commit(sync=True)
    printer.finish()
    assert printed(tmp_path) == (["b", "a", "d"], [], ['b\t"stays"', 'a\t"new"'])
    assert_complete(tmp_path)
    assert not list(tmp_path.glob("*.new"))
    printer.close()


@pytest.mark.parametrize("why", ["redo", "file gone"])
def test_a_crash_while_a_file_is_written_anew_is_no_harm(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    add_slice(journal, 0, [f"task {at**3}" for at in range(30)])
    for at in reversed(range(10, 30)):
        done(journal, 1, (at, at + 1))
    journal.commit(sync=True)
    printer = printer_in(tmp_path)
    printer.finish()
    printer.close()
    done(journal, 1, (0, 10))
    if why == "redo":
        redo(journal, (9, 12))
    else:
        (tmp_path / "job.success").unlink()
    journal.commit(sync=True)
    rename = os.rename

    def crash(source: str, target: str) -> None:
        rename(source, target)
        if target.endswith(".success"):
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", crash)
    printer = printer_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        printer.finish()
    monkeypatch.undo()
    printer.close()
    printer = printer_in(tmp_path)
    printer.finish()
    assert_complete(tmp_path)
    printer.close()


def test_after_a_full_disk_nothing_is_missing_and_nothing_twice(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    printer = printer_in(tmp_path)
    small_job(journal, 10)
    printer.step(10)
    full = True
    write = os.pwrite

    def pwrite(fd: int, content: Any, at: int) -> int:
        if full:
            if len(content) < 10:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, content[:5], at)
        return write(fd, content, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    for _ in range(2):
        with pytest.raises(JournalStalled, match="No space left"):
            printer.finish()
    full = False
    printer.finish()
    assert_complete(tmp_path)
    printer.close()


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path, journal: Journal) -> None:
    (tmp_path / "job.success").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalStalled):
        printer_in(tmp_path).step()
    assert not (tmp_path / "elsewhere").exists()


def test_many_lines_are_written_in_parts(tmp_path: Path) -> None:
    file = PrintedFile(str(tmp_path / "x"))
    for _ in range(30):
        file.put(b"y" * 100_000 + b"\n")
    assert file.size_bytes > 1 << 20
    file.make_safe()
    file.close()
    assert (tmp_path / "x").stat().st_size == 30 * 100_001
