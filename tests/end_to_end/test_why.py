"""Why a job waits, stands or failed, and why a host is not used: each sentence of docs/why.rst from real processes.

Those about launching over SSH are in tests/hosts; tests/unit/whytable.py says which test produces which.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import coordinator
from coordinator import reasons
from coordinator.commands import ask_farm
from coordinator.standing import look_at
from coordinator.wire.client import split_url
from tests.end_to_end.daemons import CALM, Daemons, end_process, until
from tests.smalldisk import SmallDisk

pytestmark = pytest.mark.e2e

#: gives its tasks one by one, each when there is a file gen.ID
HALTING = """\
import os, time

HERE = {directory!r}


def client(server, **kwargs):
    for task_id in server:
        yield task_id


def serve(n=3, **kwargs):
    for task_id in range(int(n)):
        while not os.path.exists(os.path.join(HERE, "gen.%d" % task_id)):
            if os.path.exists(os.path.join(HERE, "break")):
                raise OSError("the table is gone")
            time.sleep(0.01)
        yield task_id


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Daemons]:
    daemons = Daemons(tmp_path)
    daemons.script()
    daemons.script(name="halting.py", text=HALTING)
    yield daemons
    for n in range(10):
        daemons.touch(f"gen.{n}")
    daemons.end()


def why(name: str, rc_url: str = "") -> str:
    """What `coordinator why` says of a job, a line for each reason."""
    standing = look_at(name)
    farm, problem = None, ""
    url = rc_url or standing.job.get("rc_url")
    if standing.lives and url:
        farm, problem = ask_farm(url, required=False)
    return lines(reasons.explain(standing.job, name, farm, problem))


def why_host(name: str, rc_url: str) -> str:
    farm, _ = ask_farm(rc_url)
    assert farm is not None
    return lines(reasons.explain_host(name, farm))


def lines(found: list[reasons.Reason]) -> str:
    return "\n".join(f"{one.what} | {one.why} | {one.next}" for one in found)


def says(words: str, name: str, rc_url: str = "") -> None:
    """`why` says so sooner or later."""
    last = [""]

    def found() -> bool:
        last[0] = why(name, rc_url)
        return words in last[0]

    try:
        until(found, words)
    except AssertionError:
        raise AssertionError(f"{words!r} is not in\n{last[0]}") from None


def says_of_host(words: str, name: str, rc_url: str) -> None:
    until(lambda: words in why_host(name, rc_url), f"{words!r} in {why_host(name, rc_url)!r}")


def monitor(url: str) -> coordinator.RCMonitor:
    return coordinator.RCMonitor(port=split_url(url)[1])


def test_jobs_that_wait_for_others(farm: Daemons) -> None:
    url = farm.controller("localhost 3.0\n")
    says_of_host("Host localhost has 3 slots, and nothing runs there: there is no job.", "localhost", url)
    farm.job("first", url)
    farm.busy(3)
    says("The job runs: ", "first")
    says("3 processors on 1 host work on it.", "first")
    says_of_host("Host localhost is used: 3 processors on 3 slots.", "localhost", url)
    farm.job("second", url)
    says("The job waits in the queue, at position 1 of 1. | queued behind 'first'; --immediate would share", "second")
    assert why("second").startswith("The job is starting. | ")


def test_jobs_beside_one_that_demands(farm: Daemons) -> None:
    url = farm.controller("localhost 3.0\n")
    farm.job("greedy", url, "--demand_ncpu=4")
    farm.busy(3)
    says("It does not get more processors. | 3 of the 4 processors that it demands: no more slots are free", "greedy")
    farm.job("modest", url)
    says("all slots are demanded by 'greedy'", "modest")


def test_jobs_that_share_little(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.job("first", url)
    farm.busy(1)
    farm.job("beside", url, "--immediate")
    says("its share beside the other jobs is less than one slot", "beside")
    m = monitor(url)
    beside = m.coordinators["beside"]
    assert m.register_coordinator("beside", beside.url, "", 0.0, [], True, 0) is True
    says("its priority is 0", "beside")
    (farm.directory / "bigcheese.hosts").write_text("localhost 1.0\nnowhere.invalid 1.0\n")
    says("Host nowhere.invalid cannot be used by this job. | the name nowhere.invalid is not known", "first")
    says("Host nowhere.invalid cannot be reached. | the name nowhere.invalid is not known", "beside")
    assert beside.set_max_clients(0) is True
    says("its ncpu_limit is 0", "beside")


def test_a_farm_that_gives_nothing(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    m = monitor(url)
    m.setthrottle(0.0)
    farm.job("one", url)
    says("throttle is 0: nothing is started; raise it with setthrottle", "one")
    m.setthrottle(0.1)
    says("throttle 0.1 leaves no whole slot", "one")
    m.setthrottle(1.0)
    farm.busy(1)
    farm.touch("go.0")
    farm.busy(2)
    m.set_hostinfo("localhost", "maxload", 0.5)
    farm.touch("go")
    says("maxload leaves no whole slot", "one")
    says("The job goes on as soon as it has a processor; ", "one")
    m.set_hostinfo("localhost", "maxload", 0.0)
    says("every host has maxload 0; raise one with set_hostinfo or in the hosts file", "one")
    says("The farm has no host that can be used. | all are unreachable, resting, or have maxload 0", "one")
    says_of_host("Host localhost is not to be used. | its maxload is 0", "localhost", url)
    (farm.directory / "bigcheese.hosts").write_text("nowhere.invalid 1.0\n")
    says("Host nowhere.invalid cannot be used by this job. | ", "one")
    says("no host can be used (nowhere.invalid: ", "one")
    says_of_host("Host nowhere.invalid cannot be used. | ", "nowhere.invalid", url)
    (farm.directory / "bigcheese.hosts").write_text("")
    says("there are no hosts: the hosts file is empty", "one")


def test_a_farm_whose_hosts_are_busy_with_other_work(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n", "--overload_margin=0.6")
    m = monitor(url)
    m.report_load("localhost", 1, 50.0)
    farm.job("one", url)
    m.report_load("localhost", 1, 50.0)
    says("every host is busy with other work (its load is over maxload); it starts when that falls", "one")
    says_of_host("Host localhost has no slot. | other work on it leaves 0 of 1 slots (load 50.00)", "localhost", url)


def test_a_generator_that_gives_nothing_and_the_last_tasks(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.job("slow", url, script="halting.py")
    farm.touch("gen.0")
    says(
        "Processors have nothing to do: the script's server generator has given no task for now. | it has given 1",
        "slow",
    )
    farm.job("next", url, "--immediate", script="halting.py")
    farm.touch("gen.1", "gen.2")
    says("The job has ended: all 3 tasks are done.", "slow")
    farm.job("last", url, "--n=1")
    farm.busy(1)
    says("All tasks have been handed out; the last 1 are being worked on.", "last")


def test_a_host_that_no_job_wants(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.job("one", url)
    farm.busy(1)
    assert monitor(url).coordinators["one"].set_max_clients(0) is True
    farm.touch("go.0", "go.1", "go.2")
    says_of_host("Host localhost has 1 slot, and nothing runs there. |  | coordinator why JOB", "localhost", url)


def test_failures_and_those_that_are_tried_again(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.touch("go", "bad.0")
    farm.job("again", url, "--n=3", "--retries=20")  # a pause is short at first, and must outlast a command
    says("1 failed task to be tried again after a pause.", "again")
    farm.coordinator("stop", "again")
    says("The job was stopped; 2 tasks are done, 0 failed. | stopped by ", "again")
    farm.job("bad", url, "--n=3")
    until(lambda: not look_at("bad").lives, "it ended")
    says("The job has ended: 2 tasks are done, 1 failed.", "bad")
    says("1 failure: ValueError", "bad")
    assert farm.coordinator("redo", "bad", "--failed").returncode == 0
    says("The job was stopped; 2 tasks are done, 0 failed. | 1 of its tasks are to be done again", "bad")


#: whoever worked on its one task is not ready to leave until there is a file "go"
LINGERING = """\
import os, time


def client(server, **kwargs):
    for task_id in server:
        yield task_id
    while not os.path.exists(os.path.join({directory!r}, "go")):
        time.sleep(0.01)


def serve(**kwargs):
    yield 0


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


def test_a_job_that_has_nothing_more_to_hand_out(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.script(name="lingering.py", text=LINGERING)
    farm.job("done", url, script="lingering.py")
    says("It does not get more processors. | it has no task to hand out just now", "done")
    farm.touch("go")
    says("The job has ended: all 1 tasks are done.", "done")


#: each task fails in a way of its own, and the later ones several times
FAILING = """\
WAYS = [lambda: [][0], lambda: 1 / 0, lambda: int("x"), lambda: {{}}["x"], lambda: open("/none")]


def client(server, **kwargs):
    for task_id in server:
        yield WAYS[task_id % 5]()


def serve(**kwargs):
    yield from [0, 1, 2, 3, 4, 7, 8, 9]


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


def test_the_largest_groups_of_failures_are_shown_and_the_others_counted(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.script(name="failing.py", text=FAILING)
    farm.job("bad", url, script="failing.py")
    says("The job has ended: 0 tasks are done, 8 failed.", "bad")
    shown = why("bad")
    for kind in ("ValueError", "KeyError", "FileNotFoundError"):
        assert f"2 failures: {kind}" in shown
    assert "2 more kinds of failures. |  | coordinator errors bad" in shown


def test_a_generator_that_breaks(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    farm.touch("gen.0", "break")
    farm.job("broken", url, script="halting.py")
    says(
        "The job failed; 1 tasks are done, 0 failed. | the server generator failed after 1 IDs: OSError: the table",
        "broken",
    )


def test_processors_that_cannot_begin(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    dying = HALTING.replace("    for task_id in server:", "    os._exit(3)\n    for task_id in server:")
    farm.script(name="dying.py", text=dying)
    farm.touch("gen.0")
    farm.job("dying", url, script="dying.py")
    says("3 processors left one after another without one task done between them: processor ", "dying")
    assert "on localhost ended with exit status 3 outside any task; see its log" in why("dying")


def test_this_machine_is_named_when_its_disk_is_full_and_no_keeper_can_begin(
    farm: Daemons, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A thread: what has one is not forked, and its keeper begins as on any host.
    thread = "import threading\n\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    farm.script(name="threaded.py", text=thread + HALTING)
    url = farm.controller("localhost 1.0\n")
    small_disk.fill()
    with monkeypatch.context() as context:
        context.setenv("TMPDIR", str(small_disk.path))
        farm.job("one", url, script="threaded.py")
    words = "its keeper ended at once with exit status 1: localhost cannot write logs in "
    says(f"Host localhost cannot be used by this job. | {words}", "one")
    says_of_host(f"Host localhost cannot be used. | {words}", "localhost", url)
    assert words in farm.log("one")
    assert words in str(monitor(url).hosts[0].row())
    small_disk.make_room()
    monitor(url).retry_unused_hosts()
    farm.touch("gen.0", "gen.1", "gen.2")
    says("The job has ended: all 3 tasks are done.", "one")


def test_a_coordinator_that_is_silent_is_said_to_be_lost(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    run = farm.job("one", url)
    farm.busy(1)
    os.kill(run["pid"], signal.SIGSTOP)

    def lost() -> bool:
        found, _ = ask_farm(url)
        assert found is not None
        return [(one["state"], one["reason"]) for one in found["jobs"]] == [
            ("lost", "its Coordinator is silent; it leaves the queue if it stays so")
        ]

    try:
        until(lost, "it is said")
    finally:
        os.kill(run["pid"], signal.SIGCONT)


def test_a_job_that_stops_is_killed_or_does_not_answer(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    run = farm.job("one", url)
    farm.busy(1)
    look_at("one").remote.call("stop", "enough")  # type: ignore[union-attr]
    says("The job is stopping: what runs now is finished and written down. | enough", "one")
    farm.touch("go.0")
    says("The job was stopped; 1 tasks are done, 0 failed. | enough", "one")
    run = farm.job("one", url)
    farm.busy(2)
    os.kill(run["pid"], signal.SIGSTOP)
    says(f"The job's Coordinator does not answer. | its process {run['pid']} is stopped", "one")
    os.kill(run["pid"], signal.SIGCONT)
    says("The job runs: ", "one")
    end_process(run["pid"], signal.SIGKILL)
    says(
        "The job's Coordinator is gone without having ended the job; 1 tasks are done and safe. | it was killed", "one"
    )
    farm.job("one", url)  # so that what is left ends with it
    says("1 processor on 1 host work on it.", "one")


def test_a_controller_that_is_another_or_gone(farm: Daemons) -> None:
    url = farm.controller("localhost 1.0\n")
    other = farm.controller("localhost 1.0\n", name="other")
    farm.job("one", url)
    farm.busy(1)
    farm.job("two", url)
    says("The job waits in the queue", "two")
    says("The ResourceController other does not know the job. | ", "one", other)
    end_process(farm.started[0], signal.SIGKILL)
    says("The job has the processors that it has and gets no more. | No ResourceController answers at ", "one")
    says("The job has no processors and gets none. | No ResourceController answers at ", "two")
    farm.controller_again(f"--port={split_url(url)[1]}", CALM)
    words = "the ResourceController has just come back and hears first what other jobs have"
    says(f"The job waits in the queue, at position 1 of 1. | {words}", "two")
    says("The job waits in the queue, at position 1 of 1. | queued behind 'one'", "two")
