"""What jobs report: small files that are renamed into place, for whoever looks next.

A job on a node writes one and may die in the next moment; nothing of it is lost. :mod:`coordinator.jobs.reports` takes
them up. A file that cannot be read is set aside as ``NAME.damaged`` and said so. The names sort by time.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from coordinator import paths
from coordinator.errors import BadInput

log = logging.getLogger("coordinator.jobs")


class Inbox:
    """``place``: its directory, made with the first report."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def drop(self, told: Mapping[str, Any]) -> str:
        """Write a report; its id. It is on the disk when this returns. Raises BadInput, OSError."""
        try:
            content = json.dumps(told, allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput(f"a JobInfo holds what JSON can hold: {error}") from error
        self.place.mkdir(0o700, parents=True, exist_ok=True)
        id = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(6).hex()}"
        paths.replace_private(self.place / f"{id}.json", content)
        return id

    def waiting(self, store: str, most: int) -> list[tuple[str, dict[str, Any]]]:
        """(id, what it says) of those for a store, the oldest first. Other stores may have the same directory. No more
        than ``most`` are read."""
        try:
            names = sorted(name for name in os.listdir(self.place) if name.endswith(".json") and name[0] != ".")
        except FileNotFoundError:
            return []
        found: list[tuple[str, dict[str, Any]]] = []
        for name in names:
            if len(found) == most:
                break
            path = self.place / name
            try:
                told = _report(path.read_bytes())
                if told.get("store", store) == store:
                    found.append((name.removesuffix(".json"), told))
            except FileNotFoundError:
                continue  # somebody else took it up
            except OSError as error:
                log.warning("the report %s cannot be read now: %s", path, error.strerror)
            except (ValueError, RecursionError) as error:
                log.warning("the report %s cannot be read and is set aside as %s.damaged: %s", path, name, error)
                with suppress(FileNotFoundError):
                    os.replace(path, path.with_name(f"{name}.damaged"))
        return found

    def forget(self, ids: Iterable[str]) -> None:
        """They are taken up, and that is safe on disk."""
        for id in ids:
            (self.place / f"{id}.json").unlink(missing_ok=True)


def _report(content: bytes) -> dict[str, Any]:
    """Raises ValueError where it is none: what is in it is used without another look."""
    told = json.loads(content)
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    by = told.get("by")
    if not isinstance(by, list) or len(by) != 4 or not all(isinstance(n, int) and 0 <= n < 1 << 63 for n in by):
        raise ValueError("it does not say which attempt it is of")
    kinds: dict[str, tuple[type, ...]] = {"kind": (str,), "info": (dict,), "count": (int,), "began": (int, float)}
    wrong = [name for name, kind in kinds.items() if name in told and not isinstance(told[name], kind)]
    needed = {"update": ["info"], "spawn": ["count"]}.get(str(told.get("kind")), [])
    wrong += [name for name in needed if name not in told]
    if wrong:
        raise ValueError(f"its {wrong[0]} is not what it should be")
    return told
