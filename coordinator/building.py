"""Opening a resource on a host: the file if it is built, else its rule is run here, once.

A Processor calls :func:`open_resource`; the ResourceController says who builds and wakes those who wait, and a
``flock`` beside the file decides where a partition left two builders. What is built appears under its name whole or
not at all: the rule writes to a temporary name, its exit status is checked, the result is renamed. This room never
keeps a lock after the resource is built.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import IO, Any

from coordinator.errors import BuildFailed

#: one question to the ResourceController, by way of the Coordinator
Ask = Callable[[str, dict[str, Any]], dict[str, Any]]

#: seconds that the ResourceController may keep a question before it answers "wait"
WAIT_S = 20.0
#: bytes of a failed rule's stderr that travel
STDERR_BYTES = 4096


class ResourceDirectory:
    """A resource that is a directory: ``name`` is its path; there is nothing to close."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> ResourceDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __fspath__(self) -> str:
        return self.name


def open_resource(ask: Ask, host: str, pid: int, resource: str, mode: str = "r") -> IO[Any] | ResourceDirectory:
    """The opened file of ``resource`` on this host, built by its rule if it is not there.

    Raises NoSuchRule, BuildFailed with the rule's own words, OSError.
    """
    # A host may be a scheduler's slot, which is on another node each time.
    question = {"host": host, "node": os.uname().nodename, "pid": pid, "name": resource, "wait_s": WAIT_S}
    question["gone"] = False
    while True:
        answer = ask("await_resource", question)
        state = answer.get("state", "wait")
        if state == "failed":
            raise BuildFailed(f"the resource {resource!r} could not be built on {host}: {answer['reason']}")
        if state == "build":
            _build(ask, question, answer)
            question["gone"] = False
        elif state == "file":
            path = answer["path"]
            if os.path.isdir(path):
                return ResourceDirectory(path)
            if os.path.exists(path):
                return open(path, mode)
            question["gone"] = True


def _build(ask: Ask, question: dict[str, Any], answer: dict[str, Any]) -> None:
    path, command, lock = answer["path"], answer["command"], answer["lock"]
    told = {
        "host": question["host"],
        "node": question["node"],
        "pid": question["pid"],
        "name": question["name"],
        "lock": lock,
        "built": False,
        "error": "",
        "size_bytes": 0,
    }
    try:
        with _only_builder(path):
            # Whoever was here before us is gone, and what that left under a temporary name is half a file.
            _remove_left(path)
            # Who missed it may have looked before somebody else built it.
            if answer.get("rebuild") or not os.path.exists(path):
                run_rule(command, path, f"{path}.building.{lock}")
        told["built"], told["size_bytes"] = True, size_bytes(path)
    except (BuildFailed, OSError) as error:
        told["error"] = str(error)
    ask("settle_rule", told)


@contextlib.contextmanager
def _only_builder(path: str) -> Iterator[None]:
    directory = os.path.dirname(path) or "."
    os.makedirs(directory, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def run_rule(command: str, path: str, temporary: str) -> None:
    """Run a rule's shell command for ``temporary`` and rename the result to ``path``.

    Only ``%s`` is replaced. The shell stops at the first failing part of a pipe where it can (bash). Raises
    BuildFailed with the exit status and the end of stderr; then neither name is left.
    """
    _remove(temporary)
    text = command.replace("%s", shlex.quote(temporary))
    bash = shutil.which("bash")
    argv = [bash, "-o", "pipefail", "-c", text] if bash else ["/bin/sh", "-c", text]
    print(f"building {path}: {text}", flush=True)
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    said = ended.stderr[-STDERR_BYTES:].decode("utf-8", "replace").strip()
    if said:
        print(said, flush=True)
    if ended.returncode:
        _remove(temporary)
        how = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit status {ended.returncode}"
        raise BuildFailed(f"its rule ended with {how}: {said or 'nothing on stderr'}; the command was: {text}")
    if not os.path.lexists(temporary):
        raise BuildFailed(f"its rule ended well but made no file; it must write to the name that stands for %s: {text}")
    if os.path.isdir(path) and not os.path.islink(path):
        _remove(path)
    os.rename(temporary, path)


def size_bytes(path: str) -> int:
    """Bytes of a file, or of all files below a directory."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(path) for name in names)


def _remove_left(path: str) -> None:
    directory, name = os.path.split(path)
    for entry in os.listdir(directory or "."):
        if entry.startswith(f"{name}.building."):
            _remove(os.path.join(directory, entry))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
