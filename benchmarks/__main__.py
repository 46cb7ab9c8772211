"""``python -m benchmarks``: peers and ourselves in one run, in turn; tables, a saved result and a plot.

    python -m benchmarks                       everything: about two hours
    python -m benchmarks --quick               ours against Pool, joblib and dask: some minutes
    python -m benchmarks --only start,huey     only these measures, or only these contestants beside ourselves
    python -m benchmarks --json                the result on stdout, as it is saved

The exit status is 1 if a run of ours lost or doubled an ID or failed otherwise; never because of a time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import contestants, machine
from benchmarks.contestants import BARE, CONTESTANTS, Contestant
from benchmarks.environments import PLACE, Environments, NotInstallable
from benchmarks.ours import Ours
from benchmarks.page import draw
from benchmarks.peer import Peers
from benchmarks.report import markdown
from benchmarks.rounds import Outcome, Play, kept_in, plan, say
from benchmarks.workloads import BY_KEY, MEASURES, SPECIAL, taking_part

RESULTS = PLACE / "results"
ROUNDS, ROUNDS_QUICK = 5, 2


def asked(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*MEASURES, *sorted({contestant.key for contestant in CONTESTANTS})]
    parser.add_argument("--quick", action="store_true", help="ours against Pool, joblib and dask, with few tasks")
    parser.add_argument("--only", action="append", default=[], metavar="NAME,...", help=f"any of {', '.join(names)}")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME,...", help="the same, left out")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, or {ROUNDS_QUICK} when quick")
    parser.add_argument("--share", type=float, default=1.0, help="of the tasks, to try things: 0.01")
    parser.add_argument("--processors", type=int, default=2)
    parser.add_argument("--simulated", type=int, default=2000, metavar="N", help="how many simulated processors")
    parser.add_argument("--simulated_s", type=float, default=600.0, metavar="SECONDS", help="how long they work")
    parser.add_argument("--json", action="store_true", help="print the result instead of the tables")
    parser.add_argument("--no_plot", action="store_true", help="draw nothing, and install no matplotlib for it")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY", help="where it is saved")
    told = parser.parse_args(argv)
    told.results = told.results.resolve()  # the measured programs work elsewhere
    told.rounds = told.rounds or (ROUNDS_QUICK if told.quick else ROUNDS)
    told.only, told.skip = ({name for given in some for name in given.split(",")} for some in (told.only, told.skip))
    unknown = (told.only | told.skip) - set(names)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: neither a measure nor a contestant")
    return told


def chosen_measures(told: argparse.Namespace) -> list[str]:
    """Those named, or all of a quick or a full run."""
    quick = [key for key in BY_KEY if BY_KEY[key].quick] + [key for key in SPECIAL if SPECIAL[key][1]]
    every = quick if told.quick else list(MEASURES)
    named = [measure for measure in MEASURES if measure in told.only]
    return [measure for measure in named or every if measure not in told.skip]


def chosen_contestants(told: argparse.Namespace) -> list[Contestant]:
    """Those named, or all; ourselves and no farm at all are always there."""
    every = contestants.QUICK if told.quick else tuple(contestant.key for contestant in CONTESTANTS)
    named = [key for key in contestants.BY_KEY if key in told.only]
    always = {contestant.key for contestant in CONTESTANTS if contestant.ours or contestant.kind == BARE}
    return [c for c in CONTESTANTS if c.key in (set(named or every) | always) - told.skip]


def main(
    argv: Sequence[str] | None = None, environments: Environments | None = None, ourselves: type[Ours] = Ours
) -> int:
    told = asked(sys.argv[1:] if argv is None else argv)
    measures, them = chosen_measures(told), chosen_contestants(told)
    chosen = frozenset(contestant.key for contestant in them)
    told.results.mkdir(parents=True, exist_ok=True)
    environments = environments or Environments()
    with tempfile.TemporaryDirectory(prefix="work-", dir=told.results.parent) as work:
        home = Path(work, "home")
        home.mkdir()
        ours = ourselves(environments, home, told.processors)
        peers = Peers(environments, home, told.processors)
        described = machine.describe(Path(work), environments, set())
        lines = told.results / "samples.jsonl"
        lines.unlink(missing_ok=True)
        play = Play(
            ours, peers, Path(work), chosen, told.quick, kept_in(lines), told.share, (told.simulated, told.simulated_s)
        )
        turns = plan(measures, chosen, told.rounds, told.quick, told.share)
        needed = who_takes_part(measures, them, told.quick)
        environments.python("")  # ours
        play.ready(needed)
        outcome = play.take(turns)
        described["versions"] = machine.versions(environments, {contestant.environment for contestant in needed})
        described["load_after"] = os.getloadavg()[0]
    result = saved(told, described, outcome)
    return show(told, environments, result)


def who_takes_part(measures: Sequence[str], them: Sequence[Contestant], quick: bool) -> list[Contestant]:
    """Those who run in one of the measures."""
    running = {c.key for measure in measures if measure in BY_KEY for c in taking_part(BY_KEY[measure], quick)}
    if "demo" in measures:
        running.add("joblib-auto")
    if "memory" in measures:
        running |= {"dask-futures", "ray-tasks", "parsl"}
    return [contestant for contestant in them if contestant.key in running]


def saved(told: argparse.Namespace, described: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {
        "asked": {name: getattr(told, name) for name in ("quick", "rounds", "processors", "share")},
        "machine": described,
        "samples": [asdict(sample) for sample in outcome.samples],
        "failed": outcome.failed,
        "wrong": outcome.wrong,
    }


def show(told: argparse.Namespace, environments: Environments, result: dict[str, Any]) -> int:
    """Save, print, draw; the exit status."""
    kind = "quick" if told.quick else "full"
    path = told.results / f"{kind}.json"
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    text = markdown(result)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(json.dumps(result, indent=1) if told.json else text)
    say(f"saved as {path}, with .md beside it")
    if not told.no_plot:
        try:
            draw(path, environments, path.with_suffix(".svg"), path.with_suffix(".png"))
        except NotInstallable as error:
            say(f"no plot: {error}")
    for wrong in result["wrong"]:
        say(f"NOT A RESULT: {wrong}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
