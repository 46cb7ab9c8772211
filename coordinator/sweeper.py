"""The sweeper of a host: ends what tasks have started where guard and zygote are both killed and nobody else could.

The keeper's guard forks it first of all, tells it who is there, and dismisses it when it leaves in order; then there is
nothing to sweep. Processors end with their zygote by themselves; what they started is known by their sessions, and in
other sessions by a tag in its environment. It waits, runs no user code, speaks to nobody, and is in a session of its
own, so that what is sent to the guard's group does not hit it. Where it was killed too, the run's next keeper on that
host sweeps.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress

from coordinator import procs


class Sweeper:
    """As its guard knows it. Make it before the first zygote, or after one that was forked: a zygote must not hold the
    channel whose end means that the guard is gone."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        self._pid = procs.fork(lambda: _serve(theirs))
        theirs.close()
        self._channel.recv(1)  # it is there, or was killed

    def tell(self, what: str, about: int | str) -> None:
        """What tasks start has this ``tag`` in its environment; there is another ``zygote``; there is a ``processor``;
        that one has ``ended``, with its session."""
        with suppress(BrokenPipeError, ConnectionResetError):  # it was killed
            self._channel.sendall(f"{what} {about}\n".encode())

    def dismiss(self) -> None:
        """The guard leaves, and has swept."""
        os.kill(self._pid, signal.SIGKILL)  # perhaps it stands still
        procs.reap(self._pid)
        self._channel.close()


def _serve(channel: socket.socket) -> int:
    os.setsid()
    _hold_only(channel.fileno())
    channel.sendall(b"\n")
    zygote, tag = -1, ""
    processors: dict[int, procs.ProcessIdentity | None] = {}
    with channel.makefile(encoding="ascii") as told:
        for line in told:
            what, about = line.split()
            if what == "tag":
                tag = about
                continue
            pid = int(about)
            if what == "processor":
                processors[pid] = procs.identity_of(pid)
            elif what == "ended":
                processors.pop(pid, None)
            else:
                zygote = _watch(pid, zygote)
    if zygote >= 0:
        select.select([zygote], [], [])  # its processors die with it, and start nothing after that
    for pid, identity in processors.items():
        if procs.identity_of(pid) in (None, identity):  # else the number is another's by now
            procs.kill_session(pid)
    if tag:  # else the guard went before it had orders
        procs.end_tagged(tag)
    return 0


def _watch(zygote: int, before: int) -> int:
    """A descriptor of that process, -1 if it is gone; the one of the zygote before it is closed."""
    if before >= 0:
        os.close(before)
    try:
        return procs.open_pidfd(zygote)
    except ProcessLookupError:
        return -1


def _hold_only(descriptor: int) -> None:
    """The guard's end of a channel, held here, would hide from others that the guard is gone."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != descriptor:
            with suppress(OSError):  # the listing's own
                os.close(int(name))


def sweep(run: str) -> str:
    """Kill what tasks of this run had started here and whose keeper was killed with all that belongs to it.

    Returns the tag of what this process, a guard, will start.
    """
    own = procs.own_identity()
    for pid, tag in procs.tags().items():
        of, _, guard = tag.partition(":")
        if of == run and not _lives(guard, own):
            identity = procs.identity_of(pid)
            if identity is not None:
                procs.signal_identity(identity, signal.SIGKILL)
    return tag_of(run)


def tag_of(run: str) -> str:
    """Of what this process, a guard of that run, will start: by it the next one knows whether its keeper lives."""
    own = procs.own_identity()
    return f"{run}:{own.pid}.{own.started}"


def _lives(guard: str, own: procs.ProcessIdentity) -> bool:
    pid, _, started = guard.partition(".")
    return started != "" and procs.is_alive(own._replace(pid=int(pid), started=int(started)))
