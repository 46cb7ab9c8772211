"""Measures what the simulation of largefarm.py needs to know of this machine: a Coordinator under load, and its disk.

The Coordinator is the real command in a directory on a real disk; simulated Processors (load/) work on its job, few and
many, with small and large blocks, and its CPU is read from the kernel. On a machine that does other work the disk is
slower and the CPU a little dearer.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import PLACE, Environments
from benchmarks.largefarm import Costs
from benchmarks.load.lines import Address, Line, Lines
from benchmarks.load.simulated import JOINS_PER_S, Crowd
from benchmarks.measures import percentile
from benchmarks.ours import NAME, Ours
from benchmarks.peers.work import INTEGERS, STRINGS
from benchmarks.serving import our_server
from coordinator.core import blocks
from coordinator.feeder import Feeder

#: processors of the runs in which each exchange has a turn of its own, and in which many share one
FEW, MANY = 20, 800
#: of the runs that tell what an ID costs: processors, and seconds of a task with 10 and with 200 in a block
SOME, SHORT_S, SHORTER_S = 100, 0.02, 0.001
RUN_S, SETTLE_S = 8.0, 1.5
#: keepers that beat at once, how often, and the processors that each vouches for
KEEPERS, BEATS, VOUCHED = 50, 60, 10
SYNCS, QUANTILES, SYNC_BYTES = 400, 20, 4096
FED = 500_000
TRIPS = 1000
#: of all of it, for the medians
ROUNDS = 3
_BEAT = "<?xml version='1.0'?><methodCall><methodName>beat</methodName><params><param><value><string>"
_TAIL = "</string></value></param></params></methodCall>"


@dataclass(frozen=True)
class Loaded:
    """A Coordinator under load: CPU seconds an exchange, exchanges a second, their median time, its memory."""

    exchange_s: float
    exchanges_per_s: float
    median_s: float
    rss_bytes: int


def measured(rounds: int = ROUNDS) -> tuple[Costs, dict[str, float]]:
    """The costs, and what else was seen; of several rounds the medians."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as work:
        ours = Ours(Environments(), Path(work), 1)
        found = [one_round(ours, Path(work, str(number))) for number in range(rounds)]
    exchange_s, id_s, turn_s, beat_s, feed_s, round_trip_s = (
        statistics.median(getattr(costs, name) for costs, _ in found)
        for name in ("exchange_s", "id_s", "turn_s", "beat_s", "feed_s", "round_trip_s")
    )
    syncs_s = tuple(statistics.median(column) for column in zip(*(costs.syncs_s for costs, _ in found), strict=True))
    seen = {what: statistics.median(one[what] for _, one in found) for what in found[0][1]}
    return Costs(exchange_s, id_s, turn_s, beat_s, feed_s, round_trip_s, syncs_s), seen


def one_round(ours: Ours, directory: Path) -> tuple[Costs, dict[str, float]]:
    directory.mkdir()
    few = loaded(ours, directory / "few", FEW, SHORT_S)
    many = loaded(ours, directory / "many", MANY, SHORT_S)
    small = loaded(ours, directory / "small", SOME, SHORT_S, STRINGS)
    large = loaded(ours, directory / "large", SOME, SHORTER_S, STRINGS)
    more_ids = round(blocks.AIM_S / SHORTER_S) - round(blocks.AIM_S / SHORT_S)
    costs = Costs(
        exchange_s=many.exchange_s,
        id_s=max(0.0, (large.exchange_s - small.exchange_s) / more_ids),
        turn_s=max(0.0, few.exchange_s - many.exchange_s),
        beat_s=beats(ours, directory / "beats"),
        feed_s=feeding(),
        round_trip_s=loopback(),
        syncs_s=disk(directory),
    )
    seen = {
        "bytes of the Coordinator for a processor": (many.rss_bytes - few.rss_bytes) / (MANY - FEW),
        f"exchanges/s of {MANY} processors": many.exchanges_per_s,
    }
    return costs, seen


# --- a Coordinator under load -----------------------------------------------------------------------------


def loaded(ours: Ours, directory: Path, processors: int, task_s: float, ids: str = INTEGERS) -> Loaded:
    """Simulated processors at work, after they have joined and their blocks have grown."""
    directory.mkdir()
    most = round(processors / task_s * (RUN_S + 2 * SETTLE_S + processors / JOINS_PER_S) * 2)
    with our_server(ours, most, directory, whole=False, ids=ids) as told:
        crowd = Crowd(Address(told["host"], told["port"], told["token"]), processors, task_s)
        seen: list[tuple[float, int, float, int]] = []

        def watch() -> None:
            for pause_s in (processors / JOINS_PER_S + SETTLE_S, RUN_S):
                time.sleep(pause_s)
                seen.append((time.monotonic(), len(crowd.latencies), cpu_s(told["pid"]), rss_bytes(told["pid"])))

        watcher = threading.Thread(target=watch)
        watcher.start()
        crowd.live(RUN_S + 2 * SETTLE_S)
        watcher.join()
    (begun, before, cpu_before, _), (ended, after, cpu_after, rss) = seen
    made = after - before
    return Loaded(
        (cpu_after - cpu_before) / made, made / (ended - begun), percentile(crowd.latencies[before:after], 0.5), rss
    )


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def beats(ours: Ours, directory: Path) -> float:
    """CPU of a keeper's beat: of keepers of other hosts, whose processors are busy."""
    directory.mkdir()
    answered = [0] * KEEPERS

    def heard(line: Line, _body: bytes, _seconds: float) -> None:
        answered[line.number] += 1

    with our_server(ours, 1000, directory, whole=False) as told:
        run = json.loads((directory / f"{NAME}.run").read_text())["run"]
        lines = Lines(Address(told["host"], told["port"], told["token"]), heard)
        keepers = [lines.open(number) for number in range(KEEPERS)]
        cpu_before = 0.0
        for seq in range(BEATS):
            if (
                seq == 2
            ):  # the first makes the keeper known; from then on one lies at the Coordinator until the next comes
                cpu_before = cpu_s(told["pid"])
            for line in keepers:
                lines.say(line, beat(run, line.number, seq))
            while min(answered) < max(1, seq):
                lines.turn(1.0)
        spent_s = cpu_s(told["pid"]) - cpu_before
        for line in keepers:
            lines.say(line, beat(run, line.number, BEATS, leaving=True))
        while min(answered) < BEATS:
            lines.turn(1.0)
        lines.close()
    return spent_s / (KEEPERS * (BEATS - 2))


def beat(run: str, keeper: int, seq: int, leaving: bool = False) -> bytes:
    first = 1000 + keeper * VOUCHED
    message: dict[str, Any] = {
        "run": run, "keeper": f"keeper{keeper}", "host": f"simulated{keeper}", "pid": 10_000 + keeper, "seq": seq,
        "load": 1.0, "memory_available_bytes": 1 << 33, "cores": 16, "exits": [], "fault": None, "threads": False,
        "processors": [[n, 100_000 + n, 0, 0.1, "R", f"/tmp/log/{n}"] for n in range(first, first + VOUCHED)],
        "leaving": leaving,
    }  # fmt: skip
    return f"{_BEAT}{json.dumps(message)}{_TAIL}".encode()


# --- the disk, the network, the feeder ----------------------------------------------------------------------------


def disk(directory: Path) -> tuple[float, ...]:
    """How long fdatasync takes after a write to the end of a file, as quantiles."""
    took_s = []
    with open(directory / "synced", "wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(SYNC_BYTES))
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took_s.append(time.perf_counter() - begun)
    return tuple(percentile(took_s, (at + 0.5) / QUANTILES) for at in range(QUANTILES))


def loopback() -> float:
    """A round trip of TCP between two processes of this machine."""
    echo = "import socket; c = socket.create_connection(('127.0.0.1', {}))\nwhile d := c.recv(9): c.sendall(d)"
    took_s = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-S", "-c", echo.format(server.getsockname()[1])]
        with subprocess.Popen(words), server.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(TRIPS):
                begun = time.perf_counter()
                connection.sendall(b"?")
                connection.recv(1)
                took_s.append(time.perf_counter() - begun)
    return statistics.median(took_s)


def feeding() -> float:
    """CPU of an ID in the feeder, with a generator of strings of 40 characters."""

    def generator() -> Iterator[str]:
        for number in range(FED):
            yield f"identifier-of-forty-characters-{number:09d}"

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader:
        assert reader.stdin is not None
        begun = time.process_time()
        Feeder(generator, reader.stdin.fileno(), {"slices": []}).feed()
        spent_s = time.process_time() - begun
    return spent_s / FED
