"""The farm over hosts of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.faults.farm import HostsFarm
from tests.testbed.hosts import Hosts


@pytest.fixture
def farm(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostsFarm]:
    """A job over the hosts, typed by somebody whose OpenSSH knows them; nothing of it is left on this machine."""
    monkeypatch.setenv("HOME", str(hosts.home))
    farm = HostsFarm(tmp_path, hosts)
    yield farm
    print(farm.told())  # shown where the test failed
    farm.touch("go")
    farm.end_all()
