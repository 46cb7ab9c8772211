"""The guard of a host: it vouches for the Processors of one job there, and tells the Coordinator how each ends.

The keeper (:mod:`coordinator.keeper`) becomes one. It beats: it says which Processors live and what each works on,
starts those that the Coordinator wants, through the zygote, ends tasks that run over their time limit, and reports
each exit with its status. It runs no user code, so that it can vouch for a Processor whose code holds the interpreter
for minutes; a stopped one it does not vouch for. It decides nothing about tasks. The Coordinator away, it waits for
the grace time, then ends what it guards.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coordinator import kept, load, paths, procs
from coordinator.core.exchange import text_of
from coordinator.errors import PeerLost, UnknownRun
from coordinator.hand import now
from coordinator.hired import WITH_ZYGOTE
from coordinator.sweeper import Sweeper
from coordinator.wire.client import Connection
from coordinator.zygote import open_board, receive, start_zygote

#: seconds between two beats, between two looks at the processors where a time limit is in force, between two tries
#: to reach a Coordinator that is away
BEAT_S, WATCH_S, RETRY_S = 1.0, 0.1, 0.5
#: seconds without a word on a connection to another machine, where every beat is answered, before a new one is opened
SILENCE_S = 10.0
#: why a Processor was ended whose keeper may not stay
TIME_OVER = "the time of its job on the cluster was over"
#: seconds between two looks at load and memory of the host
MEASURE_S = 3.0
#: zygotes that may be killed one after another while they load the script
LOADS_LOST = 3


class Charge:
    """One Processor as its guard sees it. ``since``: when it was first seen at ``position``, steady seconds."""

    def __init__(self, number: int, slot: int, log: str, since: float) -> None:
        self.number, self.slot, self.log, self.since = number, slot, log, since
        self.pid = 0
        self.position = -1
        self.cause = ""


class Guard:
    """Keeps the Processors of one job on one host. ``orders``: see :func:`orders`."""

    def __init__(
        self, orders: dict[str, Any], board: int, channel: socket.socket, zygote: int, sweeper: Sweeper
    ) -> None:
        self._orders = orders
        self._board_fd, self._board = board, open_board(board)
        self._channel, self._zygote, self._sweeper = channel, zygote, sweeper
        sweeper.tell("tag", orders["tag"])
        sweeper.tell("zygote", zygote)
        self._connection = Connection(
            orders["url"], orders["token"], timeout_s=SILENCE_S, fingerprint=orders.get("fingerprint")
        )
        self._selector = selectors.DefaultSelector()
        self._charges: dict[int, Charge] = {}
        self._begun: set[int] = set()
        self._free_slots = list(range(len(self._board) - 1, -1, -1))
        self._exits: list[list[Any]] = []
        self._seq = 0
        self._awaited = 0
        self._watched_fd = -1
        self._lost_since: float | None = None
        # Of this connection, or when it was opened. Nobody tells when a cable is cut.
        self._heard_at = now()
        self._silence_s = min(SILENCE_S, orders["grace_s"]) if orders.get("remote") else float("inf")
        self._next_beat = 0.0
        self._fault: str | None = None
        self._threads = 1
        self._heard = b""
        self._ending = False
        self._loaded = False
        self._loads_lost = 0
        #: reports that Processors which ended could not hand in: (path, text)
        self._kept = self._find_kept()
        self._passing_on = False
        # Memory is asked for a beat later: that takes longer than the first beat may.
        self._figures = load.Figures(load.load_now(), None, load.cores())
        self._next_measure = now() + BEAT_S
        #: where its time is limited, when the Processors shall leave, and when those that have not are ended
        self._leave_at = now() + orders.get("leave_after_s", float("inf"))
        self._end_at = now() + orders.get("end_after_s", float("inf"))

    def serve(self, begun: Callable[[], None]) -> int:
        """Guard until the job is over; the exit status. ``begun()`` is called after the first word to the Coordinator:
        who is silent from then on is missed there."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._leave_will()
        if not self._kept:  # else what lies here is handed in first, lest it be done again
            self._want(self._orders["numbers"])
        self._beat(now())
        begun()
        while True:
            time_s = now()
            if self._awaited and time_s - self._heard_at > self._silence_s:
                self._lose(time_s, self._heard_at)
            if time_s >= self._next_beat:
                self._beat(time_s)
            if time_s >= self._end_at:
                self._end_at = float("inf")
                for number in self._charges:
                    self._kill(number, TIME_OVER)
            pause = self._next_beat - now()
            if self._orders["time_limit_s"]:
                self._watch(now())
                pause = min(pause, WATCH_S)
            for key, _ in self._selector.select(max(0.0, pause)):
                if key.fileobj is self._channel:
                    self._hear_zygote()
                else:
                    self._hear_coordinator()
                    while self._connection.more:
                        self._hear_coordinator()
            if self._ending and not self._charges and not self._exits:
                self._beat(now(), leaving=True)
                return self._leave()
            if self._lost_since is not None and now() - self._lost_since > self._orders["grace_s"]:
                print("keeper: the Coordinator did not come back within the grace time; ending", flush=True)
                return self._leave()

    # --- the Coordinator ------------------------------------------------------------------------------

    def _beat(self, time_s: float, leaving: bool = False) -> None:
        self._watch(time_s)
        if time_s >= self._next_measure:
            self._figures, self._next_measure = load.figures(), time_s + MEASURE_S
        self._seq += 1
        charges = [
            [c.number, c.pid, c.position, round(time_s - c.since, 3), procs.process_state(c.pid), c.log]
            for c in self._charges.values()
            if c.pid
        ]
        message = {
            "run": self._orders["run"],
            "keeper": self._orders["keeper"],
            "host": self._orders["host"],
            "pid": os.getpid(),
            "seq": self._seq,
            "load": self._figures.runnable,
            "memory_available_bytes": self._figures.memory_available_bytes,
            "cores": self._figures.cores,
            "processors": charges,
            "exits": self._exits,
            "fault": self._fault,
            "threads": self._threads,
            "leaving": leaving,
        }
        if time_s >= self._leave_at:
            message["retiring"] = True
        if self._kept and not self._passing_on:
            message["kept"], self._passing_on = self._kept[0][1], True
        self._next_beat = time_s + self._orders["beat_s"]
        try:
            self._connection.send_note("beat", text_of(message))
            self._awaited += 1
            if self._connection.fileno() != self._watched_fd:
                self._unwatch()
                self._heard_at = now()
                self._watched_fd = self._connection.fileno()
                self._selector.register(self._watched_fd, selectors.EVENT_READ)
        except PeerLost:
            self._lose(time_s)

    def _hear_coordinator(self) -> None:
        try:
            answer = json.loads(self._connection.receive_note())
        except PeerLost:
            self._lose(now())
            return
        except UnknownRun as error:
            print(f"keeper: {error.message}", flush=True)
            self._kill_all()
            sys.exit(self._leave())
        self._heard_at = now()
        if self._lost_since is not None:
            self._lost_since, self._kept = None, self._find_kept()
        self._awaited -= 1
        if answer.get("kept") and self._passing_on:
            path, _ = self._kept.pop(0)
            with suppress(FileNotFoundError):
                os.unlink(path)
            self._passing_on = False
        self._exits = [exit for exit in self._exits if exit[0] not in answer["noted"]]
        if answer.get("end"):
            self._ending = True
        for number in answer.get("kill", ()):
            self._kill(number, answer.get("cause", "stopped"))
        if not self._ending and not self._kept:
            self._want(answer["numbers"])
            if not self._awaited or (self._kept and not self._passing_on):
                self._next_beat = 0.0  # one beat always lies at the Coordinator, so that its news come at once

    def _find_kept(self) -> list[tuple[str, str]]:
        """Reports in files here, but for those of Processors that live and will hand them in themselves."""
        orders = self._orders
        mine = {kept.path_of(orders["log_directory"], orders["name"], orders["run"], n) for n in self._charges}
        found = kept.found(orders["log_directory"], orders["name"], orders["run"])
        return [(path, text) for path, text in found if path not in mine]

    def _lose(self, time_s: float, since: float | None = None) -> None:
        self._unwatch()
        self._connection.close()
        self._awaited, self._passing_on = 0, False
        if self._lost_since is None:
            self._lost_since = time_s if since is None else since
        self._next_beat = time_s + RETRY_S

    def _unwatch(self) -> None:
        if self._watched_fd >= 0:
            self._selector.unregister(self._watched_fd)
            self._watched_fd = -1

    # --- the processors -------------------------------------------------------------------------------

    def _want(self, numbers: list[int]) -> None:
        """Start the Processors of these numbers that were never started here."""
        for number in numbers:
            if number in self._begun or not self._free_slots:
                continue
            self._begun.add(number)
            slot = self._free_slots.pop()
            self._board[slot] = -1
            charge = Charge(number, slot, self._new_log(number), now())
            self._charges[number] = charge
            order = {
                k: self._orders[k] for k in ("url", "token", "run", "name", "tag", "grace_s", "max_errors_in_a_row")
            }
            order |= {"number": number, "slot": slot, "log": charge.log, "host": self._orders["host"]}
            order["fingerprint"] = self._orders.get("fingerprint")
            self._tell_zygote(order)

    def _new_log(self, number: int) -> str:
        directory, name = self._orders["log_directory"], self._orders["name"]
        for suffix in ("", *(f".{k}" for k in range(2, 10_000))):
            path = os.path.join(directory, f"{name}_{number}{suffix}.log")
            try:
                os.close(paths.open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return path
        raise FileExistsError(f"{directory} holds ten thousand logs of {name}_{number}: remove old ones")

    def _watch(self, time_s: float) -> None:
        limit_s = self._orders["time_limit_s"]
        for charge in self._charges.values():
            position = self._board[charge.slot]
            if position != charge.position:
                charge.position, charge.since = position, time_s
            elif limit_s and position >= 0 and time_s - charge.since > limit_s and not charge.cause:
                self._kill(charge.number, "time limit")

    def _kill(self, number: int, cause: str) -> None:
        charge = self._charges.get(number)
        if charge is not None and charge.pid:
            charge.cause = charge.cause or cause
            procs.kill_session(charge.pid)

    def _kill_all(self) -> None:
        for charge in self._charges.values():
            if charge.pid:
                procs.kill_session(charge.pid)

    # --- the zygote -----------------------------------------------------------------------------------

    def _leave_will(self) -> None:
        """The end of a guard on another host is seen by its zygote alone, which speaks for it then."""
        if self._orders.get("remote"):
            words = ("url", "token", "fingerprint", "run", "keeper", "host", "tag", "grace_s")
            self._tell_zygote({"will": {**{word: self._orders.get(word) for word in words}, "pid": os.getpid()}})

    def _tell_zygote(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # its end of the channel is closed: _hear_zygote deals with that
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _hear_zygote(self) -> None:
        heard = receive(self._channel, self._heard)
        if heard is None:
            self._mourn_zygote()
            return
        messages, self._heard = heard
        for message in messages:
            if "ready" in message:
                self._threads, self._loaded, self._loads_lost = message["threads"], True, 0
            elif "started" in message:
                self._charges[message["started"]].pid = message["pid"]
                self._sweeper.tell("processor", message["pid"])
            elif "exited" in message:
                self._ended(message["exited"], message["how"])
        if self._lost_since is None:
            self._next_beat = 0.0  # tell it at once

    def _ended(self, number: int, how: str) -> None:
        charge = self._charges.pop(number)
        self._sweeper.tell("ended", charge.pid)
        position = self._board[charge.slot]
        self._free_slots.append(charge.slot)
        self._exits.append([number, charge.pid, how, position, charge.cause])

    def _mourn_zygote(self) -> None:
        """The zygote is gone, and its Processors with it: clean up, say so, load the script again."""
        how = procs.reap(self._zygote)
        self._selector.unregister(self._channel)
        self._channel.close()
        self._heard = b""
        for charge in list(self._charges.values()):
            if charge.pid:
                procs.kill_session(charge.pid)
            self._ended(charge.number, f"{WITH_ZYGOTE} ({how})")
        self._next_beat = 0.0
        if not self._loaded:
            # A script that cannot be loaded ends by itself. A signal comes from anywhere, but not each time.
            self._loads_lost += 1
            if how.startswith("exit status") or self._loads_lost >= LOADS_LOST:
                self._fault = self._fault or f"the script could not be loaded ({how}): {self._last_words()}"
        self._loaded = False
        self._channel, self._zygote = start_zygote(self._orders, self._board_fd)
        self._sweeper.tell("zygote", self._zygote)
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._leave_will()

    def _last_words(self) -> str:
        """The end of what the script printed while it was loaded."""
        try:
            with open(self._orders["keeper_log"], "rb") as file:
                file.seek(max(0, os.path.getsize(self._orders["keeper_log"]) - 4096))
                return file.read().decode("utf-8", "replace").strip()
        except OSError as error:
            return f"its output cannot be read: {error}"

    def _leave(self) -> int:
        self._kill_all()
        self._tell_zygote({"will": None})
        self._channel.close()  # the zygote ends by that
        procs.reap(self._zygote)
        procs.end_tagged(self._orders["tag"])  # what a task put into a session of its own
        self._sweeper.dismiss()
        self._connection.close()
        return 0
