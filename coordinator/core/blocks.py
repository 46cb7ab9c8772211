"""How large the next block of tasks is, and who is asked to give one back.

The task server asks; the answers are arithmetic on figures that it keeps. A block is as many tasks as a
processor works on in about ``AIM_S``: small enough that a lost block costs little, large enough that the calls
cost nothing beside the work.
"""

from __future__ import annotations

from collections.abc import Mapping

#: seconds of work that a block aims at, and that it has where little is left: a shorter one is done before the next
#: can be there
AIM_S, LEAST_S = 0.2, 0.005
#: exchanges a second that blocks aim at when there are very many processors: two thirds of what a Coordinator answers
EXCHANGES_PER_S = 6000
#: by how much, more or less, blocks differ
UNLIKE = 0.2
#: its multiples, without the whole numbers, lie evenly between 0 and 1, however many of them there are
_GOLDEN = (5**0.5 - 1) / 2
#: the next block is at most so many times the last one
GROWTH = 8
#: tasks longer than this are handed out one at a time, without one ahead
LONG_TASK_S = 0.05
#: most tasks of one block; their IDs lie in memory several times while the block is answered
MOST = 4096
#: the same of consecutive integers, which travel as two numbers
MOST_INTEGERS = 16_384
#: most bytes of the IDs of one block
MOST_BYTES = 1 << 20
#: most tasks that lie read and not leased, on however many processors; their IDs are in the journal only. With less, a
#: thousand processors get blocks too small for tasks of a millisecond, and the more there are the less is done
MOST_AHEAD = 1 << 20
#: a block of so many ends, if it can, where a slice of the stream ends: whole slices travel as they lie in the journal
WHOLE_SLICES = 512


def aim_s(lease: int, processors: int) -> float:
    """Seconds of work that the block of this lease aims at: ``AIM_S``, more where there are very many processors,
    give or take ``UNLIKE`` of it.

    Processors whose reports came in one turn are answered together. With blocks of one length they would come together
    ever after, more of them each time, and wait for one another while the Coordinator is idle in between.
    """
    mean_s = max(AIM_S, processors / EXCHANGES_PER_S)
    return mean_s * (1 - UNLIKE + 2 * UNLIKE * (lease * _GOLDEN % 1))


def block_size(
    task_s: float | None, last: int, known: int, processors: int, most: int = MOST, aim_s: float = AIM_S
) -> int:
    """How many tasks the next block has.

    ``task_s``: seconds a task took in the last blocks, None before the first report; ``last``: tasks of the last
    block; ``known``: tasks that are read and not leased; ``processors``: how many share them; ``most``: whatever else
    speaks for more; ``aim_s``: seconds of work. At least 1, at most what is known divided by twice the processors or
    ``LEAST_S``, so that the end of the stream is shared evenly.
    """
    if task_s is None or task_s >= LONG_TASK_S:
        return 1
    wanted, least = (round(aim_s / task_s), int(LEAST_S / task_s)) if task_s > 0 else (most, most)
    return max(1, min(wanted, last * GROWTH, max(known // (2 * max(1, processors)), least), most))


def to_edge(size: int, first: int, edges: tuple[int, int]) -> int:
    """``size`` tasks from ``first``, or about so many up to one of the ``edges`` of the slice where they end."""
    begin, end = edges[0] - first, edges[1] - first
    if begin > size // 2:
        return min(begin, size)
    return end if end <= size + size // 2 else size


def read_ahead(processors: int, most: int = MOST) -> int:
    """How many tasks may lie read and not leased: so many that each processor gets blocks of the largest size."""
    return min(3 * most * max(2, processors), MOST_AHEAD)


def smoothed(old: float | None, new: float) -> float:
    """The running estimate of a task's seconds: quick to rise, since a too large block is what hurts."""
    if old is None:
        return new
    weight = 0.5 if new > old else 0.25
    return old + weight * (new - old)


def who_gives_back(unbegun: Mapping[int, int], idle: int) -> list[int]:
    """Which processors are asked for tasks they have not begun, the richest first, one for each idle one.

    ``unbegun``: ``{processor number: tasks held and, as far as is known, not begun}``.
    """
    rich = sorted((number for number, tasks in unbegun.items() if tasks > 1), key=lambda n: (-unbegun[n], n))
    return rich[:idle]
