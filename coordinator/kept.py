"""Reports that a Processor could not hand in: each lies in a file on its host until a keeper there does.

A Processor's hand writes one when its Coordinator does not answer, and removes it when it does after all. What is left
when the Processor has ended is found by the next keeper of the same run on that host, which passes it on with its
beat. Nothing here opens a socket, and it never reads what a report says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from coordinator import paths

#: a report that nobody asked for within so many seconds is thrown away
LIFE_S = 24 * 3600.0
SUFFIX = ".kept"


class KeptReport:
    """The file of one Processor. What it holds is whole: it is written beside and renamed."""

    def __init__(self, directory: str, name: str, run: str, number: int) -> None:
        self._path = path_of(directory, name, run, number)
        self._written = False

    def keep(self, text: str) -> None:
        """Write it, once per report. A disk that is full keeps nothing: the task is then done again."""
        if self._written:
            return
        with suppress(OSError):
            paths.replace_private(self._path, text.encode())
            self._written = True

    def forget(self) -> None:
        """It was handed in."""
        if self._written:
            self._written = False
            with suppress(FileNotFoundError):  # its keeper may have handed it in
                os.unlink(self._path)


def path_of(directory: str, name: str, run: str, number: int) -> str:
    return os.path.join(directory, f"{name}_{run}_{number}{SUFFIX}")


def found(directory: str, name: str, run: str) -> Iterator[tuple[str, str]]:
    """(path, text) of each report of this run that lies here; of any job, those that are too old are removed."""
    for file in sorted(os.listdir(directory)):
        if not file.endswith(SUFFIX):
            continue
        path = os.path.join(directory, file)
        with suppress(FileNotFoundError):
            if time.time() - os.stat(path).st_mtime > LIFE_S:
                os.unlink(path)
            elif file.startswith(f"{name}_{run}_"):
                fd = paths.open_private(path, os.O_RDONLY)
                with os.fdopen(fd, encoding="ascii") as reader:
                    yield path, reader.read()
