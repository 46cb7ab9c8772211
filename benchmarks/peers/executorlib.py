"""executorlib: its single-node executor with workers that stay (block allocation)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from typing import Any

from executorlib import SingleNodeExecutor

from benchmarks.peers.order import Answers, Order, carry_out


@contextmanager
def block(order: Order) -> Iterator[Answers]:
    task = order.task()
    with SingleNodeExecutor(max_workers=order.processors, block_allocation=True) as executor:

        def answers(task_ids: Iterable[Any]) -> Iterator[Any]:
            return as_completed([executor.submit(task, task_id) for task_id in task_ids])

        yield answers


if __name__ == "__main__":
    carry_out({"executorlib": block})
