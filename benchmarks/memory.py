"""The peak memory of Coordinator and feeder, for jobs of very different length in which every 1,000th task fails.

    python benchmarks/memory.py [--tasks 10000 100000 5000000]

Peaks are VmHWM as the kernel keeps it, read while the processes live. They must not follow the number of tasks.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def peaks(tasks: int) -> dict[str, float]:
    """{"coordinator": MiB, "feeder": MiB} of one run."""
    from coordinator import procs

    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(HERE / "noop_job.py"), "--fail", "MEMORY", "--local=2", f"--n={tasks}"]
        env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        job = subprocess.Popen(command, cwd=directory, env=env, stderr=subprocess.DEVNULL)
        found = {"coordinator": 0.0, "feeder": 0.0}
        while job.poll() is None:
            found["coordinator"] = max(found["coordinator"], peak_mib(job.pid))
            # The feeder is the child that stays in the Coordinator's session; the keeper has one of its own.
            for child in procs.children_of(job.pid):
                try:
                    if os.getsid(child) == os.getsid(job.pid):
                        found["feeder"] = max(found["feeder"], peak_mib(child))
                except ProcessLookupError:
                    continue
            time.sleep(0.005)
        failed = (Path(directory) / "MEMORY.error").read_text().splitlines()
        done = (Path(directory) / "MEMORY.success").read_text().splitlines()
        if len(failed) != tasks // 1000 or len(done) + len(failed) != tasks or len(set(done)) != len(done):
            raise SystemExit(f"{len(done)} done and {len(failed)} failed of {tasks}: not a result")
        return found


def peak_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000, 5_000_000])
    for tasks in parser.parse_args().tasks:
        found = peaks(tasks)
        sizes = f"Coordinator {found['coordinator']:.1f} MiB, feeder {found['feeder']:.1f} MiB"
        print(f"{tasks:>10,} tasks, every 1,000th failing: {sizes}")


if __name__ == "__main__":
    main()
