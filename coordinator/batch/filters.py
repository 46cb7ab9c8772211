"""The conditions by which people choose jobs: ``name LIKE "%2009%" AND BatchID > 20210101000000``.

The calls that list and submit jobs read a filter with :func:`parse`; what comes of it is a value of :mod:`.conditions`.
Nothing is asked of a store here. A filter means what SQLite would make of the same text::

    condition   column (= == != <> < > <= >=) value      column [NOT] LIKE 'text'     column [NOT] GLOB 'text'
                column [NOT] IN (value, ...)             column [NOT] BETWEEN value AND value
                column IS [NOT] NULL                     NOT condition       (condition)
                condition AND condition                  condition OR condition

Columns and keywords are the same in capitals and small letters. Text stands in 'one' or "two" quotes, which double
inside it; in either it is always text, never a column. Numbers are whole or decimal. A number in quotes is a number
where the column is one, a whole number is text where the column is text; every other mixture is refused, since no two
databases agree on it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn

from coordinator.batch.conditions import (
    COLUMNS,
    COMPARISONS,
    REAL,
    TEXT,
    AllOf,
    AnyOf,
    Between,
    Compare,
    Condition,
    Glob,
    IsNull,
    Like,
    Not,
    OneOf,
    Value,
)  # fmt: skip
from coordinator.errors import BadFilter

MOST_CHARACTERS, DEEPEST = 10_000, 50
#: SQLite takes no expression that is deeper than 1,000, and a row of ANDs is as deep as it is long
MOST_CONDITIONS = 500
MOST_INTEGER = 2**63 - 1
#: so many digits of a decimal number are the same on every machine
MOST_DIGITS = 15

_COLUMNS = {name.lower(): name for name in COLUMNS}
_KEYWORDS = frozenset(("and", "or", "not", "like", "glob", "in", "between", "is", "null"))
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\f]++)
    |(?P<text>'(?:[^']|'')*+'|"(?:[^"]|"")*+")
    |(?P<number>-?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++))(?![\w.$])
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*+)(?![\w$])
    |(?P<sign><=|>=|<>|==|!=|[=<>(),])""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_UNBINDABLE = re.compile("[\x00\ud800-\udfff]")
#: characters of the filter that a message shows on either side of the place
_AROUND = 50


def parse(text: str) -> Condition:
    """An empty filter is no condition: :class:`AllOf` of none. Raises BadFilter, which shows the place."""
    if len(text) > MOST_CHARACTERS:
        raise BadFilter(f"the filter has {len(text):,} characters; it may have {MOST_CHARACTERS:,}")
    reader = _Reader(text)
    return reader.filter() if text.strip(" \t\r\n\f") else AllOf(())


@dataclass(frozen=True)
class _Token:
    """``kind``: "text", "number", "column", "word" (a keyword or a foreign one), "sign", "end". ``said``: as a keyword,
    a column or a sign it is this; as text or a number, what it means."""

    kind: str
    said: str
    at: int


class _Reader:
    """Reads one filter from left to right, a token ahead: NOT binds closer than AND, AND closer than OR."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self._depth = 0
        self._conditions = 0
        self._next = _Token("end", "", 0)

    def filter(self) -> Condition:
        self._take()
        condition = self._any()
        if self._next.kind != "end":
            self._refuse("AND, OR or the end was expected")
        return condition

    def _any(self) -> Condition:
        found = [self._all()]
        while self._takes("or"):
            found.append(self._all())
        return found[0] if len(found) == 1 else AnyOf(tuple(found))

    def _all(self) -> Condition:
        found = [self._one()]
        while self._takes("and"):
            found.append(self._one())
        return found[0] if len(found) == 1 else AllOf(tuple(found))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(f"the filter is deeper than {DEEPEST} here")
        if self._takes("not"):
            found: Condition = Not(self._one())
        elif self._takes("("):
            found = self._any()
            self._needs(")", "AND, OR or )")
        else:
            found = self._condition()
        self._depth -= 1
        return found

    def _condition(self) -> Condition:
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            self._refuse(f"the filter has more than {MOST_CONDITIONS} conditions here")
        if self._next.kind != "column":
            self._refuse(f"a column ({', '.join(COLUMNS)}), NOT or ( was expected")
        column = self._take().said
        if self._next.said in COMPARISONS and self._next.kind == "sign":
            return Compare(column, self._take().said, self._value(column))
        if self._takes("is"):
            negated = self._takes("not")
            self._needs("null", "NULL" if negated else "NULL or NOT NULL")
            return _negated(IsNull(column), negated)
        negated = self._takes("not")
        return _negated(self._about(column, negated), negated)

    def _about(self, column: str, negated: bool) -> Condition:
        if self._takes("like"):
            return Like(column, self._pattern(column, "LIKE"))
        if self._takes("glob"):
            return Glob(column, self._pattern(column, "GLOB"))
        if self._takes("between"):
            least = self._value(column)
            self._needs("and", "AND")
            return Between(column, least, self._value(column))
        if self._takes("in"):
            self._needs("(", "(")
            values = [self._value(column)]
            while self._takes(","):
                values.append(self._value(column))
            self._needs(")", "a comma or )")
            return OneOf(column, tuple(values))
        words = "LIKE, GLOB, IN or BETWEEN"
        self._refuse(f"{words} was expected" if negated else f"= != < > <= >= {words.replace(' or', ',')}, IS or NOT "
                     "was expected")  # fmt: skip

    def _pattern(self, column: str, operator: str) -> str:
        if COLUMNS[column] is REAL:
            self._refuse(f"{operator} compares text, and {column} is a decimal number: compare it by < and >")
        if self._next.kind != "text":
            self._refuse(f"text in quotes was expected after {operator}")
        return self._take().said

    def _value(self, column: str) -> Value:
        token, holds = self._next, COLUMNS[column]
        if token.kind not in ("text", "number"):
            null = token.said == "null" and token.kind == "word"
            also = f": nothing equals NULL, write {column} IS NULL" if null else ""
            self._refuse(f"a number or text in quotes was expected{also}")
        if holds is TEXT:
            if token.kind == "text":
                return self._take().said
            if "." in token.said:
                self._refuse(f"{column} is text: write this number in quotes")
            return str(self._whole(self._take()))
        if token.kind == "text" and not _NUMBER.fullmatch(token.said):
            self._refuse(f"{column} is {holds}, and this is none")
        if "." in token.said or holds is REAL:
            if len(token.said.lstrip("-0.").replace(".", "")) > MOST_DIGITS:
                self._refuse(f"a decimal number has at most {MOST_DIGITS} digits")
            return float(self._take().said)
        return self._whole(self._take())

    def _whole(self, token: _Token) -> int:
        if len(token.said.lstrip("-0")) > len(str(MOST_INTEGER)) or abs(int(token.said)) > MOST_INTEGER:
            self._refuse(f"a whole number is at most {MOST_INTEGER:,}", token)
        return int(token.said)

    def _takes(self, said: str) -> bool:
        if self._next.said != said or self._next.kind not in ("word", "sign"):
            return False
        self._take()
        return True

    def _needs(self, said: str, expected: str) -> None:
        if not self._takes(said):
            self._refuse(f"{expected} was expected")

    def _take(self) -> _Token:
        taken = self._next
        self._next = self._read()
        return taken

    def _read(self) -> _Token:
        while found := _TOKEN.match(self._text, self._end):
            at, self._end = self._end, found.end()
            kind, said = str(found.lastgroup), found[0]
            if kind == "blank":
                continue
            if bad := _UNBINDABLE.search(said):
                self._end = at
                self._refuse_at(at + bad.start(), "no database keeps this character")
            if kind == "text":
                return _Token(kind, said[1:-1].replace(said[0] * 2, said[0]), at)
            if kind == "word":
                word = said.lower()
                return _Token("column", _COLUMNS[word], at) if word in _COLUMNS else _Token(kind, word, at)
            return _Token(kind, said, at)
        if self._end == len(self._text):
            return _Token("end", "", self._end)
        rest = self._text[self._end : self._end + 2]
        if rest[0] in "'\"":
            self._refuse_at(self._end, "this quote is not closed")
        if rest in ("--", "/*"):
            self._refuse_at(self._end, "a filter has no comments")
        if rest[0] in "0123456789":
            self._refuse_at(self._end, "this is no number: write 12, -3 or 1.5")
        self._refuse_at(self._end, f"{_visible(rest[0])!r} is no sign of a filter")

    def _refuse(self, why: str, token: _Token | None = None) -> NoReturn:
        token = token or self._next
        if token.kind == "word" and token.said not in _KEYWORDS:
            why += f"; {token.said!r} is no word of a filter" if len(token.said) < 40 else ""
        self._refuse_at(token.at, why)

    def _refuse_at(self, at: int, why: str) -> NoReturn:
        """The first line says all; the others show it."""
        begin, end = max(0, at - _AROUND), min(len(self._text), at + _AROUND)
        before = ("..." if begin else "") + "".join(map(_visible, self._text[begin:at]))
        after = "".join(map(_visible, self._text[at:end])) + ("..." if end < len(self._text) else "")
        place = f"at character {at + 1}" if at < len(self._text) else "at its end"
        raise BadFilter(f"the filter cannot be read {place}: {why}\n    {before}{after}\n    {' ' * _width(before)}^")


def _negated(condition: Condition, negated: bool) -> Condition:
    return Not(condition) if negated else condition


def _visible(character: str) -> str:
    """What is shown of it, in one line: the caret stands below the place only if nothing moves the line."""
    return character if character.isprintable() else " " if character in "\t\r\n\f" else "?"


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)
