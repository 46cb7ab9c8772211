"""No farm at all: the ceiling that the others are compared with.

``loop``: each process works on its share of the tasks, given beforehand. ``order``: whoever is free takes the next one,
whose number goes round in a pipe; that is the ideal schedule of tasks in a given order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.peers.order import carry_out

if TYPE_CHECKING:
    from benchmarks.peers.order import Answers, Order


def in_processes(order: Order, do: Callable[[int], int]) -> list[None]:
    """``do(number)`` in each process; as many answers as they say they have worked on."""
    ends = []
    for number in range(order.processors):
        reader, writer = os.pipe()
        if not os.fork():
            os.write(writer, do(number).to_bytes(8, "big"))
            os._exit(0)
        os.close(writer)
        ends.append(reader)
    done = sum(int.from_bytes(os.read(reader, 8), "big") for reader in ends)
    for reader in ends:
        os.close(reader)
        os.wait()
    return [None] * done


@contextmanager
def loop(order: Order) -> Iterator[Answers]:
    def answers(task_ids: Iterable[Any]) -> list[None]:
        task, every = order.task(), list(task_ids)

        def do(number: int) -> int:
            mine = every[number :: order.processors]
            for task_id in mine:
                task(task_id)
            return len(mine)

        return in_processes(order, do)

    yield answers


@contextmanager
def in_order(order: Order) -> Iterator[Answers]:
    def answers(task_ids: Iterable[Any]) -> list[None]:
        task, every = order.task(), list(task_ids)
        turns, turn = os.pipe()
        os.write(turn, (0).to_bytes(8, "big"))

        def do(number: int) -> int:
            done = 0
            while True:
                # The pipe holds one number, the next task's: who has read it has the turn.
                position = int.from_bytes(os.read(turns, 8), "big")
                os.write(turn, (position + 1).to_bytes(8, "big"))
                if position >= len(every):
                    return done
                task(every[position])
                done += 1

        found = in_processes(order, do)
        for end in (turns, turn):
            os.close(end)
        return found

    yield answers


if __name__ == "__main__":
    carry_out({"loop": loop, "order": in_order})
