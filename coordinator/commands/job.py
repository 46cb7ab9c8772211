"""Commands about jobs as they run: status, jobs, wait, stop, why.

coordinator.commands imports this file when one of them is used. Each finds the job, asks its Coordinator or reads
its journal through coordinator.standing, and prints; none keeps anything.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import (
    CONTEXT,
    ask_farm,
    document,
    job_argument,
    json_option,
    print_json,
    print_tables,
    rc_url_option,
)
from coordinator.errors import CoordinatorError, CoordinatorLost, NoSuchJob, StateError

if TYPE_CHECKING:
    from coordinator.reasons import Reason
    from coordinator.standing import Standing
    from coordinator.tables import Table

# One wait_job() call lasts at most so long: an answer in time tells that the Coordinator still lives.
WAIT_CALL_S = 20.0
# What `stop` grants a job to finish what runs before the prompt returns all the same.
STOP_WAIT_S = 60.0
TIMED_OUT = 124


@click.command(context_settings=CONTEXT)
@click.argument("job", metavar="[JOB]", required=False)
@json_option
@rc_url_option
def status(job: str | None, as_json: bool, rc_url: str | None) -> int:
    """What a job has done, what it runs and what it waits for; without JOB, a line for each job."""
    if job is None:
        return _list_jobs(as_json, rc_url)
    from coordinator.standing import look_at

    standing = look_at(job, rc_url)
    if as_json:
        print_json(document("job", job=standing.job))
    else:
        for line in status_lines(standing.job):
            print(line)
        tables = status_tables(standing.job)
        if tables:
            print()
        print_tables(tables)
    return 0


def status_lines(job: dict[str, Any]) -> list[str]:
    """The head of a job's status, as text for people."""
    import time

    from coordinator.reasons import LIVING
    from coordinator.tables import cell, clock_time, duration

    started = job.get("started")
    since = f", started {clock_time(started)}" if started else ""
    if started and job.get("state") in LIVING:
        since += f" ({duration(max(0.0, time.time() - started))} ago)"
    lines = [f"{cell(job.get('name'))}: {job.get('state')}{since}"]
    if job.get("reason"):
        lines.append(f"  reason      {cell(job['reason'])}")
    total = f" of {job['total']}" if job.get("total") is not None else ""
    counts = [f"{job.get('done') or 0} done{total}", f"{job.get('failed') or 0} failed"]
    counts += [f"{job[key]} {word}" for key, word in _COUNTS if job.get(key)]
    lines.append(f"  tasks       {', '.join(counts)}")
    if job.get("rate_per_s"):
        left = f", about {duration(job['eta_s'])} left" if job.get("eta_s") is not None else ""
        lines.append(f"  speed       {cell(float(job['rate_per_s']))} tasks a second{left}")
    for key in ("script", "directory", "url", "log"):
        if job.get(key):
            lines.append(f"  {key:<11} {cell(job[key])}")
    if job.get("pid"):
        lines.append(f"  process     {job['pid']} on {cell(job.get('host'))}")
    return lines


_COUNTS = (
    ("leased", "with processors"),
    ("todo", "to do"),
    ("waiting", "to be tried again"),
    ("before", "of them done in earlier starts"),
    ("late", "reported too late"),
)


def status_tables(job: dict[str, Any]) -> list[Table]:
    from coordinator.tables import Column, Table, columns, duration, shown_id

    tables = []
    if job.get("processors"):
        task = Column("task", lambda value: "-" if value is None else shown_id(value))
        heads = columns("number", "host", "pid", "state", "done", "failed", task, Column("for", duration))
        rows = [
            [p.get(key) for key in ("number", "host", "pid", "state", "done", "failed", "task", "since_s")]
            for p in job["processors"]
        ]
        tables.append(Table(heads, rows, "Processors"))
    if job.get("hosts"):
        tables.append(Table(columns("host", "slots", "processors", "reason"), host_rows(job["hosts"]), "Hosts"))
    if job.get("errors"):
        tables.append(error_table(job["errors"]))
    return tables


def host_rows(hosts: dict[str, dict[str, Any]]) -> list[list[Any]]:
    """Those in a row that wait for the same are one row: a scheduler may let hundreds wait."""
    rows: list[list[Any]] = []
    for waits, some in groupby(hosts.items(), key=lambda item: item[1].get("waits")):
        if not waits:
            rows += [[name, h.get("slots"), h.get("processors"), h.get("reason") or ""] for name, h in some]
            continue
        names = {name: int(host.get("slots") or 0) for name, host in some}
        shown = " ... ".join(dict.fromkeys((next(iter(names)), next(reversed(names)))))
        rows.append([shown, sum(names.values()), 0, f"waits: {waits}"])
    return rows


def error_table(groups: list[dict[str, Any]]) -> Table:
    """Groups of failures, the largest first."""
    from coordinator.tables import Column, Table, columns, shown_ids

    rows = [
        [g.get("count"), g.get("kind"), g.get("where"), g.get("message"), g.get("first_ids")]
        for g in sorted(groups, key=lambda group: -int(group.get("count") or 0))
    ]
    heads = columns("failures", "kind", "where", "message", Column("first IDs", shown_ids))
    return Table(heads, rows, "Errors")


@click.command(context_settings=CONTEXT)
@json_option
@rc_url_option
def jobs(as_json: bool, rc_url: str | None) -> int:
    """The jobs that the ResourceController knows, and those of this directory."""
    return _list_jobs(as_json, rc_url)


def _list_jobs(as_json: bool, rc_url: str | None) -> int:
    from coordinator.tables import Column, Table, cell, clock_time, columns

    farm, problem = ask_farm(rc_url, required=rc_url is not None)
    listed = merge_jobs(farm, _jobs_here())
    if as_json:
        print_json(document("jobs", jobs=listed, controller=_head(farm), problem=problem or None))
        return 0
    if problem:
        print(f"Only the jobs of this directory: {problem}", file=sys.stderr)
    keys = ("name", "state", "processors", "slots", "done", "failed", "started", "reason")
    heads = columns(*keys[:6], Column("started", clock_time), Column("reason", lambda reason: cell(reason or "")))
    rows = [[one.get(key) for key in keys] for one in listed]
    print_tables([Table(heads, rows, empty="(no jobs)")])
    return 0


def merge_jobs(farm: dict[str, Any] | None, local: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The farm's jobs in the order of its queue, then those that only the files of this directory tell of."""
    listed = []
    by_run = {one["run"]: one for one in local if one.get("run")}
    for job in (farm or {}).get("jobs", []):
        own = by_run.pop(job.get("run"), None)
        counts = {key: own.get(key) for key in ("done", "failed")} if own else {"done": None, "failed": None}
        listed.append({**job, **counts})
    known = {one.get("run") for one in listed} - {None}
    listed += [one for one in local if one.get("run") not in known]
    return listed


def _jobs_here() -> list[dict[str, Any]]:
    from coordinator.standing import look
    from coordinator.whereabouts import here

    found: list[dict[str, Any]] = []
    for place in here():
        try:
            job = look(place).job
        except CoordinatorError as problem:
            found.append({"name": place.name, "state": "unknown", "reason": problem.message})
            continue
        keys = ("name", "state", "url", "run", "directory", "done", "failed", "started", "reason", "host", "pid")
        found.append({**{key: job.get(key) for key in keys}, "processors": len(job["processors"])})
    return found


def _head(farm: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if farm is None else {key: farm.get(key) for key in ("name", "url", "pid", "started", "version")}


# --- wait and stop ---------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@job_argument
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after that; exit status 124.")
@json_option
@rc_url_option
def wait(job: str, timeout: float | None, as_json: bool, rc_url: str | None) -> int:
    """Wait until a job ends. Exit status 0: all its tasks are done; 1: not all, it says why."""
    from coordinator.standing import look_at

    standing = wait_until_ended(look_at(job, rc_url), timeout)
    if as_json:
        print_json(document("wait", ended=not standing.lives, job=standing.job))
    else:
        print("\n".join(_outcome_lines(standing.job)))
    if standing.lives:
        return TIMED_OUT
    return 0 if all_done(standing.job) else 1


def _outcome_lines(job: dict[str, Any]) -> list[str]:
    """How it ended and why, and what is done: the same whether its last words or its journal tell."""
    head, *more = status_lines(job)
    return [head, *(line for line in more if line.startswith(("  reason ", "  tasks ")))]


def all_done(job: dict[str, Any]) -> bool:
    return job.get("state") == "done" and not job.get("failed")


def wait_until_ended(standing: Standing, timeout_s: float | None) -> Standing:
    """The job after its end, or as it stands when the time is up. Asks again wherever it is restarted meanwhile."""
    import time

    from coordinator.standing import look
    from coordinator.whereabouts import again

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while standing.remote is not None:
        span = WAIT_CALL_S if deadline is None else min(WAIT_CALL_S, deadline - time.monotonic())
        if span <= 0:
            break
        with suppress(CoordinatorLost):  # It ended, or was killed: its files say which.
            standing.remote.call("wait_job", span, timeout_s=span + WAIT_CALL_S)
        standing = look(again(standing.place))
    return standing


@click.command(context_settings=CONTEXT)
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--rc", metavar="NAME", help="Stop the ResourceController of that name instead; its jobs go on.")
@json_option
@rc_url_option
def stop(job: str | None, rc: str | None, as_json: bool, rc_url: str | None) -> int:
    """Stop a job: what runs is finished and kept, and the same command goes on later."""
    if (job is None) == (rc is None):
        raise click.UsageError("give the JOB to stop, or --rc=NAME for a ResourceController (one of the two)")
    if rc is not None:
        from coordinator.commands.farm import stop_controller

        return stop_controller(rc, rc_url, as_json)
    assert job is not None
    from getpass import getuser

    from coordinator.standing import look_at

    standing = look_at(job, rc_url)
    if standing.remote is None:
        raise StateError(f"The job {standing.place.shown} does not run: its state is {standing.job.get('state')!r}.")
    standing.remote.call("stop", f"stopped by {getuser()} with `coordinator stop`")
    standing = wait_until_ended(standing, STOP_WAIT_S)
    if as_json:
        print_json(document("stop", ended=not standing.lives, job=standing.job))
    elif standing.lives:
        print(f"The job {standing.place.shown} is stopping: tasks that run now are still being finished.")
    else:
        print("\n".join(_outcome_lines(standing.job)))
        print("The job's own command, typed again, goes on where it ended.")
    return 0


# --- why -------------------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@click.argument("job", metavar="JOB|HOST")
@json_option
@rc_url_option
def why(job: str, as_json: bool, rc_url: str | None) -> int:
    """Why a job waits, is slow, stands still or failed, or why a host is not used; and what to do next.

    A name that is both a job's and a host's means the job.
    """
    from coordinator import reasons
    from coordinator.standing import look_at

    try:
        standing = look_at(job, rc_url)
    except NoSuchJob:
        farm, _ = ask_farm(rc_url, required=False)
        if farm is None or job not in farm["hosts"]:
            raise
        found = reasons.explain_host(job, farm)
        if as_json:
            print_json(document("why_host", host=farm["hosts"][job], reasons=[one.to_json() for one in found]))
        else:
            _print_reasons(found)
        return 0
    farm, problem = None, ""
    # A job that runs with --local has no ResourceController of its own to ask.
    url = rc_url or standing.job.get("rc_url")
    if standing.lives and url:
        farm, problem = ask_farm(url, required=False)
    found = reasons.explain(standing.job, standing.place.shown, farm, problem)
    if as_json:
        print_json(document("why", job=standing.job, reasons=[one.to_json() for one in found]))
    else:
        _print_reasons(found)
    return 0


def _print_reasons(found: list[Reason]) -> None:
    from coordinator.tables import visible

    for one in found:
        print(visible(one.what))
        if one.why:
            print(f"    why:  {visible(one.why)}")
        if one.next:
            print(f"    next: {visible(one.next)}")
