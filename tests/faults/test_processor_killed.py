"""A Processor is killed at any moment: its tasks go to others at once, and what it started dies with it."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest

from tests.faults.farm import Farm, children_of, state_of

pytestmark = pytest.mark.faults


def test_killed_at_random_moments_its_tasks_go_to_others_at_once(farm: Farm) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    farm.script("time.sleep(0.002 + task % 3 * 0.002)", "yield from range(900)")
    job = farm.start(local=3)
    zygote = farm.zygote()
    killed: list[int] = []
    for kill in range(12):
        begun = farm.begun() + rng.randint(3, 30)
        farm.until(lambda begun=begun: farm.begun() >= begun, "more tasks")
        # Every third dies as soon as it is there: before, in or after its first word.
        fresh = kill % 3 == 0 and killed
        known = set(children_of(zygote)) if fresh else set(killed)
        if fresh:
            killed.append(rng.choice(sorted(known - set(killed))))
            os.kill(killed[-1], signal.SIGKILL)
        pid = farm.until(lambda known=known: [one for one in children_of(zygote) if one not in known], "a processor")[0]
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(900))
    assert "lapsed" not in farm.log, "the others waited for a lease to end"
    ends = [line for line in farm.log.splitlines() if "processor ended" in line and "signal 9 (SIGKILL)" in line]
    assert len(ends) == len(killed), farm.log
    executions = farm.executions()
    cut_off = {one.task for one in executions if not one.ended}
    assert {one.pid for one in executions if not one.ended} <= set(killed)
    # What was killed in the middle is done again, as a further attempt; nobody else's work is.
    assert all(max(one.attempt for one in executions if one.task == task) > 1 for task in cut_off)
    again = {one.task for one in executions if sum(other.task == one.task for other in executions) > 1}
    assert all(any(one.pid in killed for one in executions if one.task == task) for task in again)


def test_a_task_that_kills_the_zygote_each_time_is_given_up_and_it_alone(farm: Farm) -> None:
    farm.script("if task == 7:\n    os.kill(os.getppid(), 9)\n    wait_for('never')", "yield from range(20)")
    assert farm.run() == 1
    farm.assert_all_is_well(range(20), failed=[7])
    kinds = [failure.kind for failure in farm.failures() if failure.id == 7]
    assert kinds == ["Interrupted"] * 3 + ["ProcessorDied"] * 3


def test_a_task_that_kills_every_processor_that_tries_it_is_given_up_after_three(farm: Farm) -> None:
    farm.script("if task == 7:\n    os.kill(os.getpid(), 9)", "yield from range(20)")
    assert farm.run() == 1
    farm.assert_all_is_well(range(20), failed=[7])
    tries = [(one.attempt, one.ended) for one in farm.executions() if one.task == 7]
    assert tries == [(1, False), (2, False), (3, False)]
    assert (farm.directory / "JOB.error").read_text() == "7\n"
    assert "the last of 3: the task is given up" in farm.terminal


def test_what_its_task_had_started_is_killed_with_it(farm: Farm) -> None:
    farm.script(
        """
        child = subprocess.Popen(["sleep", "1000"])
        with open(HERE + "/children", "a") as file:
            file.write(f"{os.getpid()} {child.pid}\\n")
        wait_for("go")
        child.kill()
        child.wait()
        """,
        "yield from range(2)",
    )
    job = farm.start(local=1)
    path = farm.directory / "children"
    farm.until(lambda: path.exists() and path.read_text().endswith("\n"), "a child")
    processor, child = map(int, path.read_text().split())
    os.kill(processor, signal.SIGKILL)
    farm.until(lambda: state_of(child) in "ZX", "the child ended")
    farm.touch("go")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(2))


def test_all_processors_killed_at_once_and_again_the_job_still_ends(farm: Farm) -> None:
    farm.script("time.sleep(0.005)", "yield from range(200)")
    job = farm.start(local=2)
    zygote = farm.zygote()
    for _ in range(2):  # a task that dies a third time is given up
        begun = farm.begun() + 10
        farm.until(lambda begun=begun: farm.begun() >= begun, "more tasks")
        for pid in children_of(zygote):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(200))
