"""``python -m benchmarks.batches``: what the calls leave of 20,000 jobs is right, and one that is not is no result."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from benchmarks import batches as benchmark
from benchmarks.accepted import NotAResult
from coordinator import batch as psu
from tests.end_to_end.batches import Batches, batches

__all__ = ["batches"]

JOBS = 20_000


def test_twenty_thousand_jobs_are_added_shown_and_changed(batches: Batches, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--jobs", str(JOBS), "--rounds", "1", "--save", "took.json"]) == 0
    text = capsys.readouterr().out
    assert all(call in text for call in benchmark.GOALS)
    told = json.loads((batches.place / "took.json").read_text())
    assert told["jobs"] == JOBS
    assert {took["call"] for took in told["took"]} == set(benchmark.GOALS)
    assert os.getcwd() == str(batches.place)


def test_a_call_that_left_a_job_out_gives_no_result(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    real = psu.set_batch_field

    def forgetful(batch: int, *arguments: Any) -> int:
        return psu.set_job_field(batch, range(9), *arguments) if arguments else real(batch)

    monkeypatch.setattr(psu, "set_batch_field", forgetful)
    with pytest.raises(NotAResult, match="after set_batch_field, a field there are 9 jobs"):
        benchmark.measure(10)
