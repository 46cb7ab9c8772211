"""The keepers of a job: how many Processors each host shall have, who is there, who has gone.

The task server gives it the slots that the ResourceController granted and every beat; it starts keepers through
executors, gives out processor numbers, passes exits on to the run and vouches for what lives. It speaks no wire of
its own, and decides nothing about tasks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from coordinator import procs
from coordinator.core.exchange import Request
from coordinator.core.health import RESTING, HostHealth
from coordinator.errors import BadParameters, LaunchFailed, UnknownRun
from coordinator.executors.base import Executor, Started
from coordinator.executors.choice import is_here
from coordinator.hired import NOT_HEARD_OF, Hired
from coordinator.run import Run

log = logging.getLogger("coordinator.crew")

#: seconds that a keeper may take from its start to its first beat, before its host rests; people are told within 30
START_S = 20.0
#: seconds that a keeper which only looks stays: until the ResourceController has heard of load and memory, or where
#: nobody can tell the memory
TOLD_S, LOOK_S = 2.0, 10.0
#: characters of what a script said when it could not be loaded, in a reason of one line
SHOWN = 300


class Post:
    """One keeper. ``numbers``: the processors that shall run there; each leaves the set when its exit is noted.
    ``looks``: it was sent to tell how the host is, and leaves when it has done so."""

    def __init__(self, keeper: str, host: str, numbers: Iterable[int], heard: float, looks: bool = False) -> None:
        self.keeper, self.host, self.numbers, self.heard, self.looks = keeper, host, set(numbers), heard, looks
        self.started: Started | None = None
        self.pid = 0
        self.here = False
        self.waiting: Callable[[dict[str, Any]], None] | None = None
        self.noted: list[int] = []
        self.load = 0.0
        #: it passed a report on that is in the journal with the next commit
        self.passed_on = False
        self.memory_available_bytes: int | None = None
        self.told: tuple[int, ...] | None = None
        self.leaves_at = 0.0
        self.dismissed = False
        #: its time is limited and almost over: its processors leave, and another keeper comes
        self.retiring = False


class Crew:
    """``orders``: what every keeper is told; ``watch(pidfd, gone)`` calls ``gone()`` when that process ends;
    ``then(deed)`` calls ``deed()`` once the numbers that were given out are safe in the journal."""

    def __init__(
        self,
        run: Run,
        executor: Executor,
        orders: dict[str, Any],
        watch: Callable[[int, Callable[[], None]], None],
        then: Callable[[Callable[[], None]], None],
    ) -> None:
        self._run, self._executor, self._orders, self._watch, self._then = run, executor, orders, watch, then
        self.slots: dict[str, int] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self._look: tuple[str, ...] = ()
        self.posts: dict[str, Post] = {}
        self.unreachable: dict[str, str] = {}
        self.health = HostHealth()
        self.limit = 1 << 30
        #: when keepers may be started: anywhere, and on a host whose keeper of an earlier life may come back
        self.not_before = 0.0
        self.awaited: dict[str, float] = {}
        self._seen_retry: int | None = None
        self._last = 0.0
        self._gone: list[tuple[str, int]] = []
        #: keepers whose end was seen
        self._buried: set[str] = set()
        #: hosts that rest because all failed there at once
        self._sent_away: set[str] = set()
        #: processors in all, and has any host too many, if all live; None: to be counted anew
        self._known: tuple[int, bool] | None = None
        #: is there, or was there, a keeper whose time is limited?
        self._retiring = False
        self.ending = False
        self.killing: str | None = None
        self.fault: str | None = None
        #: called when keepers came or went
        self.changed: Callable[[], None] = lambda: None
        run.surplus = self.surplus
        run.host_trials.rests, run.host_trials.works = self.rest, self.health.succeeded
        run.host_trials.coming = lambda: {post.host for post in self.posts.values() if post.numbers - run.hired.keys()}

    def heed(
        self,
        slots: dict[str, int],
        options: dict[str, dict[str, Any]],
        retry: int | None,
        look: Iterable[str] = (),
    ) -> None:
        """The ResourceController's plan. Hosts whose line was edited, or all when people ask so, are tried at once.
        ``look``: hosts that nobody uses, of which it wants to hear."""
        for host in self.unreachable:
            if options.get(host) != self.options.get(host):
                self.health.clear(host)
        if retry != self._seen_retry:
            if self._seen_retry is not None:
                self.health.clear()
            self._seen_retry = retry
        self.slots, self.options, self._look = slots, options, tuple(look)
        self._known = None

    # --- how many ---------------------------------------------------------------------------------------

    def step(self, now: float, useful: int) -> None:
        """Start what is missing. ``useful``: how many processors the job has work for."""
        self._last, self._known = now, None
        if self.ending or self._run.stopping is not None:
            for post in list(self.posts.values()):
                self._answer(post)
                if post.started is not None and post.started.under_way:
                    self._executor.abandon(post.started)
            return
        self._sent_away = {host for host in self._sent_away if self.health.resting(host, now) is not None}
        room = min(useful, self.limit) - sum(len(self._living(p)) for p in self.posts.values())
        for host, slots in self.slots.items():
            posts = [post for post in self.posts.values() if post.host == host and not post.retiring]
            missing = min(room, slots - sum(len(self._living(post)) for post in posts))
            if (
                missing <= 0
                or now < max(self.not_before, self.awaited.get(host, 0.0))
                or self.health.resting(host, now) is not None
            ):
                continue
            numbers = [self._run.new_number() for _ in range(missing)]
            room -= missing
            if posts:
                posts[0].numbers.update(numbers)
            else:
                self._start(host, numbers, now)
        self._try_again(now)
        self._look_around(now)
        for post in list(self.posts.values()):
            if post.here and tuple(sorted(post.numbers)) != post.told:
                self._answer(post)

    def _try_again(self, now: float) -> None:
        """After their rest, start keepers without processors on hosts that could not be used: one that comes here is
        said to be usable, and gets slots."""
        for host in list(self.unreachable):
            if float(self.options.get(host, {}).get("maxload", 0)) <= 0:
                del self.unreachable[host]  # it is not to be used any more
            elif self.health.resting(host, now) is None and not any(post.host == host for post in self.posts.values()):
                self._start(host, [], now)

    def _look_around(self, now: float) -> None:
        """A keeper without processors tells load and memory of a host, or why it cannot be reached, and leaves."""
        looked, self._look = self._look, ()
        for host in looked:
            there = any(post.host == host for post in self.posts.values())
            if not there and host not in self.slots and self.health.resting(host, now) is None:
                self._start(host, [], now, looks=True)

    def rest(self, host: str, words: str) -> None:
        """All fails there at once, the run says: its processors leave, and it is tried again later."""
        rest = self.health.unreachable(host, self._last, words)
        self._sent_away.add(host)
        log.warning("host rests host=%s for %.0f s reason=%s", host, rest.until - self._last, words)

    def surplus(self, hired: Hired) -> bool:
        """Has that processor's host more than it shall have? Then whoever asks first leaves."""
        if self._room_everywhere() and not self._sent_away and not self._retiring:
            return False
        post = self._post_of(hired.number)
        if post is None:
            return False
        if post.retiring or post.host in self._sent_away:
            return True
        if self._none_too_many(post.host):
            return False
        living = [n for p in self.posts.values() if p.host == post.host for n in self._living(p)]
        everybody = sum(len(self._living(p)) for p in self.posts.values())
        return len(living) > self.slots.get(post.host, 0) or everybody > self.limit

    def _room_everywhere(self) -> bool:
        """Has no host too many, even if all live? Counted at each step and for each plan, not in each exchange: that
        would look at each host."""
        if self._known is None:
            counted = self.counted()
            crowded = any(number > self.slots.get(host, 0) for host, number in counted.items())
            self._known = sum(counted.values()), crowded
        everybody, crowded = self._known
        return everybody <= self.limit and not crowded

    def _none_too_many(self, host: str) -> bool:
        """The same of one host. Asked in each exchange while any has too many, so that it must not look at each
        processor."""
        at_host = everybody = 0
        for post in self.posts.values():
            everybody += len(post.numbers)
            if post.host == host:
                at_host += len(post.numbers)
        return at_host <= self.slots.get(host, 0) and everybody <= self.limit

    def counted(self) -> dict[str, int]:
        """{host: processors that shall be or are there}, leaving ones too."""
        found: dict[str, int] = {}
        for post in self.posts.values():
            found[post.host] = found.get(post.host, 0) + len(post.numbers)
        return found

    def waits(self) -> dict[str, str]:
        """{host: for what its keeper waits that has not begun}, in words, where that is known and no other is there."""
        found: dict[str, str] = {}
        begun = set()
        for post in self.posts.values():
            if post.started is not None and post.started.under_way and post.started.waits:
                found[post.host] = post.started.waits
            else:
                begun.add(post.host)
        return {host: words for host, words in found.items() if host not in begun}

    def loads(self) -> dict[str, float]:
        return {post.host: post.load for post in self.posts.values() if post.here}

    def cut_off(self, now: float) -> dict[str, str]:
        """{host: why} of those that are of no use for now: the ResourceController gives the job others."""
        resting = self.health.all_resting(now)
        away = {host: f"{RESTING}{resting[host].reason}" for host in self._sent_away if host in resting}
        return {**away, **self.unreachable}

    def take_gone(self) -> list[tuple[str, int]]:
        """(host, pid) of each process that ended since the last time."""
        gone, self._gone = self._gone, []
        return gone

    def memory(self) -> dict[str, int]:
        """{host: bytes that a new process can have there}, where that is known."""
        here = [post for post in self.posts.values() if post.here]
        return {post.host: post.memory_available_bytes for post in here if post.memory_available_bytes is not None}

    @property
    def empty(self) -> bool:
        return not self.posts

    # --- keepers ----------------------------------------------------------------------------------------

    def _start(self, host: str, numbers: list[int], now: float, looks: bool = False) -> None:
        post = Post(os.urandom(8).hex(), host, numbers, now, looks)
        post.told = tuple(sorted(numbers))
        self.posts[post.keeper] = post
        self._then(lambda: self._launch(post))

    def _launch(self, post: Post) -> None:
        if self.posts.get(post.keeper) is not post:
            return  # another was heard of meanwhile
        if self.ending or self._run.stopping is not None:
            del self.posts[post.keeper]
            return
        numbers = sorted(post.numbers)
        orders = {**self._orders, "keeper": post.keeper, "host": post.host, "numbers": numbers}
        orders["keeper_log"] = f"{orders['log_directory']}/{orders['name']}_keeper_{post.host}.log"
        post.told = tuple(numbers)
        log.info("keeper starts host=%s processors=%s", post.host, numbers)
        try:
            post.started = self._executor.start(
                post.host, self.options.get(post.host, {}), orders, lambda reason: self._not_started(post, reason)
            )
        except LaunchFailed as error:
            self._not_started(post, error.message)
            return
        post.pid = post.started.pid
        if post.started.pidfd >= 0:
            self._watch(post.started.pidfd, lambda: self._keeper_gone(post))
        self.changed()

    def _not_started(self, post: Post, reason: str) -> None:
        """Its host cannot be used for now; the processors that were to run there get new numbers elsewhere."""
        if post.here or self.posts.pop(post.keeper, None) is None:
            return
        self.changed()
        if self.ending or self._run.stopping is not None:
            return
        log.warning("keeper failed host=%s reason=%s", post.host, reason)
        self.unreachable[post.host] = reason
        self.health.unreachable(post.host, self._last, reason)

    def _keeper_gone(self, post: Post) -> None:
        """The keeper itself is dead, by whatever hand; its processors follow it."""
        assert post.started is not None
        how = self._executor.ended(post.started)
        if self.posts.get(post.keeper) is post:
            self._bury(post, how)
        else:  # it was given up before
            self._buried.add(post.keeper)

    def _bury(self, post: Post, how: str) -> None:
        self._buried.add(post.keeper)
        if post.numbers:
            log.warning("keeper ended host=%s %s processors=%s", post.host, how, sorted(post.numbers))
            self._executor.sweep(self._pids(post))
        if not post.here and not self.ending:
            words = f"its keeper ended at once with {how}"
            if self.health.failed(post.host, post.heard, 0.0, words) is not None:
                log.warning("keeper failed host=%s reason=%s", post.host, words)
                self.unreachable[post.host] = words
        self._drop(post, f"lost with its keeper ({how})")

    def _drop(self, post: Post, how: str) -> None:
        """This keeper counts no more, nor do its processors."""
        self.posts.pop(post.keeper, None)
        self._gone += [(post.host, pid) for pid in self._pids(post)]
        for number in sorted(post.numbers):
            self._depart(post, number, how, None, "")
        self.changed()

    def beat(self, message: dict[str, Any], now: float, answer: Callable[[dict[str, Any]], None]) -> None:
        """A keeper tells what lives and what ended; ``answer`` is called now or when there is news for it."""
        if message["run"] != self._run.id:
            raise UnknownRun(f"this is run {self._run.id}; the keeper belongs to run {message['run']}, which is over")
        if message["keeper"] in self._buried:
            answer({"numbers": [], "noted": [], "end": True})  # its last words were read after its end was seen
            return
        post = self.posts.get(message["keeper"])
        if post is None:
            post = self._adopt(message, now)
        if post.waiting is not None:
            self._answer(post)
        if message.get("leaving"):
            answer({"numbers": [], "noted": []})
            # Of one that was never here whoever started it tells how it ended.
            if post.started is None or (post.started.pidfd < 0 and post.here):
                self._drop(post, "left with its keeper")
            return
        if not post.here:
            log.info("keeper here host=%s pid=%s", post.host, message["pid"])
            self.unreachable.pop(post.host, None)
            post.leaves_at = now + LOOK_S
        if post.started is not None and post.started.pidfd >= 0:
            post.started.under_way = False
        if message.get("retiring") and not post.retiring:
            post.retiring = self._retiring = True
            log.info("keeper retires host=%s processors=%s", post.host, sorted(post.numbers))
        post.here, post.heard, post.pid, post.load = True, now, int(message["pid"]), float(message["load"])
        post.memory_available_bytes = message.get("memory_available_bytes")
        if post.memory_available_bytes is not None:
            post.leaves_at = min(post.leaves_at, now + TOLD_S)
        if message.get("fault"):
            self._take_fault(post, str(message["fault"]), now)
        for number, pid, position, for_s, state, path in message["processors"]:
            if number not in post.numbers:
                post.numbers.add(number)
            hired = self._run.hired.get(number) or self._run.hire(number, post.host, pid, path, now, kept=True)
            hired.position, hired.since_s, hired.frozen = position, now - for_s, state in "Tt"
            hired.host = post.host
            if state not in "TtZX":
                hired.heard, hired.silent = now, False
                self._run.ledger.renew(number, now)
        if "kept" in message:
            self._take_kept(post, str(message["kept"]), now)
        for number, pid, how, position, cause in message["exits"]:
            # A lease of an earlier life says that it ended while no Coordinator was there.
            if number in post.numbers or self._run.ledger.held_by(number):
                self._depart(post, number, how, position if position >= 0 else None, cause)
                self._gone.append((post.host, pid))
            post.noted.append(number)
        if post.started is None and is_here(post.host):
            self._bury(post, "it ended before it was heard again")
            return
        post.waiting = answer
        post.dismissed |= post.looks and not post.numbers and now >= post.leaves_at
        post.dismissed |= post.retiring and not post.numbers
        news = post.noted or post.passed_on or post.dismissed or self.ending or self.killing
        if news or tuple(sorted(post.numbers)) != post.told:
            self._answer(post)

    def _take_fault(self, post: Post, fault: str, now: float) -> None:
        """The script cannot be loaded there. Where others work, only this host is given up."""
        others = self._run.host_trials.hosts(now) - {post.host} - self.unreachable.keys()
        if not others:
            self.fault = self.fault or fault
        elif not post.dismissed:
            post.dismissed = True
            last = (fault.splitlines() or [""])[-1].strip()[-SHOWN:]
            words = f"the script could not be loaded there: {last}; the keeper's log tells more"
            log.warning("keeper failed host=%s reason=%s", post.host, words)
            self.unreachable[post.host] = words
            self.health.unreachable(post.host, now, words)

    def _take_kept(self, post: Post, text: str, now: float) -> None:
        """A report that lay in a file on the host. One that makes no sense is not asked for again."""
        post.passed_on = True
        try:
            self._run.hand_in(Request.from_text(text), post.host, now)
        except (ValueError, KeyError, TypeError, BadParameters, UnknownRun) as error:
            log.warning("kept report refused host=%s reason=%s", post.host, error)

    def _adopt(self, message: dict[str, Any], now: float) -> Post:
        """A keeper of the last life of this run is still there."""
        self.awaited.pop(message["host"], None)
        log.info("keeper returns host=%s pid=%s", message["host"], message["pid"])
        for other in [post for post in self.posts.values() if post.host == message["host"]]:
            if other.here or (other.started is not None and not other.started.under_way):
                continue
            del self.posts[other.keeper]  # one is enough
            if other.started is not None:
                self._executor.abandon(other.started)
        post = self.posts[message["keeper"]] = Post(message["keeper"], message["host"], (), now)
        post.pid = int(message["pid"])
        if is_here(post.host):
            try:
                post.started = Started(post.pid, procs.open_pidfd(post.pid))
            except ProcessLookupError:
                pass  # it ended after it spoke; its words are taken, then it is buried
            else:
                self._watch(post.started.pidfd, lambda: self._keeper_gone(post))
        self.changed()
        return post

    def _answer(self, post: Post) -> None:
        if post.waiting is None:
            return
        answer, post.waiting = post.waiting, None
        post.told = tuple(sorted(post.numbers))
        told: dict[str, Any] = {"numbers": list(post.told), "noted": post.noted}
        post.noted = []
        if post.passed_on:
            told["kept"], post.passed_on = True, False
        if self.ending or post.dismissed:
            told["end"] = True
        if self.killing is not None:
            told["kill"], told["cause"] = list(post.told), self.killing
        answer(told)

    def renew_all(self, now: float) -> None:
        """The server itself slept and heard nobody."""
        for post in self.posts.values():
            post.heard = now

    def _speaks(self, post: Post, since: float) -> bool:
        """Has any of its processors said a word of its own since then? Then their leases are live."""
        return any((hired := self._run.hired.get(n)) is not None and hired.heard > since for n in post.numbers)

    def silent(self, now: float, term_s: float) -> None:
        """Forget keepers that nobody has heard of for a whole lease: their tasks have lapsed by now."""
        for post in list(self.posts.values()):
            started = post.started
            if started is not None and started.pidfd >= 0:
                continue  # its end is seen
            if not post.here:
                if started is not None and started.under_way:
                    post.heard = now  # the executor will say what becomes of it
                elif now - post.heard > START_S:
                    self._not_started(post, f"its keeper was started {START_S:g} s ago and has not been heard of")
            elif now - post.heard > term_s and not self._speaks(post, now - term_s):
                log.warning("keeper silent host=%s for %.0f s: given up", post.host, now - post.heard)
                self._answer(post)  # if it comes back, all answers on its connection are behind this one
                self._drop(post, NOT_HEARD_OF)

    # --- processors -------------------------------------------------------------------------------------

    def _depart(self, post: Post, number: int, how: str, position: int | None, cause: str) -> None:
        post.numbers.discard(number)
        in_order = how == "exit status 0"
        log.info("processor ended number=%d host=%s %s%s", number, post.host, how, f" cause={cause}" if cause else "")
        self._run.depart(number, how, None if in_order else position, post.heard, cause, post.host)
        if how.startswith("exit status") and not in_order and position is None and not cause and not self.ending:
            words = f"processor {number} on {post.host} ended with {how} outside any task; see its log"
            rest = self.health.failed(post.host, post.heard, 0.0, words)
            self._run.could_not_start(post.host, words, post.heard)
            if rest is not None:
                log.warning("host rests host=%s reason=%s", post.host, words)

    def _living(self, post: Post) -> list[int]:
        """Those that can be counted on: of one that stands still for more than its lease another does the work."""
        return [
            n
            for n in post.numbers
            if not ((hired := self._run.hired.get(n)) is not None and (hired.leaving or hired.silent))
        ]

    def _pids(self, post: Post) -> list[int]:
        return [hired.pid for n in post.numbers if (hired := self._run.hired.get(n)) is not None and hired.pid]

    def _post_of(self, number: int) -> Post | None:
        return next((post for post in self.posts.values() if number in post.numbers), None)

    def kill_all(self, cause: str) -> None:
        """End every processor now."""
        self.killing = cause
        for post in self.posts.values():
            self._answer(post)
