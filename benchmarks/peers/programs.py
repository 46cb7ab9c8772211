"""Programs of the shell that start a program for each line that they read: xargs and GNU parallel.

A task that does nothing is ``true``, one that sleeps is ``sleep``. Neither looks at its ID: xargs does not pass it on,
GNU parallel writes it behind a ``#``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.peers.order import Answers, Order, Variant, carry_out


@contextmanager
def program(name: str, order: Order) -> Iterator[Answers]:
    if order.work == "noop":
        task = ["true"]
    elif order.work == "sleep":
        task = ["sleep", str(order.size)]
    else:
        raise SystemExit(f"{name} starts programs: there is none that does {order.work}")
    command = {
        "xargs": ["xargs", f"-P{order.processors}", "-I{}", *task],
        "parallel": ["parallel", "--will-cite", f"-j{order.processors}", *task, "#"],
    }[name]

    def answers(task_ids: Iterable[Any]) -> list[Any]:
        every = list(task_ids)
        lines = "".join(f"{task_id}\n" for task_id in every)
        subprocess.run(command, input=lines, text=True, check=True)
        return every

    yield answers


VARIANTS: dict[str, Variant] = {name: partial(program, name) for name in ("xargs", "parallel")}

if __name__ == "__main__":
    carry_out(VARIANTS)
