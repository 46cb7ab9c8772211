"""Which executors of jobs are here, and whether a job of a second comes through each.

`coordinator doctor` asks. The job lies in a directory of its own below the one that it is given, which nodes must see,
and is removed again; one that still waits when the patience is over is cancelled.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status, mark_of
from coordinator.errors import BadInput, CoordinatorError, LaunchFailed, SchedulerAbsent
from coordinator.executors.jobexecutor import JobExecutor
from coordinator.executors.jobscript import Element, Exit, exit_of
from coordinator.executors.named import FILE, LOCAL, SSH, dialect_of, job_executor, names

#: verdicts
OK, ABSENT, WAITS, FAILED = "ok", "not here", "waits", "failed"
#: seconds between two looks for the exit file, which is there before its scheduler says anything
LOOK_S = 0.1


@dataclass(frozen=True)
class Finding:
    """``words``: why it is not ok; ``host``: where the job ran; ``seconds``: from its submission to its end."""

    name: str
    verdict: str
    version: str = ""
    words: str = ""
    host: str = ""
    seconds: float | None = None


def lacking(name: str) -> list[str]:
    """The commands of an executor that are not on PATH. Raises BadOption."""
    if name in (LOCAL, FILE) or name.startswith(SSH):
        return []
    return [program for program in dialect_of(name).programs if shutil.which(program) is None]


def check(name: str, place: Path, wait_s: float, named: Callable[[str], JobExecutor] = job_executor) -> Finding:
    """Send a job through the executor; with ``wait_s`` 0 only ask who it is. Raises BadOption."""
    if missing := lacking(name):
        return Finding(name, ABSENT, words=f"there is no {', '.join(missing)} on PATH")
    executor = named(name)
    try:
        version = executor.version()
    except SchedulerAbsent as error:
        return Finding(name, ABSENT, words=error.message)
    except CoordinatorError as error:
        return Finding(name, FAILED, words=error.message)
    if not wait_s:
        return Finding(name, OK, version)
    try:
        return _send(executor, version, place, wait_s)
    except (CoordinatorError, OSError) as error:
        words = error.message if isinstance(error, CoordinatorError) else f"{error.filename}: {error.strerror}"
        return Finding(name, FAILED, version, words)


def check_all(place: Path, wait_s: float, wanted: Sequence[str] = ()) -> list[Finding]:
    """Those of these names, or all that can be named here but for the one that needs a person. Raises BadOption."""
    return [check(name, place, wait_s) for name in wanted or names() if name != FILE or wanted]


def _send(executor: JobExecutor, version: str, place: Path, wait_s: float) -> Finding:
    mark = mark_of(int.from_bytes(os.urandom(7)))
    here = place / f".coordinator-doctor.{mark}"
    here.mkdir(mode=0o700)
    try:
        intent = Intent(mark, "doctor", str(here), Needs(time_s=60))
        at = str(here / "job")
        executor.prepare(intent, [Element(["sleep", "1"], str(here), at, f"{at}.out", f"{at}.err")])
        began = time.monotonic()
        native = executor.submit(intent)
        ended = _ended(here / "job.exit", began + wait_s)
        if ended is not None:
            seconds = round(time.monotonic() - began, 1)
            words = "" if ended.code == 0 else f"the job, which only sleeps, ended with exit status {ended.code}"
            return Finding(executor.name, FAILED if words else OK, version, words, ended.host, seconds)
        status = executor.poll({native: (mark, [1])})[native, 1]
        executor.cancel([(native, None, 1)])
        return Finding(executor.name, *_late(status, version, here, wait_s))
    finally:
        shutil.rmtree(here, ignore_errors=True)  # on a network file system the job's own files may come late


def _ended(path: Path, limit: float) -> Exit | None:
    while time.monotonic() < limit:
        try:
            return exit_of(path.read_text())
        except FileNotFoundError:
            time.sleep(LOOK_S)  # another host writes it: no event comes from there
        except BadInput as error:
            raise LaunchFailed(error.message) from error
    return None


def _late(status: Status, version: str, here: Path, wait_s: float) -> tuple[str, str, str]:
    """Verdict, version and words of a job whose exit file has not come."""
    why = f": {status.words}" if status.words else ""
    if status.state is State.WAITS:
        return WAITS, version, f"a job of a second has not begun within {wait_s:g} s{why}"
    if status.state is State.UNKNOWN:
        return FAILED, version, f"nobody knows what became of the job{why}"
    said = [path.read_text(errors="replace").strip() for path in here.glob("output*")]
    words = f"the job left no word of its end in {here}, which its node may not see under this name{why}"
    return FAILED, version, "; ".join(filter(None, [words, *said]))
