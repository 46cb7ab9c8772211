"""The dashboard of get_queue: a table on a terminal, plain lines elsewhere. Values in, text out; nothing is looked up.

Indices are folded (``0-99``), and a job that runs has an asterisk for each of its attempts that do.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from coordinator.jobs.reasons import folded
from coordinator.jobs.states import COLLECTED, COMPLETE, ORDER
from coordinator.tables import visible

#: characters of indices in a line; what is longer is cut, and the count says how many there are
LONGEST = 2_000
#: reasons of missing jobs that are shown of a batch, the most frequent first
REASONS = 3


#: {BatchID: {state: JobIndices}}
Queue = dict[int, dict[str, list[int]]]


@dataclass
class Overview:
    """``stars``: {job: how many of its attempts run}; ``reasons``: {batch: why, of which missing jobs}; ``stuck``:
    {batch: why it does not go on}; ``words``: what could not be looked at; ``busy``: jobs under way by this executor,
    in all batches."""

    queue: Queue = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)
    stars: dict[tuple[int, int], int] = field(default_factory=dict)
    missing: dict[int, list[int]] = field(default_factory=dict)
    reasons: dict[int, list[tuple[str, list[int]]]] = field(default_factory=dict)
    stuck: dict[int, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    executor: str = ""
    busy: int = 0

    def only(self, states: Container[str]) -> None:
        """Leave jobs in other states out."""
        self.queue = {
            batch: kept for batch, kinds in self.queue.items()
            if (kept := {state: jobs for state, jobs in kinds.items() if state in states})
        }  # fmt: skip
        shown = {(batch, index) for batch, kinds in self.queue.items() for jobs in kinds.values() for index in jobs}
        self.stars = {job: count for job, count in self.stars.items() if job in shown}


def show(found: Overview) -> None:
    """Print it, as the place where it goes is: a terminal, the output of a notebook's cell, or anything else."""
    if sys.stdout.isatty() or type(sys.stdout).__module__ == "ipykernel.iostream":
        _show_table(found)
        return
    for line in lines(found):
        print(visible(line))


def lines(found: Overview) -> Iterator[str]:
    """Plain text."""
    for batch, states in found.queue.items():
        yield ""
        yield f"{batch}: {found.titles.get(batch, '')}"
        for state in in_order(states):
            indices = states[state]
            yield f"  {state:10}{len(indices):>7,}: {starred(batch, indices, found.stars)}"
        if batch in found.stuck:
            yield f"  does not go on: {found.stuck[batch]}"
    yield ""
    yield from totals(found)


def totals(found: Overview) -> Iterator[str]:
    """What stands under the dashboard."""
    if not found.queue:
        yield "no jobs"
    if found.missing:
        yield "missing jobs:"
    for batch, reasons in found.reasons.items():
        for words, indices in reasons[:REASONS]:
            yield f"  {batch}: {starred(batch, indices, {})} ({words})"
        if len(reasons) > REASONS:
            rest = sum(len(indices) for _, indices in reasons[REASONS:])
            yield f"  {batch}: {rest:,} more for {len(reasons) - REASONS:,} other reasons"
    for words in found.words:
        yield f"not known now: {words}"
    states = [(state, len(jobs)) for kinds in found.queue.values() for state, jobs in kinds.items()]
    here = found.queue.keys()
    running = sum(1 for batch, _ in found.stars if batch in here)
    complete = sum(count for state, count in states if state in (COMPLETE, COLLECTED))
    yield f"total jobs on {found.executor} queue: {found.busy:,}"
    yield f"running/complete/total: {running:,}/{complete:,}/{sum(count for _, count in states):,}"


def in_order(states: Iterable[str]) -> list[str]:
    """As they follow each other in a job's life; a user's own states at the end."""
    return sorted(states, key=lambda state: (ORDER.index(state) if state in ORDER else len(ORDER), state))


def starred(batch: int, indices: Iterable[int], stars: Mapping[tuple[int, int], int]) -> str:
    """``0-2, 4*, 5**``."""
    parts: list[str] = []
    for count, run in groupby(indices, key=lambda index: stars.get((batch, index), 0)):
        some = list(run)
        parts += [f"{index}{'*' * count}" for index in some] if count else folded(some, shortest=3)
    text = ", ".join(parts)
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition(",")[0] + ", ..."


def _show_table(found: Overview) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for batch, states in found.queue.items():
        table = Table(title=Text(visible(f"{batch}: {found.titles.get(batch, '')}")), title_justify="left")
        table.add_column("state")
        table.add_column("jobs", justify="right")
        table.add_column("which (* runs)", overflow="fold")
        for state in in_order(states):
            indices = states[state]
            which = Text(starred(batch, indices, found.stars))
            table.add_row(Text(visible(state), style=_STYLES.get(state, "")), f"{len(indices):,}", which)
        console.print(table)
        if batch in found.stuck:
            console.print(Text(visible(f"does not go on: {found.stuck[batch]}"), style="yellow"))
    for line in totals(found):
        console.print(Text(visible(line)))


_STYLES = {"complete": "green", "collected": "green", "run": "cyan", "spawn": "cyan", "failed": "red", "lost": "red",
           "cancelled": "yellow"}  # fmt: skip
