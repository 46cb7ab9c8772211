"""A job whose tasks do nothing: distinct IDs of 40 characters from a generator, or consecutive integers.

    python benchmarks/jobs/noop.py NOOP --local=2 --n=200000 --ids=strings

``--fail`` lets each 1,000th fail.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from notes import note, note_peak

import coordinator


def work(server):
    "do nothing with each ID"
    task_ids = iter(server)
    for task_id in task_ids:
        note("begun")
        yield task_id
        break
    cpu_s = time.process_time()
    count = 0
    for task_id in task_ids:
        count += 1
        yield task_id
    # Here the last report was answered: what this processor has done is accepted, and on disk.
    note("accepted")
    note("cpu_s", time.process_time() - cpu_s)
    note("tasks", count)


def fail_every_thousandth(server):
    "do nothing, but fail with each 1,000th ID"
    for task_id in server:
        if task_id.endswith("000"):
            raise ValueError("one in a thousand")
        yield task_id


def serve(n: int = 200_000, ids: str = "strings") -> Iterator[str | int]:
    "n task IDs: strings of 40 characters, or integers"
    if ids == "strings":
        for number in range(n):
            yield f"identifier-of-forty-characters-{number:09d}"
    else:
        yield from range(n)
    note_peak("feeder_mib")


if __name__ == "__main__":
    client = fail_every_thousandth if "--fail" in sys.argv else work
    sys.argv = [word for word in sys.argv if word != "--fail"]
    try:
        run = coordinator.start_client_or_server(client, serve, [], __file__, exit=False)
    finally:
        note_peak("coordinator_mib")  # a processor ends without coming here
    note("returned")
    sys.exit(run.exit_status if run else 0)
