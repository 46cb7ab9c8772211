"""Processes, with real ones: real SIGKILL, real SIGSTOP, real zombies."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator import daemons, errors, procs, sweeper

HANG_S = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Give way to the kernel until it shows what must come; fails when it does not."""
    timer = threading.Event()
    for _ in range(int(HANG_S / 0.01)):
        if condition():
            return
        timer.wait(0.01)
    pytest.fail("it did not come")


def wait_for_end(pid: int) -> None:
    """Until the process is a zombie, without reaping it."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], HANG_S)[0], "it did not end"
    finally:
        os.close(fd)


def sleeper() -> int:
    signal.pause()
    return 0


@pytest.fixture
def started() -> Iterator[list[int]]:
    """Pids to kill and reap at the end of the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        procs.reap(pid)


# --- identity --------------------------------------------------------------------------------------


def test_a_running_process_is_alive_and_its_identity_stays(started):
    started.append(procs.fork(sleeper))
    identity = procs.identity_of(started[0])
    assert identity is not None
    assert identity.pid == started[0]
    assert identity == procs.identity_of(started[0])
    assert procs.is_alive(identity)


def test_a_zombie_counts_as_dead_and_still_has_its_identity():
    pid = procs.fork(lambda: 0)
    identity = procs.identity_of(pid)
    assert identity is not None
    wait_for_end(pid)
    assert procs.process_state(pid) == "Z"
    assert procs.identity_of(pid) == identity
    assert not procs.is_alive(identity)
    assert not procs.signal_identity(identity, signal.SIGTERM)
    assert procs.reap(pid) == "exit status 0"
    assert procs.identity_of(pid) is None
    assert procs.process_state(pid) == "X"
    assert not procs.is_alive(identity)


def test_a_stopped_process_is_alive_and_says_so(started):
    started.append(procs.fork(sleeper))
    identity = procs.identity_of(started[0])
    assert identity is not None
    assert procs.signal_identity(identity, signal.SIGSTOP)
    os.waitid(os.P_PID, started[0], os.WSTOPPED | os.WNOWAIT)
    assert procs.process_state(started[0]) == "T"
    assert procs.is_alive(identity)


def test_a_pid_that_was_given_again_is_not_the_same_process(started):
    started.append(procs.fork(sleeper))
    identity = procs.identity_of(started[0])
    assert identity is not None
    earlier = identity._replace(started=identity.started - 1)
    assert not procs.is_alive(earlier)
    assert not procs.signal_identity(earlier, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        procs.open_pidfd(earlier)
    assert procs.is_alive(identity)


def test_a_process_of_an_earlier_boot_is_dead():
    earlier = procs.own_identity()._replace(boot="00000000-0000-0000-0000-000000000000")
    assert not procs.is_alive(earlier)
    assert not procs.signal_identity(earlier, 0)


def test_a_process_of_another_host_cannot_be_judged_here():
    elsewhere = procs.own_identity()._replace(host="elsewhere.example")
    with pytest.raises(errors.StateError, match=r"belongs to host elsewhere\.example"):
        procs.is_alive(elsewhere)


def test_a_name_with_parentheses_and_spaces_does_not_confuse_the_reading(tmp_path):
    program = tmp_path / "x) Z 1 (y"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "1000"])
    try:
        # Between fork and exec it has our name; what matters is the reading after that.
        wait_until(lambda: b"x) Z" in Path(f"/proc/{child.pid}/stat").read_bytes())
        assert procs.process_state(child.pid) in "RSD"
        assert child.pid in procs.children_of(os.getpid())
    finally:
        child.kill()
        child.wait()


def test_a_pidfd_tells_the_end(started):
    started.append(procs.fork(sleeper))
    fd = procs.open_pidfd(started[0])
    try:
        assert not select.select([fd], [], [], 0)[0]
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        assert select.select([fd], [], [], HANG_S)[0]
    finally:
        os.close(fd)


def test_threads_are_counted(started):
    before = procs.thread_count()
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        assert procs.thread_count() == before + 1
    finally:
        leave.set()
        thread.join()


# --- fork ------------------------------------------------------------------------------------------


def test_a_child_ends_with_the_status_that_its_function_returns():
    assert procs.reap(procs.fork(lambda: 7)) == "exit status 7"
    assert procs.reap(procs.fork(lambda: None)) == "exit status 0"


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("sys.exit(3)", "exit status 3"),
        ("sys.exit('why')", "exit status 1"),
        ("sys.exit()", "exit status 0"),
        ("raise KeyboardInterrupt", "exit status 130"),
        ("raise ValueError('as planned')", "exit status 1"),
        ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)"),
        ("os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_how_a_child_ended_is_told_in_words(code, ends, capfd):
    assert procs.reap(procs.fork(lambda: exec(code))) == ends
    assert ("ValueError: as planned" in capfd.readouterr().err) == ("ValueError" in code)


def test_a_child_runs_nothing_of_its_caller_afterwards(tmp_path):
    """No finally of the caller, no atexit, and what waits in the buffer of stdout is written once."""
    script = tmp_path / "script.py"
    script.write_text(
        "import atexit, os, sys\n"
        "from coordinator import procs\n"
        "atexit.register(lambda: print('atexit'))\n"
        "sys.stdout.write('buffered ')\n"
        "def fail():\n"
        "    print('child')\n"
        "    raise SystemExit(5)\n"
        "try:\n"
        "    print(procs.reap(procs.fork(fail)))\n"
        "finally:\n"
        "    print('finally')\n"
    )
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=HANG_S)
    assert found.stdout == "buffered child\nexit status 5\nfinally\natexit\n"


def test_signals_are_as_before_on_both_sides_of_a_fork():
    def mask_is_empty() -> int:
        return len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert procs.reap(procs.fork(mask_is_empty)) == f"exit status {len(before)}"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_running_child_has_not_ended_yet(started):
    started.append(procs.fork(sleeper))
    assert procs.reap_if_ended(started[0]) is None
    pid = procs.fork(lambda: 4)
    wait_for_end(pid)
    assert procs.reap_if_ended(pid) == "exit status 4"
    assert procs.reap_if_ended(pid) == "exit status unknown"
    assert procs.reap(pid) == "exit status unknown"


def test_reset_signals_gives_a_child_the_dispositions_of_a_new_python():
    def child() -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        procs.reset_signals()
        good = (
            signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
            and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
            and signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
            and not signal.pthread_sigmask(signal.SIG_BLOCK, ())
        )
        # With SIG_IGN inherited, this status would be lost.
        return 0 if good and procs.reap(procs.fork(lambda: 6)) == "exit status 6" else 1

    assert procs.reap(procs.fork(child)) == "exit status 0"


def test_a_child_dies_with_its_parent():
    reading, writing = os.pipe()

    def grandchild() -> int:
        procs.die_with_parent()
        os.write(writing, b"ready")
        return sleeper()

    def parent() -> int:
        procs.fork(grandchild)
        return sleeper()

    pid = procs.fork(parent)
    os.close(writing)
    try:
        assert os.read(reading, 5) == b"ready"
        os.kill(pid, signal.SIGKILL)
        procs.reap(pid)
        assert os.read(reading, 5) == b""  # the grandchild's end of the pipe is closed: it died
    finally:
        os.close(reading)


def test_a_child_whose_parent_is_gone_already_dies_at_once():
    def child() -> int:
        procs.die_with_parent(parent=os.getpid())  # whoever that is, it is not our parent
        return 0

    assert procs.reap(procs.fork(child)) == "signal 9 (SIGKILL)"


def test_open_files_are_raised_and_restored():
    def child() -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
        before = procs.raise_open_files()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)
        procs.restore_open_files(before)
        return (
            0
            if (before, raised, resource.getrlimit(resource.RLIMIT_NOFILE)) == ((64, 128), (128, 128), (64, 128))
            else 1
        )

    assert procs.reap(procs.fork(child)) == "exit status 0"


# --- sessions and tags -----------------------------------------------------------------------------


@contextmanager
def session_of(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A shell in a session of its own that ran ``program`` up to its line "ready"; killed at the end."""
    with subprocess.Popen(["/bin/sh", "-c", program], start_new_session=True, stdout=subprocess.PIPE) as shell:
        try:
            assert shell.stdout is not None
            assert shell.stdout.readline() == b"ready\n"
            yield shell
        finally:
            procs.kill_session(shell.pid)


def test_killing_a_session_kills_all_of_its_processes_and_no_other(started):
    started.append(procs.fork(sleeper))
    with session_of("sleep 1000 & (sleep 1000 & sleep 1000; :) & echo ready; wait") as shell:
        wait_until(lambda: len(procs.session_members(shell.pid)) == 5)
        assert procs.kill_session(shell.pid) == 5
        assert shell.wait(HANG_S) == -signal.SIGKILL
        wait_until(lambda: procs.session_members(shell.pid) == [])
    assert procs.process_state(started[0]) in "RS"


def test_a_stopped_session_is_killed_too():
    with session_of("sleep 1000 & echo ready; wait") as shell:
        procs.kill_session(shell.pid, signal.SIGSTOP)
        wait_until(lambda: {procs.process_state(pid) for pid in procs.session_members(shell.pid)} == {"T"})
        procs.kill_session(shell.pid)
        assert shell.wait(HANG_S) == -signal.SIGKILL


def test_a_session_that_forks_as_fast_as_it_can_is_killed():
    with session_of("echo ready; while :; do /bin/true & done") as shell:
        procs.kill_session(shell.pid)
        assert shell.wait(HANG_S) == -signal.SIGKILL
        wait_until(lambda: procs.session_members(shell.pid) == [])


def test_zombies_are_no_members_of_a_session():
    with session_of("echo ready") as shell:
        wait_for_end(shell.pid)
        assert procs.session_members(shell.pid) == []
        assert procs.kill_session(shell.pid) == 0


def test_a_killer_inside_the_session_kills_the_others_and_lives():
    def child() -> int:
        os.setsid()
        other = procs.fork(sleeper)
        sent = procs.kill_session(os.getpid())
        return 0 if sent == 1 and procs.reap(other) == "signal 9 (SIGKILL)" else 1

    assert procs.reap(procs.fork(child)) == "exit status 0"


@pytest.mark.parametrize("sid", [-1, 0, 1])
def test_the_sessions_of_the_system_are_refused(sid):
    with pytest.raises(ValueError, match="not one of ours"):
        procs.kill_session(sid)


def test_a_tag_finds_what_was_started_with_it_even_in_another_session():
    env = {**os.environ, procs.TAG: "run-1"}
    mine = subprocess.Popen(["/bin/sleep", "1000"], env=env, start_new_session=True)
    other = subprocess.Popen(["/bin/sleep", "1000"], env={**env, procs.TAG: "run-11"})
    try:
        wait_until(lambda: procs.tagged("run-1") == [mine.pid])
        wait_until(lambda: procs.tagged("run-11") == [other.pid])
        assert procs.tagged("run") == []
        # Others run on this machine, too.
        assert procs.tags().items() >= {mine.pid: "run-1", other.pid: "run-11"}.items()
        procs.end_tagged("run-1")
        assert mine.wait() == -9
        assert other.poll() is None
    finally:
        for child in (mine, other):
            child.kill()
            child.wait()
    assert procs.tagged("run-1") == []


def test_what_a_dead_keeper_left_is_swept_away_and_what_a_living_one_has_is_not():
    dead = subprocess.Popen(["/bin/sleep", "0"])
    ended = procs.identity_of(dead.pid)
    assert ended is not None
    dead.wait()
    own = procs.own_identity()
    tags = {
        "of the dead": f"run-1:{ended.pid}.{ended.started}",
        "of another with its pid": f"run-1:{own.pid}.{own.started - 1}",
        "without a keeper": "run-1",
        "of the living": f"run-1:{own.pid}.{own.started}",
        "of another run": f"run-11:{ended.pid}.{ended.started}",
    }
    children = {
        what: subprocess.Popen(["/bin/sleep", "1000"], env={**os.environ, procs.TAG: tag}) for what, tag in tags.items()
    }
    try:
        wait_until(lambda: set(procs.tags()) >= {child.pid for child in children.values()})
        assert sweeper.sweep("run-1") == tags["of the living"]
        swept = {"of the dead", "of another with its pid", "without a keeper"}
        wait_until(lambda: {what for what, child in children.items() if child.poll() is not None} >= swept)
        assert {what for what, child in children.items() if child.poll() is not None} == swept
    finally:
        for child in children.values():
            child.kill()
            child.wait()


# --- daemons ---------------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path) -> Iterator[Callable[..., dict]]:
    """start(code) runs that Python code as a daemon; ended with the test."""
    pids: list[int] = []

    def start(code: str, **options: float) -> dict:
        script = tmp_path / "daemon.py"
        script.write_text("import os, signal, sys\nfrom coordinator import daemons, errors, procs\n" + code)
        found = daemons.start_daemon([sys.executable, str(script)], None, tmp_path / "daemon.log", **options)
        pids.append(found["pid"])
        return found

    yield start
    for pid in pids:
        procs.kill_session(pid)
        procs.reap(pid)


def test_a_daemon_reports_what_it_has_to_say_and_goes_on(daemon, tmp_path):
    told = daemon("print('hello', flush=True)\ndaemons.report_ready(url='http://x', text='ü\\n')\nsignal.pause()")
    assert told == {"url": "http://x", "text": "ü\n", "pid": told["pid"]}
    assert procs.process_state(told["pid"]) in "RS"
    assert (tmp_path / "daemon.log").read_text() == "hello\n"
    assert (tmp_path / "daemon.log").stat().st_mode & 0o777 == 0o600


def test_a_daemon_has_a_session_of_its_own_and_nothing_of_the_terminal(daemon):
    told = daemon(
        "daemons.report_ready(session=os.getsid(0), pid_=os.getpid(), stdin=os.readlink('/proc/self/fd/0'),"
        " cwd=os.getcwd())\nsignal.pause()"
    )
    assert told["session"] == told["pid_"] == told["pid"]
    assert told["stdin"] == "/dev/null"
    assert told["cwd"] == os.getcwd()


def test_a_daemon_inherits_no_descriptor_that_a_shell_left_open(daemon, tmp_path):
    with open(tmp_path / "lock", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        told = daemon(
            "names = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
            " if os.path.exists(f'/proc/self/fd/{n}')]\n"
            "daemons.report_ready(open=names)\nsignal.pause()"
        )
    assert str(tmp_path / "lock") not in told["open"]
    assert [name for name in told["open"] if name.startswith("pipe:")] in ([], told["open"][3:4])


def test_a_daemon_has_default_signals_even_if_we_ignore_them(daemon):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        told = daemon("daemons.report_ready(s=[int(signal.getsignal(n)) for n in (17, 1)])\nsignal.pause()")
    finally:
        signal.signal(signal.SIGCHLD, before[0])
        signal.signal(signal.SIGHUP, before[1])
    assert told["s"] == [int(signal.SIG_DFL)] * 2


def test_the_error_of_a_daemon_arrives_as_that_error(daemon):
    with pytest.raises(errors.PortTaken, match="port 5000 is in use; choose another"):
        daemon("daemons.report_failed(errors.PortTaken('port 5000 is in use; choose another'))\nsys.exit(1)")


def test_any_other_error_of_a_daemon_is_a_failed_launch(daemon):
    with pytest.raises(errors.LaunchFailed, match="as planned"):
        daemon("daemons.report_failed(ValueError('as planned'))\nsys.exit(1)")


def test_a_daemon_that_ends_without_a_word_is_an_error_that_names_its_log(daemon, tmp_path):
    with pytest.raises(errors.LaunchFailed, match=r"before it was ready \(exit status 1\); see .*daemon\.log"):
        daemon("raise ValueError('as planned')")
    assert "ValueError: as planned" in (tmp_path / "daemon.log").read_text()


def test_a_daemon_that_is_killed_while_a_child_holds_the_pipe_is_noticed(daemon):
    with pytest.raises(errors.LaunchFailed, match=r"signal 9"):
        daemon("procs.fork(signal.pause)\nos.kill(os.getpid(), 9)")


def test_a_daemon_that_says_nothing_is_ended_with_all_it_started(daemon):
    with pytest.raises(errors.LaunchFailed, match=r"said nothing for 0\.5 s"):
        daemon("procs.fork(signal.pause)\nsignal.pause()", timeout_s=0.5)


def test_a_daemon_that_gave_its_error_and_does_not_end_is_ended(daemon, monkeypatch):
    monkeypatch.setattr(daemons, "_ENDING_S", 0.5)
    with pytest.raises(errors.LaunchFailed, match="as planned"):
        daemon("daemons.report_failed(ValueError('as planned'))\nprocs.fork(signal.pause)\nsignal.pause()")


def test_a_program_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(errors.LaunchFailed, match="cannot be started: No such file"):
        daemons.start_daemon([str(tmp_path / "none")], None, tmp_path / "log")


def test_a_child_of_a_daemon_cannot_report_in_its_name(daemon, tmp_path):
    """The variable is inherited, the descriptor is not: the child must not write into what is its descriptor 3."""
    told = daemon(
        "import subprocess\n"
        'code = \'from coordinator import daemons; f = open("other", "w"); print(f.fileno(),'
        " daemons.report_ready(x=1))'\n"
        "out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout\n"
        "daemons.report_ready(out=out)\nsignal.pause()"
    )
    assert told["out"].endswith("False\n")
    assert (tmp_path / "other").read_bytes() == b""


def test_without_a_starter_the_reports_go_nowhere():
    assert daemons.report_ready(x=1) is False
    assert daemons.report_failed(ValueError()) is False


def test_a_daemon_reports_once(daemon):
    told = daemon(
        "first = daemons.report_ready(first=True)\n"
        "open('second', 'w').write(str([first, daemons.report_ready(second=True)]))\nsignal.pause()"
    )
    assert told == {"first": True, "pid": told["pid"]}
    wait_until(lambda: Path("second").exists() and Path("second").read_text() == "[True, False]")


def test_reports_are_json_lines(monkeypatch):
    reading, writing = os.pipe()
    try:
        monkeypatch.setenv("COORDINATOR_READY_PIPE", f"{writing}:{os.fstat(writing).st_ino}")
        assert daemons.report_ready(n=1)
        assert json.loads(os.read(reading, 100)) == {"n": 1}
    finally:
        os.close(reading)


def test_our_resource_module_does_not_shadow_the_standard_one():
    import psutil

    assert psutil.Process().rlimit(psutil.RLIMIT_NOFILE)
