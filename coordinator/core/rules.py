"""Rules, the resources built by them, and who builds one now.

A *rule* says how a resource (a file or a directory on a host) is made: ``(local path, shell command with %s)``. It
holds for every host; what is built, locked or failed is per host. The ResourceController asks this room and carries
the answers to processors; nothing here runs a command, looks at a file or waits. At most one processor holds the lock
of a (host, resource), and the lock dies with its holder.

    ask -> UseFile                                    it is there
        -> Build (lock number) -> settle             one processor makes it ...
        -> Wait                                       ... while the others wait,
        -> Failed                                     and hear why it could not be made
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coordinator.core.health import retry_delay_s
from coordinator.errors import BadRule, NoSuchRule, NotLocked

#: a failed rule is not run again for this long, doubling, or until it is set anew
FIRST_REST_S = 10.0
LONGEST_REST_S = 600.0
MOST_NAME = 255
MOST_PATH = 4096
MOST_COMMAND = 65536
MOST_REASON = 8192
#: of a reason that stands among others
MOST_SHOWN = 300
# A command may have several lines and tabs; other control characters are never meant.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_CONTROL_IN_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

Place = tuple[str, str]  # (host, resource)


@dataclass(frozen=True)
class Rule:
    """Where a resource lies on each host, and the shell command that makes it, with ``%s`` for the path."""

    path: str
    command: str

    @classmethod
    def from_wire(cls, name: str, value: object) -> Rule:
        """The rule in ``(path, command)`` or ``[path, command]``; BadRule says what is wrong with it."""
        if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(isinstance(part, str) for part in value):
            raise BadRule(f"the rule of {name!r} must be (local path, shell command with %s), not {_short(value)}")
        path, command = value
        if not path.startswith("/") or path.endswith("/"):
            raise BadRule(f"the path of rule {name!r} must start, and not end, with '/', not {_short(path)}")
        if _CONTROL_IN_NAME.search(path) or len(path) > MOST_PATH:
            raise BadRule(f"the path of rule {name!r} holds a control character or is too long: {_short(path)}")
        if not command.strip():
            raise BadRule(f"the command of rule {name!r} is empty")
        if (bad := _CONTROL.search(command)) is not None:
            raise BadRule(f"the command of rule {name!r} holds the control character {bad.group()!r}")
        if len(command) > MOST_COMMAND:
            raise BadRule(f"the command of rule {name!r} is longer than {MOST_COMMAND} characters; put it in a script")
        if (places := command.count("%s")) != 1:
            raise BadRule(f"the command of rule {name!r} must name the file as %s exactly once, not {places} times")
        return cls(path, command)

    def to_wire(self) -> list[str]:
        return [self.path, self.command]


@dataclass(frozen=True)
class Lock:
    """A processor builds a resource on its host. ``since`` is wall time; ``job`` says whose processor it is."""

    number: int
    host: str
    name: str
    pid: int
    job: str
    since: float
    rule: Rule
    classic: bool = False


@dataclass(frozen=True)
class FailedBuild:
    """A rule failed on a host: not tried there before ``until`` (the caller's clock). ``at`` is wall time."""

    host: str
    name: str
    reason: str
    at: float
    attempts: int
    until: float


@dataclass(frozen=True)
class UseFile:
    path: str


@dataclass(frozen=True)
class Build:
    """``rebuild``: a file that is there was made by an older rule, and is to be replaced."""

    rule: Rule
    lock: int
    rebuild: bool = False


@dataclass(frozen=True)
class Wait:
    holder: Lock


@dataclass(frozen=True)
class Failed:
    reason: str


Answer = UseFile | Build | Wait | Failed


class RuleBook:
    """All rules, built resources, locks and failures. ``first_lock`` starts the lock numbers of this life; it must be
    larger than any of an earlier life, whose builders may still hand in."""

    def __init__(self, first_lock: int = 1) -> None:
        self.rules: dict[str, Rule] = {}
        self.built: dict[Place, str] = {}
        self.locks: dict[Place, Lock] = {}
        self.failed: dict[Place, FailedBuild] = {}
        self._first_lock = first_lock
        self._next_lock = first_lock
        self._settled: dict[Place, int] = {}
        self._outdated: set[Place] = set()
        self._changed: set[str] = set()

    def load(self, rules: Mapping[str, Rule], built: Mapping[Place, str]) -> None:
        """Begin with what an earlier life kept."""
        self.rules.update(rules)
        self.built.update(built)

    def outdated_by(self, name: str, rule: Rule) -> list[Place]:
        """What was built by a rule that this one replaces: to be forgotten with it."""
        if self.rules.get(name) in (None, rule):
            return []
        return [place for place in self.built if place[1] == name]

    def set(self, name: str, rule: Rule) -> None:
        for place in self.outdated_by(name, rule):
            del self.built[place]
            self._outdated.add(place)
        if self.rules.get(name, rule) != rule:
            self._changed.add(name)
        self.rules[name] = rule
        self.retry(name)

    def delete(self, name: str) -> None:
        """Forget the rule. Files that it built stay in use."""
        self.rules.pop(name, None)
        self._changed.add(name)
        self.retry(name)

    def retry(self, name: str | None = None) -> None:
        """Let failed rules (of this resource, or all) be tried again at once."""
        for place in [place for place in self.failed if name in (None, place[1])]:
            del self.failed[place]

    def resting(self, names: Iterable[str], now: float) -> dict[str, str]:
        """{host: why} of the hosts where a rule of these resources failed and is not to be tried yet."""
        wanted = set(names)
        return {
            host: f"the resource {_short(name)} could not be built there: {failure.reason[-MOST_SHOWN:]}"
            for (host, name), failure in self.failed.items()
            if name in wanted and now < failure.until
        }

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those that have neither a rule nor a built file on any host."""
        known = {place[1] for place in self.built} | self.rules.keys()
        return [name for name in names if name not in known]

    def look(self, host: str, name: str) -> UseFile | Wait | None:
        """The file, or who builds it; None: there is neither."""
        if (lock := self.locks.get((host, name))) is not None:
            return Wait(lock)
        path = self.built.get((host, name))
        return None if path is None else UseFile(path)

    def ask(
        self,
        host: str,
        pid: int,
        name: str,
        now: float,
        at: float,
        job: str = "",
        classic: bool = False,
        gone: bool = False,
    ) -> Answer:
        """What that processor should do to have the resource. ``gone``: the file that it was told is not there.

        The same processor that asks again while it holds the lock gets the same answer: its first one was lost.
        Raises NoSuchRule if there is nothing to make it from.
        """
        place = (host, name)
        held = self.locks.get(place)
        if held is not None:
            return Build(held.rule, held.number, place in self._outdated) if held.pid == pid else Wait(held)
        path = self.built.get(place)
        if path is not None and not gone:
            return UseFile(path)
        rule = self.rules.get(name)
        if rule is None:
            file = f", and its file {path} on {host} is gone" if path is not None else ""
            raise NoSuchRule(f"no rule for resource {_short(name)}{file}; set one: setrule(name, (path, command))")
        failure = self.failed.get(place)
        if failure is not None and now < failure.until:
            return Failed(failure.reason)
        self.built.pop(place, None)
        lock = Lock(self._next_lock, host, name, pid, job, at, rule, classic)
        self._next_lock += 1
        self.locks[place] = lock
        return Build(rule, lock.number, place in self._outdated)

    def settle(self, host: str, pid: int, name: str, lock: int, error: str | None, now: float, at: float) -> str | None:
        """The builder is done (error None) or failed. Returns the path that is now built, None if none is.

        May come twice. Raises NotLocked if that lock is not, or no longer, held.
        """
        place = (host, name)
        held = self.locks.get(place)
        if held is None or held.number != lock or held.pid != pid:
            if self._settled.get(place) == lock:
                return self.built.get(place)
            rule = None if name in self._changed else self.rules.get(name)
            if held is None and lock < self._first_lock and rule is not None and error is None:
                # Built under a lock of an earlier life of the ResourceController: the file is there all the same.
                self.built[place] = rule.path
                return rule.path
            raise NotLocked(f"resource {_short(name)} on {host} is not locked under number {lock} by process {pid}")
        del self.locks[place]
        self._settled[place] = lock
        if self.rules.get(name) != held.rule:
            return None  # the rule was changed meanwhile: what it made is not what is asked for now
        if error is None:
            self.failed.pop(place, None)
            self._outdated.discard(place)
            self.built[place] = held.rule.path
            return held.rule.path
        before = self.failed.get(place)
        attempts = before.attempts + 1 if before else 1
        until = now + retry_delay_s(attempts, FIRST_REST_S, LONGEST_REST_S)
        self.failed[place] = FailedBuild(host, name, error[-MOST_REASON:], at, attempts, until)
        return None

    def release(self, host: str, pid: int, name: str, now: float, at: float) -> str | None:
        """The classic end of a lock, or a person's. Returns the path that counts as built, None if none does.

        A processor that built through ``acquire_rule`` says by this that the file is there; one that settles its lock
        itself has not said so, hence its lock is only freed.
        """
        held = self.locks.get((host, name))
        if held is None or held.pid != pid:
            holder = f"process {held.pid} holds it" if held else "nobody does"
            raise NotLocked(f"resource {_short(name)} on {host} is not locked by process {pid}: {holder}")
        if held.classic:
            return self.settle(host, pid, name, held.number, None, now, at)
        self.unlock(host, name)
        return None

    def unlock(self, host: str, name: str) -> Lock:
        """Free a lock by hand, whoever holds it; nothing counts as built."""
        held = self.locks.pop((host, name), None)
        if held is None:
            raise NotLocked(f"resource {_short(name)} on {host} is not locked")
        return held

    def forget(self, host: str, pid: int | None = None, job: str | None = None) -> list[Lock]:
        """Free the locks of a processor that is gone, or (host '') of a whole job. Returns them."""
        freed = [
            lock
            for lock in self.locks.values()
            if (lock.host, lock.pid) == (host, pid) or (job is not None and lock.job == job)
        ]
        for lock in freed:
            del self.locks[lock.host, lock.name]
        return freed


def check_resource(name: object) -> str:
    """``name`` if a resource can be called so, else BadRule. A colon separates host and resource in NAME.rsrc."""
    if not isinstance(name, str) or not name or len(name) > MOST_NAME or name != name.strip():
        raise BadRule(f"a resource's name has 1 to {MOST_NAME} characters and no blanks around it, not {_short(name)}")
    if ":" in name or _CONTROL_IN_NAME.search(name):
        raise BadRule(f"a resource's name may not hold ':' or control characters: {_short(name)}")
    return name


def place_key(place: Place) -> str:
    """``host:resource``, the key of NAME.rsrc and of the answers."""
    return f"{place[0]}:{place[1]}"


def place_of(key: str) -> Place:
    """The place of a key; a host may hold colons, a resource may not."""
    host, _, name = key.rpartition(":")
    return host, name


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
