"""Resources on real hosts: each host builds its own, once, whole or not at all, whatever dies."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coordinator.monitor import RCMonitor
from tests.end_to_end.daemons import CALM, Daemons, until
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

COUNT = 8
#: on the disk of each host, gone when it crashes
PLACE = "/tmp/genomes/hg17"

SCRIPT = """\
import os, time

HERE = {directory!r}


def client(server, **kwargs):
    with server.open_resource("hg17", "r") as opened:
        content = opened.read()
    for task_id in server:
        with open(os.path.join(HERE, "ran"), "a") as file:
            file.write("%s %s\\n" % (os.uname().nodename, content.strip()))
        while not os.path.exists(os.path.join(HERE, "go")):
            time.sleep(0.01)
        yield task_id


def serve(n=64, **kwargs):
    yield from range(n)


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts(COUNT, shared=[tmp_path_factory.getbasetemp()]) as hosts:
        yield hosts


@pytest.fixture
def hosts(eight: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(eight.agent))
    monkeypatch.setenv("HOME", str(eight.home))
    yield eight
    left = eight.reset()
    for host in eight:
        host.run(["rm", "-rf", os.path.dirname(PLACE)])
    if left:
        pytest.fail("the test left processes behind on its hosts (killed now):\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def farm(hosts: Hosts, tmp_path: Path) -> Iterator[Daemons]:
    daemons = Daemons(tmp_path)
    daemons.script(resources=["hg17"], text=SCRIPT)
    yield daemons
    daemons.end()


def controller(farm: Daemons, count: int = COUNT, slots: float = 2.0) -> str:
    return farm.controller("".join(f"node{number} {slots}\n" for number in range(1, count + 1)), CALM)


def rule(farm: Daemons, url: str, command: str) -> RCMonitor:
    m = RCMonitor(url)
    m.setrule("hg17", (PLACE, command))
    return m


def rules(farm: Daemons, url: str) -> dict[str, Any]:
    return farm.document("rules", f"--rc_url={url}")


def lines(farm: Daemons, name: str) -> list[str]:
    path = farm.directory / name
    return path.read_text().splitlines() if path.exists() else []


def finish(farm: Daemons, job: str = "one", count: int = 64) -> None:
    farm.touch("go")
    assert farm.coordinator("wait", job).returncode == 0, farm.log(job)
    done = [int(line) for line in lines(farm, f"{job}.success")]
    assert sorted(done) == list(range(count))


def left(hosts: Hosts, number: int) -> list[str]:
    """What lies beside the resource on a host."""
    return sorted(path.name for path in hosts[number].path(os.path.dirname(PLACE)).iterdir())


def test_on_eight_hosts_at_once_each_has_one_builder_and_people_see_who_builds_what_where(
    farm: Daemons, hosts: Hosts
) -> None:
    url = controller(farm)
    built, opened = farm.directory / "built", farm.directory / "open"
    m = rule(farm, url, f"uname -n >> {built}; until [ -e {opened} ]; do sleep 0.02; done; echo ACGT > %s")
    farm.job("one", url)
    names = {f"node{number}" for number in range(1, COUNT + 1)}
    told = until(lambda: len((told := rules(farm, url))["builds"]) == COUNT and told, "all build at once")
    assert {one["host"] for one in told["builds"]} == names
    assert {(one["resource"], one["path"]) for one in told["builds"]} == {("hg17", PLACE)}
    assert all(one["since"] > 1e9 for one in told["builds"])
    assert told["built"] == []
    until(lambda: len(farm.document("status", "one")["job"]["processors"]) == 2 * COUNT, "the others of each host wait")
    m.get_status()
    assert m.locks == {f"{one['host']}:hg17": one["pid"] for one in told["builds"]}
    assert "Under construction" in farm.coordinator("rules", f"--rc_url={url}").stdout
    opened.touch()
    told = until(lambda: len((told := rules(farm, url))["built"]) == COUNT and told, "all have built")
    assert {(one["host"], one["path"], one["size_bytes"]) for one in told["built"]} == {
        (name, PLACE, 5) for name in names
    }
    assert all(one["since"] > 1e9 for one in told["built"])
    assert told["builds"] == []
    until(lambda: len(lines(farm, "ran")) == 2 * COUNT, "every processor has opened it")
    assert Counter(lines(farm, "ran")) == {f"{name} ACGT": 2 for name in names}
    assert sorted(built.read_text().split()) == sorted(names), "each host built once"
    m.get_status()
    assert m.locks == {}
    finish(farm)
    assert all(left(hosts, number) == ["hg17", "hg17.lock"] for number in range(COUNT))


@pytest.mark.parametrize("moment", ["while it writes", "when it has written", "together with its host's keeper"])
def test_a_builder_that_is_killed_leaves_no_half_file_and_no_lock(farm: Daemons, hosts: Hosts, moment: str) -> None:
    url = controller(farm, 1)
    first, opened = farm.directory / "first", farm.directory / "open"
    wait = f"until [ -e {opened} ]; do sleep 0.02; done"
    # Only the first builder dies: by its own rule's hand when all is written and not yet renamed, else by ours.
    death = "kill -9 $PPID; sleep 60" if moment == "when it has written" else wait
    command = f"{{ printf half-; if [ ! -e {first} ]; then echo $PPID > {first}; {death}; fi; echo whole; }} > %s"
    rule(farm, url, command)
    farm.job("one", url, "--lease=2")
    until(lambda: lines(farm, "first"), "somebody builds")
    builder = int(lines(farm, "first")[0])
    if moment != "when it has written":
        [lock] = until(lambda: rules(farm, url)["builds"], "the lock is known")
        assert lock["pid"] == builder
        assert not hosts[0].path(PLACE).exists()
        if moment == "while it writes":
            hosts[0].kill(builder, signal.SIGKILL)
        else:
            keepers = [each.pid for each in hosts[0].processes() if "coordinator.keeper" in " ".join(each.argv)]
            for pid in {builder, *keepers}:
                with suppress(ProcessLookupError):  # the keeper's two processes end each other
                    hosts[0].kill(pid, signal.SIGKILL)
    until(lambda: "node1 half-whole" in lines(farm, "ran"), "another one has built it")
    opened.touch()
    assert hosts[0].path(PLACE).read_text() == "half-whole\n"
    assert left(hosts, 0) == ["hg17", "hg17.lock"]
    told = rules(farm, url)
    assert (told["builds"], told["locks"]) == ([], {})
    finish(farm)


@pytest.mark.timeout(120)
def test_builders_that_are_killed_at_any_moment_leave_no_half_file_and_no_lock(farm: Daemons, hosts: Hosts) -> None:
    """A few kills at chance moments on each host; the builder after them always finds its way."""
    chance = random.Random(7)
    url = controller(farm, 4)
    m = rule(farm, url, "for part in 1 2 3 4 5 6 7 8; do echo $part >> %s; sleep 0.1; done")
    farm.job("one", url)
    killed: set[tuple[str, int]] = set()
    while len(killed) < 8 and len((told := m.get_farm())["built"]) != 4:
        if not told["builds"]:
            continue
        one = chance.choice(told["builds"])
        time.sleep(chance.uniform(0.0, 0.8))
        host = next(host for host in hosts if host.name == one["host"])
        with suppress(ProcessLookupError):  # it has built meanwhile, and may have ended since
            host.kill(one["pid"], signal.SIGKILL)
            killed.add((one["host"], one["pid"]))
    assert killed
    told = until(lambda: len((told := rules(farm, url))["built"]) == 4 and not told["builds"] and told, "all is built")
    assert told["locks"] == {}
    finish(farm)
    for number in range(4):
        assert hosts[number].path(PLACE).read_text() == "1\n2\n3\n4\n5\n6\n7\n8\n"
        assert left(hosts, number) == ["hg17", "hg17.lock"]


def test_a_host_where_the_rule_fails_rests_for_it_and_the_job_goes_on_elsewhere(farm: Daemons, hosts: Hosts) -> None:
    url = controller(farm, 3)
    tried = farm.directory / "tried"
    command = (
        f"uname -n >> {tried}; if [ $(uname -n) = node2 ]; then echo no room for it >&2; exit 3; fi; echo ACGT > %s"
    )
    m = rule(farm, url, command)
    farm.job("one", url)
    told = until(lambda: (told := rules(farm, url))["failed_builds"] and told, "it failed on node2")
    assert list(told["failed_builds"]) == ["node2:hg17"]
    assert "no room for it" in told["failed_builds"]["node2:hg17"]
    until(lambda: Counter(lines(farm, "ran")) == {"node1 ACGT": 2, "node3 ACGT": 2}, "the others work")
    hosts_told = farm.document("hosts", f"--rc_url={url}")["hosts"]
    assert "'hg17' could not be built there" in hosts_told["node2"]["reason"]
    assert "no room for it" in hosts_told["node2"]["reason"]
    [job] = [one for one in farm.document("jobs", f"--rc_url={url}")["jobs"] if one["name"] == "one"][:1]
    assert (job["state"], job["slots"]) == ("running", 4)
    assert lines(farm, "tried").count("node2") == 1
    # When it is set anew the host is tried again at once.
    m.setrule("hg17", (PLACE, "echo TTTT > %s"))
    farm.touch("go")
    finish(farm)


def test_a_lock_is_freed_by_hand_and_rules_come_and_go(farm: Daemons, hosts: Hosts) -> None:
    """The manual's: setrule, delrule, m.locks, release_rule for a lock that somebody forgot."""
    url = controller(farm, 1)
    m = rule(farm, url, "echo ACGT > %s")
    assert m.acquire_rule("node1", 4711, "hg17") == [PLACE, "echo ACGT > %s"]
    farm.job("one", url)
    until(lambda: "await_resource" in farm.log("one"), "a processor asks for it")
    m.get_status()
    assert m.locks == {"node1:hg17": 4711}
    assert lines(farm, "ran") == []
    assert m.release_rule("node1", 4711, "hg17") is True
    until(lambda: lines(farm, "ran") == ["node1 ACGT"] * 2, "those who waited built it and opened it")
    m.get_status()
    assert (m.locks, m.resources) == ({}, {"node1:hg17": PLACE})
    m.delrule("hg17")
    m.get_status()
    assert (m.rules, m.resources) == ({}, {"node1:hg17": PLACE})
    finish(farm)
