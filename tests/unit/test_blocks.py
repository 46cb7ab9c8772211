"""How large a block is, and who gives one back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.blocks import (
    AIM_S,
    EXCHANGES_PER_S,
    GROWTH,
    LEAST_S,
    LONG_TASK_S,
    MOST,
    MOST_AHEAD,
    UNLIKE,
    aim_s,
    block_size,
    read_ahead,
    smoothed,
    to_edge,
    who_gives_back,
)

SECONDS = st.floats(1e-9, 1e6)


@given(SECONDS, st.integers(1, MOST), st.integers(0, 10**9), st.integers(1, 10**5))
def test_a_block_is_bounded_by_time_growth_and_what_is_left(
    task_s: float, last: int, known: int, processors: int
) -> None:
    size = block_size(task_s, last, known, processors)
    assert 1 <= size <= MOST
    assert size == 1 or size * task_s <= AIM_S + task_s / 2
    assert size <= last * GROWTH
    assert size == 1 or size <= known / (2 * processors) or size * task_s <= LEAST_S


@given(st.integers(512, MOST), st.integers(0, 10**6), st.integers(0, MOST), st.integers(1, 4096))
def test_a_block_ends_near_its_size_and_where_a_slice_ends_if_it_can(
    size: int, first: int, before: int, slice_size: int
) -> None:
    begin = first + size - min(before, slice_size - 1)  # the slice that holds first + size
    edges = (begin, begin + slice_size)
    cut = to_edge(size, first, edges)
    assert size // 2 < cut <= size + size // 2
    assert cut == size or first + cut in edges


def test_after_a_small_slice_blocks_are_whole_slices_again() -> None:
    assert to_edge(2048, 1000, (1256, 3304)) == 2304
    assert to_edge(2048, 3304, (5352, 7400)) == 2048


def test_so_much_is_read_ahead_that_the_blocks_of_many_processors_are_large() -> None:
    for processors in (1, 2, 16):
        assert block_size(1e-6, MOST, read_ahead(processors), processors) == MOST
    assert read_ahead(10**6) == MOST_AHEAD


def test_a_thousand_processors_have_blocks_of_full_size_while_half_of_what_is_read_ahead_is_there() -> None:
    assert block_size(0.001, MOST, read_ahead(1000) // 2, 1000) == int(AIM_S / 0.001)


@given(st.integers(1, 10**12), st.integers(1, 10**5))
def test_blocks_answered_together_end_at_different_times(lease: int, processors: int) -> None:
    aims = [aim_s(number, processors) for number in range(lease, lease + 100)]
    mean_s = max(AIM_S, processors / EXCHANGES_PER_S)
    assert all((1 - UNLIKE) * mean_s <= aim <= (1 + UNLIKE) * mean_s for aim in aims)
    for tenth in range(10):  # however few are answered together, they lie evenly between the least and the most
        least = (1 - UNLIKE + 2 * UNLIKE * tenth / 10) * mean_s
        assert 8 <= sum(least <= aim < least + 2 * UNLIKE * mean_s / 10 for aim in aims) <= 12


def test_so_many_processors_that_their_calls_would_be_too_many_have_longer_blocks() -> None:
    assert block_size(0.02, MOST, 10**6, 10_000, aim_s=aim_s(1, 10_000)) > block_size(0.02, MOST, 10**6, 10_000)


def test_the_first_block_is_one_task() -> None:
    assert block_size(None, 1, 10**6, 2) == 1


def test_long_tasks_are_handed_out_one_at_a_time() -> None:
    assert block_size(LONG_TASK_S, MOST, 10**6, 2) == 1
    assert block_size(36_000.0, MOST, 10**6, 2) == 1


def test_short_tasks_soon_travel_in_thousands() -> None:
    size, calls = 1, 0
    while size < MOST:
        size, calls = block_size(1e-6, size, 10**7, 2), calls + 1
    assert MOST > 1000
    assert calls <= 5


@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_the_estimate_stays_within_what_was_seen(seen: list[float]) -> None:
    estimate = None
    for seconds in seen:
        estimate = smoothed(estimate, seconds)
        assert min(seen) * 0.999 <= estimate <= max(seen) * 1.001


def test_the_richest_are_asked_first_and_nobody_for_his_last() -> None:
    assert who_gives_back({1: 5, 2: 9, 3: 1, 4: 2}, idle=2) == [2, 1]
    assert who_gives_back({1: 5, 2: 9, 3: 1, 4: 2}, idle=9) == [2, 1, 4]
    assert who_gives_back({}, idle=3) == []
