"""Load, cores and memory of this host; the only place that imports psutil.

The keeper reports them, ``--local`` counts its slots by them. Nothing is averaged or judged here: what load means for
slots is core.balance's. psutil is imported only when memory is asked for, since importing it costs more than a task.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    total_bytes: int
    available_bytes: int


def load_now() -> float:
    """Runnable processes of this machine, everybody's: its one-minute load average."""
    return os.getloadavg()[0]


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


def memory_now() -> Memory:
    """Memory of this machine, in bytes; available is what a new process can have without swapping."""
    import psutil

    memory = psutil.virtual_memory()
    return Memory(int(memory.total), int(memory.available))
