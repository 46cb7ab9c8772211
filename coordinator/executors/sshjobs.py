"""One host as an executor of jobs, over SSH and without a scheduler: the host's own supervisor starts and watches them.

Each call is one login, by a launcher as for the farm's hosts, and one call of the host's
:class:`~coordinator.executors.localjobs.LocalJobs`; between two calls nobody is connected, and jobs go on. The
submission's directory is seen on the host under the same path. A host that cannot be reached has said nothing: its jobs
are unknown, and a submission whose answer did not come is looked for first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import coordinator
from coordinator.core.hosts import check_host
from coordinator.core.statuses import Intent, State, Status
from coordinator.errors import BadInput, BadOption, LaunchFailed, SchedulerAway, SchedulerError, SubmitUnclear
from coordinator.executors import remote
from coordinator.executors.farjobs import FAULTS, statuses_of, told_of_intent
from coordinator.executors.jobexecutor import Place, script_of, write_submission
from coordinator.executors.jobscript import Element
from coordinator.executors.localjobs import LARGEST
from coordinator.executors.supervisor import ID_VARIABLE, INDEX_VARIABLE

#: elements that one login asks about: their answers fit into the line that a host may say
MANY = 5000
#: how far a login came that failed before anything was asked of the host's LocalJobs, whatever was sent
_BEFORE = frozenset(("python", "package"))

Ask = Callable[[Iterable[dict[str, Any]]], Iterator[tuple[int, dict[str, Any]]]]


class SshJobs:
    """``host``: as for ``ssh``, with what OpenSSH's configuration says of it; ``ask``: as :func:`remote.ask` does."""

    poll_s = 5.0
    here = False

    def __init__(self, host: str, ask: Ask = remote.ask) -> None:
        try:
            self._host = check_host(host)
        except BadInput as error:
            raise BadOption(f"ssh:{host[:80]}: {error.message}") from None
        self._ask = ask

    @property
    def name(self) -> str:
        return f"ssh:{self._host}"

    def prepare(self, intent: Intent, elements: Sequence[Element]) -> list[str]:
        write_submission(intent, elements, (ID_VARIABLE,), (INDEX_VARIABLE,))
        return ["ssh", self._host, "/bin/sh", script_of(intent)]

    def submit(self, intent: Intent) -> str:
        return str(self._call("submit", SubmitUnclear, intent=told_of_intent(intent)))

    def find(self, intent: Intent) -> str | None:
        found = self._call("find", intent=told_of_intent(intent))
        return None if found is None else str(found)

    def poll(self, asked: Mapping[str, tuple[str, Iterable[int]]]) -> dict[Place, Status]:
        places = [(native, index) for native, (_, indices) in asked.items() for index in indices]
        found: dict[Place, Status] = {}
        for at in range(0, len(places), MANY):
            some = places[at : at + MANY]
            wanted: dict[str, tuple[str, list[int]]] = {}
            for native, index in some:
                wanted.setdefault(native, (asked[native][0], []))[1].append(index)
            try:
                found |= statuses_of(self._call("poll", asked=wanted))
            except SchedulerError as error:
                unknown = Status(State.UNKNOWN, words=error.message)
                return {**dict.fromkeys(places, unknown), **found}  # the next login would wait as long
        return found

    def cancel(self, places: Iterable[tuple[str, int | None, int]]) -> None:
        if wanted := list(places):
            self._call("cancel", places=wanted)

    def details(self, native: str, index: int = 1, count: int = 1) -> str:
        return str(self._call("details", native=native, index=index, count=count))

    def largest_array(self) -> int:
        return LARGEST

    def version(self) -> str:
        return f"{self._host} over SSH, {self._call('version')}"

    # --- inside -----------------------------------------------------------------------------------------

    def _call(self, call: str, unclear: type[SchedulerError] = SchedulerAway, **told: Any) -> Any:
        """What the host's LocalJobs gives back. Raises what it raises, SchedulerAway where it was not asked, and
        ``unclear`` where nobody knows whether it was."""
        wanted = {"call": call, "version": coordinator.__version__, **told}
        try:
            ((_, said),) = self._ask([{"do": "jobs", "host": self._host, "options": {}, "wanted": wanted}])
        except LaunchFailed as error:
            raise unclear(error.message) from error
        if "failed" in said:
            asked = said.get("committed") and said.get("step") not in _BEFORE
            raise (unclear if asked else SchedulerAway)(said["failed"])
        answer = said["ready"]["jobs"]
        if "fault" in answer:
            raise FAULTS.get(answer["fault"], unclear)(answer["words"])
        return answer["value"]
