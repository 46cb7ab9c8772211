"""What the tests of schedulers share, real ones and fakes: submissions, waiting until they are over, and a script."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status, mark_of
from coordinator.executors.jobexecutor import JobExecutor
from coordinator.executors.jobscript import Element, Exit, exit_of

#: a bound on what hangs: schedulers look at their queue every second or two
HANG_S, LOOK_S = 50.0, 0.2
#: the same for a whole job of Processors
JOB_S = 150.0
#: what a shell does until somebody makes the file "go"
WAIT = "while [ ! -e go ]; do sleep 0.1; done"

SCRIPT = """
import os, time
import coordinator


def work(server, pause=0.0):
    "note who works on each ID; from the file 'go' on there is no pause"
    names = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "LSB_JOBINDEX")
    index = next((os.environ[name] for name in names if name in os.environ), "-")
    for task_id in server:
        with open(f"worked.{os.getpid()}", "a") as file:
            print(task_id, index, file=file)
        if not os.path.exists("go"):
            time.sleep(pause)
        yield task_id


def serve(n=100):
    "numbers"
    yield from range(n)


if __name__ == "__main__":
    coordinator.start_client_or_server(work, serve, [], __file__)
"""


class Submission:
    """Jobs of ``argvs`` in ``place``, submitted together."""

    def __init__(self, scheduler: JobExecutor, place: Path, *argvs: Sequence[str], **needs: Any) -> None:
        self.scheduler, self.count = scheduler, len(argvs)
        mark = mark_of(random.getrandbits(50))
        self.here = place / mark
        self.here.mkdir()
        self.intent = Intent(mark, "test", str(self.here), Needs.of(needs), len(argvs))
        elements = [
            Element(list(argv), str(place), self._at(n), f"{self._at(n)}.out", f"{self._at(n)}.err", {"NUMBER": str(n)})
            for n, argv in enumerate(argvs, 1)
        ]
        self.command = scheduler.prepare(self.intent, elements)
        self.native = ""

    def submit(self) -> Submission:
        self.native = self.scheduler.submit(self.intent)
        return self

    def statuses(self) -> list[Status]:
        numbers = range(1, self.count + 1)
        found = self.scheduler.poll({self.native: (self.intent.mark, numbers)})
        return [found[self.native, number] for number in numbers]

    def until(self, so: Callable[[list[Status]], bool]) -> list[Status]:
        """The first statuses that are so."""
        over = time.monotonic() + HANG_S
        while not so(statuses := self.statuses()):
            assert time.monotonic() < over, statuses
            time.sleep(LOOK_S)
        return statuses

    def wait(self, *states: State) -> list[Status]:
        """Until all are in one of these states, else until they are over."""
        return self.until(lambda found: all(status.state in (states or (State.ENDED,)) for status in found))

    def exits(self) -> list[Exit]:
        """By their own files, as soon as all are there."""
        over = time.monotonic() + HANG_S
        paths = [Path(f"{self._at(number)}.exit") for number in range(1, self.count + 1)]
        while not all(path.exists() for path in paths):
            assert time.monotonic() < over, [path for path in paths if not path.exists()]
            time.sleep(LOOK_S)
        return [exit_of(path.read_text()) for path in paths]

    def out(self, number: int = 1) -> str:
        return Path(f"{self._at(number)}.out").read_text()

    def cancel(self, index: int | None = None) -> None:
        self.scheduler.cancel([(self.native, index, self.count)])

    def _at(self, number: int) -> str:
        return str(self.here / str(number))


def script_in(place: Path) -> list[str]:
    """Written there; the beginning of the command that runs it as the job JOB."""
    (place / "script.py").write_text(SCRIPT)
    return [sys.executable, "script.py", "JOB", "--foreground"]


def run_script(place: Path, *words: str) -> None:
    """Until that job is over, and all was well."""
    done = subprocess.run([*script_in(place), *words], cwd=place, capture_output=True, text=True, timeout=JOB_S)
    assert done.returncode == 0, done.stderr + log_of(place)


def log_of(place: Path) -> str:
    """The end of it, for people."""
    return (place / "JOB.log").read_text()[-3000:]


def worked(place: Path) -> list[str]:
    """A line for each ID that somebody has begun: the ID, and by which element of the array."""
    return [line for path in place.glob("worked.*") for line in path.read_text().splitlines()]


def accepted(place: Path) -> list[int]:
    """The IDs that count as done, in their order."""
    return sorted(map(int, (place / "JOB.success").read_text().split()))
