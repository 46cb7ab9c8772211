"""What the arguments B, J and Filter of the calls mean, as conditions on the store.

B is what ``get_queue(Verbose=False)`` gave, a BatchID, or several; J a JobIndex or several; Filter a text that
:mod:`.filters` reads. Nothing is read from the store here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, select, true

from coordinator.batch.conditions import clause
from coordinator.batch.filters import parse
from coordinator.errors import BadFilter, BadInput
from coordinator.jobs import schema
from coordinator.jobs.records import Job

Batches = int | Iterable[int] | Mapping[int, Any]


def ids(told: object, what: str) -> list[int]:
    """One number or several, in order, each once. Raises BadInput."""
    many = [told] if isinstance(told, int | str) else list(told) if isinstance(told, Iterable) else [told]
    found = []
    for one in many:
        if isinstance(one, str) and one.isdecimal():
            one = int(one)
        elif hasattr(one, "__index__") and not isinstance(one, bool):
            one = one.__index__()  # numpy's integers, too
        else:
            raise BadInput(
                f"{what} is a whole number, several, or what get_queue(Verbose=False) gave, not {one!r:.100}"
            )
        found.append(one)
    return list(dict.fromkeys(found))


def of_batches(B: Batches, J: object = None) -> ColumnElement[bool]:
    """The jobs of batches, or some of them."""
    return _of(schema.job, B, J)


def attempts_of_batches(B: Batches, J: object = None) -> ColumnElement[bool]:
    """The same, as a condition on attempts."""
    return _of(schema.attempt, B, J)


def of_filter(Filter: str) -> ColumnElement[bool]:
    """Raises BadFilter, which shows where."""
    if not isinstance(Filter, str):
        raise BadFilter(f"Filter is text, such as 'state == \"init\"', not {Filter!r:.100}")
    if not Filter.strip():
        return true()
    jobs, batches = schema.job, schema.batch
    columns: dict[str, ColumnElement[Any]] = {
        "BatchID": jobs.c.batch_id, "JobIndex": jobs.c.job_index, "state": jobs.c.state, "priority": jobs.c.priority,
        "name": batches.c.name, "batch_type": batches.c.batch_type,
    }  # fmt: skip
    found = clause(parse(Filter), columns)
    joined = select(jobs.c.batch_id, jobs.c.job_index).join(batches, batches.c.batch_id == jobs.c.batch_id).where(found)
    return schema.pair(jobs).in_(joined)


def spared(Unless: Mapping[str, Any]) -> Callable[[Job], bool] | None:
    """Does a job have one of these values? None if none is spared."""
    if not Unless:
        return None
    wanted = {
        name: [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
        for name, values in Unless.items()
    }
    return lambda job: any(job.info.get(name) in values for name, values in wanted.items())


def not_in_states(Unless: Mapping[str, Any]) -> ColumnElement[bool] | None:
    """The same as a condition, where it is of states alone; None where it is not."""
    if set(Unless) - {"state"}:
        return None
    states = Unless.get("state", [])
    return schema.job.c.state.not_in([states] if isinstance(states, str) else list(states))


def _of(table: Table, B: Batches, J: object) -> ColumnElement[bool]:
    chosen = schema.among(table.c.batch_id, ids(B, "BatchID"))
    return chosen if J is None else and_(chosen, schema.among(table.c.job_index, ids(J, "JobIndex")))
