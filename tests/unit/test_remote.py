"""The Coordinator's side of launching: what becomes of a launch when the launcher itself fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest

from coordinator.errors import LaunchFailed
from coordinator.executors.remote import RemoteExecutor

HANG_S = 30.0


def test_a_launch_whose_launcher_was_killed_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed() -> str:
        loop = asyncio.get_running_loop()
        executor = RemoteExecutor()
        executor.attend(loop)
        failed: asyncio.Future[str] = loop.create_future()
        executor.prepare()
        child: Any = executor._child
        os.kill(child.pid, signal.SIGSTOP)  # so that it answers nothing before
        started = executor.start("node1", {}, {}, failed.set_result)
        assert started.under_way
        os.kill(child.pid, signal.SIGKILL)
        try:
            return await asyncio.wait_for(failed, HANG_S)
        finally:
            executor.close()

    assert asyncio.run(killed()) == "the process that was logging in to node1 ended (signal 9)"


def test_a_launcher_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def started() -> None:
        executor = RemoteExecutor()
        executor.attend(asyncio.get_running_loop())
        executor.start("node1", {}, {}, lambda reason: None)

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    words = "node1: the process that logs in over SSH could not be started: .*No such file or directory"
    with pytest.raises(LaunchFailed, match=words):
        asyncio.run(started())
