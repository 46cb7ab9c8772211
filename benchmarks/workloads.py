"""What is measured: the workloads that everybody gets, and the measures that only concern ourselves.

A table, and the pure question of who takes part in which and with how many tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.peers.work import INTEGERS, STRINGS

#: of a slow contestant's timed tasks
SLOW_SHARE = 10
#: tasks of the smallest share
LEAST = 100


@dataclass(frozen=True)
class Workload:
    """``n``, ``n_quick``: tasks; ``size_s``: seconds of a timed task (burning: loops that take so long when the
    machine is quiet); ``ids``: their kind; ``quick``: part of a quick run."""

    key: str
    title: str
    work: str
    n: int
    n_quick: int
    size_s: float = 0.0
    ids: str = INTEGERS
    quick: bool = True


WORKLOADS: tuple[Workload, ...] = (
    Workload("noop-strings", "Tasks that do nothing, IDs of 40 characters", "noop", 1_000_000, 100_000, ids=STRINGS),
    Workload("noop-integers", "Tasks that do nothing, consecutive integers", "noop", 1_000_000, 100_000),
    Workload("sleep-1ms", "Tasks that sleep 1 ms", "sleep", 5_000, 1_000, 0.001),
    Workload("sleep-10ms", "Tasks that sleep 10 ms", "sleep", 500, 100, 0.01, quick=False),
    Workload("burn-1ms", "Tasks that burn CPU for 1 ms", "burn", 20_000, 1_000, 0.001),
    Workload("burn-10ms", "Tasks that burn CPU for 10 ms", "burn", 2_000, 100, 0.01, quick=False),
    Workload("tail", "1,000 tasks, one in 100 of them 100 times longer", "tail", 1_000, 1_000, 0.005, quick=False),
    Workload("start", "From the command to the first task accepted", "noop", 1, 1, ids=STRINGS),
)
BY_KEY = {workload.key: workload for workload in WORKLOADS}

#: measures with runs of their own: {key: (title, part of a quick run)}
SPECIAL = {
    "demo": ("make demo, after its set-up, and the same work in joblib", False),
    "next": ("next, one ID a call, 16 connections", True),
    "killed": ("the Coordinator killed in the middle and started again", True),
    "memory": ("the most memory of the master", False),
    "resume": ("a finished job goes on", False),
    "import": ("what a Processor imports", True),
    "simulated": ("many simulated processors over TCP", False),
}
MEASURES = (*BY_KEY, *SPECIAL)


def tasks(workload: Workload, contestant: Contestant, quick: bool, share: float = 1.0) -> int:
    """How many tasks this contestant gets; 0: it does not take part. ``share``: of the full number, to try things."""
    n = _tasks(workload, contestant, quick)
    return max(min(n, LEAST), round(n * share))


def _tasks(workload: Workload, contestant: Contestant, quick: bool) -> int:
    if workload.key == "start":
        return 1 if contestant.start else 0
    if workload.work not in contestant.takes:
        return 0
    n = workload.n_quick if quick else workload.n
    if workload.work == "noop":
        if workload.ids == INTEGERS and (contestant.key == "ours-function" or contestant.noop < workload.n):
            return 0  # who is slow with strings is as slow with integers
        most = contestant.noop * workload.n_quick // workload.n if quick else contestant.noop
        return min(n, most)
    if contestant.slow and quick:
        return 0  # its share of the minutes is for starts and no-op tasks
    return n // SLOW_SHARE if contestant.slow and workload.work != "tail" else n


def taking_part(workload: Workload, quick: bool) -> list[Contestant]:
    return [contestant for contestant in CONTESTANTS if tasks(workload, contestant, quick)]
