"""Many classic clients: each calls ``next`` for one ID at a time, over its own connection, as fast as it is answered.

``python -m benchmarks.load.classic '{"how": "lines", "host": ..., "port": ..., "token": ..., "connections": 16}'``
prints the IDs served and the seconds. ``lines``: one thread with ready-made requests, so that the server is what is
measured; ``proxy``: ``xmlrpc.client.ServerProxy`` in a thread for each connection, in two processes.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
import xmlrpc.client
from typing import Any

from benchmarks.load.lines import Address, Line, Lines

HOST = "load.example.org"
#: processes of the ServerProxy clients, as there are two cores
PROCESSES = 2

_CALL = (
    "<?xml version='1.0'?><methodCall><methodName>{}</methodName><params>"
    f"<param><value><string>{HOST}</string></value></param>"
    "<param><value><int>{}</int></value></param>"
    "<param><value>{}</value></param></params></methodCall>"
)
REGISTER, NEXT, UNREGISTER = "register_client", "next", "unregister_client"
NOTHING, TEXT = "<boolean>0</boolean>", "<string>load</string>"


def call(method: str, pid: int, value: str) -> bytes:
    return _CALL.format(method, pid, value).encode()


class ReadyMade:
    """Clients whose requests are put together from ready-made pieces."""

    def __init__(self, address: Address, connections: int) -> None:
        self._lines = Lines(address, self._heard)
        self._connections = connections
        self._at_work = connections
        self._waiting = connections
        self.served = 0
        pieces = [call(NEXT, pid, "<int>\0</int>").split(b"\0") for pid in range(1, connections + 1)]
        self._before = [before for before, _ in pieces]
        self._after = pieces[0][1]

    def work(self) -> float:
        """Seconds from the first ``next`` to the last answer."""
        lines = [self._lines.open(number) for number in range(self._connections)]
        self._all(lines, REGISTER, TEXT)
        began = time.monotonic()
        self._waiting = 0  # from now on each answer is followed by a call
        for line in lines:
            self._lines.say(line, call(NEXT, line.number + 1, NOTHING))
        while self._at_work:
            self._lines.turn(1.0)
        seconds = time.monotonic() - began
        self._all(lines, UNREGISTER, TEXT)
        self._lines.close()
        return seconds

    def _all(self, lines: list[Line], method: str, value: str) -> None:
        self._waiting = len(lines)
        for line in lines:
            self._lines.say(line, call(method, line.number + 1, value))
        while self._waiting:
            self._lines.turn(1.0)

    def _heard(self, line: Line, body: bytes, seconds: float) -> None:
        if self._waiting:
            self._waiting -= 1
            return
        begin = body.find(b"<int>")
        if begin < 0:  # a boolean: there is no more
            if b"<boolean>" not in body:
                raise SystemExit(f"next was answered by {body!r}")
            self._at_work -= 1
            return
        self.served += 1
        task_id = body[begin + 5 : body.find(b"<", begin + 5)]
        self._lines.say(line, self._before[line.number] + task_id + self._after)


def proxies(address: Address, first_pid: int, connections: int, begin: Any, tell: Any) -> None:
    """In a process: a thread for each connection; tells how many IDs all of them were served."""
    url = f"http://coordinator:{address.token}@{address.host}:{address.port}"
    served: list[int] = []

    def client(pid: int) -> None:
        with xmlrpc.client.ServerProxy(url) as server:
            server.register_client(HOST, pid, "")
            begin.wait()
            count, task = 0, server.next(HOST, pid, False)
            while type(task) is not bool:
                count += 1
                task = server.next(HOST, pid, task)
            served.append(count)
            server.unregister_client(HOST, pid, "done")

    threads = [threading.Thread(target=client, args=(first_pid + number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell.put(sum(served))


def by_proxies(address: Address, connections: int) -> tuple[int, float]:
    """IDs served, and seconds."""
    context = multiprocessing.get_context("fork")
    share = max(1, connections // PROCESSES)
    begin, told = context.Barrier(share * PROCESSES + 1), context.SimpleQueue()
    processes = [
        context.Process(target=proxies, args=(address, 1 + number * share, share, begin, told))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    begin.wait()
    began = time.monotonic()
    served = sum(told.get() for _ in processes)
    seconds = time.monotonic() - began
    for process in processes:
        process.join()
    return served, seconds


def main() -> None:
    told = json.loads(sys.argv[1])
    address = Address(told["host"], told["port"], told["token"])
    if told["how"] == "proxy":
        served, seconds = by_proxies(address, told["connections"])
    else:
        clients = ReadyMade(address, told["connections"])
        seconds = clients.work()
        served = clients.served
    print(json.dumps({"served": served, "seconds": seconds}))


if __name__ == "__main__":
    main()
