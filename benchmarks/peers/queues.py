"""Queues with workers as programs of their own: Celery, Dramatiq and RQ over Redis, Huey over a file of SQLite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant

MODULE = "benchmarks.peers.tasks"
#: Huey's workers and whoever waits for a result look into the file again and again, at most so many seconds apart
LOOK_S = 0.001
HUEY_LOOKS = ("-q", f"-d{LOOK_S}", f"-m{LOOK_S}")


@contextmanager
def programs(commands: list[list[str]]) -> Iterator[None]:
    """Workers, ended at the end."""
    log = open("workers.log", "wb")  # noqa: SIM115 - the workers hold it as long as they live
    running = [subprocess.Popen(words, stdout=log, stderr=log) for words in commands]
    try:
        yield
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            try:
                worker.wait(10.0)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        log.close()


def commands_of(queue: str, processors: int, broker: Any) -> list[list[str]]:
    """What starts the workers of a queue."""
    python = [sys.executable, "-m"]
    url = f"redis://127.0.0.1:{broker}/0"
    return {
        "celery": [
            [*python, "celery", "-A", MODULE, "worker", f"-c{processors}", "-Pprefork", "-lERROR", "--without-gossip"]
        ],
        "dramatiq": [[*python, "dramatiq", MODULE, f"--processes={processors}", "--threads=1", "--skip-logging"]],
        "huey": [
            [*python, "huey.bin.huey_consumer", f"{MODULE}.app", f"-w{processors}", "-kprocess", "-q", *HUEY_LOOKS]
        ],
        "rq-fork": [[*python, "rq.cli", "worker", "--quiet", "--url", url]] * processors,
        "rq": [[*python, "rq.cli", "worker", "--quiet", "-w", "rq.SimpleWorker", "--url", url]] * processors,
    }[queue]


def sender(queue: str, tasks: ModuleType, port: int) -> Callable[[Any], Any]:
    """What puts one task into the queue."""
    if queue == "celery":
        return tasks.queued.delay
    if queue == "dramatiq":
        return tasks.queued.send
    if queue == "huey":
        return tasks.queued
    from redis import Redis
    from rq import Queue

    return partial(Queue(connection=Redis(port=port)).enqueue, tasks.plain, result_ttl=0)


@contextmanager
def served(queue: str, order: Order) -> Iterator[Answers]:
    with ExitStack() as stack:
        if queue == "huey":
            broker: Any = os.path.abspath("huey.db")
        else:
            from benchmarks.peers.redis import server

            broker = stack.enter_context(server())
        task = {"work": order.work, "size": order.size, "n": order.n}
        told = {"queue": queue.partition("-")[0], "broker": broker, **task}
        os.environ["BENCHMARK_QUEUE"] = json.dumps(told)
        from benchmarks.peers import tasks

        stack.enter_context(programs(commands_of(queue, order.processors, broker)))
        send = sender(queue, tasks, broker)

        def answers(task_ids: Iterable[Any]) -> Iterator[Any]:
            sent = [send(task_id) for task_id in task_ids]
            if queue == "huey":
                return (result.get(blocking=True, timeout=60, max_delay=LOOK_S) for result in sent)
            return tasks.tally.wait(len(sent))

        yield answers


VARIANTS: dict[str, Variant] = {
    queue: partial(served, queue) for queue in ("celery", "dramatiq", "huey", "rq", "rq-fork")
}

if __name__ == "__main__":
    carry_out(VARIANTS)
