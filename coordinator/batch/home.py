"""Where the batches of this directory are kept: the store, the inbox of reports and the submissions beside it.

Every call of a batch begins here. Outside a job the places are those of :mod:`coordinator.batch.config`; within one
they are those that its submission wrote into its environment: a job finds its own store in whatever directory it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sqlalchemy import select

from coordinator.batch.config import config
from coordinator.errors import StateError
from coordinator.executors.named import LOCAL
from coordinator.jobs import schema
from coordinator.jobs.inbox import Inbox
from coordinator.jobs.reports import Place
from coordinator.jobs.store import LIMIT_S, Store

#: of a job's environment: where its store is and which, where its files are, who runs it, and which attempt it is
STORE, ID, PLACE, EXECUTOR, JOB = (
    "COORDINATOR_QFILE", "COORDINATOR_STORE", "COORDINATOR_JOBDIR", "COORDINATOR_EXECUTOR", "COORDINATOR_JOB",
)  # fmt: skip


@dataclass(frozen=True)
class Home:
    """``place``: JobDir; ``where``: the store's path or URL; ``tries``: how patiently it is waited for."""

    where: str = field(repr=False)
    place: Path
    tries: int = 20

    @cached_property
    def store(self) -> Store:
        return Store(self.where, LIMIT_S * self.tries / 20)

    @property
    def id(self) -> str:
        """Of the store; a job knows it although the store cannot be opened now."""
        return os.environ.get(ID) or self.store.id

    @property
    def inbox(self) -> Inbox:
        return Inbox(self.place / "inbox")

    @property
    def submissions(self) -> Path:
        return self.place / "submissions"


def home() -> Home:
    """Of the job that calls, or of this directory."""
    if os.environ.get(STORE) and os.environ.get(JOB):
        return _home(os.environ[STORE], os.environ.get(PLACE, "."), config.WriteTries)
    where = config.QFile if "://" in config.QFile else str(config.path("QFile"))
    return _home(where, str(config.path("JobDir")), config.WriteTries)


def tell_absent(at: Home, batches: Iterable[int]) -> None:
    """Print which of these batches are not there."""
    wanted, table = list(batches), schema.batch
    with at.store.reading() as connection:
        there = set(connection.scalars(select(table.c.batch_id).where(schema.among(table.c.batch_id, wanted))))
    for batch in wanted:
        if batch not in there:
            print(f"there is no batch {batch}: get_queue shows those that are there")


def this_job() -> Place | None:
    """(BatchID, JobIndex, attempt, copy) of the job that calls; None outside one."""
    told = os.environ.get(JOB)
    if not told:
        return None
    parts = told.split(".")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise StateError(f"{JOB} is {told!r}: this was not started by coordinator as it should have been")
    batch, index, number, copy = map(int, parts)
    return batch, index, number, copy


def submits_nothing() -> bool:
    """Is this a job of this machine? The process that submitted it submits the others, too. Jobs of a scheduler submit,
    and so do those of ``ssh:HOST``, whose submitter is elsewhere and may be gone."""
    return this_job() is not None and os.environ.get(EXECUTOR) == LOCAL


def variables(home: Home, executor: str, place: Place) -> Mapping[str, str]:
    """What a job's environment has, so that its calls find it."""
    return {
        STORE: home.where, ID: home.store.id, PLACE: str(home.place), EXECUTOR: executor,
        JOB: ".".join(map(str, place)),
    }  # fmt: skip


_homes: dict[tuple[str, str, int], Home] = {}


def _home(where: str, place: str, tries: int) -> Home:
    key = (where, os.path.abspath(place), tries)
    if key not in _homes:
        _homes[key] = Home(where, Path(key[1]), tries)
    return _homes[key]
