"""Jobs on a host without a scheduler, over SSH: what becomes of them when way, host and submitter come and go."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coordinator import batch as psu
from coordinator.core.statuses import Cause, State
from coordinator.errors import SchedulerAway, SubmitRefused, SubmitUnclear
from coordinator.executors.sshjobs import SshJobs
from tests.clusters.schedulers import Submission, accepted, run_script
from tests.end_to_end.batches import Batches, batches, states
from tests.end_to_end.daemons import until
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

__all__ = ["batches"]
pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.timeout(150),
]

STATE = "/root/.local/state/coordinator/jobs"
WAIT = "while [ ! -e go ]; do sleep 0.1; done"


@pytest.fixture
def host(hosts: Hosts, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """node1, whose spool is empty before and after; its supervisor ends by itself."""
    node = hosts[0]
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("LOGNAME", "root")
    yield node
    node.heal()
    (tmp_path / "go").touch()
    until(lambda: not supervisors(node), "the supervisor ended")
    with suppress(FileNotFoundError):
        shutil.rmtree(node.path(STATE))


def supervisors(host: Host) -> list[str]:
    return [str(each) for each in host.processes() if "coordinator.executors.supervisor" in each.argv]


def spool(host: Host) -> Path:
    return host.path(STATE) / host.name


@contextmanager
def unanswered(host: Host) -> Iterator[None]:
    """A submission is written down there, and whoever made it hears nothing of it: no supervisor can be started."""
    until(lambda: not supervisors(host), "no supervisor")
    spool(host).mkdir(parents=True, exist_ok=True, mode=0o700)
    with (spool(host) / "starting").open("w") as file:
        os.chmod(file.name, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_an_array_runs_there_and_its_ends_are_told_by_files_and_by_the_host(host: Host, tmp_path: Path) -> None:
    jobs = SshJobs("node1")
    argvs = [["sh", "-c", f'echo "$(uname -n) $NUMBER"; exit {code}'] for code in (0, 3, 0)]
    array = Submission(jobs, tmp_path, *argvs)
    assert array.command == ["ssh", "node1", "/bin/sh", str(array.here / "script")]
    array.submit()
    assert [end.code for end in array.exits()] == [0, 3, 0]
    statuses = array.wait()
    assert [(status.code, status.cause) for status in statuses] == [(code, Cause.NONE) for code in (0, 3, 0)]
    assert [array.out(number) for number in (1, 2, 3)] == ["node1 1\n", "node1 2\n", "node1 3\n"]
    assert jobs.find(array.intent) == array.native
    assert jobs.find(Submission(jobs, tmp_path, ["true"]).intent) is None
    assert "1.2 of 3" in jobs.details(array.native, 2, 3)
    assert "node1 over SSH, this machine:" in jobs.version()


def test_a_cancel_ends_all_that_a_job_has_started(host: Host, tmp_path: Path) -> None:
    tree = "setsid sleep 1234 & sleep 1234 & : >begun; wait"
    array = Submission(SshJobs("node1"), tmp_path, ["sh", "-c", tree], ["sh", "-c", WAIT]).submit()
    until(lambda: (tmp_path / "begun").exists(), "it runs")
    array.cancel(1)
    first, second = array.until(lambda found: found[0].state is State.ENDED)
    assert (first.cause, second.state) == (Cause.CANCELLED, State.RUNS)
    assert not [each for each in host.processes() if "1234" in each.argv]
    array.cancel()
    array.cancel()  # once more is no fault
    assert [status.cause for status in array.wait()] == [Cause.CANCELLED] * 2


def test_while_the_host_is_away_nothing_has_ended_and_nothing_is_taken(host: Host, tmp_path: Path) -> None:
    jobs = SshJobs("node1")
    job = Submission(jobs, tmp_path, ["sh", "-c", f"{WAIT}; exit 4"]).submit()
    job.wait(State.RUNS)
    host.cut()
    (status,) = job.statuses()
    assert (status.state, status.forgotten) == (State.UNKNOWN, False)
    assert "port 22 did not answer within" in status.words
    for call in (job.cancel, Submission(jobs, tmp_path, ["true"]).submit):
        with pytest.raises(SchedulerAway, match="port 22 did not answer within"):
            call()
    host.heal()
    assert job.wait(State.RUNS)
    (tmp_path / "go").touch()
    assert job.wait()[0].code == 4
    assert spool(host).joinpath("number.last").read_text().split() == ["1"]  # the second one was not taken


def test_a_submitter_that_is_killed_before_the_answer_finds_its_job_again(host: Host, tmp_path: Path) -> None:
    jobs = SshJobs("node1")
    job = Submission(jobs, tmp_path, ["sh", "-c", "echo ran >>ran; exit 5"])
    program = f"""
from coordinator.core.statuses import Intent
from coordinator.executors.sshjobs import SshJobs
SshJobs("node1").submit(Intent({job.intent.mark!r}, "test", {str(job.here)!r}))
print("answered")
"""
    with unanswered(host):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as submitter:
            until(lambda: bool(list(spool(host).glob("asked/*"))), "it is written down there")
            submitter.send_signal(signal.SIGKILL)
            assert submitter.stdout is not None
            assert submitter.stdout.read() == b""
        native = jobs.find(job.intent)
    assert native is not None
    job.native = native
    job.wait()
    assert job.exits()[0].code == 5
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_submission_whose_answer_is_lost_is_unclear_and_is_found(host: Host, tmp_path: Path) -> None:
    jobs = SshJobs("node1")
    job = Submission(jobs, tmp_path, ["sh", "-c", "exit 6"])
    with unanswered(host), pytest.raises(SubmitUnclear):
        job.submit()
    job.native = jobs.find(job.intent) or ""
    assert job.wait()[0].code == 6


def test_jobs_go_on_when_the_supervisor_of_the_host_is_killed(host: Host, tmp_path: Path) -> None:
    job = Submission(SshJobs("node1"), tmp_path, ["sh", "-c", f"{WAIT}; exit 7"]).submit()
    job.wait(State.RUNS)
    (supervisor,) = [each for each in host.processes() if "coordinator.executors.supervisor" in each.argv]
    host.kill(supervisor.pid)
    assert job.wait(State.RUNS)
    (tmp_path / "go").touch()
    assert job.exits()[0].code == 7
    job.wait()


def test_a_directory_that_the_host_does_not_see_is_a_refusal_with_the_cure(
    host: Host, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    job = Submission(SshJobs("node1"), tmp_path, ["true"])
    own = Path(f"/run/{job.intent.mark}")  # of this machine alone
    own.mkdir()
    try:
        elsewhere = Submission(SshJobs("node1"), own, ["true"])
        with pytest.raises(SubmitRefused, match="is not there on node1: submit from a directory that all hosts see"):
            elsewhere.submit()
    finally:
        shutil.rmtree(own)


def test_a_farm_runs_on_a_host_by_one_option_and_is_over_with_its_last_task(host: Host, tmp_path: Path) -> None:
    run_script(tmp_path, "--executor=ssh:node1", "--port=0", "--ntasks=2", "--n=100", "--pause=0.02")
    assert accepted(tmp_path) == list(range(100))
    (where,) = {each.read_text().split()[1] for each in tmp_path.glob("JOB.site/*/*.begun")}
    assert where == "node1"
    assert len(list(tmp_path.glob("worked.*"))) == 2
    assert not list(tmp_path.glob("JOB.site/*/orders.*"))  # there is a token in each


def test_a_batch_runs_on_a_host_by_its_name(host: Host, batches: Batches) -> None:
    psu.config.Executor = "ssh:node1"
    program = batches.program("""
        import os, sys
        with open("ran", "a") as file:
            print(os.uname().nodename, sys.argv[1], file=file)
        sys.exit(int(sys.argv[1]))
    """)
    batch = batches.run(f"{program} 0", f"{program} 3")
    assert sorted(batches.lines("ran")) == ["node1 0", "node1 3"]
    assert states(batch) == ["complete", "failed"]
