"""Commands about what a job has left behind: errors, results, redo.

coordinator.commands imports this file when one of them is used. They read the journal, of a living job too, and from
any directory; `redo` is the only one that changes something.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import CONTEXT, document, job_argument, json_option, print_json, rc_url_option
from coordinator.errors import NoSuchJob

if TYPE_CHECKING:
    from coordinator.whereabouts import Place


# --- errors ----------------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@job_argument
@click.option("--each", is_flag=True, help="Every failed task by itself, one a line.")
@click.option("--history", is_flag=True, help="Every failed attempt there ever was, one a line.")
@json_option
@rc_url_option
def errors(job: str, each: bool, history: bool, as_json: bool, rc_url: str | None) -> int:
    """What failed in a job: grouped by kind and place, with the traceback of one of each."""
    from coordinator.whereabouts import find

    place = find(job, rc_url)
    if each or history:
        return _each_error(place, history, as_json)
    groups = _groups(place)
    if as_json:
        print_json(document("errors", job=place.name, errors=groups))
        return 0
    if not groups:
        print(f"No task of {place.shown} has failed for good.")
    for line in group_lines(groups):
        print(line)
    return 0


def _groups(place: Place) -> list[dict[str, Any]]:
    from coordinator.standing import group_to_json, look

    if not has_journal(place):
        return list(look(place).job["errors"])
    from coordinator.history import failures, group_errors

    return [group_to_json(group) for group in group_errors(failures(_journal(place)))]


def group_lines(groups: list[dict[str, Any]]) -> Iterator[str]:
    """Groups of errors for people: what, how often, where, with which tasks, and the traceback."""
    from coordinator.tables import cell, shown_ids, visible

    for number, group in enumerate(groups):
        if number:
            yield ""
        where = f" in {group['where']}" if group["where"] else ""
        yield f"{group['count']} x {cell(group['kind'])}{cell(where)}: {cell(group['message'])}"
        more = ", ..." if group["count"] > len(group["first_ids"]) else ""
        yield f"    tasks: {shown_ids(group['first_ids'])}{more}"
        for line in (group["traceback"] or "").rstrip("\n").split("\n"):
            if line:
                yield f"    {visible(line)}"


def _each_error(place: Place, history: bool, as_json: bool) -> int:
    from coordinator.history import failures
    from coordinator.standing import failure_to_json
    from coordinator.tables import cell, clock_time, shown_id

    found = (failure_to_json(one) for one in failures(_journal(place), history=history))
    if as_json:
        _print_stream("failures", place, found)
        return 0
    for one in found:
        print(
            f"{shown_id(one['id'])}\tattempt {one['attempt']} on {cell(one['host'])} at {clock_time(one['at'])}: "
            f"{cell(one['kind'])}: {cell(one['message'])}"
        )
    return 0


# --- results ---------------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@job_argument
@json_option
@rc_url_option
def results(job: str, as_json: bool, rc_url: str | None) -> int:
    """The results of a job: a line for each task that gave one, its ID, a tab, and the value as JSON."""
    from coordinator.core import ids
    from coordinator.history import results as read_results
    from coordinator.standing import tagged
    from coordinator.tables import visible
    from coordinator.whereabouts import find

    place = find(job, rc_url)
    pairs = read_results(_journal(place))
    if as_json:
        _print_stream("results", place, ({"id": tagged(one), "value": tagged(value)} for one, value in pairs))
        return 0
    for one, value in pairs:
        print(f"{visible(ids.to_line(ids.encode(one)))}\t{ids.encode_result(value)}")
    return 0


def _print_stream(kind: str, place: Place, items: Iterator[dict[str, Any]]) -> None:
    """One document whose list may be longer than memory: written as it is read, one item a line."""
    import json

    head = json.dumps(document(kind, job=place.name))
    sys.stdout.write(f'{head[:-1]}, "{kind}": [')
    for number, item in enumerate(items):
        sys.stdout.write((",\n" if number else "\n") + json.dumps(item))
    sys.stdout.write("\n]}\n")


def has_journal(place: Place) -> bool:
    return place.files is not None and os.path.exists(place.files.journal)


def _journal(place: Place) -> str:
    if place.files is None or not has_journal(place):
        where = place.files.journal if place.files is not None else f"that of {place.url}"
        raise NoSuchJob(f"The journal of {place.name} ({where}) cannot be seen from here; ask on the job's machine.")
    return place.files.journal


# --- redo ------------------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@job_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--failed", is_flag=True, help="All tasks that failed.")
@click.option("--all", "everything", is_flag=True, help="All tasks, those that are done as well.")
@json_option
@rc_url_option
def redo(job: str, ids: tuple[str, ...], failed: bool, everything: bool, as_json: bool, rc_url: str | None) -> int:
    """Make tasks of a job to be done again: those with these IDs (as NAME.error has them), the failed ones, or all.

    A job that runs takes them up at once; one that has ended when its own command is typed again.
    """
    if bool(ids) + failed + everything != 1:
        raise click.UsageError("say which tasks: IDs, --failed or --all (one of the three)")
    from coordinator.core.ids import encode
    from coordinator.standing import look_at, redo_on_disk

    standing = look_at(job, rc_url)
    what = "failed" if failed else "all" if everything else [_typed(one) for one in ids]
    if standing.remote is not None:
        # As texts, since plain XML-RPC would turn a tuple into a list.
        count = int(
            standing.remote.call("redo", {"texts": [encode(one) for one in what]} if isinstance(what, list) else what)
        )
        hint = "the job does them now"
    else:
        count = redo_on_disk(standing.place, what)
        hint = "the job's own command, typed again, does them"
    if as_json:
        print_json(document("redo", job=standing.place.name, count=count, running=standing.lives))
    elif count:
        print(f"{count} tasks of {standing.place.shown} are to be done again; {hint}.")
    else:
        print(f"No task of {standing.place.shown} had to be changed.")
    return 0


def _typed(line: str) -> Any:
    """The ID that a person typed, in the form of NAME.success and NAME.error."""
    from coordinator.core import ids

    return ids.decode(ids.from_line(line))
