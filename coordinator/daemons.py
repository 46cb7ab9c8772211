"""Daemons: a program in a session of its own that says through a pipe when it is ready, or why it is not.

``start_client_or_server`` and ``coordinator --rc=NAME`` start one and wait; the daemon itself reports. It is a new
interpreter, never a fork: the user's imports may have started threads.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from coordinator import errors, paths, procs

#: Tells a daemon its pipe, "descriptor:inode". The inode is compared, so an inherited variable does no harm.
_READY = "COORDINATOR_READY_PIPE"

#: So long a daemon that gave its error may take to tidy up and end.
_ENDING_S = 10.0


def start_daemon(
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    log_path: str | os.PathLike[str],
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Start a program in a session of its own and wait until it calls report_ready(); returns what that was given.

    stdin is /dev/null, stdout and stderr are appended to ``log_path`` (0600); other descriptors are closed. The answer
    holds "pid" besides. Raises the error that the daemon gave to report_failed(), or LaunchFailed if it ended or
    said nothing for ``timeout_s``; nothing of it is left running then.
    """
    log = paths.open_private(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    reading, writing = os.pipe()
    try:
        pid = _spawn(argv, dict(os.environ if env is None else env), log, writing)
    finally:
        os.close(log)
        os.close(writing)
    try:
        line = _first_line(reading, pid, timeout_s)
    except BaseException:  # Ctrl-C while waiting, too: no daemon that nobody knows of
        _end(pid)
        raise
    finally:
        os.close(reading)
    if line is None:
        _end(pid)
        raise errors.LaunchFailed(f"{argv[0]} said nothing for {timeout_s:g} s and was ended; see {log_path}.")
    if not line:
        raise errors.LaunchFailed(f"{argv[0]} ended before it was ready ({_end(pid)}); see {log_path}.")
    message: dict[str, Any] = json.loads(line)
    if "error" in message:
        _wait_for_end(pid, _ENDING_S)
        _end(pid)
        raise errors.from_fault(message["code"], message["error"])
    return {**message, "pid": pid}


def report_ready(**details: Any) -> bool:
    """In a daemon: tell start_daemon() that all is well, with ``details`` (JSON values). False if nobody waits."""
    return _report(details)


def report_failed(error: BaseException) -> bool:
    """In a daemon: tell start_daemon() why we give up, to be shown on the user's terminal; then end. As above."""
    return _report(
        {"error": str(error) or type(error).__name__, "code": getattr(error, "code", errors.LaunchFailed.code)}
    )


def _spawn(argv: Sequence[str], env: dict[str, str], log: int, writing: int) -> int:
    # Above the numbers that are dup2'ed onto, so that no step overwrites another's source.
    high_log = fcntl.fcntl(log, fcntl.F_DUPFD_CLOEXEC, 10)
    high_writing = fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        env[_READY] = f"3:{os.fstat(writing).st_ino}"
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, high_log, 1),
            (os.POSIX_SPAWN_DUP2, high_log, 2),
            (os.POSIX_SPAWN_DUP2, high_writing, 3),
        ]
        # What the shell left open (a lock of flock(1), make's jobserver) must not live as long as the daemon.
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable() if fd > 3]
        program = argv[0] if os.sep in argv[0] else shutil.which(argv[0], path=env.get("PATH")) or argv[0]
        try:
            return os.posix_spawn(
                program,
                list(argv),
                env,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except OSError as error:
            raise errors.LaunchFailed(f"{program} cannot be started: {error.strerror}.") from error
    finally:
        os.close(high_log)
        os.close(high_writing)


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of this very listing
            if os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _first_line(reading: int, pid: int, timeout_s: float) -> bytes | None:
    """The daemon's line; b"" if it ended without one; None if time is up."""
    received = b""
    deadline = time.monotonic() + timeout_s
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        poll.register(ended, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
            if reading in ready:  # before the end: what it said last explains why it ended
                chunk = os.read(reading, 65536)
                received += chunk
                if received.endswith(b"\n"):
                    return received
                if not chunk:
                    poll.unregister(reading)
            elif ended in ready:
                return b""
            elif not ready:
                return None
    finally:
        os.close(ended)


def _wait_for_end(pid: int, timeout_s: float) -> None:
    ended = os.pidfd_open(pid)
    try:
        select.select([ended], [], [], timeout_s)
    finally:
        os.close(ended)


def _end(pid: int) -> str:
    """End a daemon, or what it left, and say how it ended."""
    procs.kill_session(pid)
    return procs.reap(pid)


def _report(message: dict[str, Any]) -> bool:
    number, _, inode = os.environ.pop(_READY, "").partition(":")
    if not number.isdecimal():
        return False
    fd = int(number)
    try:
        if os.fstat(fd).st_ino != int(inode):  # inherited by a child of the daemon, whose descriptor 3 is another
            return False
        with os.fdopen(fd, "wb") as pipe:
            pipe.write(json.dumps(message).encode() + b"\n")
    except (OSError, ValueError):  # nobody reads any more: the starter was interrupted
        return False
    return True
