"""The README's section "Outgrow SSH" on a real Slurm: the script of the section before it, its command as printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters.schedulers import JOB_S
from tests.clusters.slurm import Slurm
from tests.readme import blocks, hello, section


@pytest.mark.timeout(180)
def test_who_outgrows_ssh_goes_on_with_the_same_script_by_one_option(own_slurm: Slurm, tmp_path: Path) -> None:
    (command,) = blocks(section("Outgrow SSH"))
    (tmp_path / "hello.py").write_text(hello())
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"

    def typed(words: str) -> str:
        ended = subprocess.run(
            words, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=JOB_S, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
        return ended.stdout

    assert command.startswith("python hello.py HELLO --executor=slurm --ntasks=200 ")
    assert "HELLO: serving at " in typed(f"{command} --port=0")
    assert "HELLO: done" in typed("coordinator wait HELLO")
    assert "100 done of 100, 0 failed" in typed("coordinator status HELLO")
    assert len(typed("coordinator results HELLO").splitlines()) == 100
    (submission,) = (tmp_path / "HELLO.site").iterdir()
    assert len((submission / "table").read_text().splitlines()) >= 200
    assert own_slurm.jobs("PENDING", "RUNNING") == []  # who still waited was taken out of the queue
