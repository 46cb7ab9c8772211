"""The world of core/simulate.py: its processors, their keepers, a Coordinator or none, and the wire between.

Here are the events of keepers, of time and of the Coordinator's lives; see core/simulatewire.py for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.core.exchange import Request
from coordinator.core.simulateserver import WINDOWS, Beat, Server, remains
from coordinator.core.simulatewire import HOSTS, TERM_S, Wire


class World(Wire):
    """Begins with a Coordinator in its first life."""

    def __init__(self, seed: int, make_run: Callable[..., Any], fine_only: bool = False) -> None:
        super().__init__(seed, make_run, fine_only)
        self.do_start_again()

    # --- keepers ------------------------------------------------------------------------------------

    def do_beat(self) -> str | bool:
        return self.beat(self.rng.choice(self.keepers))

    def do_beat_lost(self) -> str | bool:
        """The beat arrives, its answer does not."""
        return self.beat(self.rng.choice(self.keepers), lost=True)

    def beat(self, keeper: int, lost: bool = False) -> str | bool:
        server, cut = self.server, self.cut.get(keeper % HOSTS)
        if server is None or server.journal.stalled or keeper % HOSTS in self.quiet or cut in ("out", "both"):
            return False
        mine = [hand for hand in self.living if hand.host == keeper and hand.run == self._run and not hand.stopped]
        exits = list(self._exits[keeper])
        server.beat(
            Beat(keeper, self.machine_of(keeper), [(hand.number, hand.pid, hand.board) for hand in mine], exits),
            self.now,
        )
        self._leave(server.settle(self.now))
        if not lost and cut != "in":
            del self._exits[keeper][: len(exits)]
        return f"{'tells exits' if exits else 'vouches'}"

    def do_guard_silent(self) -> bool:
        self.quiet.add(self.rng.randrange(HOSTS))
        return True

    def do_guard_back(self) -> bool:
        if not self.quiet:
            return False
        self.quiet.remove(self.rng.choice(sorted(self.quiet)))
        return True

    def do_host_dies(self) -> bool:
        """Everything on it is gone, and nobody tells; a keeper that comes later is another one."""
        host = self.rng.randrange(HOSTS)
        for hand in self.living:
            if hand.host == self.keepers[host]:
                hand.alive = False
        self.keepers[host] += HOSTS
        self._exits[self.keepers[host]] = []
        return True

    # --- the Coordinator ----------------------------------------------------------------------------

    def do_slice(self) -> str | bool:
        server = self.server
        if server is None or server.journal.stalled or server.run.ledger.ended:
            return False
        count = min(self.rng.choice((1, 40)), self.total - server.run.ledger.count)
        if count:
            server.extend(count)
        else:
            server.run.end_stream(None)
        self._leave(server.settle(self.now))
        return "more" if count else "end of stream"

    def do_tick(self) -> str:
        return self.passes(self.rng.uniform(0.05, 0.25))

    def do_wait(self) -> str:
        return self._while(self.rng.uniform(0.5, 12.0))

    def do_nap(self) -> str | bool:
        """A processor stops for longer than its leases last, the others go on, and it wakes."""
        hand = self._some([hand for hand in self.living if hand.current is not None])
        if hand is None:
            return False
        if self.rng.random() < 0.7:
            self._dash(hand)
        hand.stopped = True
        told = self._while(TERM_S + self.rng.random())
        for _ in range(self.rng.randrange(30)):
            self.do_work()
            self.do_deliver()
        if self.server is not None and self.rng.random() < 0.3:
            self._power, told = False, "over a restart"
            self.dies()
            self.do_start_again()
        hand.stopped = False
        return told

    def _while(self, seconds: float) -> str:
        """Time passes, in which the keepers that can speak do."""
        self.now += seconds
        for keeper in self.keepers:
            self.beat(keeper)
        return self.passes(0.0)

    def passes(self, seconds: float, asleep: bool = False) -> str:
        """Time passes, and the Coordinator looks at it, all along if it is not asleep."""
        self.now += seconds
        if self.server is None:
            return "nobody there"
        if not asleep:
            self.server.awake(self.now)
        told = self.server.tick(self.now)
        self._leave(self.server.settle(self.now))
        return told

    def do_sleep(self) -> str:
        self.now += self.rng.uniform(3.0, 30.0)
        if self.wire and self.rng.random() < 0.5:
            self.deliver(0)  # before it looks at the time
        return self.passes(0.0, asleep=True)

    def do_disk_slow(self) -> bool:
        """A commit goes to the disk, and much happens until it is there."""
        if self.server is None or self.server.journal.stalled or self.server.disk_works:
            return False
        self.server.begin(self.server.run.accepted)
        return True

    def do_disk_done(self) -> bool:
        if self.server is None or not self.server.disk_works:
            return False
        self._leave(self.server.end())
        self._leave(self.server.settle(self.now))
        return True

    def do_disk_full(self) -> bool:
        if self.server is None or self.server.journal.stalled:
            return False
        self.server.journal.stalled = True
        return True

    def do_disk_free(self) -> bool:
        if self.server is None or not self.server.journal.stalled:
            return False
        self._leave(self.server.writable_again(self.now))
        return True

    def do_kill(self) -> str | bool:
        return self._doom(power=False)

    def do_power_cut(self) -> str | bool:
        return self._doom(power=True)

    def _doom(self, power: bool) -> str | bool:
        """Kill it now, or in some window of its next turn."""
        if self.server is None:
            return False
        self._power, window = power, self.rng.choice(WINDOWS)
        if window == WINDOWS[-1]:
            self.server.doom = window
            return self.dies()
        self.server.doom = window
        return False

    def dies(self) -> str:
        """It is dead; what was on its way to it is lost with the connections."""
        assert self.server is not None
        window = self.server.doom or WINDOWS[-1]
        self.server = None
        self.journal, self._before = remains(self.journal, self._power, self.rng.random() < 0.3)
        self.wire = [message for message in self.wire if not isinstance(message, Request)]
        self._old.clear()
        return f"{'power cut' if self._power else 'killed'} {window}"

    def do_start_again(self) -> bool:
        return self._start(True)

    def do_start_another_run(self) -> bool:
        if self.server is not None:
            return False
        self._run_number += 1
        for exits in self._exits.values():
            exits.clear()
        return self._start(False)

    def _start(self, again: bool) -> bool:
        if self.server is not None:
            return False
        self._run = f"run{self._run_number}"
        self.oracle.restarted(self.journal.records, again, self.now)
        self.server = Server(self._make_run, self.journal, self._before, self._run, again, self.oracle, self.now)
        self.server.run.surplus = lambda hired: hired.number in self._leaving
        return True
