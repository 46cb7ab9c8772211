"""`coordinator batch submit`: start what may go, show what would be started, wait until nothing can go on.

It is part of the group of :mod:`.batch`, and thin over coordinator.batch. Progress goes to stderr, so that stdout has
one result.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import CONTEXT, document, json_option, print_json
from coordinator.commands.batchoptions import executor_option, looked, submitter, typed, warn, where_options

if TYPE_CHECKING:
    from coordinator.batch.candidates import Candidates
    from coordinator.batch.executors import JobExecutor
    from coordinator.batch.rerunning import Count
    from coordinator.jobs.records import JobId
    from coordinator.jobs.submitting import Plan

#: seconds between two lines of progress where there is no terminal
LINE_S = 10.0


@click.command(context_settings=CONTEXT)
@click.argument("batches", type=click.IntRange(min=0), metavar="[BATCH]...", nargs=-1)
@click.option("--filter", "text", default="", metavar="TEXT", help="Only such jobs, as in `list`.")
@click.option("--max", "most", type=click.IntRange(min=0), metavar="N", help="At most so many are under way then.")
@click.option("--wait", is_flag=True, help="Go on until no job can; status 1 if some failed. Ctrl-C ends no job.")
@click.option("--dry_run", is_flag=True, help="Print the script and the command of each submission; do nothing.")
@executor_option
@where_options
@json_option
def submit(
    batches: tuple[int, ...], text: str, most: int | None, wait: bool, dry_run: bool, executor: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Submit the jobs that may go now, by priority and dependencies."""
    from coordinator.batch import submission
    from coordinator.batch.selection import of_batches, of_filter
    from coordinator.tables import visible

    by = submitter(executor)
    chosen = of_filter(text)
    if batches:
        chosen &= of_batches(batches)
    unknown = looked()
    if dry_run:
        return _dry_run(*submission.dry_run(by, chosen, most), as_json, unknown)
    if wait:
        return wait_for(chosen, by, most, as_json)
    result, stuck = submission.submit_where(by, chosen, most)
    if as_json:
        ids = [[b, j] for b, j in result.submitted]
        print_json(document("batch_submit", submitted=ids, submissions=result.submissions,
                            refused=_refused(result.refused),
                            not_now=result.words, stuck={str(b): why for b, why in stuck.items()},
                            unknown=unknown))  # fmt: skip
    else:
        count = len(result.submitted)
        print(f"{count:,} job{'s' if count != 1 else ''} submitted")
        for (b, j), words in result.refused:
            print(f"job {j} of batch {b} failed: {visible(words)}")
        for words in result.words:
            print(f"not submitted yet: {visible(words)}; the next `submit` tries again")
        _say_stuck(stuck)
        warn(unknown)
    return int(bool(result.refused))


def _dry_run(plan: Plan, found: Candidates, as_json: bool, unknown: list[str]) -> int:
    from coordinator.tables import visible

    if as_json:
        told = [{"command": argv, "script": script, "table": lines} for argv, script, lines in plan.submissions]
        print_json(document("batch_dry_run", submissions=told, refused=_refused(plan.refused), not_now=found.full,
                            behind=found.behind, stuck={str(b): why for b, why in found.stuck.items()},
                            unknown=unknown))  # fmt: skip
        return int(bool(plan.refused))
    import shlex

    for argv, script, lines in plan.submissions:
        print(f"$ {visible(shlex.join(argv))}")
        print(visible(script, keep="\n\t"))
        print(f"--- its table, a line for each of {len(lines):,} jobs")
        print("".join(visible(line, keep="\n\t") for line in lines))
    for (b, j), words in plan.refused:
        print(f"job {j} of batch {b} would fail: {visible(words)}")
    if not plan.submissions and not plan.refused:
        print("no job may go now")
    for words in found.full:
        print(f"{found.behind:,} more would wait: {words}")
    _say_stuck(found.stuck)
    warn(unknown)
    return int(bool(plan.refused))


def _refused(refused: list[tuple[JobId, str]]) -> list[dict[str, Any]]:
    return [{"batch": b, "job": j, "words": words} for (b, j), words in refused]


def _say_stuck(stuck: dict[int, str]) -> None:
    from coordinator.tables import visible

    for batch, words in stuck.items():
        print(f"batch {batch} does not go on: {visible(words)}")


def wait_for(chosen: Any, by: JobExecutor, most: int | None, as_json: bool) -> int:
    """Submit until nothing can go on; 0 if all jobs are complete."""
    from coordinator.batch.rerunning import wait

    progress = Progress()
    try:
        found = wait(chosen, by, most, progress.show)
    except KeyboardInterrupt:
        progress.end()
        print(f"The jobs go on; {typed('submit', '--wait')} waits for them again.", file=sys.stderr)
        raise
    progress.end()
    rest = found.total - found.over
    if as_json:
        print_json(document("batch_wait", total=found.total, complete=found.good, failed=found.bad, stuck=rest))
    else:
        more = f"; {rest:,} cannot go on: coordinator batch why" if rest else ""
        print(f"{found.good:,} of {found.total:,} complete, {found.bad:,} failed{more}")
    return int(found.good < found.total)


class Progress:
    """How far jobs are, on stderr: a line that changes on a terminal, else one now and then."""

    def __init__(self) -> None:
        self._tty, self._last, self._said, self._width = sys.stderr.isatty(), "", set[str](), 0
        self._next_s = 0.0

    def show(self, now: Count, words: list[str]) -> None:
        import time

        fresh = [one for one in words if one not in self._said]
        if fresh:
            self.end()
            warn(fresh)
            self._said.update(fresh)
        line = progress_line(now)
        if self._tty:
            sys.stderr.write(f"\r{line.ljust(self._width)}")
            sys.stderr.flush()
            self._width = len(line)
        elif line != self._last and time.monotonic() >= self._next_s:
            print(line, file=sys.stderr)
            self._next_s = time.monotonic() + LINE_S
        self._last = line

    def end(self) -> None:
        if self._width:
            print(file=sys.stderr)
            self._width = 0


def progress_line(now: Count) -> str:
    from coordinator.tables import duration

    failed = f", {now.bad:,} failed" if now.bad else ""
    left = f", about {duration(now.left_s)} left" if now.left_s else ""
    return f"{now.over:,}/{now.total:,} done{failed}{left}"
