"""The pools of the standard library: multiprocessing.Pool and concurrent.futures.ProcessPoolExecutor."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from benchmarks.peers.order import Answers, Order, Variant, carry_out


@contextmanager
def pool(chunksize: int, order: Order) -> Iterator[Answers]:
    """imap_unordered, which gives answers as they come."""
    with multiprocessing.Pool(order.processors) as workers:
        yield lambda task_ids: workers.imap_unordered(order.task(), task_ids, chunksize=chunksize)


@contextmanager
def pool_auto(order: Order) -> Iterator[Answers]:
    """map with the chunk size that it finds by itself: all IDs and all answers at once."""
    with multiprocessing.Pool(order.processors) as workers:
        yield lambda task_ids: workers.map(order.task(), task_ids)


@contextmanager
def executor(chunksize: int, order: Order) -> Iterator[Answers]:
    with ProcessPoolExecutor(order.processors) as workers:
        yield lambda task_ids: workers.map(order.task(), task_ids, chunksize=chunksize)


VARIANTS: dict[str, Variant] = {
    "pool-1": partial(pool, 1),
    "pool-100": partial(pool, 100),
    "pool-auto": pool_auto,
    "executor-1": partial(executor, 1),
    "executor-100": partial(executor, 100),
}

if __name__ == "__main__":
    carry_out(VARIANTS)
