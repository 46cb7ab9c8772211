"""The journal on disks that fill up, fail to sync, or lose their writer: nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator import history
from coordinator.core import ids
from coordinator.core.records import Kind
from coordinator.core.replay import Recovered
from coordinator.disk import Disk
from coordinator.errors import JournalStalled
from coordinator.journal import Journal
from coordinator.printer import Printer
from tests.smalldisk import SmallDisk

pytestmark = pytest.mark.faults


def as_dict(found: Any) -> dict[str, Any]:
    return {**vars(found), "slices": list(found.slices)}


def begin(journal: Journal) -> None:
    journal.append(
        Kind.LIFE, {"run": "r1", "name": "job", "life": journal.recovered.life + 1, "port": 1, "options": {}}
    )


def block(journal: Journal, number: int) -> None:
    """Ten tasks: read, leased, done, with a result each."""
    start = number * 10
    texts = ids.encode_many([f"task {at}" for at in range(start, start + 10)])
    text = "\n".join(texts)
    journal.append(Kind.SLICE, {"start": start, "count": 10, "digest": ids.slice_digest(text)}, text)
    journal.append(Kind.LEASE, {"n": number, "p": 1, "a": start, "b": start + 10})
    journal.append(Kind.DONE, {"n": number, "p": 1, "r": [[start, start + 10]]})
    journal.append(Kind.RESULTS, {"n": number}, "\n".join(f"{at}\t{at}" for at in range(start, start + 10)))


def assert_all_there(directory: Path, blocks: int) -> None:
    journal = Journal.open(directory / "job.journal", "job")
    assert journal.recovered.count == blocks * 10
    assert journal.recovered.done.total() == blocks * 10
    assert journal.recovered.leases == []
    assert journal.lines(0, blocks * 10) == [f'"task {at}"' for at in range(blocks * 10)]
    journal.close()
    assert list(history.results(directory / "job")) == [(f"task {at}", at) for at in range(blocks * 10)]
    printer = Printer(directory / "job.journal", directory / "job")
    printer.finish()
    printer.close()
    assert (directory / "job.success").read_text().splitlines() == [f"task {at}" for at in range(blocks * 10)]


# --- a full disk ------------------------------------------------------------------------------------------


def test_on_a_full_disk_it_says_why_it_stops_and_goes_on_when_there_is_room(small_disk: SmallDisk) -> None:
    small_disk.fill(leave_bytes=220_000)
    journal = Journal.open(small_disk.path / "job.journal", "job")
    begin(journal)
    blocks = acknowledged = 0
    room = True
    while room:
        block(journal, blocks)
        blocks += 1
        try:
            journal.commit(sync=True)
            acknowledged = blocks
        except JournalStalled:
            room = False
    assert acknowledged > 10
    with pytest.raises(JournalStalled, match="No space left on device") as caught:
        journal.commit(sync=True)
    assert caught.value.transient
    for _ in range(3):
        with pytest.raises(JournalStalled):
            journal.commit(sync=True)
    assert history.read(small_disk.path / "job").done.total() == acknowledged * 10, (
        "what was not acknowledged is cut back"
    )
    assert journal.lines(0, blocks * 10)[-1] == f'"task {blocks * 10 - 1}"', "what waits can be read"
    small_disk.make_room()
    journal.commit(sync=True)
    for _ in range(20):
        block(journal, blocks)
        blocks += 1
        journal.commit(sync=True)
    journal.close()
    assert_all_there(small_disk.path, blocks)


def test_a_disk_that_is_full_at_the_start_or_at_a_checkpoint_costs_nothing(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "CHECKPOINT_BYTES", 20_000)
    journal = Journal.open(small_disk.path / "job.journal", "job")
    small_disk.fill()
    begin(journal)
    with pytest.raises(JournalStalled):
        journal.commit(sync=True)
    assert list((small_disk.path / "job.journal").glob("*.seg")) == []
    small_disk.make_room()
    blocks = 0
    for _ in range(60):
        block(journal, blocks)
        blocks += 1
        try:
            journal.commit(sync=True)
        except JournalStalled:
            small_disk.make_room()
            journal.commit(sync=True)
        if blocks % 7 == 0:
            small_disk.fill()
    journal.close()
    small_disk.make_room()
    assert_all_there(small_disk.path, blocks)


# --- a sync that fails --------------------------------------------------------------------------------------


class FailingDisk(Disk):
    """Fails the calls that ``plan`` chooses; what a failed sync was asked to keep is gone from the disk afterwards."""

    def __init__(self, plan: Callable[[str], int]) -> None:
        self._plan = plan
        self.failures: list[str] = []

    def _maybe(self, call: str) -> None:
        number = self._plan(call)
        if number:
            self.failures.append(call)
            raise OSError(number, os.strerror(number))

    def write(self, fd: int, content: memoryview, offset: int) -> int:
        try:
            self._maybe("write")
        except OSError:
            os.pwrite(fd, content[: len(content) // 2], offset)
            raise
        return super().write(fd, content, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._maybe("truncate")
        super().truncate(fd, size_bytes)

    def datasync(self, fd: int) -> None:
        try:
            self._maybe("datasync")
        except OSError:
            size = os.fstat(fd).st_size
            os.pwrite(fd, b"\0" * min(100, size), max(0, size - 100))
            raise

    def sync(self, fd: int) -> None:
        self._maybe("sync")


def test_after_a_failed_sync_the_records_are_safe_in_a_new_file_before_anything_is_acknowledged(tmp_path: Path) -> None:
    broken = False
    disk = FailingDisk(lambda call: errno.EIO if broken and call == "datasync" else 0)
    journal = Journal.open(tmp_path / "job.journal", "job", disk)
    begin(journal)
    block(journal, 0)
    journal.commit(sync=True)
    block(journal, 1)
    journal.commit(sync=False)
    broken = True
    block(journal, 2)
    journal.commit(sync=True)
    assert disk.failures == ["datasync"]
    assert sorted(path.name for path in (tmp_path / "job.journal").glob("*.seg")) == ["000001.seg", "000002.seg"]
    assert history.read(tmp_path / "job").done.total() == 30
    broken = False
    block(journal, 3)
    journal.commit(sync=True)
    assert journal.lines(0, 40)[25] == '"task 25"'
    journal.close()
    assert_all_there(tmp_path, 4)


def test_if_the_new_file_fails_too_it_stalls_and_tries_again(tmp_path: Path) -> None:
    broken = False
    disk = FailingDisk(lambda call: errno.EIO if broken else 0)
    journal = Journal.open(tmp_path / "job.journal", "job", disk)
    begin(journal)
    block(journal, 0)
    journal.commit(sync=True)
    block(journal, 1)
    broken = True
    for _ in range(3):
        with pytest.raises(JournalStalled, match="Input/output error"):
            journal.commit(sync=True)
    assert history.read(tmp_path / "job").done.total() == 10
    broken = False
    journal.commit(sync=True)
    journal.close()
    assert_all_there(tmp_path, 2)


def test_a_printer_that_printed_what_was_written_twice_prints_it_once(tmp_path: Path) -> None:
    broken = False
    journal = Journal.open(
        tmp_path / "job.journal", "job", FailingDisk(lambda call: errno.EIO if broken and call == "datasync" else 0)
    )
    printer = Printer(tmp_path / "job.journal", tmp_path / "job")
    begin(journal)
    block(journal, 0)
    journal.commit(sync=True)
    block(journal, 1)
    journal.commit(sync=False)
    printer.finish()
    broken = True
    block(journal, 2)
    journal.commit(sync=True)
    printer.finish()
    printer.close()
    for name in ("success", "results"):
        assert len((tmp_path / f"job.{name}").read_text().splitlines()) == 30
    journal.close()
    assert_all_there(tmp_path, 3)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_fails_and_when_what_was_acknowledged_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(Journal, "CHECKPOINT_BYTES", 3000)
    chance = random.Random(seed)
    rate = chance.choice([0.02, 0.1, 0.4])
    calls = ["write", "truncate", "datasync", "sync"]
    disk = FailingDisk(lambda call: chance.choice([errno.EIO, errno.ENOSPC]) if chance.random() < rate else 0)
    blocks = acknowledged = 0
    states = []
    journal = None
    for _ in range(6):
        while journal is None:
            try:
                journal = Journal.open(tmp_path / "job.journal", "job", disk)
            except JournalStalled:
                continue
        found = journal.recovered
        assert found.done.total() == found.count >= acknowledged * 10
        blocks = found.count // 10
        if states:
            assert as_dict(found) in [*states, as_dict(Recovered(journal._state))]
        begin(journal)
        for _ in range(chance.randrange(1, 15)):
            block(journal, blocks)
            blocks += 1
            try:
                sync = chance.random() < 0.6
                journal.commit(sync)
            except JournalStalled:
                continue
            if sync:
                acknowledged = blocks
            assert journal.lines(max(0, blocks * 10 - 25), blocks * 10)[-1] == f'"task {blocks * 10 - 1}"'
        journal = None  # as after kill -9
    rate = 0
    journal = Journal.open(tmp_path / "job.journal", "job")
    blocks = journal.recovered.count // 10
    assert blocks >= acknowledged
    journal.close()
    assert_all_there(tmp_path, blocks)
    assert set(disk.failures) <= set(calls)


# --- kill -9 ----------------------------------------------------------------------------------------------------

WRITER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from coordinator.journal import Journal
sys.path.insert(0, sys.argv[2])
from test_journal_disk import begin, block
Journal.CHECKPOINT_BYTES = 20_000
os.write(1, b"start\\n")
journal = Journal.open("job.journal", "job")
os.write(1, b"open\\n")
begin(journal)
number = journal.recovered.count // 10
while True:
    block(journal, number)
    number += 1
    sync = number % 3 == 0
    journal.commit(sync)
    # A commit that is not synced survives the death of its process all the same.
    os.write(1, b"%d\\n" % number)
"""


def test_killed_at_random_moments_each_life_finds_all_that_was_committed(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    known = 0
    hits = {"before": 0, "in recovery": 0, "while it writes": 0}
    for _ in range(25):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(Path(__file__).parents[2]), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            cwd=tmp_path,
        )
        assert writer.stdout is not None
        lines = chance.choice([0, 1, 1, 1, 2, 5, 20, 60, 150])
        said = [writer.stdout.readline().strip() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        hits["while it writes" if b"open" in said else "in recovery" if b"start" in said else "before"] += 1
        found = history.read(tmp_path / "job") if (tmp_path / "job.journal").exists() else None
        if found is None:
            continue
        assert found.count == found.done.total()
        numbers = [int(word) for word in said if word.isdigit()]
        known = max([known, *numbers])
        assert found.count // 10 >= known, "what was committed is there"
        assert found.count // 10 <= known + 1 or not numbers, "and at most one block more"
        known = found.count // 10
    assert hits["in recovery"], hits
    assert hits["while it writes"], hits
    assert_all_there(tmp_path, known)
