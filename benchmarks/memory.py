"""The peak memory of Coordinator and feeder, for jobs of very different length in which every 1,000th task fails.

    python -m benchmarks.memory [--tasks 10000 100000 5000000]

Peaks are VmHWM as the kernel keeps it, noted by each process at its end (the feeder's when the generator has given its
last ID). They must not follow the number of tasks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.accepted import NotAResult
from benchmarks.environments import ROOT
from benchmarks.ours import JOBS, LIMIT_S, NAME, Notes
from benchmarks.running import environment, run


def peaks(tasks: int) -> dict[str, float]:
    """{"coordinator": MiB, "feeder": MiB} of one run."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        command = [sys.executable, str(JOBS / "noop.py"), "--fail", NAME, "--local=2", f"--n={tasks}"]
        env = environment(ROOT, directory, NOTES=str(directory / "notes"))
        ran = run(command, directory, env, LIMIT_S)
        if ran.status != 1:  # some tasks failed
            raise NotAResult(f"the job should end with 1, but {ran.reason}")
        failed = (directory / f"{NAME}.error").read_text().splitlines()
        done = (directory / f"{NAME}.success").read_text().splitlines()
        if len(failed) != tasks // 1000 or len(done) + len(failed) != tasks or len(set(done)) != len(done):
            raise NotAResult(f"{len(done)} done and {len(failed)} failed of {tasks}")
        notes = Notes.read(directory / "notes")
        return {process: notes.last(f"{process}_mib") for process in ("coordinator", "feeder")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000, 5_000_000])
    for tasks in parser.parse_args().tasks:
        found = peaks(tasks)
        sizes = f"Coordinator {found['coordinator']:.1f} MiB, feeder {found['feeder']:.1f} MiB"
        print(f"{tasks:>10,} tasks, every 1,000th failing: {sizes}")


if __name__ == "__main__":
    main()
