"""Programs that start a program for each task: xargs, GNU parallel and make.

A task that does nothing is ``true``, one that sleeps is ``sleep``. Neither looks at its ID: xargs does not pass it on,
GNU parallel writes it behind a ``#``, make has it as the name of a target.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant


@contextmanager
def program(name: str, order: Order) -> Iterator[Answers]:
    if order.work == "noop":
        task = ["true"]
    elif order.work == "sleep":
        task = ["sleep", str(order.size)]
    else:
        raise SystemExit(f"{name} starts programs: there is none that does {order.work}")
    parallel = ["parallel", "--will-cite", f"-j{order.processors}"]
    command = {
        "xargs": ["xargs", f"-P{order.processors}", "-I{}", *task],
        "parallel": [*parallel, *task, "#"],
        "parallel-joblog": [*parallel, "--joblog", "joblog", *task, "#"],
        "make": ["make", f"-j{order.processors}", "-s", "-f", "-"],
    }[name]

    def answers(task_ids: Iterable[Any]) -> list[Any]:
        every = list(task_ids)
        lines = "".join(f"{task_id}\n" for task_id in every)
        if name == "make":
            targets = " ".join(map(str, every))
            lines = f".PHONY: all {targets}\nall: {targets}\n{targets}:\n\t@{' '.join(task)}\n"
        subprocess.run(command, input=lines, text=True, check=True, stdout=subprocess.DEVNULL)
        return every

    yield answers


VARIANTS: dict[str, Variant] = {
    name: partial(program, name) for name in ("xargs", "parallel", "parallel-joblog", "make")
}

if __name__ == "__main__":
    carry_out(VARIANTS)
