"""The farm of the end-to-end tests, in the foreground."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.farm import Farm


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    """Scripts and commands in the test's own directory."""
    return Farm(tmp_path)
