"""How often Python looks for garbage that holds itself, in a process that serves.

Python does so whenever 700 more objects are there than at its last look. Hundreds of calls in a turn are more than
that and live until its end, so that it looked several times in each, in vain: an eighth of the Coordinator's time, and
now and then 30 ms at once, among all that the imports left. What serves must then leave no such garbage
for each call or connection, and does not (tests/unit/test_turns.py, tests/contract/test_server.py).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: objects more than at the last look; and so many looks at the young ones go to one at the older ones
OBJECTS, LOOKS = 20_000, 2


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Undone at the end, for the user's code that comes after."""
    before = gc.get_threshold()
    gc.freeze()  # what is here now stays
    gc.set_threshold(OBJECTS, LOOKS, LOOKS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
