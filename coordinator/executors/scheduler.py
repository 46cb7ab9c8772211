"""A scheduler as an executor of jobs: what runs its commands, waits, and says what an answer means. Written once.

Whoever keeps jobs calls it with an :class:`~coordinator.core.statuses.Intent` that is on disk already, since this room
remembers nothing: killed at any line, it is asked again. What a scheduler spells how is in its dialect. An answer that
did not come is never an end: it is ``UNKNOWN``, with the reason.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from coordinator.core.statuses import Intent, Row, State, Status, mark_in, name_of
from coordinator.errors import (
    NotCancelled,
    SchedulerAbsent,
    SchedulerAway,
    SchedulerError,
    SubmitRefused,
    SubmitUnclear,
)
from coordinator.executors.dialect import Dialect
from coordinator.executors.jobexecutor import Place, output_of, script_of, write_submission
from coordinator.executors.jobscript import Element

#: seconds after which a command is taken to hang: clients of a scheduler that is down try again for a minute
LIMIT_S = 90.0
#: seconds between two looks at the queue: it is everybody's
POLL_S = 30.0
#: bytes of a command's answer that are read; a line of a queue has about 100
MOST_ANSWER = 64 << 20
#: ids in one command: their length must stay below what an argument list may have
MANY = 500


@dataclass(frozen=True)
class Ran:
    """A command that ended by itself."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"{self.err}\n{self.out}".strip()


def run(argv: Sequence[str], limit_s: float = LIMIT_S) -> Ran:
    """Run a command of the scheduler. Raises SchedulerAway if there is no such command, it hangs, or says too much.

    It has a session of its own: Ctrl-C in the shell where somebody submits must not tear a submission in two, and
    whatever it started ends with it.
    """
    environment = {**os.environ, "LC_ALL": "C", "LANGUAGE": "C"}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SchedulerAway(f"{argv[0]} cannot be run here: {error.strerror or error}") from error
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise SchedulerAway(f"{argv[0]} has not answered for {limit_s:.0f} s") from error
    if len(out) > MOST_ANSWER:
        raise SchedulerAway(f"{argv[0]} said {len(out):,} bytes, more than anybody has jobs")
    return Ran(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


class Scheduler:
    """``user``: whose jobs they are; ``run``: runs a command, as :func:`run` does."""

    poll_s = POLL_S
    here = False

    def __init__(self, dialect: Dialect, user: str, run: Callable[[Sequence[str]], Ran] = run) -> None:
        self.dialect, self._user, self._run = dialect, user, run

    @property
    def name(self) -> str:
        return self.dialect.name

    # --- submitting -------------------------------------------------------------------------------------

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        """Write the script and the table of a submission; returns the command that submits it.

        Raises BadInput, OSError.
        """
        argv = self.command(intent)
        write_submission(intent, elements, self.dialect.id_variables, self.dialect.index_variables)
        return argv

    def command(self, intent: Intent) -> list[str]:
        """The command that submits. Raises BadNeeds."""
        return self.dialect.submit(intent, script_of(intent), output_of(intent))

    def submit(self, intent: Intent) -> str:
        """Give what :meth:`prepare` wrote to the scheduler; the native id of the job or array.

        Raises SubmitRefused, SchedulerAway, and SubmitUnclear where the jobs may be there all the same: then only
        :meth:`find` can tell, and nothing may be submitted again before it has.
        """
        argv = self.command(intent)
        try:
            ran = self._run(argv)
        except SchedulerAway as error:
            missing = isinstance(error.__cause__, OSError)
            raise error if missing else SubmitUnclear(error.message) from error
        if ran.code == 0:
            return self.dialect.native_id(ran.out)
        if ran.code < 0 or not ran.said:
            raise SubmitUnclear(f"{argv[0]} ended with {ran.code} and without a word")
        raise self.dialect.fault(ran.said)

    def find(self, intent: Intent) -> str | None:
        """The native id of the job that carries the intent's mark; None if the scheduler knows none.

        Raises SchedulerError if that cannot be told now.
        """
        rows = self._rows(self.dialect.queue(self._user), self.dialect.queued)
        for command in self.dialect.search(name_of(intent)):
            try:
                rows += self._rows(command, self.dialect.remembered)
            except SubmitRefused:
                continue  # it keeps no history, or has none of such a job: the queue is what it knows
        return next((row.native for row in rows if mark_in(row.name) == intent.mark), None)

    # --- watching ---------------------------------------------------------------------------------------

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        """What became of ``{native id: (mark, numbers of its elements)}``: one call for the queue, and, for those that
        it has forgotten, one for many of the history. An answer for each; UNKNOWN where there is none."""
        wanted = {native: (mark, set(numbers)) for native, (mark, numbers) in asked.items()}
        if not wanted:
            return {}
        found: dict[Place, Status] = {}
        try:
            _take(self._rows(self.dialect.queue(self._user), self.dialect.queued), wanted, found)
        except SchedulerError as error:
            return {place: Status(State.UNKNOWN, words=error.message) for place in _places(wanted)}
        reason, forgotten = f"{self.dialect.name} does not know it, or not any more", True
        left = [native for native, (_, numbers) in wanted.items() if any((native, n) not in found for n in numbers)]
        for at in range(0, len(left), MANY):
            for command in self.dialect.history(left[at : at + MANY]):
                remembered: dict[Place, Status] = {}
                try:
                    _take(self._rows(command, self.dialect.remembered), wanted, remembered)
                except SubmitRefused as error:  # it keeps no history, which will not be otherwise later
                    reason = f"{self.dialect.name} does not list it, and its history says: {error.message}"
                except SchedulerError as error:
                    reason = f"{self.dialect.name} does not list it, and its history says: {error.message}"
                    forgotten = False
                found = {**remembered, **found}
        unknown = Status(State.UNKNOWN, words=reason, forgotten=forgotten)
        return {place: found.get(place, unknown) for place in _places(wanted)}

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        """All that the scheduler tells about a job, for people. Raises SchedulerError."""
        return self._answer(self.dialect.details(self.dialect.element(native, index, count)))

    # --- ending -----------------------------------------------------------------------------------------

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        """End ``(native id, number or None for all of them, count)``. Who has ended already is no fault.

        Raises NotCancelled, SchedulerAway.
        """
        ids = [
            native if index is None else self.dialect.element(native, index, count) for native, index, count in places
        ]
        refused: list[str] = []
        for at in range(0, len(ids), MANY):
            some = ids[at : at + MANY]
            ran = self._run(self.dialect.cancel(some))
            left = self._not_ended(some, ran.said)
            if ran.code == 0 or (ran.said and not left):
                continue
            fault = self.dialect.fault(left)
            if isinstance(fault, SchedulerAway | SubmitUnclear):
                raise SchedulerAway(fault.message)
            refused.append(fault.message)  # the others are ended all the same
        if refused:
            raise NotCancelled("; ".join(dict.fromkeys(refused)))

    def _not_ended(self, ids: Iterable[str], said: str) -> str:
        """Of what a cancel said that did not end well, the lines by which some of the ids have not ended.

        One command speaks of many, each in a line. Where one is gone, that alone explains the exit status: then other
        lines count only if they name one of the ids, or say that the scheduler is away.
        """
        lines = [line for line in said.splitlines() if line.strip()]
        left = [line for line in lines if not self.dialect.gone(line) and not self.dialect.ending(line)]
        if any(self.dialect.gone(line) for line in lines):
            numbers = {number[0] for id in ids if (number := re.match(r"\d+", id))}
            left = [line for line in left if self._tells_of(line, numbers)]
        return "\n".join(left)

    def _tells_of(self, line: str, numbers: set[str]) -> bool:
        if isinstance(self.dialect.fault(line), SchedulerAway | SubmitUnclear):
            return True
        # An id alone ends a list that began in a line before.
        return not numbers.isdisjoint(re.findall(r"\d+", line)) and re.search(r"[A-Za-z]{2}", line) is not None

    # --- the site ---------------------------------------------------------------------------------------

    def largest_array(self) -> int:
        """How many elements one submission may have here. Raises SchedulerError."""
        command = self.dialect.largest_array()
        return self.dialect.largest(self._answer(command) if command else "")

    def version(self) -> str:
        """In the words of the scheduler itself. Raises SchedulerAbsent where the commands are another one's."""
        command = self.dialect.version()
        said = self._run(command).said
        if not re.search(self.dialect.known_by, said):
            first = said.splitlines()[0][:80] if said else "nothing"
            raise SchedulerAbsent(f"{command[0]} is not that of {self.dialect.name}: it says {first!r}")
        return next(line.strip() for line in said.splitlines() if line.strip())

    # --- inside -----------------------------------------------------------------------------------------

    def _answer(self, command: Sequence[str]) -> str:
        ran = self._run(command)
        if ran.code != 0 and not self.dialect.gone(ran.said):
            raise self.dialect.fault(ran.said)
        return ran.out

    def _rows(self, command: Sequence[str], read: Callable[[str], list[Row]]) -> list[Row]:
        try:
            return read(self._answer(command))
        except ValueError as error:
            raise SchedulerAway(f"{command[0]} answers what cannot be read: {error}") from error


def _take(rows: Iterable[Row], wanted: Mapping[str, tuple[str, set[int]]], found: dict[Place, Status]) -> None:
    """The rows of the wanted jobs. One whose name has another mark is of a job that got an old id again."""
    whole: dict[str, Status] = {}
    for row in rows:
        mark, numbers = wanted.get(row.native, ("", set()))
        if not numbers or mark_in(row.name) != mark:
            continue
        if not row.indices:
            whole[row.native] = row.status
        for index in row.indices:
            if index in numbers:
                found[row.native, index] = row.status
    for native, status in whole.items():
        for index in wanted[native][1]:
            found.setdefault((native, index), status)


def _places(wanted: Mapping[str, tuple[str, set[int]]]) -> Iterable[Place]:
    return ((native, index) for native, (_, numbers) in wanted.items() for index in sorted(numbers))
