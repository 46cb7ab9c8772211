"""How far one Coordinator goes: a farm of up to 10,000 Processors on paper, with costs that were measured.

python -m benchmarks.scaling                     # with the costs of the machine named in docs/performance.rst
python -m benchmarks.scaling --measure           # with this machine's, which takes two minutes
python -m benchmarks.scaling --measure --save FILE.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.largefarm import Costs, Farm, Figures

PROCESSORS = (2, 10, 30, 100, 300, 1000, 3000, 10_000)
TASKS_S = (0.001, 0.01, 0.1, 1.0, 10.0)
#: the share of the Processors' time that shall be work
GOOD = 0.95
#: of the machine in docs/performance.rst, in the middle of November 2026, with other work on it
REFERENCE = Costs(
    exchange_s=106e-6,
    id_s=0.34e-6,
    turn_s=0.5e-3,
    beat_s=69e-6,
    feed_s=0.34e-6,
    round_trip_s=15e-6,
    syncs_s=tuple(
        ms / 1000
        for ms in (
            *(0.20, 0.21, 0.23, 0.24, 0.27, 0.35, 0.41, 0.49, 0.55, 0.62),
            *(0.73, 0.90, 1.3, 2.0, 2.5, 3.2, 3.7, 4.0, 4.1, 6.0),
        )
    ),
)


def curve(costs: Costs, tasks_s: Sequence[float] = TASKS_S, most: int = PROCESSORS[-1]) -> Iterator[Figures]:
    for task_s in tasks_s:
        for processors in PROCESSORS:
            if processors <= most:
                yield Farm(costs, processors, task_s).measure()


def knee(costs: Costs, task_s: float, figures: Sequence[Figures]) -> int | None:
    """How many Processors are still used well, within a twentieth; None where all simulated numbers are."""
    mine = [one for one in figures if one.task_s == task_s]
    bad = next((one.processors for one in mine if one.efficiency < GOOD), None)
    if bad is None:
        return None
    good = max([one.processors for one in mine if one.processors < bad], default=0)
    while bad - good > max(1, good // 20):
        middle = (good + bad) // 2
        if Farm(costs, middle, task_s).measure().efficiency < GOOD:
            bad = middle
        else:
            good = middle
    return good


def length(task_s: float) -> str:
    return f"{task_s * 1000:g} ms" if task_s < 1 else f"{task_s:g} s"


def table(figures: Sequence[Figures]) -> list[str]:
    """Every figure, as a table of reStructuredText."""
    heads = ("task", "Processors", "efficiency", "tasks/s", "a block", "exchanges/s", "Coordinator", "p99")
    rows = [
        (
            length(one.task_s), f"{one.processors:,}", f"{one.efficiency:.3f}", f"{one.tasks_per_s:,.0f}",
            f"{one.block:,.0f}", f"{one.exchanges_per_s:,.0f}", f"{one.load:.0%}", f"{one.p99_ms:,.1f} ms",
        )
        for one in figures
    ]  # fmt: skip
    return lines([heads, *rows])


def overview(figures: Sequence[Figures], knees: dict[float, int | None]) -> list[str]:
    """Efficiency by length of the tasks and number of Processors, and where it falls under ``GOOD``."""
    numbers = sorted({one.processors for one in figures})
    found = {(one.task_s, one.processors): one for one in figures}
    rows = []
    for task_s, at in knees.items():
        knee_at = f"above {numbers[-1]:,}" if at is None else f"{at:,}"
        rows.append((length(task_s), *(f"{found[task_s, n].efficiency:.2f}" for n in numbers), knee_at))
    return lines([("task", *(f"{n:,}" for n in numbers), f"{GOOD} up to"), *rows])


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of reStructuredText; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *rest = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [rule, head, rule, *rest, rule]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="with this machine's costs, measured first")
    parser.add_argument("--save", type=Path, metavar="FILE", help="costs and figures as JSON")
    parser.add_argument("--most", type=int, default=PROCESSORS[-1], metavar="PROCESSORS")
    told = parser.parse_args()
    costs, seen = REFERENCE, dict[str, float]()
    if told.measure:
        from benchmarks.costs import measured

        costs, seen = measured()
    print(f"{costs}\n")
    figures = list(curve(costs, most=told.most))
    knees = {task_s: knee(costs, task_s, figures) for task_s in TASKS_S}
    print("\n".join([*table(figures), "", *overview(figures, knees)]))
    for what, value in seen.items():
        print(f"{what} {value:,.0f}")
    if told.save:
        saved = {"costs": asdict(costs), "figures": [asdict(one) for one in figures], "seen": seen}
        told.save.write_text(json.dumps({**saved, "knees": knees}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
