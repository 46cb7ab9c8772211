"""Shares on real hosts: what each job has is counted as processors that run there, loads are the hosts' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.daemons import Daemons, until
from tests.testbed.host import Load
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

#: a host has the figures of its own load file; without it, those of the machine around all of them
OWN_LOAD = "env.COORDINATOR_LOAD=/run/coordinator-load"
#: the margin of the manual
MARGIN = "--overload_margin=0.6"

#: short tasks, as many as there are until somebody has enough
SCRIPT = """\
import itertools, os, time


def client(server, pause=0.05, **kwargs):
    for task_id in server:
        if not enough():
            time.sleep(pause)
        yield task_id


def serve(**kwargs):
    for number in itertools.count():
        if enough():
            return
        time.sleep(0.002)  # a little faster than all processors together, so that few wait at the end
        yield number


def enough():
    return os.path.exists(os.path.join({directory!r}, "enough"))


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


@pytest.fixture
def farm(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemons]:
    """Of somebody on this machine whose OpenSSH knows the hosts."""
    monkeypatch.setenv("HOME", str(hosts.home))
    daemons = Daemons(tmp_path)
    daemons.script(text=SCRIPT)
    yield daemons
    daemons.touch("enough")
    daemons.end()


def table(*lines: str) -> str:
    """The text of a hosts file in which each host tells its own load."""
    return "".join(f"{line},{OWN_LOAD}\n" for line in lines)


def six_slots() -> str:
    return table(*(f"node{number} maxload=2.0" for number in (1, 2, 3)))


def running(farm: Daemons, hosts: Hosts, job: str) -> Counter[str]:
    """{host: processors of the job that live there}: its Coordinator names them, the host itself knows them."""
    told = farm.document("status", job)["job"]["processors"]
    there = {(host.name, each.pid) for host in hosts for each in host.processes()}
    return Counter(one["host"] for one in told if (one["host"], one["pid"]) in there)


def finish(farm: Daemons, *jobs: str) -> None:
    """Every job ends, and each of its tasks was accepted, once."""
    farm.touch("enough")
    for job in jobs:
        assert farm.coordinator("wait", job, "--timeout=25").returncode == 0, farm.log(job)
        done = [int(line) for line in (farm.directory / f"{job}.success").read_text().split()]
        assert sorted(done) == list(range(len(done)))
        assert not (farm.directory / f"{job}.error").read_text()


def host(farm: Daemons, url: str, name: str) -> dict[str, Any]:
    return dict(farm.document("hosts", f"--rc_url={url}")["hosts"][name])


def test_load_and_memory_of_every_host_are_known_and_followed(farm: Daemons, hosts: Hosts) -> None:
    hosts[0].set_load(Load(0.25, memory_available_bytes=3_000_000_000))
    hosts[1].set_load(Load(0.5, memory_available_bytes=5_000_000_000))
    url = farm.controller(six_slots(), MARGIN)
    farm.job("one", url)

    def known(name: str) -> tuple[float, int]:
        row = host(farm, url, name)
        return (row["load"], row["memory_available_bytes"])

    until(lambda: known("node1") == (0.25, 3_000_000_000), "node1 was measured")
    until(lambda: known("node2") == (0.5, 5_000_000_000), "node2 was measured")
    hosts[1].set_load(Load(0.1, memory_available_bytes=1_000_000_000))
    until(lambda: known("node2") == (0.1, 1_000_000_000), "node2 was measured again")
    assert "1.0 GB" in farm.coordinator("hosts", f"--rc_url={url}").stdout
    finish(farm, "one")


def test_hosts_that_no_job_uses_are_looked_at_and_left_again(farm: Daemons, hosts: Hosts) -> None:
    hosts[0].set_load(Load(0.25, memory_available_bytes=1_000_000_000))
    hosts[1].set_load(Load(0.5, memory_available_bytes=2_000_000_000))
    hosts[2].set_load(Load(0.75, memory_available_bytes=3_000_000_000))
    url = farm.controller(six_slots() + table("gone maxload=0.5,sshopts=-o HostName=127.0.0.1 -p 1"), MARGIN)
    farm.job("one", url, "--ncpu_limit=1")
    until(lambda: running(farm, hosts, "one").total() == 1, "its one processor runs")
    (used,) = running(farm, hosts, "one")

    def known() -> dict[str, tuple[float, int | None]]:
        told = farm.document("hosts", f"--rc_url={url}")["hosts"]
        return {name: (one["load"], one["memory_available_bytes"]) for name, one in told.items() if name != "gone"}

    loads = {"node1": (0.25, 1_000_000_000), "node2": (0.5, 2_000_000_000), "node3": (0.75, 3_000_000_000)}
    until(lambda: known() == loads, "all were measured")
    until(lambda: host(farm, url, "gone")["state"] == "unreachable", "it is known that this one cannot be reached")
    idle = [each for each in hosts if each.name != used]
    until(lambda: not any(each.processes() for each in idle), "who looked has left")
    assert running(farm, hosts, "one") == {used: 1}
    finish(farm, "one")


def test_of_two_jobs_that_share_priority_two_has_twice_the_processors_of_one(farm: Daemons, hosts: Hosts) -> None:
    url = farm.controller(six_slots(), MARGIN)
    farm.job("light", url, "--immediate", "--priority=1.0")
    until(lambda: running(farm, hosts, "light").total() == 6, "the only job has all six slots")
    farm.job("heavy", url, "--immediate", "--priority=2.0")
    until(lambda: running(farm, hosts, "heavy").total() == 4, "the heavy one has four")
    until(lambda: running(farm, hosts, "light").total() == 2, "the light one has two")
    both = running(farm, hosts, "light") + running(farm, hosts, "heavy")
    assert both == {"node1": 2, "node2": 2, "node3": 2}
    finish(farm, "light", "heavy")


def test_of_two_jobs_that_queue_the_second_has_nothing_until_the_first_ends(farm: Daemons, hosts: Hosts) -> None:
    url = farm.controller(six_slots(), MARGIN)
    farm.job("first", url)
    until(lambda: running(farm, hosts, "first").total() == 6, "the first has all six slots")
    farm.job("second", url, "--priority=9.0")
    jobs = farm.document("jobs", f"--rc_url={url}")["jobs"]
    assert [(one["name"], one["state"]) for one in jobs[:2]] == [("first", "running"), ("second", "queued")]
    assert jobs[1]["reason"] == "queued behind 'first'; --immediate would share with it at once"
    farm.coordinator("stop", "first")
    until(lambda: running(farm, hosts, "second").total() == 6, "the second has them when the first is gone")
    finish(farm, "second")


@pytest.mark.timeout(120)
def test_a_load_above_maxload_and_margin_makes_processors_leave_and_come_back(farm: Daemons, hosts: Hosts) -> None:
    url = farm.controller(table("node1 maxload=2.0", "node2 maxload=2.0"), MARGIN)
    farm.job("one", url)
    both = {"node1": 2, "node2": 2}
    until(lambda: running(farm, hosts, "one") == both, "four processors run")
    # Two of ours and half a process of other people: that is what the margin is for.
    hosts[0].set_load(2.5)
    until(lambda: host(farm, url, "node1")["load"] == 2.5, "it was measured")
    # Two of ours and two of others: their two slots are theirs.
    hosts[0].set_load(4.0)
    until(lambda: running(farm, hosts, "one") == {"node2": 2}, "ours left node1")
    assert "other work on it" in host(farm, url, "node1")["reason"]
    hosts[0].set_load(0.0)
    until(lambda: running(farm, hosts, "one") == both, "they came back when the load fell")
    finish(farm, "one")


def test_a_spike_of_load_makes_nobody_leave(farm: Daemons, hosts: Hosts) -> None:
    url = farm.controller(table("node1 maxload=2.0"), MARGIN)
    farm.job("one", url)
    until(lambda: running(farm, hosts, "one").total() == 2, "two processors run")

    def processors() -> set[int]:
        return {one["pid"] for one in farm.document("status", "one")["job"]["processors"]}

    before = until(lambda: len(found := processors()) == 2 and found, "the job knows both")
    until(lambda: host(farm, url, "node1")["memory_available_bytes"], "what is usual there was told")
    hosts[0].set_load(9.0)
    until(lambda: host(farm, url, "node1")["load"] == 9.0, "the spike was seen")
    hosts[0].set_load(1.0)
    until(lambda: host(farm, url, "node1")["load"] == 1.0, "and its end")
    assert processors() == before
    assert host(farm, url, "node1")["slots"] == 2
    assert "processor ended" not in farm.log("one")
    finish(farm, "one")
