"""Launching as people see it: many Processors of one script, names that need quoting, the wait for the first task."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.end_to_end.daemons import Daemons, until
from tests.hosts.launched import SCRIPT
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

#: seconds; it takes less than one on a quiet machine (benchmarks/launch.py)
GENEROUS_S = 20.0


def test_thirty_two_processors_on_a_host_import_the_script_once(farm: Daemons) -> None:
    url = farm.controller("node1 32.0\n")
    farm.job("one", url, "--n=320")
    job = until(
        lambda: len((job := farm.document("status", "one")["job"])["processors"]) == 32 and job, "32 processors"
    )
    assert len({one["pid"] for one in job["processors"]}) == 32
    assert (farm.directory / "loaded").read_text().split().count("node1") == 1
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    lines = [line.split() for line in (farm.directory / "ran").read_text().splitlines()]
    assert sorted(int(task) for task, _, _ in lines) == list(range(320))
    assert len({pid for _, _, pid in lines}) > 16, "they shared the work"
    assert (farm.directory / "loaded").read_text().split().count("node1") == 1


def test_jobs_paths_and_scripts_may_be_called_as_people_like(home: Path, hosts: Hosts, tmp_path: Path) -> None:
    directory = tmp_path / 'it\'s "here" $HOME' / "a b;`c`"
    directory.mkdir(parents=True)
    odd = Daemons(directory)
    odd.script(text=SCRIPT, name="my 'script'.py")
    name = 'o\'ne "two" $three é'
    try:
        url = odd.controller("node1 1.0\nnode2 1.0\n")
        odd.touch("go")
        odd.job(name, url, "--n=50", script="my 'script'.py")
        assert odd.coordinator("wait", name).returncode == 0
        lines = [line.split() for line in (directory / "ran").read_text().splitlines()]
        assert sorted(int(task) for task, _, _ in lines) == list(range(50))
        assert {node for _, node, _ in lines} == {"node1", "node2"}
        logs = odd.document("logs", name, "--host=node1", f"--rc_url={url}")["logs"]
        assert {os.path.basename(one["log"]).partition("_")[0] for one in logs} == {name}
    finally:
        odd.end()


def test_names_that_no_host_has_are_refused_with_their_line(farm: Daemons) -> None:
    (farm.directory / "odd.hosts").write_text("node1 1.0\nnode2;reboot 1.0\n")
    ended = farm.coordinator("hosts", "check", "odd")
    assert ended.returncode == 1
    assert "odd.hosts:2: " in ended.stderr
    (farm.directory / "odd.hosts").write_text("node1 maxload=1.0,user=bob smith\n")
    ended = farm.coordinator("hosts", "check", "odd")
    assert ended.returncode == 1
    assert "odd.hosts:1: " in ended.stderr


def test_the_first_task_on_a_host_begins_soon_after_the_command(farm: Daemons) -> None:
    url = farm.controller("node1 1.0\n")
    farm.touch("go")
    began = time.time()
    farm.job("one", url, "--n=1")
    until(lambda: (farm.directory / "ran").exists(), "the first task")
    assert (farm.directory / "ran").stat().st_mtime - began < GENEROUS_S
