"""The jobs of a batch and the attempts at them as tables and lines for people, and as values for programs.

`coordinator batch show` prints these; values in, text out. Names, words and paths are data, shown with their control
characters escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordinator.batch.details import Try, Whole
from coordinator.core.statuses import State
from coordinator.jobs.changes import title
from coordinator.jobs.reasons import words_of
from coordinator.jobs.records import Job, short
from coordinator.jobs.states import Outcome, Stage
from coordinator.jobs.usage import size, span
from coordinator.tables import Column, Table, cell, clock_time, visible


def jobs_table(jobs: Sequence[tuple[Job, Try | None]]) -> Table:
    """A line for each."""
    heads = ("job", "state", "tried", "id", "host", Column("time", _span), Column("memory", _size), "words")
    rows = []
    for job, one in jobs:
        words = job.words or ("" if one is None or one.attempt.stage is Stage.OVER else words_of(one.attempt))
        used = (None, None) if one is None else (one.usage.wall_s, one.usage.memory)
        id, host = ("", "") if one is None else (one.id, one.attempt.host)
        rows.append([job.index, job.state, job.attempt, id or None, host or None, *used, words])
    columns = tuple(head if isinstance(head, Column) else Column(head) for head in heads)
    return Table(columns, rows, empty="(no jobs)")


def job_lines(whole: Whole) -> list[str]:
    """A job with all its attempts."""
    job = whole.job
    lines = [f"job {job.index} of batch {job.batch}: {cell(job.state)}"]
    told = {
        "name": title(job.fields.get("name")), "words": job.words, "waits": whole.held,
        "priority": short(job.priority), "script": job.fields.get("script"), "resources": job.fields.get("resources"),
        "queue": job.fields.get("queue"), "retries": job.fields.get("retries"), "after": job.info.get("after"),
    }  # fmt: skip
    lines += [f"  {name:10}{cell(value)}" for name, value in told.items() if value not in (None, "", {}, [])]
    if not whole.tries:
        lines.append("  it was never submitted")
    for one in whole.tries:
        lines += ["", *_try_lines(one)]
    return lines


def told_briefly(job: Job, one: Try | None) -> dict[str, Any]:
    """For programs."""
    newest = None if one is None else one.told()
    return {"job": job.index, "state": job.state, "words": job.words or None, "attempts": job.attempt, "newest": newest}


def told_whole(whole: Whole) -> dict[str, Any]:
    """For programs."""
    job = whole.job
    return {
        "info": job.info, "words": job.words or None, "waits": whole.held or None,
        "not_before": job.not_before or None, "attempts": [one.told() for one in whole.tries],
    }  # fmt: skip


def how(one: Try) -> str:
    """How an attempt ended, or how it is."""
    found = one.attempt
    if found.outcome is None:
        waited = found.stage is Stage.BEGUN and found.seen == State.WAITS.value
        seen = f" (its scheduler says {found.seen})" if found.seen and not waited else ""
        words = words_of(found)
        return f"{found.stage.value}{seen}{f': {words}' if words else ''}"
    if found.outcome is Outcome.OK:
        return "ok" if not found.words else f"ok, {found.words}"
    parts = [found.outcome.value]
    if found.signal:
        parts.append(f"signal {found.signal}")
    elif found.code:
        parts.append(f"exit status {found.code}")
    parts += [part for part in dict.fromkeys((found.cause, found.words)) if part and part not in parts]
    return ", ".join(parts)


def _try_lines(one: Try) -> list[str]:
    found = one.attempt
    copy = f", copy {found.spawn}" if found.spawn else ""
    by = f" by {one.executor}" if one.executor else ""
    lines = [f"  attempt {found.number}{copy}{by}: {visible(how(one))}"]
    told = {
        "id": one.id, "host": found.host, "submitted": clock_time(found.at),
        "began": None if found.began is None else clock_time(found.began),
        "ended": None if found.ended is None else clock_time(found.ended),
        "stdout": found.stdout, "stderr": found.stderr,
    }  # fmt: skip
    lines += [f"    {name:10}{cell(value)}" for name, value in told.items() if value]
    used = one.usage.lines() if found.began is not None or found.outcome is not None else []
    return lines + [f"    {line.split(None, 1)[0]:10}{line.split(None, 1)[1]}" for line in used]


def _span(value: object) -> str:
    return span(value) if isinstance(value, float) else "-"


def _size(value: object) -> str:
    return size(value) if isinstance(value, int) else "-"
