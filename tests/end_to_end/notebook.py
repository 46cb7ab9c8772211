"""examples/batch.ipynb as Jupyter would execute it, in a kernel of this Python, and what it is to show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "batch.ipynb"
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=float(sys.argv[3]), kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def printed(cell: dict[str, Any]) -> str:
    """What people see under a cell, as text."""
    found = []
    for output in cell["outputs"]:
        text = output["text"] if "text" in output else output["data"]["text/plain"]
        found.append("".join(text))
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(found))  # colours of a table


def shows_its_batch(own: Path, limit_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute it here and look at what it shows. ``own``: for files of Jupyter's; ``limit_s``: of a cell."""
    for module in ("nbclient", "ipykernel"):
        if find_spec(module) is None:
            pytest.skip(f"needs {module}: make dev")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(own / name.lower()))
    words = [sys.executable, "-c", EXECUTE, NOTEBOOK, "executed.ipynb", str(limit_s)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=3 * limit_s, check=False)
    assert ran.returncode == 0, ran.stderr
    cells = json.loads(Path("executed.ipynb").read_text())["cells"]
    shown = {"".join(cell["source"]).splitlines()[-1]: printed(cell) for cell in cells if cell["cell_type"] == "code"}
    queues = [printed(cell) for cell in cells if "get_queue()" in "".join(cell["source"]) and "outputs" in cell]
    added, failed, done, gone = queues
    assert "genome_map" in shown["psu.get_job_template()"]
    assert rows(added) == {"init": [0, 1, 2, 3, 4]}
    assert shown["psu.submit_jobs()"] == "4"
    assert rows(failed) == {"complete": [0, 1, 3], "init": [4], "failed": [2]}
    assert "priority 2 did not succeed (job 2)" in failed
    assert "missing jobs:" in failed
    assert "'NoneType' object has no attribute 'split'" in shown['psu.print_log(B, 2, "stderr", -1, 1)']
    assert "1 missing job was set back to init" in done
    assert rows(done) == {"collected": [0, 1, 2, 3], "complete": [4]}
    last = shown['psu.get_job_info(B, 4)["words"], psu.get_job_info(B, 2)["attempts"]']
    assert [line for line in last.splitlines() if line.endswith(" words")] == [
        "part 0 has 4 words", "part 1 has 2 words", "part 2 has 2 words", "part 3 has 3 words",
        "all parts have 11 words",
    ]  # fmt: skip
    assert last.endswith("(11, 2)")
    both = shown['psu.print_log(B, 2, ["stdout", "stderr"], [0, 1], Lines=1)']
    assert both.count("attempt 1 of 2") == both.count("attempt 2 of 2") == 2
    assert "no jobs" in gone


def rows(table: str) -> dict[str, list[int]]:
    """{state: indices} of the newest dashboard in a text. A job that has just said that it is complete may still have
    the asterisk of one that runs."""
    found: dict[str, list[int]] = {}
    for line in table.splitlines():
        if "which (* runs)" in line:
            found = {}
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if len(cells) == 3 and cells[0]:
            spans = [part.split("-") for part in cells[2].replace("*", "").split(", ")]
            found[cells[0]] = [index for span in spans for index in range(int(span[0]), int(span[-1]) + 1)]
    return found
