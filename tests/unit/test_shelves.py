"""Shelves: a mapping on disk, readable by others, and whole after a kill -9 at any moment."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.errors import BadInput, StateError
from coordinator.shelves import JSONShelf


def test_what_is_set_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "bigcheese.rules"
    with JSONShelf(path) as shelf:
        shelf["hg17"] = ["/usr/tmp/hg17", "gunzip -c x\n>%s"]
        shelf["ünï:côde"] = {"a": [1, None, 2.5]}
        shelf["gone"] = 1
        shelf["hg17"] = ["/other", "cp %s"]
        del shelf["gone"]
    with JSONShelf(path) as shelf:
        assert dict(shelf) == {"hg17": ["/other", "cp %s"], "ünï:côde": {"a": [1, None, 2.5]}}
        assert len(shelf) == 2
        assert "gone" not in shelf
        with pytest.raises(KeyError):
            del shelf["gone"]


def test_the_file_is_a_plain_sqlite_table_of_json_as_dbm_sqlite3_has_it(tmp_path: Path) -> None:
    path = tmp_path / "bigcheese.rules"
    with JSONShelf(path) as shelf:
        shelf["hg17"] = ["/x", "cp %s"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["bigcheese.rules"]
    database = sqlite3.connect(path)
    try:
        assert database.execute("SELECT key, value FROM Dict").fetchall() == [(b"hg17", b'["/x", "cp %s"]')]
    finally:
        database.close()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="dbm.sqlite3 is of Python 3.13")
def test_the_standard_library_opens_the_file(tmp_path: Path) -> None:
    import dbm

    with JSONShelf(tmp_path / "s.rules") as shelf:
        shelf["hg17"] = 1
    with dbm.open(os.fspath(tmp_path / "s.rules"), "w") as other:
        assert other[b"hg17"] == b"1"
        other[b"mm5"] = b"[2]"
    with JSONShelf(tmp_path / "s.rules") as shelf:
        assert shelf["mm5"] == [2]


def test_a_lazy_shelf_makes_no_file_until_something_is_set(tmp_path: Path) -> None:
    path = tmp_path / "job.rules"
    with JSONShelf(path, lazy=True) as shelf:
        assert dict(shelf) == {}
        assert len(shelf) == 0
        assert shelf.get("x") is None
        assert not path.exists()
        shelf["x"] = 1
        assert path.exists()
    with JSONShelf(path, lazy=True) as shelf:
        assert shelf["x"] == 1


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, b"bytes"])
def test_what_is_no_json_is_refused_and_changes_nothing(tmp_path: Path, value: object) -> None:
    with JSONShelf(tmp_path / "s") as shelf:
        shelf["x"] = 1
        with pytest.raises(BadInput):
            shelf["x"] = value
        with pytest.raises(BadInput):
            shelf["\ud800"] = 1
        assert dict(shelf) == {"x": 1}


def test_a_link_or_a_pipe_or_a_directory_is_not_opened(tmp_path: Path) -> None:
    JSONShelf(tmp_path / "real").close()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("link", "pipe", "directory"):
        with pytest.raises(StateError):
            JSONShelf(tmp_path / name)
    with pytest.raises(StateError):
        JSONShelf(tmp_path / "nowhere" / "s")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else's")
def test_somebody_elses_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "s"
    JSONShelf(path).close()
    os.chown(path, 12345, -1)
    with pytest.raises(StateError, match="belongs to you"):
        JSONShelf(path)


def test_a_file_that_is_no_shelf_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"not a database, but long enough to have a header" * 100)
    with pytest.raises(StateError, match="Move it away"):
        JSONShelf(path)
    JSONShelf(tmp_path / "t").close()
    database = sqlite3.connect(tmp_path / "t")
    database.execute("INSERT INTO Dict VALUES (CAST('x' AS BLOB), CAST('cos\nsystem' AS BLOB))")
    database.commit()
    database.close()
    with JSONShelf(tmp_path / "t") as shelf, pytest.raises(StateError, match="not JSON"):
        shelf["x"]


WRITER = """
import sys
from coordinator.shelves import JSONShelf
shelf = JSONShelf(sys.argv[1])
number = int(sys.argv[2])
while True:
    shelf[f"key{number % 50}"] = {"number": number, "ballast": "x" * (number * 37 % 3000)}
    sys.stdout.write(f"{number}\\n")  # said only when the assignment has returned
    sys.stdout.flush()
    number += 1
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_writes_loses_no_earlier_entry(tmp_path: Path) -> None:
    path = tmp_path / "bigcheese.rsrc"
    environment = {**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
    number = 0
    half_done = 0  # kills that met a transaction in the middle; the test has to hit that window
    rounds = 0
    while rounds < 12 or (not half_done and rounds < 60):
        rounds += 1
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", WRITER, os.fspath(path), str(number)], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        try:
            said = b""
            wanted = 5 + rounds % 12 * 7
            while said.count(b"\n") < wanted:
                assert select.select([process.stdout], [], [], 60)[0], "the writer hangs"
                got = os.read(process.stdout.fileno(), 65536)
                assert got, "the writer ended by itself"
                said += got
        finally:
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
            process.stdout.close()
            process.wait()
        half_done += path.with_name(path.name + "-journal").exists()
        last = int(said.rsplit(b"\n", 2)[-2])
        with JSONShelf(path) as shelf:
            # All that was said is there; of the write that was cut, either nothing or all.
            for key in range(50):
                newest = max((n for n in range(max(0, last - 49), last + 1) if n % 50 == key), default=None)
                value = shelf.get(f"key{key}")
                if newest is None:
                    assert value is None or value["number"] == last + 1
                else:
                    assert value["number"] in (newest, last + 1)
                    assert value["ballast"] == "x" * (value["number"] * 37 % 3000)
            number = max(value["number"] for value in shelf.values()) + 1
    assert half_done, "no kill met a write"
