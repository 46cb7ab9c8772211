"""What the calls of a batch take for granted: where its files are, which executor runs jobs, what a new job looks like.

People set it in their code (``psu.config.QFile = "jobs.db"``) or in a TOML file of the same names; what code says
counts. The file is that of the environment variable COORDINATOR_BATCH_CONFIG, else ``batch.toml`` of the current
directory, else ``~/.config/coordinator/batch.toml`` (below XDG_CONFIG_HOME, if that is set). It is read when a value is
asked for the first time, never by an import, and nothing is written.
"""

from __future__ import annotations

import copy
import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.errors import BadOption

#: the environment variable that names the file
VARIABLE = "COORDINATOR_BATCH_CONFIG"
FILE = "batch.toml"
STOP, CONTINUE = "stop", "continue"


@dataclass(frozen=True)
class _Option:
    """``fits``: may it have this value; ``wanted``: in words; ``default``: makes a new one each time."""

    fits: Callable[[Any], bool]
    wanted: str
    default: Callable[[], Any]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_word(value: Any) -> bool:
    return _is_text(value) and bool(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _text(value: str) -> _Option:
    return _Option(_is_text, "text", lambda: value)


def _word(value: str) -> _Option:
    return _Option(_is_word, "text that is not empty", lambda: value)


def _table(value: Mapping[str, Any]) -> _Option:
    return _Option(_is_table, "a dictionary with text for its keys", lambda: copy.deepcopy(dict(value)))


_OPTIONS: Mapping[str, _Option] = {
    "LocalRun": _Option(_is_flag, "True or False", lambda: True),
    "Executor": _text(""),
    "QFile": _word("coordinator.batch.db"),
    "JobDir": _word("batch"),
    "LogFormat": _word("{BatchID}/logs/{name}_{JobIndex:04d}_{subtime}"),
    "LogOut": _word(""),
    "LogErr": _word(""),
    "TempFiles": _word("tmp*"),
    "DefQueue": _text(""),
    "WriteTries": _Option(_is_count, "a whole number from 1", lambda: 20),
    "DefResource": _table({"cput": "04:59:00", "mem": "1gb", "pmem": "1gb", "pvmem": "3gb", "vmem": "3gb"}),
    "JobTemplate": _table(
        {
            "BatchID": None,
            "JobIndex": None,
            "priority": 1,
            "name": ["human", "genome_map"],
            "batch_type": "foo",
            "data": None,
            "script": "my_template_script.sh",
            "queue": None,
            "resources": None,
            "state": "init",
        }
    ),
    "Hostname": _Option(_is_word, "text that is not empty", lambda: os.uname().nodename),
    "OnFailure": _Option(lambda value: value in (STOP, CONTINUE), f'"{STOP}" or "{CONTINUE}"', lambda: STOP),
    "Retries": _table({}),
}
#: {what follows LogFormat as long as nobody sets it: what it adds}
_FOLLOW = {"LogOut": ".out", "LogErr": ".err"}
_PATHS = ("QFile", "JobDir")


class Config:
    """All the names, each of its type. A name that does not exist and a value of another type are a BadOption."""

    #: jobs run on this machine, if Executor names nothing else
    LocalRun: bool
    #: as ``coordinator doctor`` names them; see :meth:`executor_name`
    Executor: str
    #: the file of jobs, or the URL of a database
    QFile: str
    #: where batches have their directories
    JobDir: str
    #: templates below JobDir; LogOut and LogErr are LogFormat with .out and .err, if nobody sets them
    LogFormat: str
    LogOut: str
    LogErr: str
    #: which files of a batch are temporary, as a pattern
    TempFiles: str
    DefQueue: str
    #: how often a write to a busy database is tried
    WriteTries: int
    DefResource: dict[str, Any]
    #: see :meth:`job_template`
    JobTemplate: dict[str, Any]
    #: what a job tells as its hostname
    Hostname: str
    #: "stop": what a failed job's batch would submit after it waits; "continue": it does not
    OnFailure: str
    Retries: dict[str, Any]

    _said: dict[str, Any]
    _read: bool

    def __init__(self) -> None:
        vars(self)["_said"] = {}
        vars(self)["_read"] = False

    def __setattr__(self, name: str, value: Any) -> None:
        self._said[name] = _checked(name, value)

    def __getattr__(self, name: str) -> Any:
        """Only of what is not an ordinary attribute. Raises BadOption if the file cannot be read."""
        if name not in _OPTIONS:
            raise AttributeError(_unknown(name))
        self._load()
        if name not in self._said:
            if name in _FOLLOW:
                return self.LogFormat + _FOLLOW[name]
            self._said[name] = _OPTIONS[name].default()  # kept, since a dictionary may be changed in place
        return self._said[name]

    def __delattr__(self, name: str) -> None:
        """Back to its default."""
        if name not in _OPTIONS:
            raise AttributeError(_unknown(name))
        self._load()
        self._said.pop(name, None)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_OPTIONS]

    def executor_name(self) -> str:
        """The executor of jobs: the one that is named, else ``local`` if LocalRun, else ``pbs``."""
        return self.Executor or ("local" if self.LocalRun else "pbs")

    def path(self, name: str) -> Path:
        """QFile or JobDir, absolute: seen from the current directory, unless it is absolute. Raises BadOption."""
        if name not in _PATHS:
            raise BadOption(f"{name} is not the name of a path: {' and '.join(_PATHS)} are")
        value: str = getattr(self, name)
        if "://" in value:
            raise BadOption(f"{name} is {value.partition('://')[0]}://..., a database and no file")
        return Path.cwd() / _home(name, value)

    def job_template(self) -> dict[str, Any]:
        """A new copy of JobTemplate, with the default of each field that it does not have. Where its queue and its
        resources are None they are DefQueue and DefResource."""
        made: dict[str, Any] = {**_OPTIONS["JobTemplate"].default(), **copy.deepcopy(self.JobTemplate)}
        for name, default in (("queue", self.DefQueue), ("resources", self.DefResource)):
            if made[name] is None:
                made[name] = copy.deepcopy(default)
        return made

    def _load(self) -> None:
        """What code has said already counts."""
        if self._read:
            return
        for name, value in _from_file().items():
            self._said.setdefault(name, value)
        vars(self)["_read"] = True


def file() -> Path | None:
    """The one that would be read now. Raises BadOption if the environment names one that is not there."""
    named = os.environ.get(VARIABLE, "")
    if named:
        path = _home(VARIABLE, named)
        if not os.path.isfile(path):
            raise BadOption(f"{VARIABLE} names {named!r}, and there is no such file")
        return path
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the XDG rule: a relative path is to be ignored
        base = os.path.expanduser("~/.config")
    places = (Path.cwd() / FILE, Path(base) / "coordinator" / FILE)
    return next((path for path in places if os.path.isfile(path)), None)


def _from_file() -> dict[str, Any]:
    path = file()
    if path is None:
        return {}
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadOption(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadOption(f"{path} is not UTF-8: byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadOption(f"{path} is not TOML: {error}") from error
    try:
        return {name: _checked(name, value) for name, value in said.items()}
    except BadOption as error:
        raise BadOption(f"{path}: {error.message}") from error


def _checked(name: str, value: Any) -> Any:
    if name not in _OPTIONS:
        raise BadOption(_unknown(name))
    option = _OPTIONS[name]
    if not option.fits(value):
        raise BadOption(f"{name} is {repr(value)[:80]}, and must be {option.wanted}")
    return value


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), [each.lower() for each in _OPTIONS], n=1, cutoff=0.5)
    meant = next((each for each in _OPTIONS if [each.lower()] == near), "")
    return f"there is no {name!r}; " + (f"did you mean {meant}?" if meant else f"there are {', '.join(_OPTIONS)}")


def _home(name: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise BadOption(f"{name} is {value!r}, and nobody knows that home directory") from error


#: what all calls of the batch ask
config = Config()
