"""What is made of samples: medians, spread, ratios. Pure; the tables of report.py and the goals are made of it.

A sample is one run of one contestant: figures by name, whose names end in their unit (``whole_s``, ``tasks_per_s``,
``peak_mib``).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """``round``: from 1; contestants of the same round ran one after another. ``n``: tasks."""

    measure: str
    contestant: str
    round: int
    n: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """Of the rounds of one figure. ``mad``: the median of the distances from the median."""

    median: float
    least: float
    most: float
    mad: float
    rounds: int
    n: int = 0


Key = tuple[str, str, str]
Summaries = dict[Key, Summary]


def summary(values: Sequence[float], n: int = 0) -> Summary:
    """At least one value."""
    median = statistics.median(values)
    mad = statistics.median(abs(value - median) for value in values)
    return Summary(median, min(values), max(values), mad, len(values), n)


def summaries(samples: Iterable[Sample]) -> Summaries:
    """By (measure, contestant, figure)."""
    found: dict[Key, list[tuple[float, int]]] = defaultdict(list)
    for sample in samples:
        for figure, value in sample.figures.items():
            found[sample.measure, sample.contestant, figure].append((value, sample.n))
    return {key: summary([value for value, _ in values], values[-1][1]) for key, values in found.items()}


def ratio(samples: Iterable[Sample], measure: str, figure: str, one: str, other: str) -> Summary | None:
    """``one`` divided by ``other``, round by round, since what disturbs a machine disturbs a round; None if no round
    has both."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for sample in samples:
        if sample.measure == measure and figure in sample.figures:
            found[sample.round][sample.contestant] = sample.figures[figure]
    ratios = [
        values[one] / values[other] for values in found.values() if one in values and other in values and values[other]
    ]
    return summary(ratios) if ratios else None


def rates(n: int, whole_s: float, inside_s: float) -> dict[str, float]:
    """The figures of a run of ``n`` tasks: all of it, and without its start."""
    figures = {"whole_s": whole_s, "inside_s": inside_s}
    if whole_s > 0:
        figures["whole_tasks_per_s"] = n / whole_s
    if inside_s > 0:
        figures["tasks_per_s"] = n / inside_s
    return figures


def too_fast(figures: dict[str, float], n: int, size_s: float, processors: int) -> bool:
    """Were ``n`` sleeps over before they can be? Then somebody counted what was not done."""
    return figures["inside_s"] < n * size_s / processors * 0.999


def ideal_s(durations_s: Sequence[float], processors: int) -> float:
    """When the last of these tasks ends if each is begun, in this order, by whoever is free first."""
    free = [0.0] * processors
    for duration in durations_s:
        soonest = free.index(min(free))
        free[soonest] += duration
    return max(free)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 10_000) * len(ordered) // 10_000) - 1))]


def shown(value: float, figure: str = "") -> str:
    """A figure for people: three digits, thousands as k, millions as M where it is a rate."""
    if figure.endswith("per_s"):
        for size, unit in (1e6, "M"), (1e3, "k"):
            if value >= 10 * size or (unit == "M" and value >= size):
                return f"{_three(value / size)}{unit}"
        return f"{value:,.0f}" if value >= 100 else _three(value)
    return _three(value) if abs(value) < 10_000 else f"{value:,.0f}"


def spread(value: Summary | None, figure: str = "") -> str:
    """Median (least to most)."""
    if value is None:
        return ""
    median = shown(value.median, figure)
    if value.rounds == 1:
        return median
    return f"{median} ({shown(value.least, figure)} to {shown(value.most, figure)})"


def _three(value: float) -> str:
    digits = next((digits for digits, least in enumerate((100, 10, 1)) if abs(value) >= least), 3)
    return f"{value:.{digits}f}"
