"""How a keeper arrives on a host: it looks whether it can work there, says so in one line of JSON, and goes behind.

:mod:`coordinator.keeper` calls it with its orders before anything else; who started it reads the line from stdout:
``{"ready": pid, ...}``, when the keeper has sent its first beat, or ``{"error": "...", "step": "..."}``. `coordinator
hosts check` comes the same way and only wants to look. No user code runs here, and nothing is started.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

import coordinator
from coordinator import paths, procs
from coordinator.errors import CoordinatorError, LaunchFailed
from coordinator.wire.client import split_url

#: seconds for the host to reach the Coordinator; with two addresses to try it stays below what a launch may take
REACH_S = 6.0


def say(message: dict[str, Any]) -> None:
    """To whoever started this process; gone by now is as good as told."""
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def who() -> dict[str, Any]:
    """This host as it sees itself."""
    return {
        "host": os.uname().nodename,
        "python": ".".join(map(str, sys.version_info[:3])),
        "version": coordinator.__version__,
    }


def look(wanted: dict[str, Any]) -> dict[str, Any]:
    """What `coordinator hosts check` shows. ``wanted``: {"paths": [...]}; bytes, runnable processes, wall time."""
    from coordinator import load

    here = load.figures()
    facts = {**who(), "cores": here.cores, "load": here.runnable, "memory_bytes": here.memory_available_bytes}
    facts |= {"time": time.time()}
    facts["paths"] = {path: os.path.exists(path) for path in wanted["paths"]}
    return facts


def arrive(orders: dict[str, Any]) -> int:
    """Check what the orders need and complete them for this host; returns the descriptor of the keeper's log.

    Raises LaunchFailed, with ``step``, for what a person must put right.
    """
    host = orders["host"]
    version = orders.get("version", coordinator.__version__)
    if version != coordinator.__version__:
        raise _failed(
            "version",
            f"{host} has version {coordinator.__version__} of coordinator and the job has {version}: install the same, "
            f"or name a Python that has it with python= in NAME.hosts",
        )
    orders["argv"][0] = sys.executable
    for path, exists in ((orders["directory"], os.path.isdir), (orders.get("script"), os.path.isfile)):
        if path is not None and not exists(path):
            words = "start the job in a directory that all hosts see under the same path"
            raise _failed("path", f"{path} is not there on {host}: {words}")
    log = _open_log(orders)
    try:
        orders["url"] = _reachable(orders)
    except CoordinatorError:
        os.close(log)
        raise
    return log


def see_off(orders: dict[str, Any], keeper: int, word: int) -> None:
    """Wait until that child writes to the pipe ``word``: it has begun. Raises LaunchFailed if it ends without that,
    which nobody else would see."""
    with os.fdopen(word, "rb", buffering=0) as pipe:
        if not pipe.read(1):
            how = procs.reap(keeper)
            raise _failed("keeper", f"the keeper on {orders['host']} ended before it had begun ({how}): see its log")


def settle(log: int) -> None:
    """What this process prints goes to its log from here on, and nobody at the other end of its stdin holds it."""
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.close(null)
    os.close(log)


def _open_log(orders: dict[str, Any]) -> int:
    where = orders["log_directory"]
    try:
        if where is None:
            where = orders["log_directory"] = os.fspath(paths.log_directory())
        if orders.get("keeper_log") is None:
            orders["keeper_log"] = os.path.join(where, f"{orders['name']}_keeper_{orders['host']}.log")
        descriptor = paths.open_private(orders["keeper_log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        # An empty file fits on a full disk.
        os.write(descriptor, f"{time.strftime('%Y-%m-%d %H:%M:%S')} keeper pid={os.getpid()}\n".encode())
    except OSError as error:
        raise _failed("log", f"{orders['host']} cannot write logs in {where}: {error.strerror}") from error
    except CoordinatorError as error:
        raise _failed("log", f"{orders['host']} cannot write logs: {error.message}") from error
    return descriptor


def _reachable(orders: dict[str, Any]) -> str:
    """The first of the Coordinator's URLs that answers from here."""
    urls = orders.pop("urls", None)
    if urls is None:
        return str(orders["url"])
    if not urls:
        raise _failed("coordinator", "the job was started with --host= and a name that means its own machine only")
    tried = []
    for url in urls:
        host, port, _, _ = split_url(url)
        try:
            socket.create_connection((host, port), timeout=REACH_S).close()
        except OSError as error:
            tried.append(f"{url}: {error.strerror or error}")
        else:
            return str(url)
    raise _failed(
        "coordinator",
        f"{orders['host']} cannot reach the Coordinator ({'; '.join(tried)}): open that port in the firewall, or give "
        f"the job a name or address that the hosts know with --host=",
    )


def _failed(step: str, words: str) -> LaunchFailed:
    failure = LaunchFailed(words)
    failure.step = step
    return failure
