"""The feeder, which runs the user's server generator, is killed: the stream goes on where it was."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.faults.farm import Farm

pytestmark = pytest.mark.faults

#: a generator that says who runs it, and goes slowly enough to be killed on its way
SLOWLY = """
with open(HERE + "/feeders", "a") as file:
    file.write(f"{os.getpid()}\\n")
for number in range(400):
    if number % 4 == 0:
        time.sleep(0.005)
    yield f"task {number}"
"""
STREAM = [f"task {number}" for number in range(400)]


def feeders(farm: Farm) -> list[int]:
    path = farm.directory / "feeders"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_killed_again_and_again_the_stream_has_each_task_once(farm: Farm) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    farm.script(serve=SLOWLY)
    job = farm.start()
    kills = 4
    for kill in range(kills):
        farm.until(lambda kill=kill: len(feeders(farm)) > kill, "a feeder")
        begun = farm.begun() + rng.randint(1, 40)
        farm.until(lambda begun=begun: farm.begun() >= begun, "more tasks")
        os.kill(feeders(farm)[kill], signal.SIGKILL)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(STREAM, once=True)
    assert len(feeders(farm)) == kills + 1
    assert farm.log.count("ended with signal 9 (SIGKILL)") == kills, farm.log
    assert farm.log.count("started anew") == kills


def test_killed_in_its_first_moment_another_takes_its_place(farm: Farm) -> None:
    farm.script(serve=SLOWLY)
    job = farm.start()
    farm.until(lambda: feeders(farm), "a feeder")
    os.kill(feeders(farm)[0], signal.SIGKILL)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(STREAM, once=True)


def test_killed_together_with_the_coordinator_the_next_life_reads_the_stream_again(farm: Farm) -> None:
    farm.script(serve=SLOWLY)
    first = farm.start()
    farm.until(lambda: farm.begun() >= 50, "fifty tasks began")
    os.kill(feeders(farm)[0], signal.SIGKILL)
    farm.kill(first)
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(STREAM, once=True)


def test_what_a_killed_feeder_left_of_its_table_of_known_ids_does_no_harm(farm: Farm) -> None:
    farm.script(serve="yield from range(50)")
    assert farm.run() == 0, farm.told()
    (farm.directory / "JOB.journal" / "known.sqlite").write_bytes(b"SQLite format 3\0" + b"torn" * 2000)
    farm.script(serve="yield from range(1000, 1010)\nyield from range(50)")
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well([*range(50), *range(1000, 1010)], once=True)


def test_a_generator_that_kills_its_process_at_the_same_place_each_time_is_given_up_with_the_reason(farm: Farm) -> None:
    farm.script(
        serve="""
        with open(HERE + "/feeders", "a") as file:
            file.write(f"{os.getpid()}\\n")
        yield from range(10)
        time.sleep(0.2)
        os.kill(os.getpid(), 9)
        yield 10
        """
    )
    assert farm.run() == 1
    farm.assert_all_is_well(range(10), once=True)
    assert len(feeders(farm)) == 3
    assert "the feeder, which runs the server generator, ended with signal 9 (SIGKILL) after 10 tasks" in farm.terminal
    assert "without one new task" in farm.terminal
