"""What travels of an exception of the user's code: kind, message, traceback, and the last line that is the user's own.

Processors report with it, and the feeder. Frames of this package are left out: they are of no interest to users.
"""

from __future__ import annotations

import os
import time
import traceback
from types import TracebackType
from typing import Any

#: the directory of this package
OURS = os.path.dirname(os.path.abspath(__file__))
#: bytes of a traceback that travel
TRACEBACK_BYTES = 32_768


def users_traceback(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame of the user's own code on."""
    begin = error.__traceback__
    while begin is not None and os.path.dirname(begin.tb_frame.f_code.co_filename) == OURS:
        begin = begin.tb_next
    return begin


def error_of(error: BaseException) -> dict[str, Any]:
    """What travels of an exception: kind, message, traceback, the last line of the user's own code, when."""
    begin = users_traceback(error)
    own = [frame for frame in traceback.extract_tb(begin) if os.path.dirname(frame.filename) != OURS]
    last = own[-1] if own else None
    kind = type(error).__name__
    message = "sys.exit() was called: " + str(error) if isinstance(error, SystemExit) else str(error)
    text = "".join(traceback.format_exception(type(error), error, begin))
    if len(text) > TRACEBACK_BYTES:
        text = text[: TRACEBACK_BYTES // 2] + "\n  [...]\n" + text[-TRACEBACK_BYTES // 2 :]
    return {
        "kind": kind,
        "message": message[:TRACEBACK_BYTES],
        "traceback": text,
        "where": f"{os.path.basename(last.filename)}:{last.lineno} in {last.name}" if last is not None else "",
        "at": time.time(),
    }
