"""Why a job waits or failed, in words."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator import reasons, standing
from tests.contract.jobs import job_of


def said(job: dict[str, Any], farm: dict[str, Any] | None = None, problem: str = "") -> str:
    found = reasons.explain(standing.with_values(job), "job", farm, problem)
    return "\n".join(f"{one.what} | {one.why} | {one.next}" for one in found)


def farm_of(*jobs: dict[str, Any], **hosts: dict[str, Any]) -> dict[str, Any]:
    return {"name": "rc", "jobs": list(jobs), "hosts": hosts or {"node1": {"state": "ok", "maxload": 2.0}}}


def entry(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "run": f"run-of-{name}", "state": state, "slots": 0, "reason": None, **more}


def test_a_job_in_the_queue_is_told_its_position_and_who_is_before_it() -> None:
    job = job_of(state="starting", processors=[], errors=[])
    text = said(job, farm_of(entry("first", "running"), entry("second", "queued"), entry("job", "queued")))
    assert "position 2 of 2" in text
    assert "first, second" in text
    assert "--immediate" in text


def test_a_host_that_cannot_be_used_is_named_with_its_reason_once() -> None:
    job = job_of(unreachable={"node2": "no route"})
    hosts = {
        "node1": {"state": "ok", "maxload": 1.0},
        "node2": {"state": "unreachable", "reason": "no route"},
        "node3": {"state": "resting", "reason": "failed 3 times"},
    }
    text = said(job, farm_of(entry("job", "running"), **hosts))
    assert text.count("node2") == 1
    assert "no route" in text
    assert "Host node3 is resting. | failed 3 times" in text


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"state": "stalled", "reason": "No space left on device"}, "No space left on device"),
        ({"state": "stopping", "reason": "stopped by bob"}, "stopped by bob"),
        ({"todo": 0, "leased": 0}, "server generator"),
        ({"todo": 0, "leased": 2, "ended": True}, "the last 2"),
        ({"waiting": 2}, "2 failed tasks to be tried again"),
        ({"state": "failed", "reason": "the server generator failed"}, "the server generator failed"),
        ({"state": "silent", "reason": "it is stopped", "pid": 12}, "kill -CONT 12"),
        ({"state": "unreachable", "reason": "no route", "host": "node9"}, "node9"),
    ],
)
def test_every_state_is_explained(job: dict[str, Any], expected: str) -> None:
    assert expected in said(job_of(**job))


def test_the_most_frequent_errors_are_named_first() -> None:
    group = {"where": "s.py:1", "message": "m", "first_ids": ['"a"', "7"], "traceback": ""}
    groups = [{**group, "kind": f"Kind{i}", "count": i} for i in range(1, 6)]
    text = said(job_of(errors=groups))
    assert text.index("5 failures: Kind5") < text.index("4 failures: Kind4")
    assert "2 more kinds" in text
    assert "a, 7" in text


def test_a_controller_that_cannot_be_asked_is_a_reason_itself() -> None:
    assert "gets no more. | no answer" in said(job_of(), problem="no answer")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({"state": "unreachable", "reason": "no route"}, "Host node1 cannot be used. | no route | mend"),
        ({"state": "resting", "reason": "it failed"}, "Host node1 is resting. | it failed | it is tried again"),
        ({"state": "ok", "maxload": 0.0, "reason": "maxload 0"}, "Host node1 is not to be used. | maxload 0 | edit"),
        ({"state": "ok", "maxload": 2.0, "slots": 2, "processors": 1}, "Host node1 is used: 1 processor on 2 slots."),
        ({"state": "ok", "maxload": 2.0, "slots": 0}, "Host node1 has no slot."),
        ({"state": "ok", "maxload": 2.0, "slots": 2}, "Host node1 has 2 slots, and nothing runs there. |  | coord"),
    ],
)
def test_a_host_is_explained(host: dict[str, Any], expected: str) -> None:
    (one,) = reasons.explain_host("node1", farm_of(entry("job", "running"), node1=host))
    assert f"{one.what} | {one.why} | {one.next}".startswith(expected)


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        ({"state": "lost", "reason": "silent"}, "has not heard of the job for a while. | silent | if the job runs"),
        ({"state": "running", "slots": 0, "reason": "r"}, "The job has no slot just now. | r | "),
        ({"state": "running", "slots": 1}, "The job has been given 1 slot and no processor has begun yet."),
    ],
)
def test_what_a_controller_says_of_a_job_is_told(mine: dict[str, Any], expected: str) -> None:
    job = job_of(state="starting", processors=[], errors=[])
    assert expected in said(job, farm_of(entry("job", **mine)))
