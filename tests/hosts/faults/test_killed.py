"""kill -9 of everything that a job over hosts consists of: one of them, and two of them together."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.farm import Execution, children_of, state_of
from tests.hosts.faults.farm import HostsFarm, begin

pytestmark = pytest.mark.faults

TASKS = range(60)
#: what the log says of a processor that ended with it
WORDS = {
    "guard": "lost with its keeper (signal 9 (SIGKILL))",
    "zygote": "lost with its zygote (signal 9 (SIGKILL))",
    "processor": "signal 9 (SIGKILL)",
}


@pytest.mark.parametrize("who", WORDS)
def test_what_works_on_a_host_is_killed_and_its_task_is_begun_again_at_once(farm: HostsFarm, who: str) -> None:
    begin(farm)
    cut_off = farm.busy()["node1"]
    number = farm.number_at(cut_off)
    farm.hosts[0].kill(farm.member(farm.hosts[0], who).pid)
    farm.line(f"processor ended number={number} host=node1 {WORDS[who]}")
    again = begun_again(farm, cut_off)
    assert again.host == "node1", "the others stand still"
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert [one for one in farm.executions() if one.task == cut_off.task] == [cut_off, farm.latest(again)]
    assert "lapsed" not in farm.log, "nobody waited for a lease to end"
    [failure] = farm.failures()
    told = (failure.id, failure.attempt, failure.host, failure.pid, failure.final)
    assert told == (cut_off.task, 1, "node1", cut_off.pid, False)
    said = f"ended with {WORDS[who]}" if who == "processor" else f"was lost: {WORDS[who]}"
    # The end of a keeper is nothing that a task did.
    assert (failure.kind, failure.message) == (
        "ProcessorDied" if who == "processor" else "Interrupted",
        f"its processor {number} on node1 {said}",
    )
    assert again.attempt == 2


def begun_again(farm: HostsFarm, cut_off: Execution) -> Execution:
    """The next execution of its task."""
    found: Execution = farm.until(
        lambda: [one for one in farm.executions() if one.task == cut_off.task and one != cut_off],
        f"task {cut_off.task} was begun again",
    )[0]
    return found


@pytest.mark.parametrize("finished", [False, True], ids=["at work", "finished meanwhile"])
def test_the_coordinator_is_killed_and_started_again_nothing_runs_twice(farm: HostsFarm, finished: bool) -> None:
    begin(farm)
    first = farm.busy()
    run = farm.run_file()["run"]
    farm.kill_job()
    if finished:
        farm.touch("go")
        farm.until(lambda: sum(one.ended for one in farm.executions()) == 3, "the tasks ended without a Coordinator")
    farm.job_again()
    assert farm.run_file()["run"] == run
    farm.until(lambda: len(farm.lines("keeper returns")) == 3, "every keeper returned")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)
    workers = {(one.host, one.pid) for one in farm.executions()}
    assert workers == {(one.host, one.pid) for one in first.values()}, "none was started beside those that waited"
    assert [one.partition("life=")[2][0] for one in farm.lines("coordinator started")] == ["1", "2"]
    assert farm.failures() == []


def test_the_controller_is_killed_and_started_again_no_job_notices(farm: HostsFarm) -> None:
    begin(farm)
    first = farm.busy()
    farm.kill_controller()
    farm.line("resource controller away")
    farm.controller_again()
    farm.line("resource controller back")
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)
    assert {(one.host, one.pid) for one in farm.executions()} == {(one.host, one.pid) for one in first.values()}


ELSEWHERE = "elsewhere"
PAIRS = [
    ("guard", "zygote"),
    ("guard", "processor"),
    ("zygote", "processor"),
    ("guard", f"guard {ELSEWHERE}"),
    ("processor", f"processor {ELSEWHERE}"),
    ("coordinator", "guard"),
    ("coordinator", "zygote"),
    ("coordinator", "processor"),
    ("coordinator", "controller"),
    ("controller", "guard"),
    ("controller", "processor"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_of_them_are_killed_together(farm: HostsFarm, pair: tuple[str, str]) -> None:
    begin(farm)
    busy = farm.busy()
    # Found first and killed then, so that nobody has time to see what happened to the other.
    here = {"coordinator": farm.job_pid, "controller": int(farm.rc["pid"])}
    victims = {}
    for who in pair:
        host = farm.hosts[1 if who.endswith(ELSEWHERE) else 0]
        victims[who] = here.get(who) or farm.member(host, who.partition(" ")[0]).outer.pid
    if "coordinator" in pair:
        farm.job_pid = 0  # its end is no reason to give up
    for pid in victims.values():
        with suppress(ProcessLookupError):  # one of them took the other with it
            os.kill(pid, signal.SIGKILL)
    farm.until(lambda: all(state_of(pid) in "ZX" for pid in victims.values()), "both are dead")
    if "controller" in pair:
        farm.controller_again()
    if "coordinator" in pair:
        farm.job_again()
    lost = {"node2" if who.endswith(ELSEWHERE) else "node1" for who in pair if who not in here}
    for host in lost:
        begun_again(farm, busy[host])
    farm.over()
    farm.assert_all_is_well(TASKS, once=not lost)
    again = {one.task for one in farm.executions() if sum(other.task == one.task for other in farm.executions()) > 1}
    assert again == {busy[host].task for host in lost}, "nobody else's work was begun again"
    for host in lost:
        number = farm.number_at(busy[host])
        ends = farm.lines(f"processor ended number={number} host={host}")
        assert ends or farm.lines(f"processor missed number={number}")


#: each of the first tasks leaves programs: one in its processor's session, one in a session of its own, and a fork
LEAVES = """
if task < 3:
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if os.fork() == 0:
        time.sleep(1000)
    wait_for(f"go.{HOST}")
"""


def test_guard_and_zygote_are_killed_at_the_end_of_a_job_what_tasks_started_there_ends_too(farm: HostsFarm) -> None:
    farm.controller()
    farm.script(LEAVES, "yield from range(3)")
    farm.job()
    farm.busy()
    farm.touch("go.node1")
    farm.until(lambda: farm.described()["done"] == 1, "node1 has no more to do")
    host = farm.hosts[0]
    assert len([one for one in host.processes() if one.argv == ("sleep", "1000")]) == 2
    for victim in [farm.guard(host).outer, farm.zygote(host).outer]:
        victim.signal()
    farm.assert_no_process_on([host])
    farm.touch("go.node2", "go.node3")
    farm.over()
    farm.assert_all_is_well(range(3), once=True)
    assert len(farm.lines("keeper starts host=node1")) == 1, "no other keeper came there"


SLOW_PYTHON = """\
#!/bin/sh
: >'{directory}/logged.in'
until [ -e '{directory}/python.may' ]; do sleep 0.02; done
exec '{python}' "$@"
"""


@pytest.fixture
def slow_python(tmp_path: Path) -> str:
    """A Python that waits, so that a login to node1 lasts: an option of NAME.hosts."""
    path = tmp_path / "slow.python"
    path.write_text(SLOW_PYTHON.format(directory=tmp_path, python=sys.executable))
    path.chmod(0o755)
    return f"node1 maxload=1.0,python={path}"


@pytest.mark.parametrize("who", ["session", "launcher"])
def test_the_connection_that_starts_a_keeper_is_killed_and_the_keeper_is_welcome_all_the_same(
    farm: HostsFarm, slow_python: str, who: str
) -> None:
    begin(farm, hosts=(slow_python, "node2 1.0", "node3 1.0"))
    farm.until(lambda: (farm.directory / "logged.in").exists(), "the login to node1")
    farm.busy(2)
    if who == "session":
        sessions = [one for one in farm.hosts[0].processes() if one.argv and one.argv[0].startswith("sshd:")]
        assert sessions
        for one in sessions:
            farm.hosts[0].kill(one.pid)
        reason = "broke while waiting for"
    else:
        for pid in children_of(farm.job_pid):
            if b"coordinator.executors.launcher" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        reason = "the process that was logging in to node1 ended (signal 9"
    farm.line("keeper failed host=node1 reason=", reason)
    farm.until(lambda: reason in farm.described()["unreachable"].get("node1", ""), "it is told why")
    farm.touch("python.may")
    farm.line("keeper returns host=node1")
    farm.until(lambda: farm.busy(3).get("node1"), "node1 works")
    assert "node1" not in farm.described()["unreachable"]
    farm.over()
    farm.assert_all_is_well(TASKS, once=True)


#: a rule that stands still until the test lets it go
RULE = "touch {directory}/building.$(hostname).$$; until [ -e {directory}/build ]; do sleep 0.02; done; hostname > %s"


@pytest.mark.parametrize("who", ["guard", "zygote", "processor"])
def test_a_builder_of_a_resource_is_killed_and_its_lock_is_free_for_the_next(farm: HostsFarm, who: str) -> None:
    work = "with server.open_resource('data') as file:\n    assert file.read().split() == [HOST]"
    farm.controller()
    path = f"/tmp/{farm.directory.parent.name}.{farm.directory.name}"
    farm.monitor().setrule("data", [path, RULE.format(directory=farm.directory)])
    farm.script(work, "yield from range(60)")
    farm.job()
    farm.until(lambda: len(builders(farm)) == 3, "each host builds")
    assert len(farm.locks()) == 3
    farm.hosts[0].kill(farm.member(farm.hosts[0], who).pid)
    farm.until(lambda: len(builders(farm)) == 4, "node1 builds anew")
    assert len(farm.locks()) == 3, "one lock a host"
    farm.touch("build")
    farm.over()
    farm.assert_all_is_well(TASKS)
    assert {one.host for one in farm.executions() if one.ended} == {"node1", "node2", "node3"}
    for host in farm.hosts:
        left = {one.name for one in host.path("/tmp").glob(f"{Path(path).name}*")}
        assert {Path(path).name, f"{Path(path).name}.lock"} <= left


def test_a_builder_that_is_cut_off_holds_its_lock_no_longer_than_its_lease(farm: HostsFarm) -> None:
    farm.controller()
    path = f"/tmp/{farm.directory.parent.name}.{farm.directory.name}"
    farm.monitor().setrule("data", [path, RULE.format(directory=farm.directory)])
    farm.script("server.open_resource('data').close()", "yield from range(60)")
    farm.job(lease_s=1.5, grace_s=2.0)
    farm.until(lambda: len(builders(farm)) == 3, "each host builds")
    farm.hosts[0].cut()
    farm.until(lambda: len(farm.locks()) == 2, "its lock is free")
    farm.line("keeper silent host=node1 ", "given up")
    farm.touch("build")
    farm.over()
    farm.assert_all_is_well(TASKS)


def builders(farm: HostsFarm) -> list[str]:
    return [path.name for path in farm.directory.glob("building.*")]
