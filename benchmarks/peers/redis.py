"""A Redis server of our own for the queues that need one: on a free port of this machine, nothing kept on disk."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

STARTS_S = 10.0


@contextmanager
def server() -> Iterator[int]:
    """Its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
        quiet = ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        running = subprocess.Popen([*words, *quiet], stdout=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield port
        finally:
            running.terminate()
            running.wait()


def wait_for(port: int) -> None:
    over = time.monotonic() + STARTS_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > over:
                raise
            time.sleep(0.01)  # there is nothing that tells when it listens
        else:
            return
