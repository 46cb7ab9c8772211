"""A lease: a run of tasks given to one processor until a deadline.

The ledger makes, renews and ends leases; the task server writes each to the journal before it leaves. Nothing
here reads a clock: ``now`` and deadlines are seconds of the caller's steady clock, terms travel as durations.

A lease that ended (its deadline passed) keeps its ``open`` positions until somebody else is given them: a late
report is welcome as long as nobody else began the work, and a holder that is back before that has its lease again.
"""

from __future__ import annotations

import math

from coordinator.core.spans import Spans

#: seconds a lease lasts without a word from its holder or the holder's keeper
TERM_S = 60.0
#: seconds for a classic XML-RPC client, which has no keeper that vouches for it
CLASSIC_TERM_S = 3600.0
#: seconds that processors which lost their Coordinator wait for it to come back
GRACE_S = 600.0
#: lease numbers of one life of a Coordinator begin at ``life * LIFE_STRIDE``, so that a number whose record was
#: lost in a power cut is never given twice
LIFE_STRIDE = 1 << 32


class Lease:
    """Positions ``start`` to ``stop`` (excluded), given to processor number ``holder``. ``given``: when, on the same
    clock as the deadline; what an earlier life gave was given long ago."""

    __slots__ = ("deadline", "given", "holder", "lapsed", "number", "open", "shared_out", "start", "stop", "term_s")

    def __init__(
        self,
        number: int,
        start: int,
        stop: int,
        holder: int,
        deadline: float,
        term_s: float = TERM_S,
        given: float = -math.inf,
    ) -> None:
        self.number, self.start, self.stop, self.holder = number, start, stop, holder
        self.deadline, self.term_s, self.given = deadline, term_s, given
        self.lapsed = False
        #: some of it was given to others after it lapsed
        self.shared_out = False
        self.open = Spans([(start, stop)])

    def __len__(self) -> int:
        return self.stop - self.start
