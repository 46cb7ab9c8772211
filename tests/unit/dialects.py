"""What the tests of every dialect share: an intent, what people may write, and what must hold of garbage and of words.

The tests of one scheduler each (``test_slurm_dialect.py`` ...) say what is written and how many cases are tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from hypothesis import strategies as st

from coordinator.core.needs import Needs
from coordinator.core.statuses import Intent, Row, State
from coordinator.errors import SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import Dialect

MARK = "k3f2a4b7q2"

#: what somebody may write in place of a name, a number or a word
ANY = st.text(max_size=12) | st.sampled_from(["short", "a-b@c", "-x", "1gb", "04:59:00", "a\nb", "=1", ""])
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def intent(name: str = "map", needs: Needs | None = None, count: int = 1, directory: str = "/shared/b1") -> Intent:
    return Intent(MARK, name, directory, needs or Needs(), count)


def check_fault(dialect: Dialect, text: str, kind: type[SchedulerError]) -> None:
    """It is of that kind; what is no refusal may be otherwise the next time."""
    fault = dialect.fault(text)
    assert type(fault) is kind, fault
    assert fault.transient == (kind is not SubmitRefused)


def check_garbage(dialect: Dialect, text: str) -> None:
    """It is some fault, of somebody who is gone or not, and some size of an array."""
    assert type(dialect.fault(text)) in (SchedulerAway, SubmitUnclear, SubmitRefused), text
    assert dialect.gone(text) in (True, False)
    assert dialect.ending(text) in (True, False)
    assert dialect.largest(text) >= 1, text


def rows_of(text: str, *readers: Callable[[str], list[Row]]) -> list[Row]:
    """What those of them find in it that do not refuse it."""
    found: list[Row] = []
    for read in readers:
        try:
            found += read(text)
        except ValueError:
            continue
    return found


def ended(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.status.state is State.ENDED]


def check_no_control(argv: Sequence[str]) -> None:
    assert not [word for word in argv if CONTROL.search(word)], argv


def ours_of(argv: Sequence[str], theirs: Sequence[str], last: Sequence[str], options: Collection[str]) -> list[str]:
    """Our own words of a command, between its program and theirs: ``options`` and values, which take turns, and no
    value begins like an option. Behind them stand theirs and ``last``, as they are."""
    check_no_control(argv)
    ours = list(argv[1 : len(argv) - len(theirs) - len(last)])
    assert argv[1 + len(ours) :] == [*theirs, *last]
    assert set(ours[::2]) <= set(options), ours
    assert not [value for value in ours[1::2] if value.startswith("-")], ours
    return ours
