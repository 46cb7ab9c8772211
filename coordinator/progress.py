"""What a foreground job shows on the terminal: a bar with rate and time left, and at the end a summary.

The task server's tick calls it; on something that is no terminal it prints a line now and then. It only looks.
"""

from __future__ import annotations

import sys
from typing import Any

from coordinator.core import ids
from coordinator.job import Job, Outcome

#: seconds between two lines where there is no terminal
LINE_S = 10.0
#: seconds before the bar appears: a job that is over by then needs none
FIRST_S = 0.3


class Progress:
    """The bar of one job, on stderr."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._task: Any = None
        self._began = 0.0
        self._last = 0.0
        self._tty = sys.stderr.isatty()

    def begin(self, told: dict[str, Any]) -> None:
        print(f"{self._name}: serving at {told['url']}, log {told['log']}", file=sys.stderr)

    def show(self, job: Job) -> None:
        now = job.now()
        self._began = self._began or now
        if now - self._began < FIRST_S:
            return
        if self._tty:
            self._draw(job)
        elif now - self._last >= LINE_S:
            first, self._last = self._last == 0.0, now
            if not first:
                print(f"{self._name}: {line_of(job)}", file=sys.stderr)

    def end(self, job: Job, outcome: Outcome) -> None:
        from coordinator.tables import visible  # at the end: the start is what people wait for

        if self._bar is not None:
            self._draw(job)
            self._bar.stop()
        for line in summary(job, outcome):
            print(visible(line), file=sys.stderr)

    def _draw(self, job: Job) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.fields[name]}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[words]}", markup=False),
                console=Console(stderr=True),
                auto_refresh=False,
            )
            self._task = self._bar.add_task("", total=None, name=self._name, words="")
            self._bar.start()
        ledger = job.run.ledger
        self._bar.update(
            self._task,
            total=ledger.count if ledger.ended else None,
            completed=ledger.settled,
            words=words_of(job),
        )
        self._bar.refresh()


def words_of(job: Job) -> str:
    """Rate, time left, failures, and the reason where one is needed."""
    ledger, rate = job.run.ledger, job.rate.per_s
    words = [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"]
    if ledger.ended and rate > 0:
        words.append(f"{duration((ledger.count - ledger.settled) / rate)} left")
    if ledger.failed:
        words.append(f"{ledger.failed:,} failed")
    state, reason = job.state()
    if state in ("stalled", "stopping", "starting", "waiting"):
        words.append(state if reason is None else f"{state}: {reason}")
    return "  ".join(words)


def line_of(job: Job) -> str:
    ledger = job.run.ledger
    of = f" of {ledger.count:,}" if ledger.ended else ""
    return f"{ledger.settled:,}{of} tasks  {words_of(job)}"


def duration(seconds: float) -> str:
    """ "4 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summary(job: Job, outcome: Outcome) -> list[str]:
    """The last words: what was done, what failed and why, and what to do next."""
    name = outcome.name
    took = duration(job.now() - job.began)
    before = f" ({job.before:,} of them in earlier runs)" if job.before else ""
    lines = [f"{name}: {outcome.done:,} done{before}, {outcome.failed:,} failed, {outcome.left:,} left, in {took}"]
    for group in sorted(job.journal.errors(), key=lambda group: -group.count)[:3]:
        where = f" at {group.where}" if group.where else ""
        message = group.message.splitlines()[0][:200] if group.message else ""
        first = ", ".join(ids.to_line(job.run.task_text(position)) for position in group.first[:3])
        lines.append(f"  {group.count:,} x {group.kind}: {message}{where}, first: {first}")
    if outcome.reason:
        lines += job.run.reason_traceback.splitlines()
        lines.append(f"{name}: {outcome.reason}")
    if outcome.failed:
        lines.append(f"see `coordinator errors {name}`; the same command tries the failed tasks again")
    if outcome.left:
        lines.append("the same command goes on where it stopped")
    return lines
