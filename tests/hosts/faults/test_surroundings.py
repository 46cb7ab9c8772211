"""What hosts and people do to a job: an agent that is gone, a full disk, a clock set back, a host that fails all, a
task that kills whoever works on it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.faults.farm import Execution
from tests.hosts.faults.farm import HostsFarm, begin
from tests.testbed.hosts import Hosts

pytestmark = pytest.mark.faults

TASKS = range(60)
HOUR_S = 3600
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


# --- the agent ----------------------------------------------------------------------------------------


@pytest.fixture
def agent(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh-agent of the test's own, with the key to the hosts."""
    socket = tmp_path.with_name(f"{tmp_path.name}.own") / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        while not socket.exists():
            assert process.poll() is None
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", hosts.key], check=True)
        yield process
        process.kill()


def test_the_agent_is_gone_and_a_host_that_must_be_started_anew_says_why_it_cannot(
    farm: HostsFarm, agent: subprocess.Popen[bytes]
) -> None:
    begin(farm, lease_s=1.5)
    first = farm.busy()["node1"]
    agent.kill()
    agent.wait()
    farm.hosts[0].crash()
    farm.hosts[0].boot()
    said = farm.line("keeper failed host=node1 reason=there is no key to log in to node1")
    assert "is gone" in said
    assert "ssh-add" in said, "what to do about it"
    farm.until(lambda: "no key to log in" in farm.described()["unreachable"].get("node1", ""), "people are told")
    farm.over()
    farm.assert_all_is_well(TASKS)
    [second] = [one for one in farm.executions() if one.task == first.task and one.lease != first.lease]
    assert second.host != "node1"


# --- the disk -----------------------------------------------------------------------------------------

FILL = ["sh", "-c", "head -c 1G /dev/zero >/tmp/fill 2>/dev/null; df --output=avail /tmp | tail -1"]


def test_on_a_host_with_a_full_disk_nothing_is_started_until_there_is_room(farm: HostsFarm) -> None:
    host = farm.hosts[0]
    host.crash()
    host.boot()  # a log of an earlier keeper would have room for a line more
    assert host.run(FILL).stdout.strip() == "0"
    try:
        begin(farm)
        said = farm.line("keeper failed host=node1 reason=node1 cannot write logs")
        assert "No space left on device" in said
        farm.until(lambda: "No space left" in farm.described()["unreachable"].get("node1", ""), "people are told")
        farm.busy(2)
    finally:
        host.run(["rm", "/tmp/fill"])
    farm.monitor().retry_unused_hosts()
    farm.until(lambda: "node1" in farm.busy(3), "node1 works when there is room")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)


def test_a_disk_that_fills_while_tasks_run_costs_only_what_is_printed(farm: HostsFarm) -> None:
    farm.controller()
    farm.script("if task < 3:\n    wait_for('go')\nprint('a' * 10_000)", "yield from range(60)")
    farm.job()
    first = farm.busy()
    host = farm.hosts[0]
    assert host.run(FILL).stdout.strip() == "0"
    try:
        farm.over()
        farm.assert_all_is_well(TASKS, once=True)
    finally:
        host.run(["rm", "/tmp/fill"])
    assert {(one.host, one.pid) for one in farm.executions()} == {(one.host, one.pid) for one in first.values()}
    assert farm.failures() == []
    assert [line for line in farm.lines("processor ended") if "exit status 0" not in line] == []


# --- the clock ----------------------------------------------------------------------------------------


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (Debian: faketime)")
@pytest.mark.parametrize("where", ["on a host", "of the coordinator"])
def test_a_clock_that_is_set_back_an_hour_ends_no_lease_and_costs_no_task(
    farm: HostsFarm, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    shift = farm.directory / "shift"
    shift.write_text("+0")
    # Time of day only: the steady clocks of a machine are never set.
    moved = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    options = "".join(f",env.{name}={value}" for name, value in moved.items()) if where == "on a host" else ""
    farm.controller(f"node1 maxload=1.0{options}", "node2 1.0", "node3 1.0")
    farm.script(TOLD, "yield from range(60)")
    if where == "of the coordinator":
        for name, value in moved.items():
            monkeypatch.setenv(name, value)
    farm.job(lease_s=1.5)
    for name in moved:
        monkeypatch.delenv(name, raising=False)
    first = farm.busy()
    shift.write_text(f"-{HOUR_S}")
    begun = time.monotonic()
    farm.until(lambda: time.monotonic() > begun + 3.0, "a lease is long over")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)
    assert "lapsed" not in farm.log
    assert {(one.host, one.pid) for one in farm.executions()} == {(one.host, one.pid) for one in first.values()}
    if where == "on a host":
        [told] = [float(path.read_text()) for path in farm.directory.glob("clock.node1.*")]
    else:
        told = datetime.fromisoformat(" ".join(farm.line("coordinator ended").split()[:2])).timestamp()
    assert told < time.time() - HOUR_S / 2, "its clock went back"


TOLD = """
if task < 3:
    wait_for('go')
    with open(f"{HERE}/clock.{HOST}.{os.getpid()}", "w") as file:
        file.write(str(time.time()))
"""


# --- a host and a task that are no good ---------------------------------------------------------------

BAD_HOST = """
if HOST == "node1" and not os.path.exists(HERE + "/mended"):
    raise ValueError("nothing works here")
time.sleep(0.05)
if task >= 97:
    wait_for("go")
"""


@pytest.mark.parametrize("slots", [1, 16])
def test_a_host_that_fails_every_task_at_once_is_rested_and_tried_again(farm: HostsFarm, slots: int) -> None:
    farm.controller("node2 1.0", "node3 1.0")
    farm.script(BAD_HOST, "yield from range(20)\nwait_for('more')\nyield from range(20, 100)")
    farm.job()
    farm.until(lambda: {one.host for one in farm.executions() if one.ended} == {"node2", "node3"}, "the others work")
    with (farm.directory / "FARM.hosts").open("a") as file:
        file.write(f"node1 {slots}.0\n")
    farm.until(lambda: len(farm.lines("register processor=", "host=node1 ")) == slots, "all its processors wait")
    farm.touch("more")
    farm.line("host rests host=node1 ", "tasks in a row failed there at once while other hosts did theirs")
    told = farm.until(lambda: farm.described()["hosts"]["node1"]["reason"], "people are told")
    assert "5 tasks in a row failed there at once" in told
    burned = on_node1(farm)
    assert len(burned) == 5
    farm.touch("mended")
    farm.until(lambda: len(on_node1(farm)) > 5, "it is tried again after its rest")
    farm.over()
    farm.assert_all_is_well(range(100))
    assert [one for one in on_node1(farm) if not one.ended] == burned, "nothing began there while it rested"
    failures = farm.failures()
    assert {(one.host, one.kind, one.message) for one in failures} == {("node1", "ValueError", "nothing works here")}
    told_of = sorted((one.id, one.attempt, one.pid) for one in failures)
    assert told_of == sorted((one.task, one.attempt, one.pid) for one in burned)


def test_tasks_that_take_their_time_fill_all_slots_of_a_host_that_has_done_none(farm: HostsFarm) -> None:
    begin(farm, count=17, hosts=["node1 16.0", "node2 1.0"])
    farm.until(lambda: farm.begun() == 17, "every processor has a task")
    assert len(on_node1(farm)) == 16
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)


def on_node1(farm: HostsFarm) -> list[Execution]:
    return [one for one in farm.executions() if one.host == "node1"]


POISON = """
if task < 3:
    wait_for(f"go.{task}")
elif task == 3:
    os.kill(os.getpid(), 9)
elif task == 59:
    wait_for("go")
"""


def test_a_task_that_kills_its_processor_is_given_up_after_three_hosts_and_the_rest_finishes(farm: HostsFarm) -> None:
    farm.controller()
    farm.script(POISON, "yield from range(60)")
    farm.job()
    busy = farm.busy()
    farm.touch(f"go.{busy['node1'].task}")  # the others stand still: it meets node1 first, and node1 alone
    farm.until(lambda: farm.failures(), "it killed its processor on node1")
    farm.until(lambda: [one for one in farm.executions() if one.host == "node1" and one.task > 3], "node1 went on")
    farm.touch("go.0", "go.1", "go.2")
    farm.over()
    farm.assert_all_is_well(TASKS, failed=[3])
    failures = farm.failures()
    assert {one.host for one in failures} == {"node1", "node2", "node3"}
    deaths = [(one.task, one.attempt, one.host, one.pid) for one in farm.executions() if one.task == 3]
    assert [(one.id, one.attempt, one.host, one.pid) for one in failures] == deaths
    assert [one.final for one in failures] == [False] * (len(failures) - 1) + [True]
    assert {one.kind for one in failures} == {"ProcessorDied"}
