"""The job of the measurements: a task that does nothing, and distinct IDs of 40 characters from a generator."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import coordinator


def work(server):
    "do nothing with each ID"
    for task_id in server:  # noqa: UP028 - a client works on each ID between taking and yielding it
        yield task_id


def fail_every_thousandth(server):
    "do nothing, but fail with each 1,000th ID"
    for task_id in server:
        if task_id.endswith("000"):
            raise ValueError("one in a thousand")
        yield task_id


def serve(n: int = 200_000) -> Iterator[str]:
    "n distinct strings of 40 characters"
    for number in range(n):
        yield f"identifier-of-forty-characters-{number:09d}"


if __name__ == "__main__":
    client = fail_every_thousandth if "--fail" in sys.argv else work
    sys.argv = [word for word in sys.argv if word != "--fail"]
    run = coordinator.start_client_or_server(client, serve, [], __file__)
    sys.exit(run.exit_status if run else 0)
