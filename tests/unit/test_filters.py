"""Filters of jobs: what they mean, asked of SQLite itself about the same text, and what is refused with its place."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Engine, Float, MetaData, String, Table, create_engine, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.pool import StaticPool

from coordinator.batch.conditions import (
    COLUMNS,
    INTEGER,
    REAL,
    TEXT,
    AllOf,
    AnyOf,
    Between,
    Compare,
    Glob,
    IsNull,
    Like,
    Not,
    OneOf,
    clause,
)  # fmt: skip
from coordinator.batch.filters import DEEPEST, MOST_CHARACTERS, MOST_CONDITIONS, parse
from coordinator.errors import BadFilter, BadInput, from_fault

KINDS: dict[str, Any] = {TEXT: String, INTEGER: BigInteger, REAL: Float}
JOB = Table("job", MetaData(), *(Column(name, KINDS[kind]()) for name, kind in COLUMNS.items()))
FIELDS = {column.name: column for column in JOB.columns}


@pytest.fixture(scope="module")
def raw():
    """SQLite without anything of ours between."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute(
        "CREATE TABLE job (BatchID INTEGER, JobIndex INTEGER, name TEXT, batch_type TEXT, state TEXT, priority REAL)"
    )
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def engine(raw: sqlite3.Connection):
    """The same database, for SQLAlchemy."""
    made = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
    yield made
    made.dispose()


def ours(engine: Engine, text: str) -> list[int | None]:
    with engine.connect() as connection:
        found = connection.execute(select(clause(parse(text), FIELDS)).select_from(JOB)).scalars().all()
    return [None if each is None else int(each) for each in found]


def theirs(raw: sqlite3.Connection, text: str) -> list[int | None]:
    return [each for (each,) in raw.execute(f"SELECT ({text}) FROM job")]


def keep(raw: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    raw.execute("DELETE FROM job")
    raw.executemany("INSERT INTO job VALUES (?, ?, ?, ?, ?, ?)", rows)
    raw.commit()


# --- what filters are made of ---------------------------------------------------------------------------


#: no word over these letters is the name of a column, which SQLite would take "..." for
words = st.text(alphabet="abAZ5.-%_*?[]^~\\'\" \nÉé日\U0001f600", max_size=6)
numbers = st.one_of(
    st.integers(-3, 12).map(str),
    st.integers(-(10**14), 10**14).map(str),
    st.decimals(-20, 20, places=3).map(str),
    st.sampled_from(["007", "5.", ".5", "-.25", "-0", "9223372036854775807", "1.0"]),
)
plain_numbers = st.one_of(st.integers(-3, 12).map(str), st.decimals(-20, 20, places=2).map(str), st.just("1.0"))


@st.composite
def quoted(draw: st.DrawFn, text: str) -> str:
    mark = draw(st.sampled_from("'\""))
    return mark + text.replace(mark, mark * 2) + mark


@st.composite
def value(draw: st.DrawFn, column: str) -> str:
    if COLUMNS[column] is TEXT:
        whole = st.integers(-20, 20).map(str) | st.sampled_from(["007", "-0"])
        return draw(whole | words.flatmap(quoted) | plain_numbers.flatmap(quoted))
    number = draw(numbers | plain_numbers.flatmap(quoted))
    return number if COLUMNS[column] is INTEGER or len(number) < 17 else "1.25"


@st.composite
def simple(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(sorted(COLUMNS)))
    said = draw(st.sampled_from([column, column.lower(), column.upper()]))
    negated = draw(st.sampled_from(["", " NOT", " not", " Not"]))
    kind = draw(st.sampled_from(["compare", "null", "like", "glob", "in", "between"]))
    if kind in ("like", "glob") and COLUMNS[column] is not REAL:
        pattern = draw((words | st.integers(-3, 12).map(lambda n: f"{n}%")).flatmap(quoted))
        return f"{said}{negated} {draw(st.sampled_from([kind, kind.upper()]))} {pattern}"
    if kind == "in":
        inside = ", ".join(draw(st.lists(value(column), min_size=1, max_size=4)))
        return f"{said}{negated} IN({inside})"
    if kind == "between":
        return f"{said}{negated} Between {draw(value(column))} AND {draw(value(column))}"
    if kind == "null":
        return f"{said} IS{negated} NULL"
    sign = draw(st.sampled_from(["=", "==", "!=", "<>", "<", ">", "<=", ">="]))
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    return f"{said}{space}{sign}{space}{draw(value(column))}"


conditions = st.recursive(
    simple(),
    lambda inner: st.one_of(
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"NOT {one}"),
        st.tuples(inner, st.sampled_from([" AND ", " or ", "\nOR\t"]), inner).map("".join),
    ),
    max_leaves=8,
)
rows = st.lists(
    st.tuples(
        st.none() | st.integers(-3, 12) | st.integers(-(10**14), 10**14) | st.just(2**63 - 1),
        st.none() | st.integers(-3, 12),
        *[st.none() | words | plain_numbers for _ in range(3)],
        st.none() | st.integers(-3, 12).map(float) | st.decimals(-20, 20, places=3).map(float),
    ),
    min_size=1,
    max_size=8,
)


@given(text=conditions, kept=rows)
@settings(max_examples=600)
@pytest.mark.timeout(300)
def test_a_filter_means_what_sqlite_makes_of_the_same_text(raw, engine, text, kept):
    keep(raw, kept)
    assert ours(engine, text) == theirs(raw, text)


@given(column=st.sampled_from(["name", "batch_type", "state"]), pattern=words, kept=words, verb=st.sampled_from(
    ["LIKE", "NOT LIKE", "GLOB", "NOT GLOB"]))  # fmt: skip
@settings(max_examples=600)
@pytest.mark.timeout(300)
def test_patterns_mean_what_they_mean_to_sqlite(raw, engine, column, pattern, kept, verb):
    keep(raw, [(1, 0, kept, kept, kept, 1.0), (1, 1, pattern, pattern, pattern, 1.0)])
    text = f"{column} {verb} '{pattern.replace(chr(39), chr(39) * 2)}'"
    assert ours(engine, text) == theirs(raw, text)


@given(text=conditions, number=st.integers(0, 2**32))
@settings(max_examples=400)
@pytest.mark.timeout(300)
def test_whatever_is_accepted_means_the_same_to_sqlite_after_random_edits(raw, engine, text, number):
    """Not only what our own generator writes: what it wrote and somebody spoiled."""
    rng = random.Random(number)
    keep(raw, [(1, 0, "a", "5", None, 1.5), (None, 2, "A%", "b", "1.0", None)])
    signs = list(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(signs) + 1)
        signs[at : at + rng.randint(0, 2)] = rng.choice(
            ["", "(", ")", "'", '"', " ", "NOT ", " AND ", "1", ".", "-", "%", ","]
        )
    spoiled = "".join(signs)
    try:
        refused, got = "", ours(engine, spoiled)
    except BadFilter as error:
        refused, got = str(error), None
    if got is None:
        assert refused.count("\n") == 2
    elif spoiled.strip():
        assert got == theirs(raw, spoiled)


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_what_random_values_hardly_meet_means_the_same_to_sqlite_too(raw, engine, column):
    """Every comparison with what is equal, one less and one more, in each spelling of a number, and capitals."""
    keep(
        raw,
        [
            (n, n, text, text, text, n)
            for n, text in enumerate(["0", "1", "7", "-1", "007", "1.0", "", "a", "A", "aB", "É"])
        ]
        + [(None, None, None, None, None, None), (-1, -7, "-7", "b", "B", -1.5)],
    )
    spelled = ["0", "-0", "1", "7", "007", "-1", "-7", "'7'", "'007'", "'-1'", '"1.0"']
    if COLUMNS[column] is TEXT:
        spelled += ["''", "'a'", "'A'", "'É'", "'é'"]
    else:
        spelled += ["1.", ".5", "-1.5", "1.0", "'1.5'"]
    texts = [f"{column} {sign} {each}" for sign in ("=", "==", "!=", "<>", "<", ">", "<=", ">=") for each in spelled]
    texts += [f"{column} {verb} ({', '.join(spelled)})" for verb in ("IN", "NOT IN")]
    texts += [f"{column} {verb} {spelled[2]} AND {each}" for verb in ("BETWEEN", "NOT BETWEEN") for each in spelled]
    if COLUMNS[column] is not REAL:
        patterns = [
            "a",
            "A",
            "Ab",
            "_",
            "%",
            "é",
            "É",
            "1%",
            "[a-b]*",
            "[^a]",
            "?",
            "*",
            "-[0-9]",
            "00_",
            "~",
            "a~",
            "",
        ]
        verbs = ("LIKE", "NOT LIKE", "GLOB", "NOT GLOB")
        texts += [f"{column} {verb} '{pattern}'" for verb in verbs for pattern in patterns]
    for text in texts:
        assert ours(engine, text) == theirs(raw, text), text


# --- the tree ------------------------------------------------------------------------------------------


def test_the_manuals_filter_is_read():
    assert parse('name LIKE "%Ingolia_2009%" AND BatchID > 20210101000000 AND batch_type=="ribo"') == AllOf(
        (Like("name", "%Ingolia_2009%"), Compare("BatchID", ">", 20210101000000), Compare("batch_type", "==", "ribo"))
    )


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("NAME='it''s'", Compare("name", "=", "it's")),
        ('name="say ""hi"""', Compare("name", "=", 'say "hi"')),
        ('name = "state"', Compare("name", "=", "state")),  # in either quotes it is text
        ("state = 5", Compare("state", "=", "5")),
        ("BatchID = '12'", Compare("BatchID", "=", 12)),
        ("priority >= 100", Compare("priority", ">=", 100.0)),
        ("batchid not between 1 and 2 and state is not null",
         AllOf((Not(Between("BatchID", 1, 2)), Not(IsNull("state"))))),
        ("state = 'a' OR state = 'b' AND NOT state = 'c'",
         AnyOf((Compare("state", "=", "a"), AllOf((Compare("state", "=", "b"), Not(Compare("state", "=", "c"))))))),
        ("JobIndex in (1, 2,-3)", OneOf("JobIndex", (1, 2, -3))),
        ("name glob '[ab]*'", Glob("name", "[ab]*")),
        ("  \n", AllOf(())),
        ("", AllOf(())),
    ],
)  # fmt: skip
def test_it_becomes_a_small_tree(text, condition):
    assert parse(text) == condition


def test_no_filter_is_everything(raw, engine):
    keep(raw, [(1, 0, None, None, None, None), (2, 0, "a", "b", "c", 1.0)])
    assert ours(engine, "") == [1, 1]


def test_as_many_conditions_as_are_allowed_are_few_enough_for_sqlite(raw, engine):
    keep(raw, [(1, 0, "a", "b", "c", 1.0)])
    for word in (" AND ", " OR "):
        assert ours(engine, word.join(["name='a'"] * MOST_CONDITIONS)) == [1]
    many = ",".join(str(each) for each in range(2_000))
    assert ours(engine, f"BatchID in ({many})") == [1]
    deep = "(" * (DEEPEST - 1) + "name='a'" + ")" * (DEEPEST - 1)
    assert ours(engine, deep) == [1]


def test_nothing_of_a_filter_gets_into_the_sql():
    text = (
        "name = 'needle' OR state LIKE 'needle%' OR name GLOB 'needle*' OR name IN ('needle', 'x') OR BatchID = 424242"
    )
    sql = str(clause(parse(text), FIELDS).compile(dialect=sqlite.dialect()))
    assert "needle" not in sql
    assert "424242" not in sql
    assert sql.count("?") == 6


@pytest.mark.parametrize("dialect", [postgresql.dialect(), mysql.dialect()])
def test_on_another_database_glob_is_refused_in_words_and_the_rest_is_sql(dialect):
    with pytest.raises(BadFilter, match=f"GLOB is SQLite's own, and the jobs are kept by {dialect.name}: write LIKE"):
        clause(parse("name GLOB 'a*'"), FIELDS).compile(dialect=dialect)
    text = r"name LIKE '50\%~' AND BatchID LIKE '2021%' AND priority NOT BETWEEN 1 AND 2.5 AND state IN ('a', 5)"
    made = clause(parse(text), FIELDS).compile(dialect=dialect)
    assert "ESCAPE '~'" in str(made)
    assert "ILIKE" in str(made) or str(made).count("lower(") == 4
    assert set(made.params.values()) == {r"50\%~~", "2021%", 1.0, 2.5, "a", "5"}


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("name = 'x'; DROP TABLE job", 11, "';' is no sign of a filter"),
        ("name = 'x' -- all", 12, "no comments"),
        ("name = 'x' /* all */", 12, "no comments"),
        (
            "name = 'x' OR 1",
            15,
            "a column (BatchID, JobIndex, name, batch_type, state, priority), NOT or ( was expected",
        ),
        ("name = 'x' OR 1=1", 15, "a column"),
        ("name = lower('x')", 8, "'lower' is no word of a filter"),
        ("lower(name) = 'x'", 1, "a column"),
        ("name = (SELECT name FROM job)", 8, "a number or text in quotes"),
        ("name IN (SELECT name FROM job)", 10, "'select' is no word"),
        ("name IN ()", 10, "a number or text in quotes"),
        ("name = 'x' UNION SELECT 1", 12, "AND, OR or the end was expected; 'union' is no word of a filter"),
        ("metadata = 'x'", 1, "'metadata' is no word of a filter"),
        ("rowid = 1", 1, "'rowid' is no word of a filter"),
        ("job.name = 'x'", 1, "'job' is no word of a filter"),
        ('"name" = 1', 1, "a column"),
        ("`name` = 1", 1, "'`' is no sign"),
        ("[name] = 1", 1, "'[' is no sign"),
        ("name = state", 8, "a number or text in quotes was expected"),
        ("name = ?", 8, "'?' is no sign"),
        ("name = :x", 8, "':' is no sign"),
        ("name = @x", 8, "'@' is no sign"),
        ("name = 'a' || 'b'", 12, "'|' is no sign"),
        ("name = x'41'", 8, "a number or text"),
        ("name COLLATE nocase = 'A'", 6, "'collate' is no word of a filter"),
        ("name LIKE 'a' ESCAPE 'b'", 15, "'escape' is no word of a filter"),
        ("name = 'a\0b'", 10, "no database keeps this character"),
        ("name = 'a\ud800'", 10, "no database keeps this character"),
        ("name\0 = 'a'", 5, "'?' is no sign"),
        ("name = 'a", 8, "this quote is not closed"),
        ("name = 'a\"", 8, "this quote is not closed"),
        ("name = NULL", 8, "nothing equals NULL, write name IS NULL"),
        ("name IS 'a'", 9, "NULL or NOT NULL was expected"),
        ("name IS NOT 'a'", 13, "NULL was expected"),
        ("name NOT = 'a'", 10, "LIKE, GLOB, IN or BETWEEN was expected"),
        ("name 'a'", 6, "= != < > <= >= LIKE, GLOB, IN, BETWEEN, IS or NOT was expected"),
        ("name = 'a' = 1", 12, "AND, OR or the end was expected"),
        ("(name = 'a'", 12, "AND, OR or ) was expected"),
        ("name = 'a')", 11, "AND, OR or the end was expected"),
        ("name = 'a' AND", 15, "a column"),
        ("BatchID BETWEEN 1 OR 2", 19, "AND was expected"),
        ("BatchID IN (1; 2)", 14, "';' is no sign"),
        ("BatchID IN (1 2)", 15, "a comma or ) was expected"),
        ("BatchID = 0x10", 11, "this is no number: write 12, -3 or 1.5"),
        ("BatchID = 1e3", 11, "this is no number: write 12, -3 or 1.5"),
        ("BatchID = 1_000", 11, "this is no number: write 12, -3 or 1.5"),
        ("BatchID = +1", 11, "'+' is no sign"),
        ("BatchID = 1+1", 12, "'+' is no sign"),
        ("BatchID = --1", 11, "no comments"),
        ("BatchID = 9223372036854775808", 11, "a whole number is at most 9,223,372,036,854,775,807"),
        ("BatchID = '99999999999999999999'", 11, "a whole number is at most"),
        ("BatchID = " + "9" * 6_000, 11, "a whole number is at most"),
        ("BatchID = 'x'", 11, "BatchID is a whole number, and this is none"),
        ("BatchID = ''", 11, "BatchID is a whole number, and this is none"),
        ("BatchID = '\u0661'", 11, "BatchID is a whole number, and this is none"),
        ("priority = 'high'", 12, "priority is a number, and this is none"),
        ("priority LIKE '1%'", 15, "LIKE compares text, and priority is a decimal number: compare it by < and >"),
        ("priority = 1.0000000000000001", 12, "a decimal number has at most 15 digits"),
        ("state = 1.5", 9, "state is text: write this number in quotes"),
        ("name LIKE 5", 11, "text in quotes was expected after LIKE"),
        ("name = 'a'\u00a0OR name = 'b'", 11, "is no sign"),
        ("name = 'a' AND na\u043ce = 'b'", 16, "is no sign"),
        ("NOT " * 51 + "name = 'a'", 201, "the filter is deeper than 50 here"),
        ("(" * 9_000, 51, "the filter is deeper than 50 here"),
        ("name=1 OR " * 501 + "name=1", 5001, "more than 500 conditions here"),
    ],
)
def test_anything_else_is_refused_with_its_place(text, at, words):
    with pytest.raises(BadFilter) as caught:
        parse(text)
    said = str(caught.value).split("\n")
    assert len(said) == 3
    assert words in said[0]
    assert said[0].startswith(f"the filter cannot be read at {f'character {at}:' if at <= len(text) else 'its end:'}")
    assert all(line.isprintable() and len(line) < 250 for line in said)
    caret, shown = said[2].index("^"), said[1]
    if at <= len(text):
        assert shown[caret] == text[at - 1] or not text[at - 1].isprintable()
    else:
        assert caret == len(shown)


def test_a_filter_is_not_long():
    with pytest.raises(BadFilter, match="the filter has 10,001 characters; it may have 10,000"):
        parse(" " * (MOST_CHARACTERS + 1))


def test_the_caret_stands_below_the_place_also_after_wide_characters_and_line_ends():
    with pytest.raises(BadFilter) as caught:
        parse("name = '日本'\nOR\tx = 1")
    assert str(caught.value).split("\n")[1:] == ["    name = '日本' OR x = 1", "    " + " " * 17 + "^"]


def test_the_error_is_one_of_input_and_travels():
    assert issubclass(BadFilter, BadInput)
    assert isinstance(from_fault(110, "x"), BadFilter)


@given(text=st.text(max_size=60) | st.text(alphabet="namestateBatchID='\"()<>!, 0123456789ANDORTLIKE%", max_size=60))
def test_any_text_is_read_or_refused(raw, engine, text):
    keep(raw, [(1, 0, "a", "b", "c", 1.0)])
    try:
        refused, got = "", ours(engine, text)
    except BadFilter as error:
        refused, got = str(error), []
    assert refused.startswith("the filter cannot be read at") or len(got) == 1
