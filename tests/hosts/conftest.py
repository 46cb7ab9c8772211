"""The hosts of these tests: real ones, in namespaces of this machine, started once in a test session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.daemons import Daemons
from tests.hosts.launched import SCRIPT
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

COUNT = 3


@pytest.fixture(scope="session")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The hosts see every test's ``tmp_path`` at its own path, as a shared file system."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with Hosts(COUNT, shared=[tmp_path_factory.getbasetemp()]) as hosts:
        yield hosts


@pytest.fixture
def hosts(testbed: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """Whole hosts; the agent with their key is the environment's. Faults are undone afterwards, and what a test left
    running on a host fails it. A test that leaves files of its own on a host ends with the host's crash()."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(testbed.agent))
    yield testbed
    left = testbed.reset()
    if left:
        pytest.fail("the test left processes behind on its hosts (killed now):\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def home(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of somebody on this machine whose OpenSSH knows the hosts; a copy that a test may change."""
    home = tmp_path.with_name(f"{tmp_path.name}.own") / "home"
    shutil.copytree(hosts.home, home)
    config = home / ".ssh/config"
    config.write_text(config.read_text().replace(str(hosts.known_hosts), str(home / ".ssh/known_hosts")))
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def farm(home: Path, tmp_path: Path) -> Iterator[Daemons]:
    daemons = Daemons(tmp_path)
    daemons.script(text=SCRIPT)
    yield daemons
    daemons.end()
