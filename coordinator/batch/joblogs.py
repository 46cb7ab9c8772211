"""What jobs printed: print_log and the paths of logs. Every attempt keeps its own; nothing here writes one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from coordinator.batch.home import home
from coordinator.batch.selection import ids
from coordinator.errors import BadInput
from coordinator.jobs.information import info_of
from coordinator.jobs.records import job_of
from coordinator.tables import visible

_KEYS = ("stdout", "stderr")


def print_log(
    BatchID: int | Iterable[int],
    JobIndex: int | Iterable[int],
    LogKey: str | Iterable[str] = "stdout",
    LogIndex: int | Iterable[int] = -1,
    Lines: int | None = None,
    RegEx: str | None = None,
) -> None:
    """Print what attempts at jobs printed. Each of the first four may be several.

    ``LogIndex``: of the attempt, -1 is the newest; ``Lines``: only so many, the last ones (the first if negative);
    ``RegEx``: only lines in which it is found. Raises NoSuchJob, BadInput.
    """
    pattern = None
    if RegEx is not None:
        try:
            pattern = re.compile(RegEx)
        except re.error as error:
            raise BadInput(f"{RegEx!r} is no regular expression: {error}") from error
    for title, path in paths_of(BatchID, JobIndex, LogKey, LogIndex):
        print(f"--- {title}: {path or 'there is none'}")
        if path:
            for line in lines_of(path, Lines, pattern):
                print(line)


def get_log_paths(JobInfo: Mapping[str, Any]) -> dict[str, list[str]]:
    """{"stdout": paths, "stderr": paths} of all attempts at a job, the newest last."""
    return {key: list(JobInfo.get(key, [])) for key in _KEYS}


def paths_of(
    BatchID: int | Iterable[int],
    JobIndex: int | Iterable[int],
    LogKey: str | Iterable[str],
    LogIndex: int | Iterable[int],
) -> Iterator[tuple[str, str]]:
    """(what it is, its path or "" where there is none). Raises NoSuchJob, BadInput."""
    keys = [LogKey] if isinstance(LogKey, str) else list(LogKey)
    unknown = [key for key in keys if key not in _KEYS]
    if unknown:
        raise BadInput(f"a job prints to stdout and stderr, not to {unknown[0]!r:.100}")
    at = home()
    for batch, index in product(ids(BatchID, "BatchID"), ids(JobIndex, "JobIndex")):
        # Not while somebody reads on: the store would stay locked for as long.
        with at.store.reading() as connection:
            info = info_of(connection, job_of(connection, batch, index))
        for key, which in product(keys, ids(LogIndex, "LogIndex")):
            logs = info[key]
            there = -len(logs) <= which < len(logs)
            attempt = which + 1 if which >= 0 else len(logs) + which + 1
            title = f"batch {batch}, job {index}, {key}" + (f", attempt {attempt} of {len(logs)}" if there else "")
            yield title, logs[which] if there else ""


def lines_of(path: str, lines: int | None, pattern: re.Pattern[str] | None) -> Iterable[str]:
    """Of a log; what is no text is shown escaped, so that nothing of it acts on a terminal."""
    try:
        file = open(path, encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        return ["(nothing was printed yet, or the file was removed)"]
    with file:
        found = (visible(line.rstrip("\n"), keep="\t") for line in file)
        chosen = (line for line in found if pattern is None or pattern.search(line))
        if lines is None:
            return list(chosen)
        if lines < 0:
            return [line for _, line in zip(range(-lines), chosen, strict=False)]
        return deque(chosen, maxlen=lines)
