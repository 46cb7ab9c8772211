"""A job whose own processor holds the first task until the file ``go`` is there: others work on the rest.

python benchmarks/jobs/waiting.py WAITS --local=1 --n=100000 --ids=integers
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from noop import serve

import coordinator

#: between two looks for the file
LOOK_S = 0.1


def client(server):
    "wait for the file with the first task"
    for task_id in server:
        while not Path("go").exists():
            time.sleep(LOOK_S)
        yield task_id


if __name__ == "__main__":
    run = coordinator.start_client_or_server(client, serve, [], __file__, exit=False)
    sys.exit(run.exit_status if run else 0)
