"""The end of attempts that are under way, because somebody wants it.

One that has not begun is claimed here as its own script would claim it: it will never run, whatever its scheduler
does, and is over at once. One that has begun is ended by its executor with all that it started; that it is over is seen
at a later look. The calls that delete, reset or remove jobs come here; nothing here takes a job out of the store.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, and_, update

from coordinator.core.statuses import Cause
from coordinator.errors import SchedulerError
from coordinator.executors.jobscript import NOBODY
from coordinator.jobs import schema
from coordinator.jobs.changes import move
from coordinator.jobs.reconcile import Executors, begun_in
from coordinator.jobs.records import Attempt, Submission, attempts_where, submissions_of
from coordinator.jobs.states import ACTIVE, CANCELLED, SPAWN, Outcome, Stage
from coordinator.jobs.store import Store
from coordinator.jobs.verdicts import settle_copies


def cancel(store: Store, executors: Executors, chosen: ColumnElement[bool]) -> tuple[int, list[str]]:
    """End the attempts of a condition on :data:`.schema.attempt`; (how many, what could not be ended and why)."""
    table = schema.attempt
    with store.writing() as connection:
        attempts = attempts_where(connection, and_(chosen, table.c.stage != Stage.OVER.value))
        found = submissions_of(connection, attempts)
        attempts = [a for a in attempts if a.mark not in found or not _over_already(found[a.mark], a.element)]
        if attempts:
            connection.execute(
                update(table).where(schema.this_attempt()).values(cancelled=True), [a.key for a in attempts]
            )
    unbegun = [a for a in attempts if a.mark not in found or claim(found[a.mark], a.element)]
    _over(store, unbegun)
    by_mark: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.mark in found:
            by_mark[attempt.mark].append(attempt)
    words = []
    for mark, some in by_mark.items():
        reason = _end(found[mark], some, executors)
        if reason and not set(some) <= set(unbegun):
            words.append(reason)
    return len(attempts), words


def _over_already(submission: Submission, element: int) -> bool:
    """It ended by itself, and nobody has looked yet: what it says of its end counts."""
    return os.path.exists(os.path.join(submission.directory, f"{element}.exit"))


def claim(submission: Submission, element: int) -> bool:
    """Begin it in nobody's name. False if it has begun."""
    record = os.path.join(submission.directory, str(element))
    claim = f"{record}.claim.{os.getpid()}"
    try:
        with open(claim, "w", encoding="ascii") as file:
            file.write(f"{NOBODY} - 0\n")
        os.link(claim, f"{record}.begun")
    except FileExistsError:
        return begun_in(submission.directory, element) == NOBODY
    except FileNotFoundError:
        return True  # its submission was torn off before anything of it was written
    finally:
        with suppress(FileNotFoundError):
            os.unlink(claim)
    return True


def _end(submission: Submission, attempts: Sequence[Attempt], executors: Executors) -> str:
    """Why its executor did not end them; "" if it did."""
    executor = executors(submission.executor)
    if executor is None:
        return f"jobs of {submission.executor} cannot be ended from here"
    try:
        native = submission.native
        if native is None:
            native = executor.find(submission.intent)
        if native is None:
            return ""
        whole = len(attempts) == submission.count and all(a.native in (None, native) for a in attempts)
        places = [(native, None, submission.count)] if whole else [
            (a.native or native, a.element, submission.count) for a in attempts
        ]  # fmt: skip
        executor.cancel(places)
    except SchedulerError as error:
        return error.message
    return ""


def _over(store: Store, attempts: Sequence[Attempt]) -> None:
    """They never began."""
    if not attempts:
        return
    over = {"stage": Stage.OVER.value, "outcome": Outcome.CANCELLED.value, "cause": Cause.CANCELLED.value,
            "words": "it was cancelled before it began"}  # fmt: skip
    with store.writing() as connection:
        connection.execute(update(schema.attempt).where(schema.this_attempt()).values(over), [a.key for a in attempts])
        settle_copies(connection, {attempt.id for attempt in attempts})
        for attempt in attempts:
            if attempt.spawn == 0:
                move(connection, attempt.id, attempt.number, ACTIVE - {SPAWN}, CANCELLED, over["words"], "cancelled")
