"""The logs of a job's Processors and of its keeper on this host: which there are, their last lines, what is appended.

`coordinator logs` calls it for files of this machine; for those of another host it runs there (:func:`serve`), begun by
:mod:`coordinator.keeper` over a fresh SSH connection and spoken to by :mod:`coordinator.executors.farlogs`. It is told
the names of a job and of files, never a path: what it opens lies in the user's own log directory, is called as logs of
that job are, and is the user's. It writes to no log.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import select
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from coordinator import paths
from coordinator.errors import StateError

#: seconds between two looks at a followed log: a line is seen within this time
FOLLOW_EVERY_S = 0.5
#: a log is read in pieces of this size, so that a huge one does not fill the memory
PIECE_BYTES = 1 << 16
#: seconds between two words of either side where nothing is appended, and until a silent side is taken for gone
BEAT_S, SILENT_S = 5.0, 20.0


@dataclass(frozen=True, order=True)
class LogFile:
    """``number``: of its Processor; -1 is the keeper's."""

    number: int
    path: str


def logs_of(name: str, folders: Iterable[str | os.PathLike[str]], host: str | None = None) -> list[LogFile]:
    """The logs of the job's Processors in these folders; with ``host`` the log of the keeper of that host as well."""
    pattern = re.compile(rf"{re.escape(name)}_(\d+)(\.\d+)?\.log", re.ASCII)
    keeper = None if host is None else f"{name}_keeper_{host}.log"
    found = []
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            for file in os.listdir(folder):
                if file == keeper:
                    found.append(LogFile(-1, os.path.join(folder, file)))
                elif (match := pattern.fullmatch(file)) is not None:
                    found.append(LogFile(int(match[1]), os.path.join(folder, file)))
    return sorted(found)


def tail(path: str, lines: int, private: bool = False) -> tuple[str, int]:
    """The last ``lines`` lines of a file (0: all), the offset behind them. ``private``: it must be the user's own."""
    with _opened(path, private) as file:
        end = start = file.seek(0, os.SEEK_END)
        data = b""
        # One newline more than lines: that before the first of them.
        while start > 0 and (not lines or data.count(b"\n") <= lines):
            step = min(PIECE_BYTES, start) if lines else start
            start -= step
            file.seek(start)
            data = file.read(step) + data
    whole = data.split(b"\n")
    if lines:
        whole = whole[-lines - 1 :] if data.endswith(b"\n") else whole[-lines:]
    return b"\n".join(whole).decode("utf-8", "replace"), end


def _opened(path: str, private: bool) -> BinaryIO:
    return os.fdopen(paths.open_private(path, os.O_RDONLY), "rb") if private else open(path, "rb")


class Tail:
    """One file: what was appended since the last look."""

    def __init__(self, path: str, offset: int, private: bool = False) -> None:
        self.path, self.offset, self._private = path, offset, private
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def appended(self) -> Iterator[str]:
        size = os.stat(self.path).st_size
        if size < self.offset:  # It was emptied or replaced: from its beginning again.
            self.offset = 0
        while size > self.offset:
            with _opened(self.path, self._private) as file:
                file.seek(self.offset)
                piece = file.read(min(PIECE_BYTES, size - self.offset))
            if not piece:
                return
            self.offset += len(piece)
            yield self._decoder.decode(piece)


class JobLogs:
    """The logs of one job in these folders. ``only``: the files to begin with, by name; those that come later belong
    to it too. ``number``: the log of that Processor alone."""

    def __init__(
        self,
        name: str,
        folders: Iterable[str | os.PathLike[str]],
        host: str,
        lines: int,
        only: Collection[str] | None = None,
        number: int | None = None,
    ) -> None:
        self._name, self._folders, self._host = paths.check_name(name), list(folders), host
        self._lines, self._number = lines, number
        self._tails: dict[str, Tail] = {}
        self._others: set[str] = set()
        self.files = []
        for file in self._there():
            if only is None or os.path.basename(file.path) in only or file.number < 0:
                self.files.append(file)
            else:
                self._others.add(file.path)

    def last_lines(self) -> Iterator[tuple[str, str]]:
        """(path, text) of each file that is there."""
        for file in self.files:
            text, offset = tail(file.path, self._lines, private=True)
            self._tails[file.path] = Tail(file.path, offset, private=True)
            yield file.path, text

    def appended(self) -> Iterator[tuple[str, str]]:
        """(path, text) of what has come since; new files from their beginning."""
        for file in self._there():
            if file.path not in self._others:
                known = self._tails.setdefault(file.path, Tail(file.path, 0, private=True))
                with suppress(FileNotFoundError):  # removed between the two looks
                    for text in known.appended():
                        yield file.path, text

    def _there(self) -> list[LogFile]:
        found = logs_of(self._name, self._folders, self._host)
        return [file for file in found if self._number is None or file.number == self._number]


# --- on another host ----------------------------------------------------------------------------------


def serve(wanted: dict[str, Any]) -> int:
    """Print, a JSON object a line: ``ready`` with the files that there are, ``text`` of each; with ``follow`` what is
    appended, until stdin ends or nothing is heard from there. ``wanted``: {name, host, lines, follow, only, number}."""
    folder = Path(paths.log_directory())
    logs = JobLogs(wanted["name"], [folder], wanted["host"], wanted["lines"], wanted["only"], wanted["number"])
    try:
        _say({"ready": os.getpid(), "files": [vars(file) for file in logs.files], "directory": os.fspath(folder)})
        for path, text in logs.last_lines():
            # A long log goes in pieces: nobody takes a line of any length.
            for start in range(0, max(1, len(text)), PIECE_BYTES):
                _say({"log": path, "text": text[start : start + PIECE_BYTES]})
        if wanted["follow"]:
            _follow(logs)
        _say({"end": True})
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads any more
    except OSError as error:
        raise StateError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    return 0


def _follow(logs: JobLogs) -> None:
    heard = said = time.monotonic()
    last_look = False
    while True:
        for path, text in logs.appended():
            _say({"log": path, "text": text})
            said = time.monotonic()
        if last_look:
            return
        if select.select([0], [], [], FOLLOW_EVERY_S)[0]:
            heard = time.monotonic()
            last_look = not os.read(0, 4096)
        if time.monotonic() - heard > SILENT_S:
            return
        if time.monotonic() - said > BEAT_S:
            _say({"alive": True})
            said = time.monotonic()


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
