"""The standard library's XML-RPC server with a thread for each connection: what an ancestor-like server reaches.

``python -m benchmarks.peers.xmlrpcserver FILE N`` writes its port to FILE, serves N integers by ``next`` and ends when
``stop`` is called. It checks no token and keeps nothing on disk.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer


class Handler(SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"  # else a connection for each call
    disable_nagle_algorithm = True
    wbufsize = -1
    rpc_paths = ()


class Server(ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    request_queue_size = 128


class Calls:
    """Who has which ID is remembered, as the ancestor did."""

    def __init__(self, n: int) -> None:
        self._ids = iter(range(n))
        self._held: dict[tuple[str, int], Any] = {}
        self._done = 0
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def register_client(self, host: str, pid: int, logfile: str) -> bool:
        return True

    def unregister_client(self, host: str, pid: int, message: str) -> bool:
        return True

    def next(self, host: str, pid: int, success_id: Any) -> Any:
        with self._lock:
            if success_id is not False and self._held.pop((host, pid), None) == success_id:
                self._done += 1
            given = next(self._ids, None)
            if given is None:
                return False
            self._held[host, pid] = given
            return given

    def stop(self) -> bool:
        self.stopped.set()
        return True


def main() -> None:
    file, n = Path(sys.argv[1]), int(sys.argv[2])
    calls = Calls(n)
    with Server(("127.0.0.1", 0), requestHandler=Handler, logRequests=False) as server:
        server.register_instance(calls)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        part = file.with_suffix(".part")
        part.write_text(str(server.server_address[1]))
        os.replace(part, file)
        calls.stopped.wait()


if __name__ == "__main__":
    main()
