"""NAME.hosts on disk: read at start, read again when it was edited, and what people changed by call meanwhile.

The ResourceController asks it each second. The file itself is never written: a maxload that was set by call is kept in
NAME.changes, and gives way to an edit of that host's line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from coordinator.changes import Changes
from coordinator.core import hosts
from coordinator.core.hosts import HostInfo
from coordinator.errors import HostsFileError

_MOST_BYTES = 64 << 20


class HostsFile:
    """The table of hosts. ``path`` None: a fixed table (an embedded ResourceController has no file)."""

    def __init__(
        self, path: str | None, table: Mapping[str, HostInfo] | None = None, changes: Changes | None = None
    ) -> None:
        self.path = path
        self._changes = changes or Changes(None)
        self._file: dict[str, HostInfo] = dict(table or {})
        self._called: dict[str, HostInfo] = {}
        self._seen: tuple[int, ...] | None = None
        if path is not None:
            self._seen = _mark(path)
            self._file = self._read(path)
        for name, maxload in self._changes.maxloads(self._file).items():
            self._called[name] = (self._file.get(name) or HostInfo(name)).with_maxload(maxload)

    @property
    def table(self) -> dict[str, HostInfo]:
        """What holds now."""
        return {**self._file, **self._called}

    def set_maxload(self, name: str, maxload: float) -> None:
        """An unknown host is added. Raises StateError if it cannot be kept; then nothing has changed."""
        known = self.table.get(name) or HostInfo(name)
        self._changes.set_maxload(name, maxload, self._file.get(name))
        self._called[name] = known.with_maxload(maxload)

    def look(self) -> bool:
        """Read the file again if it was edited; says whether it was. Raises HostsFileError for a bad edit, once;
        the old table stays."""
        if self.path is None or (mark := _mark(self.path)) == self._seen:
            return False
        self._seen = mark
        table = self._read(self.path)
        edited = {name for name in self._file.keys() | table.keys() if self._file.get(name) != table.get(name)}
        for name in edited & self._called.keys():
            self._changes.drop(name)
            del self._called[name]
        self._file = table
        return True

    def _read(self, path: str) -> dict[str, HostInfo]:
        shown = os.path.basename(path)
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES)
        except FileNotFoundError:
            directory = os.path.dirname(path)
            raise HostsFileError(
                f"{shown}: there is no such file in {directory}; write one with a line for each host, such as "
                f"'localhost {os.cpu_count() or 1}'"
            ) from None
        except OSError as error:
            raise HostsFileError(f"{shown}: cannot be read: {error.strerror}") from None
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            number = content.count(b"\n", 0, error.start) + 1
            raise HostsFileError(f"{shown}:{number}: this line is not UTF-8 text") from None
        return hosts.parse(text, shown)


def _mark(path: str) -> tuple[int, ...]:
    """What changes when a file is edited or replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)
