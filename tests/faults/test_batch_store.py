"""The store of jobs: many processes at a time, damaged rows and files, long locks, and writers that are killed.

What processes did is read from files of their own; what the store has is read with the sqlite3 of Python.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator import batch as psu
from coordinator.batch.home import home
from coordinator.errors import StoreBusy
from tests.end_to_end.batches import HANG_S, LOOK_S, Batches, batches, states

__all__ = ["batches"]

DB = "coordinator.batch.db"
JOBS = 100

#: One process for each of its numbers, as a job of the batch. All wait for the end of a pipe and report in one moment.
CROWD = """
import os, sys, traceback
from coordinator import batch as psu

batch, jobs = int(sys.argv[1]), int(sys.argv[2])
os.environ.update(COORDINATOR_QFILE=os.path.abspath("coordinator.batch.db"), COORDINATOR_EXECUTOR="file",
                  COORDINATOR_JOBDIR=os.path.abspath("batch"))
barrier, release = os.pipe()
ready, said = os.pipe()
children = []
for index in range(jobs):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    status = 1
    try:
        os.close(release)
        os.environ["COORDINATOR_JOB"] = f"{batch}.{index}.1.0"
        info = psu.get_job_info(SetID=True)
        shared = psu.get_job_info(batch, jobs)
        os.write(said, b"r")
        os.read(barrier, 1)
        info["result"] = index * index
        if index % 2:
            psu.update_job(info)
            psu.set_complete()
        else:
            psu.set_complete(JobInfo=info)
        shared[f"part {index}"] = index  # another job's: each has its own field there
        psu.update_job(shared)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
for _ in children:
    os.read(ready, 1)
os.close(release)
print(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
"""


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(DB, isolation_level=None)) as connection:
        yield connection


def rows(query: str) -> list[Any]:
    with database() as connection:
        return connection.execute(query).fetchall()


def change(statement: str, *values: object) -> None:
    with database() as connection:
        assert connection.execute(statement, values).rowcount == 1


def submitted(batches: Batches, count: int) -> int:
    """A batch that was submitted, of which nothing runs; and a job beside them that was not."""
    batch = batches.add(*["true"] * count, "true")
    psu.set_job_field(batch, count, {"priority": 0})
    assert psu.submit_jobs(Executor=psu.FileJobExecutor("jobs.sh")) == count
    return batch


def check_crowd(batches: Batches) -> None:
    batch = submitted(batches, JOBS)
    words = [sys.executable, "-c", CROWD, str(batch), str(JOBS)]
    crowd = subprocess.run(words, capture_output=True, text=True, timeout=3 * HANG_S, check=False)
    assert (crowd.stderr, crowd.stdout) == ("", "0\n")
    assert states(batch) == ["complete"] * JOBS + ["init"]
    assert [psu.get_job_info(batch, index)["result"] for index in range(JOBS)] == [n * n for n in range(JOBS)]
    shared = psu.get_job_info(batch, JOBS)
    assert {name: value for name, value in shared.items() if name.startswith("part ")} == {
        f"part {index}": index for index in range(JOBS)
    }
    done = Counter(rows("select job_index from event where told like '%\"complete\"]%'"))
    assert done == {(index,): 1 for index in range(JOBS)}
    assert rows("select count(*) from event where kind = 'refused'") == [(0,)]
    assert os.listdir("batch/inbox") == []


@pytest.mark.timeout(200)
def test_a_hundred_jobs_that_finish_in_the_same_moment_lose_nothing(batches: Batches) -> None:
    check_crowd(batches)


@pytest.fixture
def fuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system in user space, the current directory of the test: every call goes through another process."""
    bindfs = shutil.which("bindfs")
    if bindfs is None:
        pytest.skip("bindfs is not installed: apt-get install bindfs")
    below, above = tmp_path / "below", tmp_path / "above"
    below.mkdir()
    above.mkdir()
    server = subprocess.Popen(
        [bindfs, "-f", "--no-allow-other", below, above], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        over = time.monotonic() + HANG_S
        while above.stat().st_dev == below.stat().st_dev and server.poll() is None:
            assert time.monotonic() < over
            time.sleep(LOOK_S)  # it tells nobody when it is there
        if server.poll() is not None:
            assert server.stdout is not None
            pytest.skip(f"no file system in user space here: {server.stdout.read().strip()}")
        monkeypatch.chdir(above)
        yield above
    finally:
        os.chdir(tmp_path)  # nobody may be in it when it goes
        if server.poll() is None:
            subprocess.run(["fusermount", "-u", "-z", above], check=True, timeout=HANG_S)
        server.communicate(timeout=HANG_S)


@pytest.mark.timeout(200)
def test_a_hundred_jobs_on_a_file_system_in_user_space_lose_nothing(batches: Batches, fuse: Path) -> None:
    check_crowd(batches)
    assert (fuse / DB).exists()


# --- damaged --------------------------------------------------------------------------------------------


DAMAGES = {
    "no JSON": ("job", "fields", "{"),
    "no object": ("job", "fields", "[1]"),
    "no text": ("job", "fields", b"\xff\x00\x17"),
    "nothing": ("job", "fields", ""),
    "a state that nobody can print": ("job", "state", "in\x1bit"),
    "a priority that is no number": ("job", "priority", "high"),
    "dependencies that are none": ("job", "after", "{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_job_is_said_and_set_aside_and_everything_else_goes_on(
    damage: str, batches: Batches, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    table, column, content = DAMAGES[damage]
    batch = batches.add("true", "true", "true", name="a name \x1b[2J")
    psu.set_job_field(batch, 2, {"priority": 0})
    how = "cast(? as text)" if damage == "no text" else "?"
    change(f"update {table} set {column} = {how} where job_index = 1", content)
    assert sum(len(some) for some in states()[batch].values()) in (2, 3)
    capsys.readouterr()
    psu.get_queue()  # nor does showing it to people stop
    text = capsys.readouterr().out
    assert "a name \\x1b[2J" in text
    assert "\x1b" not in text
    assert psu.periodic_submitter(period=0.1) == 2
    batches.settle(batch)
    assert states(batch) == ["complete", "complete"]
    assert f"job 1 of batch {batch} is damaged in the store" in caplog.text
    ((words, kept),) = rows("select words, content from damaged")
    assert words in caplog.text
    assert json.loads(kept)["job_index"] == 1
    # There is room for it again.
    psu.add_job_to_queue({**psu.get_job_template(), "BatchID": batch, "JobIndex": 1, "script": "true"})
    psu.submit_jobs()
    batches.settle(batch)
    assert states(batch) == ["complete"] * 3


@pytest.mark.parametrize(
    ("table", "column"),
    [("attempt", "stage"), ("attempt", "outcome"), ("submission", "needs"), ("submission", "stage")],
)
def test_a_damaged_attempt_is_missing_and_everything_else_goes_on(
    table: str, column: str, batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    lost, batch = batches.add("echo lost >>ran"), batches.add("true", "exit 1")
    by = psu.FileJobExecutor("jobs.sh")
    assert psu.submit_one_batch(lost, Executor=by) == 1
    change(f"update {table} set {column} = ?", "[garbage")
    psu.submit_jobs()
    batches.settle(batch)
    assert states(batch) == ["complete", "failed"]
    if column == "stage" and table == "submission":
        return  # a word that we do not know is as good as one that we know: it is looked at all the same
    assert states(lost) == ["submit"]
    assert "is damaged in the store" in caplog.text
    psu.get_queue(ResetMissing=True, Filter=f"BatchID = {lost}")
    assert states(lost) == ["init"]
    assert psu.submit_jobs() == 1
    batches.settle(lost)
    assert states(lost) == ["complete"]
    assert batches.lines("ran") == ["lost"]


GOOD_REPORT = {"kind": "complete", "by": [0, 0, 1, 0]}
REPORTS: dict[str, bytes] = {
    "torn": b'{"kind": "comp',
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "no object": b"[]",
    "deep": b"[" * 100_000,
    "of nobody": b'{"kind": "complete"}',
    "of something else": b'{"kind": "complete", "by": "me"}',
    "of a huge number": json.dumps({**GOOD_REPORT, "by": [1 << 70, 0, 1, 0]}).encode(),
    "without its JobInfo": json.dumps({**GOOD_REPORT, "kind": "update"}).encode(),
    "with another JobInfo": json.dumps({**GOOD_REPORT, "info": [1]}).encode(),
    "without its count": json.dumps({**GOOD_REPORT, "kind": "spawn"}).encode(),
    "with a word for a time": json.dumps({**GOOD_REPORT, "kind": "begin", "began": "now"}).encode(),
}


def test_damaged_reports_are_said_and_set_aside_and_everything_else_goes_on(
    batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    batch = submitted(batches, 1)
    inbox = batches.place / "batch" / "inbox"
    inbox.mkdir()
    for number, content in enumerate(REPORTS.values()):
        (inbox / f"{number:020d}-1-ab.json").write_bytes(content)
    (inbox / "00000000000000000099-1-ab.json").mkdir()
    home().inbox.drop({"kind": "complete", "by": [batch, 0, 1, 0]})
    psu.get_queue()
    assert states(batch) == ["complete", "init"]
    left = sorted(os.listdir(inbox))
    assert left == [
        *(f"{number:020d}-1-ab.json.damaged" for number in range(len(REPORTS))), "00000000000000000099-1-ab.json",
    ]  # fmt: skip
    for number in range(len(REPORTS)):
        assert f"{number:020d}-1-ab.json cannot be read and is set aside" in caplog.text
    assert "99-1-ab.json cannot be read now: Is a directory" in caplog.text


def test_what_json_cannot_hold_is_refused_in_a_job_as_outside_of_one(batches: Batches) -> None:
    script = batches.program(
        """
        from coordinator.errors import BadInput
        info = psu.get_job_info(SetID=True)
        for value in ({1}, float("nan")):
            try:
                psu.update_job({**info, "result": value})
            except BadInput as error:
                print(error)
        psu.set_complete()
        """
    )
    batch = batches.run(script)
    assert states(batch) == ["complete"]
    said = Path(psu.get_job_info(batch, 0)["stdout"][0]).read_text()
    assert said.count("a JobInfo holds what JSON can hold") == 2


def test_a_store_that_is_no_database_is_said_with_what_to_do(batches: Batches) -> None:
    (batches.place / DB).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(Exception, match=r"is damaged .*: put it aside, save what can be read with `sqlite3"):
        psu.get_queue()


# --- WAL, and locks -------------------------------------------------------------------------------------


def test_the_store_is_never_in_wal_mode_also_if_somebody_turned_it_on(batches: Batches) -> None:
    batches.add("true")
    assert rows("pragma journal_mode") == [("delete",)]
    assert rows("pragma journal_mode = wal") == [("wal",)]
    psu.get_queue(Verbose=False)
    assert rows("pragma journal_mode") == [("delete",)]
    assert sorted(path.name for path in batches.place.glob(f"{DB}*")) == [DB]


def test_while_somebody_holds_it_in_wal_mode_it_is_busy_and_afterwards_it_is_not(batches: Batches) -> None:
    batch = batches.add("true")
    with database() as holder:
        holder.execute("pragma journal_mode = wal")
        holder.execute("begin")
        holder.execute("select count(*) from job").fetchall()
        psu.config.WriteTries = 1
        with pytest.raises(StoreBusy):
            psu.get_queue(Verbose=False)
        del psu.config.WriteTries
    assert states(batch) == ["init"]
    assert rows("pragma journal_mode") == [("delete",)]


def test_a_report_of_a_job_whose_store_is_locked_for_long_is_taken_up_later(batches: Batches) -> None:
    batch = submitted(batches, 1)
    reports = """if True:
        import os, sys
        from coordinator import batch as psu
        from coordinator.errors import StoreBusy
        os.environ.update(COORDINATOR_QFILE=os.path.abspath("coordinator.batch.db"), COORDINATOR_EXECUTOR="file",
                          COORDINATOR_JOBDIR=os.path.abspath("batch"), COORDINATOR_JOB=f"{sys.argv[1]}.0.1.0")
        psu.config.WriteTries = 1
        try:
            psu.set_complete()
        except StoreBusy as error:
            print(error)
        """
    with database() as holder:
        holder.execute("begin immediate")
        words = [sys.executable, "-c", reports, str(batch)]
        told = subprocess.run(words, capture_output=True, text=True, timeout=HANG_S, check=True).stdout
        assert "has been written by others for 3 s without a pause" in told
        holder.execute("rollback")
    assert len(os.listdir("batch/inbox")) == 1
    assert states(batch) == ["complete", "init"]
    assert os.listdir("batch/inbox") == []


# --- killed ---------------------------------------------------------------------------------------------

#: For each line "JOB AT WHERE" a process is forked that reports as this job and ends itself by SIGKILL at that line of
#: those that it goes through in a function ("-": in all rooms of the store); AT 0: it counts them. The exit status, and
#: how many, are answered.
KILLED = """
import os, sys
from coordinator import batch as psu
from tests.faults.lines import Lines

batch = int(sys.argv[1])
os.environ.update(COORDINATOR_QFILE=os.path.abspath("coordinator.batch.db"), COORDINATOR_EXECUTOR="file",
                  COORDINATOR_JOBDIR=os.path.abspath("batch"))

for line in sys.stdin:
    job, at, where = line.split()
    counted, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.environ["COORDINATOR_JOB"] = f"{batch}.{job}.1.0"
        rooms = ("inbox.py", "reports.py", "store.py", "changes.py", "events.py", "paths.py")
        lines = Lines(int(at), rooms, where.strip("-"))
        lines.trace()
        info = psu.get_job_info(SetID=True)
        for word in ("one", "two"):
            info["state"] = word
            psu.update_job(info)
        psu.set_complete()
        sys.settrace(None)
        os.write(told, b"%d" % lines.seen)
        os._exit(0)
    os.close(told)
    print(os.waitpid(pid, 0)[1], os.read(counted, 100).decode() or 0, flush=True)
    os.close(counted)
"""
KILLS = 120
#: where the kills are: anywhere, and where a window is only a few lines long
WHERES = ("-", "forget", "-", "drop")
STEPS = ["run", "one", "two", "complete"]
WINDOWS = {"not reported", "reported", "in the store and reported", "in the store"}


@pytest.mark.timeout(180)
def test_killed_at_any_line_of_a_report_nothing_is_lost_and_nothing_happens_twice(batches: Batches) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    batch = submitted(batches, KILLS + len(WHERES))
    windows: Counter[str] = Counter()
    words = [sys.executable, "-c", KILLED, str(batch)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forge:
        assert forge.stdin is not None
        assert forge.stdout is not None

        def killed(job: int, at: int, where: str) -> tuple[int, int]:
            print(job, at, where, file=forge.stdin, flush=True)
            status, count = forge.stdout.readline().split()
            return int(status), int(count)

        lines = {}
        for job, where in enumerate(WHERES, KILLS):
            status, lines[where] = killed(job, 0, where)
            assert status == 0
        steps: dict[int, list[str]] = {}
        for job in range(KILLS):
            where = WHERES[job % len(WHERES)]
            assert killed(job, chance.randint(1, lines[where]), where) == (9, 0)
            waiting = [name.removesuffix(".json") for name in os.listdir("batch/inbox") if name[0] != "."]
            known = {id for (id,) in rows("select id from report")}
            before = happened(batch, job)
            window = "reported" if set(waiting) - known else "in the store and reported" if waiting else ""
            windows[window or ("in the store" if before else "not reported")] += 1
            psu.get_queue(Verbose=False)  # whoever looks next takes up what was reported
            steps[job] = happened(batch, job)
            # What was reported is in the store now, and nothing else.
            assert len(steps[job]) == len(before) + len(set(waiting) - known)
        forge.stdin.close()
    print(dict(windows))
    assert windows.keys() == WINDOWS, dict(windows)
    for job, told in steps.items():
        assert told == STEPS[: len(told)], (job, told)
        assert psu.get_job_info(batch, job)["state"] == (told or ["submit"])[-1]
    assert rows("select count(*) from event where kind = 'refused'") == [(0,)]
    assert rows("pragma integrity_check") == [("ok",)]
    assert [name for name in os.listdir("batch/inbox") if name[0] != "."] == []


def happened(batch: int, job: int) -> list[str]:
    """The states that it came into, by the log of events."""
    found = rows(
        f"select told from event where batch_id = {batch} and job_index = {job} and kind = 'changed' order by id"
    )
    return [told["state"][1] for (text,) in found if "state" in (told := json.loads(text))]


@pytest.mark.timeout(180)
def test_no_statement_needs_more_of_sqlite_than_its_usual_build_gives(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's takes 250,000 values in a statement, others 32,766. Here fewer than there are jobs must do."""
    count = 1_100
    connect = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*arguments, **options)
        made.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1_050)
        return made

    monkeypatch.setattr(sqlite3.dbapi2, "connect", limited)
    monkeypatch.setattr(sqlite3, "connect", limited)
    batch = batches.add(*["true"] * count)
    by = psu.FileJobExecutor("jobs.sh")
    assert psu.submit_jobs(Executor=by) == count
    assert psu.set_batch_field(batch) == count
    assert psu.submit_jobs(Executor=by) == count
    assert psu.set_job_field(batch, range(count), {"sample": "liver"}) == count
    inbox = batches.place / "batch" / "inbox"
    inbox.mkdir()
    for index in range(count):
        report = {"kind": "complete" if index % 2 else "begin", "by": [batch, index, 2, 0]}
        (inbox / f"{index:020d}-1-ab.json").write_text(json.dumps(report))
    assert set(states(batch)) == {"complete", "run"}
    assert psu.qdel_batch(batch) == count
    batches.reach(batch, *["cancelled", "complete"] * (count // 2))
    psu.set_batch_field(batch, {"state": "failed"}, Unless={})
    assert psu.get_queue(ResetMissing=True, Verbose=False) == {batch: {"init": list(range(count))}}
    assert psu.remove_batch(batch) == count
    assert [rows(f"select count(*) from {table}") for table in ("job", "attempt", "submission")] == [[(0,)]] * 3
