"""The Coordinator is killed: at random moments, in every window, in recovery; the same command goes on."""

from __future__ import annotations

import random
import subprocess
from collections import Counter

import pytest

from tests.faults.farm import Farm
from tests.faults.plant import WINDOWS

pytestmark = pytest.mark.faults

#: how often a window is passed before the kill, at most: what is met in every turn is passed often
PASSED = {
    "before append": 12,
    "before write": 20,
    "torn write": 12,
    "before fsync": 12,
    "before reply": 16,
    "after reply": 16,
}
RECOVERY = [window for window in WINDOWS if window.startswith("recovery")]
ENDING = [window for window in WINDOWS if window.startswith("ending")]
SERVING = [window for window in WINDOWS if window not in (*RECOVERY, *ENDING)]
KILLS, ANY_MOMENT = 20, "any moment"


def plan(rng: random.Random) -> list[str]:
    """What each life but the last dies of: each window at least once, some lives at any moment at all."""
    more = rng.choices(SERVING, k=KILLS - len(SERVING) - len(RECOVERY) - 4)
    rest = [*RECOVERY, *SERVING[1:], *more, *[ANY_MOMENT] * 4]
    rng.shuffle(rest)
    return [SERVING[0], *rest]  # there is something to recover from the second life on


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_killed_at_twenty_random_moments_of_one_job_it_loses_nothing_and_nothing_runs_twice(farm: Farm) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    farm.script("time.sleep(0.001 + task % 5 * 0.002)", "yield from range(5000)")
    windows = plan(rng)
    for window in windows:
        if window == ANY_MOMENT:
            life = farm.start()
            try:
                life.wait(rng.uniform(0.0, 0.8))
            except subprocess.TimeoutExpired:
                farm.kill(life)
        else:
            life = farm.start(planted={"kill": window, "at": rng.randint(1, PASSED.get(window, 1))})
            farm.finish(life)
        assert life.returncode == -9, f"the job ended before it was killed ({window})\n{farm.told()}"
    hits = farm.hits + Counter({ANY_MOMENT: windows.count(ANY_MOMENT)})
    print(dict(hits), f"tasks begun before the last life: {farm.begun()}")
    assert hits == Counter(windows), "a window was not met"
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(5000), once=True)
    assert farm.log.count("coordinator started") >= len(SERVING)
    assert "keeper returns" in farm.log


@pytest.mark.parametrize("window", ENDING)
def test_killed_while_the_job_ends_the_next_life_ends_it_and_no_process_waits_for_more(farm: Farm, window: str) -> None:
    farm.script(serve="yield from range(40)")
    assert farm.finish(farm.start(planted={"kill": window})) == -9
    assert farm.hits == {window: 1}
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(40), once=True)  # the grace time is longer than the patience of this line
    assert not (farm.directory / "JOB.run").exists()


def test_its_processors_finish_their_tasks_and_hand_in_what_they_held_when_it_is_back(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(60)")
    first = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    farm.kill(first)
    farm.touch("go")
    farm.until(lambda: sum(one.ended for one in farm.executions()) >= 2, "the tasks ended without a Coordinator")
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(60), once=True)
    assert len({one.pid for one in farm.executions()}) == 2, "new processors were started beside those that waited"
    assert "keeper returns" in farm.log
    lives = [line for line in farm.log.splitlines() if "coordinator started" in line]
    told = [{word.partition("=")[0]: word.partition("=")[2] for word in line.split() if "=" in word} for line in lives]
    assert [(one["run"], one["url"]) for one in told] == [(told[0]["run"], told[0]["url"])] * 2
    assert [one["life"] for one in told] == ["1", "2"]


def test_if_nobody_starts_it_again_its_processes_end_and_what_was_not_accepted_is_done_later(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(20)")
    first = farm.start("--grace=1")
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    farm.kill(first)
    farm.assert_no_process_is_left()
    farm.touch("go")
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(20))
    assert farm.begun() == 22


def test_what_was_done_while_it_was_away_longer_than_the_grace_time_lies_in_files_and_is_not_done_again(
    farm: Farm,
) -> None:
    farm.script("wait_for('go')", "yield from range(20)")
    first = farm.start("--grace=1")
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    farm.kill(first)
    farm.touch("go")
    farm.assert_no_process_is_left()
    kept = sorted(path.name for path in (farm.directory / "JOB.logs").glob("*.kept"))
    assert len(kept) == 2
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(20), once=True)
    assert farm.begun() == 20
    assert farm.log.count("kept report processor=") == 2
    assert not list((farm.directory / "JOB.logs").glob("*.kept"))


def test_stopped_for_longer_than_a_lease_it_judges_nobody_when_it_wakes(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(20)")
    job = farm.start("--lease=1")
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    farm.stop(job.pid)
    try:
        job.wait(3.0)  # the lease passed several times over
    except subprocess.TimeoutExpired:
        farm.go_on(job.pid)
    farm.until(lambda: "slept" in farm.log, "the Coordinator noticed that it had slept")
    farm.touch("go")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(20), once=True)
    assert "lapsed" not in farm.log


@pytest.mark.parametrize(
    ("bug", "window", "at", "found"),
    [
        ("acknowledge before commit", "before write", 9, "ran twice"),
        ("forget leases", "before reply", 6, "ran twice"),
        ("lose reports", None, 0, "lost"),
    ],
)
def test_of_the_test_a_broken_promise_is_found(farm: Farm, bug: str, window: str | None, at: int, found: str) -> None:
    farm.script("time.sleep(0.002)", "yield from range(300)")
    planted = {"bug": bug} if window is None else {"bug": bug, "kill": window, "at": at}
    farm.finish(farm.start(planted=planted))
    if window is not None:
        assert farm.hits == {window: 1}
        farm.run()
    assert any(problem.startswith(found) for problem in farm.problems(range(300), once=True)), farm.told()
