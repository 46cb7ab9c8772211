"""`coordinator batch ...` on this machine's own executor: real jobs, what people see and what programs do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from coordinator import batch as psu
from coordinator.executors.localjobs import LocalJobs
from tests.contract.jobs import document, ran
from tests.end_to_end.batches import HANG_S, WAIT, Batches, batches

pytestmark = pytest.mark.usefixtures("batches")
__all__ = ["batches"]

Capsys = pytest.CaptureFixture[str]


def batch(capsys: Capsys, kind: str, *words: object, status: int = 0) -> dict[str, Any]:
    return document(capsys, kind, "batch", *map(str, words), status=status)


def added(capsys: Capsys, script: str, *words: object) -> int:
    return int(batch(capsys, "batch_added", "add", "--script", script, *words)["batch"])


def waited(capsys: Capsys, *words: object, status: int = 0) -> dict[str, Any]:
    """Its progress is on stderr."""
    found, out, _ = ran(capsys, "batch", "submit", "--wait", "--json", *map(str, words))
    assert found == status
    told: dict[str, Any] = json.loads(out)
    return told


def states(capsys: Capsys, id: int) -> dict[str, list[int]]:
    (one,) = batch(capsys, "batches", "list", id)["batches"]
    found: dict[str, list[int]] = one["states"]
    return found


def reasons(capsys: Capsys, id: int, *job: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch(capsys, "batch_job_why" if job else "batch_why", "why", id, *job)["reasons"]
    return found


# --- one batch from its making to its removal ------------------------------------------------------------


def test_a_batch_is_made_submitted_waited_for_shown_and_removed(capsys: Capsys) -> None:
    status, out, err = ran(capsys, "batch", "add", "--script", "echo job {JobIndex}", "--count", "3", "--name", "try")
    assert status == 0
    assert re.fullmatch(r"\d{14}\n", out)
    id = int(out)
    assert err == f"3 jobs; start: coordinator batch submit {id}\n"
    assert waited(capsys, id) == {
        "version": 1, "kind": "batch_wait", "total": 3, "complete": 3, "failed": 0, "stuck": 0,
    }  # fmt: skip
    (one,) = batch(capsys, "batches", "list", "--filter", 'name = "try"')["batches"]
    assert (one["batch"], one["name"], one["states"], one["missing"]) == (id, "try", {"complete": [0, 1, 2]}, [])
    assert [job["state"] for job in batch(capsys, "batch", "show", id)["jobs"]] == ["complete"] * 3
    assert batch(capsys, "batch_log", "log", id, 1)["lines"] == ["job 1"]
    assert batch(capsys, "batch_remove", "remove", id, "--yes")["jobs"] == 3
    assert batch(capsys, "batches", "list")["batches"] == []


def test_a_failed_job_tells_how_why_and_what_to_do_and_runs_again_with_more(capsys: Capsys) -> None:
    script = "test -e mended || { echo 'no such thing' >&2; exit 3; }"
    id = added(capsys, script, "--count", 3, "--memory", "500mb", "--time", "1h")
    assert waited(capsys, id, status=1)["failed"] == 3
    attempt = batch(capsys, "batch_job", "show", id, 1)["job"]["attempts"][0]
    assert (attempt["outcome"], attempt["exit_code"], attempt["executor"]) == ("failed", 3, "local")
    assert (attempt["used"]["memory_asked"], attempt["used"]["time_s"]) == (500 << 20, 3600)
    (reason,) = reasons(capsys, id, 1)
    assert "failed" in reason["what"]
    assert "exit status 3" in reason["why"]
    assert "no such thing" in reason["why"]
    (most,) = reasons(capsys, id)
    assert (most["count"], most["jobs"], most["why"]) == (3, [0, 1, 2], "exit status 3")
    assert most["next"] == f"coordinator batch rerun {id} 0-2"
    Path("mended").touch()
    again = batch(capsys, "batch_rerun", "rerun", id, "--failed", "--memory", "x2", "--time", "2h")
    assert (again["jobs"], again["submitted"]) == ([0, 1, 2], 3)
    assert waited(capsys, id)["complete"] == 3
    shown = batch(capsys, "batch_job", "show", id, 1)["job"]
    assert [(one["number"], one["outcome"]) for one in shown["attempts"]] == [(1, "failed"), (2, "ok")]
    assert shown["attempts"][1]["used"]["memory_asked"] == 1000 << 20
    assert shown["attempts"][1]["used"]["time_s"] == 7200
    assert (shown["info"]["resources"]["mem"], shown["info"]["resources"]["time"]) == ("1000mb", "2h")
    assert batch(capsys, "batch_log", "log", id, 1, "--stderr", "--attempt", 1)["lines"] == ["no such thing"]


def test_a_job_that_meets_its_time_limit_is_told_to_ask_for_more(capsys: Capsys) -> None:
    id = added(capsys, "sleep 1000", "--time", "1s")
    waited(capsys, id, status=1)
    (reason,) = reasons(capsys, id, 0)
    assert "time limit" in reason["why"]
    assert reason["next"] == f"coordinator batch rerun {id} 0 --time x2"
    assert reasons(capsys, id)[0]["next"] == f"coordinator batch rerun {id} 0 --time x2"


def test_what_a_job_used_is_told_of_one_that_ended_well_too(capsys: Capsys) -> None:
    hungry = "b = bytearray(80 << 20); b[::4096] = b'x' * len(b[::4096])"
    id = added(capsys, f'{sys.executable} -c "{hungry}"', "--memory", "800mb")
    waited(capsys, id)
    used = batch(capsys, "batch_job", "show", id, 0)["job"]["attempts"][0]["used"]
    assert 80 << 20 < used["memory"] < 300 << 20
    assert 0.1 < used["memory_share"] < 0.4
    assert batch(capsys, "batch", "show", id)["jobs"][0]["newest"]["used"]["memory"] == used["memory"]
    _, out, _ = ran(capsys, "batch", "show", str(id), "0")
    assert re.search(r"memory +\d+\.\d MiB at most of 800\.0 MiB asked \(\d+%\)", out)


def test_reasons_are_counted_the_most_frequent_first_and_three_at_most(capsys: Capsys) -> None:
    id = added(capsys, "exit $(( {JobIndex} % 5 + 1 - ({JobIndex} > 4) * ({JobIndex} % 5) ))", "--count", 8)
    waited(capsys, id, status=1)
    found = reasons(capsys, id)
    assert [(one["why"], one["jobs"]) for one in found[:1]] == [("exit status 1", [0, 5, 6, 7])]
    assert len(found) == 3
    assert found[0]["next"] == f"coordinator batch rerun {id} 0 5-7"


def test_a_dry_run_shows_the_command_and_the_script_and_leaves_nothing(capsys: Capsys, tmp_path: Path) -> None:
    id = added(capsys, "echo {JobIndex}", "--count", 2)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    (one,) = batch(capsys, "batch_dry_run", "submit", "--dry-run")["submissions"]
    assert one["command"][0] == "/bin/sh"
    assert one["script"].startswith("#!/bin/sh\n")
    assert ["echo 0" in one["table"][0], "echo 1" in one["table"][1]] == [True, True]
    status, out, _ = ran(capsys, "batch", "submit", "--dry-run")
    assert status == 0
    assert out.startswith("$ /bin/sh ")
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert states(capsys, id) == {"init": [0, 1]}


def test_a_dry_run_shows_each_array_and_names_jobs_that_would_fail(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = added(capsys, "echo {JobIndex}", "--count", 4)
    psu.set_job_field(id, 1, {"script": "echo {nothing}"})
    monkeypatch.setattr(LocalJobs, "largest_array", lambda _: 2)
    told = batch(capsys, "batch_dry_run", "submit", "--dry-run", status=1)
    assert [len(one["table"]) for one in told["submissions"]] == [2, 1]
    ((index, words),) = [(one["job"], one["words"]) for one in told["refused"]]
    assert (index, "{nothing}" in words) == (1, True)
    status, out, _ = ran(capsys, "batch", "submit", "--dry-run")
    assert status == 1
    assert f"job 1 of batch {id} would fail: " in out
    assert states(capsys, id) == {"init": [0, 1, 2, 3]}


def test_a_dry_run_shows_what_would_go_now_and_says_how_many_would_not(capsys: Capsys) -> None:
    id = added(capsys, "echo {JobIndex}", "--count", 5)
    place = Path(psu.config.JobDir)
    place.mkdir(exist_ok=True)
    (place / "maxjobs").write_text("3")
    told = batch(capsys, "batch_dry_run", "submit", "--dry-run")
    assert [len(one["table"]) for one in told["submissions"]] == [3]
    assert (told["not_now"], told["behind"], told["stuck"]) == (["maxjobs (3) is reached"], 2, {})
    assert batch(capsys, "batch_dry_run", "submit", "--dry-run", "--max", 7)["behind"] == 0
    _, out, _ = ran(capsys, "batch", "submit", "--dry-run", "--max", "1")
    assert out.endswith("4 more would wait: maxjobs (1) is reached\n")
    _, out, _ = ran(capsys, "batch", "submit", "--dry-run", "--max", "0")
    assert out == "no job may go now\n5 more would wait: maxjobs (0) is reached\n"
    assert len(batch(capsys, "batch_submit", "submit", "--max", 3)["submitted"]) == 3
    assert states(capsys, id)["init"] == [3, 4]


# --- cancel, follow, interrupt ---------------------------------------------------------------------------


def test_cancelled_are_those_that_run_with_all_they_started_and_those_that_wait(
    batches: Batches, capsys: Capsys
) -> None:
    os.mkfifo("alive")
    script = "if [ {JobIndex} = 0 ]; then exec 3>alive; echo up >&3; sleep 1000; else touch begun.{JobIndex}; fi"
    id = added(capsys, script, "--count", 3)
    assert batch(capsys, "batch_submit", "submit", "--max", 1)["submitted"] == [[id, 0]]
    with open("alive") as alive:
        assert alive.readline() == "up\n"
        found = batch(capsys, "batch_cancel", "cancel", id)
        assert (found["waited"], found["ended"], found["not_ended"]) == (2, 1, [])
        assert alive.read() == ""  # nobody holds it any more
    batches.until(lambda: states(capsys, id) == {"cancelled": [0, 1, 2]})
    assert not list(Path.cwd().glob("begun.*"))
    assert "cancelled" in reasons(capsys, id, 0)[0]["what"]
    again = batch(capsys, "batch_rerun", "rerun", id, "1,2", "--no-submit")
    assert (again["jobs"], again["submitted"]) == ([1, 2], 0)
    assert states(capsys, id) == {"init": [1, 2], "cancelled": [0]}


def test_a_log_is_followed_until_its_attempt_is_over(batches: Batches, capsys: Capsys) -> None:
    id = added(capsys, f"echo first; {WAIT}; echo last; exit 4")
    batch(capsys, "batch_submit", "submit")
    words = [sys.executable, "-m", "coordinator", "batch", "log", str(id), "0", "--follow"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "first\n"
        assert follower.poll() is None
        batches.go()
        out, err = follower.communicate(timeout=HANG_S)
    assert (out, err, follower.returncode) == ("last\n", "attempt 1: failed, exit status 4\n", 0)


def test_ctrl_c_while_waiting_leaves_the_jobs_running_and_says_so(batches: Batches, capsys: Capsys) -> None:
    id = added(capsys, f"touch begun; {WAIT}")
    words = [sys.executable, "-m", "coordinator", "batch", "submit", "--wait"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as waiter:
        batches.until(lambda: Path("begun").exists())
        waiter.send_signal(signal.SIGINT)
        _, err = waiter.communicate(timeout=HANG_S)
    assert waiter.returncode == 130
    assert err.endswith("The jobs go on; coordinator batch submit --wait waits for them again.\n")
    assert states(capsys, id) == {"run": [0]}
    (reason,) = reasons(capsys, id, 0)
    assert "runs on" in reason["what"]
    batches.go()
    assert waited(capsys, id)["complete"] == 1


def test_a_job_that_runs_is_ended_before_it_is_run_again(batches: Batches, capsys: Capsys) -> None:
    id = added(capsys, f"touch begun; echo run >> runs; {WAIT}; echo done >> runs")
    batch(capsys, "batch_submit", "submit")
    batches.until(lambda: Path("begun").exists())
    assert batch(capsys, "batch_rerun", "rerun", id, 0)["jobs"] == [0]
    batches.until(lambda: batch(capsys, "batch_job", "show", id, 0)["job"]["attempts"][0]["outcome"] == "cancelled")
    batches.go()
    status, out, _ = ran(capsys, "batch", "rerun", str(id), "0", "--wait", "--json")
    told = json.loads(out)
    assert (status, told["kind"], told["complete"]) == (0, "batch_wait", 1)
    assert Path("runs").read_text().split()[-2:] == ["run", "done"]
    assert Path("runs").read_text().split().count("done") == 1
    assert batch(capsys, "batch_job", "show", id, 0)["job"]["attempts"][-1]["outcome"] == "ok"


def test_waiting_ends_where_nothing_can_go_on(capsys: Capsys) -> None:
    script = f"{sys.executable} -c 'from coordinator import batch; batch.get_job_info(SetID=True)'"
    id = added(capsys, script)
    assert waited(capsys, id, status=1)["stuck"] == 1
    (reason,) = reasons(capsys, id, 0)
    assert "nobody is at it any more" in reason["what"]
    assert "set_complete" in reason["next"]


# --- retries and dependencies ----------------------------------------------------------------------------

COUNTED = 'echo x >> tries.{JobIndex}; test "$(wc -l < tries.{JobIndex})" -gt 2'


def test_a_job_that_fails_twice_and_then_succeeds_is_complete(capsys: Capsys) -> None:
    id = added(capsys, COUNTED, "--retries", "exit=2,backoff_s=0.1")
    assert waited(capsys, id)["complete"] == 1
    attempts = batch(capsys, "batch_job", "show", id, 0)["job"]["attempts"]
    assert [one["outcome"] for one in attempts] == ["failed", "failed", "ok"]


def test_a_cause_that_is_not_named_is_not_tried_again(capsys: Capsys) -> None:
    id = added(capsys, COUNTED, "--retries", "signal=5,backoff_s=0")
    assert waited(capsys, id, status=1)["failed"] == 1
    assert len(batch(capsys, "batch_job", "show", id, 0)["job"]["attempts"]) == 1


def test_a_job_killed_by_a_signal_is_tried_again_for_that(capsys: Capsys) -> None:
    script = "test -e once && exit 0; touch once; kill -9 $$"
    id = added(capsys, script, "--retries", "signal=1,backoff_s=0")
    waited(capsys, id)
    attempts = batch(capsys, "batch_job", "show", id, 0)["job"]["attempts"]
    assert [(one["outcome"], one["signal"]) for one in attempts] == [("failed", 9), ("ok", None)]


def test_retries_that_are_used_up_begin_anew_when_somebody_sets_the_job_back(capsys: Capsys) -> None:
    id = added(capsys, COUNTED, "--retries", "exit=1,backoff_s=0")
    waited(capsys, id, status=1)
    Path("tries.0").unlink()
    batch(capsys, "batch_rerun", "rerun", id, "--failed", "--no-submit")
    waited(capsys, id, status=1)
    assert len(Path("tries.0").read_text().split()) == 2


def test_the_time_of_the_next_try_is_told_and_rerun_does_not_wait_for_it(batches: Batches, capsys: Capsys) -> None:
    id = added(capsys, "test -e mended", "--retries", "any=3,backoff_s=3000")
    batch(capsys, "batch_submit", "submit")
    batches.until(lambda: states(capsys, id) == {"init": [0]})
    (reason,) = reasons(capsys, id, 0)
    said = re.search(r"is tried again at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d), in", reason["what"])
    assert said is not None
    in_s = time.mktime(time.strptime(said[1], "%Y-%m-%d %H:%M:%S")) - time.time()
    assert 2000 < in_s < 3800
    assert "exit status 1" in reason["why"]
    assert batch(capsys, "batch_submit", "submit")["submitted"] == []
    Path("mended").touch()
    assert batch(capsys, "batch_rerun", "rerun", id, 0)["submitted"] == 1
    assert waited(capsys, id)["complete"] == 1


def jobs(capsys: Capsys, *told: tuple[str, Any]) -> int:
    """A batch of (script, after)."""
    id = psu.get_id()
    infos = [
        {**psu.get_job_template(), "BatchID": id, "JobIndex": index, "name": "tied", "script": script, "after": after}
        for index, (script, after) in enumerate(told)
    ]
    psu.add_batch_to_queue(id, infos)
    return id


def test_jobs_go_in_the_order_of_their_dependencies(capsys: Capsys) -> None:
    id = jobs(
        capsys, ("echo 0 >> order", {"ok": [1]}), ("echo 1 >> order", {"any": [2]}), ("echo 2 >> order; exit 1", None),
        ("echo 3 >> order", {"failed": [2]}), ("echo 4 >> order", {"failed": [1]}), ("echo 5 >> order", {"ok": [2]}),
    )  # fmt: skip
    assert batch(capsys, "batch_submit", "submit")["submitted"] == [[id, 2]]
    assert waited(capsys, id, status=1)["stuck"] == 2
    order = Path("order").read_text().split()
    assert sorted(order) == ["0", "1", "2", "3"]
    assert order.index("2") < order.index("1") < order.index("0")
    assert states(capsys, id) == {"complete": [0, 1, 3], "failed": [2], "init": [4, 5]}
    assert "for the failure of job 1" in reasons(capsys, id, 4)[0]["what"]
    assert f"it depends on job 2 of batch {id}, which is failed" in reasons(capsys, id, 5)[0]["what"]
    assert batch(capsys, "batches", "list")["batches"][0]["stuck"] is not None


def test_a_job_whose_parent_was_removed_says_so_and_nobody_waits_for_it(capsys: Capsys) -> None:
    first = jobs(capsys, ("true", None))
    second = jobs(capsys, ("true", {"ok": [[first, 0]]}))
    batch(capsys, "batch_remove", "remove", first, "--yes")
    assert waited(capsys, status=1)["stuck"] == 1
    assert f"job 0 of batch {first}, which was removed" in reasons(capsys, second, 0)[0]["what"]


def test_a_batch_that_is_submitted_alone_sees_jobs_of_others_that_it_depends_on(capsys: Capsys) -> None:
    first = jobs(capsys, ("true", None))
    second = jobs(capsys, ("true", {"ok": [[first, 0]]}))
    assert psu.submit_one_batch(second) == 0
    waited(capsys, first)
    assert psu.submit_one_batch(second) == 1
    waited(capsys, second)


# --- what is refused, and what is data -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("list",), 1, "There are no batches here"),
        (("show", "7"), 1, "There are no batches here"),
        (("show", "x"), 2, "is not a valid integer"),
        (("rerun", "7"), 2, "say which: JOB..., --failed, or --all"),
        (("cancel", "7", "3-1"), 2, "is no job: write 4, 0-9 or 3,5-7"),
        (("add", "--script", "true", "--memory", "much"), 1, "memory: 'much' is no size"),
        (("add", "--script", "true", "--retries", "memry=1"), 1, "did you mean 'memory'?"),
        (("add", "--script", "true", "--retries", "exit"), 2, "is not CAUSE=N"),
        (("add", "--script", "echo {nothing}"), 1, "nothing"),
        (("submit", "--executor", "abacus"), 2, "there is no executor 'abacus'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_made(
    capsys: Capsys, tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    found, out, err = ran(capsys, "batch", *words)
    assert (found, out) == (status, "")
    assert said in err
    assert not (tmp_path / "batch").exists()


def test_a_batch_or_a_job_that_is_not_there_is_said(capsys: Capsys) -> None:
    id = added(capsys, "true")
    for words in (("why", "7"), ("show", str(id), "5"), ("cancel", str(id), "5"), ("rerun", "7", "--failed"),
                  ("remove", "7", "--yes"), ("log", str(id), "0")):  # fmt: skip
        status, out, err = ran(capsys, "batch", *words)
        assert (status, out) == (1, "")
        assert "no" in err
    assert states(capsys, id) == {"init": [0]}


def test_store_and_directory_are_where_they_are_said_to_be_and_next_commands_say_so(
    capsys: Capsys, tmp_path: Path
) -> None:
    where = ["--store", str(tmp_path / "there.db"), "--directory", str(tmp_path / "files")]
    id = added(capsys, "exit 1", *where)
    assert (tmp_path / "there.db").exists()
    waited(capsys, *where, status=1)
    (reason,) = batch(capsys, "batch_why", "why", id, *where)["reasons"]
    assert set(where) <= set(reason["next"].split())
    assert batch(capsys, "batch_job", "show", id, 0, *where)["job"]["attempts"][0]["stdout"].startswith(where[3])
    assert not (tmp_path / "batch").exists()


EVIL = "[bold red]\x1b[2Jname[/]"


def test_names_and_output_are_data_on_a_terminal(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    id = added(capsys, "printf '\\033[2J[bold]gone[/]' >&2; exit 1", "--name", EVIL)
    waited(capsys, id, status=1)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for words in (("list",), ("show", str(id)), ("show", str(id), "0"), ("why", str(id), "0"), ("why", str(id)),
                  ("log", str(id), "0", "--stderr")):  # fmt: skip
        _, out, err = ran(capsys, "batch", *words)
        assert "\x1b[2J" not in out + err
        if words[0] in ("list", "log") or words == ("show", str(id), "0"):
            assert "[bold" in out


def test_list_shows_only_the_states_that_are_asked_for(capsys: Capsys) -> None:
    id = added(capsys, "test {JobIndex} = 0", "--count", 2)
    waited(capsys, id, status=1)
    assert batch(capsys, "batches", "list", "--state", "failed")["batches"][0]["states"] == {"failed": [1]}
    assert batch(capsys, "batches", "list", "--filter", "JobIndex = 0")["batches"][0]["states"] == {"complete": [0]}
    _, out, _ = ran(capsys, "batch", "list")
    assert "running/complete/total: 0/1/2" in out


def test_two_that_wait_at_once_submit_every_job_once(capsys: Capsys) -> None:
    id = added(capsys, "echo {JobIndex} >> ran", "--count", 6)
    words = [sys.executable, "-m", "coordinator", "batch", "submit", "--wait", str(id)]
    others = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    done = threading.Timer(HANG_S, lambda: [other.kill() for other in others])
    done.start()
    assert [other.wait() for other in others] == [0, 0]
    done.cancel()
    assert sorted(Path("ran").read_text().split()) == [str(index) for index in range(6)]
