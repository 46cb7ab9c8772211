"""Measures with runs of their own: the demonstration, a kill, long jobs, imports, and servers under load.

Each function does one round of one measure and returns the figures of everybody who took part in it; the ones that
check something raise NotAResult. ``rounds`` calls them in turn with the workloads.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contestants, serving
from benchmarks.accepted import NotAResult, check
from benchmarks.environments import ROOT
from benchmarks.measures import summary
from benchmarks.ours import NAME, Ours
from benchmarks.peer import PeerFailed, Peers
from benchmarks.peers.work import STRINGS
from benchmarks.running import run, started
from benchmarks.workloads import Workload

CENSUS = ROOT / "examples" / "census.py"
#: tasks of a long job, and of a short one that must need as much memory
LONG_N, SHORT_N = 10_000_000, 100_000
LONG_LIMIT_S = 1200.0
#: peers whose master grows with the tasks, for comparison
GROWING = ("dask-futures", "ray-tasks", "parsl")
#: seconds after the first task when a Coordinator is killed
KILL_AFTER_S = 0.1
#: starts of an interpreter for one figure
STARTS, STARTS_QUICK = 11, 5

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Field:
    """Who takes part, where, and with how much: ``directory(name)`` makes a new one; ``chosen``: keys of contestants;
    ``failed``: told of a peer that did not do it."""

    ours: Ours
    peers: Peers
    directory: Callable[[str], Path]
    chosen: frozenset[str]
    quick: bool
    failed: Callable[[str, str], None]
    share: float = 1.0
    simulated: int = 2000
    simulated_s: float = 600.0

    def tasks(self, full: int, quick: int) -> int:
        return max(1000, round((quick if self.quick else full) * self.share))


def demo(field: Field) -> Figures:
    """The whole command on both sides, its table printed."""
    directory = field.directory("demo-ours")
    python = field.ours.command("noop")[0]
    ran, _ = field.ours.run(directory, python, str(CENSUS), NAME, f"--local={field.ours.processors}")
    done = (directory / f"{NAME}.success").read_text().splitlines()
    found: Figures = {"ours": {"whole_s": ran.whole_s}}
    if "joblib-auto" in field.chosen:
        peer = contestants.BY_KEY["joblib-auto"]
        words = ("census", str(CENSUS), str(field.ours.processors))
        theirs, told = field.peers.run(peer, field.directory("demo-joblib"), *words)
        if len(set(done)) != len(done) or told["answers"] != len(done):
            raise NotAResult(f"{len(done)} modules, {len(set(done))} different; joblib found {told['answers']}")
        found[peer.key] = {"whole_s": theirs.whole_s}
    return found


def next_calls(field: Field) -> Figures:
    """One ID a call."""
    n = field.tasks(40_000, 3_000)
    found: Figures = {}
    for contestant in serving.CLASSIC:
        how, connections = serving.CLASSIC[contestant]
        share = {"lines": 1, "proxy": 4}[how] * (1 if connections > 2 else 3)  # the slow ones get fewer
        found[contestant] = serving.classic(field.ours, contestant, n // share, field.directory(contestant))
    return found


def killed(field: Field) -> Figures:
    """SIGKILL in the middle; the same command goes on, with the processors of the first, and the check holds."""
    n = 300_000 if field.quick or field.share < 1 else 1_000_000  # enough to be killed in the middle
    directory = field.directory("killed")
    command = field.ours.command("noop", f"--n={n}")
    env = field.ours.environment(directory)
    with started(command, directory, env) as first:
        serving.wait_for(directory / "notes", first.process)
        time.sleep(KILL_AFTER_S)
        if first.process.poll() is not None:
            raise NotAResult(f"{n:,} tasks were over within {KILL_AFTER_S} s: nothing was there to be killed")
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        seconds = _again(command, directory, env)
    check(directory / f"{NAME}.success", n, STRINGS)
    return {"ours": {"resumed_s": seconds}}


def _again(command: list[str], directory: Path, env: dict[str, str]) -> float:
    """The same command to its end, in the same directory; seconds."""
    with started(command, directory, env) as running:
        status = running.wait(LONG_LIMIT_S)
    if status != 0:
        raise NotAResult(f"the resumed command failed, {running.ran().reason}")
    return running.ran().whole_s


def memory(field: Field) -> Figures:
    """Everybody with the same short job."""
    n = field.tasks(SHORT_N, SHORT_N // 10)
    workload = Workload("memory", "", "noop", n, n, ids=STRINGS)
    found: Figures = {"ours": field.ours.workload(workload, n, 0.0, field.directory("memory"), False)}
    for key in GROWING:
        if key in field.chosen:
            try:
                peer = contestants.BY_KEY[key]
                found[key] = field.peers.workload(peer, workload, n, 0.0, field.directory(f"memory-{key}"))
            except PeerFailed as error:
                field.failed(key, f"{n:,} tasks: {error}")
    return {key: {"peak_mib": figures["peak_mib"]} for key, figures in found.items()}


def resume(field: Field) -> Figures:
    """A long job to its end, then the same with one ID more: how soon that is accepted, and who needed how much."""
    n = field.tasks(LONG_N, LONG_N // 100)
    directory = field.directory("resume")
    _, notes = field.ours.run(directory, *field.ours.command("noop", f"--n={n}"), limit_s=LONG_LIMIT_S)
    check(directory / f"{NAME}.success", n, STRINGS)
    figures = {"long_coordinator_mib": notes.last("coordinator_mib"), "long_feeder_mib": notes.last("feeder_mib")}
    (directory / "notes").unlink()
    ran, notes = field.ours.run(directory, *field.ours.command("noop", f"--n={n + 1}"), limit_s=LONG_LIMIT_S)
    check(directory / f"{NAME}.success", n + 1, STRINGS)
    figures |= {"first_s": notes.first("accepted") - ran.launched, "peak_mib": notes.last("coordinator_mib")}
    return {"ours": figures}


def imports(field: Field) -> Figures:
    """Whole interpreters, bare and with what a Processor and a user's script import, in turn."""
    python = field.ours.command("noop")[0]
    directory = field.directory("import")
    lines = {"bare": "pass", "processor": "import coordinator.processor", "script": "import coordinator.script"}
    seconds: dict[str, list[float]] = {what: [] for what in lines}
    for _ in range((STARTS_QUICK if field.quick else STARTS) + 1):
        for what, line in lines.items():
            ran = run([python, "-c", line], directory, field.ours.environment(directory), 60.0)
            seconds[what].append(ran.whole_s)
    bare, processor, script = (summary(times[1:]).median for times in seconds.values())  # the first may compile
    foreign = (
        "import sys; before = set(sys.modules); import coordinator.processor; "
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} "
        "- set(sys.stdlib_module_names) - {'coordinator'}))"
    )
    ran = run([python, "-c", foreign], directory, field.ours.environment(directory), 60.0)
    if ran.out.strip() != "[]":
        raise NotAResult(f"a Processor imports more than the standard library: {ran.out.strip() or ran.reason}")
    return {"ours": {"processor_import_s": processor - bare, "script_import_s": script - bare, "bare_s": bare}}


def simulated(field: Field) -> Figures:
    """Thousands of processors."""
    figures = serving.simulated(field.ours, field.simulated, field.simulated_s, field.directory("simulated"))
    return {"ours": figures}


#: {measure: (one round of it, has it as many rounds as the workloads?)}
RUNS: dict[str, tuple[Callable[[Field], Figures], bool]] = {
    "demo": (demo, True),
    "next": (next_calls, True),
    "killed": (killed, False),
    "memory": (memory, False),
    "resume": (resume, False),
    "import": (imports, True),
    "simulated": (simulated, False),
}
