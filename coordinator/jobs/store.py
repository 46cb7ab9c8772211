"""The store of jobs: a database that is opened for one reading or one change at a time.

By default a file of SQLite, which any shell on the same file system may open; a URL of SQLAlchemy is another database.
Every room of jobs gets its connection here, and every error of the database leaves as one of ours. No connection is
kept, so a process may fork, sleep or be killed between two changes; nobody calls a scheduler within one.

The journal of SQLite is a file beside the database, never a shared memory (WAL): what looks like a local file system
here may be exported to the nodes by this machine, and processes of two machines cannot share memory.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, Update, create_engine, event, exc, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from coordinator import paths
from coordinator.errors import BadOption, StoreBusy, StoreDamaged, StoreUnwritable
from coordinator.jobs import schema

#: seconds that a change waits for those of others
LIMIT_S = 60.0
#: of a connection: may it change anything?
WRITES = "coordinator_writes"
#: of a connection that may not: what is to be changed when it is done, as functions of one that may
AFTERWARDS = "coordinator_afterwards"

log = logging.getLogger("coordinator.jobs")


class Store:
    """``where``: a path, or a URL such as ``postgresql+psycopg://host/jobs``; made with the first opening.

    Raises BadOption for a URL that cannot be read, or of a database whose driver is not installed.
    """

    def __init__(self, where: str | os.PathLike[str], limit_s: float = LIMIT_S) -> None:
        told = os.fspath(where)
        self.path = None if "://" in told else Path(os.path.abspath(told))
        # A server's readers see what is committed by now, not what was when they began to look.
        options: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
        if self.path is None:
            url = _url(told)
            #: as people are told it: without a password
            self.where = url.render_as_string(hide_password=True)
        else:
            url = URL.create("sqlite", database=str(self.path))
            options = {"connect_args": {"timeout": limit_s}}
            self.where = told
        self._limit_s = limit_s
        try:
            self._engine = create_engine(url, poolclass=NullPool, **options)
        except exc.NoSuchModuleError as error:
            raise BadOption(
                f"the store cannot be {self.where}: there is no database {url.drivername!r} here. A path is a file of "
                f"SQLite; others are as in postgresql+psycopg://host/jobs, each with its driver installed"
            ) from error
        except exc.ArgumentError as error:
            raise BadOption(f"the store cannot be {self.where}: {str(error).splitlines()[0]}") from error
        except ImportError as error:
            raise BadOption(
                f"the store cannot be {self.where}: the driver of its database is not installed ({error}): "
                f"pip install {error.name or 'the driver'}, or name another one as in postgresql+psycopg://"
            ) from error
        if self.path is not None:
            event.listen(self._engine, "connect", _explicit)
            event.listen(self._engine, "begin", _begin)
        self._made = False
        self._id = ""

    @property
    def id(self) -> str:
        """Its own, made with it. Raises what :meth:`reading` does."""
        if not self._id:
            with self.reading() as connection:
                self._id = connection.scalar(select(schema.about.c.value).where(schema.about.c.name == "id")) or ""
        return self._id

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of everything. Raises StoreBusy, StoreUnwritable, StoreDamaged."""
        afterwards: list[Callable[[Connection], None]] = []
        try:
            with self._connected(writes=False) as connection:
                connection.info[AFTERWARDS] = afterwards
                yield connection
        finally:
            if afterwards:
                self._change(afterwards)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One change: all of it is kept when the block is left, or nothing. Nobody else changes anything meanwhile.

        Raises StoreBusy, StoreUnwritable, StoreDamaged.
        """
        with self._connected(writes=True) as connection:
            yield connection

    @contextmanager
    def _connected(self, writes: bool) -> Iterator[Connection]:
        try:
            if not self._made:
                self._make()
            with self._engine.connect().execution_options(**{WRITES: writes}) as connection, connection.begin():
                if writes and self.path is None:  # one change at a time, as SQLite has it
                    one = schema.about.c.name == "version"
                    connection.execute(select(schema.about.c.value).where(one).with_for_update())
                yield connection
        except exc.DBAPIError as error:
            raise self._mapped(error) from error

    def _change(self, afterwards: Sequence[Callable[[Connection], None]]) -> None:
        """Who only wanted to read goes on, whether this can be done now or at a later look."""
        try:
            with self.writing() as connection:
                for change in afterwards:
                    change(connection)
        except (StoreBusy, StoreUnwritable) as error:
            log.warning("nothing is set aside now: %s", error.message)

    def _make(self) -> None:
        """The tables, if they are not there; the file is the user's alone."""
        if self.path is not None:
            try:
                os.makedirs(self.path.parent, exist_ok=True)
                os.close(paths.open_private(self.path, os.O_RDWR | os.O_CREAT))
            except OSError as error:
                raise StoreUnwritable(f"{self.path} cannot be opened: {error.strerror}") from error
        with self._engine.connect() as connection, connection.begin():
            there = self._engine.dialect.has_table(connection, schema.about.name)
        if not there:
            with self._engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
                schema.metadata.create_all(connection)
                if connection.scalar(select(schema.about.c.value)) is None:
                    told = {"version": str(schema.VERSION), "id": os.urandom(8).hex()}
                    connection.execute(schema.about.insert(), [{"name": n, "value": v} for n, v in told.items()])
        with self._engine.connect() as connection, connection.begin():
            version = connection.scalar(select(schema.about.c.value).where(schema.about.c.name == "version"))
        if version != str(schema.VERSION):
            raise StoreDamaged(
                f"{self.where} was made by another version of this program ({version}; this one reads {schema.VERSION})"
            )
        self._made = True

    def _mapped(self, error: exc.DBAPIError) -> StoreBusy | StoreUnwritable | StoreDamaged:
        said = str(error.orig)
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusy(
                f"{self.where} has been written by others for {self._limit_s:.0f} s without a pause: try again, and "
                f"see whether a process that holds it hangs"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreDamaged(
                f"{self.where} is damaged ({said}): put it aside, save what can be read with "
                f"`sqlite3 {self.where} .recover | sqlite3 NEW`, and name NEW as the store"
            )
        return StoreUnwritable(f"{self.where}: {said}")


def executed_many(connection: Connection, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same statement for many rows. Compiled once: SQLAlchemy's own way costs more for a row than SQLite does."""
    compiled = statement.compile(dialect=connection.dialect)
    fixed, order = compiled.params, compiled.positiontup
    full = ({**fixed, **row} for row in rows)
    parameters = [tuple(row[name] for name in order) for row in full] if order is not None else list(full)
    connection.exec_driver_sql(str(compiled), parameters)


def _url(told: str) -> URL:
    try:
        return make_url(told)
    except (exc.ArgumentError, ValueError):
        raise BadOption(
            "the store's URL cannot be read: it is as in postgresql+psycopg://user:password@host:5432/jobs, with the "
            "signs @ : / of a password as %40 %3A %2F; a path is a file of SQLite"
        ) from None  # what was said may have the password


def _explicit(connection: Any, record: Any) -> None:
    """Transactions begin where we say, not where the driver guesses; text that is damaged is text all the same."""
    connection.isolation_level = None
    connection.text_factory = _text
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == "wal":
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=FULL")


def _text(found: bytes) -> str:
    return found.decode("utf-8", "surrogateescape")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
