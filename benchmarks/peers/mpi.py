"""mpi4py.futures: MPIPoolExecutor, started with ``mpirun -n 3 python -m mpi4py.futures``: a master and two workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from mpi4py.futures import MPIPoolExecutor

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant


@contextmanager
def executor(chunksize: int, order: Order) -> Iterator[Answers]:
    with MPIPoolExecutor(order.processors) as workers:
        yield lambda task_ids: workers.map(order.task(), task_ids, chunksize=chunksize, unordered=True)


VARIANTS: dict[str, Variant] = {f"mpi-{size}": partial(executor, size) for size in (1, 100)}

if __name__ == "__main__":
    carry_out(VARIANTS)
