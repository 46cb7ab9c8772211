"""Faults of every kind at random moments of a job over three hosts: it ends well, whatever the dice say.

``FAULTS_SEED=N`` plays the schedules of a run again (a seed fixes what is done to whom and after how many tasks; what
the machine does meanwhile it cannot fix); ``FAULTS_SCHEDULES`` says how many, 200 in `make soak`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hosts.faults.farm import HostsFarm, family, guards
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts

pytestmark = pytest.mark.faults

SCHEDULES = int(os.environ.get("FAULTS_SCHEDULES", "6"))
#: faults of a schedule, one in each stage of the job
STAGES = 2
#: tasks of a stage, of which the last stand still until its fault has struck
TASKS, STANDING = 40, 8
LEASE_S = 1.5
WORK = f"""
if task % {TASKS} >= {TASKS - STANDING}:
    wait_for(f"stage.{{task // {TASKS}}}")
time.sleep(task % 4 * 0.005)
"""


# --- the faults ---------------------------------------------------------------------------------------


def _kill(who: str) -> Callable[[HostsFarm, Host, random.Random], None]:
    def strike(farm: HostsFarm, host: Host, rng: random.Random) -> None:
        farm.strike(host, who, signal.SIGKILL)

    return strike


def _new_guard(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    """A keeper is killed, and the next one as soon as it is there."""
    old = farm.guard(host).pid
    host.kill(old)

    def fresh() -> list[int]:
        return [one.pid for one in host.processes() if one.pid != old and "coordinator.keeper" in one.argv]

    for pid in farm.until(fresh, "the next keeper"):
        try:
            host.kill(pid)
        except ProcessLookupError:
            continue  # the one that only starts it


def _coordinator(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    farm.kill_job()
    farm.job_again()


def _in_recovery(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    """Again, as soon as it serves: most of its keepers have not yet returned."""
    for _ in range(2):
        farm.kill_job()
        farm.job_again()


def _controller(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    farm.kill_controller()
    farm.controller_again()


def _both(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    farm.kill_controller()
    farm.kill_job()
    farm.controller_again()
    farm.job_again()


def _stop(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    """A process stands still for longer than its lease."""
    host, pid = farm.strike(host, rng.choice(["guard", "processor"]), signal.SIGSTOP)
    time.sleep(rng.uniform(1.0, 2.0) * LEASE_S)
    host.resume(pid)


def _cut(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    host.cut(rng.choice(["both", "in", "out"]))
    time.sleep(rng.uniform(0.5, 3.0) * LEASE_S)
    host.heal()
    farm.monitor().retry_unused_hosts()


def _crash(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    host.crash(silent=rng.random() < 0.5)
    host.boot()
    farm.monitor().retry_unused_hosts()


def _login(farm: HostsFarm, host: Host, rng: random.Random) -> None:
    """A host loses its keeper and lets nobody in for a while.

    After a fault before it may have two for a moment: one that was given up and is back, and the one in its place.
    """
    failed = len(farm.lines("keeper failed", f"host={host.name} "))
    farm.guard(host)
    host.kill_sshd()

    def refused() -> bool:
        for guard in guards(host):
            with suppress(ProcessLookupError):
                host.kill(guard.pid)
        return len(farm.lines("keeper failed", f"host={host.name} ")) > failed

    farm.until(refused, f"{host.name} is not let in")
    host.start_sshd()
    farm.monitor().retry_unused_hosts()


KINDS: dict[str, Callable[[HostsFarm, Host, random.Random], None]] = {
    "guard": _kill("guard"),
    "zygote": _kill("zygote"),
    "processor": _kill("processor"),
    "guard again": _new_guard,
    "coordinator": _coordinator,
    "coordinator in recovery": _in_recovery,
    "controller": _controller,
    "coordinator and controller": _both,
    "stopped": _stop,
    "cut": _cut,
    "crash": _crash,
    "no login": _login,
}


# --- the schedules ------------------------------------------------------------------------------------


def drawn(seed: int) -> list[list[str]]:
    """What happens in each schedule: every kind once before one comes again."""
    rng, deck, schedules = random.Random(seed), [], []
    for _ in range(SCHEDULES):
        schedules.append([])
        for _ in range(STAGES):
            if not deck:
                deck = rng.sample(list(KINDS), len(KINDS))
            schedules[-1].append(deck.pop())
    return schedules


@pytest.mark.slow
@pytest.mark.timeout(60 * (SCHEDULES + 1))
def test_whatever_is_killed_cut_or_stopped_at_random_moments_the_job_ends_well(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(hosts.home))
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    hits: Counter[str] = Counter()
    for index, kinds in enumerate(drawn(seed)):
        print(f"FAULTS_SEED={seed} FAULTS_SCHEDULES={SCHEDULES} schedule {index}: {kinds}", flush=True)
        directory = tmp_path / str(index)
        directory.mkdir()
        farm = HostsFarm(directory, hosts)
        try:
            play(farm, kinds, random.Random(f"{seed} {index}"), hits)
        except BaseException:
            print(farm.told())
            raise
        finally:
            farm.touch("go")
            farm.end_all()
        left = hosts.reset()
        assert left == []
    print(dict(hits))
    assert len(KINDS) > SCHEDULES * STAGES or set(hits) == set(KINDS), "a kind of fault never struck"


def play(farm: HostsFarm, kinds: list[str], rng: random.Random, hits: Counter[str]) -> None:
    total = TASKS * (len(kinds) + 1)
    farm.controller(*(f"{host.name} 2.0" for host in farm.hosts))
    farm.script(WORK, f"yield from range({total})")
    farm.job(lease_s=LEASE_S)
    for stage, kind in enumerate(kinds):
        moment = TASKS * stage + rng.randrange(TASKS - STANDING)
        farm.until(lambda moment=moment: farm.begun() > moment, f"{moment} tasks began")
        host = rng.choice(farm.until(lambda: [each for each in farm.hosts if family(each)[2:]], "some host works"))
        print(f"  {kind} ({host.name}) after {farm.begun()} tasks", flush=True)
        KINDS[kind](farm, host, rng)
        hits[kind] += 1
        farm.touch(f"stage.{stage}")
    farm.touch(f"stage.{len(kinds)}")
    farm.over()
    farm.assert_all_is_well(range(total))
    assert {one.kind for one in farm.failures()} <= {"ProcessorDied", "Interrupted"}
    assert family(farm.hosts[0]) == []
