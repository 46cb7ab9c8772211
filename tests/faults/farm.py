"""A farm for fault tests: a script whose every execution leaves a line, processes to kill, and an oracle.

The oracle believes nothing that the code under test says about itself: executions come from files that the user's
functions append to, one for each process, acceptances from the bytes of the journal, read here by a few lines of our
own, and from NAME.success; the stream is what the test asked for. Processes are found by a mark in their environment.
tests/hosts/faults has the same farm on several hosts.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coordinator import history
from coordinator.wire.client import Connection

#: a bound on what hangs, no promise of speed
HANG_S = 50.0
#: between two looks at what another process does and cannot tell
LOOK_S = 0.01

_HEAD = """\
import json, os, select, subprocess, sys, time

from tests.faults import plant

plant.sow()

HERE = {directory!r}


HOST = os.uname().nodename


def note(what, task, server):
    at = time.clock_gettime(time.CLOCK_BOOTTIME)
    line = json.dumps([what, at, task, server.attempt, os.getpid(), server.lease, HOST]) + "\\n"
    path = HERE + "/executions/" + HOST + "." + str(os.getpid())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def wait_for(name):
    while not os.path.exists(os.path.join(HERE, name)):
        select.select([], [], [], 0.01)  # what moves the clock of a process (libfaketime) breaks time.sleep()


def client(server):
    for task in server:
        note("begin", task, server)
        work(task, server)
        note("end", task, server)
        server.result([os.getpid(), server.lease])
        yield task


"""

_FOOT = """

if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, [], __file__)
"""


@dataclass(frozen=True)
class Execution:
    """One time that the user's function was given a task. ``began_at`` and ``ended_at``: CLOCK_BOOTTIME, which all
    processes of the machine share; None: it never came to its end."""

    began_at: float
    task: Any
    attempt: int
    pid: int
    lease: int
    host: str
    ended_at: float | None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None


@dataclass(frozen=True)
class Accepted:
    """A task that the journal says is done: under which lease, with which result (None: none)."""

    task: Any
    lease: int
    result: Any


class Farm:
    """A job ``JOB`` of the test's own directory: started, killed and started again by the same command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "executions").mkdir()
        self.name = "JOB"
        self.mark = f"FAULTS={directory}"
        self._started: list[subprocess.Popen[bytes]] = []

    # --- the job ------------------------------------------------------------------------------------------

    def script(self, work: str = "pass", serve: str = "yield from range(100)") -> None:
        """Write the script. ``work``: body of ``work(task, server)``; ``serve``: body of the server generator."""
        parts = [_HEAD.format(directory=str(self.directory))]
        for signature, body in (("work(task, server)", work), ("serve()", serve)):
            parts.append(f"def {signature}:\n{textwrap.indent(textwrap.dedent(body), '    ')}\n\n\n")
        (self.directory / "script.py").write_text("".join(parts).rstrip() + "\n" + _FOOT)

    def start(
        self, *words: str, local: int | None = 2, planted: dict[str, Any] | None = None
    ) -> subprocess.Popen[bytes]:
        """``python script.py JOB --local=2 words...``. ``planted``: what plant.py shall do in the Coordinator."""
        command = [sys.executable, "script.py", self.name, *([] if local is None else [f"--local={local}"]), *words]
        return self.command(command, planted)

    def command(self, command: list[str], planted: dict[str, Any] | None = None) -> subprocess.Popen[bytes]:
        key, _, value = self.mark.partition("=")
        environment = {**os.environ, key: value}
        if planted is not None:
            environment["FAULTS_PLANT"] = json.dumps({**planted, "hits": str(self.directory / "hits")})
        with open(self.directory / "terminal", "ab") as terminal:
            process = subprocess.Popen(
                command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
            )
        self._started.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> int:
        """The exit status of a command; fails if it hangs."""
        try:
            return process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it hangs\n{self.told()}") from None

    def run(self, *words: str, local: int | None = 2) -> int:
        return self.finish(self.start(*words, local=local))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9 the command that was typed (with --local that is the Coordinator)."""
        process.kill()
        process.wait()

    def stop(self, pid: int) -> None:
        """SIGSTOP, until it really stands still."""
        os.kill(pid, signal.SIGSTOP)
        self.until(lambda: state_of(pid) in "Tt", f"process {pid} stopped")

    def go_on(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)

    def touch(self, name: str) -> None:
        (self.directory / name).touch()

    def run_file(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "JOB.run").read_text()))

    def job(self) -> dict[str, Any]:
        """get_job() of the Coordinator that runs now."""
        told = self.run_file()
        connection = Connection(told["url"], told["token"], timeout_s=HANG_S, fingerprint=told.get("fingerprint"))
        try:
            return dict(connection.call("get_job"))
        finally:
            connection.close()

    def failures(self) -> list[history.Failure]:
        """Every attempt that did not end well, in order."""
        return list(history.failures(self.directory / "JOB", history=True))

    @property
    def log(self) -> str:
        return self._text("JOB.log")

    @property
    def terminal(self) -> str:
        return self._text("terminal")

    @property
    def hits(self) -> Counter[str]:
        """How often each planted window was met."""
        return Counter(self._text("hits").split("\n")[:-1])

    def told(self) -> str:
        """What a person would look at when something went wrong."""
        logs = "".join(
            f"--- {path.name}\n{path.read_text()[-2000:]}\n" for path in sorted(self.directory.glob("JOB.logs/*"))
        )
        return f"--- terminal\n{self.terminal[-3000:]}\n--- log\n{self.log[-8000:]}\n{logs}"

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Wait until ``true()`` is, and return it; fails when time is up."""
        over = time.monotonic() + HANG_S
        while not (found := true()):
            if time.monotonic() > over or self._failed():
                if found := true():  # the last thing that it did
                    break
                raise AssertionError(f"never {what}\n{self.told()}")
            time.sleep(LOOK_S)
        return found

    def _failed(self) -> bool:
        """Did every command end, the last one with an error? Then there is nothing to wait for."""
        ends = [process.poll() for process in self._started]
        return bool(ends) and None not in ends and ends[-1] in (1, 2)

    def _text(self, name: str) -> str:
        with suppress(FileNotFoundError):
            return (self.directory / name).read_text(errors="replace")
        return ""

    # --- its processes ------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """Every living process of the job, zombies left out; whatever its parent and its session."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) != os.getpid():
                with suppress(OSError):
                    if (
                        self.mark.encode() in Path("/proc", name, "environ").read_bytes().split(b"\0")
                        and state_of(int(name)) not in "ZX"
                    ):
                        found.append(int(name))
        return found

    def guard(self) -> int:
        """The pid of the keeper's guard, once it is there."""
        return int(self.until(lambda: self._pid_in_log("keeper here", "keeper returns"), "a keeper"))

    def zygote(self) -> int:
        """The pid of the zygote."""
        return int(self.until(lambda: zygotes_of(self.guard()), "a zygote")[-1])

    def sweeper(self) -> int:
        """The pid of the sweeper."""
        guard = self.guard()
        return int(self.until(lambda: set(children_of(guard)) - set(zygotes_of(guard)), "a sweeper").pop())

    def number_of(self, pid: int) -> int:
        """The number of the processor with that pid, as the log says."""
        [line] = [line for line in self.log.splitlines() if "register processor=" in line and f" pid={pid} " in line]
        return int(line.partition("processor=")[2].split()[0])

    def _pid_in_log(self, *words: str) -> int:
        lines = [line for line in self.log.splitlines() if any(word in line for word in words)]
        return int(lines[-1].partition("pid=")[2].split()[0]) if lines else 0

    def assert_no_process_is_left(self) -> None:
        over = time.monotonic() + HANG_S
        while left := self.processes():
            if time.monotonic() > over:
                shown = "\n".join(f"{pid} {state_of(pid)} {command_of(pid)}" for pid in left)
                raise AssertionError(f"orphans:\n{shown}\n{self.told()}")
            time.sleep(LOOK_S)

    def end_all(self) -> None:
        """Whatever happened, leave nothing running: a failed test fails for its own reason."""
        for _ in range(3):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait()

    # --- the oracle ---------------------------------------------------------------------------------------

    def executions(self) -> list[Execution]:
        """In the order in which they began."""
        found = []
        for path in (self.directory / "executions").iterdir():
            last: list[Any] = []
            for line in path.read_text().split("\n")[:-1]:
                what, at, *rest = json.loads(line)
                if what == "begin":
                    last = rest
                    found.append(Execution(at, *rest, ended_at=None))
                else:
                    assert rest == last, "a process worked on two tasks at once"
                    found[-1] = replace(found[-1], ended_at=at)
        return sorted(found, key=lambda one: one.began_at)

    def begun(self) -> int:
        """How many executions there were until now."""
        return sum(path.read_text().count('["begin"') for path in (self.directory / "executions").iterdir())

    def accepted(self) -> list[Accepted]:
        """Each acceptance that the journal holds, by a reader of our own."""
        stream: list[Any] = []
        done: list[tuple[int, int]] = []
        results: dict[tuple[int, int], Any] = {}
        for kind, header, text in records(self.directory / "JOB.journal"):
            if kind == SLICE:
                ids = (
                    [json.loads(line) for line in text.split("\n")]
                    if text
                    else range(header["first"], header["first"] + header["count"])
                )
                assert len(stream) == header["start"]
                stream.extend(ids)
            elif kind == DONE:
                done += [(position, header["n"]) for a, b in header["r"] for position in range(a, b)]
            elif kind == RESULTS:
                for line in text.split("\n"):
                    position, _, value = line.partition("\t")
                    results[int(position), header["n"]] = json.loads(value)
        return [Accepted(stream[position], lease, results.get((position, lease))) for position, lease in done]

    def problems(self, stream: Iterable[Any], once: bool = False, failed: Iterable[Any] = ()) -> list[str]:
        """What is wrong with a job of the tasks ``stream``, all of which should be done but ``failed``; ``once``: and
        none begun twice."""
        expected = Counter(map(_key, stream))
        begun = set(expected)
        expected -= Counter(map(_key, failed))
        executions, accepted = self.executions(), self.accepted()
        acceptances = Counter(_key(one.task) for one in accepted)
        began = Counter(_key(one.task) for one in executions)
        printed = Counter(self._text("JOB.success").split("\n")[:-1])
        ran = {(one.pid, one.lease) for one in executions if one.ended}
        ended = {(_key(one.task), one.lease) for one in executions if one.ended}
        found = [
            ("lost", expected - acceptances),
            ("accepted twice", acceptances - expected),
            ("not in the stream", began.keys() - begun),
            ("not in NAME.success", expected - printed),
            ("twice in NAME.success", printed - expected),
            (
                "accepted and never worked on to its end under that lease",
                {_key(a.task) for a in accepted if (_key(a.task), a.lease) not in ended},
            ),
            (
                "with a result of another execution",
                {
                    _key(a.task)
                    for a in accepted
                    if a.result is None or tuple(a.result) not in ran or a.result[1] != a.lease
                },
            ),
        ]
        if once:
            found.append(("ran twice", {task for task, times in began.items() if times > expected[task]}))
        return [f"{what}: {len(tasks)} tasks, such as {sorted(tasks)[:5]}" for what, tasks in found if tasks]

    def assert_all_is_well(self, stream: Iterable[Any], once: bool = False, failed: Iterable[Any] = ()) -> None:
        """Every task accepted exactly once, none lost, no process left."""
        wrong = self.problems(stream, once, failed)
        assert not wrong, "\n".join([*wrong, self.told()])
        self.assert_no_process_is_left()


# --- the journal's bytes -------------------------------------------------------------------------------------

SLICE, DONE, RESULTS = 2, 4, 6


def records(journal: Path) -> Iterable[tuple[int, dict[str, Any], str]]:
    """Every record of a journal whose job has ended: magic, checksum, length, synced; kind, two lengths, JSON, text."""
    for path in sorted(journal.glob("*.seg")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            magic, _, length, _ = struct.unpack_from("<4sIIQ", data, at)
            assert magic == b"\xc7JF1", f"{path}: no frame at byte {at}"
            at += 20
            end = at + length
            while at < end:
                kind, header_bytes, text_bytes = struct.unpack_from("<BII", data, at)
                at += 9
                header = json.loads(data[at : at + header_bytes])
                at += header_bytes
                yield kind, header, data[at : at + text_bytes].decode("ascii")
                at += text_bytes


def _key(task: Any) -> str:
    return task if isinstance(task, str) else json.dumps(task)


# --- processes ---------------------------------------------------------------------------------------------


def state_of(pid: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def children_of(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, IndexError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid and fields[0] not in "ZX":
                    found.append(int(name))
    return found


def zygotes_of(guard: int) -> list[int]:
    """The children of the guard but for its sweeper, which has a session of its own."""
    return [pid for pid in children_of(guard) if session_of(pid) != pid]


def session_of(pid: int) -> int:
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return 0
