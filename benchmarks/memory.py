"""The peak memory of Coordinator and feeder, for jobs of very different length in which every 1,000th task fails.

    python benchmarks/memory.py [--tasks 10000 100000 5000000]

Peaks are VmHWM as the kernel keeps it, noted by each process at its end (the feeder's when the generator has given its
last ID). They must not follow the number of tasks.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def peaks(tasks: int) -> dict[str, float]:
    """{"coordinator": MiB, "feeder": MiB} of one run."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(HERE / "noop_job.py"), "--fail", "MEMORY", "--local=2", f"--n={tasks}"]
        env = {**os.environ, "PYTHONPATH": str(HERE.parent), "PEAKS": directory}
        subprocess.run(command, cwd=directory, env=env, stderr=subprocess.DEVNULL, check=False)  # 1: some tasks failed
        found = {process: float((Path(directory) / process).read_text()) for process in ("coordinator", "feeder")}
        failed = (Path(directory) / "MEMORY.error").read_text().splitlines()
        done = (Path(directory) / "MEMORY.success").read_text().splitlines()
        if len(failed) != tasks // 1000 or len(done) + len(failed) != tasks or len(set(done)) != len(done):
            raise SystemExit(f"{len(done)} done and {len(failed)} failed of {tasks}: not a result")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000, 5_000_000])
    for tasks in parser.parse_args().tasks:
        found = peaks(tasks)
        sizes = f"Coordinator {found['coordinator']:.1f} MiB, feeder {found['feeder']:.1f} MiB"
        print(f"{tasks:>10,} tasks, every 1,000th failing: {sizes}")


if __name__ == "__main__":
    main()
