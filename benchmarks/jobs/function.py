"""The same job as noop.py with a plain function of one ID as its client."""

from __future__ import annotations

import sys

from noop import serve
from notes import note

import coordinator

#: emptied with the first task of a process
TO_NOTE = ["begun"]


def work(task_id):
    "do nothing with an ID"
    if TO_NOTE:
        note(TO_NOTE.pop())


if __name__ == "__main__":
    run = coordinator.start_client_or_server(work, serve, [], __file__, exit=False)
    note("returned")
    sys.exit(run.exit_status if run else 0)
