"""Samples as tables, in Markdown for a terminal or an issue and in reStructuredText for docs/performance.rst.

Pure: it gets what a run has saved and gives text. What it says of a contestant is a median with least and most, and the
ratio to ours round by round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import BY_KEY as CONTESTANTS
from benchmarks.goals import verdicts
from benchmarks.measures import Sample, Summaries, ratio, spread, summaries
from benchmarks.workloads import BY_KEY as WORKLOADS
from benchmarks.workloads import MEASURES, SPECIAL

#: of the measures with runs of their own
LABELS = {
    "next-16": "our server, ready-made requests, 16 connections",
    "next-proxy-16": "our server, xmlrpc.client.ServerProxy, 16 connections",
    "ancestor": "the ancestor's protocol: two processors with ServerProxy",
    "stdlib-16": "xmlrpc.server with threads, nothing on disk, ready-made requests, 16 connections",
}
#: what is said of a figure in a table's head
UNITS = {
    "tasks_per_s": "tasks/s", "whole_tasks_per_s": "with the start", "returned_tasks_per_s": "until all is printed",
    "inside_s": "s", "whole_s": "s", "first_s": "s to the first", "peak_mib": "MiB", "calls_per_s": "calls/s",
}  # fmt: skip
#: figures of each kind of workload, the first being the one by which it is compared
FIGURES = {
    "noop": ("tasks_per_s", "whole_tasks_per_s", "peak_mib"), "sleep": ("tasks_per_s",), "burn": ("tasks_per_s",),
    "tail": ("inside_s",), "start": ("first_s",), "demo": ("whole_s",), "next": ("calls_per_s",),
    "memory": ("peak_mib",),
}  # fmt: skip
#: with whom efficiencies are measured
CEILING = {"sleep": "loop", "burn": "loop", "tail": "order"}


@dataclass(frozen=True)
class Table:
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(result: dict[str, Any]) -> list[Table]:
    """``result``: what a run has saved."""
    samples = [Sample(**sample) for sample in result["samples"]]
    found = summaries(samples)
    measured = [measure for measure in MEASURES if any(sample.measure == measure for sample in samples)]
    made = [goals(samples)]
    for measure in measured:
        make = compared if kind_of(measure) in FIGURES else listed
        made.append(make(measure, samples, found))
    if result["failed"]:
        rows = tuple((label(key), reason) for key, reason in result["failed"].items())
        made.append(Table("Not measured", ("who", "why"), rows))
    return made


def goals(samples: Sequence[Sample]) -> Table:
    rows = tuple(
        (v.goal.what, v.goal.bound, v.found, "-" if v.met is None else "yes" if v.met else "no")
        for v in verdicts(samples)
    )
    return Table("Goals", ("what", "goal", "median (least to most)", "met"), rows)


def compared(measure: str, samples: Sequence[Sample], found: Summaries) -> Table:
    """Everybody in one measure, the best first."""
    kind = kind_of(measure)
    figures, ceiling = FIGURES[kind], CEILING.get(kind)
    one = "next-16" if measure == "next" else "ours"
    first = figures[0]
    keys = [key for at, key, figure in found if at == measure and figure == first]
    keys.sort(key=lambda key: found[measure, key, first].median, reverse=first.endswith("per_s"))
    headings = ["who", *(UNITS[figure] for figure in figures), "ours / theirs"]
    if ceiling:
        headings.append("of the ceiling")
    if measure in WORKLOADS:
        headings.append("tasks")
    rows = []
    for key in keys:
        row = [label(key), *(spread(found.get((measure, key, figure)), figure) for figure in figures)]
        row.append(spread(ratio(samples, measure, first, one, key)) if key != one else "")
        if ceiling:
            above = (key, ceiling) if first.endswith("per_s") else (ceiling, key)
            row.append(spread(ratio(samples, measure, first, *above)))
        if measure in WORKLOADS:
            row.append(f"{found[measure, key, first].n:,}")
        rows.append(tuple(row))
    return Table(title(measure), tuple(headings), tuple(rows))


def listed(measure: str, samples: Sequence[Sample], found: Summaries) -> Table:
    """The figures of a measure that has no comparison."""
    names = dict.fromkeys((key, figure) for at, key, figure in found if at == measure)
    rows = tuple((figure, spread(found[measure, key, figure], figure)) for key, figure in names)
    return Table(title(measure), ("figure", "median (least to most)"), rows)


def title(measure: str) -> str:
    return WORKLOADS[measure].title if measure in WORKLOADS else SPECIAL[measure][0].capitalize()


def label(key: str) -> str:
    return CONTESTANTS[key].label if key in CONTESTANTS else LABELS.get(key, key)


def kind_of(measure: str) -> str:
    return WORKLOADS[measure].work if measure in WORKLOADS and measure != "start" else measure


def about(result: dict[str, Any]) -> list[str]:
    """What stands above the tables."""
    machine, asked = result["machine"], result["asked"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['disk']}"
    return [
        f"{machine['when']} UTC, commit {machine['commit']}. {where}, {machine['system']}, Python {machine['python']}; "
        f"load before the run {machine['load_before']:.1f}; processors {asked['processors']}, rounds {asked['rounds']}"
        + ("; a run with few tasks, whose figures are no reference." if is_quick(result) else "."),
        f"Peers: {packages or 'none that is installed'}.",
    ]


def is_quick(result: dict[str, Any]) -> bool:
    """Made with fewer tasks than a reference is."""
    return bool(result["asked"]["quick"] or result["asked"]["share"] != 1.0)


# --- as text ------------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    parts = ["# Measured", *about(result)]
    for table in tables(result):
        lines = [_pipes(table.headings), _pipes("---" for _ in table.headings), *map(_pipes, table.rows)]
        parts += [f"## {table.title}", "\n".join(lines)]
    if result["wrong"]:
        parts += ["## No results", "\n".join(f"* {wrong}" for wrong in result["wrong"])]
    return "\n\n".join(parts) + "\n"


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def rst(result: dict[str, Any], underline: str = "-") -> str:
    parts = [_escaped(words) for words in about(result)]
    for table in tables(result):
        parts += [f"{table.title}\n{underline * len(table.title)}", _grid(table)]
    return "\n\n".join(parts) + "\n"


def _grid(table: Table) -> str:
    rows = [[_escaped(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.headings))]
    rule = " ".join("=" * max(width, 1) for width in widths)
    lines = [" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _escaped(cell: str) -> str:
    """Data is never markup."""
    return "".join(f"\\{c}" if c in "\\*`|_" else c for c in cell.replace("\n", " "))
