"""How long the calls take that touch every job of a large batch: add, get_queue, set_batch_field.

python -m benchmarks.batches                     # 100,000 jobs, three rounds; half a minute
python -m benchmarks.batches --jobs 20000 --rounds 1 --save FILE.json

Each round has a store of its own in a new directory. What the calls are to leave is counted by SQLite itself, and a
round that left anything else is none. Nothing is submitted, and no time makes it fail.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.accepted import NotAResult
from coordinator import batch as psu
from coordinator.batch.home import home

JOBS, ROUNDS = 100_000, 3
#: seconds that a call may take with 100,000 jobs
GOALS = {
    "add_batch_to_queue": 10.0,
    "get_queue": 1.0,
    "set_batch_field, a field": 3.0,
    "set_batch_field, the state": 3.0,
}


@dataclass(frozen=True)
class Took:
    call: str
    seconds: float


def measure(jobs: int) -> list[Took]:
    """Raises NotAResult where a call left something else than it should."""
    took = []

    def timed(call: str, do: Callable[[], Any], counted: str) -> Any:
        began = time.perf_counter()
        answer = do()
        took.append(Took(call, time.perf_counter() - began))
        with closing(sqlite3.connect(home().where)) as connection:
            (count,) = connection.execute(f"select count(*) from job where {counted}").fetchone()
        if count != jobs:
            raise NotAResult(f"after {call} there are {count:,} jobs with {counted}, not {jobs:,}")
        return answer

    with tempfile.TemporaryDirectory(prefix="batches.") as place, chdir(place):
        template = psu.get_job_template(SetID=True)
        batch = template["BatchID"]
        infos = [
            {**template, "JobIndex": index, "script": "true", "vars": {"PART": str(index)}} for index in range(jobs)
        ]
        timed("add_batch_to_queue", lambda: psu.add_batch_to_queue(batch, infos), "state = 'init'")
        for _ in range(2):  # the first one finds nothing in memory
            queue = timed("get_queue", lambda: psu.get_queue(Verbose=False), "state = 'init'")
        if queue != {batch: {"init": list(range(jobs))}}:
            raise NotAResult("get_queue does not show the jobs that are there")
        field = {"sample": "liver"}
        timed(
            "set_batch_field, a field", lambda: psu.set_batch_field(batch, field), 'fields like \'%"sample":"liver"%\''
        )
        failed = {"state": "failed"}
        timed("set_batch_field, the state", lambda: psu.set_batch_field(batch, failed), "state = 'failed'")
        timed("set_batch_field, the state", lambda: psu.set_batch_field(batch), "state = 'init'")
        timed("get_queue", lambda: psu.get_queue(Verbose=False), "version = 4")
    return took


def table(found: Sequence[Took], jobs: int) -> Iterator[str]:
    """The median and the worst of each call, beside its goal."""
    yield f"{jobs:,} jobs               median       worst        goal (100,000 jobs)"
    for call, goal_s in GOALS.items():
        seconds = [took.seconds for took in found if took.call == call]
        yield f"{call:28}{statistics.median(seconds):8.3f} s  {max(seconds):8.3f} s  {goal_s:8.0f} s"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--save", type=Path, metavar="FILE.json")
    chosen = parser.parse_args(words)
    save = None if chosen.save is None else chosen.save.absolute()
    found = [took for _ in range(chosen.rounds) for took in measure(chosen.jobs)]
    print("\n".join(table(found, chosen.jobs)))
    if save is not None:
        save.write_text(json.dumps({"jobs": chosen.jobs, "took": [asdict(took) for took in found]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
