"""The tables of the store: what a job is, what was tried, what happened. Whoever reads or writes jobs uses them.

Values are JSON, numbers and words, never anything that could be run. ``version`` counts a job's changes, and ``event``
has each with what was there before: by it a change is refused whose author had not seen an earlier one. The names are
the same on every database that SQLAlchemy speaks to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Tuple,
    and_,
    bindparam,
    false,
    tuple_,
)  # fmt: skip

metadata = MetaData()

#: increased with every change of these tables
VERSION = 2

about = Table(
    "about",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

batch = Table(
    "batch",
    metadata,
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, default=""),
    Column("batch_type", Text, nullable=False, default=""),
    Column("on_failure", String(10), nullable=False, default="stop"),
    Column("directory", Text, nullable=False, default=""),
    Column("at", Double, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("job_index", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String(100), nullable=False, index=True),
    Column("priority", Double, nullable=False),
    #: of the newest attempt; 0: none yet
    Column("attempt", Integer, nullable=False, default=0),
    Column("version", Integer, nullable=False, default=1),
    #: seconds since the epoch before which it is not tried again
    Column("not_before", Double, nullable=False, default=0.0),
    #: JSON: on which other jobs it depends, and how; null: on none
    Column("after", Text),
    #: why it is as it is, for people
    Column("words", Text, nullable=False, default=""),
    #: JSON: every other field of its JobInfo
    Column("fields", Text, nullable=False),
)

submission = Table(
    "submission",
    metadata,
    Column("mark", String(10), primary_key=True),
    Column("executor", Text, nullable=False),
    Column("directory", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("needs", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("native", Text),
    #: written, sent, over
    Column("stage", String(10), nullable=False, index=True),
    Column("words", Text, nullable=False, default=""),
    #: how often its executor was given it without a clear answer
    Column("tries", Integer, nullable=False, default=0),
    #: seconds since the epoch before which it is not given again
    Column("not_before", Double, nullable=False, default=0.0),
    Column("at", Double, nullable=False),
)

attempt = Table(
    "attempt",
    metadata,
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("job_index", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    #: 0: the job itself; others: copies that it made of itself
    Column("spawn", Integer, primary_key=True, autoincrement=False, default=0),
    Column("mark", String(10), nullable=False, index=True, default=""),
    Column("element", Integer, nullable=False, default=0),
    #: the job of its scheduler that began it; others than its submission's may
    Column("native", Text),
    Column("stage", String(10), nullable=False),
    #: a copy's own word: "" or complete
    Column("said", String(20), nullable=False, default=""),
    Column("asked", Boolean, nullable=False, default=False),
    Column("cancelled", Boolean, nullable=False, default=False),
    #: its scheduler's last word: waits, runs, ended, unknown
    Column("seen", String(10), nullable=False, default=""),
    Column("silent_since", Double),
    Column("forgotten", Boolean, nullable=False, default=False),
    Column("outcome", String(10)),
    Column("code", Integer),
    Column("signal", Integer),
    Column("cause", String(20), nullable=False, default=""),
    Column("words", Text, nullable=False, default=""),
    Column("host", Text, nullable=False, default=""),
    Column("at", Double, nullable=False),
    Column("began", Double),
    Column("ended", Double),
    Column("wall_s", Double),
    Column("cpu_s", Double),
    Column("memory", BigInteger),
    Column("stdout", Text, nullable=False, default=""),
    Column("stderr", Text, nullable=False, default=""),
)

event = Table(
    "event",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("job_index", BigInteger),
    #: the job's version that it made
    Column("version", Integer, nullable=False, default=0),
    Column("kind", String(20), nullable=False),
    #: JSON
    Column("told", Text, nullable=False),
    Index("event_of_job", "batch_id", "job_index"),
)

#: reports of jobs that were taken up, so that none is twice: each with its answer
report = Table(
    "report",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("at", Double, nullable=False),
    Column("answer", Text, nullable=False),
)

#: when an executor was last asked about its jobs
look = Table(
    "look",
    metadata,
    Column("executor", String(200), primary_key=True),
    Column("at", Double, nullable=False),
    Column("words", Text, nullable=False, default=""),
)

#: rows that could not be read, as they were
damaged = Table(
    "damaged",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("words", Text, nullable=False),
    Column("content", Text, nullable=False),
)


def pair(table: Table) -> Tuple:
    """(batch, index) of a row, to be compared with others."""
    return tuple_(table.c.batch_id, table.c.job_index)


def this_job() -> ColumnElement[bool]:
    """The one of ``b`` and ``j``, which a statement for many rows is given with each."""
    return and_(job.c.batch_id == bindparam("b"), job.c.job_index == bindparam("j"))


def this_attempt() -> ColumnElement[bool]:
    """The one of ``b``, ``j``, ``n`` and ``s``."""
    table = attempt.c
    return and_(table.batch_id == bindparam("b"), table.job_index == bindparam("j"),
                table.number == bindparam("n"), table.spawn == bindparam("s"))  # fmt: skip


def among(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Is it one of many of our own values (numbers, marks, pairs of numbers)? They stand in the statement itself, since
    most builds of SQLite take at most 32,766 bound ones."""
    several = list(values)
    if not several:
        return false()  # of pairs an empty list is no SQL
    bound: BindParameter[Any] = bindparam("among", several, expanding=True, unique=True, literal_execute=True)
    return column.in_(bound)
