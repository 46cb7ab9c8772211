"""NAME.rules and NAME.rsrc: small mappings on disk that a kill -9 or a power cut cannot tear.

The ResourceController writes them; people may read them. A shelf is an SQLite file of exactly the name given, in the
layout of Python 3.13's ``dbm.sqlite3`` (``Dict(key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)``), values JSON::

    sqlite3 bigcheese.rules "select cast(key as text), cast(value as text) from Dict"

Every change is one transaction, on disk when the assignment returns. A shelf is opened only if the file belongs to the
user and is a plain file; it holds no pickles. It is not for data that many processes write.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

from coordinator.errors import BadInput, StateError

_BUSY_S = 10.0


class JSONShelf(MutableMapping[str, Any]):
    """A mapping of strings to JSON values in the SQLite file ``path``.

    With ``lazy`` the file is made at the first assignment, and until then its absence means an empty shelf.
    Raises StateError if the file is somebody else's, no shelf, or cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], lazy: bool = False) -> None:
        self.path = os.path.abspath(path)
        self._database: sqlite3.Connection | None = None
        if not lazy or os.path.lexists(self.path):
            self._open()

    def __getitem__(self, key: str) -> Any:
        rows = self._rows("SELECT value FROM Dict WHERE key = CAST(? AS BLOB)", (_text(key),))
        if not rows:
            raise KeyError(key)
        return self._value(rows[0][0])

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadInput(f"{self.path} keeps JSON values only: {error}") from None
        self._write("REPLACE INTO Dict (key, value) VALUES (CAST(? AS BLOB), CAST(? AS BLOB))", (_text(key), text))

    def __delitem__(self, key: str) -> None:
        if self._write("DELETE FROM Dict WHERE key = CAST(? AS BLOB)", (_text(key),)) == 0:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        for (key,) in self._rows("SELECT CAST(key AS TEXT) FROM Dict ORDER BY key"):
            yield key

    def __len__(self) -> int:
        rows = self._rows("SELECT COUNT(*) FROM Dict")
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> JSONShelf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, query: str, values: tuple[str, ...] = ()) -> list[Any]:
        if self._database is None:
            return []
        with self._explained("read"):
            return self._database.execute(query, values).fetchall()

    def _write(self, statement: str, values: tuple[str, ...]) -> int:
        if self._database is None:
            self._open()
        assert self._database is not None
        with self._explained("written"):
            try:
                return self._database.execute(statement, values).rowcount
            finally:
                # A statement that failed, on a full disk say, may leave its transaction open.
                if self._database.in_transaction:
                    with suppress(sqlite3.Error):
                        self._database.rollback()

    def _value(self, stored: bytes) -> Any:
        try:
            return json.loads(stored)
        except (ValueError, RecursionError):
            raise StateError(f"{self.path} holds a value that is not JSON; move the file away or mend it") from None

    def _open(self) -> None:
        try:
            # O_EXCL is not asked for: a file that is there is opened, a link is not.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise StateError(f"{self.path} cannot be opened: {error.strerror}") from None
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise StateError(f"{self.path} is not opened: it must be a plain file that belongs to you")
        with self._explained("read"):
            # Autocommit: each statement is a transaction of its own. The owner of the shelf takes turns by itself.
            database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = DELETE").fetchall()
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
            except sqlite3.Error:
                database.close()
                raise
            self._database = database

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = ""
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                advice = "; a shelf of the old pygr or another program's file? Move it away and set the rules again"
            raise StateError(f"{self.path} cannot be {what}: {error}{advice}") from None


def _text(key: str) -> str:
    if not isinstance(key, str):
        raise BadInput(f"a shelf's keys are strings, not {key!r}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise BadInput(f"a shelf's keys are text, not {key!r}") from None
    return key
