"""The ResourceController goes and comes back while jobs run on real hosts: no job notices, nothing is forgotten."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator import procs
from coordinator.monitor import RCMonitor
from tests.end_to_end.daemons import CALM, Daemons, end_process, lives, until
from tests.hosts.test_shares import SCRIPT, finish
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture
def farm(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemons]:
    monkeypatch.setenv("HOME", str(hosts.home))
    daemons = Daemons(tmp_path)
    opening = "server.open_resource('words').close()\n    for task_id in server:"
    daemons.script(resources=["words"], text=SCRIPT.replace("for task_id in server:", opening, 1))
    yield daemons
    daemons.touch("enough")
    daemons.end()


def processors(farm: Daemons, job: str) -> set[tuple[str, int]]:
    return {(one["host"], one["pid"]) for one in farm.document("status", job)["job"]["processors"]}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["kill -9", "stop"])
def test_jobs_go_on_with_the_same_processors_and_are_known_again(farm: Daemons, hosts: Hosts, how: str) -> None:
    url = farm.controller("".join(f"node{number} 2.0\n" for number in (1, 2, 3)), CALM)
    m = RCMonitor(url)
    rule = ["/tmp/words", "echo words > %s"]
    m.setrule("words", rule)
    for name, priority in (("light", 1), ("heavy", 2)):
        farm.job(name, url, "--immediate", f"--priority={priority}")
    # One more by call than the file says; it has no processors, since it is not there.
    m.set_hostinfo("node9.example.org", "maxload", 0.0)
    shares = {"light": 2, "heavy": 4}
    until(lambda: {job: len(processors(farm, job)) for job in shares} == shares, "they share")
    m.get_status()
    before = {job: processors(farm, job) for job in shares}
    resources = dict(m.resources)
    assert resources == {f"node{number}:words": "/tmp/words" for number in (1, 2, 3)}

    pid = int(m.get_farm()["pid"])
    if how == "stop":
        assert farm.coordinator("stop", "--rc=bigcheese").returncode == 0
    else:
        end_process(pid, signal.SIGKILL)
    assert not lives(pid)
    for job in shares:
        until(lambda job=job: "resource controller away" in farm.log(job), "the job knows that it is away")
    done = farm.document("status", "light")["job"]["done"]
    until(lambda: farm.document("status", "light")["job"]["done"] > done + 20, "the job goes on")
    port = url.rpartition(":")[2]
    assert farm.controller_again(f"--port={port}", CALM) == url

    def known() -> dict[str, tuple[str, int, int]]:
        return {one["name"]: (one["state"], one["processors"], one["slots"]) for one in m.get_farm()["jobs"]}

    expected = {"light": ("running", 2, 2), "heavy": ("running", 4, 4)}
    until(lambda: known() == expected, "both are in its books with what they have")
    m.get_status()
    assert m.rules == {"words": rule}
    assert m.resources == resources
    assert ("node9.example.org" in m.get_farm()["hosts"]) is (how == "kill -9")
    # Later than those that come back may grow: nobody was given what another one works on.
    m.load_balance()
    done = farm.document("status", "light")["job"]["done"]
    until(lambda: farm.document("status", "light")["job"]["done"] > done + 200, "time passes")
    assert known() == expected
    assert {job: processors(farm, job) for job in shares} == before
    for job in shares:
        assert "processor ended" not in farm.log(job).partition("resource controller away")[2]
    finish(farm, *shares)
    for host in hosts:
        host.run(["rm", "-f", "/tmp/words", "/tmp/words.lock"])


@pytest.mark.timeout(120)
def test_a_job_whose_coordinator_died_is_out_of_the_queue_and_back_in_its_place(farm: Daemons, hosts: Hosts) -> None:
    """Killed with kill -9: gone from the queue within 30 s; the same command takes its place again."""
    url = farm.controller("node1 2.0\n", CALM)
    RCMonitor(url).setrule("words", ["/tmp/words", "echo words > %s"])
    # A port of its own: the next free one may be another job's when its successor wants it back.
    first = farm.job("first", url, "--port=0")
    farm.job("second", url)

    def jobs() -> list[tuple[str, int]]:
        """The queue of the ResourceController: who has how many slots."""
        told = RCMonitor(url).get_farm()["jobs"]
        return [(one["name"], one["slots"]) for one in told if one["state"] in ("running", "queued")]

    until(lambda: jobs() == [("first", 2), ("second", 0)], "the second waits")
    identity = procs.identity_of(int(first["pid"]))
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    until(lambda: jobs() == [("second", 2)], "the first is out of the queue", hang_s=45.0)
    farm.job("first", url, "--port=0")
    until(lambda: jobs() == [("first", 2), ("second", 0)], "it has its place again")
    finish(farm, "first")
    farm.coordinator("stop", "second")
    for host in hosts:
        host.run(["rm", "-f", "/tmp/words", "/tmp/words.lock"])
