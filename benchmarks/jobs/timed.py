"""A job whose tasks take time: they sleep, burn, or sleep with some long ones among them.

python benchmarks/jobs/timed.py SLEEPS --local=2 --n=1000 --work=sleep --size=0.001
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from notes import note

import coordinator
from benchmarks.peers.work import task_of


def client(server, work: str = "sleep", size: float = 0.001, n: int = 1000):
    "do the work on each ID"
    task = task_of(work, size, n)
    begun = False
    for task_id in server:
        if not begun:
            note("begun")
            begun = True
        task(task_id)
        yield task_id
    note("accepted")


def serve(n: int = 1000) -> Iterator[int]:
    "the numbers below n"
    yield from range(n)


if __name__ == "__main__":
    run = coordinator.start_client_or_server(client, serve, [], __file__, exit=False)
    note("returned")
    sys.exit(run.exit_status if run else 0)
