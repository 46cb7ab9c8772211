"""How a job stands: what its Coordinator says of it or, where none answers, what its journal and its process tell.

The commands call it, with a place of coordinator.whereabouts. A job has one shape, that of get_job(), whether it runs
or has ended; IDs in it are the JSON of their canonical text. Only redo_on_disk() changes something.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator import paths, procs
from coordinator.core import ids
from coordinator.errors import CoordinatorError, CoordinatorLost, NoSuchJob, NotAuthorised, StateError
from coordinator.executors.choice import is_here
from coordinator.logfiles import logs_of
from coordinator.remote import Remote, job_remote
from coordinator.whereabouts import Place, find

if TYPE_CHECKING:
    from coordinator.core.replay import State
    from coordinator.history import ErrorGroup, Failure

# A line of the Coordinator's log, in which no value can stand for a line of its own.
_REGISTERED = re.compile(r"\S+ \S+ register processor=(\d+) host=(\S+) pid=(\d+) log=(/.*)\n")
# A Coordinator that lives answers in milliseconds; one that does not must not hold up a listing.
ASK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Standing:
    """A job and how it stands: `job` in the shape of get_job(); `remote` to call it, None if it does not run."""

    place: Place
    job: dict[str, Any]
    remote: Remote | None

    @property
    def lives(self) -> bool:
        return self.remote is not None


def look_at(job: str, rc_url: str | None = None) -> Standing:
    """Find the job that was typed, and look how it stands."""
    return look(find(job, rc_url))


def look(place: Place) -> Standing:
    """Ask the Coordinator, or read the journal if none answers. CoordinatorLost if neither can be done."""
    lost: CoordinatorLost | NotAuthorised | None = None
    if place.url is not None:
        remote = job_remote(
            place.url,
            token=place.run.get("token"),
            fallback=place.fallback,
            fingerprint=place.fingerprint,
            timeout_s=ASK_TIMEOUT_S,
        )
        try:
            job = remote.call("get_job")
        except (CoordinatorLost, NotAuthorised) as problem:
            lost = problem
        else:
            # Another job may have taken the port of one that was killed.
            if not place.run or job.get("run") == place.run.get("run"):
                return Standing(place, with_values(job), remote)
    if place.files is None or not os.path.exists(place.files.journal):
        if lost is not None:
            raise lost
        raise NoSuchJob(f"The job {place.name!r} has ended and left no journal; start it again.")
    return Standing(place, from_journal(place, lost), None)


def with_values(job: dict[str, Any]) -> dict[str, Any]:
    """What get_job() answered, with the JSON of its IDs instead of their text."""
    processors = [
        {**one, "task": None if one.get("task") is None else json.loads(one["task"])} for one in job["processors"]
    ]
    groups = [{**group, "first_ids": [json.loads(text) for text in group["first_ids"]]} for group in job["errors"]]
    return {**job, "processors": processors, "errors": groups}


# --- a job without an answering Coordinator --------------------------------------------------------


def from_journal(place: Place, lost: CoordinatorError | None = None) -> dict[str, Any]:
    """The job in the shape of get_job(), as far as the journal and the run file know it."""
    from coordinator import frames

    assert place.files is not None
    state = frames.replay(place.files.journal).state
    word, reason = _state(place, state, lost)
    done, failed = state.done.total(), state.failed.total()
    run = place.run
    return {
        "name": place.name,
        "run": state.run,
        "life": state.life,
        "url": run.get("url"),
        "pid": run.get("pid"),
        "host": run.get("host"),
        "directory": place.files.directory,
        "script": run.get("script"),
        "state": word,
        "reason": reason,
        "started": run.get("started"),
        "ended_at": (state.closed or {}).get("at"),
        "done": done,
        "failed": failed,
        "leased": 0,
        "running": 0,
        "todo": state.slices.count - done - failed,
        "waiting": 0,
        "read": state.slices.count,
        "ended": state.ended,
        "total": state.slices.count if state.ended else None,
        "results": state.nresults,
        "processors": [],
        "hosts": {},
        "unreachable": {},
        "errors": _groups_of(place, state),
        "log": run.get("log") or place.files.log,
    }


def _state(place: Place, state: State, lost: CoordinatorError | None) -> tuple[str, str | None]:
    """The word for a job whose Coordinator does not answer, and the reason."""
    if place.run and lost is not None:
        word, reason = _process(place, lost)
        # A process that has closed its journal is about to end, whatever its run file still says.
        if state.closed is None:
            return word, reason
    if state.closed is None:
        return "killed", None
    again = state.closed["done"] + state.closed["failed"] - state.done.total() - state.failed.total()
    if again > 0:
        return "stopped", f"{again} of its tasks are to be done again"
    return str(state.closed["state"]), state.closed.get("reason") or state.reason


def _process(place: Place, lost: CoordinatorError) -> tuple[str, str | None]:
    """What the process of the run file tells, if it can be seen from here."""
    run = place.run
    try:
        identity = procs.ProcessIdentity(
            str(run["host"]), str(run["boot"]), int(run["pid"]), int(run["process_started"])
        )
        alive = procs.is_alive(identity)
    except StateError:
        return "unreachable", f"it was started on {run['host']}, and {lost.message}"
    except (KeyError, ValueError, TypeError):
        return "killed", None
    if not alive:
        return "killed", None
    if procs.process_state(identity.pid) in "Tt":
        return "silent", f"its process {identity.pid} is stopped (Ctrl-Z or SIGSTOP)"
    return "silent", lost.message


def _groups_of(place: Place, state: State) -> list[dict[str, Any]]:
    """The groups of errors that the journal counted."""
    from coordinator.lines import Lines

    assert place.files is not None
    lines = Lines(place.files.journal, state.slices)
    return [
        {
            "kind": group.kind,
            "where": group.where,
            "message": group.message,
            "count": group.count,
            "first_ids": [json.loads(lines.id_text(position)) for position in group.first],
            "traceback": group.traceback,
        }
        for group in sorted(state.errors.values(), key=lambda group: -group.count)
    ]


# --- the shapes that commands print ----------------------------------------------------------------


def tagged(value: object) -> Any:
    """An ID or a result as the JSON of its canonical text, with {"$tuple": ...} and the like for what JSON lacks."""
    return json.loads(ids.encode_result(value))


def group_to_json(group: ErrorGroup) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "where": group.where,
        "message": group.message,
        "count": group.count,
        "first_ids": [tagged(one) for one in group.first_ids],
        "traceback": group.traceback,
    }


def failure_to_json(failure: Failure) -> dict[str, Any]:
    return {**vars(failure), "id": tagged(failure.id)}


def known_logs(standing: Standing) -> list[dict[str, Any]]:
    """The logs of the job's Processors on all hosts: those that it names, those that its own log names from before, and
    where that log cannot be read what is called like them on this machine."""
    named = [
        {key: one.get(key) for key in ("number", "host", "pid", "log")}
        for one in standing.job.get("processors") or []
        if one.get("log")
    ]
    known = {(one["host"], one["log"]) for one in named}
    before = _registered(standing) or _logs_here(standing.place)
    return named + [one for one in before if (one["host"], one["log"]) not in known]


def _registered(standing: Standing) -> list[dict[str, Any]]:
    """Each Processor that the Coordinator ever noted in its log, once."""
    found = {}
    try:
        with open(str(standing.job.get("log")), encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if (match := _REGISTERED.match(line)) is not None:
                    number, host, pid, path = match.groups()
                    found[host, path] = {"number": int(number), "host": host, "pid": int(pid), "log": path}
    except OSError:
        return []
    return sorted(found.values(), key=lambda one: int(one["number"]))


def log_folders(place: Place) -> list[Path]:
    """Where logs of its Processors lie on this machine: the user's log directory, and beside a job that had no
    ResourceController."""
    return [paths.log_directory(), *_beside(place)]


def folders_of(place: Place, known: Iterable[Mapping[str, Any]], host: str) -> list[Path]:
    """Where logs of that host can be read on this machine; none if only there. What a scheduler calls ``slurm-3`` is no
    host to log in to: its logs lie beside the job. ``known``: see :func:`known_logs`."""
    if is_here(host):
        return log_folders(place)
    theirs = {os.path.dirname(one["log"]) for one in known if one["host"] == host}
    return [
        folder for folder in _beside(place)
        if os.fspath(folder) in theirs or any(file.number < 0 for file in logs_of(place.name, [folder], host))
    ]  # fmt: skip


def _beside(place: Place) -> list[Path]:
    return [Path(place.files.logs)] if place.files is not None else []


def _logs_here(place: Place) -> Iterable[dict[str, Any]]:
    """NAME_N.log in the directory of Processor logs, and beside a job that ran with --local."""
    folders = log_folders(place)
    host = os.uname().nodename
    return [
        {"number": file.number, "host": host, "pid": None, "log": file.path} for file in logs_of(place.name, folders)
    ]


# --- redo ------------------------------------------------------------------------------------------


def redo_on_disk(place: Place, what: str | list[Any]) -> int:
    """Make tasks of a job that does not run to be done again; how many. `what`: "failed", "all", or IDs.

    The job's name is held meanwhile, so that no Coordinator can begin on a journal that changes under it.
    """
    from coordinator.core.records import Kind
    from coordinator.journal import Journal
    from coordinator.redo import positions_of
    from coordinator.runfile import RunFile

    if place.files is None:
        raise NoSuchJob(f"The journal of {place.name} cannot be seen from here; type this on the job's own machine.")
    claim = RunFile(place.files)
    try:
        journal = Journal.open(place.files.journal, place.name)
        try:
            ranges, done, failed = positions_of(journal, what)
            if ranges:
                journal.append(Kind.REDO, {"r": ranges})
        finally:
            journal.close()
    finally:
        claim.release()
    return int(done + failed)
