"""What calls of batches say of arguments that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator import batch as psu
from coordinator.errors import BadInput


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("fields", [{}, {"BatchID": None}, {"BatchID": [1]}, {"BatchID": "x"}])
def test_a_job_without_a_batch_cannot_be_numbered(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"its BatchID is .*: get_job_template\(SetID=True\)"):
        psu.add_job_to_queue({"script": "true", **fields}, set_index=True)


def test_a_filter_is_text() -> None:
    for call in (psu.submit_jobs, psu.get_queue, psu.get_sql_queue):
        with pytest.raises(BadInput, match="Filter is text, such as 'state == \"init\"', not 5"):
            call(Filter=5)  # type: ignore[operator]


@pytest.mark.parametrize("call", [psu.qdel_batch, psu.submit_one_batch])
def test_a_batch_that_is_not_there_is_said(call: Callable[[Any], int], capsys: pytest.CaptureFixture[str]) -> None:
    batch = psu.get_id()
    psu.add_job_to_queue({**psu.get_job_template(), "BatchID": batch, "JobIndex": 0, "script": "true", "state": "run"})
    assert call(99) == 0
    assert capsys.readouterr().out == "there is no batch 99: get_queue shows those that are there\n"
    assert call([98, batch, 99]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["there is no batch 98", "there is no batch 99"]
