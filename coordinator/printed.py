"""PrintedFile: one of the files that the printer writes; whole lines are put, and written many at once.

It raises OSError as it is. After one it must be closed: what waited may be written in part.
"""

from __future__ import annotations

import os

#: bytes that wait at most; joined they are there twice
_BUFFER_BYTES = 64 << 10


class PrintedFile:
    """What is printed (``size_bytes`` of it), and what waits to be."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.size_bytes = os.fstat(self._fd).st_size
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def cut(self, size_bytes: int) -> None:
        os.ftruncate(self._fd, size_bytes)
        self.size_bytes = size_bytes

    def put(self, lines: bytes) -> None:
        """Whole lines, with their ends."""
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        if self._waiting_bytes > _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        rest = memoryview(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        while rest:
            written = os.pwrite(self._fd, rest, self.size_bytes)
            rest = rest[written:]
            self.size_bytes += written

    def make_safe(self) -> None:
        self.flush()
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)
