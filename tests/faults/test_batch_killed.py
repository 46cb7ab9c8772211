"""kill -9 of whoever submits the jobs of a batch, at random moments that hit every window: each job runs once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from coordinator import batch as psu
from coordinator.batch import home as homes
from coordinator.executors.jobexecutor import script_of
from coordinator.jobs import schema
from coordinator.jobs.records import Submission, submissions_where
from tests.end_to_end.batches import Batches, batches

pytestmark = pytest.mark.faults
__all__ = ["batches"]

KILLS, JOBS = 100, 2
WINDOWS = {"nothing written", "intent written", "script written", "native id kept"}

#: For each line that it is sent it forks a submitter, and says when it is over. A submitter that is told a number ends
#: itself by SIGKILL at that line, of those that it goes through in the rooms of submitting; told 0 it counts them.
FORGE = """
import os, sys
from coordinator import batch as psu
from tests.faults.lines import Lines

psu.get_queue(Verbose=False)
for line in sys.stdin:
    at = int(line)
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)  # what it tells people is not our protocol
        lines = Lines(at, ("submitting.py", "submissions.py", "jobexecutor.py", "localjobs.py"))
        if at >= 0:
            lines.trace()
        psu.submit_jobs()
        os.write(int(sys.argv[1]), b"%d\\n" % lines.seen) if at == 0 else None
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()  # not reaped before, so that its pid is nobody else's
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def window(known: set[str]) -> str:
    """Where the submitter was when it was killed, by what it left."""
    with homes.home().store.reading() as connection:
        found = [s for s in submissions_where(connection, schema.submission.c.mark != "") if s.mark not in known]
    known.update(submission.mark for submission in found)
    return min((_stage(submission) for submission in found), default="nothing written")


def _stage(submission: Submission) -> str:
    if submission.stage != "written":
        return "native id kept"
    return "script written" if os.path.exists(script_of(submission.intent)) else "intent written"


class Forge:
    """``lines``: that a whole submission goes through; ``whole_s``: that the last one took."""

    def __init__(self) -> None:
        counted, told = os.pipe()
        words = [sys.executable, "-c", FORGE, str(told)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(told,)
        )
        os.close(told)
        self._counted = os.fdopen(counted)
        self.lines, self.whole_s = 0, 0.0

    def whole(self) -> None:
        """A submitter that nobody kills."""
        began = time.monotonic()
        self._say(-1)
        self._reap()
        self.whole_s = time.monotonic() - began

    def counted(self) -> None:
        self._say(0)
        self._reap()
        self.lines = int(self._counted.readline())

    def killed_after(self, pause_s: float) -> None:
        pid = self._say(-1)
        time.sleep(pause_s)
        os.kill(pid, signal.SIGKILL)
        self._reap()

    def killed_at(self, line: int) -> None:
        self._say(line)
        self._reap()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self._counted.close()

    def _say(self, line: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def _reap(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("reap", file=self.process.stdin, flush=True)
        self.process.stdout.readline()


@pytest.mark.timeout(200)
def test_a_submitter_that_is_killed_at_any_moment_loses_no_job_and_doubles_none(batches: Batches) -> None:
    torn: list[int] = []

    def add() -> None:
        scripts = [f"echo {len(torn)}.{index} >>ran" for index in range(JOBS)]
        torn.append(batches.add(*scripts, name="torn", resources={}))

    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    windows: Counter[str] = Counter()
    known: set[str] = set()
    forge = Forge()
    try:
        for kill in range(KILLS):
            forge.whole()  # what was torn is mended
            if kill % 25 == 0:
                add()
                forge.counted()
                add()
                forge.whole()
            window(known)
            add()
            if kill % 3 == 0:
                forge.killed_after(chance.uniform(0, forge.whole_s))
            else:
                forge.killed_at(chance.randint(1, forge.lines))
            windows[window(known)] += 1
    finally:
        forge.close()
    print(dict(windows))
    assert windows.keys() == WINDOWS, dict(windows)
    psu.periodic_submitter(period=0.2)
    queue = psu.get_queue(Verbose=False)
    assert queue == {id: {"complete": list(range(JOBS))} for id in torn}
    assert Counter(batches.lines("ran")) == {f"{id}.{index}": 1 for id in range(len(torn)) for index in range(JOBS)}
