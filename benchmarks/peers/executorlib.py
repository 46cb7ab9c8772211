"""executorlib: its single-node executor, with workers that stay (block allocation) or a process for each task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from executorlib import SingleNodeExecutor

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order


@contextmanager
def single_node(stay: bool, order: Order) -> Iterator[Answers]:
    task = order.task()
    with SingleNodeExecutor(max_workers=order.processors, block_allocation=stay) as executor:

        def answers(task_ids: Iterable[Any]) -> Iterator[Any]:
            return as_completed([executor.submit(task, task_id) for task_id in task_ids])

        yield answers


if __name__ == "__main__":
    carry_out({"executorlib": partial(single_node, True), "executorlib-process": partial(single_node, False)})
