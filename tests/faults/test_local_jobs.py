"""Jobs of this machine: a real supervisor that is killed, shells that come and go, whole trees that end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from coordinator import procs
from coordinator.core.needs import GIB, MIB, Needs
from coordinator.core.slots import Room
from coordinator.core.statuses import Cause, Intent, State, Status, mark_of
from coordinator.errors import SubmitRefused
from coordinator.executors.jobscript import Element, exit_of
from coordinator.executors.localjobs import LocalJobs
from coordinator.executors.spool import Spool
from tests.end_to_end.batches import supervisor_of

HANG_S, LOOK_S = 50.0, 0.02
CORES = 2


class Machine:
    """Local jobs with a spool of the test's own, whose supervisor ends soon after the last job."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.spool = Spool(place / "spool")
        self.jobs = LocalJobs(Room(CORES, 4 * GIB), self.spool, idle_s=0.3)
        self._count = 0

    def submit(self, *argvs: Iterable[str], **needs: object) -> tuple[str, str]:
        """(native id, mark) of an array with an element for each."""
        self._count += 1
        mark = mark_of(random.getrandbits(50))
        here = self.place / mark
        here.mkdir()
        elements = [
            Element(list(argv), str(self.place), f"{here}/{at}", f"{here}/{at}.out", f"{here}/{at}.err")
            for at, argv in enumerate(argvs, 1)
        ]
        intent = Intent(mark, "test", str(here), Needs.of(needs), len(elements))
        self.jobs.prepare(intent, elements)
        return self.jobs.submit(intent), mark

    def statuses(self, native: str, mark: str, count: int) -> list[Status]:
        found = self.jobs.poll({native: (mark, range(1, count + 1))})
        return [found[native, index] for index in range(1, count + 1)]

    def wait(self, native: str, mark: str, count: int = 1) -> list[Status]:
        """Until all elements are over."""
        until(lambda: all(status.state is State.ENDED for status in self.statuses(native, mark, count)))
        return self.statuses(native, mark, count)

    def exits(self, mark: str, count: int) -> list[int]:
        """By their own exit files."""
        return [exit_of((self.place / mark / f"{index}.exit").read_text()).code for index in range(1, count + 1)]

    def supervisors(self) -> list[int]:
        """The one that there is, if any."""
        pid = supervisor_of(self.spool.place)
        return [] if pid is None else [pid]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    until(lambda: not made.supervisors())


def until(so: Callable[[], bool]) -> None:
    over = time.monotonic() + HANG_S
    while not so():
        assert time.monotonic() < over
        time.sleep(LOOK_S)  # the only event is another process's file


def test_an_array_runs_and_each_end_is_told_with_what_was_used(machine: Machine) -> None:
    hungry = "import os; b = bytearray(60 << 20); b[::4096] = b'x' * len(b[::4096])"
    native, mark = machine.submit(["true"], ["sh", "-c", "exit 3"], [sys.executable, "-c", hungry])
    ends = machine.wait(native, mark, 3)
    assert [end.code for end in ends] == machine.exits(mark, 3) == [0, 3, 0]
    used = ends[2].used
    assert used.memory is not None
    assert 60 * MIB < used.memory < 200 * MIB
    assert used.cpu_s is not None
    assert used.wall_s is not None


def test_there_are_never_more_than_the_cores_and_all_get_their_turn(machine: Machine) -> None:
    note = 'echo + >>all; while [ ! -e "go" ]; do sleep 0.02; done; echo - >>all'
    native, mark = machine.submit(*[["sh", "-c", note]] * 5)
    until(lambda: (machine.place / "all").exists() and len((machine.place / "all").read_text().split()) == CORES)
    states = [status.state for status in machine.statuses(native, mark, 5)]
    assert sorted(state.value for state in states) == ["runs", "runs", "waits", "waits", "waits"]
    (machine.place / "go").touch()
    machine.wait(native, mark, 5)
    running = most = 0
    for sign in (machine.place / "all").read_text().split():
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert most == CORES


def test_what_can_never_run_here_is_refused_with_its_reason(machine: Machine) -> None:
    with pytest.raises(SubmitRefused, match="it needs 3 cores, and this machine has 2"):
        machine.submit(["true"], cores=3)
    assert machine.supervisors() == []


def test_a_cancelled_job_ends_with_all_that_it_started(machine: Machine) -> None:
    os.mkfifo(machine.place / "alive")
    # A child in a session of its own that ignores the polite request.
    tree = "setsid sh -c 'trap \"\" TERM; exec 3>alive; echo up >&3; while :; do sleep 1; done' & wait"
    native, mark = machine.submit(["sh", "-c", tree], *[["true"]] * 2, cores=2)
    with open(machine.place / "alive") as alive:
        assert alive.readline() == "up\n"
        machine.jobs.cancel([(native, None, 3)])
        assert alive.read() == ""  # nobody holds it any more
    ends = machine.wait(native, mark, 3)
    assert [end.cause for end in ends] == [Cause.CANCELLED] * 3
    assert not (machine.place / mark / "2.begun").exists()


def test_a_job_that_has_had_its_time_is_ended_and_the_cause_is_told(machine: Machine) -> None:
    trap = "trap 'echo saved; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    # The time runs from the start of the job. One that has had it before it could set its trap shows nothing of this.
    for time_s in (1, 3, 10, 30):
        native, mark = machine.submit(["sh", "-c", trap], time=time_s)
        (end,) = machine.wait(native, mark)
        assert end.cause is Cause.TIME
        if end.code != 128 + signal.SIGTERM:
            break
    assert (end.cause, end.code) == (Cause.TIME, 9)
    assert (machine.place / mark / "1.out").read_text() == "ready\nsaved\n"


def test_a_job_goes_on_when_the_supervisor_is_killed_and_its_end_is_seen_by_the_next(machine: Machine) -> None:
    wait = 'while [ ! -e "go" ]; do sleep 0.02; done; exit 5'
    native, mark = machine.submit(*[["sh", "-c", wait]] * 3)
    until(lambda: sum(s.state is State.RUNS for s in machine.statuses(native, mark, 3)) == CORES)
    (old,) = machine.supervisors()
    os.kill(old, signal.SIGKILL)
    until(lambda: old not in machine.supervisors())
    # Whoever looks starts the next one, which starts nothing while the slots are taken.
    until(lambda: machine.statuses(native, mark, 3) != [] and bool(machine.supervisors()))
    assert sum(status.state is State.RUNS for status in machine.statuses(native, mark, 3)) == CORES
    (machine.place / "go").touch()
    ends = machine.wait(native, mark, 3)
    assert machine.exits(mark, 3) == [5, 5, 5]
    assert sorted(str(end.code) for end in ends) == ["5", "None", "None"]  # nobody saw two of them end


def test_killed_at_any_moment_each_job_runs_once(machine: Machine) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    submitted = []
    killed = 0
    for _ in range(6):
        note = 'sleep 0.0$1; echo x >>"ran.$0"'
        argvs = [["sh", "-c", note, f"{len(submitted)}.{n}", str(dice.randrange(10))] for n in range(8)]
        submitted.append((*machine.submit(*argvs), len(argvs)))
        time.sleep(dice.random() * 0.2)  # any moment: it is the fault that is timed
        for pid in machine.supervisors():
            os.kill(pid, signal.SIGKILL)
            killed += 1
    for native, mark, count in submitted:
        machine.wait(native, mark, count)
        assert machine.exits(mark, count) == [0] * count
    ran = {path.name: path.read_text() for path in machine.place.glob("ran.*")}
    assert len(ran) == sum(count for _, _, count in submitted)
    assert set(ran.values()) == {"x\n"}
    assert killed


def test_many_shells_have_one_supervisor_and_it_outlives_them(machine: Machine) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from tests.faults.test_local_jobs import Machine
        machine = Machine(Path(sys.argv[1]))
        print(*machine.submit(["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"]))
        """
    shells = [
        subprocess.Popen([sys.executable, "-c", program, str(machine.place)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    told = [shell.communicate(timeout=HANG_S)[0].split() for shell in shells]
    assert len(machine.supervisors()) == 1
    assert sorted(int(native) for native, _ in told) == list(range(1, 7))
    (machine.place / "go").touch()
    for native, mark in told:
        assert [end.code for end in machine.wait(native, mark)] == [0]


def test_old_ends_are_forgotten_and_what_is_not_over_never_is(machine: Machine) -> None:
    (old, mark), (young, other) = machine.submit(["true"]), machine.submit(["true"])
    going, last = machine.submit(["sh", "-c", 'while [ ! -e "go" ]; do sleep 0.02; done'])
    machine.wait(old, mark)
    machine.wait(young, other)
    until(lambda: machine.statuses(going, last, 1)[0].state is State.RUNS)
    for native in (old, going):
        os.utime(machine.spool.place / "asked" / native, (0, 0))
    (supervisor,) = machine.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: supervisor not in machine.supervisors())
    fresh = machine.submit(["true"])
    machine.wait(*fresh)
    assert machine.spool.ids("asked") == [2, 3, 4]
    assert machine.spool.ids("over") == [2, 4]
    (machine.place / "go").touch()
    machine.wait(going, last)


def test_a_damaged_file_is_set_aside_and_everything_else_goes_on(machine: Machine) -> None:
    (machine.spool.place / "asked" / "1").write_text("{")
    (machine.spool.place / "running" / "1.1").write_text("[]")
    native, mark = machine.submit(["true"])
    assert native == "2"
    assert machine.wait(native, mark)[0].code == 0
    assert (machine.spool.place / "asked" / "1.damaged").exists()
    assert (machine.spool.place / "running" / "1.1.damaged").exists()


def test_a_job_is_found_by_its_mark_and_details_say_what_it_is(machine: Machine) -> None:
    native, mark = machine.submit(["true"], memory="1gb")
    machine.wait(native, mark)
    assert machine.jobs.find(Intent(mark, "test", "/")) == native
    assert machine.jobs.find(Intent("zzzzzzzzzz", "test", "/")) is None
    details = machine.jobs.details(native)
    assert f"test.{mark}" in details
    assert "state   ended" in details
    assert machine.jobs.poll({"77": (mark, [1])})["77", 1].state is State.UNKNOWN
    assert not procs.tagged(f"job.{machine.spool.place}.{native}.1")
