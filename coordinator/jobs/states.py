"""What a job and an attempt at it can be, and what follows from how an attempt ended. Values and decisions only.

The store keeps these words, :mod:`coordinator.jobs.reconcile` asks here what a piece of evidence means. A job's state
is what people see and may set to any word of their own; an attempt's stage is ours, and its table is below. Nothing
here reads a file, a clock or a scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from coordinator.core.statuses import Cause, State, Status, Used
from coordinator.executors.jobscript import NO_CLAIM, NO_LINE, Exit

INIT, SUBMIT, RUN, SPAWN = "init", "submit", "run", "spawn"
COMPLETE, COLLECTED, FAILED, LOST, CANCELLED = "complete", "collected", "failed", "lost", "cancelled"

#: what a copy of a job has said, beside complete: the last one, which was told to finish the job; one that another has
#: taken the place of
LAST, REPLACED = "last", "over"

#: an attempt is under way
ACTIVE = frozenset((SUBMIT, RUN, SPAWN))
#: the work is done
GOOD = frozenset((COMPLETE, COLLECTED))
#: the work is not done, and nobody is at it
BAD = frozenset((FAILED, LOST, CANCELLED))
#: in the order in which people read them
ORDER = (COMPLETE, COLLECTED, RUN, SPAWN, SUBMIT, INIT, FAILED, LOST, CANCELLED)

#: seconds that an exit file, or the scheduler's word on a signal, may come late (network file systems, accounting)
LATE_S = 60.0
#: seconds after which a job that its scheduler does not know, and that left nothing, is called lost
FORGOTTEN_S = 600.0


class Stage(Enum):
    """Of an attempt."""

    WRITTEN = "written"  #: the intent is on disk; nobody knows whether its scheduler does
    SENT = "sent"  #: its scheduler has it
    BEGUN = "begun"  #: it has begun
    OVER = "over"  #: it has ended, and the outcome says how


#: an attempt that is over stays so; only of a lost one may be heard again
MOVES: Mapping[Stage, frozenset[Stage]] = {
    Stage.WRITTEN: frozenset((Stage.SENT, Stage.BEGUN, Stage.OVER)),
    Stage.SENT: frozenset((Stage.BEGUN, Stage.OVER)),
    Stage.BEGUN: frozenset((Stage.OVER,)),
    Stage.OVER: frozenset(),
}


def before(stage: Stage) -> frozenset[str]:
    """The stages from which one may come into this, as the store has them: who writes one asks for these."""
    return frozenset(one.value for one, others in MOVES.items() if stage in others)


class Outcome(Enum):
    OK = "ok"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class End:
    """How an attempt ended. ``began``, ``ended``: seconds since the epoch, by its own host."""

    outcome: Outcome
    code: int | None = None
    signal: int | None = None
    cause: Cause = Cause.NONE
    words: str = ""
    host: str = ""
    began: float | None = None
    ended: float | None = None
    used: Used = field(default_factory=Used)


#: of an attempt that was cancelled before it began
NEVER = End(Outcome.CANCELLED, cause=Cause.CANCELLED, words="it was cancelled before it began")


@dataclass(frozen=True)
class Evidence:
    """What is known of an attempt that is not over. ``status``: None if its scheduler was not asked now; ``silent_s``:
    for how long it has been known that it is over, or its scheduler has known nothing of it, without it being known
    how it ended; ``cancelled``: somebody asked for its end here."""

    exit: Exit | None
    status: Status | None
    begun: bool
    silent_s: float
    cancelled: bool


def end_of(seen: Evidence) -> End | None:
    """The exit file first, the scheduler second; None while neither says that it is over. Silence is no end."""
    if seen.exit is not None:
        return _by_exit(seen.exit, seen)
    status = seen.status
    if status is None or status.state in (State.WAITS, State.RUNS):
        return None
    if status.state is State.UNKNOWN:
        if status.forgotten and seen.cancelled:
            return End(Outcome.CANCELLED, cause=Cause.CANCELLED, words="it was cancelled")
        if not status.forgotten or seen.silent_s < FORGOTTEN_S:
            return None
        return End(Outcome.LOST, words=f"{status.words}; it left no exit file")
    return _by_status(status, seen)


def _by_exit(exit: Exit, seen: Evidence) -> End | None:
    ended = End(Outcome.OK, exit.code, exit.signal or None, host=exit.host, began=exit.began, ended=exit.ended,
                used=_used(exit, seen.status))  # fmt: skip
    if exit.code == 0 and not seen.cancelled:
        return ended
    # Why it was ended is known to who ended it, which takes a moment to say so. Asked to end, a program may well do so
    # with 0 and without having done its work.
    if not seen.cancelled and not _spoken(seen.status) and seen.silent_s < LATE_S:
        return None
    cause = Cause.CANCELLED if seen.cancelled else Cause.NONE if seen.status is None else seen.status.cause
    outcome = Outcome.CANCELLED if cause is Cause.CANCELLED else Outcome.FAILED
    return replace(ended, outcome=outcome, cause=cause, words=cause.value)


def _spoken(status: Status | None) -> bool:
    """Will its scheduler say no more about it? A script that a person runs never does."""
    return status is not None and (status.state in (State.ENDED, State.WAITS) or status.forgotten)


def _by_status(status: Status, seen: Evidence) -> End | None:
    ended = End(Outcome.FAILED, status.code, status.signal, status.cause, status.words, status.host, used=status.used)
    if seen.cancelled or status.cause is Cause.CANCELLED:
        return replace(ended, outcome=Outcome.CANCELLED, cause=Cause.CANCELLED)
    if status.cause is not Cause.NONE:
        return ended
    if seen.silent_s < LATE_S:
        return None
    if not seen.begun and status.code in (NO_LINE, NO_CLAIM):
        words = "its script could not begin it: see the output of the submission"
        return replace(ended, cause=Cause.LAUNCH, words=words)
    if status.code or status.signal:
        return ended
    if status.code == 0 and seen.begun:
        return replace(ended, outcome=Outcome.OK, words="by its scheduler's word: its exit file is missing")
    words = status.words or "its scheduler says that it ended, not how"
    return replace(ended, outcome=Outcome.LOST, words=f"{words}; it left no exit file")


def state_after(state: str, asked: bool, end: End) -> str:
    """A job's state after an attempt at it. ``asked``: the job has asked for its metadata, so that it says itself when
    it is complete; a program that never did is complete when it ends well."""
    if state in GOOD:
        return state  # it said so itself
    if end.outcome is not Outcome.OK:
        said: str = end.outcome.value
        return said
    if state == LOST:
        state = RUN
    if state == SUBMIT or (state == RUN and not asked):
        return COMPLETE
    return state


def missing(state: str, stage: Stage | None, forgotten: bool) -> bool:
    """Has somebody to look at it? It failed, or was lost, or is said to be under way and is not."""
    if state in (FAILED, LOST):
        return True
    return state in ACTIVE and (forgotten or stage is None or stage is Stage.OVER)


def _used(exit: Exit, status: Status | None) -> Used:
    own, told = exit.used, Used() if status is None else status.used
    return Used(
        own.wall_s if own.wall_s is not None else told.wall_s,
        own.cpu_s if own.cpu_s is not None else told.cpu_s,
        own.memory if own.memory is not None else told.memory,
    )
