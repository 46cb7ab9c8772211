"""Ray: remote tasks, one a task, and its multiprocessing pool."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import ray
from ray.util.multiprocessing import Pool

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant


@contextmanager
def cluster(order: Order) -> Iterator[None]:
    ray.init(
        address="local", num_cpus=order.processors, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, configure_logging=False,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def tasks(order: Order) -> Iterator[Answers]:
    with cluster(order):
        task = order.task()
        remote = ray.remote(lambda task_id: task(task_id))

        def answers(task_ids: Iterable[Any]) -> list[Any]:
            return list(ray.get([remote.remote(task_id) for task_id in task_ids]))

        yield answers


@contextmanager
def pool(chunksize: int | None, order: Order) -> Iterator[Answers]:
    with cluster(order):
        workers = Pool(order.processors)
        if chunksize is None:
            yield lambda task_ids: workers.map(order.task(), task_ids)
        else:
            yield lambda task_ids: workers.imap_unordered(order.task(), task_ids, chunksize=chunksize)
        workers.terminate()


VARIANTS: dict[str, Variant] = {
    "ray-tasks": tasks,
    "ray-pool-100": partial(pool, 100),
    "ray-pool-auto": partial(pool, None),
}

if __name__ == "__main__":
    carry_out(VARIANTS)
