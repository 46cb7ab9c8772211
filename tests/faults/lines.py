"""Killed at a line: for programs of tests that end themselves by SIGKILL somewhere in the rooms that they go through.

Programs that tests start import it. Nothing is changed in what they run: the interpreter says which line comes next.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any


class Lines:
    """Counts the lines of our rooms with these file names, in ``function`` alone if it is given. At line ``at`` of them
    the process ends by SIGKILL; at 0 it never does."""

    def __init__(self, at: int, rooms: tuple[str, ...], function: str = "") -> None:
        self.seen = 0
        self._at, self._rooms, self._function = at, rooms, function

    def trace(self) -> None:
        """From the next call on."""
        sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        ours = "/coordinator/" in name and name.endswith(self._rooms)
        return self._count if ours and self._function in ("", frame.f_code.co_name) else None

    def _count(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._count
