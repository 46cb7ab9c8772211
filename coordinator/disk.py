"""Disk: the calls by which the journal writes, each of which may fail; and the file that it writes to.

Only the journal uses it. It raises OSError as it is, and decides nothing.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress


class Disk:
    """The system calls that may fail; a test gives one that does."""

    def write(self, fd: int, content: memoryview, offset: int) -> int:
        return os.pwrite(fd, content, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def datasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        os.fsync(fd)


class SegmentFile:
    """A file that is being written: ``length`` bytes count, ``synced`` of them are safe on disk."""

    def __init__(self, number: int, path: str, disk: Disk) -> None:
        self.number = number
        self.path = path
        self.length = 0
        self.synced = 0
        self.torn = False  # a write failed in the middle and could not be taken back
        self._disk = disk
        # Never a file that is there already: whoever made it may still write to it.
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def append(self, content: bytes) -> None:
        """Write all of it; if that fails take back what was written, or mark the file as torn."""
        rest, at = memoryview(content), self.length
        try:
            while rest:
                written = self._disk.write(self._fd, rest, at)
                if written <= 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                rest, at = rest[written:], at + written
        except OSError:
            try:
                self._disk.truncate(self._fd, self.length)
            except OSError:
                self.torn = True
            raise
        self.length = at

    def make_safe(self) -> None:
        if self.synced:
            self._disk.datasync(self._fd)
        else:
            self._disk.sync(self._fd)
            sync_directory(os.path.dirname(self.path), self._disk)
        self.synced = self.length

    def close(self) -> None:
        os.close(self._fd)

    def discard(self) -> None:
        """Close it, and take it away."""
        os.close(self._fd)
        with suppress(OSError):  # a file that stays is met again, and said, when the next one is made
            os.unlink(self.path)


def sync_directory(directory: str, disk: Disk) -> None:
    fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)


def make_directory(directory: str, disk: Disk) -> None:
    """Make ``directory`` for its owner alone, safely on disk; nothing if it is there."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return
    sync_directory(os.path.dirname(os.path.abspath(directory)), disk)


def cut(path: str, size_bytes: int, disk: Disk) -> None:
    """Cut what a crash left behind ``size_bytes``, and make the rest safe: what comes next builds on it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if os.fstat(fd).st_size > size_bytes:
            disk.truncate(fd, size_bytes)
        disk.sync(fd)
    finally:
        os.close(fd)
