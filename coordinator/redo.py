"""Which settled tasks become TODO again: the failed ones, all, or those of certain IDs.

The Coordinator calls it for a running job, the command for one that has ended. It reads the journal and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coordinator.core import ids
from coordinator.core.spans import Spans
from coordinator.errors import BadInput
from coordinator.journal import Journal

BATCH = 4096


def positions_of(journal: Journal, what: Any) -> tuple[list[list[int]], int, int]:
    """(ranges, how many of them are DONE, how many FAILED). ``what``: "failed", "all", a list of IDs, or
    ``{"texts": [canonical text of an ID, ...]}``, since a tuple would reach a server as a list.

    Raises BadInput for an ID that the job does not have, or that is not settled.
    """
    done, failed = journal.settled()
    if what == "failed":
        chosen = failed.copy()
    elif what == "all":
        chosen = done.copy()
        for a, b in failed:
            chosen.add(a, b)
    elif isinstance(what, dict) and isinstance(what.get("texts"), list):
        chosen = _of_ids(journal, [ids.decode(text) for text in what["texts"]], done, failed)
    elif isinstance(what, (list, tuple)):
        chosen = _of_ids(journal, what, done, failed)
    else:
        raise BadInput('redo takes "failed", "all" or a list of IDs')
    return [[a, b] for a, b in chosen], _common(chosen, done), _common(chosen, failed)


def _of_ids(journal: Journal, values: Iterable[Any], done: Spans, failed: Spans) -> Spans:
    wanted = {ids.encode(value): value for value in values}
    found: set[str] = set()
    chosen = Spans()
    for a in range(0, journal.count, BATCH):
        for position, text in enumerate(journal.lines(a, min(a + BATCH, journal.count)), a):
            if text in wanted:
                found.add(text)
                if position in done or position in failed:
                    chosen.add(position, position + 1)
    missing = [value for text, value in wanted.items() if text not in found]
    if missing:
        raise BadInput(f"the job has no task {', '.join(ids.shown(value) for value in missing[:5])}")
    return chosen


def _common(chosen: Spans, other: Spans) -> int:
    return sum(other.covered(a, b) for a, b in chosen)
