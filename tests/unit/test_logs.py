"""The log: one line per event, private, never a reason to fail."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator import errors, logs, procs

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ")


@pytest.fixture
def lines(tmp_path) -> Callable[[], list[str]]:
    """Opens job.log; called, returns its lines without their time."""
    logs.open_log(tmp_path / "job.log")

    def read() -> list[str]:
        found = (tmp_path / "job.log").read_text().splitlines()
        return [STAMP.sub("", line) if STAMP.match(line) else line for line in found]

    return read


log = logging.getLogger("coordinator.some.room")


def test_an_event_is_a_line_with_its_time(lines, tmp_path):
    log.info("given id=%s host=%s", "a", "node1")
    assert lines() == ["given id=a host=node1"]
    assert STAMP.match((tmp_path / "job.log").read_text())
    assert stat.S_IMODE((tmp_path / "job.log").stat().st_mode) == 0o600


def test_a_second_life_goes_on_below_the_first(lines, tmp_path):
    log.info("one")
    logs.open_log(tmp_path / "job.log")
    log.info("two")
    assert lines() == ["one", "two"]


def test_what_is_wrong_says_so(lines):
    log.warning("resting host=%s", "node1")
    log.error("failed")
    assert lines() == ["warning: resting host=node1", "error: failed"]


def test_of_a_task_that_goes_on_only_an_end_by_a_fault_is_told(lines):
    async def end(fault: Exception | None) -> None:
        async def work() -> None:
            if fault is not None:
                raise fault
            await asyncio.Event().wait()

        task = asyncio.get_running_loop().create_task(work())
        task.add_done_callback(partial(logs.tell_of_end, log, "the beats ended"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(end(None))
    assert lines() == []
    asyncio.run(end(ValueError("x")))
    assert lines()[0] == "error: the beats ended: ValueError('x')"
    assert lines()[-1] == "    ValueError: x"


def test_a_value_cannot_forge_a_line(lines):
    log.info("given id=%s", "a\n2026-01-01 00:00:00.000 stopped\r\x1b[31m\x9b\u2028z\t")
    assert lines() == ["given id=a\\n2026-01-01 00:00:00.000 stopped\\r\\x1b[31m\\x9b\\u2028z\\t"]


@given(st.text())
def test_whatever_the_value_it_is_one_printable_line(value):
    record = logging.LogRecord("coordinator", logging.INFO, "", 0, "given id=%s", (value,), None)
    text = logs.LineFormatter().format(record)
    assert len(text.splitlines()) == 1
    text.encode("utf-8", "backslashreplace")


def test_names_of_files_with_foreign_bytes_can_be_logged(lines):
    log.info("read %s", os.fsdecode(b"caf\xe9"))
    assert lines() == ["read caf\\udce9"]


def test_a_traceback_stands_indented_below_its_line(lines):
    try:
        raise ValueError("two\nlines\x1b")
    except ValueError:
        log.exception("failed task=%d", 3)
    found = lines()
    assert found[0] == "error: failed task=3"
    assert found[1] == "    Traceback (most recent call last):"
    assert found[-2:] == ["    ValueError: two", "    lines\\x1b"]
    assert all(line.startswith("    ") for line in found[1:])


def test_a_traceback_that_came_as_text_stands_there_too(lines):
    log.info("failed task=3", extra={"traceback": "Traceback:\n  x\rforged\nValueError\n"})
    assert lines() == ["failed task=3", "    Traceback:", "      x\\rforged", "    ValueError"]


def test_without_a_path_the_lines_go_to_stderr(capsys):
    logs.open_log(None)
    log.info("started")
    assert capsys.readouterr().err.endswith(" started\n")


def test_a_root_logger_that_the_user_set_up_gets_nothing_of_ours(lines):
    received: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = received.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        log.info("given")
    finally:
        logging.getLogger().removeHandler(handler)
    assert received == []
    assert lines() == ["given"]


def test_a_log_that_cannot_be_opened_is_an_error_at_the_start(tmp_path):
    with pytest.raises(FileNotFoundError):
        logs.open_log(tmp_path / "none" / "job.log")
    os.symlink(tmp_path / "target", tmp_path / "job.log")
    with pytest.raises(errors.StateError, match="symbolic link"):
        logs.open_log(tmp_path / "job.log")


def test_a_log_that_cannot_be_opened_leaves_the_old_one_open(lines, tmp_path):
    with pytest.raises(FileNotFoundError):
        logs.open_log(tmp_path / "none" / "job.log")
    log.info("still here")
    assert lines() == ["still here"]


def test_closing_gives_the_descriptor_back(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    logs.open_log(tmp_path / "job.log")
    logs.close_log()
    logs.close_log()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert logging.getLogger("coordinator").propagate


def test_a_wrong_call_does_not_stop_the_work(lines, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.info("given %d", "no number")
    log.info("next")
    assert lines() == ["next"]


def test_a_full_disk_raises_nothing_and_the_loss_is_told_when_there_is_room(tmp_path):
    """A limit on the size of files in a child stands for the full disk: the line that crosses it is written in part."""

    def child() -> int:
        import resource

        logs.open_log(tmp_path / "job.log")
        log.info("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        for number in range(10):
            log.info("event %d %s", number, "x" * 40)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        log.info("room again")
        log.info("last")
        return 0

    assert procs.reap(procs.fork(child)) == "exit status 0"
    found = (tmp_path / "job.log").read_text().splitlines()
    assert found[0].endswith(" first")
    assert len("\n".join(found[:2])) == 100  # the torn line, ended before the next
    assert found[2].endswith(" warning: lost 10 lines of this log, which could not be written")
    assert found[3].endswith(" room again")
    assert found[4].endswith(" last")
    assert len(found) == 5


def test_a_full_device_raises_nothing(lines):
    full = os.open("/dev/full", os.O_WRONLY)
    handler = logs._LineHandler(full)
    try:
        handler.emit(logging.LogRecord("coordinator", logging.INFO, "", 0, "lost", (), None))
        handler.emit(logging.LogRecord("coordinator", logging.INFO, "", 0, "lost", (), None))
        assert handler._lost == 2
    finally:
        handler.close()


def test_a_closed_stderr_raises_nothing(monkeypatch):
    logs.open_log(None)
    monkeypatch.setattr("sys.stderr", None)
    log.info("nobody reads this")


# --- trickle ---------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_events_up_to_the_rate_are_logged_and_the_rest_counted(lines):
    clock = Clock()
    trickle = logs.Trickle(log, "exchanges", rate_per_s=3, clock=clock)
    assert [trickle.info("exchange n=%d", n) for n in range(10)] == [True] * 3 + [False] * 7
    trickle.tick()
    assert len(lines()) == 3  # the window is not over
    clock.now_s += 2
    assert trickle.info("exchange n=%d", 10)
    assert lines() == [
        "exchange n=0",
        "exchange n=1",
        "exchange n=2",
        "counted 7 more exchanges in 2.0 s",
        "exchange n=10",
    ]


def test_the_count_appears_although_nothing_follows(lines):
    clock = Clock()
    trickle = logs.Trickle(log, "exchanges", rate_per_s=1, clock=clock)
    for _ in range(5):
        trickle.info("exchange")
    clock.now_s += 1
    trickle.tick()
    trickle.tick()
    assert lines() == ["exchange", "counted 4 more exchanges in 1.0 s"]


def test_a_rate_below_one_is_one_line_in_a_longer_time(lines):
    clock = Clock()
    trickle = logs.Trickle(log, "beats", rate_per_s=0.1, clock=clock)
    shown = 0
    for _ in range(60):
        shown += trickle.info("beat")
        clock.now_s += 1
    assert shown == 6


def test_at_the_end_the_count_is_flushed(lines):
    trickle = logs.Trickle(log, "exchanges", rate_per_s=1, clock=Clock())
    trickle.info("exchange")
    trickle.info("exchange")
    trickle.flush()
    trickle.flush()
    assert lines() == ["exchange", "counted 1 more exchanges in 0.0 s"]


def test_no_event_is_lost_between_lines_and_counts(lines):
    clock = Clock()
    trickle = logs.Trickle(log, "exchanges", rate_per_s=7, clock=clock)
    for _ in range(1000):
        trickle.info("exchange")
        clock.now_s += 0.013
    trickle.flush()
    found = lines()
    counted = sum(int(line.split()[1]) for line in found if line.startswith("counted"))
    assert found.count("exchange") + counted == 1000


def test_the_log_file_is_named_as_the_job(tmp_path):
    logs.open_log(Path("job.log"))
    assert (tmp_path / "job.log").exists()
