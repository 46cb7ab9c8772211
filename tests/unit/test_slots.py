"""Which waiting jobs of a machine begin: never more than there is room for, first come, first served."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.needs import GIB, Needs
from coordinator.core.slots import Room, begin, never

NEEDS = st.builds(Needs, cores=st.integers(1, 8), memory=st.none() | st.integers(1, 10), gpus=st.integers(0, 2))


@given(st.lists(st.tuples(NEEDS, st.integers(1, 20)), max_size=8), st.builds(Room, *[st.integers(0, 16)] * 3))
def test_no_more_begin_than_there_is_room_for_and_nobody_is_overtaken(
    waiting: list[tuple[Needs, int]], room: Room
) -> None:
    begun = begin(waiting, room)
    assert all(0 <= fit <= count for fit, (_, count) in zip(begun, waiting, strict=False))
    left = room
    for fit, (needs, _) in zip(begun, waiting, strict=False):
        for _ in range(fit):
            left = left.without(needs)
    assert min(left.cores, left.memory, left.gpus) >= 0
    for at, (fit, (needs, count)) in enumerate(zip(begun, waiting, strict=False)):
        if fit < count:
            assert at == len(begun) - 1  # whoever came later waits behind it
            assert not left.holds(needs)
    if len(begun) < len(waiting):
        assert begun[-1] < waiting[len(begun) - 1][1]


def test_what_can_never_run_here_is_said() -> None:
    room = Room(2, 4 * GIB)
    assert never(room, Needs(cores=2, memory=4 * GIB)) is None
    assert never(room, Needs(cores=3)) == "it needs 3 cores, and this machine has 2"
    assert never(room, Needs(memory=6 * GIB)) == "it needs 6.0 GiB of memory, and this machine has 4.0"
    assert never(room, Needs(nodes=2)) == "it needs 2 nodes, and this machine is one"
    assert never(room, Needs(gpus=1)) == "it needs 1 GPUs, and this machine is said to have 0"
