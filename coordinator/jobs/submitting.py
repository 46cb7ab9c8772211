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
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from coordinator import paths
from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, Intent, mark_of
from coordinator.errors import BadInput, CoordinatorError, SchedulerError, StoreUnwritable, SubmitRefused
from coordinator.executors import jobscript
from coordinator.executors.jobexecutor import JobExecutor, script_of
from coordinator.executors.jobscript import Element
from coordinator.jobs import schema
from coordinator.jobs.changes import move, note
from coordinator.jobs.records import Job, JobId, Submission, submissions_where
from coordinator.jobs.states import FAILED, INIT, SUBMIT, Outcome, Stage
from coordinator.jobs.store import Store

#: most elements of one submission where the executor does not say
USUAL_ARRAY = 1000


@dataclass(frozen=True)
class Trial:
    """An attempt that is to be made. ``spawn``: 0, or the number of a copy that is in the store already."""

    job: Job
    number: int
    spawn: int = 0


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
            intent = _intent(submission)
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
        groups: dict[str, list[tuple[Trial, Element]]] = defaultdict(list)
        needs_of: dict[str, Needs] = {}
        for trial in trials:
            try:
                element, needs = self._make(trial)
                jobscript.line(element)
            except (BadInput, OSError) as error:
                words = error.message if isinstance(error, CoordinatorError) else str(error)
                self._refuse_job(trial, words, result)
                continue
            key = json.dumps(needs.told(), sort_keys=True)
            needs_of[key] = needs
            groups[key].append((trial, element))
        for key, group in groups.items():
            most = self._largest()
            for at in range(0, len(group), most):
                self._submit_some(group[at : at + most], needs_of[key], result)

    def command(self, trials: Sequence[Trial]) -> list[tuple[list[str], str, list[str]]]:
        """What :meth:`submit` would do, as (command, script, lines of the table) for each submission: a dry run."""
        found = []
        groups: dict[str, list[Element]] = defaultdict(list)
        needs_of: dict[str, Needs] = {}
        for trial in trials:
            element, needs = self._make(trial)
            key = json.dumps(needs.told(), sort_keys=True)
            needs_of[key] = needs
            groups[key].append(element)
        directory = self._place / f"dry-run.{os.getpid()}"
        made = [place for place in (self._place, *self._place.parents) if not place.exists()]
        directory.mkdir(0o700, parents=True, exist_ok=True)
        try:
            for key, elements in groups.items():
                intent = Intent(mark_of(0), "dry run", str(directory), needs_of[key], len(elements))
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
            kept = _still(connection, group)
            if not kept:
                return
            intent = Intent(mark, name, str(directory), needs, len(kept))
            _write_down(connection, intent, self._name, kept)
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
            connection.execute(_this(mark).values(words=error.message))
        if error.message not in result.words:
            result.words.append(error.message)

    def _sent(self, mark: str, native: str) -> None:
        table = schema.attempt
        waits = and_(table.c.mark == mark, table.c.stage == Stage.WRITTEN.value)
        with self._store.writing() as connection:
            connection.execute(_this(mark).values(native=native, stage="sent", words=""))
            connection.execute(update(table).where(waits).values(stage=Stage.SENT.value))

    def _over(self, mark: str, words: str, result: Pass) -> None:
        """The executor does not take it as it is: its jobs failed, with the reason."""
        table = schema.attempt
        with self._store.writing() as connection:
            rows = connection.execute(select(table.c.batch_id, table.c.job_index, table.c.number, table.c.spawn).where(
                table.c.mark == mark)).all()  # fmt: skip
            connection.execute(_this(mark).values(stage="over", words=words))
            over = {"stage": Stage.OVER.value, "outcome": Outcome.FAILED.value, "cause": Cause.LAUNCH.value}
            connection.execute(update(table).where(table.c.mark == mark).values(**over, words=words))
            for batch, index, number, _ in rows:
                move(connection, (batch, index), number, (SUBMIT,), FAILED, words, "refused")
        result.refused += [((batch, index), words) for batch, index, _, _ in rows]

    def _take_back(self, submission: Submission) -> None:
        """Nobody was asked: its jobs are as they were."""
        jobs, table = schema.job, schema.attempt
        with self._store.writing() as connection:
            for row in connection.execute(select(table).where(table.c.mark == submission.mark)).all():
                id = row.batch_id, row.job_index
                if row.spawn == 0 and move(connection, id, row.number, (SUBMIT,), INIT, "", "taken back"):
                    mine = and_(jobs.c.batch_id == row.batch_id, jobs.c.job_index == row.job_index)
                    connection.execute(update(jobs).where(mine).values(attempt=row.number - 1))
            connection.execute(table.delete().where(table.c.mark == submission.mark, table.c.spawn == 0))
            connection.execute(update(table).where(table.c.mark == submission.mark).values(mark="", element=0))
            connection.execute(schema.submission.delete().where(schema.submission.c.mark == submission.mark))
        shutil.rmtree(submission.directory, ignore_errors=True)

    def _refuse_job(self, trial: Trial, words: str, result: Pass) -> None:
        """It cannot be made into anything that runs."""
        jobs, job = schema.job, trial.job
        mine = and_(jobs.c.batch_id == job.batch, jobs.c.job_index == job.index, jobs.c.version == job.version)
        failed = {"state": FAILED, "words": words, "version": job.version + 1}
        with self._store.writing() as connection:
            if trial.spawn:
                _copy_refused(connection, trial, words)
            elif connection.execute(update(jobs).where(mine).values(failed)).rowcount:
                note(connection, job.batch, job.index, "refused", {"state": [job.state, FAILED]}, job.version + 1)
        result.refused.append((job.id, words))

    def _largest(self) -> int:
        if self._most is None:
            try:
                self._most = max(1, self._executor.largest_array())
            except SchedulerError:
                self._most = USUAL_ARRAY
        return self._most


def _copy_refused(connection: Connection, trial: Trial, words: str) -> None:
    """Its attempt is there already, and is over before it began; the job goes on with its other copies."""
    table, job = schema.attempt, trial.job
    mine = and_(table.c.batch_id == job.batch, table.c.job_index == job.index, table.c.number == trial.number)
    over = {"stage": Stage.OVER.value, "outcome": Outcome.FAILED.value, "cause": Cause.LAUNCH.value, "words": words}
    connection.execute(update(table).where(mine, table.c.spawn == trial.spawn).values(over))


def _still(connection: Connection, group: Sequence[tuple[Trial, Element]]) -> list[tuple[Trial, Element]]:
    """Those that nobody has changed since they were chosen."""
    jobs, table = schema.job, schema.attempt
    theirs = schema.among(schema.pair(jobs), {trial.job.id for trial, _ in group})
    chosen = select(jobs.c.batch_id, jobs.c.job_index, jobs.c.version).where(theirs)
    versions = {(row.batch_id, row.job_index): row.version for row in connection.execute(chosen)}
    waiting = select(table.c.batch_id, table.c.job_index, table.c.number, table.c.spawn).where(
        table.c.mark == "", table.c.stage == Stage.WRITTEN.value)  # fmt: skip
    copies = {tuple(row) for row in connection.execute(waiting)} if any(t.spawn for t, _ in group) else set()
    kept = []
    for trial, element in group:
        job = trial.job
        if trial.spawn:
            there = (job.batch, job.index, trial.number, trial.spawn) in copies
        else:
            there = versions.get(job.id) == job.version
        if there:
            kept.append((trial, element))
    return kept


def _write_down(connection: Connection, intent: Intent, executor: str, kept: Sequence[tuple[Trial, Element]]) -> None:
    now = time.time()
    connection.execute(insert(schema.submission), {
        "mark": intent.mark, "executor": executor, "directory": intent.directory, "name": intent.name,
        "needs": json.dumps(intent.needs.told()), "count": intent.count, "native": None, "stage": "written", "at": now,
    })  # fmt: skip
    fresh, copies, moved, told = [], [], [], []
    for at, (trial, element) in enumerate(kept, 1):
        job = trial.job
        row = {"mark": intent.mark, "element": at, "at": now, "stdout": element.out, "stderr": element.err}
        if trial.spawn:
            copies.append({**row, "b": job.batch, "j": job.index, "n": trial.number, "s": trial.spawn})
            continue
        fresh.append({**row, "batch_id": job.batch, "job_index": job.index, "number": trial.number, "spawn": 0,
                      "stage": Stage.WRITTEN.value})  # fmt: skip
        moved.append({"b": job.batch, "j": job.index, "n": trial.number, "v": job.version + 1})
        told.append({"at": now, "batch_id": job.batch, "job_index": job.index, "version": job.version + 1,
                     "kind": "submitted", "told": json.dumps({"state": [INIT, SUBMIT]})})  # fmt: skip
    if fresh:
        connection.execute(insert(schema.attempt), fresh)
        jobs = schema.job
        mine = and_(jobs.c.batch_id == bindparam("b"), jobs.c.job_index == bindparam("j"))
        values = {"state": SUBMIT, "attempt": bindparam("n"), "version": bindparam("v"), "words": ""}
        connection.execute(update(jobs).where(mine).values(values), moved)
        connection.execute(insert(schema.event), told)
    if copies:
        table = schema.attempt
        mine = and_(table.c.batch_id == bindparam("b"), table.c.job_index == bindparam("j"),
                    table.c.number == bindparam("n"), table.c.spawn == bindparam("s"))  # fmt: skip
        values = {name: bindparam(f"to_{name}") for name in ("mark", "element", "at", "stdout", "stderr")}
        rows = [{(name if len(name) == 1 else f"to_{name}"): value for name, value in row.items()} for row in copies]
        connection.execute(update(table).where(mine).values(values), rows)


def _intent(submission: Submission) -> Intent:
    return Intent(submission.mark, submission.name, submission.directory, submission.needs, submission.count)


def _this(mark: str):  # type: ignore[no-untyped-def]
    return update(schema.submission).where(schema.submission.c.mark == mark)
