"""Puts the tables of a saved run into docs/performance.rst, and its plot beside it.

    python -m benchmarks.page RESULT.json [--docs docs]

Only what stands between the two marks of the page is replaced; the words around it are written by people. A quick run
is refused: its figures are no reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.environments import ROOT, Environments, NotInstallable
from benchmarks.report import is_quick, rst
from benchmarks.running import environment, run

BEGIN, END = ".. measured: begin", ".. measured: end"
PLOT = "performance.svg"
PICTURE = f".. image:: {PLOT}\n   :alt: tasks a second and efficiency, ours and the peers'\n\n"


class NoMarks(Exception):
    """The page has not the two marks, each once and in order."""


def filled(page: str, measured: str) -> str:
    """The page with ``measured`` between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise NoMarks(f"the page must have the lines {BEGIN!r} and {END!r}, each once")
    return f"{before}{BEGIN}\n\n{measured.strip()}\n\n{END}{after}"


def draw(result: Path, environments: Environments, *files: Path) -> None:
    """The plot of a saved run. Raises NotInstallable if matplotlib cannot be had, or it does not work."""
    python = environments.python("report")
    env = environment(ROOT, environments.place)
    words = [str(python), "-m", "benchmarks.plot", str(result), *map(str, files)]
    ran = run(words, environments.place, env, 120.0)
    if ran.status != 0:
        raise NotInstallable(f"the plot was not drawn, {ran.reason}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    told = parser.parse_args()
    result = json.loads(told.result.read_text(encoding="utf-8"))
    if is_quick(result) or result["wrong"]:
        print(
            f"{told.result} is of a quick run, or has runs that are no result: the page is left as it is",
            file=sys.stderr,
        )
        return 1
    page = told.docs / "performance.rst"
    try:
        draw(told.result.resolve(), Environments(), (told.docs / PLOT).resolve())
    except NotInstallable as error:
        print(error, file=sys.stderr)
        return 1
    page.write_text(filled(page.read_text(encoding="utf-8"), PICTURE + rst(result, "~")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
