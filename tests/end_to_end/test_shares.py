"""Shares on this machine, by its real figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from coordinator.load import VARIABLE
from tests.end_to_end.daemons import Daemons, until


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    daemons = Daemons(tmp_path, environment)
    daemons.script()
    yield daemons
    daemons.end()


def test_the_load_and_memory_of_a_host_are_what_psutil_says_there(daemons: Daemons) -> None:
    url = daemons.controller("localhost 1.0\n")
    daemons.job("one", url, "--n=1")
    daemons.busy(1)

    def told() -> tuple[float, int]:
        host = daemons.document("hosts", f"--rc_url={url}")["hosts"]["localhost"]
        return (host["load"], host["memory_available_bytes"] or 0)

    # The load average of this machine changes every few seconds; it is followed.
    until(lambda: told()[0] == psutil.getloadavg()[0] and told()[1], "the load was that of this machine")
    memory = psutil.virtual_memory()
    assert 0 < told()[1] < memory.total
    assert abs(told()[1] - memory.available) < memory.total / 2
