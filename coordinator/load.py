"""Load, memory and cores of this host; the only place that imports psutil.

The keeper reports them every few seconds, ``coordinator hosts check`` shows them. Nothing is averaged or judged here:
what load means for slots is core.balance's. psutil is imported only when memory is asked for, since importing it
costs more than a task.

A container has the load average and the memory of the machine around it. Where something knows better, it replaces
one line in a file whole: in /run/coordinator-load, if that is root's alone to write, or where the environment variable
COORDINATOR_LOAD says::

    RUNNABLE MEMORY_AVAILABLE_BYTES CORES          for example: 0.50 4294967296 2
"""

from __future__ import annotations

import math
import os
import stat
from typing import NamedTuple

#: where root says what this host has; the variable names another file instead
TOLD, VARIABLE = "/run/coordinator-load", "COORDINATOR_LOAD"
#: no line of figures is longer
_MOST_BYTES = 4096


class Figures(NamedTuple):
    """``runnable``: processes, everybody's, as a load average counts them; ``memory_available_bytes``: what a new
    process can have without swapping, None where psutil is not there to tell."""

    runnable: float
    memory_available_bytes: int | None
    cores: int


def figures() -> Figures:
    """Those of the file; where there is no such file, or no such line in it, the machine's own."""
    return told() or Figures(os.getloadavg()[0], _memory_available_bytes(), cores())


def load_now() -> float:
    """The load alone, which costs nothing: the file's, or the machine's one-minute load average."""
    said = told()
    return os.getloadavg()[0] if said is None else said.runnable


def told() -> Figures | None:
    """What the file says."""
    path = os.environ.get(VARIABLE)
    try:
        with open(path or TOLD, encoding="ascii") as file:
            if not path and not _is_roots(os.fstat(file.fileno())):
                return None
            runnable, memory_bytes, count = file.read(_MOST_BYTES).split()
        said = Figures(float(runnable), int(memory_bytes), int(count))
    except (OSError, ValueError):
        return None
    return said if 0 <= said.runnable < math.inf and int(memory_bytes) >= 0 and said.cores > 0 else None


def _is_roots(found: os.stat_result) -> bool:
    return found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its control group if that is less."""
    allowed = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return allowed  # no quota here, or control groups of the older kind
    if quota == "max":
        return allowed
    return max(1, min(allowed, math.ceil(int(quota) / int(period))))


def memory_bytes() -> int:
    """All memory that processes here may use: the machine's, or the limit of the control group if that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
    except OSError:
        return whole
    return min(whole, int(limit)) if limit.isdecimal() else whole


def _memory_available_bytes() -> int | None:
    try:
        import psutil
    except ImportError:  # this host's Python lacks it; what runs here can do without
        return None
    return int(psutil.virtual_memory().available)
