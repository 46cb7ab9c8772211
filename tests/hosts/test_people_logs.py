"""``coordinator logs JOB --host H``: what Processors and keeper wrote on a host, read over SSH by the user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.daemons import HANG_S, Daemons, end_process, until
from tests.hosts.launched import SCRIPT, at
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

#: each task says so in its Processor's log
PAUSE = "        time.sleep(0.02)\n"
SAYING = SCRIPT.replace(PAUSE, '        print("did", task_id, flush=True)\n' + PAUSE)


def job(farm: Daemons, hosts: str, count: int, *options: str) -> str:
    """A job `one` with so many Processors that wait for files; the ResourceController's URL."""
    assert SAYING != SCRIPT
    farm.script(text=SAYING)
    url = farm.controller(hosts)
    farm.job("one", url, *options)
    until(lambda: len(farm.document("status", "one")["job"]["processors"]) == count, f"{count} processors")
    return url


class Following:
    """``coordinator logs one --host ... --follow`` in a terminal of its own."""

    def __init__(self, farm: Daemons, *words: str) -> None:
        self.said = farm.directory.with_name(f"{farm.directory.name}.own") / "followed"
        with self.said.open("wb") as file:
            argv = [sys.executable, "-m", "coordinator", "logs", "one", "--follow", *words]
            self.process = subprocess.Popen(argv, cwd=farm.directory, stdout=file, stderr=subprocess.STDOUT)

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        end_process(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def has(self, *words: str) -> bool:
        return all(word in self.said.read_text() for word in words)

    def status(self) -> int:
        return self.process.wait(timeout=HANG_S)


def readers(host: Host) -> list[str]:
    """What a fresh connection has begun on a host."""
    return [str(each) for each in host.processes() if "sshd:" in " ".join(each.argv) or "-sh" in each.argv]


def test_the_logs_of_a_host_are_its_processors_and_its_keepers_and_no_others(farm: Daemons) -> None:
    url = job(farm, "node1 2.0\nnode2 1.0\n", 3, "--n=6")
    mine: dict[str, dict[int, str]] = {"node1": {}, "node2": {}}
    for one in farm.document("status", "one")["job"]["processors"]:
        mine[one["host"]][one["number"]] = one["log"]
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    said: dict[str, list[str]] = {}
    for node, paths in mine.items():
        content = farm.document("logs", "one", "--host", node, f"--rc_url={url}")
        assert (content["kind"], content["host"]) == ("host_logs", node)
        keeper = "/tmp/coordinator-0/one_keeper_" + node + ".log"
        assert {one["number"]: one["log"] for one in content["logs"]} == {None: keeper, **paths}
        said[node] = [line for one in content["logs"] for line in one["lines"] if line.startswith("did ")]
    assert sorted(said["node1"] + said["node2"]) == [f"did {n}" for n in range(6)]
    ran = [line.split()[:2] for line in (farm.directory / "ran").read_text().splitlines()]
    assert sorted(said["node1"]) == sorted(f"did {task}" for task, node in ran if node == "node1")

    shown = farm.coordinator("logs", "one", "--host=node2", f"--rc_url={url}").stdout
    ((number, path),) = mine["node2"].items()
    directory = "/tmp/coordinator-0"
    heads = [line for line in shown.splitlines() if line.startswith("==> ")]
    assert heads == [f"==> {directory}/one_keeper_node2.log <==", f"==> {path} <=="]
    alone = farm.coordinator("logs", "one", "--host=node2", f"--processor={number}", "--lines=0")
    assert [line for line in alone.stdout.splitlines() if line.startswith("did ")] == said["node2"]
    assert "==>" not in alone.stdout
    other = min(mine["node1"])
    wrong = farm.coordinator("logs", "one", "--host=node2", f"--processor={other}")
    assert wrong.returncode == 1
    assert f"There is no log of Processor {other} of one in {directory} on node2" in wrong.stderr


def test_logs_are_read_when_coordinator_keeper_and_controller_are_gone(farm: Daemons, hosts: Hosts) -> None:
    job(farm, f"node1 1.0\nother maxload=1.0,{at(hosts[1], 'port=22')}\n", 2, "--n=4")
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    until(lambda: not any("coordinator" in " ".join(each.argv) for each in hosts[1].processes()), "the keeper is gone")
    farm.end()
    # How `other` is reached is known from bigcheese.hosts, which lies here.
    lines = [
        line
        for one in farm.document("logs", "one", "--host=other", "--follow")["logs"]
        for line in one["lines"]
        if line.startswith("did")
    ]
    ran = [line.split()[0] for line in (farm.directory / "ran").read_text().splitlines() if "node2" in line]
    assert lines == [f"did {task}" for task in ran]
    assert lines


def test_what_is_appended_is_followed_to_the_end_of_the_job(farm: Daemons, hosts: Hosts) -> None:
    url = job(farm, "node1 1.0\n", 1, "--n=7")
    with Following(farm, "--host=node1", f"--rc_url={url}") as following:
        until(lambda: following.has("/one_0."), "it has begun")
        assert not following.has("did 0")
        farm.touch("go.0")
        until(lambda: following.has("did 0\n"), "a line as it comes")
        # A Processor that comes later is one of its own.
        (farm.directory / "bigcheese.hosts").write_text("node1 2.0\n")
        until(lambda: len(farm.document("status", "one")["job"]["processors"]) == 2, "another one")
        farm.touch("go")
        assert following.status() == 0
        said = following.said.read_text().splitlines()
        assert sorted(line for line in said if line.startswith("did ")) == [f"did {n}" for n in range(7)]
        assert any("/one_1." in line for line in said)
    until(lambda: not readers(hosts[0]), "the connection is closed")


def test_ctrl_c_ends_following_here_and_on_the_host(farm: Daemons, hosts: Hosts) -> None:
    url = job(farm, "node1 1.0\n", 1)
    with Following(farm, "--host=node1", "--json", f"--rc_url={url}") as following:
        farm.touch("go.0")
        until(lambda: following.has("did 0"), "it has begun")
        assert readers(hosts[0])
        following.process.send_signal(signal.SIGINT)
        assert following.status() == 130
        documents = [json.loads(line) for line in following.said.read_text().splitlines() if line.startswith("{")]
        assert [one["kind"] for one in documents][:2] == ["host_logs", "line"]
        assert "did 0" in [one["line"] for one in documents if one["kind"] == "line"]
        assert "Traceback" not in following.said.read_text()
    until(lambda: not readers(hosts[0]), "nothing of it is left there")


def test_a_connection_that_breaks_is_said(farm: Daemons, hosts: Hosts) -> None:
    url = job(farm, "node1 1.0\n", 1)
    with Following(farm, "--host=node1", f"--rc_url={url}") as following:
        until(lambda: following.has("/one_0."), "it has begun")
        for each in hosts[0].processes():
            if "sshd:" in " ".join(each.argv) and "listener" not in " ".join(each.argv):
                os.kill(each.outer.pid, signal.SIGKILL)
        assert following.status() == 1
        assert following.has("coordinator: the connection to node1 (", ") broke"), following.said.read_text()
    assert farm.document("status", "one")["job"]["processors"], "the job does not mind"


def test_hosts_that_cannot_be_asked_are_a_sentence(farm: Daemons, hosts: Hosts) -> None:
    job(farm, "node1 1.0\n", 1, "--n=1")
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    hosts[1].kill_sshd()
    hosts[2].crash()
    hosts[2].boot(fresh=True)  # no earlier test's
    for host, words in (
        ("node2", "refuses connections: no SSH server is running there"),
        ("nowhere", "the name nowhere is not known on this machine"),
        ("node3", "There is no log of one in /tmp/coordinator-0 on node3: it ran no Processor there"),
        ("-oProxyCommand=x", "host"),
    ):
        ended = farm.coordinator("logs", "one", f"--host={host}")
        assert ended.returncode == 1, ended
        assert words in ended.stderr
        assert ended.stdout == ""


def test_only_the_users_own_files_of_that_job_are_read(farm: Daemons, hosts: Hosts) -> None:
    job(farm, "node1 1.0\n", 1, "--n=1")
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    folder = hosts[0].path("/tmp/coordinator-0")
    log = folder / os.path.basename(farm.document("logs", "one")["processors"][0]["log"])
    (folder / "one_7.log").write_text("another job's of that name\n")
    (folder / "two_0.log").write_text("of another job\n")
    ended = farm.coordinator("logs", "one", "--host=node1")
    assert ended.returncode == 0
    assert "did 0" in ended.stdout
    assert "another job" not in ended.stdout
    log.unlink()
    log.symlink_to("/etc/shadow")
    try:
        ended = farm.coordinator("logs", "one", "--host=node1")
    finally:
        log.unlink()
    assert ended.returncode == 1
    assert f"{log.name} is a symbolic link, which is not followed; remove it." in ended.stderr
    assert "root:" not in ended.stdout


def test_this_machine_is_read_without_a_login(farm: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    job(farm, "localhost 1.0\n", 1, "--n=3")
    with Following(farm, "--host=localhost") as following:
        until(lambda: following.has("/one_0."), "it has begun")
        farm.touch("go")
        assert following.status() == 0
        assert following.has("did 0\n", "did 1\n", "did 2\n", "one_keeper_localhost.log")
    content = farm.document("logs", "one", "--host=localhost", "--lines=2")
    assert [one["lines"][0] for one in content["logs"] if one["number"] == 0] == ["did 2"]
    own = Path(content["logs"][1]["log"])
    assert own.parent.name == f"coordinator-{os.geteuid()}"
