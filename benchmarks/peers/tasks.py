"""The tasks of Celery, Dramatiq, Huey and RQ: this module is what their workers import.

Which queue it is, where its broker listens and what is worked on come in the environment, as these queues' own
workers are started as programs.
"""

from __future__ import annotations

import json
import os
from typing import Any

from benchmarks.peers.work import task_of

#: of the environment: {"queue", "broker", "work", "size", "n"}
SETTING = "BENCHMARK_QUEUE"
told = json.loads(os.environ[SETTING])
do = task_of(told["work"], told["size"], told["n"])


def plain(task_id: Any) -> None:
    """For RQ: a function of a module."""
    do(task_id)
    tally.add()


if told["queue"] != "huey":
    from benchmarks.peers.answered import Tally

    tally = Tally(told["broker"])

if told["queue"] == "celery":
    import celery

    url = f"redis://127.0.0.1:{told['broker']}/0"
    app = celery.Celery("tasks", broker=url)
    app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
    queued = app.task(plain, name="queued")
elif told["queue"] == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(port=told["broker"]))
    queued = dramatiq.actor(plain, actor_name="queued")
elif told["queue"] == "huey":
    from huey import SqliteHuey

    app = SqliteHuey("benchmark", filename=told["broker"], immediate=False)

    @app.task()
    def queued(task_id: Any) -> bool:
        do(task_id)
        return True
