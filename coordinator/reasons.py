"""Why a job waits, is slow, stopped or failed: in words, and what to do next.

`coordinator why` and `coordinator status` call it. It is pure: it reads the job's and the farm's own words (the
dictionaries of get_job() and get_farm()) and asks nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from coordinator.tables import cell, duration, shown_id

Facts = Mapping[str, Any]

#: States in which the job's Coordinator works.
LIVING = frozenset({"starting", "waiting", "running", "finishing", "stalled", "stopping"})
#: Few enough to be read; the rest is counted.
GROUPS_SHOWN = 3


@dataclass(frozen=True)
class Reason:
    """One thing that is so, why, and what can be done; `why` and `next` may be empty."""

    what: str
    why: str = ""
    next: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def explain(job: Facts, shown: str, farm: Facts | None = None, farm_problem: str = "") -> list[Reason]:
    """Everything worth knowing about the job's state, the most important first.

    `shown`: the job as it is typed in a command; `farm_problem`: why the farm could not be asked.
    """
    found = list(_state(job, shown))
    if job.get("state") in LIVING:
        found += _processors(job, shown, farm, farm_problem)
        found += _tasks(job, shown)
    found += _errors(job, shown)
    return found


def explain_host(name: str, farm: Facts) -> list[Reason]:
    """The same about a host of that ResourceController."""
    host = farm["hosts"][name]
    why, state = str(host.get("reason") or ""), host.get("state")
    line = f"the line of {name} in {farm.get('name')}.hosts, which is read again by itself"
    if state == "unreachable":
        hint = f"mend what is named here; coordinator hosts check {farm.get('name')} tries it; jobs do so by themselves"
        return [Reason(f"Host {name} cannot be used.", why, hint)]
    if state == "resting":
        return [Reason(f"Host {name} is resting.", why, "it is tried again by itself")]
    if not host.get("maxload"):
        return [Reason(f"Host {name} is not to be used.", why, f"edit {line}")]
    working = _count(int(host.get("processors") or 0), "processor")
    slots = _count(int(host.get("slots") or 0), "slot")
    if host.get("processors"):
        return [Reason(f"Host {name} is used: {working} on {slots}.", why)]
    if not host.get("slots"):
        return [Reason(f"Host {name} has no slot.", why, f"wait until its load falls, or edit {line}")]
    if not farm.get("jobs"):
        return [Reason(f"Host {name} has {slots}, and nothing runs there: there is no job.", why)]
    return [Reason(f"Host {name} has {slots}, and nothing runs there.", why, "coordinator why JOB tells of each job")]


def _state(job: Facts, shown: str) -> Iterator[Reason]:
    state, why = str(job.get("state")), str(job.get("reason") or "")
    done, failed = int(job.get("done") or 0), int(job.get("failed") or 0)
    if state == "done":
        yield Reason(f"The job has ended: all {done} tasks are done.", next=f"coordinator results {shown}")
    elif state == "failed":
        yield Reason(
            f"The job failed; {done} tasks are done, {failed} failed."
            if why
            else f"The job has ended: {done} tasks are done, {failed} failed.",
            why,
            f"coordinator errors {shown}; the job's own command, typed again, does what failed once more"
            if failed
            else f"coordinator logs {shown} tells more; the job's own command, typed again, goes on where it ended",
        )
    elif state == "stopped":
        yield Reason(
            f"The job was stopped; {done} tasks are done, {failed} failed.",
            why,
            "the job's own command, typed again, goes on where it ended",
        )
    elif state == "killed":
        yield Reason(
            f"The job's Coordinator is gone without having ended the job; {done} tasks are done and safe.",
            why or "it was killed, or its machine went down",
            "the job's own command, typed again, goes on where it ended",
        )
    elif state in ("silent", "unreachable"):
        yield Reason("The job's Coordinator does not answer.", why, _silence(job, state))
    elif state == "stalled":
        yield Reason(
            "The job stands still: its journal cannot be written, and nothing is acknowledged that is not safe.",
            why,
            "make room or repair what is named here; the job goes on by itself",
        )
    elif state == "stopping":
        yield Reason("The job is stopping: what runs now is finished and written down.", why)
    elif state == "starting":
        yield Reason("The job is starting.", why)
    elif state == "waiting":
        yield Reason(f"The job goes on as soon as it has a processor; {done} tasks are done, {failed} failed.", why)
    else:
        yield Reason(f"The job runs: {_pace(job)}.", why)


def _silence(job: Facts, state: str) -> str:
    if state == "silent":
        pid = job.get("pid")
        return f"see whether process {pid} is stopped (kill -CONT {pid}) or very busy, and what its log says"
    return f"look at it on {job.get('host')}, where it was started"


def _pace(job: Facts) -> str:
    parts = [f"{cell(job.get('done') or 0)} tasks are done, {cell(job.get('leased') or 0)} are with processors"]
    if job.get("rate_per_s"):
        parts.append(f"{cell(float(job['rate_per_s']))} tasks a second")
    if job.get("eta_s") is not None:
        parts.append(f"about {duration(job['eta_s'])} left")
    return ", ".join(parts)


# --- who works -------------------------------------------------------------------------------------


def _processors(job: Facts, shown: str, farm: Facts | None, farm_problem: str) -> Iterator[Reason]:
    working = job.get("processors") or []
    if working and job.get("state") not in ("starting", "waiting"):
        hosts = len({one.get("host") for one in working})
        yield Reason(f"{_count(len(working), 'processor')} on {_count(hosts, 'host')} work on it.")
    waits = Counter(host["waits"] for host in (job.get("hosts") or {}).values() if host.get("waits"))
    for words, number in waits.most_common(GROUPS_SHOWN):
        noun = "more processor" if working else "processor"
        yield Reason(f"{_count(number, noun)} submitted, and not begun yet.", words)
    if farm is not None:
        yield from _queue(job, farm, bool(working))
    elif farm_problem:
        yield Reason(
            "The job has the processors that it has and gets no more."
            if working
            else "The job has no processors and gets none.",
            farm_problem,
            "start the ResourceController, or give --rc_url; the job joins it by itself",
        )
    yield from _hosts(job, farm)


def _queue(job: Facts, farm: Facts, working: bool) -> Iterator[Reason]:
    jobs = list(farm.get("jobs") or [])
    mine = next((one for one in jobs if one.get("run") == job.get("run")), None)
    if mine is None:
        yield Reason(
            f"The ResourceController {farm.get('name')} does not know the job.",
            "the job belongs to another one, or has not been heard of for a while",
            "give its --rc_url; `coordinator jobs` lists those that this one knows",
        )
        return
    if mine.get("state") == "queued":
        queue = [one for one in jobs if one.get("state") == "queued"]
        before = queue[: queue.index(mine)]
        running = [str(one.get("name")) for one in jobs if one.get("state") == "running"]
        waits_for = [*running, *(str(one.get("name")) for one in before)]
        yield Reason(
            f"The job waits in the queue, at position {len(before) + 1} of {len(queue)}.",
            str(mine.get("reason") or (f"before it: {', '.join(waits_for)}" if waits_for else "")),
            "wait, or start it with --immediate or --demand_ncpu=N to share now",
        )
    elif mine.get("state") == "lost":
        yield Reason(
            f"The ResourceController {farm.get('name')} has not heard of the job for a while.",
            str(mine.get("reason") or ""),
            "if the job runs, see whether its machine reaches the ResourceController's URL",
        )
    elif not working and not mine.get("slots"):
        yield Reason("The job has no slot just now.", str(mine.get("reason") or ""))
    elif not working:
        yield Reason(
            f"The job has been given {_count(int(mine.get('slots') or 0), 'slot')} and no processor has begun yet.",
            str(mine.get("reason") or "processors take a moment to start"),
        )
    elif mine.get("reason"):
        yield Reason("It does not get more processors.", str(mine["reason"]))


def _hosts(job: Facts, farm: Facts | None) -> Iterator[Reason]:
    """Each host that cannot be used, once, in the words of whoever met it."""
    said = set()
    hosts = {name: host.get("reason") for name, host in (job.get("hosts") or {}).items()}
    for name, reason in {**(job.get("unreachable") or {}), **{k: v for k, v in hosts.items() if v}}.items():
        said.add(name)
        yield Reason(f"Host {name} cannot be used by this job.", str(reason))
    usable = 0
    for name, host in ((farm or {}).get("hosts") or {}).items():
        if host.get("state") == "ok":
            usable += bool(host.get("maxload"))
        elif name in said:
            continue
        elif host.get("state") == "resting":
            yield Reason(f"Host {name} is resting.", str(host.get("reason") or ""))
        else:
            yield Reason(f"Host {name} cannot be reached.", str(host.get("reason") or ""))
    if farm is not None and not usable:
        yield Reason(
            "The farm has no host that can be used.",
            "all are unreachable, resting, or have maxload 0" if farm.get("hosts") else "its hosts file names none",
            f"edit {farm.get('name')}.hosts; it is read again by itself",
        )


# --- what is to be done ----------------------------------------------------------------------------


def _tasks(job: Facts, shown: str) -> Iterator[Reason]:
    todo, leased = int(job.get("todo") or 0), int(job.get("leased") or 0)
    waiting = int(job.get("waiting") or 0)
    if waiting:
        what = f"{_count(waiting, 'failed task')} to be tried again after a pause."
        yield Reason(what, next=f"coordinator errors {shown}")
    if job.get("state") != "running":
        return
    if not job.get("ended") and not todo and not leased:
        yield Reason(
            "Processors have nothing to do: the script's server generator has given no task for now.",
            f"it has given {int(job.get('read') or 0)} so far and has not ended",
            f"if that is slow, its output is in the job's log: coordinator logs {shown}",
        )
    elif job.get("ended") and not todo and leased:
        yield Reason(
            f"All tasks have been handed out; the last {leased} are being worked on.",
            next=f"coordinator status {shown} shows who works on what, and since when",
        )


def _errors(job: Facts, shown: str) -> Iterator[Reason]:
    groups = sorted(job.get("errors") or [], key=lambda group: -int(group.get("count") or 0))
    for group in groups[:GROUPS_SHOWN]:
        first = ", ".join(shown_id(one) for one in (group.get("first_ids") or [])[:3])
        where = f" in {group['where']}" if group.get("where") else ""
        yield Reason(
            f"{_count(int(group.get('count') or 0), 'failure')}: {group.get('kind')}{where}"
            + (f" ({first} ...)" if first else ""),
            str(group.get("message") or ""),
            f"coordinator errors {shown}",
        )
    if len(groups) > GROUPS_SHOWN:
        yield Reason(f"{len(groups) - GROUPS_SHOWN} more kinds of failures.", next=f"coordinator errors {shown}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
