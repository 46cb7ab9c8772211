"""The syncer: a thread that waits for the disk while the Coordinator's loop goes on.

The turns give it what makes a commit safe, one at a time; how that ended is told in the loop's own thread. It decides
nothing, and knows nothing of what it makes safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future, ThreadPoolExecutor


class Syncer:
    """``attend`` comes before the first ``start``; ``busy`` from there until ``landed`` was called, which the loop
    does, or ``wait``."""

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._flight: Future[None] | None = None
        self._landed: Callable[[OSError | None], None]

    def attend(self, loop: AbstractEventLoop) -> None:
        from concurrent.futures import ThreadPoolExecutor  # no keeper's start waits for that

        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "syncer")

    @property
    def busy(self) -> bool:
        return self._flight is not None

    def start(self, make_safe: Callable[[], None], landed: Callable[[OSError | None], None]) -> None:
        """Call ``make_safe`` in the thread, and then ``landed`` with its OSError, or None, in the loop."""
        loop, thread = self._loop, self._thread
        assert loop is not None
        assert thread is not None
        self._landed = landed
        flight = self._flight = thread.submit(make_safe)
        flight.add_done_callback(lambda flight: loop.call_soon_threadsafe(self._land, flight))

    def wait(self) -> None:
        """Block until nothing is under way."""
        while self._flight is not None:  # one that has landed may start the next
            self._land(self._flight)

    def close(self) -> None:
        """What is under way ends; ``landed`` is not called any more."""
        self._flight = None
        if self._thread is not None:
            self._thread.shutdown()

    def _land(self, flight: Future[None]) -> None:
        if flight is not self._flight:
            return  # it was waited for
        error = None
        try:
            flight.result()
        except OSError as failed:
            error = failed
        finally:
            self._flight = None
        self._landed(error)
