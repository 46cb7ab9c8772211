"""Commands about what a job has left behind: errors, results, logs, redo.

coordinator.commands imports this file when one of them is used. They read the journal and the logs, of a living job
too, and from any directory; `redo` is the only one that changes something.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import CONTEXT, document, job_argument, json_option, print_json, print_tables, rc_url_option
from coordinator.errors import NoSuchJob

if TYPE_CHECKING:
    from coordinator.standing import Standing
    from coordinator.whereabouts import Place

# How often a followed log is looked at; a line is seen within this time.
FOLLOW_EVERY_S = 0.5
# A followed log is read in pieces of this size, so that a huge one does not fill the memory.
PIECE_BYTES = 1 << 16


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
    return place.files is not None and place.files.journal.exists()


def _journal(place: Place) -> os.PathLike[str]:
    if place.files is None or not has_journal(place):
        where = place.files.journal if place.files is not None else f"that of {place.url}"
        raise NoSuchJob(f"The journal of {place.name} ({where}) cannot be seen from here; ask on the job's machine.")
    return place.files.journal


# --- logs ------------------------------------------------------------------------------------------


@click.command(context_settings=CONTEXT)
@job_argument
@click.option("--processor", type=click.IntRange(min=0), metavar="N", help="The log of that Processor instead.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="The last so many; 0: all.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing what is appended, until Ctrl-C or the job's end.")
@json_option
@rc_url_option
def logs(job: str, processor: int | None, lines: int, follow: bool, as_json: bool, rc_url: str | None) -> int:
    """A job's log, and the list of its Processors' logs; with --processor, one of those."""
    from coordinator.standing import known_logs, look_at

    standing = look_at(job, rc_url)
    known = known_logs(standing)
    path = log_of(standing, known, processor)
    text, offset = tail(path, lines)
    if as_json:
        print_json(document("logs", job=standing.place.name, log=path, lines=text.splitlines(), processors=known))
    else:
        sys.stdout.write(_for_terminal(text))
    if follow:
        for piece in appended(path, offset, lambda: _lives(standing)):
            if as_json:
                for line in piece.splitlines():
                    print_json(document("line", log=path, line=line))
            else:
                sys.stdout.write(_for_terminal(piece))
            sys.stdout.flush()
    elif processor is None and known and not as_json:
        from coordinator.tables import Table, columns

        print()
        heads = columns("number", "host", "pid", "log")
        print_tables([Table(heads, [list(one.values()) for one in known], "Logs of its Processors")])
    return 0


def log_of(standing: Standing, known: list[dict[str, Any]], processor: int | None) -> str:
    """The path of the job's log, or of that Processor's; NoSuchJob if it cannot be seen from here."""
    found = [one for one in known if one["number"] == processor] if processor is not None else [standing.job]
    if not found:
        numbers = ", ".join(str(one["number"]) for one in known) or "none"
        raise NoSuchJob(f"No log of a Processor {processor} of {standing.place.shown} is known; known are: {numbers}.")
    path = str(found[-1]["log"])
    if not os.path.exists(path):
        raise NoSuchJob(f"There is no log {path} on this machine; it was written on {found[-1].get('host')}.")
    return path


def _lives(standing: Standing) -> bool:
    """Whether the job's Coordinator still answers."""
    from coordinator.errors import CoordinatorError

    if standing.remote is None:
        return False
    try:
        standing.remote.call("get_job")
    except CoordinatorError:
        return False
    return True


def tail(path: str, lines: int) -> tuple[str, int]:
    """The last `lines` lines of a file (0: all) and the offset behind them."""
    with open(path, "rb") as file:
        end = start = file.seek(0, os.SEEK_END)
        data = b""
        # One newline more than lines: that before the first of them.
        while start > 0 and (not lines or data.count(b"\n") <= lines):
            step = min(PIECE_BYTES, start) if lines else start
            start -= step
            file.seek(start)
            data = file.read(step) + data
    whole = data.split(b"\n")
    if lines:
        whole = whole[-lines - 1 :] if data.endswith(b"\n") else whole[-lines:]
    return b"\n".join(whole).decode("utf-8", "replace"), end


def appended(path: str, offset: int, lives: Any) -> Iterator[str]:
    """What is appended to the file behind `offset`, as it comes, until `lives()` says that nobody writes any more."""
    import codecs
    import time

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last_look = False
    while True:
        size = os.stat(path).st_size
        if size < offset:  # It was emptied or replaced: from its beginning again.
            offset = 0
        while size > offset:
            with open(path, "rb") as file:
                file.seek(offset)
                piece = file.read(min(PIECE_BYTES, size - offset))
            offset += len(piece)
            yield decoder.decode(piece)
        if last_look:
            return
        last_look = not lives()
        if not last_look:
            time.sleep(FOLLOW_EVERY_S)


def _for_terminal(text: str) -> str:
    """Log text as it is for a pipe; on a terminal its control characters are shown, not obeyed."""
    if not sys.stdout.isatty():
        return text
    from coordinator.tables import visible

    return visible(text, keep="\n\t")


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
