"""What a host does for :mod:`coordinator.executors.sshjobs`: one call of its own :class:`LocalJobs`, answered in JSON.

:mod:`coordinator.keeper` comes here with its orders, over SSH, as the user; the answer is one line on stdout. How calls
and answers are written stands here for both sides. The jobs are the host's own from then on: its supervisor starts
them, and nothing here waits for one.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import coordinator
from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, Intent, State, Status, Used
from coordinator.errors import (
    CoordinatorError,
    NotCancelled,
    SchedulerAway,
    SchedulerError,
    SubmitRefused,
    SubmitUnclear,
)
from coordinator.executors.jobexecutor import Place, script_of
from coordinator.executors.localjobs import LocalJobs

#: what an answer may name as its fault
FAULTS: Mapping[str, type[SchedulerError]] = {
    kind.__name__: kind for kind in (NotCancelled, SchedulerAway, SubmitRefused, SubmitUnclear)
}


# --- on the host ------------------------------------------------------------------------------------------


def answer(wanted: dict[str, Any]) -> dict[str, Any]:
    """``{"value": ...}``, or ``{"fault": name, "words": ...}``. ``wanted``: {call, version, and what it needs}."""
    calls: dict[str, Callable[[LocalJobs, dict[str, Any]], Any]] = {
        "submit": _submit,
        "find": lambda jobs, told: jobs.find(intent_of(told["intent"])),
        "poll": lambda jobs, told: told_of_statuses(jobs.poll(told["asked"])),
        "cancel": lambda jobs, told: jobs.cancel(map(tuple, told["places"])),
        "details": lambda jobs, told: jobs.details(told["native"], told["index"], told["count"]),
        "version": lambda jobs, told: jobs.version(),
    }
    if wanted["version"] != coordinator.__version__:
        words = f"{os.uname().nodename} has version {coordinator.__version__} of coordinator, not {wanted['version']}"
        return _fault(SchedulerAway(f"{words}: install the same"))
    try:
        return {"value": calls[wanted["call"]](LocalJobs(), wanted)}
    except SchedulerError as error:
        return _fault(error)
    except (CoordinatorError, OSError) as error:
        words = f"{os.uname().nodename}: {error.message if isinstance(error, CoordinatorError) else error}"
        # It may have been written down by then, and the supervisor could not be started.
        return _fault(SubmitUnclear(words) if wanted["call"] == "submit" else SchedulerAway(words))


def _submit(jobs: LocalJobs, told: dict[str, Any]) -> str:
    intent = intent_of(told["intent"])
    if not os.path.isfile(script_of(intent)):
        raise SubmitRefused(
            f"{intent.directory} is not there on {os.uname().nodename}: submit from a directory that all hosts see "
            f"under the same path"
        )
    return jobs.submit(intent)


def _fault(error: SchedulerError) -> dict[str, Any]:
    name = type(error).__name__
    return {"fault": name if name in FAULTS else SchedulerAway.__name__, "words": error.message}


# --- how it is written ------------------------------------------------------------------------------------


def told_of_intent(intent: Intent) -> dict[str, Any]:
    return {**intent.__dict__, "needs": intent.needs.told()}


def intent_of(told: dict[str, Any]) -> Intent:
    return Intent(**{**told, "needs": Needs.of(told["needs"])})


def told_of_statuses(found: Mapping[Place, Status]) -> list[Any]:
    """Those that are the same in one, since most of thousands wait: [[status, {native: [index, ...]}], ...]."""
    same: dict[Status, dict[str, list[int]]] = defaultdict(dict)
    for (native, index), status in found.items():
        same[status].setdefault(native, []).append(index)
    return [[_told_of_status(status), places] for status, places in same.items()]


def statuses_of(told: Iterable[Any]) -> dict[Place, Status]:
    return {
        (native, index): status
        for one, places in told
        for status in (_status_of(one),)
        for native, indices in places.items()
        for index in indices
    }


def _told_of_status(status: Status) -> dict[str, Any]:
    used = [status.used.wall_s, status.used.cpu_s, status.used.memory]
    return {**status.__dict__, "state": status.state.name, "cause": status.cause.name, "used": used}


def _status_of(told: dict[str, Any]) -> Status:
    return Status(**{**told, "state": State[told["state"]], "cause": Cause[told["cause"]], "used": Used(*told["used"])})
