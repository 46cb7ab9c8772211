"""The exit files of jobs that are under way, read as they appear: their ends, before any scheduler tells of them.

:mod:`coordinator.executors.site` looks here about once a second, since on a file system that hosts share nobody is
woken by a new file. It lists directories, asks no scheduler and decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from coordinator.core.statuses import State, Status
from coordinator.errors import BadInput
from coordinator.executors.jobscript import Exit, exit_of

#: seconds between two looks
LOOK_S = 1.0


def exits_in(wanted: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], Exit]:
    """``wanted``: {a submission's directory: numbers of its elements}; those that have ended, by both. What cannot be
    read has not ended here: its scheduler is asked about it anyway."""
    found = {}
    for directory, indices in wanted.items():
        try:
            names = set(os.listdir(directory))
        except OSError:
            continue
        for index in indices:
            if f"{index}.exit" not in names:
                continue
            try:
                with open(os.path.join(directory, f"{index}.exit"), encoding="utf-8", errors="replace") as file:
                    found[directory, index] = exit_of(file.read())
            except (OSError, BadInput):
                continue
    return found


def status_of(exit: Exit) -> Status:
    """The end, as a scheduler would tell it that knows no more."""
    if exit.signal:
        return Status(State.ENDED, None, exit.signal, host=exit.host, used=exit.used)
    return Status(State.ENDED, exit.code, host=exit.host, used=exit.used)
