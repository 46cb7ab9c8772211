"""Jobs on their way to an executor: grouped into arrays, written down, submitted, and found again after a kill.

Each submission goes through three steps, and may be torn off between any two: it is written into the store with its
jobs, its script and table are written, the executor takes it. The next pass, by whoever makes one, looks what came of
it: without a script nobody was asked, so it is taken back; with one the executor is asked for its mark, and gets it
again only if it knows nothing of it (the claim in the script lets it run once all the same), with growing pauses and
not for ever. One pass at a time: a lock, which its holder's death frees.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import and_

from coordinator import paths
from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, mark_of
from coordinator.errors import (
    BadInput,
    CoordinatorError,
    SchedulerAbsent,
    SchedulerAway,
    SchedulerError,
    StoreUnwritable,
    SubmitRefused,
)
from coordinator.executors import jobscript
from coordinator.executors.jobexecutor import JobExecutor, most_elements, script_of
from coordinator.executors.jobscript import Element, native_in
from coordinator.jobs import retries, schema, submissions
from coordinator.jobs.cancelling import claim
from coordinator.jobs.reconcile import begun_in
from coordinator.jobs.records import JobId, Submission, submissions_where
from coordinator.jobs.store import Store
from coordinator.jobs.submissions import Trial

#: a submission is given so often, if the answers are not clear and it is not found; that takes at least half an hour
MOST_TRIES = 10


#: (its element without a record, what it needs). Raises BadInput, OSError
Make = Callable[[Trial], tuple[Element, Needs]]


@dataclass
class Pass:
    """What one pass did. ``refused``: jobs with the reason; ``words``: what it could not do now, for people."""

    submitted: list[JobId] = field(default_factory=list)
    submissions: int = 0
    refused: list[tuple[JobId, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What a pass would do: (command, script, lines of the table) of each submission; jobs that it would refuse."""

    submissions: list[tuple[list[str], str, list[str]]] = field(default_factory=list)
    refused: list[tuple[JobId, str]] = field(default_factory=list)


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
            if not os.path.exists(script_of(submission.intent)):
                self._take_back(submission)
                continue
            taken, native = _begun(submission)
            try:
                native = native or (None if taken else self._executor.find(submission.intent))
            except SchedulerError as error:
                self._away(submission.mark, error.message, result)
                continue
            if taken or native is not None:
                self._sent(submission.mark, native)
            elif submission.tries >= MOST_TRIES:
                self._give_up(submission, result)
            elif submission.not_before > time.time():
                again = f"tried {submission.tries} times, again in {submission.not_before - time.time():.0f} s"
                _say(f"{submission.words} ({again})", result)
            else:
                self._give(submission.intent, submission.tries, result)

    def submit(self, trials: Iterable[Trial], result: Pass) -> None:
        """Within :func:`one_at_a_time`. One bad job, or one bad group of needs, stops no other."""
        made, refused = self._made(trials)
        if refused:
            with self._store.writing() as connection:
                submissions.refuse(connection, refused)
            result.refused += [(trial.job.id, words) for trial, words in refused]
        for needs, group in self._arrays(made):
            self._submit_some(group, needs, result)

    def plan(self, trials: Iterable[Trial]) -> Plan:
        """What :meth:`submit` would do. Nothing is kept of it."""
        made, refused = self._made(trials)
        plan = Plan(refused=[(trial.job.id, words) for trial, words in refused])
        directory = self._place / f"dry-run.{os.getpid()}"
        folders = [place for place in (self._place, *self._place.parents) if not place.exists()]
        directory.mkdir(0o700, parents=True, exist_ok=True)
        try:
            for needs, group in self._arrays(made):
                elements = [element for _, element in group]
                intent = Intent(mark_of(0), "dry run", str(directory), needs, len(elements))
                try:
                    argv = self._executor.prepare(intent, elements)
                except BadInput as error:
                    plan.refused += [(trial.job.id, error.message) for trial, _ in group]
                    continue
                lines = [jobscript.line(element) for element in elements]
                plan.submissions.append((argv, Path(script_of(intent)).read_text(), lines))
        finally:
            shutil.rmtree(directory)
            with suppress(OSError):  # somebody has put something there meanwhile
                for place in folders:
                    place.rmdir()
        return plan

    # --- what becomes one -------------------------------------------------------------------------------

    def _made(self, trials: Iterable[Trial]) -> tuple[list[tuple[Trial, Element, Needs]], list[tuple[Trial, str]]]:
        """Those that something can be made of, and the others with the reason."""
        made, refused = [], []
        for trial in trials:
            try:
                element, needs = self._make(trial)
                jobscript.line(element)
            except (BadInput, OSError) as error:
                refused.append((trial, error.message if isinstance(error, CoordinatorError) else str(error)))
                continue
            made.append((trial, element, needs))
        return made, refused

    def _arrays(
        self, made: Iterable[tuple[Trial, Element, Needs]]
    ) -> Iterator[tuple[Needs, list[tuple[Trial, Element]]]]:
        """By needs, since what differs in them cannot be in one array, and no longer than the site allows."""
        groups: dict[str, tuple[Needs, list[tuple[Trial, Element]]]] = {}
        for trial, element, needs in made:
            key = json.dumps(needs.told(), sort_keys=True)
            groups.setdefault(key, (needs, []))[1].append((trial, element))
        for needs, group in groups.values():
            most = self._largest()
            for at in range(0, len(group), most):
                yield needs, group[at : at + most]

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
        if self._give(intent, 0, result):
            result.submissions += 1
            result.submitted += [trial.job.id for trial, _ in kept]

    def _give(self, intent: Intent, tries: int, result: Pass) -> bool:
        """Has its executor taken it? ``tries``: how often that was not clear. What may be there is looked for first by
        the next pass, and the first of them may give it again at once."""
        try:
            native = self._executor.submit(intent)
        except (SubmitRefused, BadInput) as error:
            self._over(intent.mark, error.message, result)
        except (SchedulerAway, SchedulerAbsent) as error:
            self._away(intent.mark, error.message, result)
        except CoordinatorError as error:
            pause_s = retries.pause_s(retries.FIRST_PAUSE_S, tries - 1, random.random()) if tries else 0.0
            with self._store.writing() as connection:
                submissions.unclear(connection, intent.mark, error.message, time.time() + pause_s)
            _say(error.message, result)
        else:
            self._sent(intent.mark, native)
            return True
        return False

    def _away(self, mark: str, words: str, result: Pass) -> None:
        with self._store.writing() as connection:
            submissions.away(connection, mark, words)
        _say(words, result)

    def _sent(self, mark: str, native: str | None) -> None:
        with self._store.writing() as connection:
            submissions.sent(connection, mark, native)

    def _give_up(self, submission: Submission, result: Pass) -> None:
        """It was given often enough, and its executor knows nothing of it. What would begin later is claimed here."""
        taken = [element for element in range(1, submission.count + 1) if not claim(submission, element)]
        words = f"{submission.words}; it was given {submission.tries} times, and nothing of it has begun"
        self._over(submission.mark, words, result, taken)

    def _over(self, mark: str, words: str, result: Pass, taken: Collection[int] = ()) -> None:
        with self._store.writing() as connection:
            ids = submissions.over(connection, mark, words, taken)
        result.refused += [(id, words) for id in ids]

    def _take_back(self, submission: Submission) -> None:
        with self._store.writing() as connection:
            submissions.take_back(connection, submission)
        shutil.rmtree(submission.directory, ignore_errors=True)

    def _largest(self) -> int:
        if self._most is None:
            self._most = most_elements(self._executor)
        return self._most


def _begun(submission: Submission) -> tuple[bool, str | None]:
    """(have all of its elements begun, what its executor calls it if one of them says so)."""
    begun = [begun_in(submission.directory, element) for element in range(1, submission.count + 1)]
    return all(begun), next(filter(None, map(native_in, begun)), None)


def _say(words: str, result: Pass) -> None:
    if words not in result.words:
        result.words.append(words)
