"""The jobs of a fake scheduler, and the machine that runs them: really, each in a session of its own.

pbs.py and lsf.py say how jobs are asked for and told of; when one begins and how it ended is the same for both. What is
known of the jobs is in ``jobs.json``, written before anybody is answered: a server that starts again knows no more.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: {signal: seconds until the next one}; the last one ends everything
Signals = Sequence[tuple[int, float]]


@dataclass
class Job:
    """``index``: 0 where it is no array's; ``output``: where it prints to; ``slots``: cores of the machine;
    ``limit_s``: how long it may run; ``told``: what else its scheduler tells of it."""

    number: int
    index: int
    name: str
    user: str
    argv: list[str]
    directory: str
    environment: dict[str, str]
    output: str
    slots: int
    limit_s: float | None = None
    told: dict[str, str] = field(default_factory=dict)
    submitted: float = field(default_factory=time.time)
    began: float = 0.0
    ended: float = 0.0
    status: int | None = None  #: as subprocess has it: the exit status, or the signal below 0
    deleted: bool = False
    late: bool = False

    @property
    def waits(self) -> bool:
        return not self.began and not self.ended

    @property
    def runs(self) -> bool:
        return bool(self.began) and not self.ended


class Jobs:
    """``slots``: cores of the machine. ``stop``: the signals to a job that is deleted; ``limit``: to one that has had
    its time. Everything is done under ``lock``."""

    def __init__(self, place: Path, slots: int, stop: Signals, limit: Signals) -> None:
        self.lock = threading.RLock()
        self.slots, self._file, self._stop, self._limit = slots, place / "jobs.json", stop, limit
        self._running: dict[tuple[int, int], tuple[subprocess.Popen[bytes], threading.Thread]] = {}
        self._all: dict[tuple[int, int], Job] = {}
        self._next = 1

    def number(self) -> int:
        """Of the next submission."""
        self._next += 1
        return self._next

    def add(self, jobs: Sequence[Job]) -> None:
        self._all.update(((job.number, job.index), job) for job in jobs)
        self._turn()

    def all(self) -> list[Job]:
        return [self._all[key] for key in sorted(self._all)]

    def of(self, number: int) -> list[Job]:
        return [job for job in self.all() if job.number == number]

    def delete(self, job: Job) -> None:
        """It leaves the queue at once, or is being ended from now on."""
        if job.ended:
            return
        job.deleted = True
        if job.waits:
            job.ended = time.time()
        else:
            process, _ = self._running[job.number, job.index]
            threading.Thread(target=_end, args=(process, self._stop), daemon=True).start()
        self._turn()

    def forget(self) -> None:
        """All that have ended."""
        self._all = {key: job for key, job in self._all.items() if not job.ended}
        self._save()

    def read(self) -> None:
        """As a server does that starts again; what runs meanwhile goes on."""
        told = json.loads(self._file.read_text()) if self._file.exists() else []
        running = {key: self._all[key] for key in self._running}
        self._all = {(each["number"], each["index"]): Job(**each) for each in told} | running

    def end(self) -> None:
        """Every job, at once."""
        with self.lock:
            for job in self.all():
                if job.waits:
                    job.ended = time.time()
            running = list(self._running.values())
        for process, _ in running:
            _end(process, [(signal.SIGKILL, 0.0)])
        for _, thread in running:
            thread.join()

    # --- inside -----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Begin what there is room for, in turn, and write all of it down."""
        free = self.slots - sum(job.slots for job in self._all.values() if job.runs)
        for job in self.all():
            if job.waits and job.slots <= free:
                free -= job.slots
                self._begin(job)
        self._save()

    def _begin(self, job: Job) -> None:
        with open(job.output, "ab") as out:
            process = subprocess.Popen(
                job.argv, cwd=job.directory, env=job.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        job.began = time.time()
        thread = threading.Thread(target=self._attend, args=(job, process))
        self._running[job.number, job.index] = process, thread
        thread.start()

    def _attend(self, job: Job, process: subprocess.Popen[bytes]) -> None:
        try:
            status = process.wait(job.limit_s)
        except subprocess.TimeoutExpired:
            with self.lock:
                job.late = True
            _end(process, self._limit)
            status = process.wait()
        with self.lock:
            job.status, job.ended = status, time.time()
            del self._running[job.number, job.index]
            self._turn()

    def _save(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([asdict(job) for job in self.all()]))
        new.replace(self._file)


def _end(process: subprocess.Popen[bytes], signals: Signals) -> None:
    for number, seconds in signals:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
