"""Ten thousand simulated jobs, farms and books of rules: every promise holds, everything happens, any seed replays."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from coordinator.core import simulatefarm, simulaterules
from coordinator.core.ledger import Ledger
from coordinator.core.simulate import ONLY_THE_COORDINATOR, WEIGHTS, simulate
from coordinator.core.simulatefarm import simulate_farm
from coordinator.core.simulateoracle import TRANSITIONS
from coordinator.core.simulateplay import Violation
from coordinator.core.simulaterules import simulate_rules
from coordinator.core.simulateserver import WINDOWS
from coordinator.run import Run

JOBS, FARMS, BOOKS = 4000, 1500, 4500

#: what must be seen beside each kind of event: how a turn was cut off, and what came of what
SEEN = {
    *(f"turn: {how} {window}" for how in ("killed", "power cut") for window in WINDOWS[:-1]),
    *(f"{kind}: {how} {WINDOWS[-1]}" for kind, how in (("kill", "killed"), ("power cut", "power cut"))),
    *("sleep: slept", "nap: lapsed", "nap: over a restart", "wait: lapsed", "wait: silent"),
    *("tick: stalled", "slice: end of stream"),
    *(f"deliver: answer {state}" for state in ("work", "nothing", "end", "stop", "who")),
    *("deliver: answer work, drop", "deliver: answer nothing, give", "deliver: its run is over", "come late: refused"),
    *("deliver: nobody hears", "beat: tells exits", "beat lost: tells exits", "say again: gives up"),
    *("work: raises", "work: is killed by its task", "work: leaves", "die: at work", "die: idle", "time limit: kills"),
}
OF_FARMS = {"come back: in time", "come back: too late", "time: jobs lost"}
OF_BOOKS = {
    *("ask: build", "ask: file", "ask: wait", "ask: failed", "ask: no rule", "build: done", "build: too late"),
    *("build: of a life before", "fail: not built", "hand in late: too late", "hand in late: of a life before"),
}


def kinds(events: Counter[str]) -> set[str]:
    return {event.partition(":")[0] for event in events}


@pytest.mark.timeout(300)
def test_no_job_breaks_a_promise_and_every_event_and_transition_is_among_them() -> None:
    events: Counter[str] = Counter()
    transitions: Counter[str] = Counter()
    for seed in range(JOBS):
        outcome = simulate(seed, Run)
        events += outcome.events
        transitions += outcome.transitions
    assert set(WEIGHTS) - kinds(events) == set()
    assert SEEN - set(events) == set()
    assert [name for name in TRANSITIONS if not transitions[name]] == []


@pytest.mark.timeout(120)
def test_no_farm_breaks_a_promise_and_every_event_is_among_them() -> None:
    events = sum((simulate_farm(seed)[1] for seed in range(FARMS)), Counter[str]())
    assert set(simulatefarm.WEIGHTS) - kinds(events) == set()
    assert OF_FARMS - set(events) == set()


@pytest.mark.timeout(120)
def test_no_book_of_rules_breaks_a_promise_and_every_event_is_among_them() -> None:
    events = sum((simulate_rules(seed)[1] for seed in range(BOOKS)), Counter[str]())
    assert set(simulaterules.WEIGHTS) - kinds(events) == set()
    assert OF_BOOKS - set(events) == set()


def test_nothing_runs_twice_where_only_the_coordinator_dies() -> None:
    killed = 0
    for seed in range(300):
        outcome = simulate(seed, Run, ONLY_THE_COORDINATOR)
        killed += sum(times for event, times in outcome.events.items() if "killed before" in event)
        assert outcome.executions == Counter(range(outcome.total)), f"seed {seed}"
    assert killed > 200


DIGESTS = """
from coordinator.core.simulate import simulate
from coordinator.core.simulatefarm import simulate_farm
from coordinator.core.simulaterules import simulate_rules
from coordinator.run import Run
for seed in range(10):
    print(simulate(seed, Run).digest, simulate_farm(seed)[0], simulate_rules(seed)[0])
"""


def test_the_same_seed_is_the_same_story_in_every_process() -> None:
    here = [(simulate(seed, Run).digest, simulate_farm(seed)[0], simulate_rules(seed)[0]) for seed in range(10)]
    assert len({digest for line in here for digest in line}) == 30
    root = __file__.partition("/tests/")[0]
    for hash_seed in ("1", "2"):
        env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        told = subprocess.run([sys.executable, "-c", DIGESTS], env=env, capture_output=True, text=True, check=True)
        assert [tuple(line.split()) for line in told.stdout.splitlines()] == here


def story(seed: int) -> str:
    with pytest.raises(Violation) as caught:
        simulate(seed, Run)
    return str(caught.value)


def test_a_seed_that_fails_says_which_it_is_and_fails_in_the_same_way_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "_free", lambda self, lease: self._drop(lease))
    seed = first_found(lambda seed: simulate(seed, Run))
    first = story(seed)
    assert first.startswith(f"seed {seed}, event ")
    assert "are in some state" in first
    assert first.count("\n") > 10, "the events before it are shown"
    assert story(seed) == first


def first_found(play: Callable[[int], object], most: int = 1000) -> int:
    """The first seed that finds something."""
    for seed in range(most):
        try:
            play(seed)
        except Violation:
            return seed
    raise AssertionError(f"nothing is found within {most} seeds")
