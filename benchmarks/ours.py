"""Our own runs: the real command in a directory of its own, checked for every ID accepted exactly once.

The scripts are in jobs/; what they note about themselves (jobs/notes.py) gives the times inside a run. A run that lost
or doubled an ID, failed, or left a process behind raises NotAResult and is no result.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.accepted import NotAResult, check
from benchmarks.environments import ROOT, Environments
from benchmarks.measures import rates, too_fast
from benchmarks.running import Ran, environment, run
from benchmarks.workloads import Workload

JOBS = Path(__file__).resolve().parent / "jobs"
NAME = "BENCH"
LIMIT_S = 300.0


@dataclass(frozen=True)
class Notes:
    """What the processes of a run noted: {what: numbers}."""

    told: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Notes:
        return cls.of(path.read_text().splitlines() if path.exists() else [])

    @classmethod
    def of(cls, lines: Iterable[str]) -> Notes:
        told: dict[str, list[float]] = defaultdict(list)
        for line in lines:
            what, _, number = json.loads(line)
            told[what].append(number)
        return cls(dict(told))

    def first(self, what: str) -> float:
        return min(self._all(what))

    def last(self, what: str) -> float:
        return max(self._all(what))

    def total(self, what: str) -> float:
        return sum(self._all(what))

    def _all(self, what: str) -> list[float]:
        if what not in self.told:
            raise NotAResult(f"no process noted {what!r}: did the job not run?")
        return self.told[what]


class Ours:
    """``processors``: of each run; ``home``: of state that outlives a run, such as the token."""

    def __init__(self, environments: Environments, home: Path, processors: int) -> None:
        self._environments, self._home, self.processors = environments, home, processors

    def command(self, script: str, *words: str, local: int | None = None, name: str = NAME) -> list[str]:
        """``python script.py NAME --local=2 words...``"""
        python = str(self._environments.python(""))
        processors = self.processors if local is None else local
        return [python, str(JOBS / f"{script}.py"), name, f"--local={processors}", *words]

    def environment(self, directory: Path) -> dict[str, str]:
        return environment(ROOT, self._home, NOTES=str(directory / "notes"))

    def run(self, directory: Path, *command: str, limit_s: float = LIMIT_S) -> tuple[Ran, Notes]:
        """One run of one command. Raises NotAResult."""
        ran = run(command, directory, self.environment(directory), limit_s)
        if ran.status != 0:
            raise NotAResult(f"our own command failed, {ran.reason}")
        if ran.left:
            raise NotAResult(f"our own command left processes behind: {', '.join(ran.left)}")
        return ran, Notes.read(directory / "notes")

    def workload(self, workload: Workload, n: int, size: float, directory: Path, function: bool) -> dict[str, float]:
        """The figures of a workload that the peers get too."""
        if workload.work == "noop":
            words = [f"--n={n}", f"--ids={workload.ids}"]
            script = "function" if function else "noop"
        else:
            words = [f"--n={n}", f"--work={workload.work}", f"--size={size}"]
            script = "timed"
        ran, notes = self.run(directory, *self.command(script, *words))
        check(directory / f"{NAME}.success", n, workload.ids)
        found = figures(ran, notes, n, function)
        if workload.work == "sleep" and too_fast(found, n, size, self.processors):
            raise NotAResult(f"{n:,} tasks accepted within {found['inside_s']:.3f} s, before they can be done")
        return found


def figures(ran: Ran, notes: Notes, n: int, function: bool = False) -> dict[str, float]:
    """From the first task that a processor began to the last answer to a report, after which all is accepted and on
    disk.

    A plain function cannot see that answer: ``returned_s`` is there for both, up to the moment at which
    start_client_or_server came back with all files printed.
    """
    begun = notes.first("begun")
    returned_s = notes.last("returned") - begun
    found = rates(n, ran.whole_s, returned_s if function else notes.last("accepted") - begun)
    found["returned_s"] = returned_s
    found["returned_tasks_per_s"] = n / returned_s
    if n == 1:
        found["first_s"] = notes.first("accepted") - ran.launched
    if "coordinator_mib" in notes.told:
        found["peak_mib"] = notes.last("coordinator_mib")
    if "cpu_s" in notes.told and n > 1:
        found["processors_cpu_us_per_task"] = notes.total("cpu_s") / notes.total("tasks") * 1e6
    return found
