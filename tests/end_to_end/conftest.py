"""The farm of the end-to-end tests: in the foreground, and as daemons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.daemons import Daemons
from tests.end_to_end.farm import Farm


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    """Scripts and commands in the test's own directory."""
    return Farm(tmp_path)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """A directory with script.py, whose tasks wait for "go" or "go.ID"; every daemon is ended afterwards."""
    made = Daemons(tmp_path)
    made.script()
    yield made
    made.end()
