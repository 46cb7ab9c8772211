"""Whether a job that ended badly is tried again by itself, and after which pause: ``retries`` in its JobInfo.

::

    2                                                  twice, whatever it was
    {"node": 3, "memory": 1, "any": 1, "backoff_s": 60}    by what ended it

Changes of jobs are checked here, and :mod:`.reconcile` asks here when an attempt is over. Each cause is counted by
itself, from when the job was last set back by somebody: what a person tries again begins anew. Nothing here reads a
clock or the store.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from coordinator.core.statuses import Cause
from coordinator.errors import BadInput
from coordinator.jobs.states import INIT, End, Outcome

EXIT, SIGNAL, LOST, ANY, BACKOFF = "exit", "signal", "lost", "any", "backoff_s"
#: what may end an attempt: its own exit status, a signal, silence, or what its scheduler calls the cause
CAUSES = (EXIT, SIGNAL, LOST, *(cause.value for cause in Cause if cause not in (Cause.NONE, Cause.CANCELLED)))
#: more is a slip of the keyboard
MOST_TIMES, LONGEST_BACKOFF_S = 1000, 30 * 86_400.0
#: seconds before the first retry where the job does not say, and the longest pause between two that grew by itself
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 3600.0
#: a pause is up to so much shorter or longer, so that what failed together does not come back together
SPREAD = 0.25


@dataclass(frozen=True)
class Policy:
    """``times``: {cause: how often}; ``any``: for each cause that is not named; ``backoff_s``: before the first."""

    times: Mapping[str, int] = field(default_factory=dict)
    any: int = 0
    backoff_s: float = FIRST_PAUSE_S


def read(told: object) -> Policy:
    """Raises BadInput, which names what is wrong."""
    if told is None:
        return Policy()
    if isinstance(told, int) and not isinstance(told, bool):
        return Policy(any=_times("retries", told))
    if not isinstance(told, Mapping):
        raise BadInput(f"retries is a number, or a dictionary {{cause: number}}, not {told!r:.100}")
    times = {}
    for name, value in told.items():
        if name == BACKOFF:
            continue
        if name != ANY and name not in CAUSES:
            near = difflib.get_close_matches(str(name), (*CAUSES, ANY, BACKOFF), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadInput(f"retries: no job ends by {name!r:.100}: {hint}There are {', '.join((*CAUSES, ANY))}")
        times[name] = _times(f"retries: {name}", value)
    pause_s = told.get(BACKOFF, FIRST_PAUSE_S)
    number = isinstance(pause_s, int | float) and not isinstance(pause_s, bool)
    if not number or not 0 <= pause_s <= LONGEST_BACKOFF_S:
        raise BadInput(f"retries: {BACKOFF} is a number of seconds up to {LONGEST_BACKOFF_S:,.0f}, not {pause_s!r:.50}")
    return Policy(times, times.pop(ANY, 0), float(pause_s))


def cause_of(end: End) -> str:
    """One of :data:`CAUSES`; "" where there is nothing to try again: it ended well, or somebody ended it."""
    if end.outcome in (Outcome.OK, Outcome.CANCELLED):
        return ""
    if end.cause.value:
        return end.cause.value
    return LOST if end.outcome is Outcome.LOST else SIGNAL if end.signal else EXIT


def used(events: Iterable[tuple[str, Mapping[str, object]]]) -> dict[str, int]:
    """{cause: how often it has been tried again} by a job's events (kind, what it tells), in their order."""
    found: dict[str, int] = {}
    cause = EXIT
    for kind, told in events:
        if kind == "ended":
            cause = str(told.get("cause") or EXIT)
        elif kind == "retried":
            found[cause] = found.get(cause, 0) + 1
        elif kind == "changed":
            state = told.get("state")
            if isinstance(state, list) and state[-1:] == [INIT]:
                found.clear()  # somebody has set it back
    return found


def again_s(policy: Policy, cause: str, used: Mapping[str, int], chance: float) -> float | None:
    """Seconds until it is tried again; None: it is not. ``chance``: from 0 to 1."""
    if cause not in CAUSES:
        return None
    if cause in policy.times:
        left = policy.times[cause] - used.get(cause, 0)
    else:
        left = policy.any - sum(times for name, times in used.items() if name not in policy.times)
    if left <= 0:
        return None
    return pause_s(policy.backoff_s, sum(used.values()), chance)


def pause_s(first_s: float, so_far: int, chance: float) -> float:
    """Doubled after each of ``so_far`` pauses. ``chance``: from 0 to 1."""
    power = math.ldexp(1.0, min(so_far, 1000))  # which is still a number
    return max(first_s, min(LONGEST_PAUSE_S, first_s * power)) * (1 - SPREAD + 2 * SPREAD * chance)


def _times(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TIMES:
        raise BadInput(f"{name} is a number of times from 0 to {MOST_TIMES}, not {value!r:.100}")
    return value
