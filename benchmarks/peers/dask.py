"""dask.distributed: futures, one a task, and bags, whose partitions are tasks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import dask
import dask.bag
from distributed import Client, LocalCluster, as_completed

from benchmarks.peers.order import Answers, Order, carry_out

PARTITIONS = 100


@contextmanager
def cluster(order: Order) -> Iterator[Client]:
    """Scheduler and workers on this machine, without the page."""
    settings = {"distributed.scheduler.worker-saturation": "inf", "distributed.admin.tick.limit": "1h"}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=order.processors, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as workers,
        Client(workers) as client,
    ):
        yield client


@contextmanager
def futures(order: Order) -> Iterator[Answers]:
    task = order.task()
    with cluster(order) as client:
        yield lambda task_ids: as_completed(client.map(task, list(task_ids), pure=False))


@contextmanager
def bag(order: Order) -> Iterator[Answers]:
    task = order.task()

    def answers(task_ids: Iterable[Any]) -> list[Any]:
        every = list(task_ids)
        made = dask.bag.from_sequence(every, npartitions=min(PARTITIONS, len(every)))
        return list(made.map(task).compute())

    with cluster(order):
        yield answers


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning)  # "sending large graph": it is
    carry_out({"dask-futures": futures, "dask-bag": bag})
