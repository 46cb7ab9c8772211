"""One executor for all hosts: this machine's keepers are started here, those of other machines over SSH.

The Coordinator makes it and gives it to its Crew. What decides is the host's name alone; no name is looked up here,
since that may take long (the launcher does, and starts a keeper here if a strange name means this machine).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import coordinator
from coordinator import paths
from coordinator.errors import LaunchFailed
from coordinator.executors.base import Started
from coordinator.executors.local import LocalExecutor

if TYPE_CHECKING:
    import asyncio

    from coordinator.executors.remote import RemoteExecutor


def is_here(host: str) -> bool:
    """Does the name alone say that it means this machine?"""
    name, own = host.lower().rstrip("."), os.uname().nodename.lower()
    if name in paths.LOCAL_NAMES or name in (own, own.partition(".")[0], paths.full_hostname().lower()):
        return True
    return _is_address(name) and paths.is_this_machine(name)


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except OSError:
            continue
        return True
    return False


class AnyExecutor:
    """``warm``: as for LocalExecutor. Call ``attend`` before a keeper of another machine is started."""

    def __init__(self, warm: tuple[int, int] | None = None) -> None:
        self._local = LocalExecutor(warm)

    @cached_property
    def _remote(self) -> RemoteExecutor:
        from coordinator.executors.remote import RemoteExecutor  # a job of this machine needs none

        return RemoteExecutor()

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """``failed`` is called on this loop's thread."""
        self._remote.attend(loop)

    def look_ahead(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """These hosts are about to be used. Raises LaunchFailed if some need a key and there is none at all."""
        others = {host: options for host, options in hosts.items() if not is_here(host)}
        if not others:
            return
        from coordinator.executors.sshkeys import no_key_words  # a job of this machine does not wait for it

        words = no_key_words(others)
        if words is not None and not all(paths.is_this_machine(host) for host in others):
            raise LaunchFailed(words)
        self._remote.prepare()

    def start(
        self, host: str, options: dict[str, Any], orders: dict[str, Any], failed: Callable[[str], None]
    ) -> Started:
        if is_here(host):
            return self._local.start(host, options, orders, failed)
        # Where logs lie, which Python runs and how this machine is reached is different there.
        changed = {"remote": True, "version": coordinator.__version__, "log_directory": None, "keeper_log": None}
        return self._remote.start(host, options, {**orders, **changed}, failed)

    def abandon(self, started: Started) -> None:
        self._remote.abandon(started)

    def ended(self, started: Started) -> str:
        return self._local.ended(started)

    def sweep(self, pids: list[int]) -> None:
        self._local.sweep(pids)

    def dismiss(self) -> None:
        """The warm keeper is not needed any more, nor is the launcher."""
        self._local.dismiss()
        if "_remote" in vars(self):
            self._remote.close()
