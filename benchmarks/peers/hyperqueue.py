"""HyperQueue through its package from PyPI: server and worker on this machine, one job whose tasks are programs or,
with the package's own means, Python functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.job import Job

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order


@contextmanager
def cluster(python: bool, order: Order) -> Iterator[Answers]:
    """Programs: ``true`` for a task that does nothing, ``sleep`` for one that sleeps."""
    program = ["true"] if order.work == "noop" else ["sleep", str(order.size)]
    task = order.task()
    os.environ["HOME"] = os.getcwd()  # it keeps files there
    with LocalCluster(os.path.abspath("hyperqueue")) as local:
        local.start_worker(WorkerConfig(cores=order.processors))
        client = local.client()

        def answers(task_ids: Iterable[Any]) -> list[Any]:
            job, every = Job(), list(task_ids)
            for task_id in every:
                if python:
                    job.function(task, args=(task_id,), stdout=None, stderr=None)
                else:
                    job.program(program, stdout=None, stderr=None)
            submitted = client.submit(job)
            client.wait_for_jobs([submitted])
            return every

        yield answers


if __name__ == "__main__":
    carry_out({"hyperqueue": partial(cluster, False), "hyperqueue-python": partial(cluster, True)})
