"""A file system of a few megabytes to fill up: the fixture ``small_disk`` (in conftest.py) mounts one for a test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE_BYTES = 4 << 20
_AT_ONCE_BYTES = 64 << 10


@dataclass(frozen=True)
class SmallDisk:
    """Where it is mounted, and how full it is."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Write until only so much is free."""
        with self._ballast.open("ab", buffering=0) as out, suppress(OSError):
            while (spare := self._free_bytes() - leave_bytes) > 0:
                out.write(bytes(min(spare, _AT_ONCE_BYTES)))

    def make_room(self) -> None:
        """Take away what ``fill`` wrote."""
        self._ballast.unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


@contextmanager
def mounted(place: Path) -> Iterator[SmallDisk]:
    """A small disk at ``place``; skips the test where nobody may mount one."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
