"""What a start loads: people wait for it, so what is not needed before the first task is not loaded before it."""

import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.embedded import whole_host
from coordinator.resource import ResourceController

HANG_S = 50

#: what a job on this machine needs later than its first task, if ever
LATER = {
    "argparse", "coordinator.executors.remote", "coordinator.history", "coordinator.resource", "coordinator.tables",
    "coordinator.tls", "coordinator.users", "cryptography", "datetime", "email", "fractions", "http", "paramiko",
    "psutil", "random", "rich", "secrets", "sqlite3", "tempfile", "unicodedata", "xml", "xmlrpc",
}  # fmt: skip
#: what its Coordinator needs to take calls, and so not before it has told the keeper to start
CALLS = {"asyncio", "concurrent", "coordinator.wire.http", "hashlib", "httptools", "ssl", "subprocess"}
#: making one costs half a millisecond, and there would be dozens: records of a start are NamedTuples or plain classes
DATACLASSES = {"dataclasses"}
#: 3 ms, for names that os.path knows as well
PATHLIB = {"pathlib"}


def loaded(code: str, among: set[str], *words: str, where: Path | None = None) -> set[str]:
    """Those of ``among`` that are loaded when ``code`` is through, and were not before."""
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before, file=sys.stdout)\n"
    if where is None:
        command = [sys.executable, "-c", script]
    else:
        (where / "script.py").write_text(script)
        command = [sys.executable, "script.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=True, cwd=where)
    return among & set(done.stdout.split())


def test_what_a_coordinator_on_this_machine_loads_before_it_starts_a_keeper_is_little() -> None:
    rooms = "script, forerunners, taskserver, progress, executors.local, embedded"
    code = "import " + ", ".join(f"coordinator.{room}" for room in rooms.split(", "))
    assert loaded(code, LATER | CALLS | DATACLASSES | PATHLIB) == set()


def test_what_is_loaded_before_guard_zygote_and_feeder_are_forked_is_less() -> None:
    heavy = LATER | CALLS | DATACLASSES | PATHLIB | {"coordinator.guard", "coordinator.journal", "ctypes"}
    assert loaded("import coordinator.script, coordinator.forerunners", heavy) == set()


def test_a_job_that_is_over_at_once_has_loaded_no_resource_controller(tmp_path: Path) -> None:
    code = """
import coordinator
from coordinator import taskserver

taskserver.TICK_S = 3600.0  # time never passes, however slow the machine is


def work(task):
    pass


def serve():
    yield from range(10)


outcome = coordinator.start_client_or_server(work, serve, [], __file__, exit=False)
assert outcome.done == 10, outcome
"""
    found = loaded(code, LATER, "JOB", "--local=2", where=tmp_path)
    assert found <= {"coordinator.history", "coordinator.tables", "unicodedata"}, "but for what the end prints"
    assert sorted((tmp_path / "JOB.success").read_text().split()) == [str(number) for number in range(10)]


TOLD = {"name": "JOB", "url": "http://127.0.0.1:1", "resources": [], "demand_ncpu": 0, "ncpu_limit": 999999}


@pytest.mark.parametrize(("slots", "limit"), [(1, 999999), (2, 999999), (64, 999999), (2, 2), (2, 3)])
def test_a_job_that_is_alone_is_told_at_first_what_a_resource_controller_would_tell_it(
    tmp_path: Path, slots: int, limit: int
) -> None:
    controller = ResourceController("JOB", hosts={"localhost": float(slots)}, directory=tmp_path)
    told = {**TOLD, "ncpu_limit": limit}
    theirs, ours = controller.beat_job(told), whole_host("localhost", slots, told)
    controller.close()
    assert ours is not None
    assert theirs is not None
    assert {**ours, "version": 0} == {**theirs, "version": 0, "retry": ours["retry"]}


@pytest.mark.parametrize("claim", [{"resources": ["hg17"]}, {"demand_ncpu": 1}, {"ncpu_limit": 1}, {"ncpu_limit": 0}])
def test_where_there_is_anything_to_decide_the_resource_controller_is_asked(claim: dict[str, object]) -> None:
    assert whole_host("localhost", 2, {**TOLD, **claim}) is None


def test_as_many_slots_as_are_to_be_refused_are_left_to_the_resource_controller() -> None:
    assert whole_host("localhost", 10**9, TOLD) is None
