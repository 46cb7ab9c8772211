"""What the jobs of the measurements note about themselves: a line of JSON for each note, in the file that NOTES names.

The scripts beside it import it, in Coordinator, feeder and processors alike; without NOTES nothing is noted.
Times are of time.monotonic(), which all processes of a machine share.
"""

from __future__ import annotations

import os
import time


def note(what: str, number: float | None = None) -> None:
    """Add ``what`` with ``number``, or with the time: one write to the end of the file, so that no two notes mix."""
    path = os.environ.get("NOTES")
    if path:
        value = time.monotonic() if number is None else number
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f'["{what}", {os.getpid()}, {value!r}]\n'.encode())
        os.close(descriptor)


def note_peak(what: str) -> None:
    """The most memory, in MiB, that this process ever had: the kernel's VmHWM."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                note(what, int(line.split()[1]) / 1024)
