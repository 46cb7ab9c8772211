"""The way to a host is cut, both ways or one way, for longer than a lease or for good; a host fails like a lamp."""

from __future__ import annotations

import os
import time

import pytest

from tests.hosts.faults.farm import HostsFarm
from tests.testbed.host import Direction

pytestmark = pytest.mark.faults

TASKS = range(60)
LEASE_S = 1.5
#: the first three stand still until the test says go, the last one keeps the job from its end
WORK = "if task < 3:\n    wait_for('go')\nelif task == 59:\n    wait_for('end')\nelse:\n    time.sleep(0.005)"
#: `make soak` waits as long as the table of faults says
CUT_S = 30.0 if os.environ.get("SOAK") else 0.0


def begin(farm: HostsFarm, grace_s: float = 20.0 + 3 * CUT_S) -> None:
    farm.controller()
    farm.script(WORK, "yield from range(60)")
    farm.job(lease_s=LEASE_S, grace_s=grace_s)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["both", "in", "out"])
def test_cut_off_for_longer_than_a_lease_its_task_goes_to_others_and_its_late_report_is_refused(
    farm: HostsFarm, way: Direction
) -> None:
    begin(farm)
    first = farm.busy()["node1"]
    number = farm.number_at(first)
    farm.hosts[0].cut(way)
    begun = time.monotonic()
    farm.line(f"lease lapsed n={first.lease} processor={number} ")
    farm.line("keeper silent host=node1 for", "given up")
    farm.touch("go")
    farm.until(lambda: farm.latest(first).ended, "it works on, cut off")
    farm.until(
        lambda: sum(one.ended for one in farm.executions()) == 60, "the others did its task and all else but one"
    )
    farm.until(lambda: time.monotonic() > begun + CUT_S, "the time is over")
    farm.hosts[0].heal()
    farm.line("keeper returns host=node1")
    farm.until(lambda: farm.described()["late"] == 1, "its late report arrived")
    farm.touch("end")
    farm.over()
    farm.assert_all_is_well(TASKS)
    farm.line("late reports so far: 1 tasks, not accepted")
    assert len(farm.lines("keeper silent host=node1 ")) == 1, "it was back for good, and told when all was over"
    [second] = [one for one in farm.executions() if one.task == first.task and one.lease != first.lease]
    assert second.host != "node1"
    [accepted] = [one for one in farm.accepted() if one.task == first.task]
    assert (accepted.lease, accepted.result) == (second.lease, [second.pid, second.lease])
    assert farm.interruptions() == [(first.task, 1, "node1")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["both", "in", "out"])
def test_cut_off_for_good_a_host_ends_what_runs_there_within_its_grace_time(farm: HostsFarm, way: Direction) -> None:
    begin(farm, grace_s=2.0)
    first = farm.busy()["node1"]
    farm.hosts[0].cut(way)
    farm.line("keeper silent host=node1 for", "given up")
    farm.assert_no_process_on(farm.hosts[:1])
    farm.touch("go", "end")
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert not farm.latest(first).ended
    assert farm.lines(f"processor ended number={farm.number_at(first)} host=node1 not heard of any more")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("silent", [False, True], ids=["heard", "half-open"])
def test_a_host_that_fails_and_boots_again_works_again(farm: HostsFarm, silent: bool) -> None:
    begin(farm)
    first = farm.busy()["node1"]
    farm.hosts[0].crash(silent=silent)
    farm.line("keeper silent host=node1 for", "given up")
    farm.hosts[0].boot()
    farm.monitor().retry_unused_hosts()
    again = farm.until(
        lambda: [one for one in farm.executions() if one.task == first.task and one.lease != first.lease],
        "node1 works again",
    )[0]
    assert again.host == "node1"
    farm.touch("go", "end")
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert farm.lines(f"processor ended number={farm.number_at(first)} host=node1 not heard of any more")
    assert farm.interruptions() == [(first.task, 1, "node1")]


def test_a_shorter_cut_costs_nothing(farm: HostsFarm) -> None:
    begin(farm)
    first = farm.busy()
    farm.hosts[0].delay(50, loss_percent=10)
    farm.touch("go")
    farm.until(lambda: sum(one.ended for one in farm.executions()) == 59, "all but the last")
    farm.touch("end")
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert {(one.host, one.pid) for one in farm.executions()} == {(one.host, one.pid) for one in first.values()}


def test_who_is_cut_off_while_the_coordinator_is_started_again_keeps_its_task(farm: HostsFarm) -> None:
    farm.controller()
    farm.script(WORK, "yield from range(60)")
    farm.job(lease_s=20.0)
    first = farm.busy()["node1"]
    farm.hosts[0].cut()
    farm.kill_job()
    farm.job_again()
    farm.until(lambda: len(farm.lines("keeper returns")) == 2, "the others return")
    back = time.monotonic()
    farm.until(lambda: time.monotonic() > back + 4.0, "it was missed")  # longer than a keeper needs to return
    farm.hosts[0].heal()
    farm.line("keeper returns host=node1 ")
    farm.touch("go", "end")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)
    assert farm.latest(first).ended
