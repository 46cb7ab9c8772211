"""The store against what is there: reports of jobs, their exit files, and what their schedulers say.

Whoever looks at jobs or submits some calls this first. It takes up what jobs reported, reads the exit files of those
that are under way, asks each scheduler about the rest (at most once in its own interval, for all jobs together), and
writes down what follows. It may be killed at any line; the next look sees the same. Nothing is submitted here.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from coordinator.core.statuses import State, Status
from coordinator.errors import BadInput
from coordinator.executors.jobexecutor import JobExecutor
from coordinator.executors.jobscript import NOBODY, Exit, begun_of, exit_of, native_in
from coordinator.jobs import schema, verdicts
from coordinator.jobs.inbox import Inbox
from coordinator.jobs.records import Attempt, Submission, attempts_where, submissions_where
from coordinator.jobs.reports import take_up
from coordinator.jobs.states import MOVES, NEVER, Evidence, Outcome, Stage, end_of
from coordinator.jobs.store import Store
from coordinator.jobs.verdicts import Verdict

log = logging.getLogger("coordinator.jobs")

#: an executor by the name that the store has; None where it cannot be asked from here
Executors = Callable[[str], JobExecutor | None]


@dataclass
class Look:
    """``words``: what schedulers could not be asked, and why; ``damaged``: files that could not be read."""

    words: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def reconcile(store: Store, inbox: Inbox, executors: Executors, clock: Callable[[], float] = time.time) -> Look:
    """Raises StoreBusy, StoreUnwritable, StoreDamaged."""
    look = Look()
    take_up(store, inbox)
    with store.reading() as connection:
        submissions, attempts = _under_way(connection)
    if not attempts:
        return look
    found = [found for mark, some in attempts.items() for found in _found(submissions[mark], some, look)]
    statuses = _ask(store, submissions, found, executors, look, clock())
    now = clock()
    changed = []
    for one in found:
        fresh = _judged(one, statuses.get(one.attempt.place), now)
        if fresh is not None:
            changed.append(fresh)
    if changed:
        with store.writing() as connection:
            verdicts.write(connection, changed, now)
            _close(connection)
    return look


# --- what is seen -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """``begun``: somebody has; ``cancelled``: in nobody's name, so that it never will; ``native``: the scheduler's job
    that works on it, None while that is not known."""

    attempt: Attempt
    submission: Submission
    exit: Exit | None
    begun: bool
    cancelled: bool
    native: str | None


def _under_way(connection: Connection) -> tuple[dict[str, Submission], dict[str, list[Attempt]]]:
    """Attempts that are not over, and the lost ones that may still be heard of."""
    table = schema.attempt
    open_ = submissions_where(connection, schema.submission.c.stage != "over")
    marks = {submission.mark: submission for submission in open_}
    lost = select(table.c.mark).where(table.c.outcome == Outcome.LOST.value)
    for submission in submissions_where(connection, schema.submission.c.mark.in_(lost)):
        marks[submission.mark] = submission
    wanted = or_(table.c.stage != Stage.OVER.value, table.c.outcome == Outcome.LOST.value)
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts_where(connection, and_(table.c.mark != "", wanted)):
        if attempt.mark in marks:
            attempts[attempt.mark].append(attempt)
    return marks, attempts


def _found(submission: Submission, attempts: Iterable[Attempt], look: Look) -> Iterable[Found]:
    try:
        names = set(os.listdir(submission.directory))
    except OSError as error:
        look.damaged.append(f"{submission.directory} cannot be read: {error.strerror}")
        names = set()
    for attempt in attempts:
        number = attempt.element
        exit = _exit(os.path.join(submission.directory, f"{number}.exit"), look) if f"{number}.exit" in names else None
        there = f"{number}.begun" in names
        known = there and attempt.stage is Stage.BEGUN and attempt.native is not None  # and stays so
        who = begun_in(submission.directory, number) if there and not known else ""
        if attempt.stage is not Stage.OVER or exit is not None:
            native = attempt.native or native_in(who) or submission.native
            yield Found(attempt, submission, exit, known or who != "", who == NOBODY, native)


def _exit(path: str, look: Look) -> Exit | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return exit_of(file.read())
    except BadInput as error:
        look.damaged.append(f"{path}: {error.message}")
    except OSError as error:
        look.damaged.append(f"{path}: {error.strerror}")
    return None


def begun_in(directory: str, element: int) -> str:
    """Who has begun an attempt, see :func:`coordinator.executors.jobscript.begun_of`; "" if nobody has."""
    try:
        with open(os.path.join(directory, f"{element}.begun"), encoding="utf-8", errors="replace") as file:
            return begun_of(file.read())
    except OSError:
        return ""


def _ask(
    store: Store, submissions: Mapping[str, Submission], found: Iterable[Found], executors: Executors, look: Look,
    now: float,
) -> dict[tuple[int, int, int, int], Status]:  # fmt: skip
    """What schedulers say of those whose end is not known by their own exit files."""
    by_executor: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        done = one.exit is not None and (one.exit.code == 0 or one.attempt.cancelled)
        if not done and not one.cancelled and one.native is not None and one.attempt.stage is not Stage.OVER:
            by_executor[one.submission.executor].append(one)
    statuses: dict[tuple[int, int, int, int], Status] = {}
    for name, some in by_executor.items():
        executor = executors(name)
        if executor is None:
            look.words.append(f"jobs were given to {name}, which cannot be asked from here")
            continue
        if not _my_turn(store, name, executor.poll_s, now):
            continue
        told = polled(executor, [(one.native, one.attempt) for one in some if one.native is not None])
        statuses.update(told)
        for status in told.values():
            if status.state is State.UNKNOWN and not status.forgotten and status.words not in look.words:
                look.words.append(status.words)
    return statuses


def polled(executor: JobExecutor, some: Sequence[tuple[str, Attempt]]) -> dict[tuple[int, int, int, int], Status]:
    """What it says of attempts, each with the native id of the job that works on it, by their places: one call."""
    asked: dict[str, tuple[str, set[int]]] = {}
    for native, attempt in some:
        asked.setdefault(native, (attempt.mark, set()))[1].add(attempt.element)
    answers = executor.poll(asked)
    return {attempt.place: answers[native, attempt.element] for native, attempt in some}


def _my_turn(store: Store, name: str, every_s: float, now: float) -> bool:
    """One question in the interval, whoever asks."""
    table = schema.look
    with store.writing() as connection:
        last = connection.scalar(select(table.c.at).where(table.c.executor == name))
        if last is not None and 0 <= now - last < every_s:
            return False
        if last is None:
            connection.execute(insert(table), {"executor": name, "at": now})
        else:
            connection.execute(update(table).where(table.c.executor == name).values(at=now))
    return True


# --- what follows -----------------------------------------------------------------------------------------


def _judged(one: Found, status: Status | None, now: float) -> Verdict | None:
    """None where nothing is new."""
    was = one.attempt
    unsaid = one.exit is not None or (status is not None and (status.state is State.ENDED or status.forgotten))
    since = was.silent_since
    if unsaid and since is None:
        since = now
    elif status is not None and not unsaid:
        since = None
    silent_s = 0.0 if since is None else now - since
    end = NEVER if one.cancelled else end_of(Evidence(one.exit, status, one.begun, silent_s, was.cancelled))
    runs = (one.begun and not one.cancelled) or (status is not None and status.state is State.RUNS)
    stage = Stage.BEGUN if runs and Stage.BEGUN in MOVES[was.stage] else was.stage
    native = one.native if one.begun and not one.cancelled else was.native
    told: dict[str, Any] = {"stage": stage, "silent_since": since, "native": native}
    said = was.host if was.asked else ""  # by the job, which may have a name of its own for its host
    if status is not None:
        told.update(seen=status.state.value, forgotten=status.forgotten, host=said or status.host or was.host)
        if end is None:
            told["words"] = status.words
    if end is None:  # of most there is nothing new, and a copy is dear
        news = {name: value for name, value in told.items() if getattr(was, name) != value}
        return Verdict(was, replace(was, **news), None) if news else None
    told.update(
        stage=Stage.OVER, outcome=end.outcome, code=end.code, signal=end.signal, cause=end.cause.value,
        words=end.words, host=said or end.host or told.get("host", was.host),
        began=end.began if end.began is not None else was.began, ended=end.ended if end.ended is not None else now,
        wall_s=end.used.wall_s, cpu_s=end.used.cpu_s, memory=end.used.memory, forgotten=False,
    )  # fmt: skip
    return Verdict(was, replace(was, **told), end)


def _close(connection: Connection) -> None:
    """Submissions of which nothing is under way any more."""
    table, attempts = schema.submission, schema.attempt
    open_ = select(attempts.c.mark).where(attempts.c.stage != Stage.OVER.value, attempts.c.mark != "")
    connection.execute(update(table).where(table.c.stage == "sent", table.c.mark.not_in(open_)).values(stage="over"))
