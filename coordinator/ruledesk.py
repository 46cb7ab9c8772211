"""The rules of a farm, kept: core.rules' answers, with what must survive on the shelves NAME.rules and NAME.rsrc.

The ResourceController asks it for everything about resources. What is set or built is on disk before it counts (and in
NAME.built since when and how large it is); locks and failures live in memory, for they die with their holders. No
command is run here, and no built file is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.core.beats import Fields
from coordinator.core.hosts import check_host
from coordinator.core.rules import Build, Failed, Place, Rule, RuleBook, UseFile, check_resource, place_key, place_of
from coordinator.errors import BadParameters, BadRule, BuildFailed, StateError
from coordinator.shelves import JSONShelf

log = logging.getLogger("coordinator.resource")

#: a question of a processor that has ended is not answered, however late it is asked again
_REMEMBER_ENDED_S = 600.0
_MOST_ERROR = 1 << 20


class RuleDesk:
    """``base`` is directory/NAME; ``lazy`` makes the files only when the first rule is set."""

    def __init__(self, base: str, lazy: bool, first_lock: int) -> None:
        self.book = RuleBook(first_lock)
        #: rises whenever a waiting question may have an answer
        self.version = 0
        self._rules = JSONShelf(f"{base}.rules", lazy)
        self._rsrc = JSONShelf(f"{base}.rsrc", lazy)
        self._births = JSONShelf(f"{base}.built", lazy=True)
        self._ended: dict[tuple[str, int], float] = {}
        rules = {}
        for name, value in self._rules.items():
            try:
                rules[name] = Rule.from_wire(check_resource(name), value)
            except BadRule as error:
                log.error("a rule of %s is not used: %s", self._rules.path, error.message)
        self.book.load(rules, {place_of(key): path for key, path in self._rsrc.items() if isinstance(path, str)})

    # --- notes of our own processors ---

    def await_resource(self, note: Mapping[str, Any], now: float, at: float) -> dict[str, Any] | None:
        """What to do for a resource; None while somebody else builds it."""
        fields = Fields(note)
        host, pid, name = check_host(fields.text("host")), fields.count("pid"), fields.text("name")
        gone, job = fields.flag("gone"), fields.text("job", "")
        answer = self.book.ask(host, pid, name, now, at, job, gone=gone)
        if isinstance(answer, UseFile):
            return {"state": "file", "path": answer.path}
        if isinstance(answer, Failed):
            return {"state": "failed", "reason": answer.reason}
        if not isinstance(answer, Build):
            return None
        why = ", its file was gone" if gone else ", its rule was changed" if answer.rebuild else ""
        log.info("acquire_rule %s host=%s pid=%d lock=%d%s", name, host, pid, answer.lock, why)
        return {
            "state": "build",
            "path": answer.rule.path,
            "command": answer.rule.command,
            "lock": answer.lock,
            "rebuild": answer.rebuild,
        }

    def ask_again(self, note: Mapping[str, Any], asked: float, now: float, at: float) -> dict[str, Any] | None:
        """The same for a question that was asked at ``asked`` and waits; a dead processor must not get the lock."""
        fields = Fields(note)
        host, pid = check_host(fields.text("host")), fields.count("pid")
        if self._ended.get((host, pid), asked - 1.0) >= asked:
            raise StateError(f"process {pid} on {host} has ended while it waited")
        return self.await_resource(note, now, at)

    def settle_rule(self, note: Mapping[str, Any], now: float, at: float) -> dict[str, Any]:
        """A processor built a resource, or could not."""
        fields = Fields(note)
        host, pid, name = check_host(fields.text("host")), fields.count("pid"), fields.text("name")
        lock = note.get("lock")
        if isinstance(lock, bool) or not isinstance(lock, int):
            raise BadParameters("'lock' must be the number that came with the rule")
        error = None if fields.flag("built") else fields.text("error", "", _MOST_ERROR) or "the rule failed"
        path = self.book.settle(host, pid, name, lock, error, now, at)
        if error is None:
            size = fields.count("size_bytes", 0, 2**63)
            log.info("release_rule %s host=%s pid=%d lock=%d built=%s bytes=%d", name, host, pid, lock, path, size)
            self._keep(host, name, path, {"size_bytes": size, "since": at})
        else:
            log.warning("resource %s could not be built on %s by pid %d: %s", name, host, pid, error)
            self._keep(host, name, path, {})
        return {"path": path}

    # --- classic calls ---

    def look(self, host: str, pid: int, name: str) -> str | bool:
        found = self.book.look(host, name)
        if found is None:
            return False
        return found.path if isinstance(found, UseFile) else found.holder.pid != pid

    def acquire(self, host: str, pid: int, name: str, now: float, at: float, job: str = "") -> list[str] | bool:
        answer = self.book.ask(host, pid, name, now, at, job, classic=True, gone=True)
        if isinstance(answer, Failed):
            raise BuildFailed(f"resource {name!r} could not be built on {host}: {answer.reason}")
        return answer.rule.to_wire() if isinstance(answer, Build) else True

    def release(self, host: str, pid: int, name: str, now: float, at: float) -> str | None:
        path = self.book.release(host, pid, name, now, at)
        self._keep(host, name, path, {"size_bytes": None, "since": at})
        return path

    # --- directives ---

    def set(self, name: object, value: object) -> Rule:
        """Raises BadRule, or StateError if it cannot be written; then nothing has changed."""
        name = check_resource(name)
        rule = Rule.from_wire(name, value)
        outdated = self.book.outdated_by(name, rule)
        self._rules[name] = rule.to_wire()
        for place in outdated:
            self._rsrc.pop(place_key(place), None)
            self._births.pop(place_key(place), None)
        self.book.set(name, rule)
        self.version += 1
        return rule

    def delete(self, name: object) -> None:
        name = check_resource(name)
        self._rules.pop(name, None)
        self.book.delete(name)
        self.version += 1

    def unlock(self, host: str, name: str) -> int:
        """Free a lock by hand. Returns the pid of its holder."""
        freed = self.book.unlock(host, name)
        self.version += 1
        return freed.pid

    def retry(self) -> None:
        self.book.retry()
        self.version += 1

    # --- deaths ---

    def processor_gone(self, host: str, pid: int, now: float) -> None:
        """Its locks are free, and what it still asks is not answered."""
        self._ended[host, pid] = now
        # Those who wait are asked again in any case: the dead one may be among them.
        self.version += 1
        for lock in self.book.forget(host, pid):
            log.warning("the lock of %s on %s is free: its builder, process %d, is gone", lock.name, host, pid)

    def job_gone(self, job: str, marks: Iterable[str], processes: Iterable[tuple[str, int]], now: float) -> None:
        """The locks of all its processors are free, of those too that registered by classic calls."""
        for host, pid in processes:
            self.processor_gone(host, pid, now)
        for mark in marks:
            for lock in self.book.forget("", job=mark):
                log.warning("the lock of %s on %s is free: the job %s is gone", lock.name, lock.host, job)
        self.version += 1

    def forget_ended(self, now: float) -> None:
        self._ended = {one: ended for one, ended in self._ended.items() if now - ended < _REMEMBER_ENDED_S}

    def close(self) -> None:
        self._rules.close()
        self._rsrc.close()
        self._births.close()

    def birth(self, place: Place) -> dict[str, Any]:
        """{size_bytes, since} of what is built there; None where nobody knows."""
        kept = self._births.get(place_key(place))
        known = kept if isinstance(kept, dict) else {}
        return {"size_bytes": known.get("size_bytes"), "since": known.get("since")}

    def _keep(self, host: str, name: str, path: str | None, birth: dict[str, Any]) -> None:
        self.version += 1
        if path is not None:
            self._rsrc[place_key((host, name))] = path
            self._births[place_key((host, name))] = birth
