"""What the tests of a real scheduler share: submissions in a directory, and waiting until they are over."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, State, Status, mark_of
from coordinator.executors.jobscript import Element, Exit, exit_of
from coordinator.executors.scheduler import Scheduler

#: a bound on what hangs: schedulers look at their queue every second or two
HANG_S, LOOK_S = 50.0, 0.2


class Submission:
    """Jobs of ``argvs`` in ``place``, submitted together."""

    def __init__(self, scheduler: Scheduler, place: Path, *argvs: Sequence[str], **needs: Any) -> None:
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

    def wait(self, *states: State) -> list[Status]:
        """Until all are in one of these states, else until they are over."""
        over = time.monotonic() + HANG_S
        while True:
            statuses = self.statuses()
            if all(status.state in (states or (State.ENDED,)) for status in statuses):
                return statuses
            assert time.monotonic() < over, statuses
            time.sleep(LOOK_S)

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
