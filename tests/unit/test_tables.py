"""Tables: rows as text, HTML and rich renderables; whatever is in a row is data."""

import copy
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.tables import (
    Column,
    Table,
    TableDict,
    TableList,
    as_html,
    as_text,
    cell,
    clock_time,
    columns,
    duration,
    show,
    visible,
)

HEADS = columns("host", "pid", "done")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(table):
    stream = Terminal()
    show(table, stream)
    return stream.getvalue()


def test_columns_are_aligned_and_numbers_stand_to_the_right():
    table = Table(HEADS, [["node1", 7, 12], ["node10", 4711, 3]])
    assert as_text(table).splitlines() == ["host     pid  done", "node1      7    12", "node10  4711     3"]


def test_a_table_without_rows_says_so():
    assert as_text(Table(HEADS, [], title="Jobs", empty="(no jobs)")) == "Jobs\n(no jobs)"
    assert "(no jobs)" in as_html(Table(HEADS, [], empty="(no jobs)"))
    assert "(no jobs)" in drawn(Table(HEADS, [], empty="(no jobs)"))


def test_a_row_may_be_shorter_or_longer_than_the_heads():
    text = as_text(Table(HEADS, [["node1"], ["node2", 1, 2, "more"]]))
    assert "node1" in text
    assert "more" in text


def test_wide_characters_take_two_cells():
    lines = as_text(Table(columns("name", "n"), [["日本", "x"], ["ab", "y"]])).splitlines()
    assert lines[1] == "日本  x"
    assert lines[2] == "ab    y"


def test_elsewhere_than_on_a_terminal_the_table_is_plain_text():
    stream = io.StringIO()
    show(Table(HEADS, [["node1", 1, 2]]), stream)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue() == "host   pid  done\nnode1    1     2\n"


def test_on_a_narrow_terminal_long_texts_are_folded_and_names_and_numbers_are_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = drawn(Table(columns("name", "processors", "reason"), [["mapclusters", 1234567, "no slot is free " * 9]]))
    assert "mapclusters" in text
    assert "1234567" in text
    assert "processors" in text


@pytest.mark.parametrize("name", ["[red]job[/red]", "[link=http://example.org]x[/link]", ":smiley:", "[/]", "\\[bold]"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(name):
    table = Table(columns("name"), [[name]], title=name)
    assert drawn(table).count(name) == 2
    assert name in as_text(table)


@pytest.mark.parametrize(
    "name", ["\x1b[31mred", "a\rb", "bell\x07", "\x9b31m", "two\nlines", "\u202egnp.exe", "\u2028"]
)
def test_control_characters_of_a_name_never_reach_the_terminal(name):
    bad = {c for c in name if not c.isprintable()}
    table = Table(columns("name"), [[name]])
    for text in (as_text(table), as_html(table)):
        assert not bad & set(text.replace("\n", "", text.count("\n") if "\n" not in bad else 1))
    # rich draws its own escapes for colours; what it drew between them holds none of ours.
    assert name not in drawn(table)
    assert visible(name) in drawn(table)


def test_html_is_escaped():
    text = as_html(Table(columns("<b>"), [["<script>alert(1)</script>"], ["\"&'"]], title="<i>"))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<i>" not in text
    assert "<b>" not in text


def test_joined_letters_and_emoji_stay_whole():
    assert visible("Zoë 👩\u200d💻 日本") == "Zoë 👩\u200d💻 日本"


def test_a_lone_surrogate_of_a_path_is_shown_as_an_escape():
    assert visible("a\udcffb") == "a\\udcffb"


@given(st.text())
def test_what_is_visible_can_be_printed_on_one_line(text):
    shown = visible(text)
    assert shown.splitlines() in ([], [shown])
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (False, "no"), (3, "3"), (2.5, "2.50"), (0.001234, "0.00123"), (1.0, "1.0")],
)
def test_values_are_shown_as_people_read_them(value, text):
    assert cell(value) == text


def test_numbers_that_are_none_do_not_break_a_table():
    assert as_text(Table(columns("load"), [[float("nan")], [float("inf")], [None]])).split() == [
        "load",
        "nan",
        "inf",
        "-",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (42, "42 s"), (200, "3 min 20 s"), (3600, "1 h"), (90061, "1 d 1 h"), (None, "-")],
)
def test_durations_are_said_in_their_two_largest_units(seconds, text):
    assert duration(seconds) == text


def test_a_time_that_no_clock_has_is_shown_as_it_is():
    assert clock_time(None) == "-"
    assert clock_time("soon") == "soon"
    assert clock_time(1e300) == cell(1e300)
    assert clock_time(0)[:2] in ("19",)


def test_a_table_list_is_a_list_in_every_way():
    rows = TableList([["b", 2, 0], ["a", 1, 0]], HEADS, empty="(no processors)")
    rows.sort()
    assert rows == [["a", 1, 0], ["b", 2, 0]]
    assert isinstance(rows, list)
    assert json.loads(json.dumps(rows)) == rows
    assert len(rows) == 2
    assert copy.copy(rows) == rows


def test_a_table_list_prints_as_a_table():
    rows = TableList([["a", 1, 0]], HEADS)
    assert repr(rows) == str(rows) == as_text(rows.table())
    assert rows._repr_html_().startswith("<table>")
    assert repr(TableList((), HEADS, empty="(no processors)")) == "(no processors)"


def test_a_table_dict_is_a_dictionary_that_prints_its_keys_first():
    rules = TableDict({"hg17": ["/tmp/hg17", "gunzip -c x > %s"]}, columns("resource", "file", "command"))
    assert rules == {"hg17": ["/tmp/hg17", "gunzip -c x > %s"]}
    assert json.loads(json.dumps(rules)) == rules
    assert repr(rules).splitlines()[1].split() == ["hg17", "/tmp/hg17", "gunzip", "-c", "x", ">", "%s"]
    assert "&gt;" in rules._repr_html_()


def test_a_column_says_how_its_values_are_shown():
    rows = TableList([["a", 200]], columns("host", Column("since", duration)))
    assert "3 min 20 s" in repr(rows)


def test_rich_is_not_imported_before_a_terminal_is_drawn_on():
    import subprocess
    import sys

    code = "import sys, coordinator.tables as t; t.as_text(t.Table((), [])); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
