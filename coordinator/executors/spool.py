"""The files by which this user's shells and this machine's supervisor speak of jobs; both sides use this room.

The directory is the user's own and of this machine alone, since a home may be shared by many::

    number              empty: its lock is held while an id is given
    number.last         the last id that was given
    asked/ID            a submission, JSON; it appears whole
    cancel/ID[.INDEX]   somebody wants it to end
    running/ID.INDEX    a job that was started, JSON: who it is
    over/ID             a line for each element that is over: INDEX CODE SIGNAL CAUSE WALL_S CPU_S MEMORY
    lock, wake          the supervisor's: held while it lives; a FIFO that it listens at

A file that cannot be read is set aside as ``NAME.damaged`` and said so; everything else goes on. Nothing is started
here, and nothing waits but for that short lock of ``number``.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator import paths
from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, State, Status, Used
from coordinator.errors import BadInput
from coordinator.procs import ProcessIdentity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A submission. ``at``: seconds since the epoch; ``environment``: of the shell that submitted it."""

    id: int
    mark: str
    name: str
    script: str
    output: str
    directory: str
    count: int
    needs: Needs
    at: float
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Asked:
        return cls(**{**told, "needs": Needs.of(told["needs"])})

    def told(self) -> dict[str, Any]:
        return {**self.__dict__, "needs": self.needs.told(), "environment": dict(self.environment)}


@dataclass(frozen=True)
class Over:
    """The end of an element. ``code``: None where nobody could see it."""

    index: int
    code: int | None
    signal: int | None = None
    cause: Cause = Cause.NONE
    used: Used = field(default_factory=Used)

    def line(self) -> str:
        used = self.used
        words = (self.code, self.signal, self.cause.name, used.wall_s, used.cpu_s, used.memory)
        return " ".join([str(self.index), *("-" if word is None else str(word) for word in words)]) + "\n"

    @classmethod
    def of(cls, line: str) -> Over:
        """Raises ValueError."""
        index, code, signal, cause, wall, cpu, memory = line.split()
        used = Used(_number(wall, float), _number(cpu, float), _number(memory, int))
        return cls(int(index), _number(code, int), _number(signal, int), _cause(cause), used)

    @property
    def status(self) -> Status:
        words = self.cause.value or ("" if self.code is not None or self.signal is not None else "nobody saw its end")
        return Status(State.ENDED, self.code, self.signal, self.cause, words, used=self.used)


class Spool:
    """``place``: the directory, made if need be."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("", "asked", "cancel", "running", "over"):
            with suppress(FileExistsError):
                (place / name).mkdir(0o700, parents=True)

    @property
    def lock(self) -> Path:
        return self.place / "lock"

    @property
    def wake(self) -> Path:
        return self.place / "wake"

    # --- what shells write ------------------------------------------------------------------------------

    def ask(self, told: Mapping[str, Any]) -> int:
        """Write a submission down under the next id. What ``told`` lacks of :class:`Asked` is the id."""
        with paths.locked(self.place / "number"):
            number = 1 + max([self._number(), *self.ids("asked"), *self.ids("over")])
            paths.replace_private(self.place / "number.last", str(number).encode())
            self._write(self.place / "asked" / str(number), {**told, "id": number})
        return number

    def ask_to_cancel(self, number: int, index: int | None) -> None:
        name = str(number) if index is None else f"{number}.{index}"
        os.close(paths.open_private(self.place / "cancel" / name, os.O_WRONLY | os.O_CREAT))

    # --- what everybody reads ---------------------------------------------------------------------------

    def ids(self, of: str) -> list[int]:
        """The numbers of the files in one of the directories."""
        return sorted({int(name) for name in os.listdir(self.place / of) if name.isdecimal()})

    def asked(self, number: int) -> Asked | None:
        told = self._read(self.place / "asked" / str(number))
        try:
            return None if told is None else Asked.of(told)
        except (BadInput, KeyError, TypeError) as error:
            self._set_aside(self.place / "asked" / str(number), error)
            return None

    def age_s(self, number: int) -> float:
        """Seconds since a submission was written down, by its file's own time; 0 if there is none."""
        with suppress(FileNotFoundError):
            return time.time() - (self.place / "asked" / str(number)).stat().st_mtime
        return 0.0

    def over(self, number: int) -> dict[int, Over]:
        """What is known of a submission's elements; a torn last line is none."""
        found: dict[int, Over] = {}
        with suppress(FileNotFoundError), open(self.place / "over" / str(number), encoding="ascii") as file:
            for line in file:
                with suppress(ValueError):
                    end = Over.of(line) if line.endswith("\n") else None
                    if end is not None:
                        found.setdefault(end.index, end)
        return found

    def running(self) -> Iterator[tuple[int, int, ProcessIdentity, float]]:
        """(id, index, who it is, CLOCK_BOOTTIME seconds of its start) of what has not been seen to end."""
        for number, index in self.begun_places():
            path = self.place / "running" / f"{number}.{index}"
            told = self._read(path)
            if told is None:
                continue
            try:
                yield number, index, ProcessIdentity(*told["who"]), float(told["since"])
            except (KeyError, TypeError, ValueError) as error:
                self._set_aside(path, error)

    def begun_places(self) -> set[tuple[int, int]]:
        """(id, index) of what has begun and is not seen to have ended, by the names of the files."""
        names = (name.partition(".") for name in os.listdir(self.place / "running"))
        return {(int(number), int(index)) for number, _, index in names if number.isdecimal() and index.isdecimal()}

    # --- what the supervisor writes ---------------------------------------------------------------------

    def begun(self, number: int, index: int, who: ProcessIdentity, since: float) -> None:
        self._write(self.place / "running" / f"{number}.{index}", {"who": list(who), "since": since})

    def ended(self, number: int, end: Over) -> None:
        """Its end first, then that it runs no more: between the two it is over and seen to run, which does no harm."""
        descriptor = paths.open_private(self.place / "over" / str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(descriptor, "ab") as file:
            file.write(end.line().encode())
            file.flush()
            os.fsync(file.fileno())
        (self.place / "running" / f"{number}.{end.index}").unlink(missing_ok=True)

    def to_cancel(self) -> list[tuple[int, int | None]]:
        """(id, index or None for all of it)."""
        found: list[tuple[int, int | None]] = []
        for name in os.listdir(self.place / "cancel"):
            number, _, index = name.partition(".")
            if number.isdecimal():
                found.append((int(number), int(index) if index.isdecimal() else None))
        return found

    def cancelled(self, number: int, index: int | None) -> None:
        name = str(number) if index is None else f"{number}.{index}"
        (self.place / "cancel" / name).unlink(missing_ok=True)

    def forget(self, number: int) -> None:
        for of in ("asked", "over"):
            (self.place / of / str(number)).unlink(missing_ok=True)

    # --- inside -----------------------------------------------------------------------------------------

    def _number(self) -> int:
        with suppress(FileNotFoundError, ValueError):
            return int((self.place / "number.last").read_text())
        return 0

    def _write(self, path: Path, told: Mapping[str, Any]) -> None:
        # ASCII: an environment may hold bytes that are no text, which JSON writes as lone surrogates.
        paths.replace_private(path, json.dumps(told).encode("ascii"))

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            told: dict[str, Any] = dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            self._set_aside(path, error)
            return None
        return told

    def _set_aside(self, path: Path, error: Exception) -> None:
        log.warning("the file %s cannot be read and is set aside as %s.damaged: %s", path, path.name, error)
        with suppress(FileNotFoundError):
            os.replace(path, path.with_name(f"{path.name}.damaged"))


def _number(word: str, kind: Any) -> Any:
    return None if word == "-" else kind(word)


def _cause(word: str) -> Cause:
    try:
        return Cause[word]
    except KeyError as error:
        raise ValueError(f"{word!r} is no cause") from error
