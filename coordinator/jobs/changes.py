"""Changes of jobs, each with its event in the same transaction: added, changed, merged, removed.

The calls of batches, the taking up of reports and the reconciler come here with a connection that may write. A change
of a JobInfo that somebody has held for a while is merged: fields that others changed meanwhile stay, and one that both
changed is refused. Nothing here decides what a job does next.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from coordinator.errors import BadInput, DuplicateJob, StaleChange
from coordinator.jobs import dependencies, events, retries, schema
from coordinator.jobs.records import COLUMNS, FIXED, Job, JobId, job_of, jobs_where, text_of
from coordinator.jobs.states import INIT
from coordinator.jobs.store import executed_many

#: longest name of a state
LONGEST_STATE = 100


def add(connection: Connection, infos: Iterable[Mapping[str, Any]], on_failure: str, directory: str) -> list[JobId]:
    """Put jobs into their batches. Raises BadInput, DuplicateJob, BadDependency; then none of them is there."""
    jobs = [_job(info) for info in infos]
    heads: dict[int, Job] = {}
    for job in jobs:
        heads.setdefault(job.batch, job)
    now = time.time()
    table = schema.batch
    these = select(table.c.batch_id, table.c.directory).where(schema.among(table.c.batch_id, heads))
    known = {batch: place for batch, place in connection.execute(these)}
    # A batch that is there runs where it was made; who adds to it from elsewhere means that place.
    jobs = [
        replace(job, fields={"directory": directory, **job.fields})
        if known.get(job.batch, directory) != directory else job
        for job in jobs
    ]  # fmt: skip
    common = {"on_failure": on_failure, "directory": directory, "at": now}
    rows = [
        {**common, "batch_id": job.batch, "name": title(job.fields.get("name")),
         "batch_type": str(job.fields.get("batch_type", ""))}
        for job in heads.values() if job.batch not in known
    ]  # fmt: skip
    if rows:
        connection.execute(insert(schema.batch), rows)
    try:
        connection.execute(insert(schema.job), [_row(job) for job in jobs])
    except IntegrityError as error:
        raise DuplicateJob(f"{_twin(connection, jobs)}: give it another JobIndex, or remove_batch first") from error
    events.write(connection, [events.event(job.id, 1, "added", {}, now) for job in jobs])
    if any(job.after for job in jobs):
        dependencies.check(connection, [job for job in jobs if job.after])
    return [job.id for job in jobs]


def change(connection: Connection, job: Job, fields: Mapping[str, Any], kind: str = "changed", words: str = "") -> Job:
    """Set fields of its JobInfo, and ``words``: why. What is the same already is no change."""
    was = job.info
    fresh = {name: value for name, value in fields.items() if name not in was or was[name] != value}
    if not fresh and words == job.words:
        return job
    to = _job({**was, **fresh})
    changed = replace(to, attempt=job.attempt, version=job.version + 1, not_before=job.not_before, words=words)
    row = _row(changed)
    connection.execute(update(schema.job).where(_is(job)), row)
    told = {name: [was.get(name), value] for name, value in fresh.items()}
    events.note(connection, job.batch, job.index, kind, told, job.version + 1)
    if "after" in fresh and changed.after:
        dependencies.check(connection, [changed])
    return replace(changed, fields=json.loads(row["fields"]))  # as it would be read: a tuple has become a list


def merge(connection: Connection, info: Mapping[str, Any]) -> Job:
    """A JobInfo that somebody has read, changed and now hands in.

    Raises NoSuchJob, BadInput, and StaleChange if a field that they changed was changed by somebody else, too.
    """
    job = job_of(connection, _number(info, "BatchID"), _number(info, "JobIndex"))
    now = job.info
    read = info.get("version", job.version)
    if isinstance(read, bool) or not isinstance(read, int):
        raise BadInput(f"the version of a JobInfo is the number that it was read with, not {read!r:.100}")
    base = now if read == job.version else {**now, **events.fields_at(connection, job, read)}
    fresh = {name: value for name, value in info.items() if name not in FIXED and base.get(name, _NONE) != value}
    stale = sorted(n for n, v in fresh.items() if now.get(n, _NONE) != base.get(n, _NONE) and now.get(n, _NONE) != v)
    if stale:
        raise StaleChange(
            f"job {job.index} of batch {job.batch}: somebody else has changed {', '.join(stale)} since you read it "
            f"(version {read}, now {job.version}): get_job_info, and change that"
        )
    return change(connection, job, fresh)


def change_many(
    connection: Connection,
    condition: ColumnElement[bool],
    fields: Mapping[str, Any],
    spared: Callable[[Job], bool] | None = None,
) -> int:
    """Set fields of all jobs of a condition but those that are spared; how many they are."""
    if spared is None and fields.keys() <= {"state", "priority"}:
        return _change_columns(connection, condition, _job({**_BLANK, **fields}), fields)
    # What is set is the same for all of them, so it is checked once.
    to = _job({**_BLANK, **fields})
    columns = {name: getattr(to, name) for name in fields if name in COLUMNS}
    rows, told, depend, at = [], [], [], time.time()
    for job in jobs_where(connection, condition):
        if spared is not None and spared(job):
            continue
        if "after" in columns:  # a number in it is a job of the same batch
            columns["after"] = dependencies.read(job.batch, fields["after"])
        patch = {**columns, **to.fields}
        old = {**job.fields, "state": job.state, "priority": job.priority, "after": job.after}
        fresh = {name: value for name, value in patch.items() if name not in old or old[name] != value}
        if not fresh:
            continue
        after = columns.get("after", job.after)
        depend += [replace(job, after=after)] if "after" in columns and after else []
        rows.append({"b": job.batch, "j": job.index, "f": text_of({**job.fields, **to.fields}), "v": job.version + 1,
                     "s": columns.get("state", job.state), "p": columns.get("priority", job.priority),
                     "a": _after(after)})  # fmt: skip
        change = {name: [old.get(name), value] for name, value in fresh.items()}
        told.append(events.event(job.id, job.version + 1, "changed", change, at))
    if rows:
        table = schema.job
        values = {"fields": bindparam("f"), "state": bindparam("s"), "priority": bindparam("p"),
                  "after": bindparam("a"), "version": bindparam("v"), "words": "", "not_before": 0.0}  # fmt: skip
        executed_many(connection, update(table).where(schema.this_job()).values(values), rows)
        events.write(connection, told)
    if depend:
        dependencies.check(connection, depend)
    return len(rows)


def remove(connection: Connection, condition: ColumnElement[bool]) -> list[JobId]:
    """Take jobs out of the store, with all that is known of them; batches that are empty then, too."""
    gone = [(row.batch_id, row.job_index) for row in connection.execute(
        select(schema.job.c.batch_id, schema.job.c.job_index).where(condition))]  # fmt: skip
    keys = [{"b": batch, "j": index} for batch, index in gone]
    if not keys:
        return []
    for table in (schema.attempt, schema.event, schema.job):
        chosen = and_(table.c.batch_id == bindparam("b"), table.c.job_index == bindparam("j"))
        connection.execute(table.delete().where(chosen), keys)
    left = select(schema.job.c.batch_id)
    connection.execute(schema.batch.delete().where(schema.batch.c.batch_id.not_in(left)))
    events.note(connection, 0, None, "removed", {"jobs": len(gone), "batches": sorted({batch for batch, _ in gone})})
    return gone


def forget_submissions(connection: Connection) -> list[str]:
    """Take those out of the store that no attempt is of any more; their directories."""
    table = schema.submission
    idle = table.c.mark.not_in(select(schema.attempt.c.mark))
    directories = list(connection.scalars(select(table.c.directory).where(idle)))
    connection.execute(table.delete().where(idle))
    return directories


def raise_priority(connection: Connection, condition: ColumnElement[bool], by: float) -> int:
    """Of all jobs of a condition; how many."""
    table = schema.job
    rows = connection.execute(select(table.c.priority).where(condition).distinct()).all()
    # From the top, so that none is raised twice when the groups meet.
    order = sorted((row.priority for row in rows), reverse=by > 0)
    return sum(
        change_many(connection, and_(condition, table.c.priority == priority), {"priority": priority + by})
        for priority in order
    )


def let_go_on(connection: Connection, batches: Iterable[int], on_failure: str) -> None:
    """Whether batches go on after a group in which some failed: ``stop`` or ``continue``. Raises BadInput."""
    if on_failure not in ("stop", "continue"):
        raise BadInput(f"on_failure is 'stop' or 'continue', not {on_failure!r:.100}")
    table = schema.batch
    connection.execute(update(table).where(schema.among(table.c.batch_id, batches)).values(on_failure=on_failure))


def move(
    connection: Connection, id: JobId, number: int, states: Iterable[str], to: str, words: str, kind: str
) -> bool:  # fmt: skip
    """Bring a job into another state by what became of an attempt, if that is its newest one and the job is in one of
    these states."""
    table = schema.job
    mine = and_(table.c.batch_id == id[0], table.c.job_index == id[1])
    current = and_(mine, table.c.attempt == number, table.c.state.in_(tuple(states)))
    row = connection.execute(select(table.c.state, table.c.version).where(current)).first()
    if row is None:
        return False
    connection.execute(update(table).where(mine).values(state=to, words=words, version=row.version + 1))
    events.note(connection, id[0], id[1], kind, {"state": [row.state, to], "words": words}, row.version + 1)
    return True


def title(name: object) -> str:
    """``["human", "genome_map"]`` is human/genome_map to people and to filters."""
    if isinstance(name, str):
        return name
    return "/".join(map(str, name)) if isinstance(name, Sequence) else "" if name is None else str(name)


# --- inside ---------------------------------------------------------------------------------------------

_NONE = object()
_BLANK = {"BatchID": 0, "JobIndex": 0}


def _job(info: Mapping[str, Any]) -> Job:
    """Raises BadInput."""
    state, priority = info.get("state", INIT), info.get("priority", 1)
    if not isinstance(state, str) or not state or len(state) > LONGEST_STATE or not state.isprintable():
        raise BadInput(f"a job's state is a word of at most {LONGEST_STATE} letters, not {str(state)[:50]!r}")
    if isinstance(priority, bool) or not isinstance(priority, int | float) or not abs(priority) < 1e300:
        raise BadInput(f"a job's priority is a number, not {priority!r:.100}")
    fields = {name: value for name, value in info.items() if name not in FIXED and name not in COLUMNS}
    if not all(isinstance(name, str) for name in fields):
        raise BadInput("the names of a JobInfo's fields are words")
    retries.read(fields.get("retries"))
    batch, index = _number(info, "BatchID"), _number(info, "JobIndex")
    return Job(batch, index, state, float(priority), after=dependencies.read(batch, info.get("after")), fields=fields)


def _after(after: Mapping[str, Sequence[JobId]]) -> str | None:
    return None if not after else text_of({when: [list(one) for one in ids] for when, ids in after.items()})


def _row(job: Job) -> dict[str, Any]:
    return {"batch_id": job.batch, "job_index": job.index, "state": job.state, "priority": job.priority,
            "attempt": job.attempt, "version": job.version, "not_before": job.not_before,
            "after": _after(job.after), "words": job.words, "fields": text_of(job.fields)}  # fmt: skip


def _number(info: Mapping[str, Any], name: str) -> int:
    value = info.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise BadInput(f"{name} is a whole number from 0, not {value!r}")
    return value


def _is(job: Job) -> ColumnElement[bool]:
    return and_(schema.job.c.batch_id == job.batch, schema.job.c.job_index == job.index)


def _twin(connection: Connection, jobs: Sequence[Job]) -> str:
    seen: set[JobId] = set()
    for job in jobs:
        if job.id in seen:
            return f"job {job.index} of batch {job.batch} is given twice"
        seen.add(job.id)
    return "one of these jobs is there already"


def _change_columns(connection: Connection, condition: ColumnElement[bool], job: Job, fields: Mapping[str, Any]) -> int:
    """The same values for many jobs, without a look at each."""
    table, at = schema.job, time.time()
    values = {name: getattr(job, name) for name in fields}
    if len(values) == 1:
        ((only, value),) = values.items()
        condition = and_(condition, table.c[only] != value)
    before = select(
        literal(at), table.c.batch_id, table.c.job_index, table.c.version + 1, literal("changed"), _told(values)
    ).where(condition)
    names = ["at", "batch_id", "job_index", "version", "kind", "told"]
    connection.execute(insert(schema.event).from_select(names, before))
    done = connection.execute(
        update(table).where(condition).values(**values, version=table.c.version + 1, words="", not_before=0.0)
    )
    return done.rowcount


def _told(values: Mapping[str, Any]) -> ColumnElement[str]:
    """``{"state": ["run", "init"]}`` in SQL: a state is printable, and its quotes and backslashes are escaped."""
    parts: ColumnElement[str] = literal("{")
    for at, (name, value) in enumerate(values.items()):
        column = schema.job.c[name]
        was: ColumnElement[Any] = column
        if name == "state":
            escaped = func.replace(func.replace(column, "\\", "\\\\"), '"', '\\"')
            was = literal('"').concat(escaped).concat('"')
        head = f"{',' if at else ''}{json.dumps(name)}:["
        parts = parts.concat(head).concat(was).concat(f",{json.dumps(value)}]")
    return parts.concat("}")
