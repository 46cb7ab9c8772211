"""The keeper of a host: what runs there for one job beside the Processors; how a process becomes one.

It is two processes, and a third that only waits for the end of both (:mod:`coordinator.sweeper`). The *guard*
(:mod:`coordinator.guard`) vouches for Processors and talks to the Coordinator; the *zygote* (:mod:`coordinator.zygote`)
holds the user's script and forks.

``python -m coordinator.keeper`` reads its orders, one line of JSON, from stdin; nothing secret is in argv. It
says in one line on stdout whether it is ready (:mod:`coordinator.arrival`); then whoever started it may go.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coordinator import paths, procs
from coordinator.errors import CoordinatorError
from coordinator.sweeper import Sweeper, sweep, tag_of
from coordinator.zygote import Work, Zygote, new_board, script_argv, start_zygote


def fork_keeper(work: Work) -> tuple[int, int]:
    """Fork a guard and a zygote out of a process that has loaded the script; returns (pid, descriptor for orders).

    Call it before a lock, journal or socket is opened, in a process with one thread.
    """
    reading, writing = os.pipe()

    def guard() -> int:
        os.close(writing)
        procs.reset_signals()
        os.setsid()
        board = new_board()
        ours, theirs = socket.socketpair()

        def zygote() -> int:
            ours.close()
            os.close(reading)
            return Zygote(theirs, board, work, script_argv()).serve()

        pid = procs.fork(zygote)
        theirs.close()
        # All that needs no orders is done before they come: the Coordinator loads what it needs meanwhile.
        from coordinator.guard import Guard

        sweeper = Sweeper()
        with os.fdopen(reading, "rb") as file:
            line = file.readline()
        if not line:
            sweeper.dismiss()
            return 0  # the Coordinator ended before it needed us
        orders = _prepare(json.loads(line))
        # Nothing is here yet of a run that begins now: its mark was drawn a moment ago.
        orders["tag"] = tag_of(orders["tag"]) if orders["new_run"] else sweep(orders["tag"])
        return Guard(orders, board, ours, pid, sweeper).serve(lambda: None)

    pid = procs.fork(guard)
    os.close(reading)
    return pid, writing


def _prepare(orders: dict[str, Any]) -> dict[str, Any]:
    """Send what this process prints to the keeper's own log, beside the Processors' logs."""
    descriptor = paths.open_private(orders["keeper_log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    return orders


def main() -> int:
    from coordinator import arrival, logfiles  # a forked keeper needs neither

    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 0  # whoever was about to send orders is gone
    orders = json.loads(line)
    try:
        if "look" in orders:
            arrival.say(arrival.look(orders["look"]))
            return 0
        if "logs" in orders:
            return logfiles.serve(orders["logs"])
        if "local_jobs" in orders:
            from coordinator.executors import farjobs

            arrival.say({"ready": os.getpid(), "jobs": farjobs.answer(orders["local_jobs"])})
            return 0
        if orders.get("stays"):
            _count_time(orders)
        log = arrival.arrive(orders)
        if orders.get("remote") and not orders.get("stays"):
            _part(orders, log)
            return 0
    except CoordinatorError as error:
        arrival.say({"error": error.message, "step": getattr(error, "step", "")})
        return 1
    return _keep(orders, log, lambda: None)


def _count_time(orders: dict[str, Any]) -> None:
    """It is a job of a scheduler, whose time began when its script did."""
    from coordinator.executors.jobscript import BEGAN

    spent_s = max(0.0, time.time() - float(os.environ.get(BEGAN, time.time())))
    for word in ("leave_after_s", "end_after_s"):
        if word in orders:
            orders[word] = max(0.0, orders[word] - spent_s)


def _part(orders: dict[str, Any], log: int) -> None:
    """Leave a keeper behind, so that the login shell that waits for this process can end. Raises LaunchFailed."""
    from coordinator import arrival

    reading, writing = os.pipe()

    def begun() -> None:
        with suppress(BrokenPipeError):  # the login is over already
            os.write(writing, b"\n")
        os.close(writing)

    def behind() -> int:
        os.close(reading)
        return _keep(orders, log, begun)

    pid = procs.fork(behind)
    os.close(writing)
    arrival.see_off(orders, pid, reading)
    arrival.say({"ready": pid, **arrival.who()})


def _keep(orders: dict[str, Any], log: int, begun: Callable[[], None]) -> int:
    from coordinator import arrival
    from coordinator.guard import Guard

    os.setsid()
    arrival.settle(log)
    orders["tag"] = sweep(orders["tag"])
    try:
        sweeper = Sweeper()
        board = new_board()
        channel, zygote = start_zygote(orders, board)
        return Guard(orders, board, channel, zygote, sweeper).serve(begun)
    except CoordinatorError as error:
        print(f"keeper: {error.message}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
