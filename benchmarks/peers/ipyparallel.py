"""ipyparallel: a load-balanced view of two engines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import ipyparallel

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant


@contextmanager
def view(chunksize: int, order: Order) -> Iterator[Answers]:
    task = order.task()
    cluster = ipyparallel.Cluster(n=order.processors, log_level=logging.ERROR)
    with cluster as client:
        client.wait_for_engines(order.processors, timeout=60, interactive=False)
        balanced = client.load_balanced_view()
        yield lambda task_ids: balanced.map_async(task, list(task_ids), chunksize=chunksize, ordered=False)


VARIANTS: dict[str, Variant] = {f"ipyparallel-{size}": partial(view, size) for size in (1, 100, 1000)}

if __name__ == "__main__":
    carry_out(VARIANTS)
