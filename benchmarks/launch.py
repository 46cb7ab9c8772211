"""How long it takes from a command to the first task on a host that is logged in to over SSH.

    python -m benchmarks.launch [--rounds=5] [HOST]

HOST is one that you can ssh to and that sees this checkout and Python under the same paths. Without it, as root, a host
of tests/testbed is put up for the while. The script imports nothing but coordinator. Each round types ``python first.py
NAME`` for a ResourceController that runs already. It prints the seconds until the prompt is back and until the first
task begins on the host (median, least, most), and what the Coordinator's log says on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """\
import time
import coordinator

def first(number):
    return time.time()

def numbers():
    yield 0

if __name__ == '__main__':
    coordinator.start_client_or_server(first, numbers, [], __file__)
"""
#: what the Coordinator's log says on the way
STEPS = ("keeper starts", "keeper here", "register")


def typed(directory: Path, here: list[str], *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*here, sys.executable, *words]
    return subprocess.run(command, cwd=directory, env=env, check=True, capture_output=True, text=True).stdout


def run_once(directory: Path, here: list[str], name: str, rc_url: str) -> tuple[float, float, list[float]]:
    """Seconds from the command to the prompt, to the first task, and to each of STEPS."""
    began = time.time()
    typed(directory, here, "first.py", name, f"--rc_url={rc_url}")
    prompt = time.time() - began
    typed(directory, here, "-m", "coordinator", "wait", name)
    lines = typed(directory, here, "-m", "coordinator", "results", name).splitlines()
    first = json.loads(lines[0].split("\t")[1]) - began
    log = (directory / f"{name}.log").read_text().splitlines()
    found = [next(line for line in log if f" {step} " in line) for step in STEPS]
    return prompt, first, [datetime.fromisoformat(line[:23]).timestamp() - began for line in found]


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("host", nargs="?")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ROOT if options.host else None)))
        here: list[str] = []
        if options.host is None:
            sys.path.insert(0, str(ROOT))
            from tests.testbed.hosts import Hosts
            from tests.testbed.machine import missing

            if (reason := missing()) is not None:
                print(f"no HOST was given, and no testbed can be put up: {reason}")
                return 0
            hosts = stack.enter_context(Hosts(1, shared=[directory]))
            os.environ.update(hosts.environment)
            options.host, here = "node1", hosts.here()
        (directory / "first.py").write_text(SCRIPT)
        (directory / "launch.hosts").write_text(f"{options.host} 1\n")
        said = typed(directory, here, "-m", "coordinator", "--rc=launch", "--port=0", "--overload_margin=1000")
        rc_url = re.findall(r"url +(\S+)", said)[0]
        try:
            rounds = [run_once(directory, here, f"ROUND{n}", rc_url) for n in range(options.rounds)]
        finally:
            typed(directory, here, "-m", "coordinator", "stop", "--rc=launch", f"--rc_url={rc_url}")
    print(f"from the command to the prompt:                {shown([prompt for prompt, _, _ in rounds])}")
    print(f"from the command to the first task on {options.host + ':':<8} {shown([first for _, first, _ in rounds])}")
    for number, step in enumerate(STEPS):
        print(f"    {step + ':':<43}{shown([steps[number] for _, _, steps in rounds])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
