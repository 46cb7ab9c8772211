"""The same job as noop.py with a plain function of one ID as its client."""

from __future__ import annotations

import sys

from noop import serve
from notes import note

import coordinator


def begin(server):
    "note when a processor is there"
    note("begun")


def work(task_id):
    "do nothing with an ID"


if __name__ == "__main__":
    run = coordinator.start_client_or_server(work, serve, [], __file__, setup=begin, exit=False)
    note("returned")
    sys.exit(run.exit_status if run else 0)
