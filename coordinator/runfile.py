"""NAME.run: which process serves a job in this directory, and how to reach it. One at a time.

The Coordinator holds a ``flock`` beside the journal for as long as it lives (the kernel frees it, whatever kills the
process) and publishes NAME.run, mode 0600, since it holds the run's token. A copy left by a killed Coordinator tells
its successor the port and the token that the processors of the run still use. The file is looked at before each
commit: a Coordinator whose file was replaced stops writing. Commands read it to find a job.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from coordinator import paths
from coordinator.errors import NameTaken

#: what a successor, and one who is refused, must find in it
NEEDED = frozenset({"run", "pid", "host", "url", "port", "token"})


class RunFile:
    """The claim of this process on a job's name. Raises NameTaken if another process has it."""

    def __init__(self, files: paths.JobFiles) -> None:
        self.path = files.run
        self._inode = 0
        os.makedirs(files.journal, mode=0o700, exist_ok=True)
        self._lock = paths.open_private(f"{files.journal}/lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            holder = read(self.path)
            who = f" as process {holder['pid']} on {holder['host']}, {holder['url']}" if holder else ""
            raise NameTaken(
                f"{files.name} is being served already{who}. Watch it with `coordinator status {files.name}`, "
                f"end it with `coordinator stop {files.name}`, or choose another name."
            ) from None
        #: what a killed predecessor left, or None
        self.left = read(self.path)

    def publish(self, info: dict[str, Any]) -> None:
        """Write the file anew; it appears whole."""
        paths.replace_private(self.path, json.dumps(info, indent=1).encode() + b"\n")
        self._inode = os.stat(self.path).st_ino

    def check(self) -> None:
        """Raises NameTaken when the file is not ours any more."""
        if not self._is_ours():
            raise NameTaken(f"{self.path} was removed or replaced while this Coordinator ran, so it stops writing.")

    def release(self) -> None:
        """Give the name back. A file that is not ours stays."""
        if self._inode and self._is_ours():
            os.unlink(self.path)
        os.close(self._lock)

    def _is_ours(self) -> bool:
        try:
            return os.stat(self.path).st_ino == self._inode
        except FileNotFoundError:
            return False


def read(path: str) -> dict[str, Any] | None:
    """What the run file says; None if there is none, or something under its name that no Coordinator wrote."""
    try:
        with open(path, "rb") as file:
            told: Any = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return told if isinstance(told, dict) and told.keys() >= NEEDED else None
