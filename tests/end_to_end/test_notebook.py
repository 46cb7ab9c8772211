"""examples/batch.ipynb is executed and shows what it is to show, on this machine."""

from __future__ import annotations

import json

import pytest

from tests.end_to_end.batches import HANG_S, Batches, batches
from tests.end_to_end.notebook import NOTEBOOK, shows_its_batch

__all__ = ["batches"]


def test_no_outputs_are_kept_in_the_notebook() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)


@pytest.mark.timeout(180)
def test_the_notebook_runs_and_shows_a_batch_that_fails_and_is_run_again(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BATCH_EXECUTOR", raising=False)
    shows_its_batch(batches.place.with_name(f"{batches.place.name}.own"), HANG_S, monkeypatch)
