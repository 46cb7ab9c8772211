"""A fake scheduler: a server that answers the commands on PATH, strictly.

    with Pbs(tmp_path / "pbs") as pbs:
        monkeypatch.setenv("PATH", pbs.path)

A real one's commands would be content with much that nobody here has looked up. These are not: an option, a field or a
form of a value that the dialects do not use today is refused, with exit status 99, and fails the test at its end,
whatever became of it (:class:`Unclaimed`); so does a job that is left behind. What the scheduler itself refuses is
refused in its own words. Each text that is printed names where it is from.
"""

from __future__ import annotations

import json
import os
import shlex
import socketserver
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.fakes.jobs import Jobs

COMMAND = Path(__file__).with_name("command.py")
UNCLAIMED = 99


class Unclaimed(Exception):
    """Nobody has looked up what the scheduler makes of this, so that no test may rely on it."""


@dataclass(frozen=True)
class Asked:
    """A command: its name, its words, where it was run, and with which variables."""

    program: str
    words: list[str]
    directory: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What a command prints, and its exit status."""

    out: str = ""
    err: str = ""
    code: int = 0


class Fake:
    """``place``: its directory, made by it. ``words``: what a command says when the server is away and when its answer
    was lost, as command.py reads it."""

    words: Mapping[str, Mapping[str, tuple[str, int, bool]]]
    jobs: Jobs

    def __init__(self, place: Path) -> None:
        self.place = place
        self.unclaimed: list[str] = []
        #: every command so far
        self.asked: list[Asked] = []
        #: do what the next command asks for, and never answer it
        self.lose_answer = False
        self.path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
        (place / "bin").mkdir(parents=True)
        (place / "home").mkdir()

    def answer(self, asked: Asked) -> Answer:
        """Raises Unclaimed."""
        raise NotImplementedError

    def start(self) -> None:
        """With what is on disk, and nothing else."""
        with self.jobs.lock:
            self.jobs.read()
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(fake._answered(json.loads(self.rfile.readline())))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        port = self.place / "port.new"
        port.write_text(str(self._server.server_address[1]))
        port.replace(self.place / "port")

    def stop(self) -> None:
        """Jobs go on meanwhile."""
        (self.place / "port").unlink()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        (self.place / "words.json").write_text(json.dumps(self.words))
        for name in self.words:
            command = self.place / "bin" / name
            argv = [sys.executable, "-IS", str(COMMAND), str(self.place), name]
            command.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
            command.chmod(0o755)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        left = [job for job in self.jobs.all() if not job.ended]
        self.jobs.end()
        assert not self.unclaimed, f"nobody has claimed: {self.unclaimed}"
        assert not left, f"jobs are left: {left}"
        assert not self.lose_answer, "an answer was to be lost, and nobody has asked"

    # --- inside -----------------------------------------------------------------------------------------

    def _answered(self, told: dict[str, Any]) -> bytes:
        asked = Asked(**told)
        with self.jobs.lock:
            self.asked.append(asked)
            try:
                answer = self.answer(asked)
            except Unclaimed as error:
                words = f"{asked.program}: nobody has claimed {error}"
                self.unclaimed.append(words)
                answer = Answer(err=f"the fake {words}\n", code=UNCLAIMED)
            if self.lose_answer:
                self.lose_answer = False
                return b""
        return json.dumps(asdict(answer)).encode()
