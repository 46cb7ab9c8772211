"""Why a job of a batch waits, runs on, failed or was lost, and what to do next: in words. Pure.

``coordinator batch why`` asks here, with what the store knows of the job and the attempts at it; nothing is looked up.
The words of schedulers, jobs and people are data: whoever prints them keeps them from acting on a terminal.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coordinator.core.statuses import Cause, State
from coordinator.jobs.records import Attempt, Job, JobId
from coordinator.jobs.states import BAD, CANCELLED, COMPLETE, FAILED, GOOD, INIT, LOST, SPAWN, Outcome, Stage
from coordinator.jobs.usage import Usage, span
from coordinator.reasons import Reason

#: of what failed, and of what is not done, so many are told of a batch
MOST_REASONS = 3
_UNSUBMITTED = "it may go, and nobody has submitted it yet"

#: what people type to do something about it: ``command("rerun", "20260101000000", "4")``
Command = Callable[..., str]


@dataclass(frozen=True)
class Facts:
    """What is known of a job beside itself. ``attempts``: at its newest number, its copies too; ``held``: what it waits
    for, "" if nothing; ``executor``, ``id``: who has its newest attempt, and how it is called there; ``refused``: what
    its executor said when it was to be submitted; ``said``: the last lines of its stderr."""

    job: Job
    attempts: Sequence[Attempt] = ()
    held: str = ""
    executor: str = ""
    id: str = ""
    refused: str = ""
    usage: Usage | None = None
    said: Sequence[str] = field(default_factory=tuple)

    @property
    def newest(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.spawn == 0), None)


def why(facts: Facts, now: float, command: Command) -> list[Reason]:
    """The most important first."""
    job, newest = facts.job, facts.newest
    name = f"job {job.index} of batch {job.batch}"
    if job.state == INIT:
        return list(_waits(facts, name, now, command))
    if job.state in GOOD:
        said = newest is not None and newest.stage is not Stage.OVER
        return [
            Reason(f"{name} is {job.state}.", "it said so itself, and its program still runs" if said else job.words)
        ]
    if job.state in (FAILED, LOST):
        return [_ended_badly(facts, name, command)]
    if job.state == CANCELLED:
        return [Reason(f"{name} was cancelled.", job.words, command("rerun", job.batch, job.index))]
    if job.state == SPAWN:
        return list(_copies(facts, name))
    if newest is None or newest.stage is Stage.OVER:
        return [_over(facts, name, command)]
    return list(_under_way(facts, newest, name, now, command))


def of_batch(
    batch: int, facts: Iterable[tuple[Job, Attempt | None]], held: Mapping[JobId, str], command: Command
) -> list[tuple[Reason, list[int]]]:
    """The most frequent reasons of a batch with their jobs, of what failed first. ``facts``: all that are not done,
    each with its newest attempt; ``held``: what jobs wait for."""
    bad: dict[tuple[str, ...], list[int]] = defaultdict(list)
    waits: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for job, newest in facts:
        over = newest is None or newest.stage is Stage.OVER
        if job.state in BAD:
            cause, host = ("", "") if newest is None else (newest.cause, newest.host)
            bad[job.state, without_host(job.words, host), cause].append(job.index)
        elif job.state == INIT:
            waits[job.state, held.get(job.id, "") or _UNSUBMITTED].append(job.index)
        elif over and job.state != SPAWN:
            bad[f"in state {job.state}, and nobody is at them", "", ""].append(job.index)
        else:
            waits[job.state, "" if newest is None else words_of(newest)].append(job.index)
    found = []
    for (state, words, cause), indices in _most(bad):
        shown = folded(indices)
        hint = command("rerun", batch, *shown, *_more(cause))
        verb = state if state == FAILED or " " in state else f"{'was' if len(indices) == 1 else 'were'} {state}"
        found.append((Reason(f"{_count(indices)} {verb}: {', '.join(shown)}", words, hint), indices))
    for (state, words), indices in _most(waits):
        by_hand = state == INIT and words.startswith((_UNSUBMITTED, "it is tried again"))
        hint = command("submit", batch, "--wait") if by_hand else ""
        found.append(
            (Reason(f"{_count(indices)} in state {state}: {', '.join(folded(indices))}", words, hint), indices)
        )
    return found


def folded(indices: Iterable[int], shortest: int = 2) -> list[str]:
    """``0-2``, ``4``: as commands take them. ``shortest``: fewer than so many in a row are not folded."""
    found: list[list[int]] = []
    for index in sorted(indices):
        if found and found[-1][-1] == index - 1:
            found[-1][1:] = [index]
        else:
            found.append([index])
    parts: list[str] = []
    for part in found:
        first, last = part[0], part[-1]
        parts += [f"{first}-{last}"] if last - first + 1 >= max(2, shortest) else map(str, range(first, last + 1))
    return parts


def words_of(attempt: Attempt) -> str:
    """What its scheduler says; what it said while the job waited is over when that has begun."""
    return "" if attempt.stage is Stage.BEGUN and attempt.seen == State.WAITS.value else attempt.words


def without_host(words: str, host: str) -> str:
    """So that the same end on two hosts is one reason."""
    return words.removesuffix(f" on {host}") if host else words


# --- a job -----------------------------------------------------------------------------------------------


def _waits(facts: Facts, name: str, now: float, command: Command) -> Iterator[Reason]:
    job = facts.job
    submit = command("submit", job.batch)
    if job.not_before > now:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.not_before))
        hint = f"{command('submit', job.batch, '--wait')} submits it then"
        yield Reason(f"{name} is tried again at {at}, in {span(job.not_before - now)}.", job.words, hint)
    elif facts.held:
        yield Reason(f"{name} waits: {facts.held}.", job.words)
    else:
        yield Reason(f"{name} may go, and nobody has submitted it yet.", job.words, submit)


def _ended_badly(facts: Facts, name: str, command: Command) -> Reason:
    job, newest = facts.job, facts.newest
    attempt = f", attempt {newest.number}" if newest is not None and newest.number > 1 else ""
    verb = "was lost" if job.state == LOST else "failed"
    parts = [job.words or (newest.words if newest is not None else "")]
    cause = "" if newest is None else newest.cause
    if facts.usage is not None and cause in (Cause.TIME.value, Cause.MEMORY.value):
        parts += [line for line in facts.usage.lines() if line.startswith(cause.split()[0])]
    if facts.said:
        parts += ["the last lines of its stderr:", *(f"  {line}" for line in facts.said)]
    more = _more(cause)
    hint = command("rerun", job.batch, job.index, *more)
    if not more and newest is not None and newest.mark:
        hint = f"{command('log', job.batch, job.index, '--stderr')}; then {hint}"
    return Reason(f"{name} {verb}{attempt}.", "\n".join(part for part in parts if part), hint)


def _copies(facts: Facts, name: str) -> Iterator[Reason]:
    counts = Counter("complete" if a.said == COMPLETE else a.stage.value for a in facts.attempts if a.said != "over")
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    yield Reason(f"{name} has multiplied; of its copies are {told or 'none'}.", facts.refused)


def _over(facts: Facts, name: str, command: Command) -> Reason:
    """Its state says that somebody is at it."""
    job, newest = facts.job, facts.newest
    if newest is None:
        return Reason(f"{name} is in state {job.state}, and was never submitted.", job.words)
    how = "well" if newest.outcome is Outcome.OK else job.words or newest.words or "badly"
    hint = f"call set_complete in its script; {command('rerun', job.batch, job.index)}"
    why = f"attempt {newest.number} ended {how}, and its script never said that it is complete"
    return Reason(f"{name} says {job.state}, and nobody is at it any more.", why, hint)


def _under_way(facts: Facts, newest: Attempt, name: str, now: float, command: Command) -> Iterator[Reason]:
    job = facts.job
    words = words_of(newest)
    by = f"{facts.executor} ({facts.id})" if facts.id else facts.executor or "its executor"
    if newest.cancelled:
        yield Reason(f"{name}: its end was asked for, and it has not ended yet.", words)
    if newest.silent_since is not None and not newest.forgotten:
        yield Reason(f"{name} is over, and it is not known yet how it ended.", words)
    elif newest.forgotten:
        yield Reason(f"{name}: {by} knows nothing of it any more; it is called lost if it stays so.", words)
    elif newest.stage is Stage.WRITTEN:
        why = facts.refused or "whoever submitted it was interrupted"
        yield Reason(f"{name} is on its way to {by}, which does not have it yet.", why, command("submit", job.batch))
    elif newest.stage is Stage.SENT:
        said = f"it does not say how it is: {words}" if newest.seen == State.UNKNOWN.value else words
        yield Reason(f"{name} waits in the queue of {by}.", said)
    elif newest.seen == State.UNKNOWN.value:
        yield Reason(f"{name} has begun, and {by} does not say how it is.", words)
    else:
        since = "" if newest.began is None else f" for {span(max(0.0, now - newest.began))}"
        host = f" on {newest.host}" if newest.host else ""
        state = "" if job.state == "run" else f", in state {job.state}"
        yield Reason(f"{name} runs{host}{since}{state}.", words, command("log", job.batch, job.index, "--follow"))


# --- a batch ---------------------------------------------------------------------------------------------


def _most(groups: Mapping[tuple[str, ...], list[int]]) -> list[tuple[tuple[str, ...], list[int]]]:
    return sorted(groups.items(), key=lambda each: -len(each[1]))[:MOST_REASONS]


def _more(cause: str) -> list[str]:
    """What a rerun is to be given, by what ended the attempt."""
    return {Cause.MEMORY.value: ["--memory", "x2"], Cause.TIME.value: ["--time", "x2"]}.get(cause, [])


def _count(indices: Sequence[int]) -> str:
    return f"{len(indices):,} job{'s' if len(indices) != 1 else ''}"
