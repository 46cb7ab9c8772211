"""Our server under load by clients that are not Processors: ``next`` from many connections, and simulated Processors.

    python -m benchmarks.serving --simulated=2000 --seconds=600

Each starts the job jobs/waiting.py, whose own processor holds one task until the end, and lets a client of load/ work
on the rest. Accepted IDs are checked here too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accepted import NotAResult, check
from benchmarks.environments import PLACE, Environments
from benchmarks.measures import rates
from benchmarks.ours import LIMIT_S, NAME, Ours
from benchmarks.peers.work import INTEGERS
from benchmarks.running import run, started

#: seconds between two looks for a file that another process writes, and how many seconds long
LOOK_S, LOOK_MOST_S = 0.02, 30.0
CONNECTIONS = 16
#: of simulated processors: seconds of a task, so that ten make a block
TASK_S = 0.02
#: IDs that cannot run out: more than a block a tenth of a second for each processor
PLENTY_PER_S = 100
#: what `next` is asked by: {contestant: (how, connections)}
CLASSIC = {
    "next-16": ("lines", CONNECTIONS),
    "next-proxy-16": ("proxy", CONNECTIONS),
    "ancestor": ("proxy", 2),
    "stdlib-16": ("lines", CONNECTIONS),
}


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> str:
    """The text of a file that appears whole. Raises NotAResult."""
    over = time.monotonic() + LOOK_MOST_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > over:
            raise NotAResult(f"{path.name} never appeared; the server's exit status is {process.poll()}")
        time.sleep(LOOK_S)
    return path.read_text()


@contextlib.contextmanager
def our_server(
    ours: Ours, n: int, directory: Path, whole: bool = True, ids: str = INTEGERS
) -> Iterator[dict[str, Any]]:
    """A job of ``n`` IDs; what its clients need to know. ``whole``: it is to be done at the end, else stopped."""
    command = ours.command("waiting", f"--n={n}", f"--ids={ids}", local=1)
    with started(command, directory, ours.environment(directory)) as running:
        told = json.loads(wait_for(directory / f"{NAME}.run", running.process))
        yield {"host": "127.0.0.1", "port": told["port"], "token": told["token"], "pid": running.process.pid}
        (directory / "go").touch()
        if not whole:
            running.process.send_signal(signal.SIGINT)
        if running.wait(LIMIT_S) != (0 if whole else 130):
            raise NotAResult(f"the Coordinator under load failed, {running.ran().reason}")


@contextlib.contextmanager
def stdlib_server(ours: Ours, n: int, directory: Path) -> Iterator[dict[str, Any]]:
    """xmlrpc.server with a thread for each connection."""
    port = directory / "port"
    python = ours.command("waiting")[0]
    command = [python, "-m", "benchmarks.peers.xmlrpcserver", str(port), str(n)]
    with started(command, directory, ours.environment(directory)) as running:
        yield {"host": "127.0.0.1", "port": int(wait_for(port, running.process)), "token": ""}


def classic(ours: Ours, contestant: str, n: int, directory: Path) -> dict[str, float]:
    """Calls of ``next`` a second. The server's own processor has one of the ``n`` IDs."""
    how, connections = CLASSIC[contestant]
    theirs = contestant.startswith("stdlib")
    with stdlib_server(ours, n, directory) if theirs else our_server(ours, n, directory) as told:
        told = {**told, "how": how, "connections": connections}
        ran = run(load(ours, "classic", told), _beside(directory), ours.environment(directory), LIMIT_S)
    if ran.status != 0:
        raise NotAResult(f"the load client failed, {ran.reason}")
    found = json.loads(ran.out.splitlines()[-1])
    if not theirs:
        check(directory / f"{NAME}.success", n, INTEGERS)
    figures = rates(found["served"], ran.whole_s, found["seconds"])
    return {"calls_per_s": figures["tasks_per_s"], "seconds": found["seconds"]}


def simulated(ours: Ours, processors: int, seconds: float, directory: Path) -> dict[str, float]:
    """How an exchange fares among so many."""
    n = round(processors * PLENTY_PER_S * (seconds + 30))
    accepted = directory / "accepted"
    with our_server(ours, n, directory, whole=False) as told:
        order = {"processors": processors, "seconds": seconds, "task_s": TASK_S, "accepted": str(accepted)}
        command = load(ours, "simulated", told | order)
        ran = run(command, _beside(directory), ours.environment(directory), seconds + LIMIT_S)
        memory = Path(f"/proc/{told['pid']}/status").read_text()
    if ran.status != 0:
        raise NotAResult(f"the simulated processors failed, {ran.reason}")
    found = json.loads(ran.out.splitlines()[-1])
    for how, times in found["dead"].items():
        print(f"{times:,} times, a simulated processor was held for dead: {how}", file=sys.stderr)
    peak = next(line for line in memory.splitlines() if line.startswith("VmHWM:"))
    lapsed = (directory / f"{NAME}.log").read_text(errors="replace").count("lease lapsed")
    check_answered(accepted, directory / f"{NAME}.success", n)
    figures: dict[str, float] = {**found["figures"], "lapsed": lapsed, "peak_mib": int(peak.split()[1]) / 1024}
    figures["false_deaths"] += lapsed
    return figures


def check_answered(accepted: Path, success: Path, n: int) -> None:
    """Each ID whose acceptance was answered is in NAME.success, and none twice. Raises NotAResult."""
    times = bytearray(n)
    with open(success, encoding="ascii") as file:
        for line in file:
            times[int(line)] += 1
    doubled = n - times.count(0) - times.count(1)
    lost = 0
    for line in accepted.read_text(encoding="ascii").splitlines():
        a, b = map(int, line.split())
        lost += times.count(0, a, b)
    if lost or doubled:
        raise NotAResult(f"{success.name}: of the IDs that were said to be accepted {lost:,} lost, {doubled:,} doubled")


def load(ours: Ours, client: str, told: dict[str, Any]) -> list[str]:
    return [ours.command("waiting")[0], "-m", f"benchmarks.load.{client}", json.dumps(told)]


def _beside(directory: Path) -> Path:
    """Where the client's own output goes."""
    beside = directory / "client"
    beside.mkdir(exist_ok=True)
    return beside


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--simulated", type=int, default=2000, metavar="PROCESSORS")
    parser.add_argument("--seconds", type=float, default=600.0)
    told = parser.parse_args()
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as work:
        ours = Ours(Environments(), Path(work), 1)
        directory = Path(work, "run")
        directory.mkdir()
        try:
            figures = simulated(ours, told.simulated, told.seconds, directory)
        except NotAResult as error:
            print(error, file=sys.stderr)
            return 1
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
