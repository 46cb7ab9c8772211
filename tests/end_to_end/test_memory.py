"""Memory does not follow the number of tasks; ``benchmarks/memory.py`` measures it with millions."""

from __future__ import annotations

import pytest

from benchmarks.memory import peaks

#: of 33 and 17 MiB: five bytes for each task more. What grows is 16 bytes for each range of positions and 50 for each
#: slice of 2,048 IDs
MOST_MIB = 4.0


@pytest.mark.slow
def test_five_times_the_tasks_need_no_more_memory_in_the_coordinator_and_the_feeder() -> None:
    few, many = peaks(200_000), peaks(1_000_000)
    for process in ("coordinator", "feeder"):
        assert few[process] > 1
        assert many[process] - few[process] < MOST_MIB, process
