"""Why a job waits, runs, failed or was lost: a sentence for everything that it can be, and the command to type next."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.needs import MIB, Needs
from coordinator.core.statuses import Cause
from coordinator.jobs.reasons import Facts, folded, of_batch, why
from coordinator.jobs.records import Attempt, Job
from coordinator.jobs.states import ORDER, Outcome, Stage
from coordinator.jobs.usage import usage_of

NOW = 5000.0
TRIED = Attempt(
    batch=7, index=3, number=1, spawn=0, mark="m", element=1, native=None, stage=Stage.SENT, said="", asked=False,
    cancelled=False, seen="", silent_since=None, forgotten=False, outcome=None, code=None, signal=None, cause="",
    words="", host="", at=900.0, began=None, ended=None, wall_s=None, cpu_s=None, memory=None, stdout="", stderr="",
)  # fmt: skip
RUNS: dict[str, Any] = {"stage": Stage.BEGUN, "seen": "runs", "host": "node1", "began": NOW - 30}


def command(*words: object) -> str:
    return shlex.join(map(str, words))


def over(outcome: Outcome, **told: Any) -> Attempt:
    return replace(TRIED, stage=Stage.OVER, outcome=outcome, began=1000.0, ended=1100.0, **told)


def told(state: str, attempt: Attempt | None = None, words: str = "", **facts: Any) -> tuple[str, str, str]:
    """(what, why, next) of the first reason; job 3 of batch 7 is J."""
    number = 0 if attempt is None else attempt.number
    not_before = facts.pop("not_before", 0.0)
    job = Job(7, 3, state, 1.0, number, words=words, not_before=not_before)
    found = why(Facts(job, () if attempt is None else [attempt], **facts), NOW, command)[0]
    return found.what.replace("job 3 of batch 7", "J"), found.why, found.next


WAITS: dict[str, Any] = {"executor": "slurm", "id": "12_1"}
TABLE: list[tuple[tuple[str, str, str], tuple[str, str, str]]] = [
    (told("init"), ("J may go, and nobody has submitted it yet.", "", "submit 7")),
    (told("init", held="it waits for K"), ("J waits: it waits for K.", "", "")),
    (told("submit", replace(TRIED, stage=Stage.WRITTEN), refused="it is asleep", executor="slurm"),
     ("J is on its way to slurm, which does not have it yet.", "it is asleep", "submit 7")),
    (told("submit", replace(TRIED, seen="waits", words="Priority"), **WAITS),
     ("J waits in the queue of slurm (12_1).", "Priority", "")),
    (told("submit", replace(TRIED, seen="unknown", words="slurm: timed out"), **WAITS),
     ("J waits in the queue of slurm (12_1).", "it does not say how it is: slurm: timed out", "")),
    (told("run", replace(TRIED, **RUNS), **WAITS), ("J runs on node1 for 30.0 s.", "", "log 7 3 --follow")),
    (told("run", replace(TRIED, **{**RUNS, "seen": "waits", "words": "somebody has to run it"})),
     ("J runs on node1 for 30.0 s.", "", "log 7 3 --follow")),
    (told("phase2", replace(TRIED, **RUNS), **WAITS),
     ("J runs on node1 for 30.0 s, in state phase2.", "", "log 7 3 --follow")),
    (told("run", replace(TRIED, **{**RUNS, "seen": "unknown", "words": "it is asleep"}), **WAITS),
     ("J has begun, and slurm (12_1) does not say how it is.", "it is asleep", "")),
    (told("run", replace(TRIED, **RUNS, forgotten=True, silent_since=NOW), **WAITS),
     ("J: slurm (12_1) knows nothing of it any more; it is called lost if it stays so.", "", "")),
    (told("run", replace(TRIED, **RUNS, silent_since=NOW), **WAITS),
     ("J is over, and it is not known yet how it ended.", "", "")),
    (told("run", replace(TRIED, **RUNS, cancelled=True)),
     ("J: its end was asked for, and it has not ended yet.", "", "")),
    (told("run", over(Outcome.OK)),
     ("J says run, and nobody is at it any more.",
      "attempt 1 ended well, and its script never said that it is complete",
      "call set_complete in its script; rerun 7 3")),
    (told("phase2"), ("J is in state phase2, and was never submitted.", "", "")),
    (told("complete", over(Outcome.OK)), ("J is complete.", "", "")),
    (told("complete", replace(TRIED, **RUNS)),
     ("J is complete.", "it said so itself, and its program still runs", "")),
    (told("failed", over(Outcome.FAILED, code=3), "exit status 3 on node1", said=["oh", "no"]),
     ("J failed.", "exit status 3 on node1\nthe last lines of its stderr:\n  oh\n  no",
      "log 7 3 --stderr; then rerun 7 3")),
    (told("failed", over(Outcome.FAILED, code=3, number=4), "exit status 3"),
     ("J failed, attempt 4.", "exit status 3", "log 7 3 --stderr; then rerun 7 3")),
    (told("failed", None, "it has no script"), ("J failed.", "it has no script", "rerun 7 3")),
    (told("lost", over(Outcome.LOST), "it left no exit file"),
     ("J was lost.", "it left no exit file", "log 7 3 --stderr; then rerun 7 3")),
    (told("cancelled", over(Outcome.CANCELLED), "cancelled"), ("J was cancelled.", "cancelled", "rerun 7 3")),
    (told("cancelled"), ("J was cancelled.", "", "rerun 7 3")),
    (told("spawn", replace(TRIED, said="complete")),
     ("J has multiplied; of its copies are 1 complete.", "", "")),
]  # fmt: skip


@pytest.mark.parametrize(("found", "expected"), TABLE)
def test_each_has_its_sentence_its_reason_and_what_to_do(
    found: tuple[str, str, str], expected: tuple[str, str, str]
) -> None:
    assert found == expected


@pytest.mark.parametrize(("cause", "more"), [(Cause.MEMORY, "--memory x2"), (Cause.TIME, "--time x2")])
def test_one_that_met_a_limit_says_what_it_used_of_it_and_is_given_more(cause: Cause, more: str) -> None:
    attempt = over(Outcome.FAILED, cause=cause.value, memory=100 * MIB, wall_s=100.0)
    usage = usage_of(attempt, Needs(memory=100 * MIB, time_s=100), NOW)
    _, reason, hint = told("failed", attempt, cause.value, usage=usage)
    assert hint == f"rerun 7 3 {more}"
    assert "asked (100%)" in reason
    assert len(reason.splitlines()) == 2


def test_the_next_try_has_a_time_and_the_reason_of_the_last_one() -> None:
    what, reason, hint = told("init", words="exit status 1; it is tried again", not_before=NOW + 90)
    assert what.startswith("J is tried again at 1970-01-01 ")
    assert what.endswith(", in 00:01:30.")
    assert (reason, hint) == ("exit status 1; it is tried again", "submit 7 --wait submits it then")


CAUSES = [cause.value for cause in Cause]
optional = st.none() | st.floats(0, 1e9)
attempts = st.builds(
    replace, st.just(TRIED), stage=st.sampled_from(Stage), said=st.sampled_from(["", "complete", "over"]),
    cancelled=st.booleans(), seen=st.sampled_from(["", "waits", "runs", "ended", "unknown"]), silent_since=optional,
    forgotten=st.booleans(), outcome=st.none() | st.sampled_from(Outcome), cause=st.sampled_from(CAUSES),
    words=st.text(max_size=5), host=st.sampled_from(["", "node1"]), began=optional, spawn=st.sampled_from([0, 0, 1]),
)  # fmt: skip


@given(
    state=st.sampled_from([*ORDER, "mine"]),
    tried=st.lists(attempts, max_size=3),
    held=st.sampled_from(["", "it waits"]),
    not_before=st.sampled_from([0.0, NOW + 5]),
)
def test_whatever_is_known_there_is_a_sentence(state: str, tried: list[Attempt], held: str, not_before: float) -> None:
    found = why(Facts(Job(7, 3, state, 1.0, 1, not_before=not_before), tried, held), NOW, command)
    assert found
    assert all("job 3 of batch 7" in one.what for one in found)


def test_the_same_end_on_two_hosts_is_one_reason_and_the_most_frequent_is_first() -> None:
    def failed(index: int, code: int, host: str) -> tuple[Job, Attempt]:
        attempt = over(Outcome.FAILED, code=code, host=host)
        return Job(7, index, "failed", 1.0, 1, words=f"exit status {code} on {host}"), attempt

    facts = [failed(0, 2, "a"), failed(1, 1, "a"), failed(2, 1, "b"), failed(4, 1, "b"), failed(5, 3, "a"),
             failed(6, 4, "a"), (Job(7, 8, "init", 1.0), None), (Job(7, 9, "init", 1.0), None),
             (Job(7, 10, "run", 1.0, 1), over(Outcome.OK))]  # fmt: skip
    found = of_batch(7, facts, {(7, 9): "it waits for K"}, command)
    assert found[0][0].to_json() == {
        "what": "3 jobs failed: 1-2, 4", "why": "exit status 1", "next": "rerun 7 1-2 4",
    }  # fmt: skip
    assert [(one.why, indices) for one, indices in found[3:]] == [
        ("it may go, and nobody has submitted it yet", [8]), ("it waits for K", [9]),
    ]  # fmt: skip
    assert len(found) == 5


@given(indices=st.sets(st.integers(0, 60)), shortest=st.integers(1, 4))
def test_folded_indices_are_the_same_indices(indices: set[int], shortest: int) -> None:
    spans = [part.split("-") for part in folded(indices, shortest)]
    assert [i for span in spans for i in range(int(span[0]), int(span[-1]) + 1)] == sorted(indices)
    assert all(int(last) - int(first) + 1 >= shortest for first, last in (span for span in spans if len(span) == 2))
