"""A host over SSH as an executor of jobs: what its answer means, a failed login, silence; and how calls are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import coordinator
from coordinator.batch.executors import executor
from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, Intent, State, Status, Used
from coordinator.errors import (
    BadOption,
    LaunchFailed,
    NotCancelled,
    SchedulerAway,
    SchedulerError,
    SubmitRefused,
    SubmitUnclear,
)
from coordinator.executors import farjobs, sshjobs
from coordinator.executors.farjobs import intent_of, statuses_of, told_of_intent, told_of_statuses
from coordinator.executors.jobexecutor import write_submission
from coordinator.executors.localjobs import LocalJobs
from coordinator.executors.named import job_executor
from coordinator.executors.spool import Spool
from coordinator.executors.sshjobs import SshJobs

INTENT = Intent("k3f2a4b7q2", "map", "/d", Needs.of({"memory": "1gb"}), 3)


class Host:
    """Answers in order; ``asked``: what it was asked for."""

    def __init__(self, *answers: dict[str, Any] | LaunchFailed) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, requests: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, request in enumerate(requests):
            assert (request["do"], request["host"], request["options"]) == ("jobs", "node1", {})
            self.asked.append(request["wanted"])
            answer = self._answers.pop(0)
            if isinstance(answer, LaunchFailed):
                raise answer
            yield number, answer


def value(told: Any) -> dict[str, Any]:
    return {"ready": {"ready": 7, "jobs": {"value": told}}}


def fault(name: str) -> dict[str, Any]:
    return {"ready": {"ready": 7, "jobs": {"fault": name, "words": "it said so"}}}


def failure(step: str, committed: bool) -> dict[str, Any]:
    return {"failed": "it said so", "step": step, "committed": committed}


#: (what came of the login, what a submission is then, what any other call is)
FAILS: list[tuple[dict[str, Any] | LaunchFailed, type[SchedulerError], type[SchedulerError]]] = [
    (failure("reach", False), SchedulerAway, SchedulerAway),
    (failure("login", False), SchedulerAway, SchedulerAway),
    (failure("reach", True), SubmitUnclear, SchedulerAway),
    (failure("shell", True), SubmitUnclear, SchedulerAway),
    (failure("python", True), SchedulerAway, SchedulerAway),
    (failure("package", True), SchedulerAway, SchedulerAway),
    (LaunchFailed("it said so"), SubmitUnclear, SchedulerAway),
    (fault("SubmitRefused"), SubmitRefused, SubmitRefused),
    (fault("SubmitUnclear"), SubmitUnclear, SubmitUnclear),
    (fault("NotCancelled"), NotCancelled, NotCancelled),
    (fault("SchedulerAway"), SchedulerAway, SchedulerAway),
    (fault("BadName"), SubmitUnclear, SchedulerAway),
]


@pytest.mark.parametrize(("said", "submitting", "otherwise"), FAILS)
def test_what_did_not_come_is_unclear_only_where_orders_may_have_arrived(
    said: dict[str, Any] | LaunchFailed, submitting: type[SchedulerError], otherwise: type[SchedulerError]
) -> None:
    with pytest.raises(submitting, match="it said so") as caught:
        SshJobs("node1", Host(said)).submit(INTENT)
    assert type(caught.value) is submitting
    for call in (
        lambda jobs: jobs.find(INTENT),
        lambda jobs: jobs.cancel([("7", None, 3)]),
        lambda jobs: jobs.details("7"),
        lambda jobs: jobs.version(),
    ):
        with pytest.raises(otherwise, match="it said so") as caught:
            call(SshJobs("node1", Host(said)))
        assert type(caught.value) is otherwise
    (status,) = SshJobs("node1", Host(said)).poll({"7": (INTENT.mark, [1])}).values()
    assert (status.state, status.words, status.forgotten) == (State.UNKNOWN, "it said so", False)


def test_calls_say_what_they_need_and_nobody_is_asked_about_nothing() -> None:
    host = Host(value("7"), value(None), value(None), value("words"))
    jobs = SshJobs("node1", host)
    assert jobs.submit(INTENT) == "7"
    assert jobs.find(INTENT) is None
    jobs.cancel([("7", 2, 3)])
    assert jobs.details("7", 2, 3) == "words"
    jobs.cancel([])
    assert jobs.poll({}) == {}
    intent = told_of_intent(INTENT)
    version = {"version": coordinator.__version__}
    assert host.asked == [
        {"call": "submit", "intent": intent, **version},
        {"call": "find", "intent": intent, **version},
        {"call": "cancel", "places": [("7", 2, 3)], **version},
        {"call": "details", "native": "7", "index": 2, "count": 3, **version},
    ]


def test_thousands_are_asked_about_in_pieces_and_what_was_heard_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshjobs, "MANY", 3)
    runs = Status(State.RUNS)
    first = told_of_statuses({("7", 1): runs, ("7", 2): runs, ("8", 1): runs})
    host = Host(value(first), failure("reach", False))
    found = SshJobs("node1", host).poll({"7": ("a", [1, 2]), "8": ("b", range(1, 9))})
    assert [each["asked"] for each in host.asked] == [{"7": ("a", [1, 2]), "8": ("b", [1])}, {"8": ("b", [2, 3, 4])}]
    assert [found["8", index].state for index in range(1, 9)] == [State.RUNS] + [State.UNKNOWN] * 7
    assert len(found) == 10


used = st.builds(Used, *[st.none() | st.integers(0, 9)] * 3)
number = st.none() | st.integers(0, 255)
statuses = st.builds(
    Status, st.sampled_from(State), number, number, st.sampled_from(Cause), st.text(), st.text(), used, st.booleans()
)


@given(st.dictionaries(st.tuples(st.sampled_from(["7", "8"]), st.integers(1, 9)), statuses))
def test_statuses_come_back_as_they_were(found: dict[tuple[str, int], Status]) -> None:
    assert statuses_of(told_of_statuses(found)) == found


def test_an_intent_comes_back_as_it_was() -> None:
    assert intent_of(told_of_intent(INTENT)) == INTENT


# --- on the host ------------------------------------------------------------------------------------------


def answer(call: str, **told: Any) -> dict[str, Any]:
    return farjobs.answer({"call": call, "version": coordinator.__version__, **told})


def test_another_version_on_the_host_is_said_and_nothing_is_done() -> None:
    said = farjobs.answer({"call": "submit", "version": "0.0.1"})
    assert said["fault"] == "SchedulerAway"
    assert "install the same" in said["words"]


def test_what_was_written_down_and_could_not_be_started_is_unclear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: LocalJobs) -> None:
        raise LaunchFailed("no room for a process")

    monkeypatch.setattr(LocalJobs, "_call", fails)
    intent = Intent("k3f2a4b7q2", "map", str(tmp_path))
    assert answer("submit", intent=told_of_intent(intent))["fault"] == "SubmitRefused"  # no script is there
    write_submission(intent, [], ("A",), ("B",))
    said = answer("submit", intent=told_of_intent(intent))
    assert (said["fault"], "no room for a process" in said["words"]) == ("SubmitUnclear", True)
    assert answer("find", intent=told_of_intent(intent)) == {"value": "1"}
    assert answer("cancel", places=[["1", None, 1]])["fault"] == "SchedulerAway"


def test_a_full_disk_at_the_host_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, directory: str) -> list[int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "ids", full)
    said = answer("find", intent=told_of_intent(INTENT))
    assert (said["fault"], "No space left" in said["words"]) == ("SchedulerAway", True)


# --- its name ---------------------------------------------------------------------------------------------


def test_a_host_is_named_behind_ssh() -> None:
    assert job_executor("ssh:node1").name == executor("ssh:node1").jobs.name == "ssh:node1"
    for name in ("ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:ada@node1"):
        with pytest.raises(BadOption, match="is not a host name"):
            job_executor(name)
        with pytest.raises(BadOption, match="is not a host name"):
            executor(name)
    with pytest.raises(BadOption, match=r"there is no executor 'ssh'; there are .*, ssh:HOST"):
        executor("ssh")
