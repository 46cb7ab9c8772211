"""What hosts say of their load: their own figures, though all hosts of a testbed share one kernel."""

from __future__ import annotations

import os

import pytest

from tests.end_to_end.daemons import Daemons, until
from tests.testbed.host import Load
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def test_keepers_and_hosts_check_tell_the_load_of_their_own_host(farm: Daemons, hosts: Hosts) -> None:
    hosts[0].set_load(Load(0.75, memory_available_bytes=2_000_000_000, cores=7))
    hosts[1].set_load(0.25)
    hosts[2].set_load(None)
    url = farm.controller("node1 1.0\nnode2 1.0\nnode3 1.0\n")
    farm.job("one", url)

    def loads() -> dict[str, float]:
        return {name: host["load"] for name, host in farm.document("hosts", f"--rc_url={url}")["hosts"].items()}

    until(lambda: (found := loads())["node1"] == 0.75 and found["node2"] == 0.25 and found["node3"] > 0, "each its own")
    assert loads()["node3"] == pytest.approx(os.getloadavg()[0], abs=3.0), "the kernel's"
    checked = farm.document("hosts", "check", "bigcheese", f"--rc_url={url}")["hosts"]
    assert [checked["node1"][key] for key in ("load", "memory_bytes", "cores")] == [0.75, 2_000_000_000, 7]
