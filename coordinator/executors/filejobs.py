"""A shell script that a person runs, as an executor of jobs: for a machine that nobody may log in to but that person.

Each job becomes a line of the script, in the order in which they were submitted. Whether it was run is seen by the
files that the job leaves itself; here a line that is there waits, and one that is not is unknown.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from coordinator import paths
from coordinator.core.statuses import Intent, State, Status
from coordinator.errors import SchedulerAway, SchedulerError
from coordinator.executors.jobexecutor import Place, output_of, script_of, write_submission
from coordinator.executors.jobscript import Element

ID_VARIABLE, INDEX_VARIABLE = "COORDINATOR_FILE_ID", "COORDINATOR_FILE_INDEX"
#: most elements of one submission
LARGEST = 100_000
_HEAD = "#!/bin/sh\n# Jobs, one a line, as they came. Run all or some of them, wherever the paths are seen.\n"


class FileJobs:
    """``script``: the file; it is made with the first job, and may be run more than once: what has begun is not begun
    again."""

    name = "file"
    poll_s = 30.0
    here = False

    def __init__(self, script: Path | None = None) -> None:
        self._script = script or Path.cwd() / "jobs.sh"

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        write_submission(intent, elements, (ID_VARIABLE,), (INDEX_VARIABLE,))
        return ["/bin/sh", str(self._script)]

    def submit(self, intent: Intent) -> str:
        """The native id is the mark itself."""
        fresh = "".join(_line(intent, index) for index in range(1, intent.count + 1))

        def added(lines: list[str]) -> list[str]:
            kept = [line for line in lines if _place(line)[0] != intent.mark]
            return [*kept, fresh]

        self._rewrite(added)
        return intent.mark

    def find(self, intent: Intent) -> str | None:
        return intent.mark if any(_place(line)[0] == intent.mark for line in self._lines()) else None

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        try:
            there = {_place(line) for line in self._lines()}
        except SchedulerError as error:
            unknown = Status(State.UNKNOWN, words=error.message)
            return {(native, index): unknown for native, (_, indices) in asked.items() for index in indices}
        waits = Status(State.WAITS, words=f"somebody has to run {self._script}")
        unknown = Status(State.UNKNOWN, words=f"there is no line of it in {self._script}", forgotten=True)
        return {
            (native, index): waits if (native, index) in there else unknown
            for native, (_, indices) in asked.items()
            for index in indices
        }

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        """Take the lines out. What runs by now goes on."""
        ended = [(native, index) for native, index, _ in places]
        whole = {native for native, index in ended if index is None}
        self._rewrite(lambda lines: [line for line in lines if not (_place(line) in ended or _place(line)[0] in whole)])

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        return "".join(line for line in self._lines() if _place(line) == (native, index)) or f"no line of {native}\n"

    def largest_array(self) -> int:
        return LARGEST

    def version(self) -> str:
        return f"a script that a person runs: {self._script}"

    # --- inside -----------------------------------------------------------------------------------------

    def _lines(self) -> list[str]:
        try:
            return self._script.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SchedulerAway(f"{self._script}: {error.strerror}") from error

    def _rewrite(self, changed: Callable[[list[str]], list[str]]) -> None:
        try:
            with paths.locked(self._script.with_name(f".{self._script.name}.lock")):
                lines = changed([line for line in self._lines() if not line.startswith("#")])
                text = _HEAD + "".join(lines)
                paths.replace_private(self._script, text.encode("utf-8", "surrogateescape"))
                os.chmod(self._script, 0o700)
        except OSError as error:
            raise SchedulerAway(f"{self._script} cannot be written: {error.strerror}") from error


def _line(intent: Intent, index: int) -> str:
    """Its last word names it; a path with a line end never comes here."""
    output = output_of(intent) if intent.count == 1 else f"{output_of(intent)}.{index}"
    words = f"{ID_VARIABLE}={intent.mark} {INDEX_VARIABLE}={index} /bin/sh {shlex.quote(script_of(intent))}"
    return f"{words} >>{shlex.quote(output)} 2>&1 # {intent.mark}.{index}\n"


def _place(line: str) -> tuple[str, int]:
    """(mark, number) of a line of ours; ("", 0) of another."""
    mark, _, index = line.rstrip().rpartition(" # ")[2].rpartition(".")
    return (mark, int(index)) if index.isdecimal() else ("", 0)
