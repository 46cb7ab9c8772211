"""A call that was received, and how much a client may ask: what the server hands to its turn function.

Made by :mod:`coordinator.wire.http` (tests make their own); answered once by whoever decides, at any later time, on
the loop's thread. It never touches a socket: ``finished`` is told, and a connection that is gone drops the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from coordinator import errors
from coordinator.wire import codec
from coordinator.wire.bounds import BODY_BYTES

log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What one client may ask of a server. ``pipelined``: calls of one connection that may wait for answers."""

    header_bytes: int = 16384
    body_bytes: int = BODY_BYTES
    header_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 600.0
    connections: int = 12000
    pipelined: int = 8
    buffered_bytes: int = 256 << 20  # of unfinished bodies, all connections together


class Call:
    """A call that waits for its answer, which may come in a later turn; ``reply`` is the answer's XML."""

    __slots__ = ("_finished", "caller", "closing", "method", "params", "peer", "reply")

    def __init__(
        self, method: str, params: tuple[Any, ...], caller: str, peer: str, finished: Callable[[Call], None]
    ) -> None:
        self.method = method
        self.params = params
        self.caller = caller
        self.peer = peer
        self.reply: bytes | None = None
        self.closing = False
        self._finished = finished

    @property
    def answered(self) -> bool:
        return self.reply is not None

    def answer(self, value: Any) -> None:
        """Send ``value``; a second answer to one call is dropped, like one to a connection that is gone."""
        if self.reply is None:
            try:
                self.reply = codec.dump_reply(value)
            except errors.CoordinatorError:
                log.exception("the answer of %s cannot travel", self.method)
                self.reply = codec.dump_fault(errors.InternalError())
            self._finished(self)

    def fault(self, error: BaseException) -> None:
        """Send ``error``; one that is not a CoordinatorError arrives as InternalError, without its text."""
        if self.reply is None:
            self.reply = codec.dump_fault(error)
            self._finished(self)
