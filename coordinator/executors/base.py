"""What every executor can do: start the keeper of a job on a host and say when it is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio


class Started:
    """A keeper. ``pidfd``: readable when it ends, -1 where nobody can see that; ``under_way``: until the executor knows
    whether it began, and then its ``pid``; ``waits``: for what meanwhile, in words, where it may take long."""

    def __init__(self, pid: int, pidfd: int = -1, under_way: bool = False) -> None:
        self.pid, self.pidfd, self.under_way, self.waits = pid, pidfd, under_way, ""


class Executor(Protocol):
    """Starts keepers. ``orders`` is what :mod:`coordinator.keeper` reads as one line of JSON."""

    def start(
        self, host: str, options: dict[str, Any], orders: dict[str, Any], failed: Callable[[str], None]
    ) -> Started:
        """Raises LaunchFailed with the reason, or calls ``failed(reason)`` later, on this thread."""

    def abandon(self, started: Started) -> None:
        """It is not needed any more: ``failed`` is called at once unless it has begun."""

    def ended(self, started: Started) -> str:
        """How a keeper whose ``pidfd`` became readable ended, in words."""

    def sweep(self, pids: list[int]) -> None:
        """End Processors whose keeper is gone, where this executor can."""


class KeeperExecutor(Executor, Protocol):
    """The one of a job, which the task server brings up and lets go."""

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the first start elsewhere; ``failed`` is called on this loop's thread."""

    def look_ahead(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """These hosts are about to be used. Raises LaunchFailed where they cannot be."""

    def dismiss(self) -> None:
        """The job is over."""
