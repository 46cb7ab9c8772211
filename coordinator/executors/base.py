"""What every executor can do: start the keeper of a job on a host and say when it is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Started:
    """A keeper under way. ``pidfd``: readable when it ends, -1 where the executor cannot see that."""

    pid: int
    pidfd: int = -1


class Executor(Protocol):
    """Starts keepers. ``orders`` is what :mod:`coordinator.keeper` reads as one line of JSON."""

    def start(self, host: str, options: dict[str, Any], orders: dict[str, Any]) -> Started:
        """Raises LaunchFailed with the reason."""

    def ended(self, started: Started) -> str:
        """How a keeper whose ``pidfd`` became readable ended, in words."""

    def sweep(self, pids: list[int]) -> None:
        """End Processors whose keeper is gone, where this executor can."""
