"""Loading: imports that people wait for, undisturbed by the search for garbage.

Whoever imports many rooms at once does it here: the package itself, the script, the task server. It imports nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """What is loaded stays, so to look for garbage among it again and again while it grows, as the interpreter does, is
    a tenth of a start for nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
