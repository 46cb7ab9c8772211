"""Which of the waiting jobs of one machine begin now: cores, memory and GPUs, first come, first served.

:mod:`coordinator.executors.supervisor` asks whenever a job came or ended. Pure arithmetic: nothing is started here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.core.needs import GIB, Needs


@dataclass(frozen=True)
class Room:
    """Of a machine, or what is left of it. ``memory``: bytes."""

    cores: int
    memory: int
    gpus: int = 0

    def holds(self, needs: Needs) -> bool:
        return needs.cores <= self.cores and (needs.memory or 0) <= self.memory and needs.gpus <= self.gpus

    def without(self, needs: Needs) -> Room:
        """What is left beside a job; below nothing where more runs than there is room for."""
        return Room(self.cores - needs.cores, self.memory - (needs.memory or 0), self.gpus - needs.gpus)


def never(room: Room, needs: Needs) -> str | None:
    """Why a job can never run on this machine, all of which is ``room``; None if it can."""
    if needs.nodes > 1:
        return f"it needs {needs.nodes} nodes, and this machine is one"
    if needs.cores > room.cores:
        return f"it needs {needs.cores} cores, and this machine has {room.cores}"
    if (needs.memory or 0) > room.memory:
        return f"it needs {(needs.memory or 0) / GIB:.1f} GiB of memory, and this machine has {room.memory / GIB:.1f}"
    if needs.gpus > room.gpus:
        return f"it needs {needs.gpus} GPUs, and this machine is said to have {room.gpus}"
    return None


def begin(waiting: Iterable[tuple[Needs, int]], room: Room) -> list[int]:
    """How many elements of each of the waiting submissions (what one needs, how many wait) begin in this room.

    In their order: who does not fit waits for room, and whoever came later waits behind, so that no large job waits
    for ever while small ones pass.
    """
    begun = []
    for needs, count in waiting:
        fit = 0
        while fit < count and room.holds(needs):
            room = room.without(needs)
            fit += 1
        begun.append(fit)
        if fit < count:
            break
    return begun
