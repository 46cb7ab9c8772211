"""What attempts used, where only their schedulers know it: asked when somebody wants to see it, and kept then.

While jobs are reconciled a scheduler is not asked about one whose own exit file says that it ended well. Its time is in
that file, its memory is not. One call asks for all attempts that are shown together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, bindparam, update

from coordinator.jobs import schema
from coordinator.jobs.reconcile import Executors, polled
from coordinator.jobs.records import Attempt, submissions_of
from coordinator.jobs.states import Stage
from coordinator.jobs.store import Store, executed_many


def measure(store: Store, executors: Executors, attempts: Iterable[Attempt]) -> None:
    """Ask about those that are over and of which the memory is not known. What nobody tells stays unknown."""
    missing = [one for one in attempts if one.stage is Stage.OVER and one.memory is None and one.began is not None]
    if not missing:
        return
    with store.reading() as connection:
        submissions = submissions_of(connection, missing)
    by_executor: dict[str, list[tuple[str, Attempt]]] = defaultdict(list)
    for one in missing:
        submission = submissions.get(one.mark)
        native = one.native or (submission.native if submission is not None else None)
        if submission is not None and native is not None:
            by_executor[submission.executor].append((native, one))
    rows = []
    for name, some in by_executor.items():
        executor = executors(name)
        if executor is None:
            continue
        statuses = polled(executor, some)
        for _, one in some:
            used = statuses[one.place].used
            row = {"memory": used.memory, "cpu_s": one.cpu_s if one.cpu_s is not None else used.cpu_s,
                   "wall_s": one.wall_s if one.wall_s is not None else used.wall_s}  # fmt: skip
            if (row["memory"], row["cpu_s"], row["wall_s"]) != (one.memory, one.cpu_s, one.wall_s):
                rows.append({**one.key, **{f"to_{name}": value for name, value in row.items()}})
    if not rows:
        return
    table = schema.attempt
    this = and_(schema.this_attempt(), table.c.stage == Stage.OVER.value)
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in ("memory", "cpu_s", "wall_s")}
    with store.writing() as connection:
        executed_many(connection, update(table).where(this).values(values), rows)
