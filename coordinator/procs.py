"""With daemons.py the only place of fork, exec, kill and pidfd: processes, their identity, their sessions.

The keeper, the feeder, the local executor and the commands call it. A process is known by host, boot, pid and start
time, never by its pid alone, and is signalled through a pidfd after that identity was checked; a zombie counts as
dead. This file never waits for a pid that it was not asked for (that would
steal statuses from others) and never forks on its own. Linux only.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from coordinator import errors

#: In the environment of what a keeper starts, so that the next keeper can sweep what a dead one left.
TAG = "COORDINATOR_TAG"

_PR_SET_PDEATHSIG = 1

#: Who forked this process by fork(), for die_with_parent().
_forked_by: int | None = None


# --- who a process is ------------------------------------------------------------------------------


class ProcessIdentity(NamedTuple):
    """One process, for ever: pids are given again, these four together are not.

    ``started`` is in clock ticks since the boot named by ``boot``.
    """

    host: str
    boot: str
    pid: int
    started: int


class _Stat(NamedTuple):
    """The fields of /proc/PID/stat that are used here."""

    state: str
    parent: int
    session: int
    started: int


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's random name of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def identity_of(pid: int) -> ProcessIdentity | None:
    """Who has that pid now on this host (a zombie too), or None if nobody has."""
    found = _stat(pid)
    return None if found is None else ProcessIdentity(os.uname().nodename, boot_id(), pid, found.started)


def own_identity() -> ProcessIdentity:
    """Who we are."""
    found = identity_of(os.getpid())
    if found is None:
        raise errors.StateError("/proc does not show this process; mount /proc.")
    return found


def is_alive(identity: ProcessIdentity) -> bool:
    """Does that very process still run (or stand stopped)? A zombie does not.

    StateError for a process of another host: from here nobody can tell.
    """
    if not _could_be_here(identity):
        return False
    found = _stat(identity.pid)
    return found is not None and found.started == identity.started and found.state not in "ZX"


def process_state(pid: int) -> str:
    """The kernel's letter: R running, S and D asleep, T stopped, Z zombie, X dead; X also if there is no such pid."""
    found = _stat(pid)
    return "X" if found is None else found.state


def children_of(pid: int) -> list[int]:
    """The pids whose parent is ``pid``, zombies included."""
    return [child for child in _pids() if (found := _stat(child)) is not None and found.parent == pid]


def thread_count() -> int:
    """Threads of this process, those included that Python does not know of. What forks must have one."""
    return len(os.listdir("/proc/self/task"))


def _could_be_here(identity: ProcessIdentity) -> bool:
    """False: that process ended with an earlier boot."""
    here = os.uname().nodename
    if identity.host != here:
        raise errors.StateError(f"Process {identity.pid} belongs to host {identity.host}; {here} cannot see it.")
    return identity.boot == boot_id()


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # the last: others' processes under hidepid=1
        return None
    # The command's name stands in parentheses and may hold anything, parentheses and spaces too.
    fields = text[text.rindex(b")") + 2 :].split()
    return _Stat(fields[0].decode("ascii"), int(fields[1]), int(fields[3]), int(fields[19]))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _living_of(sid: int) -> Iterator[tuple[int, _Stat]]:
    """The processes of a session but for zombies. All are asked by a system call, a tenth of what their stat costs."""
    for pid in _pids():
        try:
            if os.getsid(pid) != sid:
                continue
        except (ProcessLookupError, PermissionError):  # it ended meanwhile; a kernel that tells only of one's own
            continue
        # The stat says it again: the number may belong to another process by now.
        found = _stat(pid)
        if found is not None and found.session == sid and found.state not in "ZX":
            yield pid, found


# --- signals ---------------------------------------------------------------------------------------


def open_pidfd(process: int | ProcessIdentity) -> int:
    """A descriptor that stands for that process and becomes readable when it ends; the caller closes it.

    Raises ProcessLookupError if it has been reaped, or if its pid belongs to another process by now.
    """
    if isinstance(process, int):
        return os.pidfd_open(process)
    if not _could_be_here(process):
        raise ProcessLookupError(f"process {process.pid} ended with an earlier boot")
    fd = os.pidfd_open(process.pid)
    # The pidfd is fixed now: if the start time agrees after it was opened, it is the process that was meant.
    found = _stat(process.pid)
    if found is None or found.started != process.started:
        os.close(fd)
        raise ProcessLookupError(f"process {process.pid} has ended")
    return fd


def signal_identity(identity: ProcessIdentity, number: int) -> bool:
    """Send a signal to that very process. False if it has ended: then nobody got the signal."""
    try:
        fd = open_pidfd(identity)
    except ProcessLookupError:
        return False
    try:
        if process_state(identity.pid) in "ZX":
            return False
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def session_members(sid: int) -> list[int]:
    """The living processes of a session, stopped ones included, zombies not."""
    return [pid for pid, _ in _living_of(sid)]


def kill_session(sid: int, number: int = signal.SIGKILL) -> int:
    """Send a signal to each living process of a session, and to those they start meanwhile; returns how many got it.

    This process is left out. Call it before the session's leader is reaped: until then its number cannot be reused.
    """
    if sid <= 1:
        raise ValueError(f"session {sid} is not one of ours")
    seen: set[tuple[int, int]] = set()
    sent = 0
    while True:
        fresh = [(pid, found.started) for pid, found in _living_of(sid) if pid != os.getpid()]
        fresh = [process for process in fresh if process not in seen]
        if not fresh:
            return sent
        # A stopped or busy process dies when it gets round to it; each gets one signal, then we look for newcomers.
        for pid, started in fresh:
            seen.add((pid, started))
            with suppress(PermissionError):  # a program that runs as another user, such as sudo
                sent += signal_identity(ProcessIdentity(os.uname().nodename, boot_id(), pid, started), number)


def tags() -> dict[int, str]:
    """{pid: tag} of the living processes, this one left out, that began with ``COORDINATOR_TAG`` in their environment.

    The kernel shows the environment of the last exec: set the tag where a program is started, not where it forks.
    """
    begin = f"{TAG}=".encode()
    found = {}
    for pid in _pids():
        if pid == os.getpid():
            continue
        # It may have ended meanwhile, or be another user's.
        with (
            suppress(FileNotFoundError, ProcessLookupError, PermissionError),
            open(f"/proc/{pid}/environ", "rb") as file,
        ):
            for variable in file.read().split(b"\0"):
                if variable.startswith(begin):
                    found[pid] = os.fsdecode(variable[len(begin) :])
    return found


def tagged(tag: str) -> list[int]:
    """Those of ``tags()`` that began with this one."""
    return [pid for pid, found in tags().items() if found == tag]


def end_tagged(tag: str) -> None:
    """Kill what began with that tag, and what that starts meanwhile."""
    seen: set[ProcessIdentity] = set()
    while fresh := [one for pid in tagged(tag) if (one := identity_of(pid)) is not None and one not in seen]:
        for identity in fresh:
            seen.add(identity)
            signal_identity(identity, signal.SIGKILL)


def reset_signals() -> None:
    """In a new child: Python's own dispositions, an empty mask, no wake-up descriptor of the parent's event loop.

    An inherited SIG_IGN of SIGCHLD would lose exit statuses. SIGINT raises KeyboardInterrupt, SIGPIPE is ignored.
    """
    signal.set_wakeup_fd(-1)
    ignored = {signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # None: not set by Python (faulthandler's, for one), so not ours to touch.
        if signal.getsignal(number) in (None, signal.SIG_DFL):
            continue
        if number not in ignored:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


# --- children --------------------------------------------------------------------------------------


def fork(child: Callable[[], int | None]) -> int:
    """Run ``child()`` in a forked process and return its pid; it ends with the status that ``child`` returns.

    Nothing of the caller runs in the child afterwards: no ``finally``, no atexit. An exception is printed on stderr
    and becomes status 1. Call it from the main thread of a process with one thread, before a lock, a journal or a
    listening socket is opened, since the child would hold it too.
    """
    global _forked_by
    _flush()  # or both processes would write what waits in the buffer
    parent = os.getpid()
    # A KeyboardInterrupt between fork and try would run the caller's code in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise errors.LaunchFailed(f"No process could be forked: {error.strerror}.") from error
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
    status = 1
    try:
        _forked_by = parent
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = child() or 0
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # noqa: BLE001 - the boundary: the caller's stack must not go on in the child
        import traceback

        traceback.print_exc()
    finally:
        _flush()
        os._exit(status & 0xFF)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a full disk, closed, None: no reason not to go on
            stream.flush()


def die_with_parent(parent: int | None = None, number: int = signal.SIGKILL) -> None:
    """Ask the kernel to send ``number`` to this process when its parent ends; at once if it has ended already.

    ``parent`` is the parent's pid as it was before the fork; after fork() it is known. The kernel means the *thread*
    that forked: fork from the main one. Children of this process do not inherit it.
    """
    ctypes, libc = c_library()
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    expected = _forked_by if parent is None else parent
    if expected is not None and os.getppid() != expected:
        os.kill(os.getpid(), number)


@lru_cache(maxsize=1)
def c_library() -> tuple[Any, Any]:
    """(ctypes, libc); who forks many loads it first, since each child would take milliseconds for that."""
    import ctypes

    return ctypes, ctypes.CDLL(None, use_errno=True)


def spawn(argv: Sequence[str], env: Mapping[str, str], keep: Sequence[int], output: int) -> int:
    """Start a program that keeps the descriptors ``keep``, reads nothing and prints to ``output``; returns its pid.

    It must be reaped by that pid. Raises LaunchFailed.
    """
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    for descriptor in keep:
        os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(
            argv[0], list(argv), dict(env), file_actions=actions, setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )  # fmt: skip
    except OSError as error:
        raise errors.LaunchFailed(f"{argv[0]} cannot be started: {error.strerror}.") from error
    finally:
        for descriptor in keep:
            os.set_inheritable(descriptor, False)


def exit_text(status: int) -> str:
    """A wait status in words: "exit status 3", "signal 9 (SIGKILL)"."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:  # a real-time signal has no name
            return f"signal {number}"
        return f"signal {number} ({name})"
    return f"exit status {os.WEXITSTATUS(status)}"


def reap(pid: int) -> str:
    """Wait for a child to end; how it ended, in words."""
    try:
        return exit_text(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return "exit status unknown"


def reap_if_ended(pid: int) -> str | None:
    """How a child ended, in words, or None while it runs."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "exit status unknown"
    return exit_text(status) if ended else None


def raise_open_files() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one; returns the limits before, for restore_open_files()."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def restore_open_files(limits: tuple[int, int]) -> None:
    """In a child that runs others' programs, some of which walk through every possible descriptor."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
