"""Rows as tables for people: aligned text, colours and boxes on a terminal, HTML in Jupyter.

The monitors and the command line call this. Names, IDs and log lines are data: they are never read as markup, and
control characters in them are shown as escapes, so that a task's name cannot steer somebody's terminal. rich is
imported only when something is drawn on a terminal. Nothing here asks a server or opens a file.
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

# Format characters reorder or hide what stands beside them on the screen. These two join letters and emoji.
_JOINERS = frozenset("\u200c\u200d")
# Cells of a terminal up to which a column keeps its width.
_SHORT = 12


def visible(text: str, keep: str = "") -> str:
    """The text with control, reordering and unprintable characters written as escapes; those in `keep` stay."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(c if c in keep or _harmless(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _harmless(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def cell(value: object) -> str:
    """One value as people read it: '-' for nothing, yes and no, numbers short, text with its controls escaped."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{cell(key)}={cell(one)}" for key, one in value.items())
    return visible(str(value))


def _number(value: float) -> str:
    if not math.isfinite(value) or value == int(value):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


def clock_time(unix_s: object) -> str:
    """Seconds since 1970 as this machine's date and time."""
    if isinstance(unix_s, bool) or not isinstance(unix_s, (int, float)):
        return cell(unix_s)
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))
    except (ValueError, OverflowError, OSError):
        return cell(unix_s)


def duration(seconds: object) -> str:
    """A span as people say it, in its two largest units: '3 min 20 s'."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return cell(seconds)
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds)
    for size, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {smaller_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def bytes_size(count: object) -> str:
    """A number of bytes as people say it: '3.2 GB'."""
    if isinstance(count, bool) or not isinstance(count, (int, float)) or not math.isfinite(count):
        return cell(count)
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(count) >= size:
            return f"{count / size:.1f} {name}"
    return f"{count:.0f} B"


def shown_id(value: object) -> str:
    """A task's ID, given as the JSON of its canonical text, as a line: what NAME.success has and `redo` takes."""
    from coordinator.core import ids

    return visible(ids.to_line(ids.encode(ids.untag_many([value])[0])))


def shown_ids(values: object) -> str:
    return ", ".join(shown_id(one) for one in values) if isinstance(values, (list, tuple)) else cell(values)


@dataclass(frozen=True)
class Column:
    """The head of a column and how its values are shown."""

    name: str
    show: Callable[[object], str] = cell


def columns(*heads: str | Column) -> tuple[Column, ...]:
    return tuple(head if isinstance(head, Column) else Column(head) for head in heads)


@dataclass(frozen=True)
class Table:
    """Rows under heads; `empty` is what is said when there are none."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[object]]
    title: str = ""
    empty: str = "(none)"

    def texts(self) -> list[list[str]]:
        """Every row as text, as long as there are columns, whatever the row's own length."""
        wide = len(self.columns)
        return [
            [self.columns[i].show(row[i]) if i < len(row) else "" for i in range(wide)]
            + ([cell(row[wide:])] if len(row) > wide else [])
            for row in self.rows
        ]

    def heads(self) -> list[str]:
        more = any(len(row) > len(self.columns) for row in self.rows)
        return [column.name for column in self.columns] + ([""] if more else [])

    def is_number(self, index: int) -> bool:
        """Whether the column holds numbers only, which are set to the right."""
        values = [row[index] for row in self.rows if index < len(row) and row[index] is not None]
        return bool(values) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def as_text(table: Table) -> str:
    """The table in aligned columns, one line a row, nothing cut off: for pipes, logs and repr()."""
    lines = [visible(table.title)] if table.title else []
    if not table.rows:
        return "\n".join([*lines, table.empty])
    grid = [table.heads(), *table.texts()]
    wide = max(len(row) for row in grid)
    grid = [row + [""] * (wide - len(row)) for row in grid]
    widths = [max(_width(row[i]) for row in grid) for i in range(wide)]
    right = [table.is_number(i) for i in range(wide)]
    for row in grid:
        padded = [
            " " * (widths[i] - _width(text)) + text if right[i] else text + " " * (widths[i] - _width(text))
            for i, text in enumerate(row)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """Cells that the text takes on a terminal: two for wide East Asian characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def as_html(table: Table) -> str:
    """The table for a notebook; every text is escaped."""
    from html import escape

    title = f"<caption>{escape(visible(table.title))}</caption>" if table.title else ""
    if not table.rows:
        return f"<table>{title}<tbody><tr><td>{escape(table.empty)}</td></tr></tbody></table>"
    heads = "".join(f"<th>{escape(name)}</th>" for name in table.heads())
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in table.texts())
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def as_rich(table: Table) -> Any:
    """The table as a rich renderable, each text a Text: brackets in a name are brackets."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    title = Text(visible(table.title), style="bold") if table.title else None
    if not table.rows:
        return Text("\n".join([*([visible(table.title)] if table.title else []), table.empty]))
    drawn = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    texts = table.texts()
    for i, name in enumerate(table.heads()):
        wide = max(_width(name), *(_width(row[i]) for row in texts if i < len(row)))
        # Where the terminal is too narrow, long texts are folded, not names and numbers.
        least = wide if wide <= _SHORT else None
        drawn.add_column(
            Text(name), justify="right" if table.is_number(i) else "left", overflow="fold", min_width=least
        )
    for row in texts:
        drawn.add_row(*(Text(text) for text in row))
    return drawn


def show(table: Table, stream: TextIO) -> None:
    """Draw the table: with rich on a terminal, as aligned text anywhere else."""
    if not stream.isatty():
        stream.write(as_text(table) + "\n")
        return
    from rich.console import Console

    Console(file=stream, markup=False, emoji=False, highlight=False).print(as_rich(table))


class TableList(list[Any]):
    """A list of rows, in every way a list, that prints as a table."""

    def __init__(self, rows: Iterable[Any] = (), heads: tuple[Column, ...] = (), empty: str = "(none)") -> None:
        super().__init__(rows)
        self.heads = heads
        self.empty = empty

    def table(self) -> Table:
        return Table(self.heads, [_row(one) for one in self], empty=self.empty)

    def __repr__(self) -> str:
        return as_text(self.table())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def __rich__(self) -> Any:
        return as_rich(self.table())


class TableDict(dict[str, Any]):
    """A dictionary, in every way one, that prints as a table: the key first, then what its value holds."""

    def __init__(
        self, items: Mapping[str, Any] | None = None, heads: tuple[Column, ...] = (), empty: str = "(none)"
    ) -> None:
        super().__init__(items or {})
        self.heads = heads
        self.empty = empty

    def table(self) -> Table:
        return Table(self.heads, [[key, *_row(value)] for key, value in self.items()], empty=self.empty)

    def __repr__(self) -> str:
        return as_text(self.table())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def __rich__(self) -> Any:
        return as_rich(self.table())


def _row(value: Any) -> list[Any]:
    """What a value shows in a table: its own row(), its items if it is a sequence, else itself."""
    row = getattr(value, "row", None)
    if callable(row):
        return list(row())
    return list(value) if isinstance(value, (list, tuple)) else [value]
