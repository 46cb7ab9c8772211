"""PARASCHUT's manual, line by line, on a real Slurm: the tests that run it on this machine, run there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest

from coordinator import batch as psu
from coordinator.executors.scheduler import Scheduler
from tests.clusters.slurm import Slurm
from tests.end_to_end import test_batch_manual as manual
from tests.end_to_end.batches import Batches
from tests.end_to_end.batches import batches as fresh

__all__ = ["fresh"]

#: those that are about this machine, about another executor, or about what is written down before anything is submitted
ELSEWHERE = frozenset(
    (
        "test_in_an_empty_directory_the_defaults_work_and_what_is_made_is_beside_them",
        "test_jobs_of_this_machine_submit_nothing_and_the_main_process_does",
        "test_a_users_own_executor_runs_jobs_and_is_taken_by_every_call",
        "test_jobs_that_become_a_script_run_when_somebody_runs_it",
        "test_batch_ids_are_date_and_time_and_never_given_twice",
    )
)
LINES = [line for name, line in vars(manual).items() if name.startswith("test_") and name not in ELSEWHERE]


@pytest.fixture
def batches(own_slurm: Slurm, fresh: Batches, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batches]:
    # This cluster is the tests' own: it may be asked more often than one that is everybody's.
    monkeypatch.setattr(Scheduler, "poll_s", 0.3)
    psu.config.Executor = "slurm"
    yield fresh
    psu.qdel_batch(list(psu.get_queue(Verbose=False) or {}))
    fresh.until(lambda: not own_slurm.run("squeue", "--noheader").stdout.strip(), 30)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.__name__)
def test_the_manual_holds_on_slurm(line: Callable[..., None], batches: Batches, request: pytest.FixtureRequest) -> None:
    others = [name for name in inspect.signature(line).parameters if name != "batches"]
    line(batches=batches, **{name: request.getfixturevalue(name) for name in others})
