"""Jobs on their way to an executor: grouped into arrays, written down, submitted, and found again after a kill.

Each submission goes through three steps, and may be torn off between any two: it is written into the store with its
jobs, its script and table are written, the executor takes it. The next pass, by whoever makes one, looks what came of
it: without a script nobody was asked, so it is taken back; with one the executor is asked for its mark, and gets it
again only if it knows nothing of it (the claim in the script lets it run once all the same). One pass at a time: a
lock, which its holder's death frees.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import and_

from coordinator import paths
from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, mark_of
from coordinator.errors import BadInput, CoordinatorError, SchedulerError, StoreUnwritable, SubmitRefused
from coordinator.executors import jobscript
from coordinator.executors.jobexecutor import JobExecutor, script_of
from coordinator.executors.jobscript import Element
from coordinator.jobs import schema, submissions
from coordinator.jobs.records import JobId, Submission, submissions_where
from coordinator.jobs.store import Store
from coordinator.jobs.submissions import Trial

#: most elements of one submission where the executor does not say
USUAL_ARRAY = 1000


#: (its element without a record, what it needs). Raises BadInput, OSError
Make = Callable[[Trial], tuple[Element, Needs]]


@dataclass
class Pass:
    """What one pass did. ``refused``: jobs with the reason; ``words``: what it could not do now, for people."""

    submitted: list[JobId] = field(default_factory=list)
    submissions: int = 0
    refused: list[tuple[JobId, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def one_at_a_time(place: Path) -> AbstractContextManager[None]:
    """Hold this while it is decided what is submitted, and while it is; and while jobs are set back, so that nobody
    submits one between the end of its last attempt and the change of its state. ``place``: of submissions."""
    place.mkdir(0o700, parents=True, exist_ok=True)
    return paths.locked(place / "submitting")


class Submitter:
    """``place``: the directory of submissions; ``executor``, ``name``: what takes them, and how the store calls it."""

    def __init__(self, store: Store, place: Path, executor: JobExecutor, name: str, make: Make) -> None:
        self._store, self._place, self._executor, self._name, self._make = store, place, executor, name, make
        self._most: int | None = None

    def settle(self, result: Pass) -> None:
        """What became of submissions that were torn off. Within :func:`one_at_a_time`."""
        table = schema.submission
        with self._store.reading() as connection:
            torn = submissions_where(connection, and_(table.c.stage == "written", table.c.executor == self._name))
        for submission in torn:
            intent = submission.intent
            if not os.path.exists(script_of(intent)):
                self._take_back(submission)
                continue
            try:
                native = self._executor.find(intent)
                if native is None:
                    native = self._executor.submit(intent)
            except SchedulerError as error:
                self._not_taken(submission.mark, error, result)
            else:
                self._sent(submission.mark, native)

    def submit(self, trials: Iterable[Trial], result: Pass) -> None:
        """Within :func:`one_at_a_time`. One bad job, or one bad group of needs, stops no other."""
        made, refused = [], []
        for trial in trials:
            try:
                element, needs = self._make(trial)
                jobscript.line(element)
            except (BadInput, OSError) as error:
                refused.append((trial, error.message if isinstance(error, CoordinatorError) else str(error)))
                continue
            made.append((trial, element, needs))
        if refused:
            with self._store.writing() as connection:
                submissions.refuse(connection, refused)
            result.refused += [(trial.job.id, words) for trial, words in refused]
        for needs, group in _grouped(made):
            most = self._largest()
            for at in range(0, len(group), most):
                self._submit_some(group[at : at + most], needs, result)

    def command(self, trials: Sequence[Trial]) -> list[tuple[list[str], str, list[str]]]:
        """What :meth:`submit` would do, as (command, script, lines of the table) for each submission: a dry run."""
        found = []
        directory = self._place / f"dry-run.{os.getpid()}"
        made = [place for place in (self._place, *self._place.parents) if not place.exists()]
        directory.mkdir(0o700, parents=True, exist_ok=True)
        try:
            for needs, group in _grouped((trial, *self._make(trial)) for trial in trials):
                elements = [element for _, element in group]
                intent = Intent(mark_of(0), "dry run", str(directory), needs, len(elements))
                argv = self._executor.prepare(intent, elements)
                lines = [jobscript.line(element) for element in elements]
                found.append((argv, Path(script_of(intent)).read_text(), lines))
        finally:
            shutil.rmtree(directory)
            with suppress(OSError):  # somebody has put something there meanwhile
                for place in made:
                    place.rmdir()
        return found

    # --- a submission -----------------------------------------------------------------------------------

    def _submit_some(self, group: Sequence[tuple[Trial, Element]], needs: Needs, result: Pass) -> None:
        mark = mark_of(int.from_bytes(os.urandom(8)))
        directory = self._place / mark
        first = group[0][0].job
        name = str(first.fields.get("batch_type") or first.fields.get("name") or "job")
        with self._store.writing() as connection:
            there = submissions.still(connection, [trial for trial, _ in group])
            kept = [(trial, element) for trial, element in group if trial.place in there]
            if not kept:
                return
            intent = Intent(mark, name, str(directory), needs, len(kept))
            submissions.write_down(connection, intent, self._name, kept)
        elements = [replace(e, record=str(directory / str(at))) for at, (_, e) in enumerate(kept, 1)]
        try:
            directory.mkdir(0o700)
            self._executor.prepare(intent, elements)
        except BadInput as error:
            self._over(mark, error.message, result)
            return
        except OSError as error:
            raise StoreUnwritable(f"jobs cannot be written down in {directory}: {error.strerror}") from error
        try:
            native = self._executor.submit(intent)
        except SchedulerError as error:
            self._not_taken(mark, error, result)
        else:
            self._sent(mark, native)
            result.submissions += 1
            result.submitted += [trial.job.id for trial, _ in kept]

    def _not_taken(self, mark: str, error: SchedulerError, result: Pass) -> None:
        if isinstance(error, SubmitRefused):
            self._over(mark, error.message, result)
            return
        with self._store.writing() as connection:
            submissions.not_yet(connection, mark, error.message)
        if error.message not in result.words:
            result.words.append(error.message)

    def _sent(self, mark: str, native: str) -> None:
        with self._store.writing() as connection:
            submissions.sent(connection, mark, native)

    def _over(self, mark: str, words: str, result: Pass) -> None:
        with self._store.writing() as connection:
            ids = submissions.over(connection, mark, words)
        result.refused += [(id, words) for id in ids]

    def _take_back(self, submission: Submission) -> None:
        with self._store.writing() as connection:
            submissions.take_back(connection, submission)
        shutil.rmtree(submission.directory, ignore_errors=True)

    def _largest(self) -> int:
        if self._most is None:
            try:
                self._most = max(1, self._executor.largest_array())
            except SchedulerError:
                self._most = USUAL_ARRAY
        return self._most


def _grouped(made: Iterable[tuple[Trial, Element, Needs]]) -> list[tuple[Needs, list[tuple[Trial, Element]]]]:
    """By needs: what differs in them cannot be in one array."""
    groups: dict[str, tuple[Needs, list[tuple[Trial, Element]]]] = {}
    for trial, element, needs in made:
        key = json.dumps(needs.told(), sort_keys=True)
        groups.setdefault(key, (needs, []))[1].append((trial, element))
    return list(groups.values())
