"""`coordinator batch why|log|cancel|rerun|remove`: asking about jobs of a batch, ending them, running them again.

They are part of the group of :mod:`.batch`, which imports this file, and thin over coordinator.batch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from coordinator.commands import CONTEXT, document, json_option, print_json
from coordinator.commands.batchoptions import (
    executor_option,
    looked,
    needs_options,
    submitter,
    typed,
    warn,
    where_options,
)
from coordinator.commands.batchsubmit import wait_for
from coordinator.errors import NoSuchJob

if TYPE_CHECKING:
    from coordinator.reasons import Reason

#: seconds between two looks at the store while a log is followed
LOOK_S = 1.0
#: most jobs that one word may name
_MOST = 1 << 62

Spans = tuple[tuple[int, int], ...]


class _Jobs(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``4``, ``0-9``, ``3,5-7``."""

    name = "jobs"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        found = []
        for part in value.split(","):
            first, dash, last = part.partition("-")
            last = last if dash else first
            if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < _MOST):
                self.fail(f"{part!r} is no job: write 4, 0-9 or 3,5-7", param, ctx)
            found.append((int(first), int(last)))
        return tuple(found)


def _flat(words: tuple[Spans, ...]) -> list[tuple[int, int]]:
    return [span for word in words for span in word]


batch_argument = click.argument("id", type=click.IntRange(min=0), metavar="BATCH")
job_argument = click.argument("job", type=click.IntRange(min=0), metavar="JOB")
jobs_argument = click.argument("jobs", type=_Jobs(), metavar="[JOB]...", nargs=-1)


# --- why and log -------------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@batch_argument
@click.argument("job", type=click.IntRange(min=0), metavar="[JOB]", required=False)
@where_options
@json_option
def why(id: int, job: int | None, as_json: bool) -> int:
    """Why a job waits, runs, failed or was lost, and what to do next; or the most frequent reasons of a batch."""
    import time

    from coordinator.batch.details import job_whole, why_batch
    from coordinator.jobs import reasons

    unknown = looked()
    if job is not None:
        whole = job_whole(id, job)
        found = reasons.why(whole.facts(), time.time(), typed)
        if as_json:
            told = [one.to_json() for one in found]
            print_json(
                document("batch_job_why", batch=id, job=job, state=whole.job.state, reasons=told, unknown=unknown)
            )
        else:
            _print(found)
            warn(unknown)
        return 0
    states, stuck, groups = why_batch(id, typed)
    if as_json:
        most = [{**one.to_json(), "count": len(indices), "jobs": indices} for one, indices in groups]
        print_json(document("batch_why", batch=id, states=states, stuck=stuck or None, reasons=most, unknown=unknown))
        return 0
    from coordinator.batch.dashboard import in_order
    from coordinator.tables import visible

    counts = ", ".join(f"{states[state]:,} {visible(state)}" for state in in_order(states))
    print(f"batch {id}: {counts}")
    if stuck:
        print(f"It does not go on: {visible(stuck)}")
    _print([one for one, _ in groups])
    warn(unknown)
    return 0


def _print(found: list[Reason]) -> None:
    from coordinator.tables import visible

    for one in found:
        print(visible(one.what))
        for name, text in (("why: ", one.why), ("next:", one.next)):
            head = name
            for line in text.splitlines():
                print(f"    {head} {visible(line)}".rstrip())
                head = " " * len(name)


@click.command(context_settings=CONTEXT)
@batch_argument
@job_argument
@click.option("--stderr", is_flag=True, help="What it printed there, instead of stdout.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of that attempt.  [default: the newest]")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="The last so many; 0: all.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing what is appended, until the attempt is over.")
@where_options
@json_option
def log(id: int, job: int, stderr: bool, attempt: int | None, lines: int, follow: bool, as_json: bool) -> int:
    """What an attempt at a job has printed."""
    from coordinator.batch.details import Try, job_whole
    from coordinator.batch.showing import how
    from coordinator.commands.logs import appended, sink_for
    from coordinator.jobs.states import Stage
    from coordinator.logfiles import tail
    from coordinator.tables import visible

    looked()
    tries = [one for one in job_whole(id, job).tries if one.attempt.mark and one.attempt.spawn == 0]
    found = next((one for one in reversed(tries) if attempt in (None, one.attempt.number)), None)
    if found is None:
        known = ", ".join(str(one.attempt.number) for one in tries)
        which = f"there are attempts {known}" if known else f"it was never submitted: {typed('why', id, job)}"
        raise NoSuchJob(f"There is no such attempt at job {job} of batch {id}; {which}.")
    number, path = found.attempt.number, found.attempt.stderr if stderr else found.attempt.stdout

    def now() -> Try | None:
        looked()
        return next((one for one in job_whole(id, job).tries if one.attempt.place == found.attempt.place), None)

    lives = _once_in(LOOK_S, lambda: (one := now()) is not None and one.attempt.stage is not Stage.OVER)
    if follow:
        _await(path, lives)
    text, offset = tail(path, lines) if os.path.isfile(path) else ("", 0)
    if as_json:
        print_json(document("batch_log", batch=id, job=job, attempt=number, log=path, lines=text.splitlines()))
    sink = sink_for(as_json)
    if not as_json:
        sink.take(path, text)
    if not follow:
        if not os.path.isfile(path):
            print(f"nothing was printed yet, or {visible(path)} was removed", file=sys.stderr)
        return 0
    if os.path.isfile(path):
        for piece in appended(path, offset, lives):
            sink.take(path, piece)
    sink.end()
    last = now()
    print(f"attempt {number}: {visible(how(last)) if last is not None else 'it was removed'}", file=sys.stderr)
    return 0


def _await(path: str, lives: Callable[[], bool]) -> None:
    """Until the attempt has begun to print, or is over."""
    import time

    while not os.path.isfile(path) and lives():
        time.sleep(LOOK_S / 4)  # a look at the store is made by lives(), once a second


def _once_in(span_s: float, look: Callable[[], bool]) -> Callable[[], bool]:
    """The same answer for so long."""
    import time

    last, said = -span_s, True

    def answer() -> bool:
        nonlocal last, said
        if time.monotonic() - last >= span_s:
            said = look()
            last = time.monotonic()
        return said

    return answer


# --- cancel, rerun, remove ---------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@batch_argument
@jobs_argument
@where_options
@json_option
def cancel(id: int, jobs: tuple[Spans, ...], as_json: bool) -> int:
    """End what is under way of a batch, with all that it started, and submit no more of it; or of these jobs."""
    from coordinator.batch import rerunning
    from coordinator.tables import visible

    spans = _flat(jobs)
    unknown = looked()
    rerunning.there(id, spans)
    waited, ended, words = rerunning.cancel_jobs(id, spans)
    looked()
    if as_json:
        print_json(document("batch_cancel", batch=id, waited=waited, ended=ended, not_ended=words, unknown=unknown))
    else:
        print(f"{waited:,} waited and will not be submitted; the end of {ended:,} under way was asked for")
        for one in words:
            print(f"could not be ended: {visible(one)}", file=sys.stderr)
        warn(unknown)
    return int(bool(words))


@click.command(context_settings=CONTEXT)
@batch_argument
@jobs_argument
@click.option("--failed", is_flag=True, help="Those that failed or were lost, and those that end without a word.")
@click.option("--all", "everything", is_flag=True, help="Every job of the batch, also those that are complete.")
@needs_options(times=True)
@click.option("--submit/--no_submit", default=True, help="Submit them at once.  [default: submit]")
@click.option("--wait", is_flag=True, help="Go on until none of the batch can, as `submit --wait`.")
@executor_option
@where_options
@json_option
def rerun(
    id: int, jobs: tuple[Spans, ...], failed: bool, everything: bool, submit: bool, wait: bool, executor: str | None,
    as_json: bool, **needs: str | None,
) -> int:  # fmt: skip
    """Run jobs of a batch again, with other resources where they are named: x2 is twice what it was. What is under
    way at them is ended."""
    from coordinator.batch import rerunning, submission
    from coordinator.batch.executors import executor as named
    from coordinator.jobs import schema
    from coordinator.tables import visible

    if not (jobs or failed or everything):
        raise click.UsageError("say which: JOB..., --failed, or --all")
    spans = _flat(jobs)
    by = submitter(executor) if submit or wait else named(executor)
    unknown = looked()
    rerunning.there(id, spans)
    ids = rerunning.of_failed(id, spans) if failed else rerunning.ids_of(id, spans)
    told = {name: value for name, value in needs.items() if value is not None}
    count, words = rerunning.rerun(ids, told, by)
    chosen = rerunning.of_spans(schema.job, id, spans)
    if wait:
        return wait_for(chosen, by, None, as_json)
    result, stuck = submission.submit_where(by, chosen) if submit else (None, {})
    done = 0 if result is None else len(result.submitted)
    not_now = [] if result is None else [*result.words, *(words for _, words in result.refused)]
    if as_json:
        indices = [index for _, index in ids]
        print_json(document("batch_rerun", batch=id, jobs=indices, submitted=done, not_ended=words, not_now=not_now,
                            stuck=stuck.get(id), unknown=unknown))  # fmt: skip
        return int(bool(result and result.refused))
    print(f"{count:,} set back to init, {done:,} submitted")
    for one in not_now:
        print(f"not submitted: {visible(one)}")
    for one in words:
        print(f"an attempt that was under way could not be ended: {visible(one)}", file=sys.stderr)
    if submit and done < count:
        print(f"the others wait; why: {typed('why', id)}")
    warn(unknown)
    return int(bool(result and result.refused))


@click.command(context_settings=CONTEXT)
@click.argument("batches", type=click.IntRange(min=0), metavar="BATCH...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@where_options
@json_option
def remove(batches: tuple[int, ...], yes: bool, as_json: bool) -> int:
    """Take batches out of the store; what is under way is ended. Their logs and data files stay."""
    from coordinator.batch import deleting, rerunning

    looked()
    counts = [rerunning.there(id, []) for id in batches]
    if not yes:
        if as_json:
            raise click.UsageError("with --json say --yes")
        some = "batch" if len(batches) == 1 else "batches"
        click.confirm(f"Remove {sum(counts):,} jobs of {some} {', '.join(map(str, batches))}?", abort=True, err=True)
    gone = deleting.remove_batch(batches)
    if as_json:
        print_json(document("batch_remove", batches=list(batches), jobs=gone))
    else:
        print(f"{gone:,} job{'s' if gone != 1 else ''} removed")
    return 0


COMMANDS = {one.name: one for one in (why, log, cancel, rerun, remove) if one.name is not None}
