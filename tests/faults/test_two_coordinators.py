"""Two Coordinators with one NAME in one directory: the second refuses and names the first."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.faults.farm import Farm

pytestmark = pytest.mark.faults


def test_the_second_refuses_names_the_first_and_harms_nothing(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(30)")
    first = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    told = farm.run_file()
    before = sorted((farm.directory / "JOB.journal").glob("*.seg"))
    assert farm.run() == 1
    assert f"JOB is being served already as process {first.pid} on " in farm.terminal
    assert told["url"] in farm.terminal
    assert farm.run_file() == told
    assert sorted((farm.directory / "JOB.journal").glob("*.seg")) == before
    farm.touch("go")
    assert farm.finish(first) == 0, farm.told()
    farm.assert_all_is_well(range(30), once=True)


def test_of_many_that_start_at_once_one_serves(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(30)")
    all_of_them = [farm.start() for _ in range(4)]
    farm.until(lambda: sum(one.poll() is not None for one in all_of_them) == 3, "all but one gave up")
    assert sorted(one.returncode for one in all_of_them if one.returncode is not None) == [1, 1, 1]
    farm.touch("go")
    assert [farm.finish(one) for one in all_of_them].count(0) == 1, farm.told()
    farm.assert_all_is_well(range(30), once=True)
    assert farm.terminal.count("is being served already") == 3


def test_after_a_kill_the_name_is_free_at_once(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(30)")
    first = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    farm.kill(first)  # guard, zygote, processors live on; none of them may hold the lock
    farm.touch("go")
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(30), once=True)


def test_a_run_file_that_was_replaced_stops_the_one_that_wrote_it(farm: Farm) -> None:
    farm.script("time.sleep(0.005)", "yield from range(400)")
    job = farm.start()
    farm.until(lambda: farm.begun() >= 20, "tasks began")
    run = farm.directory / "JOB.run"
    shutil.copy(run, farm.directory / "other")
    os.replace(farm.directory / "other", run)
    assert farm.finish(job) == 1
    assert "was removed or replaced while this Coordinator ran, so it stops writing" in farm.log
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(400))
