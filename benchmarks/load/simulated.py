"""Simulated Processors: thousands of them in one thread, each speaking ``exchange`` over its own TCP connection.

``python -m benchmarks.load.simulated '{"host": ..., "port": ..., "token": ..., "processors": 2000, "seconds": 600,
"task_s": 0.02, "accepted": "FILE"}'``. Each joins, fetches blocks one ahead as a Processor does, lets the block's time
pass, and reports it. Printed at the end: exchanges, their times, the share of a core that this client itself used (near
1 it is what was measured), and everything that a server says only to somebody whom it holds for dead. FILE gets the
ranges of IDs whose acceptance was answered, for a check of the job's files.
"""

from __future__ import annotations

import heapq
import json
import resource
import sys
import time
from dataclasses import dataclass, field

from benchmarks.load.lines import Address, Line, Lines
from benchmarks.measures import percentile

_HEAD = "<?xml version='1.0'?><methodCall><methodName>{}</methodName><params><param><value><string>"
_EXCHANGE, _JOIN = _HEAD.format("exchange"), _HEAD.format("join")
_TAIL = "</string></value></param></params></methodCall>"
#: how many join in a second, one after another
JOINS_PER_S = 200
#: descriptors beside the connections
SPARE = 64


@dataclass(slots=True)
class Block:
    lease: int
    start: int
    count: int


@dataclass(slots=True)
class Simulated:
    """One processor: the block that it works on, the one ahead, and what it is to say."""

    line: Line
    run: str = ""
    number: int = 0
    seq: int = 0
    current: Block | None = None
    ahead: Block | None = None
    #: of the blocks that are done and not reported, and of those whose report is under way
    done: list[Block] = field(default_factory=list)
    said: list[Block] = field(default_factory=list)
    ready: bool = False
    asking: bool = False
    bye: bool = False
    gone: bool = False


class Crowd:
    """All of them. ``task_s``: seconds of a task; ``latencies``: seconds of each exchange after the joining."""

    def __init__(self, address: Address, processors: int, task_s: float) -> None:
        self._lines = Lines(address, self._heard)
        self._task_s = task_s
        self._processors, self._ramp_s = processors, processors / JOINS_PER_S
        self._crowd: dict[int, Simulated] = {}
        self._due: list[tuple[float, int]] = []
        self._count_from = float("inf")
        self._leaving = False
        self.latencies: list[float] = []
        self.accepted: list[tuple[int, int]] = []
        self.dead: dict[str, int] = {}

    def live(self, seconds: float) -> None:
        """Join, and work for so long."""
        began = time.monotonic()
        self._count_from = began + self._ramp_s
        over = self._count_from + seconds
        while (now := time.monotonic()) < over:
            while len(self._crowd) < self._processors and now - began >= len(self._crowd) / JOINS_PER_S:
                self._join()
            while self._due and self._due[0][0] <= now:
                self._block_is_over(self._crowd[heapq.heappop(self._due)[1]])
            soonest = self._due[0][0] - now if self._due else 0.01
            self._lines.turn(min(max(soonest, 0.0), 0.01))
        self._leave()
        self._lines.close()

    def _leave(self) -> None:
        """All report what is done, give back the rest and say goodbye, each after the answer that it waits for."""
        self._leaving = True
        for one in self._crowd.values():
            if not one.asking and not one.gone:
                self._say(one)
        while any(not one.gone for one in self._crowd.values()):
            self._lines.turn(1.0)

    # --- one processor ----------------------------------------------------------------------------------

    def _join(self) -> None:
        number = len(self._crowd)
        line = self._lines.open(number)
        self._crowd[number] = Simulated(line)
        who = {"host": f"simulated{number % 200}", "pid": 100_000 + number, "log": ""}
        self._lines.say(line, (_JOIN + json.dumps(who) + _TAIL).encode())

    def _heard(self, line: Line, body: bytes, seconds: float) -> None:
        one = self._crowd[line.number]
        begin, end = body.find(b"<string>"), body.rfind(b"</string>")
        if begin < 0 or b"<fault>" in body:
            self._presumed_dead(f"fault: {body[:300].decode(errors='replace')}")
            one.gone = True
            return
        told = json.loads(body[begin + 8 : end])
        if not one.run:
            one.run, one.number = told["run"], told["number"]
            self._say(one)
            return
        one.asking = False
        for block in one.said:
            self.accepted.append((block.start, block.start + block.count))
        one.said = []
        if one.bye:
            one.gone = True
            return
        if line.sent >= self._count_from:
            self.latencies.append(seconds)
        if told.get("drop"):
            self._presumed_dead("a lease was taken away")
        if told["state"] == "work":
            one.ahead = Block(told["n"], told["a"], told["c"])
        elif told["state"] != "nothing":
            self._presumed_dead(f"state {told['state']}")
            one.gone = True
            return
        if self._leaving:
            self._say(one)
        elif one.current is None and (one.ready or one.ahead is not None):
            self._begin(one)

    def _begin(self, one: Simulated) -> None:
        """Work on the block ahead, and ask for the next."""
        one.current, one.ahead = one.ahead, None
        one.ready = one.current is None
        if one.current is not None:
            heapq.heappush(self._due, (time.monotonic() + one.current.count * self._task_s, one.line.number))
        if not one.asking:
            self._say(one)

    def _block_is_over(self, one: Simulated) -> None:
        if one.current is not None:
            one.done.append(one.current)
        one.current, one.ready = None, True
        if not one.asking:
            self._begin(one)

    def _say(self, one: Simulated) -> None:
        one.seq += 1
        one.asking = True
        one.said, one.done = one.done, []
        held = [block.lease for block in (one.current, *one.said) if block is not None]
        tasks = sum(block.count for block in one.said)
        # Put together by hand: this client must not be what is measured.
        note = (
            f'{{"run":"{one.run}","p":{one.number},"i":"{one.number}.1","s":{one.seq},"h":{held},'
            f'"w":[{tasks},{tasks * self._task_s:.6f}]'
        )
        if one.said:
            reports = ",".join(f"[{b.lease},[{b.start},{b.start + b.count}],[],[]]" for b in one.said)
            note += f',"r":[{reports}]'
        if self._leaving:
            one.bye = True
            left = [[b.lease, b.start, b.start + b.count] for b in (one.current, one.ahead) if b is not None]
            note += f',"bye":"run_all done","g":{left}'
        elif one.current is None:
            note += ',"want":1,"idle":1'
        else:
            note += ',"want":1'
        if one.seq == 1:
            number = one.line.number
            who = {"host": f"simulated{number % 200}", "pid": 100_000 + number, "log": "", "kept": False}
            note += f',"who":{json.dumps(who)}'
        self._lines.say(one.line, f"{_EXCHANGE}{note}}}{_TAIL}".encode())

    def _presumed_dead(self, how: str) -> None:
        self.dead[how] = self.dead.get(how, 0) + 1


def main() -> None:
    told = json.loads(sys.argv[1])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < told["processors"] + SPARE:
        raise SystemExit(f"{told['processors']} connections need more open files than the limit of {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(Address(told["host"], told["port"], told["token"]), told["processors"], told["task_s"])
    crowd.live(told["seconds"])
    with open(told["accepted"], "w", encoding="ascii") as file:
        file.writelines(f"{a} {b}\n" for a, b in crowd.accepted)
    ms = [1000 * seconds for seconds in crowd.latencies] or [0.0]
    figures = {
        "exchanges": len(crowd.latencies), "exchanges_per_s": len(crowd.latencies) / told["seconds"],
        "p50_ms": percentile(ms, 0.5), "p99_ms": percentile(ms, 0.99), "most_ms": max(ms),
        "false_deaths": sum(crowd.dead.values()), "tasks": sum(b - a for a, b in crowd.accepted),
        "client_cpu_share": time.process_time() / (told["seconds"] + told["processors"] / JOINS_PER_S),
    }  # fmt: skip
    print(json.dumps({"figures": figures, "dead": crowd.dead}))


if __name__ == "__main__":
    main()
