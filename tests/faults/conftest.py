"""The farm of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.farm import Farm


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """A job in the test's own directory; nothing of it is left running, whatever happens."""
    farm = Farm(tmp_path)
    yield farm
    farm.end_all()
