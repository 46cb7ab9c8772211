"""A Processor is stopped beyond its lease: others do its tasks, and its late report is counted, not accepted."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.farm import Farm

pytestmark = pytest.mark.faults

#: the first execution of task 0 waits to be told to go on; the last task keeps the job alive until then
GATES = """
if task == 0 and not os.path.exists(HERE + "/first"):
    open(HERE + "/first", "x").close()
    wait_for("wake")
elif task == 0:
    pass
elif task == 39:
    wait_for("go")
"""


def test_a_late_report_is_counted_and_not_accepted(farm: Farm) -> None:
    farm.script(GATES, "yield from range(40)")
    job = farm.start("--lease=1")
    stopped = farm.until(lambda: [one.pid for one in farm.executions() if one.task == 0], "task 0 began")[0]
    farm.stop(stopped)
    farm.until(lambda: len([one for one in farm.executions() if one.task == 0]) == 2, "task 0 began again elsewhere")
    farm.touch("wake")
    farm.until(lambda: sum(one.ended for one in farm.executions()) >= 39, "everything else is done")
    states = {one["pid"]: one["state"] for one in farm.job()["processors"]}
    assert states[stopped] == "stopped"
    late = farm.job()["late"]  # on a busy machine others may be late, too
    farm.go_on(stopped)
    farm.until(lambda: farm.job()["late"] > late, "the late report arrived")
    farm.touch("go")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(40))
    mine, other = [one for one in farm.executions() if one.task == 0]
    assert (mine.pid, mine.ended, other.ended) == (stopped, True, True)
    [accepted] = [one for one in farm.accepted() if one.task == 0]
    assert (accepted.lease, accepted.result) == (other.lease, [other.pid, other.lease])
    assert "lease lapsed" in farm.log
    [interrupted] = [one for one in farm.failures() if one.id == 0]
    assert (interrupted.kind, interrupted.attempt, interrupted.pid, interrupted.final) == (
        "Interrupted",
        1,
        stopped,
        False,
    )
    assert interrupted.message.endswith(" was not heard of for a lease")
    assert (mine.attempt, other.attempt) == (1, 2)
    assert "late reports so far" in farm.log


def test_a_report_that_comes_late_is_welcome_as_long_as_nobody_else_began(farm: Farm) -> None:
    farm.script("if task == 0:\n    wait_for('wake')", "yield from range(40)")
    job = farm.start("--lease=1", local=1)
    stopped = farm.until(lambda: [one.pid for one in farm.executions()], "task 0 began")[0]
    zygote = farm.zygote()
    farm.stop(zygote)  # so that nobody can be started in its place before it wakes
    farm.stop(stopped)
    farm.until(lambda: "lease lapsed" in farm.log, "the lease lapsed")
    farm.touch("wake")
    farm.go_on(stopped)
    farm.until(lambda: farm.job()["done"] > 0, "its report arrived")
    farm.go_on(zygote)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(40), once=True)
    assert "late reports" not in farm.log


def test_stopped_in_a_block_of_many_it_begins_nothing_that_others_were_given(farm: Farm) -> None:
    farm.script("time.sleep(0.002)", "yield from range(600)")
    job = farm.start("--lease=1")
    stopped = farm.until(lambda: farm.begun() >= 100 and farm.executions()[-1].pid, "a hundred tasks")
    farm.stop(stopped)
    before = {one.task for one in farm.executions() if one.pid == stopped}
    farm.until(lambda: "lease lapsed" in farm.log, "the lease lapsed")
    farm.go_on(stopped)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(600))
    began = Counter(one.task for one in farm.executions())
    twice = {task for task, times in began.items() if times > 1}
    assert twice <= before, f"begun by both after the lease had lapsed: {twice - before}\n{farm.told()}"


def test_one_that_never_wakes_keeps_nothing_from_ending(farm: Farm) -> None:
    farm.script("if task == 0 and not os.path.exists(HERE + '/stopped'):\n    wait_for('wake')", "yield from range(40)")
    job = farm.start("--lease=1")
    stopped = farm.until(lambda: [one.pid for one in farm.executions() if one.task == 0], "task 0 began")[0]
    farm.stop(stopped)
    farm.touch("stopped")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(40))
    assert f"processor ended number={farm.number_of(stopped)} host=localhost signal 9 (SIGKILL)" in farm.log


def test_of_the_test_believing_every_lease_is_found(farm: Farm) -> None:
    farm.script(GATES, "yield from range(40)")
    job = farm.start("--lease=1", planted={"bug": "believe every lease"})
    stopped = farm.until(lambda: [one.pid for one in farm.executions() if one.task == 0], "task 0 began")[0]
    farm.stop(stopped)
    farm.until(lambda: len([one for one in farm.executions() if one.task == 0]) == 2, "task 0 began again elsewhere")
    farm.touch("wake")
    farm.go_on(stopped)
    farm.until(lambda: farm.job()["late"] >= 1, "the late report arrived")
    farm.touch("go")
    farm.finish(job)
    assert any(problem.startswith("accepted twice") for problem in farm.problems(range(40))), farm.told()
