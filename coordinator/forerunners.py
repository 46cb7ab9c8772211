"""Forerunners: what a Coordinator forks before it loads what it needs itself, guard with zygote and feeder.

``start_client_or_server`` forks them as soon as it knows that this process is the Coordinator; they load and prepare
what they need while the Coordinator does, on another core, and wait for their orders. What forks has one thread and
holds no lock, journal or listening socket, so this comes before anything is opened. It imports little and starts no
interpreter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from coordinator import procs
from coordinator.feeder import fork_feeder
from coordinator.keeper import fork_keeper
from coordinator.zygote import Work


class Forerunners(NamedTuple):
    """``keeper``: (pid, descriptor for orders) of a guard whose zygote has the script; ``feeder``: (pid, descriptor for
    orders, descriptor of slices). None: where a new interpreter is to be started instead."""

    keeper: tuple[int, int] | None
    feeder: tuple[int, int, int] | None

    def dismiss(self) -> None:
        """They are not needed: without orders they end."""
        for pid, *descriptors in (one for one in self if one is not None):
            for descriptor in descriptors:
                os.close(descriptor)
            procs.reap(pid)


def fork_forerunners(make: Callable[[], Iterable[Any]], work: Work | None) -> Forerunners:
    """``make``: gives the iterable of task IDs, in the feeder; ``work``: None where no Processor runs the script."""
    can_fork = procs.thread_count() == 1
    keeper = fork_keeper(work) if work is not None and can_fork else None
    # Without work there is no script that could be run anew.
    feeder = fork_feeder(make, [keeper[1]] if keeper is not None else []) if can_fork or work is None else None
    return Forerunners(keeper, feeder)
