"""An order: what a peer shall do, how it is timed and how it says so.

Each program of this package calls :func:`carry_out` with its variants. A variant is a context manager: entering it
starts the workers, and it gives a function from IDs to answers. The clock runs from there to the last answer; warming
up comes before it. The whole time, with every start and end, is taken by whoever started the program.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.work import STRINGS, is_long, stream, task_of

Answers = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Order:
    """``work``, ``size``: see work.task_of; ``ids``: strings or integers; ``n``: tasks; ``warm``: let each worker do
    something before the clock runs."""

    variant: str
    work: str = "noop"
    size: float = 0.0
    ids: str = STRINGS
    n: int = 1000
    processors: int = 2
    warm: bool = True

    def task(self) -> Callable[[Any], None]:
        return task_of(self.work, self.size, self.n)

    def stream(self) -> Iterable[Any]:
        return stream(self.ids, self.n)


Variant = Callable[[Order], AbstractContextManager[Answers]]


def carry_out(variants: dict[str, Variant]) -> None:
    """Do what the command line orders and print what was measured as one line of JSON."""
    order = Order(**json.loads(sys.argv[1]))
    with variants[order.variant](order) as answers:
        if order.warm:
            # Integers that are no long task of `tail`.
            short = (number for number in range(order.n) if order.work != "tail" or not is_long(number, order.n))
            first_few = [number for number, _ in zip(short, range(2 * order.processors), strict=False)]
            deque(answers(first_few if order.work == "tail" else list(stream(order.ids, len(first_few)))), maxlen=0)
        began = time.monotonic()
        first, count = counted(answers(order.stream()))
        ended = time.monotonic()
    tell(count, began, first or ended, ended)


def counted(answers: Iterable[Any]) -> tuple[float, int]:
    """When the first answer was here (time.monotonic(), 0.0 if nobody could see it come), and how many came."""
    if isinstance(answers, Sized):
        return 0.0, len(answers)
    coming = iter(answers)
    for _ in coming:
        first = time.monotonic()
        last = deque(enumerate(coming, 2), maxlen=1)  # counts as fast as Python can
        return first, last[0][0] if last else 1
    return 0.0, 0


def tell(answers: int, began: float, first: float, ended: float) -> None:
    """``answers``: how many; times of time.monotonic(), which all processes of a machine share."""
    found = {"answers": answers, "began": began, "first": first, "ended": ended, "peak_mib": peak_mib()}
    print(json.dumps(found), flush=True)


def peak_mib() -> float:
    """The most memory that this process ever had, as the kernel keeps it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0
