"""dask.distributed: futures, one a task, and bags, whose partitions are tasks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.bag
from distributed import Client, LocalCluster, as_completed

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant

PARTITIONS = 100


#: what a worker may be sent ahead of what it works on: its default keeps tasks at the scheduler, "inf" does not
DEFAULT, ALL_AT_ONCE = 1.1, "inf"


@contextmanager
def cluster(order: Order, saturation: float | str = ALL_AT_ONCE) -> Iterator[Client]:
    """Scheduler and workers on this machine, without the page."""
    settings = {"distributed.scheduler.worker-saturation": saturation, "distributed.admin.tick.limit": "1h"}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=order.processors, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as workers,
        Client(workers) as client,
    ):
        yield client


@contextmanager
def futures(saturation: float | str, batch_size: int | None, order: Order) -> Iterator[Answers]:
    task = order.task()
    with cluster(order, saturation) as client:
        yield lambda task_ids: as_completed(client.map(task, list(task_ids), pure=False, batch_size=batch_size))


@contextmanager
def bag(order: Order) -> Iterator[Answers]:
    task = order.task()

    def answers(task_ids: Iterable[Any]) -> list[Any]:
        every = list(task_ids)
        made = dask.bag.from_sequence(every, npartitions=min(PARTITIONS, len(every)))
        return list(made.map(task).compute())

    with cluster(order):
        yield answers


VARIANTS: dict[str, Variant] = {
    "dask-futures": partial(futures, ALL_AT_ONCE, None),
    "dask-default": partial(futures, DEFAULT, None),
    "dask-batches": partial(futures, DEFAULT, 1000),
    "dask-bag": bag,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=UserWarning)  # "sending large graph": it is
    carry_out(VARIANTS)
