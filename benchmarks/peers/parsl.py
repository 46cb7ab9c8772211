"""Parsl: its high-throughput executor with workers on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SimpleLauncher
from parsl.providers import LocalProvider

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order


@contextmanager
def htex(order: Order) -> Iterator[Answers]:
    executor = HighThroughputExecutor(
        address="127.0.0.1", max_workers_per_node=order.processors, cores_per_worker=1e-6, encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1, launcher=SimpleLauncher()),
    )  # fmt: skip
    config = Config(executors=[executor], run_dir=os.path.abspath("parsl"), usage_tracking=0, strategy="none")
    with parsl.load(config):
        app = parsl.python_app(order.task())

        def answers(task_ids: Iterable[Any]) -> Iterator[Any]:
            return as_completed([app(task_id) for task_id in task_ids])

        yield answers


if __name__ == "__main__":
    carry_out({"parsl": htex})
