"""Orders: what every keeper of a job is told.

The task server writes them once, the crew adds host and numbers, the keeper reads them from its stdin.
"""

from __future__ import annotations

import os
from typing import Any

from coordinator import paths
from coordinator.door import Door
from coordinator.job import Job
from coordinator.zygote import script_argv


def orders_of(
    job: Job, door: Door, token: str, *, beside: bool, grace_s: float, time_limit_s: float | None, max_errors: int,
    new_run: bool,
) -> dict[str, Any]:  # fmt: skip
    """Everything but host, numbers and the keeper's own mark. Makes the directory of the processors' logs. ``beside``:
    it is NAME.logs, which all processors see, and not one of each host."""
    logs = job.files.logs if beside else os.fspath(paths.log_directory())
    os.makedirs(logs, mode=0o700, exist_ok=True)
    return {
        "url": door.local_url(), "urls": door.public_urls(), "token": token, "fingerprint": door.fingerprint,
        "run": job.run_id, "name": job.name, "tag": job.run_id, "script": job.script, "argv": script_argv(),
        "directory": os.getcwd(), "log_directory": os.path.abspath(logs), "grace_s": grace_s,
        "time_limit_s": time_limit_s, "beat_s": min(1.0, job.run.ledger.term_s / 4),
        "max_errors_in_a_row": max_errors, "new_run": new_run,
    }  # fmt: skip
