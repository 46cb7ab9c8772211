"""The launcher: a process beside the Coordinator, in which logins over SSH may block and have threads.

``python -m coordinator.executors.launcher`` reads one JSON object a line from stdin, and answers each with one on
stdout, in any order::

    {"id": 1, "do": "start", "host": "node1", "options": {...}, "orders": {...}}    a keeper is to run there
    {"id": 2, "do": "look",  "host": "node1", "options": {...}, "paths": [...]}     as for a start, but only looks
    {"id": 3, "do": "key",   "host": "node1", "options": {...}}                     which host key it shows
    {"id": 4, "do": "logs",  "host": "node1", "options": {...}, "wanted": {...}}    what logfiles.serve() says there
    {"id": 5, "do": "jobs",  "host": "node1", "options": {...}, "wanted": {...}}    what farjobs.answer() says there
    {"id": 4, "do": "finish"}                                                       it need not be followed any more
    {"id": 1, "do": "cancel"}                                                       unless its orders have left
    {"id": 1, "ready": {...}}   or   {"id": 1, "failed": "a sentence", "step": "login", "committed": false}

``committed``: its orders may have left. Every request is answered within half a minute of its turn, whatever hangs;
followed logs may take longer, and what a host says of them comes before, as ``{"id": 4, "said": {...}}``. It ends when
stdin does; what it started on hosts goes on. It knows no job and decides nothing.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coordinator import paths
from coordinator.errors import CoordinatorError, LaunchFailed
from coordinator.executors.attempt import Attempt, failed
from coordinator.executors.local import package_path

#: hosts at once; a host that hangs takes one place for its whole time
AT_ONCE = 256
#: seconds that an attempt may take to notice that it was cut, before it is answered for
CUT_S = 1.5
LOOK_S = 0.25


class Launcher:
    """``do(attempt, request)`` does the work, in a thread for each; ``answer`` gets what is to be said of it."""

    def __init__(
        self, do: Callable[[Attempt, dict[str, Any]], dict[str, Any]], answer: Callable[[dict[str, Any]], None]
    ) -> None:
        self._do, self._answer = do, answer
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._active: dict[int, Attempt] = {}

    def ask(self, request: dict[str, Any]) -> None:
        with self._lock:
            self._waiting.append(request)
        self._next()

    def cancel(self, number: int) -> None:
        """Nobody needs it any more. What has its orders goes on, and is answered as ever."""
        with self._lock:
            waiting = next((request for request in self._waiting if request["id"] == number), None)
            if waiting is not None:
                self._waiting.remove(waiting)
                self._active[number] = Attempt(waiting["host"])
            attempt = self._active.get(number)
        if attempt is not None and not attempt.committed:
            attempt.cut()
            self._end(number, {"failed": "it was not needed any more", "step": "cancelled"})

    def finish(self, number: int) -> None:
        """What it follows need not be followed any more."""
        with self._lock:
            attempt = self._active.get(number)
        if attempt is not None:
            attempt.enough.set()

    def look(self) -> None:
        """Cut what is too late, and answer for what does not even notice that."""
        now = time.monotonic()
        with self._lock:
            late = [(number, attempt) for number, attempt in self._active.items() if attempt.late]
        for number, attempt in late:
            attempt.cut()
            if now > attempt.deadline + CUT_S:
                self._end(number, _failure(attempt, attempt.too_slow()))

    def _next(self) -> None:
        with self._lock:
            while self._waiting and len(self._active) < AT_ONCE:
                request = self._waiting.popleft()
                attempt = self._active[request["id"]] = Attempt(request["host"])
                threading.Thread(target=self._work, args=(attempt, request), daemon=True).start()

    def _work(self, attempt: Attempt, request: dict[str, Any]) -> None:
        try:
            said = {"ready": self._do(attempt, {**request, "tell": self._tell(request["id"])})}
        except CoordinatorError as error:
            said = _failure(attempt, error)
        except Exception as error:  # noqa: BLE001 - the boundary to a library's threads: a request must be answered
            words = f"{request['host']}: {type(error).__name__} while {attempt.step}: {error}"
            said = _failure(attempt, attempt.too_slow() if attempt.over else failed("internal", words))
        attempt.cut()
        self._end(request["id"], said)

    def _tell(self, number: int) -> Callable[[dict[str, Any]], None]:
        return lambda said: self._answer({"id": number, "said": said})

    def _end(self, number: int, said: dict[str, Any]) -> None:
        with self._lock:
            if self._active.pop(number, None) is None:
                return  # it was answered for
        self._answer({"id": number, **said})
        self._next()


def _failure(attempt: Attempt, error: CoordinatorError) -> dict[str, Any]:
    return {"failed": error.message, "step": getattr(error, "step", ""), "committed": attempt.committed}


def perform(attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
    """Do what one request asks for."""
    name, options, do = request["host"], request["options"], request["do"]
    here = {"path": package_path(), "umask": _umask()}
    orders = {"look": {"paths": request["paths"]}} if do == "look" else request.get("orders", {})
    if do in ("start", "look") and not options.keys() & {"port", "proxyjump"} and paths.is_this_machine(name):
        return _run_here(attempt, orders)
    try:
        from coordinator.executors import ssh
    except ImportError as error:
        raise failed("config", f"hosts cannot be logged in to without the package paramiko: {error}") from error
    if do == "key":
        return ssh.host_key(attempt, name, options)
    if do == "logs":
        return ssh.launch(attempt, name, options, {"logs": request["wanted"]}, here, request["tell"])
    if do == "jobs":
        orders = {"local_jobs": request["wanted"]}
    return ssh.launch(attempt, name, options, orders, here)


def _run_here(attempt: Attempt, orders: dict[str, Any]) -> dict[str, Any]:
    """A name of this machine that the Coordinator did not know for one: no login is needed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "coordinator.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*package_path(), os.environ.get("PYTHONPATH", "")])},
    )
    sent_at = time.time()
    try:
        said, _ = child.communicate(json.dumps(orders).encode() + b"\n", timeout=attempt.left_s())
        answer: dict[str, Any] = json.loads(said)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise attempt.too_slow() from None
    except ValueError:
        raise LaunchFailed(f"the keeper on {attempt.name} ended at once with exit status {child.wait()}") from None
    if "error" in answer:
        raise failed(answer.get("step", ""), answer["error"])
    return {**answer, "sent_at": sent_at, "heard_at": time.time()}


def _umask() -> str | None:
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return next((line.split()[1] for line in lines if line.startswith("Umask:")), None)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the Coordinator's to answer
    writing = threading.Lock()

    def answer(message: dict[str, Any]) -> None:
        try:
            with writing:
                os.write(1, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            os._exit(0)

    launcher, heard = Launcher(perform, answer), b""
    with suppress(ImportError):  # the slow import, while the first request is on its way
        from coordinator.executors import ssh  # noqa: F401
    while True:
        ready, _, _ = select.select([0], [], [], LOOK_S)
        if ready:
            came = os.read(0, 1 << 16)
            if not came:
                os._exit(0)  # threads that hang do not hold it up
            *lines, heard = (heard + came).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if request["do"] == "cancel":
                    launcher.cancel(request["id"])
                elif request["do"] == "finish":
                    launcher.finish(request["id"])
                else:
                    launcher.ask(request)
        launcher.look()


if __name__ == "__main__":
    sys.exit(main())
