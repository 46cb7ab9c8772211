"""Load, memory and cores of this host; the only place that imports psutil.

The keeper reports them every few seconds, ``coordinator hosts check`` shows them. Nothing is averaged or judged here:
what load means for slots is core.balance's. psutil is imported only when memory is asked for, since importing it
costs more than a task.

A container has the load average and the memory of the machine around it. Where something on it knows better, the
environment variable COORDINATOR_LOAD names a file that this something replaces whole, with one line::

    RUNNABLE MEMORY_AVAILABLE_BYTES CORES          for example: 0.50 4294967296 2
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

#: its value is the path of a file that has the figures of this host
VARIABLE = "COORDINATOR_LOAD"
#: no line of figures is longer
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Figures:
    """``runnable``: processes, everybody's, as a load average counts them; ``memory_available_bytes``: what a new
    process can have without swapping, None where psutil is not there to tell."""

    runnable: float
    memory_available_bytes: int | None
    cores: int


def figures() -> Figures:
    """Those of the file that COORDINATOR_LOAD names; where there is no such file, or no such line in it, the
    machine's own."""
    return told() or Figures(os.getloadavg()[0], _memory_available_bytes(), cores())


def load_now() -> float:
    """The load alone, which costs nothing: the file's, or the machine's one-minute load average."""
    said = told()
    return os.getloadavg()[0] if said is None else said.runnable


def told() -> Figures | None:
    """What the file says."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as file:
            runnable, memory_bytes, count = file.read(_MOST_BYTES).split()
        said = Figures(float(runnable), int(memory_bytes), int(count))
    except (OSError, ValueError):
        return None
    return said if 0 <= said.runnable < math.inf and int(memory_bytes) >= 0 and said.cores > 0 else None


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


def _memory_available_bytes() -> int | None:
    try:
        import psutil
    except ImportError:  # this host's Python lacks it; what runs here can do without
        return None
    return int(psutil.virtual_memory().available)
