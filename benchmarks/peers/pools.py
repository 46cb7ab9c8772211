"""The pools of the standard library: multiprocessing.Pool and concurrent.futures.ProcessPoolExecutor."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

from benchmarks.peers.order import carry_out

TYPE_CHECKING = False  # as typing's own, without its import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from benchmarks.peers.order import Answers, Order, Variant


@contextmanager
def pool(chunksize: int, order: Order) -> Iterator[Answers]:
    """imap_unordered, which gives answers as they come."""
    import multiprocessing

    with multiprocessing.Pool(order.processors) as workers:
        yield lambda task_ids: workers.imap_unordered(order.task(), task_ids, chunksize=chunksize)


@contextmanager
def pool_auto(order: Order) -> Iterator[Answers]:
    """map with the chunk size that it finds by itself: all IDs and all answers at once."""
    import multiprocessing

    with multiprocessing.Pool(order.processors) as workers:
        yield lambda task_ids: workers.map(order.task(), task_ids)


@contextmanager
def executor(chunksize: int, order: Order) -> Iterator[Answers]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(order.processors) as workers:
        yield lambda task_ids: workers.map(order.task(), task_ids, chunksize=chunksize)


@contextmanager
def submitted(order: Order) -> Iterator[Answers]:
    """A future for each task, answers as they come."""
    from concurrent.futures import ProcessPoolExecutor, as_completed

    task = order.task()
    with ProcessPoolExecutor(order.processors) as workers:

        def answers(task_ids: Iterable[Any]) -> Iterator[Any]:
            return as_completed([workers.submit(task, task_id) for task_id in task_ids])

        yield answers


VARIANTS: dict[str, Variant] = {
    "pool-1": partial(pool, 1),
    "pool-100": partial(pool, 100),
    "pool-auto": pool_auto,
    "executor-1": partial(executor, 1),
    "executor-100": partial(executor, 100),
    "executor-submit": submitted,
}

if __name__ == "__main__":
    carry_out(VARIANTS)
