"""Which machine, which versions, how busy: what stands above every table, since figures without it say nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.environments import REQUIREMENTS, ROOT, Environments, NotInstallable


def describe(place: Path, environments: Environments, asked: set[str]) -> dict[str, Any]:
    """``place``: where the runs write; ``asked``: environments that took part."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "disk": file_system(place, Path("/proc/mounts").read_text()),
        "load_before": os.getloadavg()[0],
        "commit": commit(),
        "versions": versions(environments, asked),
    }


def processor(cpuinfo: str) -> str:
    """The model's name in /proc/cpuinfo."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    return found[1].strip() if found else platform.machine()


def file_system(place: Path, mounts: str) -> str:
    """The kind of the file system that holds ``place``: the mount with the longest path above it."""
    held = ("", "unknown")
    for line in mounts.splitlines():
        point, kind = line.split()[1:3]
        if (point == "/" or f"{place}/".startswith(f"{point}/")) and len(point) > len(held[0]):
            held = (point, kind)
    return held[1]


def commit() -> str:
    """What was measured; "+" when there were changes."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions(environments: Environments, asked: set[str]) -> dict[str, str]:
    """Of the peers' packages."""
    found: dict[str, str] = {}
    for name in sorted(asked):
        if name and (REQUIREMENTS / f"{name}.txt").exists():
            try:
                found |= environments.versions(name)
            except NotInstallable:
                continue  # it is reported with the reason where its contestants are
    return dict(sorted(found.items()))
