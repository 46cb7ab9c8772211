"""A test of the test: bugs planted in the ledger, each of which the model must find."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from coordinator.core.leases import Lease
from coordinator.core.ledger import Ledger, Verdict
from tests.unit.ledgermodel import Model

pytestmark = pytest.mark.slow


class BelievesEveryLease(Ledger):
    def report(self, number: int, done: Any, failed: Any, now: float, final: bool = False) -> Verdict:
        verdict = Verdict()
        for start, stop in done:
            self.done += stop - start
            verdict.done.append((start, stop))
        return verdict


class BelievesWhoeverReports(Ledger):
    """Under whatever lease: that of the task's holder is looked for."""

    def report(self, number: int, done: Any, failed: Any, now: float, final: bool = False) -> Verdict:
        ranges = list(done)
        holder = next((n for n, lease in self.leases.items() for a, b in ranges if lease.open.overlaps(a, b)), number)
        return super().report(holder, ranges, failed, now, final)


class LosesWhatIsGivenBack(Ledger):
    def give_back(self, number: int, start: int, stop: int) -> int:
        before = self.todo.copy()
        returned = super().give_back(number, start, stop)
        self.todo = before
        return returned


class ForgetsTheLapsed(Ledger):
    def lapse(self, now: float) -> list[Lease]:
        over = super().lapse(now)
        for lease in over:
            for start, stop in lease.open:
                self.todo.remove(start, stop)
        return over


class KeepsOldLeasesOpen(Ledger):
    def _supersede(self, start: int, stop: int) -> None:
        pass


class TakesBackWhatOthersHave(Ledger):
    """Who is back after its lease lapsed has it again, given to others or not."""

    def renew(self, holder: int, now: float) -> None:
        for lease in self.held_by(holder):
            lease.shared_out = False
        super().renew(holder, now)


class SettlesTwice(Ledger):
    """DONE does not absorb: a lease that is reported stays open."""

    def _forget_if_empty(self, lease: Lease) -> None:
        if not lease.open:
            lease.open.add(lease.start, lease.stop)


class GivesNumbersAgain(Ledger):
    def restore(self, lease: Lease) -> None:
        after = self.next_lease
        super().restore(lease)
        self.next_lease = min(after, lease.number)


class ForgetsAttempts(Ledger):
    def remember(self, attempts: Any, *more: Any) -> None:
        pass


class RedoesUncounted(Ledger):
    def redo(self, ranges: Any, was_done: int, was_failed: int) -> None:
        super().redo(ranges, was_done + was_failed, 0)


class JudgesAfterSleep(Ledger):
    def renew_all(self, now: float) -> None:
        pass


class CountsNoDeaths(Ledger):
    def _died(self, lease: Lease, position: int, verdict: Verdict) -> None:
        verdict.failed.append((position, self.attempt(position), False))


class RetriesForEver(Ledger):
    def _fail(self, position: int, verdict: Verdict, now: float, final: bool) -> None:
        before = dict(self._attempts)
        super()._fail(position, verdict, now, final)
        self._attempts = before


class ForgetsRetries(Ledger):
    def _wake(self, now: float) -> None:
        self._waiting = [one for one in self._waiting if one[0] > now]


class KeepsWhatNobodyHolds(Ledger):
    def hold(self, holder: int, numbers: Any, now: float) -> list[int]:
        self.renew(holder, now)
        known = self._by_holder.get(holder, {})
        return [n for n in numbers if n not in known or known[n].lapsed]


class LosesTheTasksOfTheDead(Ledger):
    def lost(self, holder: int, current: int | None, now: float, place: str = "") -> Any:
        before = self.todo.copy()
        answer = super().lost(holder, current, now, place)
        self.todo = before
        return answer


class NeverTriesElsewhere(Ledger):
    def _take_shunned(self, place: str, places: Any, now: float) -> None:
        return None


class TriesTheSameHostAgain(Ledger):
    def _take_shunned(self, place: str, places: Any, now: float) -> Any:
        return super()._take_shunned("somewhere", places, now)


class CountsDoneTwice(Ledger):
    def _close(self, lease: Lease, start: int, stop: int) -> None:
        if lease.lapsed:
            self.todo.remove(start, stop)


class LeavesLateReportsInTodo(Ledger):
    def _close(self, lease: Lease, start: int, stop: int) -> None:
        lease.open.remove(start, stop)


MUTANTS: list[type[Ledger]] = [
    BelievesEveryLease,
    BelievesWhoeverReports,
    TakesBackWhatOthersHave,
    SettlesTwice,
    GivesNumbersAgain,
    ForgetsAttempts,
    RedoesUncounted,
    LosesWhatIsGivenBack,
    ForgetsTheLapsed,
    KeepsOldLeasesOpen,
    JudgesAfterSleep,
    CountsNoDeaths,
    RetriesForEver,
    ForgetsRetries,
    KeepsWhatNobodyHolds,
    LosesTheTasksOfTheDead,
    NeverTriesElsewhere,
    TriesTheSameHostAgain,
    CountsDoneTwice,
    LeavesLateReportsInTodo,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_model_finds_the_planted_bug(mutant: type[Ledger]) -> None:
    for seed in range(400):
        rng, model = Random(seed), Model(mutant)
        try:
            for _ in range(50):
                model.step(rng.randrange(len(Model.STEPS)), rng)
        except Exception:  # a bug shows as a failed assertion or as an error of its own
            return
    pytest.fail(f"{mutant.__name__} was not found in {400 * 50} steps")
