"""The fakes of schedulers are strict: what nobody has looked up in public fails the test that relies on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.fakes.lsf import Lsf
from tests.fakes.pbs import Pbs


def use(kind: type[Pbs | Lsf], place: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    with kind(place) as fake:
        return subprocess.run(words, env={**os.environ, "PATH": fake.path}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Pbs, ["qstat", "-u", "me"]), (Pbs, ["qsub", "-V", "x"]), (Pbs, ["qdel", "-x", "1.s"]),
     (Lsf, ["bjobs", "-o", "jobid"]), (Lsf, ["bjobs", "-a", "-json", "-o", "user", "-u", "x"]),
     (Lsf, ["bkill", "-r", "7"]), (Lsf, ["bsub", "-K", "x"]), (Lsf, ["bparams", "-l"])],
)  # fmt: skip
def test_a_fake_fails_on_what_nobody_has_claimed(kind: type[Pbs | Lsf], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"nobody has claimed: .'{words[0]}"):
        use(kind, tmp_path / "fake", words)


def test_a_fake_fails_on_a_job_that_is_left_behind(tmp_path: Path) -> None:
    words = ["bsub", "-J", "x", "-o", "/dev/null", "-cwd", "/", "-n", "1", "-R", "span[hosts=1]", "sleep", "100"]
    with pytest.raises(AssertionError, match="jobs are left"):
        use(Lsf, tmp_path / "fake", words)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [(["qstat", "-Z"], 2, "qstat: invalid option -- 'Z'\nusage: "),
     (["qstat", "-x", "-f", "9.pbs-tests"], 153, "qstat: Unknown Job Id 9.pbs-tests\n"),
     (["qdel", "9.pbs-tests"], 153, "qdel: Unknown Job Id 9.pbs-tests\n")],
)  # fmt: skip
def test_what_pbs_itself_does_not_know_is_refused_in_its_words(
    words: list[str], code: int, text: str, tmp_path: Path
) -> None:
    done = use(Pbs, tmp_path / "fake", words)
    assert done.returncode == code
    assert done.stderr.startswith(text)
