"""Who runs when, and the loop: in each round everybody runs once, one after another, beginning with another each time.

:func:`plan` is pure. :class:`Play` carries a plan out, keeps each sample as soon as it is there, and goes on when
somebody fails: a peer that fails is reported with its reason, a run of ours that is no result ends in failure.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.accepted import NotAResult
from benchmarks.contestants import Contestant
from benchmarks.environments import NotInstallable
from benchmarks.measures import Sample
from benchmarks.ours import Ours
from benchmarks.peer import PeerFailed, Peers
from benchmarks.peers.work import loops_for
from benchmarks.special import RUNS, Field
from benchmarks.workloads import BY_KEY, Workload, taking_part, tasks

#: rounds in which a contestant fails before it is not asked again in this measure
FAILURES = 2


@dataclass(frozen=True)
class Turn:
    """One run of one contestant, or one round of a measure with runs of its own (then without a contestant)."""

    measure: str
    round: int
    contestant: Contestant | None = None
    n: int = 0


@dataclass
class Outcome:
    """``wrong``: runs of ours that are no result; ``failed``: {contestant: reason} of peers."""

    samples: list[Sample] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def plan(measures: Sequence[str], chosen: frozenset[str], rounds: int, quick: bool, share: float = 1.0) -> list[Turn]:
    """``measures``: in this order; ``chosen``: keys of contestants. Who begins a round comes last in the next."""
    turns: list[Turn] = []
    for measure in measures:
        workload = BY_KEY.get(measure)
        if workload is None:
            turns += [Turn(measure, number) for number in range(1, (rounds if RUNS[measure][1] else 1) + 1)]
            continue
        them = [contestant for contestant in taking_part(workload, quick) if contestant.key in chosen]
        for number in range(1, rounds + 1):
            first = (number - 1) % max(1, len(them))
            turns += [
                Turn(measure, number, contestant, tasks(workload, contestant, quick, share))
                for contestant in them[first:] + them[:first]
            ]
    return turns


class Play:
    """``work``: a directory for those of the runs; ``keep``: told of each sample as soon as it is there."""

    def __init__(
        self,
        ours: Ours,
        peers: Peers,
        work: Path,
        chosen: frozenset[str],
        quick: bool,
        keep: Callable[[Sample], None],
        share: float,
        simulated: tuple[int, float],
    ) -> None:
        self._ours, self._peers, self._work = ours, peers, work
        self._keep = keep
        self.outcome = Outcome()
        self._loops: dict[float, int] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._field = Field(ours, peers, self.directory, chosen, quick, self._peer_failed, share, *simulated)

    def directory(self, name: str) -> Path:
        """An empty one, for one run."""
        place = self._work / name
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        return place

    def ready(self, contestants: Sequence[Contestant]) -> None:
        """Install what each needs and let it do a few tasks, which also compiles its modules."""
        for contestant in contestants:
            if contestant.ours:
                continue
            workload = BY_KEY["noop-integers" if "noop" in contestant.takes else "sleep-1ms"]
            if contestant.key == "order":
                workload = replace(workload, work="tail")
            try:
                self._peers.check(contestant)
                self._peers.workload(contestant, workload, 10, self._size(workload), self.directory("ready"))
            except (NotInstallable, PeerFailed) as error:
                self._peer_failed(contestant.key, str(error))
                self._failures["", contestant.key] = FAILURES

    def take(self, turns: Sequence[Turn]) -> Outcome:
        began = time.monotonic()
        for number, turn in enumerate(turns, 1):
            who = turn.contestant.label if turn.contestant else "of all"
            minutes, seconds = divmod(round(time.monotonic() - began), 60)
            say(f"[{number}/{len(turns)} {minutes}:{seconds:02}] {turn.measure}, round {turn.round}, {who}")
            try:
                self._take(turn)
            except NotAResult as error:
                self.outcome.wrong.append(f"{turn.measure}, round {turn.round}, {who}: {error}")
                say(self.outcome.wrong[-1])
            except KeyboardInterrupt:  # what was measured so far is told
                self.outcome.wrong.append(f"interrupted in run {number} of {len(turns)}: the tables are not whole")
                break
        return self.outcome

    def _take(self, turn: Turn) -> None:
        contestant = turn.contestant
        if contestant is None:
            for key, figures in RUNS[turn.measure][0](self._field).items():
                self._sample(Sample(turn.measure, key, turn.round, 0, figures))
            return
        if any(self._failures.get((measure, contestant.key), 0) >= FAILURES for measure in ("", turn.measure)):
            return
        workload, directory = BY_KEY[turn.measure], self.directory("run")
        size = self._size(workload)
        if contestant.ours:
            function = contestant.key == "ours-function"
            figures = self._ours.workload(workload, turn.n, size, directory, function)
        else:
            try:
                figures = self._peers.workload(contestant, workload, turn.n, size, directory)
            except PeerFailed as error:
                self._peer_failed(contestant.key, f"{turn.measure}: {error}")
                asked = (turn.measure, contestant.key)
                self._failures[asked] = self._failures.get(asked, 0) + 1
                return
        self._sample(Sample(turn.measure, contestant.key, turn.round, turn.n, figures))

    def _size(self, workload: Workload) -> float:
        """Seconds, or for burning the loops that take so long; found once, so that they are the same for everybody."""
        if workload.work != "burn":
            return workload.size_s
        if workload.size_s not in self._loops:
            self._loops[workload.size_s] = loops_for(workload.size_s)
        return self._loops[workload.size_s]

    def _sample(self, sample: Sample) -> None:
        self.outcome.samples.append(sample)
        self._keep(sample)

    def _peer_failed(self, key: str, reason: str) -> None:
        say(f"{key}: {reason}")
        self.outcome.failed.setdefault(key, reason)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def kept_in(path: Path) -> Callable[[Sample], None]:
    """Each sample becomes a line of a file at once: a run of hours that is interrupted was not for nothing."""

    def keep(sample: Sample) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sample)) + "\n")

    return keep
