"""A farm of daemons for tests: a ResourceController and jobs, started by the commands that users type, ended by pid.

test_daemons.py, test_manual_session.py and contract/test_security.py use it. Everything lies in one directory; the
user's functions leave a file for each task that begins and wait for files, so that a test knows what really runs.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator import procs

ROOT = Path(__file__).resolve().parents[2]
#: a bound on what hangs, no promise of speed
HANG_S = 30.0
#: between two looks at something that another process does and cannot tell
LOOK_S = 0.02

#: a ResourceController with this gives all slots, however busy the machine is
CALM = "--overload_margin=1000"

#: tasks that note their beginning and wait: each for "go.ID", all for "go"
SCRIPT = """\
import os, pathlib, time

HERE = {directory!r}


def touch(name):
    pathlib.Path(HERE, name).touch()


def is_there(*names):
    return any(os.path.exists(os.path.join(HERE, name)) for name in names)


def client(server, pause=0.02, **kwargs):
    for task_id in server:
        os.rename(noted(task_id), os.path.join(HERE, "at." + str(task_id)))
        while not is_there("go", "go." + str(task_id)):
            time.sleep(0.01)
        time.sleep(pause)
        if is_there("bad." + str(task_id)):
            raise ValueError("bad " + str(task_id))
        server.result(len(str(task_id)))
        yield task_id


def noted(task_id):
    path = os.path.join(HERE, "at." + str(os.getpid()) + ".new")
    pathlib.Path(path).write_text(str(os.getpid()))
    return path


def serve(n=100000, first=0, **kwargs):
    yield from range(first, first + n)


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


def until(true: Callable[[], Any], what: str, hang_s: float = HANG_S) -> Any:
    """Wait until ``true()`` is, and return it; fails the test if time is up."""
    over = time.monotonic() + hang_s
    while not (found := true()):
        assert time.monotonic() < over, f"never {what}"
        time.sleep(LOOK_S)
    return found


@dataclass
class Daemons:
    """``directory``: where everything is typed. ``environment``, ``umask``: of the commands, this process's own if not
    given."""

    directory: Path
    environment: Mapping[str, str] | None = None
    umask: int = -1
    started: list[procs.ProcessIdentity] = field(default_factory=list)

    # --- commands ---------------------------------------------------------------------------------------

    def type(self, *words: str, here: Path | None = None) -> subprocess.CompletedProcess[str]:
        """``python words...``, to its end; it must not wait for a daemon that it started."""
        return subprocess.run(
            [sys.executable, *words], cwd=here or self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=HANG_S, check=False, umask=self.umask,
        )  # fmt: skip

    def coordinator(self, *words: str, here: Path | None = None) -> subprocess.CompletedProcess[str]:
        """``coordinator words...``."""
        return self.type("-m", "coordinator", *words, here=here)

    def document(self, *words: str, here: Path | None = None, status: int = 0) -> dict[str, Any]:
        """The document that ``coordinator words... --json`` prints."""
        ended = self.coordinator(*words, "--json", here=here)
        assert ended.returncode == status, (ended.stdout, ended.stderr)
        content: dict[str, Any] = json.loads(ended.stdout)
        assert content["version"] == 1
        return content

    # --- the ResourceController ---------------------------------------------------------------------------

    def controller(self, hosts: str = "localhost 2.0\n", *options: str, name: str = "bigcheese") -> str:
        """``python coordinator.py --rc=bigcheese``; its URL. What else the machine does must not matter to a test."""
        (self.directory / f"{name}.hosts").write_text(hosts)
        return self.controller_again("--port=0", *(options or [CALM]), name=name)

    def controller_again(self, *options: str, name: str = "bigcheese") -> str:
        """The same in the files that are there."""
        ended = self.type(os.fspath(ROOT / "coordinator.py"), f"--rc={name}", *options)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        told = dict(line.split(None, 1) for line in ended.stdout.splitlines()[1:])
        self.note(int(told["pid"]))
        return told["url"]

    # --- jobs -------------------------------------------------------------------------------------------

    def script(self, resources: Any = (), name: str = "script.py", text: str = SCRIPT) -> Path:
        path = self.directory / name
        path.write_text(text.format(directory=os.fspath(self.directory), resources=resources))
        return path

    def job(self, name: str, rc_url: str, *options: str, script: str = "script.py") -> dict[str, Any]:
        """``python script.py NAME --rc_url=URL``; NAME.run of the job that was started, or as much of it as was printed
        if the job is over already."""
        ended = self.type(script, name, f"--rc_url={rc_url}", *options)
        assert (ended.returncode, ended.stderr) == (0, ""), (ended, self.log(name))
        said = re.search(r"serving at (\S+), pid (\d+),", ended.stdout)
        assert said is not None
        try:
            run = self.run_file(name)
        except FileNotFoundError:
            run = {"url": said[1], "pid": int(said[2])}
        assert (said[1], said[2]) == (run["url"], str(run["pid"]))
        self.note(run["pid"])
        return run

    def run_file(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.directory / f"{name}.run").read_text()))

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else "(no log)"

    def touch(self, *names: str) -> None:
        for name in names:
            (self.directory / name).touch()

    def began(self) -> dict[str, int]:
        """{ID: pid} of all tasks that ever began, as the user's function saw it."""
        return {path.name[3:]: int(path.read_text()) for path in self.directory.glob("at.*") if path.suffix != ".new"}

    def busy(self, count: int) -> dict[str, int]:
        """Wait until so many tasks have begun, and return {ID: pid}."""
        return dict(until(lambda: len(found := self.began()) >= count and found, f"{count} tasks began"))

    # --- the end ----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Let what runs finish, and end every daemon by its own pid."""
        self.touch("go")
        for process in reversed(self.started):  # jobs before their ResourceController
            end_process(process)

    def note(self, pid: int) -> None:
        """A daemon to be ended."""
        identity = procs.identity_of(pid)
        if identity is not None:
            self.started.append(identity)


def end_process(process: int | procs.ProcessIdentity, sign: signal.Signals = signal.SIGTERM) -> None:
    """Send ``sign`` and wait for the end; SIGKILL if it does not come."""
    try:
        fd = procs.open_pidfd(process)
    except ProcessLookupError:
        return
    try:
        for number in (sign, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
            if select.select([fd], [], [], HANG_S / 2)[0]:
                return
    finally:
        os.close(fd)


def lives(pid: int) -> bool:
    return procs.process_state(pid) not in "ZX"
