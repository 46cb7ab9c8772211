"""joblib, whose workers are loky's: joblib.Parallel with its automatic batches."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed

from benchmarks.peers.order import carry_out, tell

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order, Variant


@contextmanager
def batches(batch_size: int | str, order: Order) -> Iterator[Answers]:
    task = order.task()
    with Parallel(n_jobs=order.processors, batch_size=batch_size) as parallel:
        yield lambda task_ids: parallel(delayed(task)(task_id) for task_id in task_ids)


@contextmanager
def as_they_come(order: Order) -> Iterator[Answers]:
    """What a start is measured with: the first answer is seen when it comes."""
    task = order.task()

    def answers(task_ids: Iterable[Any]) -> Iterable[Any]:
        parallel = Parallel(n_jobs=order.processors, batch_size="auto", return_as="generator_unordered")
        return iter(parallel(delayed(task)(task_id) for task_id in task_ids))

    yield answers


def census(script: Path, processors: int) -> None:
    """The work of ``make demo``, by the functions of its own script: all modules measured, and the table printed."""
    name = script.stem
    found = importlib.util.spec_from_file_location(name, script)
    assert found is not None
    assert found.loader is not None
    sys.path.insert(0, str(script.parent))  # the workers import the functions by name
    example = sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(example)
    began = time.monotonic()
    paths = list(example.serve_modules())
    results = Parallel(n_jobs=processors)(delayed(example.measure_file)(path) for path in paths)
    ended = time.monotonic()
    example.print_table(zip(paths, results, strict=True))
    tell(len(results), began, ended, ended)


VARIANTS: dict[str, Variant] = {
    "joblib-auto": partial(batches, "auto"),
    "joblib-1": partial(batches, 1),
    "joblib-generator": as_they_come,
}

if __name__ == "__main__":
    if sys.argv[1] == "census":
        census(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        carry_out(VARIANTS)
