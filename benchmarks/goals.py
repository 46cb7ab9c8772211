"""The goals that we have set ourselves, and whether samples meet them: pure arithmetic over a table.

A goal compares ratios of one run, or a figure with a bound. Rates are compared without anybody's start, which has a
goal of its own; the tables have them with it, too. A goal whose measure did not run has no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contestants import CONTESTANTS, DISTRIBUTED, QUEUE
from benchmarks.measures import Sample, ratio, spread, summaries

RATE = "tasks_per_s"


@dataclass(frozen=True)
class Goal:
    """``figure`` of ``one``, as a ratio to that of the best of ``others``, or as it is where there is none.
    ``least``, ``most``: the bounds; ``small``: the less the better, which says who of the others is best."""

    what: str
    measure: str
    figure: str
    one: str = "ours"
    others: tuple[str, ...] = ()
    least: float = 0.0
    most: float = float("inf")
    small: bool = False

    @property
    def bound(self) -> str:
        bounds = [f"≥ {self.least:g}"] if self.least else []
        return " and ".join([*bounds, f"≤ {self.most:g}"] if self.most != float("inf") else bounds)


@dataclass(frozen=True)
class Verdict:
    """``met``: None if there is nothing to judge; ``found``: in words."""

    goal: Goal
    met: bool | None
    found: str


_DISTRIBUTED = tuple(c.key for c in CONTESTANTS if c.kind == DISTRIBUTED)
#: who is there to be compared with at the start; pools that fork and programs that only fork have nothing to start
_STARTS = ("joblib-generator", *(c.key for c in CONTESTANTS if c.start and c.kind in (DISTRIBUTED, QUEUE)))

GOALS: tuple[Goal, ...] = (
    Goal("string IDs, against joblib", "noop-strings", RATE, others=("joblib-auto",), least=2.0),
    Goal("string IDs, against the best distributed peer", "noop-strings", RATE, others=_DISTRIBUTED, least=3.0),
    Goal("string IDs, against Pool(100)", "noop-strings", RATE, others=("pool-100",), least=0.7),
    Goal("integers, against Pool.map", "noop-integers", RATE, others=("pool-auto",), least=1.0),
    Goal("a generator against a plain function", "noop-strings", "returned_tasks_per_s", others=("ours-function",),
         least=0.85, most=1.15),
    Goal("next, 16 connections, calls/s", "next", "calls_per_s", "next-16", least=12_000),
    *(Goal(f"{title}, against a bare loop", measure, "tasks_per_s", others=("loop",), least=0.99)
      for measure, title in (("sleep-1ms", "1 ms of sleep"), ("sleep-10ms", "10 ms of sleep"),
                             ("burn-1ms", "1 ms of CPU"), ("burn-10ms", "10 ms of CPU"))),
    Goal("tail, seconds against the ideal schedule", "tail", "inside_s", others=("order",), most=1.05, small=True),
    Goal("seconds to the first task accepted", "start", "first_s", most=0.12, small=True),
    Goal("the same against the best peer but pools that fork and programs", "start", "first_s", others=_STARTS,
         most=1.0, small=True),
    Goal("the demonstration: joblib's seconds against ours", "demo", "whole_s", "joblib-auto", ("ours",),
         least=0.97),
    Goal("MiB of the Coordinator, 100,000 IDs", "memory", "peak_mib", most=45, small=True),
    Goal("MiB of the Coordinator, 10,000,000 IDs", "resume", "long_coordinator_mib", most=45, small=True),
    Goal("resume after 10,000,000 IDs, seconds to a new one", "resume", "first_s", most=5, small=True),
    Goal("resume after 10,000,000 IDs, MiB", "resume", "peak_mib", most=150, small=True),
    Goal("simulated processors held for dead", "simulated", "false_deaths", most=0, small=True),
    Goal("an exchange of simulated processors, p99 in ms", "simulated", "p99_ms", most=100, small=True),
    Goal("CPU of a Processor a task, µs", "noop-strings", "processors_cpu_us_per_task", most=1.0, small=True),
    Goal("import of a Processor, seconds", "import", "processor_import_s", most=0.08, small=True),
)  # fmt: skip


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    return [judge(goal, samples) for goal in GOALS]


def judge(goal: Goal, samples: Sequence[Sample]) -> Verdict:
    """Medians decide."""
    name = ""
    if goal.others:
        best = best_of(goal, samples)
        value = ratio(samples, goal.measure, goal.figure, goal.one, best) if best else None
        name = f" of {best}" if best and len(goal.others) > 1 else ""
    else:
        value = summaries(samples).get((goal.measure, goal.one, goal.figure))
    if value is None:
        return Verdict(goal, None, "not measured")
    met = goal.least <= value.median <= goal.most
    return Verdict(goal, met, spread(value, "" if goal.others else goal.figure) + name)


def best_of(goal: Goal, samples: Sequence[Sample]) -> str | None:
    """The one of the others with the best median; None if nobody was measured."""
    medians = {
        contestant: value.median
        for (measure, contestant, name), value in summaries(samples).items()
        if measure == goal.measure and name == goal.figure and contestant in goal.others
    }
    if not medians:
        return None
    return (min if goal.small else max)(medians, key=lambda contestant: medians[contestant])
