"""How many no-op tasks a second, start-up included, with every accepted task on disk before it is acknowledged.

    python benchmarks/noop.py [--tasks=200000] [--rounds=5] [--processors=2]

Each round runs the whole command ``noop_job.py NAME --local=2`` in a directory of its own, from the launch of the
interpreter to its end, journal on. Every round is checked: NAME.success holds each ID of the stream once. It prints
tasks a second (median, least, most) and the syncs of one round, counted by strace where it is there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
JOB = HERE / "noop_job.py"


def run_once(directory: Path, tasks: int, processors: int, trace: bool = False) -> float:
    """Seconds of one whole run, checked."""
    command = [sys.executable, str(JOB), "NOOP", f"--local={processors}", f"--n={tasks}"]
    if trace:
        command = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(directory / "syncs.txt"), *command]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    begin = time.perf_counter()
    subprocess.run(command, cwd=directory, env=env, check=True, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    check(directory / "NOOP.success", tasks)
    return seconds


def check(success: Path, tasks: int) -> None:
    """Every ID of the stream accepted exactly once, or the measurement counts for nothing."""
    sys.path.insert(0, str(HERE.parent))
    from benchmarks.noop_job import serve

    accepted = success.read_text(encoding="utf-8").splitlines()
    if len(accepted) != tasks or set(accepted) != set(serve(tasks)):
        raise SystemExit(
            f"{success}: {len(accepted)} lines, {len(set(accepted))} different, {tasks} expected: not a result"
        )


def syncs(directory: Path) -> str:
    found = re.findall(
        r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\bf(?:data)?sync$", (directory / "syncs.txt").read_text(), re.M
    )
    return str(sum(map(int, found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processors", type=int, default=2)
    told = parser.parse_args()
    rates = []
    for _ in range(told.rounds):
        with tempfile.TemporaryDirectory() as directory:
            rates.append(told.tasks / run_once(Path(directory), told.tasks, told.processors))
    print(
        f"no-op, {told.tasks:,} distinct 40-character IDs, {told.processors} processors, start-up and journal included:"
    )
    print(
        f"median {statistics.median(rates):,.0f} tasks/s "
        f"(least {min(rates):,.0f}, most {max(rates):,.0f}, {told.rounds} rounds)"
    )
    if shutil.which("strace"):
        with tempfile.TemporaryDirectory() as directory:
            run_once(Path(directory), told.tasks, told.processors, trace=True)
            print(f"syncs to disk in one round: {syncs(Path(directory))}")


if __name__ == "__main__":
    main()
