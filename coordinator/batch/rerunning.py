"""Jobs that are ended or set back by a person at the command line: cancelled with what waits of them, run again with
other resources, waited for.

:mod:`coordinator.commands.batchjobs` calls these. They say nothing; they return what they did and what could not be
done. A job that runs calls none of them.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from coordinator.batch import deleting, resources, submission
from coordinator.batch.candidates import left
from coordinator.batch.executors import JobExecutor, jobs_named, name_of
from coordinator.batch.home import home
from coordinator.batch.monitoring import missing
from coordinator.errors import NoSuchJob
from coordinator.jobs import changes, schema
from coordinator.jobs.cancelling import cancel
from coordinator.jobs.records import JobId, jobs_where
from coordinator.jobs.states import BAD, CANCELLED, GOOD, INIT
from coordinator.jobs.submitting import one_at_a_time

#: seconds between two looks while jobs are waited for: the least, after something happened, and the most
SHORTEST_S, LONGEST_S = 0.2, 2.0

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Count:
    """Of jobs that are waited for. ``since_s``: how long ``fresh`` of them have taken to be done with."""

    total: int
    good: int
    bad: int
    fresh: int = 0
    since_s: float = 0.0

    @property
    def over(self) -> int:
        return self.good + self.bad

    @property
    def left_s(self) -> float | None:
        """About how long the rest takes if it goes on like this; None while nobody can say."""
        if self.fresh <= 0 or self.since_s <= 0:
            return None
        return (self.total - self.over) * self.since_s / self.fresh


def of_spans(table: Any, batch: int, spans: Spans) -> ColumnElement[bool]:
    """Jobs of a batch, first and last index of each span; all of them where there is none."""
    mine: ColumnElement[bool] = table.c.batch_id == batch
    if not spans:
        return mine
    single = [first for first, last in spans if first == last]
    several = [table.c.job_index.between(first, last) for first, last in spans if first != last]
    return and_(mine, or_(schema.among(table.c.job_index, single), *several))


def there(batch: int, spans: Spans) -> int:
    """How many they are. Raises NoSuchJob."""
    table = schema.job
    with home().store.reading() as connection:
        count = connection.scalar(select(func.count()).select_from(table).where(of_spans(table, batch, spans))) or 0
        if not count:
            known = connection.scalar(select(func.count()).select_from(table).where(table.c.batch_id == batch))
            which = f"no such job in batch {batch}" if known else f"no batch {batch}"
            raise NoSuchJob(f"there is {which}: coordinator batch list shows those that are there")
    return count


def cancel_jobs(batch: int, spans: Spans) -> tuple[int, int, list[str]]:
    """(how many waited and will not be submitted, attempts whose end was asked for, what could not be ended)."""
    at = home()
    # First what waits, so that nobody submits it meanwhile; and again what was set back to be tried again until then.
    waited = _cancel_waiting(batch, spans)
    ended, words = cancel(at.store, jobs_named, of_spans(schema.attempt, batch, spans))
    return waited + _cancel_waiting(batch, spans), ended, list(dict.fromkeys(words))


def ids_of(batch: int, spans: Spans) -> list[JobId]:
    table = schema.job
    query = select(table.c.batch_id, table.c.job_index).where(of_spans(table, batch, spans))
    with home().store.reading() as connection:
        return [(id, index) for id, index in connection.execute(query.order_by(table.c.job_index))]


def of_failed(batch: int, spans: Spans) -> list[JobId]:
    """Those that failed or were lost, and those that say that they run while nobody is at them."""
    with home().store.reading() as connection:
        return list(missing(connection, of_spans(schema.job, batch, spans)))


def rerun(ids: Sequence[JobId], told: Mapping[str, Any], by: JobExecutor) -> tuple[int, list[str]]:
    """Set jobs back to init, with other resources where ``told`` names some; what is under way at them is ended.

    (how many, what could not be ended). Raises BadNeeds; then none of them is changed.
    """
    at, jobs = home(), schema.job
    groups: dict[str, list[JobId]] = defaultdict(list)
    with at.store.reading() as connection:
        for job in jobs_where(connection, schema.among(schema.pair(jobs), ids)):
            groups[json.dumps(_fields(job.fields, told, name_of(by)), sort_keys=True)].append(job.id)
    with one_at_a_time(at.submissions):
        words = deleting.end_attempts(schema.among(schema.pair(jobs), ids))
        with at.store.writing() as connection:
            for fields, some in groups.items():
                these = schema.among(schema.pair(jobs), some)
                deleting.wait_no_longer(connection, these)
                changes.change_many(connection, these, {"state": INIT, **json.loads(fields)})
    return sum(map(len, groups.values())), list(dict.fromkeys(words))


def count_of(chosen: ColumnElement[bool]) -> Count:
    table = schema.job
    query = select(table.c.state, func.count()).where(chosen).group_by(table.c.state)
    with home().store.reading() as connection:
        states: dict[str, int] = {state: count for state, count in connection.execute(query)}
    good = sum(count for state, count in states.items() if state in GOOD)
    return Count(sum(states.values()), good, sum(count for state, count in states.items() if state in BAD))


def wait(
    chosen: ColumnElement[bool], by: JobExecutor, most: float | None, show: Callable[[Count, list[str]], None]
) -> Count:
    """Submit what may go, again and again, until none of the jobs can go on by itself. ``show`` is told how far they
    are, and what cannot be looked at or submitted now."""
    pause, began, first, pause_s = threading.Event(), time.monotonic(), count_of(chosen), SHORTEST_S
    last: object = None
    while True:
        seen = submission.reconciled(home())
        result, _ = submission.submit_where(by, chosen, most)
        now = count_of(chosen)
        now = replace(now, fresh=now.over - first.over, since_s=time.monotonic() - began)
        said = [*seen.words, *seen.damaged, *(f"not submitted yet: {words}" for words in result.words)]
        show(now, said)
        if not left(chosen):
            return now
        state = (now.total, now.good, now.bad, len(result.submitted))
        pause_s = SHORTEST_S if state != last else min(LONGEST_S, pause_s * 1.5)
        last = state
        pause.wait(pause_s)


def _cancel_waiting(batch: int, spans: Spans) -> int:
    table = schema.job
    waits = and_(of_spans(table, batch, spans), table.c.state == INIT)
    with home().store.writing() as connection:
        return changes.change_many(connection, waits, {"state": CANCELLED})


def _fields(was: Mapping[str, Any], told: Mapping[str, Any], executor: str) -> dict[str, Any]:
    """What of a JobInfo is to be set. Raises BadNeeds."""
    if not told:
        return {}
    rest, fields = dict(told), dict[str, Any]()
    before = dict(was.get("resources") or {})
    queue = rest.pop("queue", None)
    if queue is not None:
        # The field of the job is where batches have it; what its resources say beside it would contradict.
        before.pop("queue", None)
        before.pop("partition", None)
        fields["queue"] = queue
    fields["resources"] = resources.changed(before, rest)
    resources.read(fields["resources"], str(fields.get("queue", was.get("queue")) or ""), executor=executor)
    return fields
