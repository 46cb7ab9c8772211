"""`coordinator logs`: a job's log, one of its Processors', or all that it has left on a host.

coordinator.commands imports this file for `logs`. Files of this machine are read here, those of another host over SSH
by coordinator.executors.farlogs; which files these may be is coordinator.logfiles' to say. It changes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import CONTEXT, document, job_argument, json_option, print_json, print_tables, rc_url_option
from coordinator.errors import NoSuchJob

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.standing import Standing


@click.command(context_settings=CONTEXT)
@job_argument
@click.option("--host", metavar="HOST", help="What its Processors and its keeper have logged on that host, over SSH.")
@click.option("--processor", type=click.IntRange(min=0), metavar="N", help="The log of that Processor instead.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="The last so many; 0: all.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing what is appended, until Ctrl-C or the job's end.")
@json_option
@rc_url_option
def logs(
    job: str, host: str | None, processor: int | None, lines: int, follow: bool, as_json: bool, rc_url: str | None
) -> int:
    """A job's log, and the list of its Processors' logs; with --processor, one of those.

    With --host the logs on that host, read there over SSH as you, also when the job has ended: of all its Processors
    and of its keeper (which says why a Processor could not be started), or with --processor of that one. Those of a
    scheduler's (slurm-3) lie beside the job and are read there.
    """
    from coordinator.logfiles import tail
    from coordinator.standing import known_logs, look_at

    standing = look_at(job, rc_url)
    if host is not None:
        return _logs_on(standing, host, processor, lines, follow, as_json, rc_url)
    known = known_logs(standing)
    path = log_of(standing, known, processor)
    text, offset = tail(path, lines)
    if as_json:
        print_json(document("logs", job=standing.place.name, log=path, lines=text.splitlines(), processors=known))
    else:
        sys.stdout.write(_for_terminal(text))
    if follow:
        sink = sink_for(as_json)
        for piece in appended(path, offset, lambda: lives(standing)):
            sink.take(path, piece)
        sink.end()
    elif processor is None and known and not as_json:
        from coordinator.tables import Table, columns

        print()
        heads = columns("number", "host", "pid", "log")
        print_tables([Table(heads, [list(one.values()) for one in known], "Logs of its Processors")])
    return 0


def log_of(standing: Standing, known: list[dict[str, Any]], processor: int | None) -> str:
    """The path of the job's log, or of that Processor's; NoSuchJob if it cannot be seen from here."""
    found = [one for one in known if one["number"] == processor] if processor is not None else [standing.job]
    shown = standing.place.shown
    if not found:
        numbers = ", ".join(str(one["number"]) for one in known) or "none"
        raise NoSuchJob(
            f"No log of a Processor {processor} of {shown} is known; known are: {numbers}. Those of a job that has "
            f"ended lie on its hosts: coordinator logs {shown} --host HOST"
        )
    path, host = str(found[-1]["log"]), found[-1].get("host")
    if not os.path.exists(path):
        cure = "" if processor is None else f": coordinator logs {shown} --host {host} --processor {processor}"
        raise NoSuchJob(f"There is no log {path} on this machine; it was written on {host}{cure}.")
    return path


def lives(standing: Standing) -> bool:
    """Whether the job's Coordinator still answers."""
    from coordinator.errors import CoordinatorError

    if standing.remote is None:
        return False
    try:
        standing.remote.call("get_job")
    except CoordinatorError:
        return False
    return True


def appended(path: str, offset: int, lives: Callable[[], bool]) -> Iterator[str]:
    """What is appended to the file behind `offset`, as it comes, until `lives()` says that nobody writes any more."""
    import time

    from coordinator.logfiles import FOLLOW_EVERY_S, Tail

    file, last_look = Tail(path, offset), False
    while True:
        yield from file.appended()
        if last_look:
            return
        last_look = not lives()
        if not last_look:
            time.sleep(FOLLOW_EVERY_S)


# --- on a host -------------------------------------------------------------------------------------


def _logs_on(
    standing: Standing, host: str, processor: int | None, lines: int, follow: bool, as_json: bool, rc_url: str | None
) -> int:
    from coordinator.commands.hosts import options_of
    from coordinator.core.hosts import check_host
    from coordinator.standing import folders_of, known_logs

    place, known = standing.place, known_logs(standing)
    wanted = {
        "name": place.name,
        "host": check_host(host),
        "lines": lines,
        "follow": follow and standing.lives,
        # None: it is not known which are this job's, and all that are called like them are shown.
        "only": [os.path.basename(one["log"]) for one in known if one["host"] == host] if known else None,
        "number": processor,
    }

    def over() -> bool:
        return not lives(standing)

    folders = folders_of(place, known, host)
    if folders:
        said = _read_here(folders, wanted, over)
    else:
        from coordinator.executors.farlogs import read

        said = read(host, options_of(host, rc_url or standing.job.get("rc_url")), wanted, over)
    first = next(said)
    files = {file["path"]: file["number"] for file in first["files"]}
    if not files and not wanted["follow"]:
        which = "" if processor is None else f" of Processor {processor}"
        raise NoSuchJob(
            f"There is no log{which} of {place.shown} in {first['directory']} on {host}: it ran no Processor there, or "
            f"the host has removed it. Which hosts it uses: coordinator status {place.shown}"
        )
    sink: _Sink = _Lines() if as_json else _Text(heads=processor is None)
    if as_json:
        texts = dict.fromkeys(files, "")
        if not wanted["follow"]:
            for one in said:
                texts[one["log"]] += one["text"]
        found = [{"number": n if n >= 0 else None, "log": p, "lines": texts[p].splitlines()} for p, n in files.items()]
        print_json(document("host_logs", job=place.name, host=host, logs=found))
    for one in said:
        sink.take(one["log"], one["text"])
    sink.end()
    return 0


def _read_here(folders: list[Path], wanted: dict[str, Any], over: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """As executors.farlogs.read, of files that this machine sees."""
    import time

    from coordinator.logfiles import FOLLOW_EVERY_S, JobLogs

    kept = JobLogs(wanted["name"], folders, wanted["host"], wanted["lines"], wanted["only"], wanted["number"])
    yield {"files": [vars(file) for file in kept.files], "directory": os.fspath(folders[0])}
    for path, text in kept.last_lines():
        yield {"log": path, "text": text}
    last_look = not wanted["follow"]
    while not last_look:
        last_look = over()
        if not last_look:
            time.sleep(FOLLOW_EVERY_S)
        for path, text in kept.appended():
            yield {"log": path, "text": text}


# --- where it is printed ---------------------------------------------------------------------------


class _Text:
    """For people: text as it comes; of several files, a line that names the file before the text of another one."""

    def __init__(self, heads: bool = False) -> None:
        self._heads, self._last, self._torn = heads, "", False

    def take(self, path: str, text: str) -> None:
        from coordinator.tables import visible

        if self._heads and path != self._last:
            between = "\n" * (self._torn + bool(self._last))
            sys.stdout.write(f"{between}==> {visible(path)} <==\n")
            self._last = path
        sys.stdout.write(_for_terminal(text))
        sys.stdout.flush()
        self._torn = not text.endswith("\n") and bool(text)

    def end(self) -> None:
        pass


class _Lines:
    """For programs: a document for each whole line."""

    def __init__(self) -> None:
        self._begun: dict[str, str] = {}

    def take(self, path: str, text: str) -> None:
        *whole, self._begun[path] = (self._begun.get(path, "") + text).split("\n")
        for line in whole:
            self._print(path, line)

    def end(self) -> None:
        """What was never ended by a newline is a line too."""
        for path, line in self._begun.items():
            if line:
                self._print(path, line)

    def _print(self, path: str, line: str) -> None:
        print_json(document("line", log=path, line=line))
        sys.stdout.flush()


_Sink = _Text | _Lines


def sink_for(as_json: bool) -> _Sink:
    """Where pieces of one log go."""
    return _Lines() if as_json else _Text()


def _for_terminal(text: str) -> str:
    """Log text as it is for a pipe; on a terminal its control characters are shown, not obeyed."""
    if not sys.stdout.isatty():
        return text
    from coordinator.tables import visible

    return visible(text, keep="\n\t")
