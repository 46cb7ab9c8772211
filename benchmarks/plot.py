"""The plot of a run: no-op tasks a second of everybody, and how near to a bare loop tasks of 1 ms come.

    python -m benchmarks.plot RESULT.json FILE.svg [FILE.png ...]

It runs in the environment ``report`` (requirements/report.txt), the only one that has matplotlib; of this package it
needs what is pure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.contestants import BY_KEY, OURS
from benchmarks.measures import Sample, Summary, ratio, shown, summaries

OUR_COLOUR, THEIR_COLOUR = "#c1440e", "#7a8ca3"
Bars = list[tuple[str, Summary]]


def rates(samples: list[Sample]) -> Bars:
    """(contestant, tasks/s), the slowest first."""
    found = summaries(samples)
    bars = [
        (key, value) for (at, key, figure), value in found.items() if (at, figure) == ("noop-strings", "tasks_per_s")
    ]
    return sorted(bars, key=lambda bar: bar[1].median)


def efficiencies(samples: list[Sample]) -> Bars:
    """(contestant, share of the bare loop's tasks/s)."""
    keys = dict.fromkeys(sample.contestant for sample in samples if sample.measure == "sleep-1ms")
    bars = [(key, ratio(samples, "sleep-1ms", "tasks_per_s", key, "loop")) for key in keys if key != "loop"]
    return sorted([(key, value) for key, value in bars if value is not None], key=lambda bar: bar[1].median)


def draw(axes: Axes, bars: Bars, heading: str, figure: str) -> None:
    medians = [value.median for _, value in bars]
    below = [value.median - value.least for _, value in bars]
    above = [value.most - value.median for _, value in bars]
    colours = [OUR_COLOUR if BY_KEY[key].kind == OURS else THEIR_COLOUR for key, _ in bars]
    axes.barh(range(len(bars)), medians, xerr=[below, above], color=colours, ecolor="#333333", height=0.7)
    axes.set_yticks(range(len(bars)), [BY_KEY[key].label for key, _ in bars], fontsize=8)
    axes.set_title(heading, fontsize=10)
    for position, (_, value) in enumerate(bars):
        axes.annotate(
            shown(value.median, figure), (value.most, position), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=7,
        )  # fmt: skip
    axes.margins(x=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def plot(result: dict[str, Any], files: list[Path]) -> None:
    samples = [Sample(**sample) for sample in result["samples"]]
    left, right = rates(samples), efficiencies(samples)
    mpl.rcParams["svg.hashsalt"] = "the same picture, the same bytes"
    tall = 1.4 + 0.22 * max(len(left), len(right), 4)
    drawn, (one, other) = pyplot.subplots(1, 2, figsize=(13, tall), layout="constrained")
    draw(one, left, "tasks that do nothing, tasks/s, without the start", "tasks_per_s")
    if left:
        one.set_xscale("log")
    draw(other, right, "tasks that sleep 1 ms, share of a bare loop", "")
    machine = result["machine"]
    words = f"{machine['processor']}, {machine['cores']} cores, {machine['when']}; whiskers: least and most"
    drawn.supxlabel(words, fontsize=7)
    for file in files:
        drawn.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=120)


if __name__ == "__main__":
    plot(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), [Path(word) for word in sys.argv[2:]])
