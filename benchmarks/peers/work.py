"""What is worked on, the same for everybody: the IDs and what is done with each.

Every peer and our own jobs import it; it imports next to nothing, since starts are measured. Functions are pickled by
their names.
"""

from __future__ import annotations

import time
from functools import partial

TYPE_CHECKING = False  # as typing's own, without its import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

STRINGS, INTEGERS = "strings", "integers"
#: one task in so many is long in the work ``tail``, and so many times longer
LONG_ONE_IN, LONG_TIMES = 100, 100
#: prime, so that multiples of it fall everywhere
SCATTER = 7919


def id_of(kind: str, number: int) -> Any:
    """The ID of a task: 40 characters, or the number itself."""
    return f"identifier-of-forty-characters-{number:09d}" if kind == STRINGS else number


def stream(kind: str, n: int) -> Iterator[Any]:
    """All IDs, one after another, as a user's generator gives them."""
    if kind == INTEGERS:
        yield from range(n)
    else:
        for number in range(n):
            yield f"identifier-of-forty-characters-{number:09d}"


def noop(task_id: Any) -> None:
    """Nothing."""


def sleep(seconds: float, task_id: Any) -> None:
    """Wait without the processor."""
    time.sleep(seconds)


def burn(loops: float, task_id: Any) -> None:
    """Use the processor: as many loops for everybody, so that who shares a core takes longer."""
    left = int(loops)
    while left:
        left -= 1


def is_long(task_id: int, n: int) -> bool:
    """One task in LONG_ONE_IN, here and there, the same ones for everybody."""
    return task_id * SCATTER % n < n // LONG_ONE_IN


def tail(seconds: float, n: int, task_id: int) -> None:
    """Short sleeps, and some long ones among them."""
    time.sleep(seconds * LONG_TIMES if is_long(task_id, n) else seconds)


def task_of(work: str, size: float, n: int) -> Callable[[Any], None]:
    """The function of one ID that does ``work``: noop, sleep (``size`` seconds), burn (``size`` loops), tail."""
    if work == "noop":
        return noop
    if work == "tail":
        return partial(tail, size, n)
    return partial({"sleep": sleep, "burn": burn}[work], size)


def loops_for(seconds: float) -> int:
    """How many loops of :func:`burn` take so long on this machine now, the fastest of some tries."""
    sample = 200_000
    fastest = float("inf")
    for _ in range(7):
        began = time.perf_counter()
        burn(sample, None)
        fastest = min(fastest, time.perf_counter() - began)
    return max(1, round(sample * seconds / fastest))
