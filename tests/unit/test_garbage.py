"""How often garbage is looked for while a Coordinator serves, and that the user's code has its own way again."""

from __future__ import annotations

import gc

import pytest

from coordinator.garbage import OBJECTS, seldom_collected


def fail_meanwhile() -> None:
    with seldom_collected():
        assert gc.get_threshold()[0] == OBJECTS
        assert gc.get_freeze_count() > 0
        raise KeyboardInterrupt


def test_the_users_own_thresholds_are_back_afterwards() -> None:
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 12)
    try:
        with pytest.raises(KeyboardInterrupt):
            fail_meanwhile()
        assert gc.get_threshold() == (701, 11, 12)
        assert gc.get_freeze_count() == 0
    finally:
        gc.set_threshold(*before)


def test_garbage_that_holds_itself_is_found_all_the_same() -> None:
    found = []
    with seldom_collected():
        gc.callbacks.append(lambda phase, info: found.append(info["collected"]))
        try:
            for _ in range(4 * OBJECTS):
                endless: list[object] = []
                endless.append(endless)
        finally:
            gc.callbacks.pop()
    assert sum(found) > OBJECTS
