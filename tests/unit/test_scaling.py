"""The simulation of a large farm: every task done once, plausible figures, and costs that were measured."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import costs, scaling
from benchmarks.largefarm import SHORTEST, Costs, Farm, Figures, Processor
from benchmarks.scaling import GOOD, REFERENCE, knee
from coordinator.core import blocks

CHEAP = Costs(1e-5, 1e-8, 1e-5, 1e-5, 1e-8, 1e-5, (1e-4,))


class Noting(Farm):
    """Notes which positions are begun, apart from the ledger."""

    def __init__(self, costs: Costs, processors: int, task_s: float, seed: int, tasks: int) -> None:
        super().__init__(costs, processors, task_s, seed, tasks)
        self.begun: Counter[int] = Counter()

    def _go_on(self, one: Processor) -> None:
        if one.ahead is not None:
            self.begun.update(range(one.ahead.start, one.ahead.stop))
        super()._go_on(one)


@settings(max_examples=50)
@given(st.integers(1, 20), st.integers(1, 60_000), st.sampled_from(scaling.TASKS_S), st.integers(0, 9))
def test_each_task_of_a_simulated_job_is_done_once(processors: int, tasks: int, task_s: float, seed: int) -> None:
    farm = Noting(REFERENCE, processors, task_s, seed, tasks)
    seconds = farm.finish()
    assert farm.begun == Counter(range(tasks))
    assert farm.done == farm.ledger.done == tasks
    assert not farm.ledger.leases
    assert seconds > 0.5 * tasks * task_s * SHORTEST / processors


@pytest.mark.parametrize("task_s", [0.001, 0.01, 0.1])
def test_before_the_knee_more_processors_never_make_a_job_slower(task_s: float) -> None:
    tasks = round(60 / task_s)
    seconds = [Farm(REFERENCE, processors, task_s, tasks=tasks).finish() for processors in (1, 2, 4, 8, 16, 32)]
    assert all(more < fewer for fewer, more in itertools.pairwise(seconds))


@settings(max_examples=20)
@given(st.sampled_from([1, 3, 30, 300]), st.sampled_from(scaling.TASKS_S), st.integers(0, 9))
def test_nobody_works_more_than_all_the_time(processors: int, task_s: float, seed: int) -> None:
    found = Farm(REFERENCE, processors, task_s, seed).measure()
    assert 0 < found.efficiency <= 1 + 1e-9
    assert 0 < found.load <= 1
    assert found.exchanges_per_s > 0
    assert found.p99_ms >= 1000 * REFERENCE.round_trip_s


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    first, again, other = (Farm(REFERENCE, 20, 0.01, seed).measure() for seed in (1, 1, 2))
    assert first == again != other


def test_blocks_are_those_of_the_product() -> None:
    assert Farm(CHEAP, 4, 0.001).measure().block == pytest.approx(blocks.AIM_S / 0.001, rel=0.1)
    assert Farm(CHEAP, 4, 1.0).measure().block == pytest.approx(1, rel=0.1)


def test_a_coordinator_with_too_much_to_do_computes_all_the_time_and_is_asked_as_often_as_it_can_answer() -> None:
    slow = replace(CHEAP, exchange_s=0.01)
    found = Farm(slow, 200, 0.1).measure()
    assert found.load > 0.95
    assert found.exchanges_per_s == pytest.approx(1 / slow.exchange_s, rel=0.05)
    assert found.efficiency < 0.5


def test_a_slow_disk_is_waited_for_by_tasks_that_are_handed_out_one_at_a_time_and_by_no_others() -> None:
    slow = replace(CHEAP, syncs_s=(0.05,))
    assert Farm(slow, 4, 0.1).measure().efficiency == pytest.approx(0.1 / 0.15, rel=0.1)
    assert Farm(slow, 4, 0.01).measure().efficiency > 0.99


def test_a_slow_generator_bounds_the_tasks_a_second() -> None:
    slow = replace(CHEAP, feed_s=0.001)
    assert Farm(slow, 8, 0.001).measure().tasks_per_s < 1.2 / slow.feed_s


def test_the_knee_is_where_efficiency_falls() -> None:
    dear = replace(CHEAP, exchange_s=0.002)
    figures = list(scaling.curve(dear, [0.01], most=1000))
    found = knee(dear, 0.01, figures)
    assert found is not None
    assert Farm(dear, found, 0.01).measure().efficiency >= GOOD
    assert Farm(dear, found + found // 10, 0.01).measure().efficiency < GOOD
    assert knee(CHEAP, 0.01, list(scaling.curve(CHEAP, [0.01], most=100))) is None


def test_the_tables_have_each_figure_and_each_knee() -> None:
    short = Figures(10, 0.001, 0.99, 50.0, 9900.0, 198.0, 0.02, 2.5)
    long = Figures(10, 10.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0)
    rows = [line.split() for line in scaling.table([short, long])]
    assert ["1", "ms", "10", "0.990", "9,900", "198", "50", "2%", "2.5", "ms"] in rows
    assert ["10", "s", "10", "1.000", "1", "1", "1", "0%", "1.0", "ms"] in rows
    rows = [line.split() for line in scaling.overview([short, long], {0.001: 628, 10.0: None})]
    assert ["task", "10", "0.95", "up", "to"] in rows
    assert ["1", "ms", "0.99", "628"] in rows
    assert ["10", "s", "1.00", "above", "10"] in rows


def test_all_costs_of_the_reference_are_positive() -> None:
    known = asdict(REFERENCE)
    assert all(value > 0 for name, value in known.items() if name != "syncs_s")
    assert list(REFERENCE.syncs_s) == sorted(REFERENCE.syncs_s)
    assert REFERENCE.syncs_s[0] > 0


def test_what_is_measured_of_this_machine_is_positive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SYNCS", 5)
    monkeypatch.setattr(costs, "FED", 5000)
    monkeypatch.setattr(costs, "TRIPS", 10)
    syncs_s = costs.disk(tmp_path)
    assert len(syncs_s) == costs.QUANTILES
    assert list(syncs_s) == sorted(syncs_s)
    assert syncs_s[0] > 0
    assert costs.feeding() > 0
    assert costs.loopback() > 0
    assert costs.cpu_s(os.getpid()) > 0
    assert costs.rss_bytes(os.getpid()) > 1 << 20
