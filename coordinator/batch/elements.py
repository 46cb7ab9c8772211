"""A job of a batch as an executor runs it: its command, its environment, where it prints to, what it needs.

Submissions come here for each attempt. A script may be a file or a command line; a command line is a template
(:mod:`.template`), a file is run as it is (``generate_script`` makes one from a template).
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Mapping
from typing import Any

from coordinator.batch import resources
from coordinator.batch.config import config
from coordinator.batch.home import Home, variables
from coordinator.batch.template import filled
from coordinator.core.needs import Needs
from coordinator.errors import BadInput
from coordinator.executors.jobscript import Element
from coordinator.jobs.changes import title
from coordinator.jobs.submissions import Trial

_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@%-]+")
#: bytes of a script's first line that are read
_LINE = 512


class Elements:
    """``directories``: {BatchID: where its jobs run}; ``executor``: its name; ``writes``: the directories of logs are
    made where they are missing."""

    def __init__(self, home: Home, executor: str, directories: Mapping[int, str], writes: bool = True) -> None:
        self._home, self._executor, self._directories, self._writes = home, executor, directories, writes
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._now = time.strftime("%Y%m%d%H%M%S")
        self._made: set[str] = set()

    def __call__(self, trial: Trial) -> tuple[Element, Needs]:
        """Raises BadInput, OSError."""
        job = trial.job
        info = {**job.info, "subtime": self._now}
        directory = str(info.get("directory") or self._directories[job.batch])
        asked = resources.read(info.get("resources") or {}, str(info.get("queue") or ""), executor=self._executor)
        place = (job.batch, job.index, trial.number, trial.spawn)
        words = {**_variables(info.get("vars")), **variables(self._home, self._executor, place)}
        out, err = (self._log(form, info, trial) for form in (config.LogOut, config.LogErr))
        argv = resources.limited(command(info, directory), asked.limits)
        return Element(argv, directory, "", out, err, words, self._umask), asked.needs

    def _log(self, form: str, info: Mapping[str, Any], trial: Trial) -> str:
        """Each attempt has its own; what a job says of itself is no more than a part of a file's name here."""
        plain = {name: _file_name(value) if isinstance(value, str | list) else value for name, value in info.items()}
        head, ending = os.path.splitext(filled(form, {**plain, "name": _file_name(info.get("name")) or "job"}))
        attempt = f".{trial.number}" if trial.number > 1 else ""
        copy = f".s{trial.spawn}" if trial.spawn else ""
        path = os.path.normpath(os.path.join(self._home.place, f"{head}{attempt}{copy}{ending}"))
        if os.path.commonpath([path, self._home.place]) != str(self._home.place):
            raise BadInput(f"LogOut and LogErr are below JobDir, and {path} is not")
        parent = os.path.dirname(path)
        if self._writes and parent not in self._made:
            os.makedirs(parent, exist_ok=True)
            self._made.add(parent)
        return path


def _file_name(value: Any) -> str:
    return _UNSAFE.sub("_", title(value).replace("/", "-"))[:100]


def command(info: Mapping[str, Any], directory: str) -> list[str]:
    """The words that run a job's ``script``. Raises BadInput."""
    script = info.get("script")
    if not isinstance(script, str) or not script.strip():
        raise BadInput(f"job {info.get('JobIndex')} has no script: it is the path of a file, or a command line")
    path = os.path.join(directory, script)
    if os.path.isfile(path):
        if os.access(path, os.X_OK):
            return [path]
        with open(path, "rb") as file:
            first = file.readline(_LINE)
        if first.startswith(b"#!"):
            return [*shlex.split(os.fsdecode(first[2:]).strip()), path]
        return ["/bin/sh", path]
    return ["/bin/sh", "-c", filled(script, info)]


def _variables(told: Any) -> dict[str, str]:
    if told is None:
        return {}
    if not isinstance(told, Mapping):
        raise BadInput(f"vars is a dictionary of variables, not {told!r:.100}")
    return {str(name): value if isinstance(value, str) else str(value) for name, value in told.items()}
