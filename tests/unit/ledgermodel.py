"""A ledger beside a model of it that knows each position by itself. Steps are chosen by a random generator.

``test_ledger.py`` lets Hypothesis choose (and shrink), ``test_mutants.py`` a seeded one, a thousand times faster.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from coordinator.core.leases import Lease
from coordinator.core.ledger import Ledger, Policy

TERM_S, BACKOFF_S, RETRIES, DEATHS, ELSEWHERE_S = 10.0, 5.0, 1, 3, 7.0
HOLDERS = 3


class Model:
    """For each position its state, for each lease what it was given; time goes on by hand."""

    def __init__(self, ledger_type: type[Ledger] = Ledger) -> None:
        self._type = ledger_type
        self._policy = Policy(retries=RETRIES, deaths=DEATHS, elsewhere_s=ELSEWHERE_S, backoff_s=BACKOFF_S)
        self.ledger = ledger_type(self._policy, first_lease=1, term_s=TERM_S)
        self.now = 0.0
        self.ledger.extend(8)
        self.state = ["todo"] * 8  # todo, leased, waiting, shunned, done, failed
        self.died_at: dict[int, set[int]] = {}
        self.until: dict[int, float] = {}
        self.newest: dict[int, int] = {}  # position -> number of the newest lease
        self.given: dict[int, tuple[int, set[int]]] = {}  # lease -> holder, positions it may still report
        self.lapsed: set[int] = set()
        self.shared_out: set[int] = set()
        self.failures: dict[int, int] = {}
        self.deaths: dict[int, int] = {}
        self.due: dict[int, float] = {}
        self.deadline: dict[int, float] = {}

    # --- what happens ---------------------------------------------------------------------------------

    def read(self, rng: Random) -> None:
        count = rng.randrange(4)
        if self.ledger.ended or not count:
            self.ledger.end()
            return
        self.ledger.extend(count)
        self.state += ["todo"] * count

    def lease(self, rng: Random) -> None:
        most = rng.randrange(1, 5)
        holder = rng.randrange(HOLDERS)
        here = rng.sample(range(HOLDERS), rng.randrange(HOLDERS + 1))  # who works
        lease = self.ledger.lease(holder, most, self.now, None, f"h{holder}", {f"h{one}" for one in here})
        for p, due in list(self.due.items()):
            if due <= self.now:
                del self.due[p]
                self.state[p] = "todo"
        todo = {p for p, state in enumerate(self.state) if state == "todo"}
        shunned = {p for p, state in enumerate(self.state) if state == "shunned"}
        fit = {p for p in shunned if holder not in self.died_at[p] or set(here) <= self.died_at[p]}
        fit |= {p for p in shunned if self.until[p] <= self.now}
        if lease is None:
            assert not todo | fit, "whoever asks is given what there is"
            return
        positions = set(range(lease.start, lease.stop))
        assert positions <= todo or (positions <= fit and len(positions) == 1), "only what is TODO can be leased"
        assert lease.number > max(self.given, default=0), "numbers grow"
        assert 0 < len(lease) <= most
        for number in self.lapsed:
            open_ = self.given[number][1]
            if open_ & positions:
                self.shared_out.add(number)
            open_ -= positions
        for p in positions:
            self.state[p] = "leased"
            self.newest[p] = lease.number
        self.given[lease.number] = (lease.holder, positions)
        self.deadline[lease.number] = self.now + TERM_S

    def report(self, rng: Random) -> None:
        number = self._some_lease(rng)
        open_ = self.given[number][1]
        strays = set(rng.choices(range(len(self.state)), k=rng.randrange(3)))
        span = sorted(strays | {p for p in open_ if rng.random() < 0.5})
        failed = [p for p in span if rng.random() < 0.3]
        done = [p for p in span if p not in failed]
        forbidden = rng.random() < 0.2
        verdict = self.ledger.report(number, [(p, p + 1) for p in done], failed, self.now, final=forbidden)
        accepted = {p for a, b in verdict.done for p in range(a, b)}
        assert accepted == open_ & set(done), "exactly what the lease still owns is believed"
        for p in accepted:
            assert self.state[p] not in ("done", "failed"), "settled states absorb"
            assert self.newest[p] == number, "only the newest lease is believed"
            self._settled(p, "done")
        believed = {p for p, _, _ in verdict.failed}
        assert believed == open_ & set(failed)
        for p, attempt, final in verdict.failed:
            assert attempt == self._tried(p) + 1
            self.failures[p] = self.failures.get(p, 0) + 1
            assert final == (forbidden or self.failures[p] > RETRIES)
            if final:
                self._settled(p, "failed")
            else:
                self.state[p] = "waiting"
                self.due[p] = self.now + BACKOFF_S
        assert verdict.late == len(span) - len(accepted) - len(believed)
        open_ -= accepted | believed

    def report_whole(self, rng: Random) -> None:
        """All of a lease at once, as most reports are."""
        number = self._some_lease(rng)
        open_ = self.given[number][1]
        if not open_:
            return
        start, stop = min(open_), max(open_) + 1
        verdict = self.ledger.report(number, [(start, stop)], [], self.now)
        assert {p for a, b in verdict.done for p in range(a, b)} == open_
        assert verdict.late == stop - start - len(open_)
        for p in open_:
            self._settled(p, "done")
        open_.clear()

    def give_back(self, rng: Random) -> None:
        number = self._some_lease(rng)
        open_ = self.given[number][1]
        a = rng.choice(sorted(open_)) if open_ else rng.randrange(len(self.state))
        b = min(len(self.state), a + rng.randrange(5))
        mine = open_ & set(range(a, b))
        assert self.ledger.give_back(number, a, b) == len(mine)
        for p in mine:
            self.state[p] = "todo"
        open_ -= mine

    def hold(self, rng: Random) -> None:
        holder = self.given[self._some_lease(rng)][0]
        own = [n for n, (owner, _) in self.given.items() if owner == holder]
        numbers = [n for n in own if rng.random() < 0.9]
        numbers += [n for n in self.given if n not in numbers and rng.random() < 0.1]
        drop = self.ledger.hold(holder, numbers, self.now)
        for number in own:
            if number not in numbers:
                self._freed(number)
            else:
                self._renewed(number)
        whole = {n for n in own if self.given[n][1] and n not in self.shared_out}
        assert set(drop) == set(numbers) - whole

    def time_passes(self, rng: Random) -> None:
        self.now += rng.choice([4.0, 6.0, 11.0])
        over = {lease.number for lease in self.ledger.lapse(self.now)}
        assert over == {
            n for n, (_, open_) in self.given.items() if open_ and n not in self.lapsed and self.deadline[n] < self.now
        }
        for number in over:
            self.lapsed.add(number)
            for p in self.given[number][1]:
                self.state[p] = "todo"

    def server_slept(self, _: Random) -> None:
        self.now += 1000.0
        self.ledger.renew_all(self.now)
        for number in self.given:
            self._renewed(number)
        assert not self.ledger.lapse(self.now), "who slept judges nobody"

    def processor_dies(self, rng: Random) -> None:
        holder = self.given[self._some_lease(rng)][0]
        own = [n for n, (owner, _) in self.given.items() if owner == holder]
        open_ = sorted(p for n in own for p in self.given[n][1])
        current = rng.choice([*open_, None])
        place = rng.choice(["", f"h{holder}"])
        freed, verdict = self.ledger.lost(holder, current, self.now, place)
        for number in own:
            self._freed(number)
        if current is None:
            assert not verdict.failed
        else:
            assert verdict.failed == [(current, self._tried(current) + 1, self.deaths.get(current, 0) + 1 >= DEATHS)]
            self.deaths[current] = self.deaths.get(current, 0) + 1
            if self.deaths[current] >= DEATHS:
                self._settled(current, "failed")
            elif place:
                self.state[current] = "shunned"
                self.until[current] = self.now + ELSEWHERE_S
                self.died_at.setdefault(current, set()).add(holder)
        expected = set(open_) - {p for p, _, final in verdict.failed if final or place}
        assert {p for a, b in freed for p in range(a, b)} == expected

    def redo(self, rng: Random) -> None:
        settled = [p for p, state in enumerate(self.state) if state in ("done", "failed")]
        chosen = [p for p in settled if rng.random() < 0.5]
        was = [self.state[p] for p in chosen]
        self.ledger.redo([(p, p + 1) for p in chosen], was.count("done"), was.count("failed"))
        for p in chosen:
            self.state[p] = "todo"

    def coordinator_is_restarted(self, _: Random) -> None:
        """Its journal knows what is done, who has what, how often a task was tried, and where processors died with it;
        nothing of time."""
        old, new = self.ledger, self._type(self._policy, max(self.given) + 1, TERM_S)
        new.extend(old.count)
        new.ended = old.ended
        for p, state in enumerate(self.state):
            if state == "done":
                new.todo.remove(p, p + 1)
                new.done += 1
            else:
                self.state[p] = "todo"  # what failed is tried again
        for number, (holder, open_) in self.given.items():
            if open_:
                lease = Lease(number, min(open_), max(open_) + 1, holder, self.now + TERM_S, TERM_S)
                lease.shared_out = number in self.shared_out
                lease.open.clear()
                for p in sorted(open_):
                    lease.open.add(p, p + 1)
                    self.state[p] = "leased"
                new.restore(lease)
                self.deadline[number] = self.now + TERM_S
        tried = {p: self._tried(p) for p in {*self.failures, *self.deaths}}
        places = {p: {f"h{holder}" for holder in holders} for p, holders in self.died_at.items()}
        new.remember(tried, dict(self.deaths), {}, places, self.now)
        for p in self.died_at:
            if self.state[p] == "todo":
                self.state[p] = "shunned"
                self.until[p] = self.now + ELSEWHERE_S
        self.lapsed.clear()
        self.due.clear()
        self.ledger = new

    STEPS: tuple[Callable[[Model, Random], None], ...] = (
        read, lease, lease, lease, report, report, report_whole, give_back, hold, time_passes, time_passes,
        server_slept, processor_dies, redo, coordinator_is_restarted,
    )  # fmt: skip

    def step(self, number: int, rng: Random) -> None:
        """The step of that number, or a lease if nobody has one yet; then all that always holds."""
        (self.STEPS[number] if self.given else Model.lease)(self, rng)
        self.check()

    # --- what always holds ----------------------------------------------------------------------------

    def check(self) -> None:
        ledger, count = self.ledger, self.state.count
        todo = [p for a, b in ledger.todo for p in range(a, b)]
        assert todo == [p for p, state in enumerate(self.state) if state == "todo"]
        shown = (ledger.done, ledger.failed, ledger.waiting, ledger.leased, ledger.count)
        waiting = count("waiting") + count("shunned")
        assert shown == (count("done"), count("failed"), waiting, count("leased"), len(self.state))
        held = [p for lease in ledger.leases.values() if not lease.lapsed for a, b in lease.open for p in range(a, b)]
        assert sorted(held) == [p for p, state in enumerate(self.state) if state == "leased"], "one live lease each"
        for p, state in enumerate(self.state):
            assert state in ("done", "failed") or ledger.attempt(p) == self._tried(p) + 1, "every attempt is counted"
        assert ledger.finished == (ledger.ended and count("done") + count("failed") == len(self.state))

    # --- inside ---------------------------------------------------------------------------------------

    def _some_lease(self, rng: Random) -> int:
        """One that still owns something, as a rule."""
        alive = [number for number, (_, open_) in self.given.items() if open_]
        return rng.choice(alive if alive and rng.random() < 0.9 else list(self.given))

    def _tried(self, p: int) -> int:
        return self.failures.get(p, 0) + self.deaths.get(p, 0)

    def _settled(self, p: int, state: str) -> None:
        self.state[p] = state
        for table in (self.failures, self.deaths, self.died_at):
            table.pop(p, None)

    def _freed(self, number: int) -> None:
        open_ = self.given[number][1]
        for p in open_:
            self.state[p] = "todo"
        open_.clear()

    def _renewed(self, number: int) -> None:
        """A lease that lapsed and of which nobody was given anything goes on as if it had not."""
        open_ = self.given[number][1]
        if number in self.lapsed and number not in self.shared_out and open_:
            self.lapsed.discard(number)
            for p in open_:
                self.state[p] = "leased"
        if number not in self.lapsed:
            self.deadline[number] = self.now + TERM_S
