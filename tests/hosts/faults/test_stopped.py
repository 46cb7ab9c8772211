"""SIGSTOP of each process of a job over hosts, and SIGCONT when its lease is long over."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.hosts.faults.farm import HostsFarm, begin

pytestmark = pytest.mark.faults

TASKS = range(60)
LEASE_S = 1.5


@pytest.mark.parametrize("who", ["guard", "processor"])
def test_who_is_stopped_loses_its_lease_and_its_late_report_is_not_accepted(farm: HostsFarm, who: str) -> None:
    begin(farm, lease_s=LEASE_S)
    first = farm.busy()["node1"]
    number = farm.number_at(first)
    host = farm.hosts[0]
    victim = farm.member(host, who)
    host.stop(victim.pid)
    farm.line(f"lease lapsed n={first.lease} processor={number} ")
    if who == "processor":
        states = {one["pid"]: one["state"] for one in farm.described()["processors"] if one["host"] == "node1"}
        assert states[first.pid] == "stopped"
    farm.until(lambda: len([one for one in farm.executions() if one.task == first.task]) == 2, "another began its task")
    host.resume(victim.pid)
    farm.touch("go")
    farm.until(lambda: farm.latest(first).ended, "it comes to its end all the same")
    farm.over()
    farm.assert_all_is_well(TASKS)
    [second] = [one for one in farm.executions() if one.task == first.task and one.lease != first.lease]
    [accepted] = [one for one in farm.accepted() if one.task == first.task]
    assert (accepted.lease, accepted.result) == (second.lease, [second.pid, second.lease])
    assert {one.task for one in farm.executions() if one.lease != second.lease} == set(TASKS), "nothing else ran twice"
    assert farm.interruptions() == [(first.task, 1, "node1")]


#: the standing is done by a program that the task starts
BY_PROGRAM = """
if task < 3:
    subprocess.run(["sh", "-c", f"until [ -e {HERE}/go ]; do sleep 0.02; done"], check=True)
"""


def test_a_new_keeper_leaves_alone_what_an_older_one_that_still_lives_has_started(farm: HostsFarm) -> None:
    farm.controller()
    farm.script(BY_PROGRAM, "yield from range(60)")
    farm.job(lease_s=LEASE_S)
    first = farm.busy()["node1"]
    guard = farm.guard(farm.hosts[0])
    farm.hosts[0].stop(guard.pid)
    farm.line(f"lease lapsed n={first.lease} ")
    farm.until(lambda: len([one for one in farm.executions() if one.task == first.task]) == 2, "another began its task")
    farm.touch("go")
    farm.until(lambda: farm.latest(first).ended, "its program was not killed by the new keeper")
    farm.hosts[0].resume(guard.pid)
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert farm.interruptions() == [(first.task, 1, "node1")]


@pytest.mark.skipif("SOAK" not in os.environ, reason="waits for time-outs of SSH: only in make soak")
def test_an_ssh_server_that_stands_still_is_told_and_used_when_it_goes_on(farm: HostsFarm) -> None:
    sshd = farm.hosts[0].sshd
    assert sshd is not None
    farm.hosts[0].stop(sshd)
    begin(farm)
    farm.line("keeper failed host=node1 reason=", "says nothing within 10 s: the host hangs")
    farm.busy(2)
    farm.hosts[0].resume(sshd)
    farm.monitor().retry_unused_hosts()
    farm.until(lambda: "node1" in farm.busy(3), "node1 works")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)


@pytest.mark.parametrize("who", ["zygote", "coordinator", "controller"])
def test_who_is_stopped_without_work_of_its_own_costs_nobody_a_lease(farm: HostsFarm, who: str) -> None:
    begin(farm, lease_s=LEASE_S)
    first = farm.busy()
    here = {"coordinator": farm.job_pid, "controller": int(farm.rc["pid"])}
    if who in here:
        farm.stop(here[who])
    else:
        farm.hosts[0].stop(farm.zygote(farm.hosts[0]).pid)
    begun = time.monotonic()
    farm.until(lambda: time.monotonic() > begun + 2 * LEASE_S, "its lease is long over")
    if who in here:
        os.kill(here[who], signal.SIGCONT)
    else:
        farm.hosts[0].resume(farm.zygote(farm.hosts[0]).pid)
    if who == "coordinator":
        farm.line("this process slept for")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)
    assert {(one.host, one.pid) for one in farm.executions()} == {(one.host, one.pid) for one in first.values()}
    assert "lapsed" not in farm.log
    assert "given up" not in farm.log


def test_a_processor_that_never_wakes_keeps_nothing_from_ending(farm: HostsFarm) -> None:
    begin(farm, lease_s=LEASE_S)
    first = farm.busy()["node1"]
    farm.hosts[0].stop(first.pid)
    farm.line(f"lease lapsed n={first.lease} ")
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert not farm.latest(first).ended
    assert farm.lines(f"processor ended number={farm.number_at(first)} host=node1 signal 9 (SIGKILL)")
