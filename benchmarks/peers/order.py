"""An order: what a peer shall do, how it is timed and how it says so.

Each program of this package calls :func:`carry_out` with its variants. A variant is a context manager: entering it
starts the workers, and it gives a function from IDs to answers. The clock runs from there to the last answer; warming
up comes before it. The whole time, with every start and end, is taken by whoever started the program. It imports
little, since starts are measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque

from benchmarks.peers.work import is_long, stream, task_of

TYPE_CHECKING = False  # as typing's own, without its import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import Any

    Answers = Callable[[Iterable[Any]], Iterable[Any]]
    Variant = Callable[["Order"], AbstractContextManager[Answers]]


class Order:
    """``work``, ``size``: see work.task_of; ``ids``: strings or integers; ``n``: tasks; ``warm``: let each worker do
    something before the clock runs."""

    def __init__(
        self, variant: str, n: int, work: str, size: float, ids: str, processors: int = 2, warm: bool = True
    ) -> None:
        self.variant, self.n, self.work, self.size, self.ids = variant, n, work, size, ids
        self.processors, self.warm = processors, warm

    def task(self) -> Callable[[Any], None]:
        return task_of(self.work, self.size, self.n)

    def stream(self) -> Iterable[Any]:
        return stream(self.ids, self.n)

    def few(self) -> list[Any]:
        """Some IDs to warm up with, none of them a long task."""
        if self.work == "tail":
            short = (number for number in range(self.n) if not is_long(number, self.n))
            return [number for number, _ in zip(short, range(2 * self.processors), strict=False)]
        return list(stream(self.ids, 2 * self.processors))


def carry_out(variants: dict[str, Variant]) -> None:
    """Do what the command line orders and print what was measured as one line of JSON."""
    order = Order(**json.loads(sys.argv[1]))
    with variants[order.variant](order) as answers:
        if order.warm:
            deque(answers(order.few()), maxlen=0)
        began = time.monotonic()
        first, count = counted(answers(order.stream()))
        ended = time.monotonic()
    tell(count, began, first or ended, ended)


def counted(answers: Iterable[Any]) -> tuple[float, int]:
    """When the first answer was here (time.monotonic(), 0.0 if nobody could see it come), and how many came.

    A list is all of them; anything else is waited for, though it may know its length before its answers are there.
    """
    if isinstance(answers, list):
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
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
