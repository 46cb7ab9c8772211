"""The ledger against a model that knows each position by itself, driven by Hypothesis."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from coordinator.core.ledger import Ledger, Policy
from tests.unit.ledgermodel import Model


class LedgerMachine(RuleBasedStateMachine):
    """Steps of the model, chosen by Hypothesis."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    @rule(number=st.integers(0, len(Model.STEPS) - 1), rng=st.randoms(use_true_random=False))
    def step(self, number: int, rng: Random) -> None:
        self.model.step(number, rng)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def test_the_ledger_is_as_its_model_says_for_ten_thousand_steps() -> None:
    for seed in range(200):
        rng, model = Random(seed), Model()
        try:
            for _ in range(50):
                model.step(rng.randrange(len(Model.STEPS)), rng)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def leased(count: int = 4, **policy: int) -> tuple[Ledger, int]:
    ledger = Ledger(Policy(**policy), term_s=10.0)
    ledger.extend(count)
    lease = ledger.lease(1, count, 0.0)
    assert lease is not None
    return ledger, lease.number


def test_a_late_report_is_believed_as_long_as_nobody_took_the_tasks() -> None:
    ledger, number = leased()
    ledger.lapse(100.0)
    assert ledger.todo.total() == 4
    assert ledger.report(number, [(0, 4)], [], 100.0).done == [(0, 4)]
    assert ledger.todo.total() == 0


def test_a_late_report_of_tasks_that_others_have_is_counted_and_not_believed() -> None:
    ledger, number = leased()
    ledger.lapse(100.0)
    newer = ledger.lease(2, 2, 100.0)
    assert newer is not None
    verdict = ledger.report(number, [(0, 4)], [], 100.0)
    assert verdict.done == [(2, 4)]
    assert verdict.late == 2
    assert ledger.report(newer.number, [(0, 2)], [], 101.0).done == [(0, 2)]
    assert ledger.late == 2


def test_the_same_report_twice_counts_once() -> None:
    ledger, number = leased()
    ledger.report(number, [(0, 2)], [], 0.0)
    assert not ledger.report(number, [(0, 2)], [], 0.0)
    assert ledger.done == 2


def test_a_task_that_kills_its_processors_is_given_up() -> None:
    ledger, _ = leased(count=1, deaths=3)
    for attempt in (1, 2):
        _, verdict = ledger.lost(attempt, 0, 0.0)
        assert verdict.failed == [(0, attempt, False)]
        assert ledger.lease(attempt + 1, 1, 0.0) is not None
    _, verdict = ledger.lost(3, 0, 0.0)
    assert verdict.failed == [(0, 3, True)]
    ledger.end()
    assert ledger.finished


def test_settled_tasks_can_be_made_todo_again() -> None:
    ledger, number = leased()
    ledger.end()
    ledger.report(number, [(0, 3)], [3], 0.0)
    assert ledger.finished
    ledger.redo([(1, 2), (3, 4)], was_done=1, was_failed=1)
    assert (ledger.done, ledger.failed, ledger.todo.total()) == (2, 0, 2)
    assert not ledger.finished
