"""Resources without files: the production RuleBook under seeded random events.

``simulate_rules(seed)`` plays processors that ask for resources, build them, fail, die with the lock in hand, hand in
twice or too late; people who change rules and free locks; a ResourceController that starts again from its shelves. At
most one processor may build a resource on a host; in the end everybody has an answer and no lock is left. The same
seed gives the same events. coordinator/ruledesk.py carries the same calls in production.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from coordinator.core.rules import Build, Failed, Place, Rule, RuleBook, UseFile, Wait
from coordinator.core.simulateplay import Play, demand
from coordinator.errors import NoSuchRule, NotLocked

HOSTS, NAMES, JOBS = ("h0", "h1"), ("genome", "index"), ("a", "b")
STEPS, MOST_ROUNDS = 120, 60
WEIGHTS = {
    **{"ask": 40, "build": 25, "fail": 8, "time": 15, "hand in again": 6, "hand in late": 5},
    **{"die": 6, "die unseen": 3, "job gone": 3, "set rule": 4, "delete rule": 1, "retry": 2, "unlock": 3},
    **{"file gone": 4, "release": 3, "start again": 3},
}


class Asker:
    """A processor that needs a resource. ``lock``: the number under which it builds, 0 if it does not, by ``rule``."""

    def __init__(self, host: str, pid: int, name: str, job: str) -> None:
        self.host, self.pid, self.name, self.job = host, pid, name, job
        self.lock = 0
        self.rule: Rule | None = None
        self.alive, self.answered, self.gone = True, False, False

    @property
    def place(self) -> Place:
        return self.host, self.name


def simulate_rules(seed: int) -> tuple[str, Counter[str]]:
    """Play one seed; the digest of what happened, and how often each thing did. Raises Violation."""
    play = _Play(seed)
    play.play()
    return play.digest(), play.events


class _Play(Play):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.book = RuleBook(1)
        self._first = 1
        #: what the oracle knows: who builds under which lock of this life, what lies on disk, and by which rule
        self.builders: dict[Place, Asker] = {}
        self.files: dict[Place, str] = {}
        self.granted: dict[Place, Rule] = {}
        self.rules: dict[str, Rule] = {}
        self.failed: set[Place] = set()
        self.askers: list[Asker] = []
        self.handed_in: list[tuple[Asker, int, Rule]] = []
        for name in NAMES:
            self._set_rule(name)

    def chaos(self) -> None:
        self.draw(WEIGHTS, STEPS)

    def calm(self) -> None:
        """The dead are told of, rules are set, builders finish: everybody gets an answer."""
        for name in NAMES:
            if name not in self.rules:
                self._set_rule(name)
        for asker in self.askers:
            if not asker.alive:
                self._forget(asker.host, asker.pid)
        for _ in range(MOST_ROUNDS):
            self.now += 60.0
            for asker in [one for one in self.askers if one.alive]:
                if asker.lock:
                    self.happen("build", partial(self._hand_in, asker, None))
                if not asker.answered:
                    self.happen("ask", partial(self._ask, asker))
        waiting = [one.pid for one in self.askers if one.alive and not one.answered]
        demand(not waiting, f"processors {waiting} wait for ever")
        demand(not self.book.locks, f"locks {list(self.book.locks)} are left at the end")

    def judge(self) -> None:
        held = {place: lock.number for place, lock in self.book.locks.items()}
        ours = {place: one.lock for place, one in self.builders.items()}
        demand(held == ours, f"locks are {held}, builders {ours}")

    def _some(self, askers: list[Asker]) -> Asker | None:
        return self.rng.choice(askers) if askers else None

    # --- what processors do -------------------------------------------------------------------------

    def do_ask(self) -> str | bool:
        waiting = [one for one in self.askers if one.alive and not one.answered]
        if len(waiting) < 5 and self.rng.random() < 0.5:
            place = (self.rng.choice(HOSTS), self.rng.choice(NAMES))
            waiting = [Asker(place[0], 100 + len(self.askers), place[1], self.rng.choice(JOBS))]
            self.askers += waiting
        asker = self._some(waiting)
        return asker is not None and self._ask(asker)

    def _ask(self, asker: Asker) -> str:
        place, builder = asker.place, self.builders.get(asker.place)
        try:
            answer = self.book.ask(asker.host, asker.pid, asker.name, self.now, 0.0, asker.job, gone=asker.gone)
        except NoSuchRule:
            demand(asker.name not in self.rules, f"there is a rule for {asker.name}")
            return "no rule"
        if isinstance(answer, Build):
            words = f"{asker.pid} is to build {place}, and {builder.pid if builder else 0} builds it"
            demand(builder is None or builder is asker, words)
            demand(builder is None or answer.lock == asker.lock, f"{asker.pid} has two locks of {place}")
            demand(answer.rule == (self.granted[place] if builder else self.rules.get(asker.name)), "an old rule")
            if builder is None:
                self.granted[place] = answer.rule
                self.files.pop(place, None)
            self.builders[place], asker.lock, asker.rule = asker, answer.lock, answer.rule
            return "build"
        if isinstance(answer, UseFile):
            demand(self.files.get(place) == answer.path, f"{answer.path} was never built on {asker.host}")
            asker.answered = True
            return "file"
        if isinstance(answer, Wait):
            demand(builder is not None and builder is not asker, f"{asker.pid} waits for nobody")
            return "wait"
        assert isinstance(answer, Failed)
        demand(place in self.failed, f"nobody failed to build {place}")
        return "failed"

    def do_build(self) -> str | bool:
        asker = self._some([one for one in self.askers if one.alive and one.lock])
        return asker is not None and self._hand_in(asker, None)

    def do_fail(self) -> str | bool:
        asker = self._some([one for one in self.askers if one.alive and one.lock])
        return asker is not None and self._hand_in(asker, "exit status 1")

    def _hand_in(self, asker: Asker, error: str | None) -> str:
        place, lock = asker.place, asker.lock
        mine = self.builders.get(place) is asker
        rule = self.granted[place] if mine else None
        asker.lock = 0
        path = self._settle(asker, lock, error)
        if rule is None:
            return self._handed_in_late(asker, lock, path)
        del self.builders[place]
        self.handed_in.append((asker, lock, rule))
        current = self.rules.get(asker.name) == rule
        if error is None and current:
            demand(path == rule.path, f"{asker.pid} built {place}, and it counts as {path}")
            self.files[place] = rule.path
            asker.gone = False
            self.failed.discard(place)
        else:
            demand(path is None, f"{place} was not built by its rule, and counts as {path}")
            if current:
                self.failed.add(place)
        return "done" if error is None else "not built"

    def _settle(self, asker: Asker, lock: int, error: str | None) -> str | None:
        try:
            return self.book.settle(asker.host, asker.pid, asker.name, lock, error, self.now, 0.0)
        except NotLocked:
            return "not locked"

    def do_hand_in_again(self) -> bool:
        """The answer was lost, so it is said once more: nothing may change by it."""
        if not self.handed_in:
            return False
        asker, lock, _ = self.rng.choice(self.handed_in)
        before = dict(self.book.built)
        if lock < self._first:
            return False
        self._settle(asker, lock, None)
        demand(self.book.built == before, f"{asker.pid} handed in twice, and it counted")
        return True

    def do_hand_in_late(self) -> str | bool:
        """A processor that was taken for dead hands in what it built."""
        asker = self._some([one for one in self.askers if one.lock and self.builders.get(one.place) is not one])
        if asker is None:
            return False
        lock, asker.lock = asker.lock, 0
        return self._handed_in_late(asker, lock, self._settle(asker, lock, None))

    def _handed_in_late(self, asker: Asker, lock: int, path: str | None) -> str:
        """Its lock is not its own any more; only the work of an earlier life may count, if it is what is asked for."""
        if path == "not locked":
            return "too late"
        demand(path is None or lock < self._first, f"{asker.pid} built {asker.place} without its lock")
        if path is not None:
            words = f"{asker.pid} built {asker.place} by an old rule, and it counts"
            demand(asker.rule in (None, self.rules.get(asker.name)), words)
            self.files[asker.place] = path
        return "of a life before"

    def do_file_gone(self) -> bool:
        asker = self._some([one for one in self.askers if one.alive and one.answered])
        if asker is None:
            return False
        asker.answered, asker.gone = False, True
        return True

    def do_die(self) -> bool:
        asker = self._some([one for one in self.askers if one.alive and (one.lock or self.rng.random() < 0.3)])
        if asker is None:
            return False
        asker.alive = False
        self._forget(asker.host, asker.pid)
        return True

    def do_die_unseen(self) -> bool:
        asker = self._some([one for one in self.askers if one.alive])
        if asker is None:
            return False
        asker.alive = False
        return True

    def _forget(self, host: str, pid: int) -> None:
        freed = [lock.number for lock in self.book.forget(host, pid)]
        mine = [place for place, one in self.builders.items() if (one.host, one.pid) == (host, pid)]
        demand(len(freed) == len(mine), f"{pid} is gone, and {len(freed)} of its {len(mine)} locks are free")
        for place in mine:
            del self.builders[place]

    def do_job_gone(self) -> bool:
        job = self.rng.choice(JOBS)
        self.book.forget("", job=job)
        for place in [place for place, one in self.builders.items() if one.job == job]:
            del self.builders[place]
        return True

    # --- what people do, and time -------------------------------------------------------------------

    def do_set_rule(self) -> bool:
        self._set_rule(self.rng.choice(NAMES))
        return True

    def _set_rule(self, name: str) -> None:
        rule = Rule(f"/local/{name}", f"make {self.rng.randrange(3)} > %s")
        if self.rules.get(name, rule) != rule:
            for place in [place for place in self.files if place[1] == name]:
                del self.files[place]
        self.rules[name] = rule
        self.failed = {place for place in self.failed if place[1] != name}
        self.book.set(name, rule)

    def do_delete_rule(self) -> bool:
        name = self.rng.choice(NAMES)
        self.failed = {place for place in self.failed if place[1] != name}
        self.book.delete(name)
        return self.rules.pop(name, None) is not None

    def do_retry(self) -> bool:
        self.book.retry()
        self.failed.clear()
        return True

    def do_unlock(self) -> bool:
        if not self.builders:
            return False
        place = self.rng.choice(list(self.builders))
        self.book.unlock(*place)
        del self.builders[place]
        return True

    def do_release(self) -> bool:
        """By hand, for a builder of ours: the lock is free, and nothing counts as built."""
        if not self.builders:
            return False
        place = self.rng.choice(list(self.builders))
        path = self.book.release(place[0], self.builders.pop(place).pid, place[1], self.now, 0.0)
        demand(path is None, f"a lock was released by hand, and {path} counts as built")
        return True

    def do_time(self) -> bool:
        self.now += self.rng.choice((1.0, 15.0))
        return True

    def do_start_again(self) -> bool:
        """The ResourceController starts again: rules and built files are on its shelves, locks are not."""
        shelves = dict(self.book.rules), dict(self.book.built)
        self._first += 1000
        self.book = RuleBook(self._first)
        self.book.load(*shelves)
        self.builders.clear()
        self.failed.clear()
        for asker in self.askers:
            asker.rule = self.rules.get(asker.name)  # a change before it ended is not known to it any more
        return True
