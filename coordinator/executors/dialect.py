"""A scheduler is a handful of pure functions: value to argv, text to value. This is what each of them is.

:mod:`coordinator.executors.scheduler` calls them and does what takes time: it runs the commands, waits, asks again
and decides what an unclear answer means. A dialect starts nothing, keeps nothing and knows no clock. Another one is
found by the entry point ``coordinator.schedulers`` of its package.

Everything that people wrote goes into argv, a word each, and nothing of it into the job's script: there is no line that
a name or an option could add to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordinator.core.needs import one_line, shown
from coordinator.core.statuses import Intent, Row
from coordinator.errors import BadNeeds, SchedulerError


class Dialect(Protocol):
    """One scheduler. Times are seconds, sizes bytes; texts are what its commands print under ``LC_ALL=C``."""

    #: as people name it: "slurm"
    name: str
    #: the commands that it needs
    programs: tuple[str, ...]
    #: a regular expression that is found in what :meth:`version`'s command prints, and in nobody else's
    known_by: str
    #: what a job finds its own id in, that of its whole array if it is an element, and its number, where it has one:
    #: the first of them that is there
    id_variables: tuple[str, ...]
    index_variables: tuple[str, ...]

    def submit(self, intent: Intent, script: str, output: str) -> list[str]:
        """The command that submits ``script``; what the script itself prints goes to the file ``output``, and to one
        with the element's number behind it for each element of an array. Raises BadNeeds."""

    def native_id(self, text: str) -> str:
        """The id of the job in what :meth:`submit` printed. Raises SubmitUnclear."""

    def fault(self, text: str) -> SchedulerError:
        """What is wrong when a command ended badly with ``text``: SubmitRefused, SchedulerAway, or SubmitUnclear where
        the job may be there all the same."""

    def element(self, native: str, index: int, count: int) -> str:
        """The id of one element, as the commands take it."""

    def queue(self, user: str) -> list[str]:
        """The command that lists all jobs of a user that have not ended, and what is remembered beside them."""

    def queued(self, text: str) -> list[Row]:
        """Lines that are no line of it raise ValueError."""

    def history(self, natives: Sequence[str]) -> list[list[str]]:
        """The commands that tell of jobs that the queue does not list any more; none where the scheduler forgets."""

    def remembered(self, text: str) -> list[Row]:
        """Of jobs that the queue does not list. Lines that are no line of it raise ValueError."""

    def search(self, name: str) -> list[list[str]]:
        """The commands, beside that of the queue, in whose answer (read by :meth:`remembered`) a job of that name is,
        if it has ended already."""

    def cancel(self, elements: Sequence[str]) -> list[str]:
        """Ids of jobs, arrays or elements."""

    def gone(self, text: str) -> bool:
        """Does a command say by this that there is no such job, or that it has ended?"""

    def ending(self, line: str) -> bool:
        """Does :meth:`cancel`'s command say by this line that a job ends now, or is about to?"""

    def details(self, element: str) -> list[str]:
        """The command that tells people all about a job."""

    def largest_array(self) -> list[str]:
        """The command whose answer has the most elements that an array may have; empty where there is none."""

    def largest(self, text: str) -> int:
        """That number; its usual one where the text has none."""

    def version(self) -> list[str]:
        """The command that prints which scheduler this is."""


def last_words(text: str) -> str:
    """What a command said last, for the message of a fault."""
    return text.strip()[-500:] or "without a word"


def checked_path(path: str) -> str:
    """A path that a command is given. Raises BadNeeds if it has a control character, or does not begin at the root: it
    could be taken for an option, or for a file elsewhere."""
    if not path.startswith("/") or not one_line(path):
        raise BadNeeds(f"jobs cannot be submitted from {shown(path)}: the path must be absolute, without line ends")
    return path


def checked_words(words: Sequence[str], ours: Sequence[str], glued: bool) -> list[str]:
    """A user's own words for the command. Raises BadNeeds if one of them says what only we may say.

    ``ours``: options such as ``-J`` and ``--job-name``; a long one is known by its beginnings, too. ``glued``: may the
    value of a short option follow it in the same word?
    """
    for word in words:
        if word.startswith("--"):
            name = word.partition("=")[0]
            taken = any(option.startswith(name) for option in ours)
        else:
            taken = word in ours or (glued and word[:2] in ours)
        if taken:
            raise BadNeeds(f"the option {word!r} is not a user's to give: by it jobs are named, numbered and found")
    return list(words)
