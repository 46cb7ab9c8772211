"""Commands against a job that runs, one that has ended, and a real ResourceController."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator import paths, standing, whereabouts
from coordinator.__main__ import main
from coordinator.commands import farm as farm_commands
from coordinator.core.records import Kind
from coordinator.journal import Journal
from coordinator.monitor import RCMonitor
from coordinator.runfile import RunFile
from tests.contract.jobs import FakeCoordinator, document, ran, write_journal, write_run
from tests.contract.serving import TOKEN, serving

HANG_S = 60


@pytest.fixture
def running() -> Iterator[FakeCoordinator]:
    fake = FakeCoordinator()
    with serving(fake.methods()) as job_server:
        write_run(fake, job_server.plain_url)
        yield fake


# --- a job that runs ---------------------------------------------------------------------------------


def test_status_shows_what_a_running_job_does(running: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "status", "job")
    assert status == 0
    for expected in ("job: running", "10 done, 1 failed", "2.50 tasks a second", '{"$tuple":["a",1]}', "node1", "chr1"):
        assert expected in out


def test_the_ids_of_a_status_document_are_json_of_their_canonical_text(
    running: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    job = document(capsys, "job", "status", "job")["job"]
    assert job["processors"][0]["task"] == {"$tuple": ["a", 1]}
    assert job["errors"][0]["first_ids"] == ["chr1"]


def test_a_port_that_another_job_has_taken_is_not_believed(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job", state=None)
    other = FakeCoordinator("other")
    ended = subprocess.Popen(["sleep", "1000"])
    with serving(other.methods()) as job_server:
        write_run(FakeCoordinator("job"), job_server.plain_url, pid=ended.pid)
        ended.kill()
        ended.wait(HANG_S)
        assert document(capsys, "job", "status", "job")["job"]["state"] == "killed"


def test_wait_asks_until_the_job_has_ended_and_tells_how(
    running: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    def end() -> None:
        if len(running.calls) == 3:
            write_journal(Path.cwd(), "job", state="failed")
            (Path.cwd() / "job.run").unlink()

    running.at_wait = end
    status, out, _ = ran(capsys, "wait", "job")
    assert status == 1
    assert len(running.calls) == 3
    assert "2 done of 4, 1 failed" in out


def test_wait_for_no_longer_than_the_given_time_has_status_124(
    running: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    content = document(capsys, "wait", "wait", "job", "--timeout=0", status=124)
    assert content["ended"] is False


def test_wait_for_a_job_that_was_done_has_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    files = write_journal(Path.cwd(), "job", state=None)
    journal = Journal.open(files.journal, "job")
    journal.append(Kind.REDO, {"r": [[2, 3]]})
    journal.append(Kind.DONE, {"n": 2, "p": 1, "r": [[2, 4]]})
    journal.append(Kind.CLOSED, {"state": "done", "reason": None, "done": 4, "failed": 0, "at": 2.0})
    journal.close()
    assert ran(capsys, "wait", "job")[0] == 0
    assert "all 4 tasks are done" in ran(capsys, "why", "job")[1]


def test_stop_tells_the_job_and_waits_for_its_end(running: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    def end() -> None:
        write_journal(Path.cwd(), "job", state="stopped")
        (Path.cwd() / "job.run").unlink()

    running.at_wait = end
    status, out, _ = ran(capsys, "stop", "job")
    assert status == 0
    assert [call[0] for call in running.calls] == ["stop", "wait_job"]
    assert "typed again, goes on" in out


def test_stop_of_a_job_that_does_not_run_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job", state="stopped")
    status, _, err = ran(capsys, "stop", "job")
    assert status == 1
    assert "does not run" in err


def test_redo_of_a_running_job_is_the_jobs_own_work(
    running: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, what in (
        (["--failed"], "failed"),
        (["--all"], "all"),
        (["chr1", "7", '"7"'], {"texts": ['"chr1"', "7", '"7"']}),
    ):
        assert document(capsys, "redo", "redo", "job", *words)["count"] == 3
        assert running.calls.pop() == ("redo", what)


def test_a_job_whose_process_is_stopped_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job", state=None)
    stopped = subprocess.Popen(["sleep", "1000"])
    try:
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        with serving({}) as job_server:
            pass
        write_run(FakeCoordinator("job"), job_server.plain_url, pid=stopped.pid)
        job = document(capsys, "job", "status", "job")["job"]
        assert (job["state"], "stopped" in job["reason"]) == ("silent", True)
        assert f"kill -CONT {stopped.pid}" in ran(capsys, "why", "job")[1]
    finally:
        stopped.kill()
        stopped.wait(HANG_S)


# --- a job that has ended ----------------------------------------------------------------------------


def test_status_of_a_job_that_has_ended_comes_from_its_journal(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job")
    job = document(capsys, "job", "status", "job")["job"]
    assert (job["state"], job["done"], job["failed"], job["todo"], job["total"]) == ("failed", 2, 1, 1, 4)
    assert job["errors"][0]["first_ids"] == [7]


def test_a_job_that_was_killed_says_that_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job", state=None)
    status, out, _ = ran(capsys, "why", "job")
    assert status == 0
    assert "is gone" in out
    assert "typed again, goes on" in out
    assert ran(capsys, "wait", "job")[0] == 1


def test_errors_are_grouped_with_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job")
    _, out, _ = ran(capsys, "errors", "job")
    assert "1 x ValueError in s.py:12 in f: bad\\x1b[31m value\n    tasks: 7\n    Traceback" in out
    groups = document(capsys, "errors", "errors", "job")["errors"]
    assert [(g["kind"], g["count"], g["first_ids"]) for g in groups] == [("ValueError", 1, [7])]


def test_each_error_and_its_history_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = write_journal(Path.cwd(), "job", state=None)
    standing.redo_on_disk(whereabouts.find("job"), "failed")
    assert ran(capsys, "errors", "job")[1].startswith("No task")
    assert document(capsys, "failures", "errors", "job", "--each")["failures"] == []
    found = document(capsys, "failures", "errors", "job", "--history")["failures"]
    assert [(f["id"], f["attempt"], f["host"], f["pid"]) for f in found] == [(7, 1, "node1", 4711)]
    assert ran(capsys, "errors", files.name, "--history")[1].startswith("7\tattempt 1 on node1 at ")


def test_results_are_a_line_each_and_a_document_with_tagged_values(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job")
    _, out, _ = ran(capsys, "results", "job")
    assert out.splitlines() == ['chr1\t{"x":1}', '{"$tuple":["a",1]}\t{"$tuple":[1,2]}']
    found = document(capsys, "results", "results", "job")["results"]
    assert found[1] == {"id": {"$tuple": ["a", 1]}, "value": {"$tuple": [1, 2]}}


def test_results_and_errors_work_from_another_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_journal(tmp_path, "job")
    paths.note_run("job", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(ran(capsys, "results", "job")[1].splitlines()) == 2
    assert "ValueError" in ran(capsys, "errors", "job")[1]


def test_redo_of_a_job_that_has_ended_is_written_to_its_journal(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job")
    assert document(capsys, "redo", "redo", "job", "--failed")["count"] == 1
    assert document(capsys, "redo", "redo", "job", '{"$tuple":["a",1]}')["count"] == 1
    job = document(capsys, "job", "status", "job")["job"]
    assert (job["done"], job["failed"], job["todo"]) == (1, 0, 3)
    status, _, err = ran(capsys, "redo", "job", "nosuch")
    assert (status, "nosuch" in err) == (1, True)


def test_redo_waits_for_nobody_who_serves_the_job_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    claim = RunFile(write_journal(Path.cwd(), "job"))
    try:
        status, _, err = ran(capsys, "redo", "job", "--failed")
    finally:
        claim.release()
    assert (status, "being served already" in err) == (1, True)
    assert document(capsys, "job", "status", "job")["job"]["failed"] == 1


def test_a_job_with_tasks_to_do_again_is_not_called_failed(capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(Path.cwd(), "job")
    ran(capsys, "redo", "job", "--failed")
    job = document(capsys, "job", "status", "job")["job"]
    assert (job["state"], job["reason"]) == ("stopped", "1 of its tasks are to be done again")


# --- jobs, hosts, rules and the ResourceController itself --------------------------------------------


def test_the_jobs_of_this_directory_are_listed_without_a_controller(
    running: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    write_journal(Path.cwd(), "old", state="done")
    for command in ("jobs", "status"):
        status, out, err = ran(capsys, command)
        assert status == 0
        assert "running" in out
        assert "old" in out
        assert "Only the jobs of this directory" in err
    assert main(["jobs", "--rc_url=http://coordinator:x@127.0.0.1:1"]) == 1


@pytest.fixture
def farm(capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """A real ResourceController as a daemon; its URL."""
    Path("bigcheese.hosts").write_text("node1 2.0\nnode2 maxload=4.0\n")
    status, out, err = ran(capsys, "--rc=bigcheese", "--port=0", "--overload-margin=0.5")
    assert (status, err) == (0, "")
    told = dict(line.split(None, 1) for line in out.splitlines()[1:])
    assert Path(told["log"]) == Path.cwd() / "bigcheese.log"
    yield told["url"]
    main(["stop", "--rc=bigcheese"])


def test_a_controller_says_where_it_is_before_the_prompt_returns_and_is_stopped_by_name(
    farm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = document(capsys, "hosts", "hosts", f"--rc_url={farm}")["hosts"]
    assert (hosts["node1"]["maxload"], hosts["node2"]["maxload"]) == (2.0, 4.0)
    assert "node2" in ran(capsys, "hosts", f"--rc_url={farm}")[1]
    content = document(capsys, "jobs", "jobs", f"--rc_url={farm}")
    assert (content["jobs"], content["controller"]["name"]) == ([], "bigcheese")
    status, _, err = ran(capsys, "stop", "--rc=otherone", f"--rc_url={farm}")
    assert (status, "'bigcheese'" in err) == (1, True)
    content = document(capsys, "stop", "stop", "--rc=bigcheese")
    assert (content["ended"], content["controller"]) == (True, "bigcheese")


def test_rules_resources_and_locks_are_listed(farm: str, capsys: pytest.CaptureFixture[str]) -> None:

    m = RCMonitor(farm)
    m.setrule("hg17", ("/tmp/hg17", "cp x %s"))
    m.acquire_rule("node1", 77, "hg17")
    content = document(capsys, "rules", "rules", f"--rc_url={farm}")
    assert (content["rules"], content["locks"]) == ({"hg17": ["/tmp/hg17", "cp x %s"]}, {"node1:hg17": 77})
    out = ran(capsys, "rules", f"--rc_url={farm}")[1]
    assert "cp x %s" in out
    assert "77" in out


def test_a_second_controller_of_the_name_and_a_port_in_use_are_errors_on_the_terminal(
    farm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = ran(capsys, "--rc=bigcheese", "--port=0")
    assert (status, "already runs" in err) == (1, True)
    Path("other.hosts").write_text("node1\n")
    status, _, err = ran(capsys, "--rc=other", f"--port={farm.rpartition(':')[2]}")
    assert (status, "in use" in err) == (1, True)


def test_a_bad_hosts_file_is_an_error_with_its_line_before_the_daemon_detaches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("bad.hosts").write_text("node1\nnode2 maxload=two\n")
    status, out, err = ran(capsys, "--rc=bad", "--port=0")
    assert (status, out) == (1, "")
    assert "bad.hosts:2" in err


def test_a_controller_that_is_not_there_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("hosts", "rules", "jobs"):
        status, _, err = ran(capsys, command, "--rc_url=http://coordinator:x@127.0.0.1:1")
        assert status == 1
        assert "coordinator --rc=NAME" in err
        assert "x@" not in err


def test_in_a_checkout_the_daemon_finds_the_package_and_installed_nothing_is_added() -> None:
    parent = str(Path(farm_commands.__file__).parents[2])
    assert farm_commands.importable({"PYTHONPATH": "/a"})["PYTHONPATH"] == f"{parent}:/a"
    assert farm_commands.importable({})["PYTHONPATH"] == parent


# --- finding jobs by way of servers --------------------------------------------------------------


def test_a_job_that_only_the_controller_knows_is_asked_with_its_token(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeCoordinator("far")
    with serving(fake.methods()) as job_server:
        entry = {
            "name": "far",
            "url": job_server.plain_url,
            "directory": "/nowhere/at/all",
            "run": "run-of-far",
            "state": "running",
        }
        rc_methods = {
            "get_farm": lambda: {"name": "rc", "hosts": {}, "jobs": [entry]},
            "get_tickets": lambda: {entry["url"]: {"mine": True, "user": "owner", "ticket": "", "fingerprint": ""}},
        }
        with serving(rc_methods) as rc:
            assert document(capsys, "job", "status", "far", f"--rc_url={rc.url}")["job"]["done"] == 10


def test_two_jobs_of_one_name_at_the_controller_are_told_apart_by_url(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        {"name": "far", "url": f"http://n{i}:8888", "directory": f"/d{i}", "run": str(i), "state": "running"}
        for i in (1, 2)
    ]
    with serving({"get_farm": lambda: {"name": "rc", "hosts": {}, "jobs": jobs}}) as rc:
        status, _, err = ran(capsys, "status", "far", f"--rc_url={rc.url}")
    assert status == 1
    assert "http://n1:8888 (/d1), http://n2:8888 (/d2)" in err


def test_a_url_is_a_job_too(running: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    url = whereabouts.find("job").url
    assert url is not None
    typed = url.replace("http://", f"http://coordinator:{TOKEN}@")
    status, out, _ = ran(capsys, "status", typed)
    assert status == 0
    assert TOKEN not in out


def test_why_as_a_document_has_what_why_and_next(running: FakeCoordinator, capsys: pytest.CaptureFixture[str]) -> None:
    content = document(capsys, "why", "why", "job")
    assert content["job"]["name"] == "job"
    assert all(set(one) == {"what", "why", "next"} for one in content["reasons"])
