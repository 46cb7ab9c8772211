"""Counting answers for queues that keep none in order: each finished task adds an entry to a list in Redis.

The queues' own ways to wait for results poll one task after another; a blocking read of a list is the cheapest that
Redis has, so that a queue is not slowed down by the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator

from redis import Redis

KEY = "answered"
#: seconds after which a task is lost
LOST_S = 60.0


class Tally:
    """``port``: of the Redis server."""

    def __init__(self, port: int) -> None:
        self.redis = Redis(port=port)

    def add(self) -> None:
        """In a worker: one more task is done."""
        self.redis.rpush(KEY, 1)

    def wait(self, n: int) -> Iterator[int]:
        """In the master: ``n`` answers, as they come."""
        while n:
            came = self.redis.blpop([KEY], timeout=LOST_S)
            if came is None:
                return  # whoever counts will see that some are missing
            more = self.redis.lpop(KEY, n - 1) or [] if n > 1 else []
            yield from range(1 + len(more))
            n -= 1 + len(more)
