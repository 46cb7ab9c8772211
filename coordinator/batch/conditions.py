"""Conditions on jobs as values, and as SQL whose values are bound.

:mod:`.filters` makes them of what people write, :mod:`.selection` asks the store with :func:`clause`. No character of a
filter gets into SQL: columns are those that the caller names. They mean what SQLite would make of the same text; what a
database other than SQLite does otherwise: LIKE may take accented capitals for their small letters; equality and order
of text are those of the column's collation; GLOB is SQLite's own, and refused there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import BigInteger, Boolean, ColumnElement, Float, String, and_, cast, literal, not_, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from coordinator.errors import BadFilter

TEXT, INTEGER, REAL = "text", "a whole number", "a number"
#: {column: what it holds}
COLUMNS = {"BatchID": INTEGER, "JobIndex": INTEGER, "name": TEXT, "batch_type": TEXT, "state": TEXT, "priority": REAL}


COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("=", "=="), operator.eq),
    **dict.fromkeys(("!=", "<>"), operator.ne),
    **{"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge},
}

Value = str | int | float


@dataclass(frozen=True)
class Compare:
    """``sign``: one of = == != <> < > <= >=; ``value``: of the kind that the column holds."""

    column: str
    sign: str
    value: Value


@dataclass(frozen=True)
class Like:
    column: str
    pattern: str


@dataclass(frozen=True)
class Glob:
    column: str
    pattern: str


@dataclass(frozen=True)
class OneOf:
    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Between:
    column: str
    least: Value
    most: Value


@dataclass(frozen=True)
class IsNull:
    column: str


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class AllOf:
    """Of none, everything."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    conditions: tuple[Condition, ...]


Condition = Compare | Like | Glob | OneOf | Between | IsNull | Not | AllOf | AnyOf


def clause(condition: Condition, columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
    """For a WHERE, all values bound. ``columns``: {name in :data:`COLUMNS`: the store's column}.

    GLOB raises BadFilter when it is made into SQL for another database than SQLite.
    """
    match condition:
        case AllOf(conditions):
            return and_(true(), *(clause(each, columns) for each in conditions))
        case AnyOf(conditions):
            return or_(*(clause(each, columns) for each in conditions))
        case Not(inner):
            return not_(clause(inner, columns))
        case Compare(name, sign, value):
            compared: ColumnElement[bool] = COMPARISONS[sign](columns[name], _bound(value))
            return compared
        case OneOf(name, values):
            return columns[name].in_([_bound(value) for value in values])
        case Between(name, least, most):
            return columns[name].between(_bound(least), _bound(most))
        case IsNull(name):
            return columns[name].is_(None)
        case Like(name, pattern):
            # An escape of our own: a backslash is a character for SQLite, and an escape for others.
            escaped = pattern.replace("~", "~~")
            return _text(name, columns).ilike(literal(escaped, String()), escape="~")
        case Glob(name, pattern):
            return _SqliteGlob(_text(name, columns), literal(pattern, String()))


class _SqliteGlob(FunctionElement[bool]):
    """``text GLOB pattern``."""

    name = "glob"
    type = Boolean()
    inherit_cache = True


@compiles(_SqliteGlob)
def _refuse_glob(element: _SqliteGlob, compiler: Any, **told: Any) -> NoReturn:
    raise BadFilter(f"GLOB is SQLite's own, and the jobs are kept by {compiler.dialect.name}: write LIKE")


@compiles(_SqliteGlob, "sqlite")
def _glob(element: _SqliteGlob, compiler: Any, **told: Any) -> str:
    text, pattern = (compiler.process(each, **told) for each in element.clauses)
    return f"({text} GLOB {pattern})"


def _text(name: str, columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    return columns[name] if COLUMNS[name] is TEXT else cast(columns[name], String())


def _bound(value: Value) -> ColumnElement[Any]:
    if isinstance(value, str):
        return literal(value, String())
    return literal(value, BigInteger() if isinstance(value, int) else Float())
