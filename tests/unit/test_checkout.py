"""`python coordinator.py` in a checkout: it runs, goes on in .venv, or says what to type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coordinator import checkout

ROOT = Path(checkout.__file__).resolve().parent.parent


def run(root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A script in ``root`` that begins as coordinator.py does, run with the arguments ``--rc=a b``."""
    script = root / "begin.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT / 'coordinator')!r})\n"  # the file alone: the package may need what is not there
        "from checkout import ensure_dependencies\n"
        "ensure_dependencies(Path(__file__).resolve().parent)\n"
        "print('goes on')\n"
    )
    command = [sys.executable, *flags, str(script), "--rc=a b"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A .venv whose python only shows its arguments."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "in .venv:" "$@"\n')
    python.chmod(0o755)
    return python


def test_where_all_is_installed_this_python_goes_on(tmp_path, environment):
    assert run(tmp_path).stdout == "goes on\n"


def test_else_the_environment_of_the_checkout_goes_on_with_the_same_arguments(tmp_path, environment):
    found = run(tmp_path, "-S")
    assert (found.stdout, found.returncode) == (f"in .venv: -S {tmp_path / 'begin.py'} --rc=a b\n", 0)


def test_else_one_sentence_says_what_to_type(tmp_path):
    found = run(tmp_path, "-S")
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    assert "click, cryptography, httptools, paramiko, psutil, rich, sqlalchemy" in found.stderr
    assert f"type `make -C {tmp_path} venv` once, then try again." in found.stderr


def test_an_environment_that_lacks_them_too_is_not_tried_again(tmp_path, environment, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(environment))
    monkeypatch.setattr(checkout, "NEEDED", ("no_such_package_here",))
    with pytest.raises(SystemExit, match="no_such_package_here"):
        checkout.ensure_dependencies(tmp_path)


def test_an_old_python_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        checkout.ensure_dependencies(tmp_path)


def test_it_asks_for_what_setup_installs():
    wanted = (ROOT / "setup.py").read_text().partition("install_requires=[")[2].partition("]")[0]
    assert sorted(line.strip().strip('",').partition(">")[0] for line in wanted.split()) == sorted(checkout.NEEDED)
