"""What each test gets without asking: a world of its own, and a look afterwards that no process was left behind."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from coordinator import paths, procs
from tests import smalldisk
from tests.smalldisk import SmallDisk

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

    from tests.end_to_end.daemons import Daemons

ROOT = Path(__file__).resolve().parent.parent

#: Whose tests share daemons; the beginning of their names.
CLUSTERS = "tests/clusters/"

#: What a test started may need a moment to end after it was told to; a hang bound, not a measurement.
_GRACE_S = 10.0

_PR_SET_CHILD_SUBREAPER = 36

# No deadline: a loaded machine is no failure. The seed of a failure is printed by Hypothesis itself.
settings.register_profile("coordinator", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("coordinator"), max_examples=20)
settings.load_profile("coordinator")  # unless --hypothesis-profile names the other one


def pytest_configure(config: pytest.Config) -> None:
    """Orphans of what a test starts become our children, so that the leak check sees them too (daemons above all).

    What a test starts can be interrupted, also where a shell in the background started the tests with Ctrl-C ignored.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With ``--dist loadscope`` whichever process is free has the next test, and one of them all that need a cluster,
    first of all."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Tests(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return CLUSTERS if nodeid.startswith(CLUSTERS) else nodeid

    return Tests(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """IDs with lone surrogates appear in logs and failures, and xdist gives up a run over a report that holds one."""
    report = yield
    report.sections = [(name, _encodable(text)) for name, text in report.sections]
    if report.longrepr is not None and not isinstance(report.longrepr, tuple):
        text = str(report.longrepr)
        if _encodable(text) != text:
            report.longrepr = _encodable(text)
    return report


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Current directory, state directory and temporary directory of the test's own; afterwards no process is left."""
    own = tmp_path.with_name(f"{tmp_path.name}.own")
    for name in ("state", "tmp"):
        (own / name).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(own / "state"))
    monkeypatch.setenv("TMPDIR", str(own / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)  # tempfile remembers its first answer
    # A test's programs find the package of this checkout from the test's directory, installed or not.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    before = _descendants()
    yield
    _reset_logs()
    paths.full_hostname.cache_clear()
    paths.is_this_machine.cache_clear()
    left = _wait_for_end(_descendants() - before)
    if left:
        shown = "\n".join(f"  {_shown(identity)}" for identity in sorted(left, key=lambda identity: identity.pid))
        for identity in left:
            procs.signal_identity(identity, signal.SIGKILL)
        _wait_for_end(left)
        pytest.fail(f"the test left processes behind (killed now):\n{shown}", pytrace=False)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """A directory with script.py, whose tasks wait for "go" or "go.ID"; every daemon is ended afterwards."""
    from tests.end_to_end.daemons import Daemons

    made = Daemons(tmp_path)
    made.script()
    yield made
    made.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of its own that a test can fill up; needs root."""
    with smalldisk.mounted(tmp_path / "small") as disk:
        yield disk


def _reset_logs() -> None:
    import logging

    log = logging.getLogger("coordinator")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.NOTSET)
    log.propagate = True


def _descendants() -> set[procs.ProcessIdentity]:
    """Every living process below this one. Zombies that are our own children are reaped on the way."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # without a child there is nobody below us, since every orphan becomes our child
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, IndexError):
                fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                parents[int(name)] = (int(fields[1]), fields[0])
    found, level = set(), {os.getpid()}
    while level:
        level = {pid for pid, (parent, _) in parents.items() if parent in level}
        found |= level
    living = set()
    for pid in found:
        if parents[pid][1] in (b"Z", b"X"):
            if parents[pid][0] == os.getpid():
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        elif (identity := procs.identity_of(pid)) is not None:
            living.add(identity)
    return living


def _wait_for_end(processes: set[procs.ProcessIdentity]) -> set[procs.ProcessIdentity]:
    """Those that still live when the grace time is over; returns as soon as none does."""
    left = set()
    for identity in processes:
        try:
            fd = procs.open_pidfd(identity)
        except ProcessLookupError:
            continue
        try:
            if not select.select([fd], [], [], _GRACE_S)[0]:
                left.add(identity)
        finally:
            os.close(fd)
    if processes:
        _descendants()  # reaps what has ended
    return left


def _shown(identity: procs.ProcessIdentity) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{identity.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        return f"pid {identity.pid} ({procs.process_state(identity.pid)}): {words.strip()[:300] or '(no command line)'}"
    return f"pid {identity.pid}"
