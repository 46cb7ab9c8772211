"""ResourceControllers and Coordinators as daemons, and the commands that people type at them from any directory."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.wire.client import split_url
from tests.end_to_end.daemons import CALM, ROOT, Daemons, end_process, lives, until

pytestmark = pytest.mark.e2e

CONTROLLER = os.fspath(ROOT / "coordinator.py")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another directory than that of the job."""
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens at, on every interface."""
    with socket.create_server(("", 0)) as listener:
        yield int(listener.getsockname()[1])


def job_of(daemons: Daemons, name: str) -> dict[str, Any]:
    return dict(daemons.document("status", name)["job"])


# --- starting ------------------------------------------------------------------------------------------


def test_the_prompt_returns_with_url_pid_and_log_of_a_process_that_serves(daemons: Daemons) -> None:
    url = daemons.controller()
    run = daemons.job("one", url)
    for told, log in ((daemons.started[0].pid, "bigcheese.log"), (run["pid"], "one.log")):
        assert os.getsid(told) == told, "it has left the terminal's session"
        assert [os.readlink(f"/proc/{told}/fd/{n}") for n in (0, 1, 2)] == [
            "/dev/null", *[os.fspath(daemons.directory / log)] * 2
        ]  # fmt: skip
        assert stat.S_IMODE((daemons.directory / log).stat().st_mode) == 0o600
    hosts = daemons.document("hosts", f"--rc_url={url}")
    assert (hosts["controller"], list(hosts["hosts"])) == ("bigcheese", ["localhost"])
    job = job_of(daemons, "one")
    assert (job["url"], job["pid"], job["log"]) == (run["url"], run["pid"], os.fspath(daemons.directory / "one.log"))


def test_a_job_takes_a_free_port_from_8888_up_unless_one_is_given(daemons: Daemons, taken: int) -> None:
    url = daemons.controller()
    ports = [daemons.job(name, url)["port"] for name in ("one", "two")]
    assert all(port >= 8888 for port in ports)
    assert len(set(ports)) == 2
    with socket.create_server(("", 0)) as free:
        given = int(free.getsockname()[1])
    assert daemons.job("three", url, f"--port={given}")["port"] == given
    ended = daemons.type("script.py", "four", f"--rc_url={url}", f"--port={taken}")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"{taken}" in ended.stderr
    assert "in use" in ended.stderr
    assert not (daemons.directory / "four.run").exists()


def test_a_controller_that_cannot_start_says_why_on_the_terminal_and_detaches_nothing(
    daemons: Daemons, taken: int
) -> None:
    def refused(*words: str, status: int = 1) -> str:
        ended = daemons.type(CONTROLLER, *words)
        assert (ended.returncode, ended.stdout) == (status, ""), ended
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) <= 4, ended.stderr
        return ended.stderr

    hosts = daemons.directory / "bigcheese.hosts"
    hosts.write_text("localhost 2.0\n")
    assert f"{taken}" in refused("--rc=bigcheese", f"--port={taken}")
    assert "in use" in refused("--rc=bigcheese", f"--port={taken}")
    for line in ("node1 fast", "node1 maxload=2,colour=red", "localhost", "-x 1", "node1 2.0 3.0", "node1 -1", "a/b"):
        hosts.write_text(f"# our hosts\n\nlocalhost\nnode2 2.0\nnode3 maxload=2.0,sshopts=-p 2222\n\n{line}\n")
        assert "bigcheese.hosts:7: " in refused("--rc=bigcheese", "--port=0"), line
    hosts.unlink()
    assert "bigcheese.hosts" in refused("--rc=bigcheese", "--port=0")
    refused("--rc", status=2)
    refused("--rc=", status=2)
    refused("--rc=a/b", "--port=0", status=2)
    refused("--rc=bigcheese", "--port=70000", status=2)
    assert not (daemons.directory / "bigcheese.rc.json").exists()


def test_a_job_that_cannot_start_says_why_on_the_terminal_and_detaches_nothing(daemons: Daemons) -> None:
    def refused(*words: str, status: int = 1, script: str = "script.py") -> str:
        ended = daemons.type(script, *words)
        assert (ended.returncode, ended.stdout) == (status, ""), ended
        return ended.stderr

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nobody = f"--rc_url=http://127.0.0.1:{port}"
    assert "tokens.json" in refused("one", nobody), "no token for that server: it names the file"
    assert f"127.0.0.1:{port}" in refused("one", f"--rc_url=http://me:x@127.0.0.1:{port}")
    url = daemons.controller()
    port = split_url(url)[1]
    assert "token" in refused("one", f"--rc_url=http://me:wrong@{split_url(url)[0]}:{port}")
    assert daemons.document("hosts", f"--rc_url={url}")["hosts"], "a wrong token is not kept"
    said = refused("one", f"--rc_url={url}", script=os.fspath(daemons.script(["genome"], "needs.py")))
    assert "genome" in said
    assert "setrule" in said
    (daemons.directory / "broken.py").write_text("import no_such_module\n")
    assert "no_such_module" in refused("one", f"--rc_url={url}", script="broken.py")
    assert not (daemons.directory / "one.run").exists()
    daemons.job("one", url)
    assert "being served already" in refused("one", f"--rc_url={url}")
    assert daemons.document("stop", "--rc=bigcheese")["ended"]
    said = refused("two", f"--rc_url={url}")
    assert "coordinator --rc=NAME" in said
    assert "--local" in said


# --- a ResourceController goes, its jobs stay ------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill -9"])
def test_jobs_do_not_notice_that_their_controller_went_and_register_when_it_is_back(daemons: Daemons, how: str) -> None:
    url = daemons.controller()
    run = daemons.job("one", url)
    pids = set(daemons.busy(2).values())
    daemons.job("two", url)
    if how == "stop":
        content = daemons.document("stop", "--rc=bigcheese")
        assert (content["ended"], content["jobs"]) == (True, 2)
    else:
        end_process(daemons.started[0], signal.SIGKILL)
    assert not lives(daemons.started[0].pid)
    daemons.touch("go")
    daemons.busy(20)
    job = job_of(daemons, "one")
    assert (job["state"], job["pid"], job["life"]) == ("running", run["pid"], 1)
    assert {one["pid"] for one in job["processors"]} == pids, "it has the processors that it had"
    assert any("ResourceController" in one["next"] + one["why"] for one in daemons.document("why", "one")["reasons"])

    assert daemons.controller_again(f"--port={split_url(url)[1]}", CALM) == url

    def queue() -> list[tuple[str, str, int]]:
        jobs = daemons.document("jobs", f"--rc_url={url}")["jobs"]
        return [(one["name"], one["run"], one["slots"]) for one in jobs if one.get("slots") is not None]

    second = daemons.run_file("two")["run"]
    until(lambda: queue() == [("one", run["run"], 2), ("two", second, 0)], "the jobs are in their places again")
    until(lambda: daemons.document("hosts", f"--rc_url={url}")["hosts"]["localhost"]["processors"] == 2, "counted")
    assert {one["pid"] for one in job_of(daemons, "one")["processors"]} == pids
    assert "resource controller away" in daemons.log("one")
    assert "resource controller back" in daemons.log("one")


# --- several jobs, several hosts -------------------------------------------------------------------------


def test_jobs_run_in_the_order_of_the_queue_and_immediate_ones_share(daemons: Daemons) -> None:
    url = daemons.controller("localhost 4.0\n")

    def slots() -> dict[str, tuple[str, int]]:
        jobs = daemons.document("jobs", f"--rc_url={url}")["jobs"]
        return {one["name"]: (one["state"], one["slots"]) for one in jobs if one["state"] in ("running", "queued")}

    daemons.job("one", url)
    daemons.busy(4)
    daemons.job("two", url)
    assert slots() == {"one": ("running", 4), "two": ("queued", 0)}
    why = daemons.document("why", "two", f"--rc_url={url}")["reasons"]
    assert any("position 1 of 1" in one["what"] and "'one'" in one["why"] for one in why)
    assert job_of(daemons, "two")["state"] == "starting"

    daemons.job("three", url, "--immediate")
    until(lambda: slots() == {"one": ("running", 2), "two": ("queued", 0), "three": ("running", 2)}, "they share")
    daemons.touch("go")  # those of one that are too many leave when their task is done
    until(lambda: len(job_of(daemons, "three")["processors"]) == 2, "three has its processors")
    assert len(job_of(daemons, "one")["processors"]) == 2

    for name in ("one", "three"):
        assert daemons.document("stop", name)["ended"]
    until(lambda: slots() == {"two": ("running", 4)}, "the next in the queue has all")
    until(lambda: len(job_of(daemons, "two")["processors"]) == 4, "and works")


def test_a_host_that_cannot_be_reached_is_reported_with_the_reason_and_the_job_goes_on(daemons: Daemons) -> None:
    url = daemons.controller("localhost 1.0\n")
    daemons.touch("go")
    daemons.job("one", url)
    (daemons.directory / "bigcheese.hosts").write_text("node1.example.org 2.0\nlocalhost 1.0\n")

    def host() -> dict[str, Any]:
        return dict(daemons.document("hosts", f"--rc_url={url}")["hosts"].get("node1.example.org", {"state": None}))

    until(lambda: "node1.example.org" in job_of(daemons, "one")["unreachable"], "the job tried it")
    until(lambda: host()["state"] == "unreachable", "the controller knows")
    reason = host()["reason"]
    assert "node1.example.org" in reason
    assert host()["since"] > 1e9
    daemons.busy(len(daemons.began()) + 3)
    job = job_of(daemons, "one")
    assert job["unreachable"]["node1.example.org"] == reason
    assert [one["host"] for one in job["processors"]] == ["localhost"]
    reasons = daemons.document("why", "one")["reasons"]
    assert any("node1.example.org" in one["what"] and one["why"] == reason for one in reasons)
    assert "node1.example.org" in daemons.coordinator("hosts", f"--rc_url={url}").stdout
    assert "unreachable" in daemons.coordinator("hosts", f"--rc_url={url}").stdout


def test_an_edited_hosts_file_is_taken_up_and_a_bad_edit_is_not(daemons: Daemons) -> None:
    url = daemons.controller("localhost 1.0\n")
    daemons.job("one", url)
    daemons.busy(1)
    hosts = daemons.directory / "bigcheese.hosts"
    hosts.write_text("localhost 3.0  # a larger one\n")
    daemons.touch("go")
    until(lambda: len(job_of(daemons, "one")["processors"]) == 3, "the new room is used")
    hosts.write_text("localhost 3.0\nnode1 many\n")
    problem = until(lambda: daemons.document("hosts", f"--rc_url={url}")["problem"], "the bad line is shown")
    assert problem.startswith("bigcheese.hosts:2: ") or "/bigcheese.hosts:2: " in problem
    assert daemons.document("hosts", f"--rc_url={url}")["hosts"]["localhost"]["maxload"] == 3.0


# --- commands ------------------------------------------------------------------------------------------


def test_the_commands_tell_of_a_running_job_from_another_directory(daemons: Daemons, elsewhere: Path) -> None:
    url = daemons.controller()
    daemons.touch("bad.0", "go.0")
    run = daemons.job("one", url, "--n=50")
    running = until(lambda: len(found := {k: v for k, v in daemons.began().items() if k != "0"}) == 2 and found, "two")

    def ask(*words: str, status: int = 0) -> dict[str, Any]:
        return daemons.document(*words, here=elsewhere, status=status)

    job = ask("status", "one")["job"]
    assert (job["name"], job["run"], job["state"], job["directory"]) == (
        "one", run["run"], "running", os.fspath(daemons.directory)
    )  # fmt: skip
    assert (job["done"], job["failed"], job["total"], job["running"]) == (0, 1, 50, 2)
    assert {(str(one["task"]), one["pid"]) for one in job["processors"]} == set(running.items())
    assert [(group["kind"], group["message"], group["count"], group["first_ids"]) for group in job["errors"]] == [
        ("ValueError", "bad 0", 1, [0])
    ]
    assert ask("status", os.fspath(daemons.directory / "one"))["job"]["run"] == run["run"]
    jobs = ask("jobs", f"--rc_url={url}")["jobs"]
    assert [(one["name"], one["processors"], one["slots"]) for one in jobs] == [("one", 2, 2)]
    errors = ask("errors", "one")["errors"]
    assert (errors[0]["kind"], errors[0]["first_ids"]) == ("ValueError", [0])
    assert "script.py" in errors[0]["traceback"]
    logs = ask("logs", "one")
    assert logs["log"] == os.fspath(daemons.directory / "one.log")
    assert any("coordinator started name=one" in line for line in logs["lines"])
    assert {one["pid"] for one in logs["processors"]} >= set(running.values())
    number = logs["processors"][0]["number"]
    assert ask("logs", "one", f"--processor={number}")["log"] == logs["processors"][0]["log"]
    assert ask("rules", f"--rc_url={url}")["rules"] == {}
    assert ask("why", "one")["reasons"]
    waited = ask("wait", "one", "--timeout=0.2", status=124)
    assert (waited["ended"], waited["job"]["state"]) == (False, "running")

    (daemons.directory / "bad.0").unlink()
    assert ask("redo", "one", "--failed") == {"version": 1, "kind": "redo", "job": "one", "count": 1, "running": True}
    daemons.touch("go")
    waited = ask("wait", "one")
    assert (waited["ended"], waited["job"]["state"], waited["job"]["done"]) == (True, "done", 50)
    results = {one["id"]: one["value"] for one in ask("results", "one")["results"]}
    assert results == {n: len(str(n)) for n in range(50)}


def test_the_commands_tell_of_a_job_that_has_ended_from_another_directory(daemons: Daemons, elsewhere: Path) -> None:
    url = daemons.controller()
    daemons.touch("bad.3", "bad.5")
    run = daemons.job("one", url, "--n=10", "--pause=0.001")
    daemons.touch("go")

    def ask(*words: str, status: int = 0) -> dict[str, Any]:
        return daemons.document(*words, here=elsewhere, status=status)

    waited = ask("wait", "one", status=1)
    assert (waited["ended"], waited["job"]["done"], waited["job"]["failed"]) == (True, 8, 2)
    until(lambda: not lives(run["pid"]), "its process ended")
    job = ask("status", "one")["job"]
    assert (job["state"], job["done"], job["failed"], job["total"]) == ("failed", 8, 2, 10)
    assert {one["count"] for one in ask("errors", "one")["errors"]} in ({1}, {2})
    assert {one["id"] for one in ask("errors", "one", "--each")["failures"]} == {3, 5}
    assert {one["id"] for one in ask("results", "one")["results"]} == set(range(10)) - {3, 5}
    logs = ask("logs", "one", "--lines=0")
    assert any("coordinator ended done=8 failed=2" in line for line in logs["lines"])
    assert logs["processors"]
    assert any("2" in one["what"] for one in ask("why", "one")["reasons"])
    assert ask("wait", "one", status=1)["ended"]
    assert ask("stop", "one", status=1)["error"]["message"].endswith("its state is 'failed'.")
    listed = daemons.document("jobs", f"--rc_url={url}")["jobs"]
    assert [(one["name"], one["state"], one["done"], one["failed"]) for one in listed] == [("one", "failed", 8, 2)]

    # redo at rest, then the same command again
    assert ask("redo", "one", "3", "7")["count"] == 2
    assert ask("status", "one")["job"]["state"] == "stopped"
    (daemons.directory / "bad.3").unlink()
    (daemons.directory / "bad.5").unlink()
    (daemons.directory / "go").unlink()
    again = daemons.job("one", url, "--n=10", "--pause=0.001")
    daemons.touch("go")
    assert ask("wait", "one")["job"]["done"] == 10
    until(lambda: not lives(again["pid"]), "its process ended")
    assert ask("errors", "one")["errors"] == []
    assert (daemons.directory / "one.error").read_text() == ""
    assert sorted(map(int, (daemons.directory / "one.success").read_text().split())) == list(range(10))


def test_stop_finishes_what_runs_and_the_same_command_at_once_goes_on(daemons: Daemons) -> None:
    url = daemons.controller()
    daemons.job("one", url, "--n=12")
    running = daemons.busy(2)
    stopping = subprocess.Popen(
        [sys.executable, "-m", "coordinator", "stop", "one"], cwd=daemons.directory, stdout=subprocess.PIPE, text=True
    )
    until(lambda: job_of(daemons, "one")["state"] == "stopping", "it is stopping")
    assert all(lives(pid) for pid in running.values()), "what runs is not killed"
    daemons.touch(*(f"go.{task_id}" for task_id in running))
    said, _ = stopping.communicate(timeout=30)
    assert stopping.returncode == 0
    assert "one: stopped" in said
    assert "goes on where it ended" in said
    assert daemons.began() == running, "nothing new began"
    daemons.touch("go")
    assert daemons.job("one", url, "--n=12")["pid"]  # at once: the name is free when the prompt is back
    assert daemons.document("wait", "one")["job"]["done"] == 12


def test_logs_are_followed_to_the_end_of_the_job(daemons: Daemons) -> None:
    url = daemons.controller()
    daemons.job("one", url, "--n=6")
    daemons.busy(2)
    following = subprocess.Popen(
        [sys.executable, "-m", "coordinator", "logs", "one", "--follow"],
        cwd=daemons.directory, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stdout is not None
    first = following.stdout.readline()
    assert first.startswith("20")
    daemons.touch("go")
    said, _ = following.communicate(timeout=30)
    assert following.returncode == 0
    assert "coordinator ended done=6 failed=0" in said


def test_a_killed_coordinator_is_told_from_a_stopped_one_and_the_same_command_goes_on(
    daemons: Daemons, elsewhere: Path
) -> None:
    url = daemons.controller()
    with socket.create_server(("", 0)) as free:
        port = int(free.getsockname()[1])
    run = daemons.job("one", url, "--n=10", "--grace=20", f"--port={port}")
    daemons.busy(2)
    end_process(run["pid"], signal.SIGKILL)
    job = daemons.document("status", "one", here=elsewhere)["job"]
    assert (job["state"], job["done"]) == ("killed", 0)
    reasons = daemons.document("why", "one", here=elsewhere)["reasons"]
    assert any("is gone without having ended" in one["what"] for one in reasons)
    daemons.touch("go")
    again = daemons.job("one", url, "--n=10", "--grace=20")
    assert (again["run"], again["port"]) == (run["run"], port), "its processors find it where it was"
    waited = daemons.document("wait", "one", here=elsewhere)["job"]
    assert (waited["state"], waited["done"], waited["failed"]) == ("done", 10, 0)
