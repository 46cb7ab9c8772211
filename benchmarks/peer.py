"""A run of a peer: its program in its own environment, told what to do and asked for one line of JSON.

What it counts as answers is compared with what was asked for; a peer that answers less is reported so.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.environments import ROOT, Environments, check_program
from benchmarks.measures import rates, too_fast
from benchmarks.running import Ran, environment, run
from benchmarks.workloads import Workload

LIMIT_S = 300.0


class PeerFailed(Exception):
    """A peer did not do what it was asked for: what happened."""


class Peers:
    def __init__(self, environments: Environments, home: Path, processors: int) -> None:
        self._environments, self._home, self.processors = environments, home, processors

    def check(self, contestant: Contestant) -> None:
        """Raises NotInstallable."""
        check_program(contestant.program)
        self._environments.python(contestant.environment)

    def workload(
        self, contestant: Contestant, workload: Workload, n: int, size: float, directory: Path
    ) -> dict[str, float]:
        """The figures of one run. Raises PeerFailed."""
        order = {
            "variant": contestant.key, "work": workload.work, "size": size, "ids": workload.ids, "n": n,
            "processors": self.processors, "warm": workload.key != "start",
        }  # fmt: skip
        ran, told = self.run(contestant, directory, json.dumps(order))
        if told["answers"] != n:
            raise PeerFailed(f"{told['answers']:,} answers to {n:,} tasks")
        figures = rates(n, ran.whole_s, told["ended"] - told["began"])
        if workload.work == "sleep" and too_fast(figures, n, size, self.processors):
            raise PeerFailed(f"{n:,} answers within {figures['inside_s']:.3f} s, before the tasks can be done")
        figures["peak_mib"] = told["peak_mib"]
        if n == 1:
            figures["first_s"] = told["first"] - ran.launched
        return figures

    def run(self, contestant: Contestant, directory: Path, *words: str) -> tuple[Ran, dict[str, Any]]:
        """What its program printed at its end. Raises PeerFailed."""
        python = self._environments.python(contestant.environment)
        module = ["-m", f"benchmarks.peers.{contestant.module}", *words]
        command = [str(python), *module]
        if contestant.module == "mpi":  # a master and its workers
            launcher = ["mpirun", "--oversubscribe", "-n", str(1 + self.processors)]
            command = [*launcher, str(python), "-m", "mpi4py.futures", *module]
        # With a short name, since some have their sockets there; what they leave in it goes with it.
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as theirs:
            env = environment(ROOT, self._home, python.parent, TMPDIR=theirs)
            ran = run(command, directory, env, LIMIT_S)
        if ran.status != 0:
            raise PeerFailed(ran.reason)
        try:
            return ran, dict(json.loads(ran.out.splitlines()[-1]))
        except (IndexError, ValueError):
            raise PeerFailed(f"it said nothing that can be read: {ran.out[-200:]!r}") from None
