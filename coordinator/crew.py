"""The keepers of a job: how many Processors each host shall have, who is there, who has gone.

The task server gives it the slots that the ResourceController granted and every beat; it starts keepers through
executors, gives out processor numbers, passes exits on to the run and vouches for what lives. It speaks no wire of
its own, and decides nothing about tasks.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coordinator.core.health import HostHealth
from coordinator.errors import LaunchFailed, UnknownRun
from coordinator.executors.base import Executor, Started
from coordinator.run import Hired, Run

log = logging.getLogger("coordinator.crew")

#: seconds that a keeper may take from its start to its first beat, and be silent afterwards, before its host rests
START_S = 30.0


@dataclass
class Post:
    """One keeper. ``numbers``: the processors that shall run there; each leaves the set when its exit is noted."""

    keeper: str
    host: str
    numbers: set[int] = field(default_factory=set)
    started: Started | None = None
    pid: int = 0
    heard: float = 0.0
    here: bool = False
    retired: bool = False
    waiting: Callable[[dict[str, Any]], None] | None = None
    noted: list[int] = field(default_factory=list)
    load: float = 0.0
    told: tuple[int, ...] | None = None


class Crew:
    """``orders``: what every keeper is told; ``watch(pidfd, gone)`` calls ``gone()`` when that process ends."""

    def __init__(self, run: Run, executor: Executor, orders: dict[str, Any], watch: Callable[[int, Callable[[], None]], None]) -> None:
        self._run, self._executor, self._orders, self._watch = run, executor, orders, watch
        self.slots: dict[str, int] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.posts: dict[str, Post] = {}
        self.unreachable: dict[str, str] = {}
        self.health = HostHealth()
        self.limit = 1 << 30
        self.not_before = 0.0
        self.gone: list[tuple[str, int]] = []
        self.ending = False
        self.killing: str | None = None
        self.fault: str | None = None
        self.threads = 1
        run.surplus = self.surplus

    # --- how many ---------------------------------------------------------------------------------------

    def step(self, now: float, useful: int) -> None:
        """Start what is missing. ``useful``: how many processors the job has work for."""
        if self.ending or self._run.stopping is not None:
            for post in list(self.posts.values()):
                self._answer(post)
            return
        room = min(useful, self.limit) - sum(len(self._living(p)) for p in self.posts.values())
        for host, slots in self.slots.items():
            posts = [post for post in self.posts.values() if post.host == host]
            missing = min(room, slots - sum(len(self._living(post)) for post in posts))
            if missing <= 0 or now < self.not_before or self.health.resting(host, now) is not None:
                continue
            post = next((post for post in posts if not post.retired), None)
            numbers = [self._run.new_number() for _ in range(missing)]
            room -= missing
            if post is None:
                self._start(host, numbers, now)
            else:
                post.numbers.update(numbers)
        for post in list(self.posts.values()):
            if post.here and tuple(sorted(post.numbers)) != post.told:
                self._answer(post)

    def surplus(self, hired: Hired) -> bool:
        """Has that processor's host more than it shall have? Then whoever asks first leaves."""
        post = self._post_of(hired.number)
        if post is None:
            return False
        living = [n for p in self.posts.values() if p.host == post.host for n in self._living(p)]
        everybody = sum(len(self._living(p)) for p in self.posts.values())
        return post.retired or len(living) > self.slots.get(post.host, 0) or everybody > self.limit

    def counted(self) -> dict[str, int]:
        """{host: processors that shall be or are there}, leaving ones too."""
        found: dict[str, int] = {}
        for post in self.posts.values():
            found[post.host] = found.get(post.host, 0) + len(post.numbers)
        return found

    def loads(self) -> dict[str, float]:
        return {post.host: post.load for post in self.posts.values() if post.here}

    @property
    def empty(self) -> bool:
        return not self.posts

    # --- keepers ----------------------------------------------------------------------------------------

    def _start(self, host: str, numbers: list[int], now: float) -> None:
        keeper = secrets.token_hex(8)
        orders = {**self._orders, "keeper": keeper, "host": host, "numbers": numbers}
        orders["keeper_log"] = f"{orders['log_directory']}/{orders['name']}_keeper_{host}.log"
        log.info("keeper starts host=%s processors=%s", host, numbers)
        try:
            started = self._executor.start(host, self.options.get(host, {}), orders)
        except LaunchFailed as error:
            log.warning("keeper failed host=%s reason=%s", host, error.message)
            self.unreachable[host] = error.message
            self.health.unreachable(host, now, error.message)
            return
        self.unreachable.pop(host, None)
        post = self.posts[keeper] = Post(keeper, host, set(numbers), started, started.pid, now, told=tuple(sorted(numbers)))
        if started.pidfd >= 0:
            self._watch(started.pidfd, lambda: self._keeper_gone(post))

    def _keeper_gone(self, post: Post) -> None:
        """The keeper itself is dead, by whatever hand; its processors follow it."""
        assert post.started is not None
        how = self._executor.ended(post.started)
        self.posts.pop(post.keeper, None)
        pids = self._pids(post)
        if post.numbers:
            log.warning("keeper ended host=%s %s processors=%s", post.host, how, sorted(post.numbers))
            self._executor.sweep(pids)
        self.gone += [(post.host, pid) for pid in pids]
        if not post.here and not self.ending:
            self.health.failed(post.host, self._now(post), 0.0, f"its keeper ended at once with {how}")
        for number in sorted(post.numbers):
            self._depart(post, number, f"lost with its keeper ({how})", None, "")

    def _now(self, post: Post) -> float:
        return post.heard

    def beat(self, message: dict[str, Any], now: float, answer: Callable[[dict[str, Any]], None]) -> None:
        """A keeper tells what lives and what ended; ``answer`` is called now or when there is news for it."""
        if message["run"] != self._run.id:
            raise UnknownRun(f"this is run {self._run.id}; the keeper belongs to run {message['run']}, which is over")
        post = self.posts.get(message["keeper"])
        if post is None:
            post = self._adopt(message, now)
        if post.waiting is not None:
            self._answer(post)
        if not post.here:
            log.info("keeper here host=%s pid=%s", post.host, message["pid"])
        post.here, post.heard, post.pid, post.load = True, now, int(message["pid"]), float(message["load"])
        self.threads = max(self.threads, int(message.get("threads") or 1))
        if message.get("fault") and self.fault is None:
            self.fault = str(message["fault"])
        for number, pid, position, for_s, state, path in message["processors"]:
            if number not in post.numbers:
                post.numbers.add(number)
            hired = self._run.hired.get(number) or self._run.hire(number, post.host, pid, path, now, kept=True)
            hired.position, hired.since_s, hired.frozen = position, now - for_s, state in "Tt"
            hired.host = post.host
            if state not in "TtZX":
                hired.heard = now
                self._run.ledger.renew(number, now)
        for number, pid, how, position, cause in message["exits"]:
            if number in post.numbers:
                self._depart(post, number, how, position if position >= 0 else None, cause)
                self.gone.append((post.host, pid))
            post.noted.append(number)
        post.waiting = answer
        if post.noted or self.ending or self.killing or tuple(sorted(post.numbers)) != post.told:
            self._answer(post)

    def _adopt(self, message: dict[str, Any], now: float) -> Post:
        """A keeper of the last life of this run is still there."""
        log.info("keeper returns host=%s pid=%s", message["host"], message["pid"])
        post = self.posts[message["keeper"]] = Post(message["keeper"], message["host"], heard=now)
        return post

    def _answer(self, post: Post) -> None:
        if post.waiting is None:
            return
        answer, post.waiting = post.waiting, None
        post.told = tuple(sorted(post.numbers))
        told: dict[str, Any] = {"numbers": list(post.told), "noted": post.noted}
        post.noted = []
        if self.ending:
            told["end"] = True
        if self.killing is not None:
            told["kill"], told["cause"] = list(post.told), self.killing
        answer(told)

    def silent(self, now: float, term_s: float) -> None:
        """Forget keepers that nobody has heard of for a whole lease: their tasks have lapsed by now."""
        for post in list(self.posts.values()):
            if now - post.heard > max(term_s, START_S if not post.here else 0.0) and (post.started is None or post.started.pidfd < 0):
                log.warning("keeper silent host=%s for %.0f s: given up", post.host, now - post.heard)
                del self.posts[post.keeper]
                self.gone += [(post.host, pid) for pid in self._pids(post)]
                for number in sorted(post.numbers):
                    self._depart(post, number, "not heard of any more", None, "")

    # --- processors -------------------------------------------------------------------------------------

    def _depart(self, post: Post, number: int, how: str, position: int | None, cause: str) -> None:
        post.numbers.discard(number)
        in_order = how == "exit status 0"
        log.info("processor ended number=%d host=%s %s%s", number, post.host, how, f" cause={cause}" if cause else "")
        self._run.depart(number, how, None if in_order else position, post.heard, cause)
        if how.startswith("exit status") and not in_order and position is None and not cause and not self.ending:
            words = f"processor {number} on {post.host} ended with {how} outside any task; see its log"
            rest = self.health.failed(post.host, post.heard, 0.0, words)
            self._run.could_not_start(words)
            if rest is not None:
                log.warning("host rests host=%s reason=%s", post.host, words)

    def _living(self, post: Post) -> list[int]:
        return [n for n in post.numbers if not ((hired := self._run.hired.get(n)) is not None and hired.leaving)]

    def _pids(self, post: Post) -> list[int]:
        return [hired.pid for n in post.numbers if (hired := self._run.hired.get(n)) is not None and hired.pid]

    def _post_of(self, number: int) -> Post | None:
        return next((post for post in self.posts.values() if number in post.numbers), None)

    def kill_all(self, cause: str) -> None:
        """End every processor now."""
        self.killing = cause
        for post in self.posts.values():
            self._answer(post)
