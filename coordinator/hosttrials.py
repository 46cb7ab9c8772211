"""The trials of a run's hosts: what its reports say of them, how much they may be given, what follows.

The run makes one and asks it before it leases; whether a host or its tasks are at fault is core.trials' to decide.
What failed on a host that is at fault is TODO again, by a record in the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from coordinator.core.ledger import Ledger, Verdict
from coordinator.core.records import Kind
from coordinator.core.trials import IN_A_ROW, LEAVES, SHOWN_S, Judgement, Trials
from coordinator.hired import Hired
from coordinator.journal import Journal


class HostTrials:
    """``hired``: the run's processors by number, which come and go."""

    def __init__(self, journal: Journal, ledger: Ledger, hired: Mapping[int, Hired]) -> None:
        self._journal, self._ledger, self._hired = journal, ledger, hired
        self._trials = Trials()
        #: as LEAVES, unless the job says otherwise (max_initialization_errors)
        self.leaves = LEAVES
        #: told of a host that shall rest, since nothing works there, and why; and of each on which a task was done
        self.rests: Callable[[str, str], None] = lambda *_: None
        self.works: Callable[[str], None] = lambda _: None
        #: hosts where processors were started and are not here yet
        self.coming: Callable[[], set[str]] = set
        #: processors that left in trouble: since a task was done on their host, and since one was done at all
        self._leaves: Counter[str] = Counter()
        self._in_a_row = 0

    def hosts(self, now: float) -> set[str]:
        """Where processors work that were heard of within a term, or are about to."""
        since = now - self._ledger.term_s
        return self.coming() | {
            hired.host
            for hired in self._hired.values()
            if hired.heard >= since and not (hired.leaving or hired.classic)
        }

    def room(self, hired: Hired, now: float) -> int | None:
        """How many tasks its host may be given; None: as many as it wants."""
        if self._trials.proven(hired.host):
            return None
        return self._trials.room(hired.host, self.hosts(now) - {hired.host}, *self._outstanding(hired.host, now))

    def again(self, host: str) -> None:
        """A processor begins there."""
        self._trials.again(host)

    def heed(self, hired: Hired, verdict: Verdict, now: float) -> None:
        """A report of that processor was taken."""
        if verdict.done:
            self._trials.succeeded(hired.host)
            self.works(hired.host)
            self._leaves.pop(hired.host, None)
            self._in_a_row = 0
        for position, _, _ in verdict.failed:
            self._trials.failed(hired.host, position, hired.last_s)
        if self._trials.doubtful:
            self._judge(now)

    def left_in_trouble(self, host: str, words: str, now: float) -> str | None:
        """A processor left with too many errors, or could not start. Why the job is to stop, if it is: where other
        hosts work, only this one rests."""
        self._leaves[host] += 1
        self._in_a_row += 1
        others = self.hosts(now) - {host}
        if self._in_a_row >= self.leaves and others <= self._leaves.keys():
            if self._in_a_row == 1:
                reason = f"the first processor left without one task done: {words}"
            else:
                reason = (
                    f"{self._in_a_row} processors left one after another without one task done between them: {words}"
                )
            return reason
        if self._leaves[host] >= self.leaves:
            times = self._leaves.pop(host)
            who = "a processor" if times == 1 else f"{times} processors"
            reason = f"{who} left it without one task done there: {words}"
            self.rests(host, reason)
        return None

    def _judge(self, now: float) -> None:
        """As long as nobody can tell, a host rests now and then tries one task again."""
        hosts = self.hosts(now)
        for host in self._trials.doubtful:
            judgement = self._trials.judge(host, hosts - {host})
            if judgement is Judgement.AT_FAULT:
                tasks = self._excuse(host)
                words = (
                    f"{IN_A_ROW} tasks in a row failed there at once while other hosts did theirs;"
                    f" {tasks} of them are tried elsewhere"
                )
            elif judgement is Judgement.DOUBTFUL and self._trials.rest(host):
                words = f"{IN_A_ROW} tasks in a row failed there at once, and no other host has done one yet"
            else:
                continue
            self.rests(host, words)

    def _excuse(self, host: str) -> int:
        """What failed there is TODO again; how many tasks these are."""
        _, failed = self._journal.settled()
        ranges = [(position, position + 1) for position in self._trials.blame(host) if position in failed]
        self._journal.append(Kind.REDO, {"r": [list(one) for one in ranges]})
        self._ledger.redo(ranges, 0, len(ranges))
        return len(ranges)

    def _outstanding(self, host: str, now: float) -> tuple[int, int]:
        """Tasks that were leased there a moment ago, and leases that are older."""
        numbers = [hired.number for hired in self._hired.values() if hired.host == host]
        leases = [lease for number in numbers for lease in self._ledger.held_by(number)]
        young = [lease.open.total() for lease in leases if now - lease.given < SHOWN_S]
        return sum(young), len(leases) - len(young)
