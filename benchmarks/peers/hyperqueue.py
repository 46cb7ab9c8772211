"""HyperQueue through its package from PyPI: server and worker on this machine, a job with a program for each task."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.job import Job

from benchmarks.peers.order import Answers, Order, carry_out


@contextmanager
def cluster(order: Order) -> Iterator[Answers]:
    """``true`` for a task that does nothing, ``sleep`` for one that sleeps."""
    program = ["true"] if order.work == "noop" else ["sleep", str(order.size)]
    os.environ["HOME"] = os.getcwd()  # it keeps files there
    with LocalCluster(os.path.abspath("hyperqueue")) as local:
        local.start_worker(WorkerConfig(cores=order.processors))
        client = local.client()

        def answers(task_ids: Iterable[Any]) -> list[Any]:
            job, every = Job(), list(task_ids)
            for _ in every:
                job.program(program, stdout=None, stderr=None)
            submitted = client.submit(job)
            client.wait_for_jobs([submitted])
            return every

        yield answers


if __name__ == "__main__":
    carry_out({"hyperqueue": cluster})
