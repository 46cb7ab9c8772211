"""The job of the measurements: a task that does nothing, and distinct IDs of 40 characters from a generator."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

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
    note_peak("feeder")


def note_peak(process: str) -> None:
    "write this process's peak of memory in MiB to the directory that PEAKS names, if any: the kernel's VmHWM"
    directory = os.environ.get("PEAKS")
    if directory:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
        Path(directory, process).write_text(str(int(found[1]) / 1024 if found else 0.0))


if __name__ == "__main__":
    client = fail_every_thousandth if "--fail" in sys.argv else work
    sys.argv = [word for word in sys.argv if word != "--fail"]
    try:
        run = coordinator.start_client_or_server(client, serve, [], __file__)
    finally:
        note_peak("coordinator")  # a processor ends without coming here
    sys.exit(run.exit_status if run else 0)
