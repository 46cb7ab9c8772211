"""What starts jobs and watches them: this machine, a scheduler. One protocol, and what a submission leaves on disk.

Whoever keeps jobs calls an executor with an :class:`~coordinator.core.statuses.Intent` that is on disk already. An
executor remembers nothing between two calls: killed at any line, it is asked again. An answer that did not come is
never an end, it is ``UNKNOWN`` with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from coordinator import paths
from coordinator.core.statuses import Intent, Status
from coordinator.errors import SchedulerError
from coordinator.executors import jobscript
from coordinator.executors.jobscript import Element

#: an element of a submission: (native id, number from 1)
Place = tuple[str, int]
#: most elements of one submission where the executor does not say
USUAL_ARRAY = 1000


class JobExecutor(Protocol):
    """``poll_s``: seconds between two calls of :meth:`poll`, however many jobs there are; ``here``: do its jobs run on
    this machine, all of them?"""

    poll_s: float
    here: bool

    @property
    def name(self) -> str:
        """As people say it."""

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        """Write the script and the table of a submission; returns the command that submits it, for people.

        Raises BadInput, OSError.
        """

    def submit(self, intent: Intent) -> str:
        """Submit what :meth:`prepare` wrote; the native id of the job or array.

        Raises SubmitRefused, SchedulerAway, and SubmitUnclear where the jobs may be there all the same: then only
        :meth:`find` can tell, and nothing may be submitted again before it has.
        """

    def find(self, intent: Intent) -> str | None:
        """The native id of the job that carries the intent's mark; None if there is none. Raises SchedulerError if that
        cannot be told now."""

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        """What became of ``{native id: (mark, numbers of its elements)}``: an answer for each."""

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        """End ``(native id, number or None for all of them, count)``. Who has ended already is no fault.

        Raises NotCancelled, SchedulerAway.
        """

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        """All that is known about a job there, for people. Raises SchedulerError."""

    def largest_array(self) -> int:
        """How many elements one submission may have. Raises SchedulerError."""

    def version(self) -> str:
        """In the executor's own words. Raises SchedulerError."""


def most_elements(executor: JobExecutor) -> int:
    """What one submission may have now: where the executor cannot say it, what is usual at sites."""
    try:
        return max(1, executor.largest_array())
    except SchedulerError:
        return USUAL_ARRAY


def script_of(intent: Intent) -> str:
    return os.path.join(intent.directory, "script")


def output_of(intent: Intent) -> str:
    """Where the script itself prints to, which it does only if it cannot begin its job."""
    return os.path.join(intent.directory, "output")


def write_submission(
    intent: Intent, elements: Sequence[Element], id_variables: Sequence[str], index_variables: Sequence[str]
) -> None:
    """The table and the script, each whole, since a job may begin at once. Raises BadInput, OSError."""
    table = jobscript.table(elements)
    script = jobscript.script(intent.directory, id_variables, index_variables)
    for path, text in ((os.path.join(intent.directory, "table"), table), (script_of(intent), script)):
        paths.replace_private(path, text.encode("utf-8", "surrogateescape"))
