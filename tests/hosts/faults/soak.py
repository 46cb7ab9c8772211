"""``make soak``: the whole table of faults, on this machine and over hosts, ten times, with 200 random schedules.

    python -m tests.hosts.faults.soak [ROUNDS]

Each round is one run of the tests with 20 schedules of its own seed and cuts as long as the table says. A line for each
round; what failed is named with the seed that plays it again and the file that holds all output. It goes on after a
failure, and stops by itself: after the last round, or when a round hangs.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROUNDS, SCHEDULES = 10, 20
#: seconds after which a round is taken for hanging; one takes five to ten minutes
ROUND_S = 3600.0
FOLDERS = ("tests/hosts/faults", "tests/faults")


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    output = ROOT / "build/soak"
    output.mkdir(parents=True, exist_ok=True)
    bad = 0
    for number in range(1, rounds + 1):
        seed = random.randrange(1 << 32)
        file = output / f"round-{number}.log"
        words = f"round {number} of {rounds} (FAULTS_SEED={seed} FAULTS_SCHEDULES={SCHEDULES})"
        begun = time.monotonic()
        status, failed, passed = play(seed, file, words)
        minutes = (time.monotonic() - begun) / 60
        print(f"{words}: {passed} passed, {len(failed)} failed, {minutes:.1f} min", flush=True)
        if status or failed:
            bad += 1
            print(*(f"  {line}" for line in failed or [f"exit status {status}"]), f"  all of it: {file}", sep="\n")
    print(f"soak: {rounds - bad} of {rounds} rounds passed, {rounds * SCHEDULES} schedules played", flush=True)
    return 1 if bad else 0


def play(seed: int, file: Path, words: str) -> tuple[int, list[str], int]:
    """One round: exit status, what failed, how many tests passed."""
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "-p", "no:cacheprovider", *FOLDERS]
    environment = {**os.environ, "SOAK": "1", "FAULTS_SEED": str(seed), "FAULTS_SCHEDULES": str(SCHEDULES)}
    environment["PYTHONUNBUFFERED"] = "1"
    failed, passed = [], 0
    with (
        open(file, "w", buffering=1) as log,
        subprocess.Popen(
            ["nice", "-n", "5", *command], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        watch = threading.Timer(ROUND_S, os.killpg, (process.pid, signal.SIGTERM))
        watch.start()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                passed += " PASSED " in line
                if line.startswith(("FAILED ", "ERROR ")):
                    failed.append(line.strip())
                elif sys.stdout.isatty() and line.startswith("[gw"):
                    print(f"\r{words}: {passed} passed", end="", flush=True)
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGINT)  # it takes the hosts away, for which it needs a moment
            raise
        finally:
            watch.cancel()
        if sys.stdout.isatty():
            print("\r\033[K", end="")
        return process.wait(), failed, passed


if __name__ == "__main__":
    sys.exit(main())
