"""Logs on another host, read over a fresh SSH connection by the user who asks; the job's keeper need not be there.

`coordinator logs --host` calls it. It starts a launcher of its own, which logs in as for a job; on the host
:func:`coordinator.logfiles.serve` reads. Ending the iteration ends launcher, connection and reader.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

from coordinator.errors import LaunchFailed
from coordinator.executors.remote import start_launcher
from coordinator.logfiles import FOLLOW_EVERY_S


def read(
    host: str, options: Mapping[str, Any], wanted: Mapping[str, Any], over: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """What the host says: first ``{"ready": pid, "files": [...]}``, then ``{"log": path, "text": ...}``.

    ``over()`` is asked now and then; from its first True on, what is there is still read and nothing awaited. Raises
    LaunchFailed with a sentence when the host cannot be asked, or falls silent."""
    child = start_launcher()
    assert child.stdin is not None
    assert child.stdout is not None
    answers, finished, looked_at = child.stdout.fileno(), False, time.monotonic()
    try:
        request = {"id": 0, "do": "logs", "host": host, "options": dict(options), "wanted": dict(wanted)}
        _say(child.stdin, request)
        heard = b""
        while True:
            said = select.select([answers], [], [], FOLLOW_EVERY_S)[0]
            if wanted["follow"] and not finished and time.monotonic() - looked_at >= FOLLOW_EVERY_S:
                finished, looked_at = over(), time.monotonic()
                if finished:
                    _say(child.stdin, {"id": 0, "do": "finish"})
            if not said:
                continue
            came = os.read(answers, 1 << 16)
            if not came:
                raise LaunchFailed("the process that logs in over SSH ended before it had answered")
            *lines, heard = (heard + came).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                if "failed" in answer:
                    raise LaunchFailed(answer["failed"])
                if "said" not in answer:
                    return
                yield answer["said"]
    finally:
        child.stdin.close()
        child.stdout.close()
        child.kill()
        child.wait()


def _say(pipe: IO[bytes], request: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # the end of its answers is read as well
        pipe.write(json.dumps(request).encode() + b"\n")
