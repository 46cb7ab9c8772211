"""`coordinator batch add|list|show|submit|...`: batches of jobs at the command line.

coordinator.commands imports this file for `batch`; :mod:`.batchsubmit` starts jobs and waits for them, and what asks
about or ends them is in :mod:`.batchjobs`. All of it is thin over coordinator.batch, which is imported inside the
bodies: it brings a database.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import CONTEXT, document, json_option, print_json, print_tables
from coordinator.commands.batchoptions import executor_option, looked, needs_options, typed, warn, where_options

if TYPE_CHECKING:
    from coordinator.batch.dashboard import Overview


class _Batch(click.Group):
    """The rest of its sub-commands is in other files."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from coordinator.commands import batchjobs, batchsubmit

        # In the order in which they are needed.
        self.commands.update({"submit": batchsubmit.submit, **batchjobs.COMMANDS})
        order = ("add", "list", "show", "submit", "why", "log", "cancel", "rerun", "remove")
        return sorted(self.commands, key=order.index)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self.list_commands(ctx)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Batch, context_settings=CONTEXT)
def batch() -> None:
    """Batches of jobs: add and submit them, see how they are and why, run again what failed.

    BATCH is a BatchID as `list` shows it, JOB a JobIndex, or several: 4, 0-9, 3,5-7.
    """


# --- add ---------------------------------------------------------------------------------------------


@batch.command(context_settings=CONTEXT)
@click.option("--script", required=True, metavar="COMMAND", help="A command line with {fields} of the job, or a file.")
@click.option("--count", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="So many jobs, from 0.")
@click.option("--name", metavar="TEXT", help="For people and filters.  [default: that of the program]")
@needs_options()
@click.option("--priority", type=float, default=1.0, show_default=True, help="From 100 on before all other batches.")
@click.option("--retries", metavar="N|CAUSE=N,...", help="Tried again by itself so often: 2, or memory=1,node=3,any=1.")
@executor_option
@where_options
@json_option
def add(
    script: str, count: int, name: str | None, priority: float, retries: str | None, queue: str | None,
    executor: str | None, as_json: bool, **needs: str | None,
) -> int:  # fmt: skip
    """Make a batch of jobs that differ in {JobIndex}, and print its BatchID. `submit` starts it."""
    import os
    import shlex

    from coordinator.batch import preparing, resources
    from coordinator.batch.config import config
    from coordinator.batch.template import filled

    if executor is not None:
        config.Executor = executor
    info = preparing.get_job_template()
    try:
        program = os.path.basename((shlex.split(script) or [""])[0])
    except ValueError:  # quotes that the shell will complain about
        program = ""
    info.update(script=script, name=name or program or "batch", batch_type="", priority=priority)
    info["resources"] = resources.changed(info["resources"], {k: v for k, v in needs.items() if v is not None})
    if queue is not None:
        info["queue"] = queue
    if retries is not None:
        info["retries"] = _retries(retries)
    if not os.path.isfile(script):
        filled(script, {**info, "BatchID": 0, "JobIndex": 0, "subtime": ""})
    id = preparing.get_id()
    preparing.add_batch_to_queue(id, [{**info, "BatchID": id, "JobIndex": index} for index in range(count)])
    if as_json:
        print_json(document("batch_added", batch=id, jobs=count))
        return 0
    print(id)
    print(f"{count:,} job{'s' if count > 1 else ''}; start: {typed('submit', id)}", file=sys.stderr)
    return 0


def _retries(text: str) -> int | dict[str, Any]:
    """``2``, ``memory=1,backoff_s=60``; what it may be is checked where jobs are added."""
    if text.strip().isdecimal():
        return int(text)
    found: dict[str, Any] = {}
    for part in text.split(","):
        cause, equals, times = part.partition("=")
        if not equals:
            raise click.BadParameter(f"{part!r} is not CAUSE=N", param_hint="--retries")
        try:
            found[cause.strip()] = float(times) if cause.strip() == "backoff_s" else int(times)
        except ValueError as error:
            raise click.BadParameter(f"{times!r} is no number", param_hint="--retries") from error
    return found


# --- list and show -----------------------------------------------------------------------------------


@batch.command("list", context_settings=CONTEXT)
@click.argument("batches", type=click.IntRange(min=0), metavar="[BATCH]...", nargs=-1)
@click.option("--filter", "text", default="", metavar="TEXT", help="""Such jobs: 'state = "failed" AND BatchID > 7'.""")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only jobs in this state; may be repeated.")
@executor_option
@where_options
@json_option
def list_(batches: tuple[int, ...], text: str, states: tuple[str, ...], executor: str | None, as_json: bool) -> int:
    """All batches, their jobs by state, what is missing and why, and what does not go on."""
    from coordinator.batch import dashboard
    from coordinator.batch.executors import executor as named
    from coordinator.batch.monitoring import overview
    from coordinator.batch.selection import of_batches, of_filter

    by = named(executor)
    chosen = of_filter(text)
    looked()
    found = overview(chosen & of_batches(batches) if batches else chosen, by)
    if states:
        found.only(states)
    if as_json:
        print_json(document("batches", **_told(found)))
    else:
        dashboard.show(found)
    return 0


def _told(found: Overview) -> dict[str, Any]:
    runs: dict[int, list[int]] = {}
    for id, index in sorted(found.stars):
        runs.setdefault(id, []).append(index)
    listed = [
        {
            "batch": id, "name": found.titles.get(id, ""), "states": states, "running": runs.get(id, []),
            "missing": found.missing.get(id, []), "stuck": found.stuck.get(id),
            "reasons": [{"words": words, "jobs": indices} for words, indices in found.reasons.get(id, [])],
        }
        for id, states in found.queue.items()
    ]  # fmt: skip
    return {"batches": listed, "executor": found.executor, "under_way": found.busy, "unknown": found.words}


@batch.command(context_settings=CONTEXT)
@click.argument("id", type=click.IntRange(min=0), metavar="BATCH")
@click.argument("job", type=click.IntRange(min=0), metavar="[JOB]", required=False)
@where_options
@json_option
def show(id: int, job: int | None, as_json: bool) -> int:
    """The jobs of a batch; or one job, with all attempts at it: when, where, how each ended, its logs, and the time,
    cores and memory that it used against what was asked."""
    from coordinator.batch.details import job_whole, jobs_newest
    from coordinator.batch.showing import job_lines, jobs_table, told_briefly, told_whole

    unknown = looked()
    if job is None:
        jobs = jobs_newest(id)
        if as_json:
            print_json(document("batch", batch=id, jobs=[told_briefly(*one) for one in jobs], unknown=unknown))
        else:
            print_tables([jobs_table(jobs)])
            warn(unknown)
        return 0
    whole = job_whole(id, job)
    if as_json:
        print_json(document("batch_job", job=told_whole(whole), unknown=unknown))
    else:
        print("\n".join(job_lines(whole)))
        warn(unknown)
    return 0
