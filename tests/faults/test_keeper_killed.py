"""The keeper's processes are killed: the guard, the zygote, both; and the Coordinator together with them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.farm import Farm, children_of, session_of, state_of, zygotes_of

pytestmark = pytest.mark.faults

#: each task starts two programs, one of them in a session of its own, and waits for the test
WITH_CHILDREN = """
children = [subprocess.Popen(["sleep", "1000"]), subprocess.Popen(["sleep", "1000"], start_new_session=True)]
with open(HERE + "/children", "a") as file:
    file.write(f"{children[0].pid} {children[1].pid}\\n")
wait_for("go")
for child in children:
    child.kill()
    child.wait()
"""


def kill(*pids: int) -> None:
    """All in one moment: stopped first, none of them sees the end of another."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


def first_pair(coordinator: int) -> tuple[int, int] | None:
    """Guard and zygote, as soon as they are forked."""
    for guard in children_of(coordinator):
        for zygote in zygotes_of(guard):
            return guard, zygote
    return None


def children(farm: Farm) -> list[int]:
    path = farm.directory / "children"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("who", ["guard", "zygote", "both"])
def test_killed_in_the_middle_its_tasks_are_done_by_new_processors_at_once(farm: Farm, who: str) -> None:
    farm.script("time.sleep(0.002)", "yield from range(500)")
    job = farm.start()
    farm.until(lambda: farm.begun() >= 60, "sixty tasks began")
    first = {one.pid for one in farm.executions()}
    guard, zygote = farm.guard(), farm.zygote()
    kill(*{"guard": [guard], "zygote": [zygote], "both": [guard, zygote]}[who])
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(500))
    assert "lapsed" not in farm.log
    assert {one.pid for one in farm.executions()} - first, "there were new ones"
    reason = f"lost with its {'zygote' if who == 'zygote' else 'keeper'} (signal 9 (SIGKILL))"
    assert len([line for line in farm.log.splitlines() if "processor ended" in line and reason in line]) == 2, farm.log


@pytest.mark.parametrize("who", ["guard", "zygote", "both"])
def test_killed_with_a_task_that_has_subprocesses_nothing_of_it_lives_on(farm: Farm, who: str) -> None:
    farm.script(WITH_CHILDREN, "yield from range(4)")
    job = farm.start()
    farm.until(lambda: len(children(farm)) == 4, "two tasks with two programs each")
    before, processors = children(farm), {one.pid for one in farm.executions()}
    guard, zygote = farm.guard(), farm.zygote()
    kill(*{"guard": [guard], "zygote": [zygote], "both": [guard, zygote]}[who])
    # While its guard lives, what has a session of its own ends with that.
    dead = [*(before[::2] if who == "zygote" else before), *processors]
    farm.until(lambda: all(state_of(pid) in "ZX" for pid in dead), "what it left behind ended")
    farm.touch("go")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(4))


@pytest.mark.parametrize("who", ["guard", "zygote"])
def test_killed_in_its_first_moments_it_is_started_again(farm: Farm, who: str) -> None:
    farm.script(serve="yield from range(50)")
    job = farm.start()
    guard, zygote = farm.until(lambda: first_pair(job.pid), "a guard with its zygote")
    kill(guard if who == "guard" else zygote)
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(50))


def test_the_zygote_killed_again_and_again_while_it_loads_the_script_the_job_goes_on(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(6)")
    job = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    guard, zygote = farm.guard(), farm.zygote()
    for _ in range(3):
        kill(zygote)
        zygote = farm.until(lambda last=zygote: [pid for pid in zygotes_of(guard) if pid != last], "another zygote")[0]
    farm.touch("go")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(6))


def test_everything_killed_but_the_subprocesses_the_next_life_sweeps_them_away(farm: Farm) -> None:
    farm.script(WITH_CHILDREN, "yield from range(4)")
    job = farm.start()
    farm.until(lambda: len(children(farm)) == 4, "two tasks with two programs each")
    before = children(farm)
    kill(job.pid, farm.sweeper(), farm.guard(), farm.zygote())
    job.wait()
    assert [pid for pid in before if state_of(pid) in "ZX"] == [], "nobody was left to end them"
    farm.touch("go")
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(4))
    assert all(state_of(pid) in "ZX" for pid in before)


def test_everything_killed_but_the_sweeper_the_subprocesses_end_without_a_next_life(farm: Farm) -> None:
    farm.script(WITH_CHILDREN, "yield from range(4)")
    job = farm.start()
    farm.until(lambda: len(children(farm)) == 4, "two tasks with two programs each")
    before = children(farm)
    kill(job.pid, farm.guard(), farm.zygote())
    job.wait()
    farm.assert_no_process_is_left()
    assert all(state_of(pid) in "ZX" for pid in before)


def test_the_sweeper_killed_nobody_notices(farm: Farm) -> None:
    farm.script("subprocess.Popen(['sleep', '1000'], start_new_session=True)\nwait_for('go')", "yield from range(3)")
    job = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    kill(farm.sweeper())
    kill(farm.zygote())
    farm.until(lambda: farm.begun() == 4, "the zygote was replaced")
    farm.touch("go")
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(3))


def test_what_a_task_left_in_a_session_of_its_own_ends_with_the_job(farm: Farm) -> None:
    farm.script("subprocess.Popen(['sleep', '1000'], start_new_session=True)", "yield from range(3)")
    assert farm.run() == 0, farm.told()
    farm.assert_all_is_well(range(3), once=True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_guard_killed_before_it_came_back_though_its_processors_did_is_missed_at_once(farm: Farm, when: str) -> None:
    farm.script("wait_for('go' if task < 2 else 'on')", "yield from range(300)")
    first = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    guard = farm.guard()
    farm.stop(guard)
    farm.kill(first)
    second = farm.start()
    farm.until(lambda: "life=2" in farm.log, "the next life")
    farm.touch("go")
    farm.until(lambda: farm.log.partition("life=2")[2].count("register processor=") == 2, "both processors spoke")
    farm.until(lambda: farm.begun() == 4, "each is in its next task")
    if when == "after":  # the wait for keepers of the last life
        farm.until(lambda: "keeper here" in farm.log.partition("life=2")[2], "a new keeper")
    kill(guard)
    farm.touch("on")
    assert farm.finish(second) == 0, farm.told()
    farm.assert_all_is_well(range(300))
    assert "lapsed" not in farm.log


def test_a_guard_that_came_back_to_a_restarted_coordinator_and_is_killed_is_missed_at_once(farm: Farm) -> None:
    farm.script("wait_for('go')", "yield from range(30)")
    first = farm.start()
    farm.until(lambda: farm.begun() == 2, "two tasks began")
    farm.kill(first)
    second = farm.start()
    farm.until(lambda: "keeper returns" in farm.log, "the keeper returned")
    kill(farm.guard())
    farm.touch("go")
    assert farm.finish(second) == 0, farm.told()
    farm.assert_all_is_well(range(30))
    assert "lapsed" not in farm.log


def test_any_process_of_the_job_killed_at_random_moments_it_still_ends_well(farm: Farm) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    slowly = """
    for number in range(900):
        if number % 50 == 0:
            time.sleep(0.01)
        yield number
    """
    farm.script("time.sleep(0.003)", slowly)
    job = farm.start()
    feeders_killed = 0
    for _ in range(8):
        begun = farm.begun() + rng.randint(5, 40)
        farm.until(lambda begun=begun: farm.begun() >= begun, "more tasks")
        feeders = {pid for pid in children_of(job.pid) if session_of(pid) != pid}
        # A third feeder that is lost before there is a new task ends the job, and rightly so.
        victims = [pid for pid in farm.processes() if feeders_killed < 2 or pid not in feeders]
        if victims and job.poll() is None:
            victim = rng.choice(sorted(victims))
            feeders_killed += victim in feeders
            print("killed", victim, Path(f"/proc/{victim}/stat").read_text().split()[:5])
            kill(victim)
            if victim == job.pid:
                job.wait()
                job = farm.start()
    assert farm.finish(job) == 0, farm.told()
    farm.assert_all_is_well(range(900))


def test_killed_before_its_first_beat_whoever_started_it_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as coordinator:
        url = f"https://127.0.0.1:{coordinator.getsockname()[1]}"
        orders = {
            "remote": True, "url": url, "urls": [url], "token": "t", "fingerprint": "0" * 64, "run": "r", "tag": "r",
            "name": "JOB", "host": "here", "keeper": "k", "numbers": [], "argv": ["", "-c", ""], "directory": "/",
            "log_directory": str(tmp_path), "grace_s": 20.0, "time_limit_s": None, "beat_s": 1.0,
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-m", "coordinator.keeper"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as starter:
            assert starter.stdin is not None
            assert starter.stdout is not None
            starter.stdin.write(json.dumps(orders).encode() + b"\n")
            starter.stdin.close()
            looks, _ = coordinator.accept()
            beats, _ = coordinator.accept()  # it waits for the server's part of TLS now
            with looks, beats:
                [guard] = children_of(starter.pid)
                kill(guard)
                said = json.loads(starter.stdout.readline())
    reason = "the keeper on here ended before it had begun (signal 9 (SIGKILL)): see its log"
    assert (said, starter.returncode) == ({"error": reason, "step": "keeper"}, 1)
