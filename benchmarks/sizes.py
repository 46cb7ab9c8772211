"""What a long job weighs: memory of the Coordinator for its slices, a checkpoint, and bytes on disk for an ID.

    python -m benchmarks.sizes [--tasks 1000000000]

The memory is that of the real structures, filled as the feeder fills them and weighed by tracemalloc; the bytes on disk
are those of a real job that is run to its end.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import tracemalloc
from pathlib import Path

from benchmarks.environments import PLACE, Environments
from benchmarks.ours import NAME, Ours
from benchmarks.peers.work import INTEGERS, STRINGS
from coordinator.core.replay import State, checkpoint
from coordinator.core.slices import SliceDigests
from coordinator.feeder import SLICE

#: tasks of the jobs that are run
RUN_TASKS = 300_000
MIB = 1 << 20


def memory(tasks: int) -> dict[str, float]:
    """{what: MiB or seconds} of ``tasks`` whose slices are full and which are all done."""
    tracemalloc.start()
    state, rng, offset = State(), random.Random(1), 0
    for number in range(-(-tasks // SLICE)):
        size = rng.randrange(80_000, 90_000)
        state.slices.add(SLICE, rng.randbytes(16).hex(), number // 1000, offset, size)
        offset += size
    state.done.add(0, tasks)
    index = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    begun = time.perf_counter()
    _, text = checkpoint(state)
    took_s = time.perf_counter() - begun
    _, peak = tracemalloc.get_traced_memory()
    told = [list(one) for one in SliceDigests(state.slices)]
    orders = tracemalloc.get_traced_memory()[0] - index - len(text)
    tracemalloc.stop()
    assert len(told) == len(state.slices)
    return {
        "index of the slices, MiB": index / MIB,
        "a checkpoint on disk, MiB": len(text) / MIB,
        "a checkpoint while it is made, MiB": (peak - index) / MIB,
        "a checkpoint, s": took_s,
        "digests that a resumed feeder is told, MiB": orders / MIB,
    }


def disk(ours: Ours, kind: str, directory: Path) -> tuple[float, float]:
    """Bytes of the journal and of NAME.success for each ID."""
    directory.mkdir()
    ours.run(directory, *ours.command("noop", f"--n={RUN_TASKS}", f"--ids={kind}"))
    journal = sum(file.stat().st_size for file in (directory / f"{NAME}.journal").iterdir())
    return journal / RUN_TASKS, (directory / f"{NAME}.success").stat().st_size / RUN_TASKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000_000)
    tasks = parser.parse_args().tasks
    print(f"{tasks:,} tasks in slices of {SLICE:,}")
    for what, figure in memory(tasks).items():
        print(f"{what:<44} {figure:10,.1f}")
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as work:
        ours = Ours(Environments(), Path(work), 2)
        for kind, words in ((STRINGS, "strings of 40 characters"), (INTEGERS, "consecutive integers")):
            journal, success = disk(ours, kind, Path(work, kind))
            print(f"{words:<28} {journal:6.2f} bytes an ID in the journal, {success:6.2f} in NAME.success")


if __name__ == "__main__":
    main()
