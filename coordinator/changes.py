"""NAME.changes: what people changed by call and no file of theirs says: the maxload of hosts, the throttle.

The ResourceController's desk for hosts keeps it, so that a crash or a restart loses no directive; ``stop`` ends them
all. A change is kept with what it was made against, the host's line or the option of the command; where that is another
one by now, it was edited since, and the edit wins. NAME.hosts is never written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from coordinator.core.beats import check_positive
from coordinator.core.hosts import HostInfo, check_host, check_maxload
from coordinator.errors import BadInput
from coordinator.shelves import JSONShelf

log = logging.getLogger("coordinator.resource")

_THROTTLE = "throttle"
_HOST = "host:"


class Changes:
    """``base`` is directory/NAME; None: they last as long as this process. The file is made with the first change."""

    def __init__(self, base: str | None) -> None:
        self._shelf = None if base is None else JSONShelf(f"{base}.changes", lazy=True)

    def maxloads(self, lines: Mapping[str, HostInfo]) -> dict[str, float]:
        """{host: maxload} as they were set and still hold; ``lines`` is what NAME.hosts says now."""
        found = {}
        for key, kept in [] if self._shelf is None else list(self._shelf.items()):
            if not key.startswith(_HOST):
                continue
            host = key.removeprefix(_HOST)
            try:
                maxload, against = check_maxload(kept["maxload"]), kept["line"]
                if against == _line(lines.get(check_host(host))):
                    found[host] = maxload
                    log.info("set_hostinfo %s maxload=%g holds from before", host, maxload)
                    continue
                log.info("set_hostinfo %s maxload=%g holds no longer: its line was edited since", host, maxload)
            except (KeyError, TypeError, BadInput):
                log.error("a change of host %r in NAME.changes cannot be read and is dropped: %r", host, kept)
            self.drop(host)
        return found

    def set_maxload(self, host: str, maxload: float, line: HostInfo | None) -> None:
        """On disk when it returns. Raises StateError; then nothing was changed."""
        if self._shelf is not None:
            self._shelf[_HOST + host] = {"maxload": maxload, "line": _line(line)}

    def drop(self, host: str) -> None:
        if self._shelf is not None:
            self._shelf.pop(_HOST + host, None)

    def throttle(self, option: float) -> float:
        """The throttle as it was set and still holds, or that of the command line."""
        kept = None if self._shelf is None else self._shelf.get(_THROTTLE)
        if kept is None:
            return option
        try:
            if kept["option"] == option:
                return check_positive(_THROTTLE, kept["throttle"])
        except (KeyError, TypeError, BadInput):
            log.error("the throttle in NAME.changes cannot be read and is dropped: %r", kept)
        return option

    def set_throttle(self, throttle: float, option: float) -> None:
        if self._shelf is not None:
            self._shelf[_THROTTLE] = {"throttle": throttle, "option": option}

    def forget(self) -> None:
        """They end with this life of the ResourceController."""
        if self._shelf is not None:
            self._shelf.clear()
            self._shelf.close()
            with suppress(FileNotFoundError):
                os.unlink(self._shelf.path)

    def close(self) -> None:
        if self._shelf is not None:
            self._shelf.close()


def _line(host: HostInfo | None) -> dict[str, Any] | None:
    return None if host is None else host.attributes()
