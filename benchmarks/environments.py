"""The environments of the peers: one virtual environment for each file in requirements/, made when first asked for.

They are kept in ``.venv-bench``, stamped with what they were made of. What cannot be installed is reported with the
reason, by an exception that the caller turns into a line of the report; nothing is left out in silence.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-bench"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
#: an environment without peers: what this package needs itself
OURS = "ours"
INSTALL_LIMIT_S = 900.0


class NotInstallable(Exception):
    """Why, in words, for the report."""


class Environments:
    """``place``: the directory that holds them."""

    def __init__(self, place: Path = PLACE) -> None:
        self.place = place
        self._ready: dict[str, Path] = {}
        self._failed: dict[str, str] = {}

    def python(self, name: str) -> Path:
        """The interpreter of an environment, "" for one with the standard library alone. Raises NotInstallable."""
        name = name or OURS
        if name in self._failed:
            raise NotInstallable(self._failed[name])
        if name not in self._ready:
            try:
                self._ready[name] = self._made(name, requirements(name))
            except NotInstallable as error:
                self._failed[name] = str(error)
                raise
        return self._ready[name]

    def versions(self, name: str) -> dict[str, str]:
        """{package: version} of what an environment's file names, as installed."""
        wanted = {distribution(line) for line in requirements(name or OURS)}
        listed = self._run(self.python(name), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
        found = dict(line.split("==", 1) for line in listed.stdout.splitlines() if "==" in line)
        return {package: version for package, version in found.items() if _plain(package) in wanted}

    def _made(self, name: str, wanted: list[str]) -> Path:
        directory = self.place / name
        python, stamp = directory / "bin" / "python", directory / "stamp"
        mark = "\n".join([sys.version, str(directory), *wanted])
        if stamp.exists() and stamp.read_text() == mark:
            return python
        print(f"installing {', '.join(wanted)} into {directory}", file=sys.stderr, flush=True)
        made = self._run(sys.executable, "-m", "venv", "--clear", str(directory))
        if made.returncode:
            raise NotInstallable(f"no virtual environment could be made: {_last_words(made)}")
        installed = self._run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
        if installed.returncode:
            raise NotInstallable(f"pip install {' '.join(wanted)}: {_last_words(installed)}")
        # Compiled by pip for its own packages; what was missed would be compiled during the first measured start.
        self._run(python, "-m", "compileall", "-q", str(directory / "lib"))
        stamp.write_text(mark)
        return python

    @staticmethod
    def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [str(word) for word in words], capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NotInstallable(f"{Path(words[0]).name} {words[1:4]} took longer than {error.timeout:.0f} s") from None


def requirements(name: str) -> list[str]:
    """The lines of an environment's file; our own are those of setup.py."""
    if name == OURS:
        return [line for line in metadata.requires("coordinator") or [] if "extra ==" not in line]
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def distribution(line: str) -> str:
    """The package's name in a line of a requirements file, written in the one way that can be compared."""
    return _plain(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0])


def check_program(program: str) -> None:
    """Raises NotInstallable if a program of the system is not there."""
    if program and shutil.which(program) is None:
        raise NotInstallable(f"the program {program} is not on this machine (Debian: apt-get install {program})")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _last_words(ended: subprocess.CompletedProcess[str]) -> str:
    said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ended.stderr.splitlines()
    return said[-1].strip()[:200] if said else f"exit status {ended.returncode}"
