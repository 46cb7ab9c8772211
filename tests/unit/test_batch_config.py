"""The configuration of batches: defaults that work anywhere, code over file, and errors that say where and what."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator.batch import resources
from coordinator.batch.config import FILE, VARIABLE, Config
from coordinator.batch.config import file as config_file
from coordinator.batch.template import filled
from coordinator.errors import BadOption
from tests.end_to_end.batches import NEW_JOB

DEFAULTS: dict[str, Any] = {
    "LocalRun": True,
    "Executor": "",
    "QFile": "coordinator.batch.db",
    "JobDir": "batch",
    "LogFormat": "{BatchID}/logs/{name}_{JobIndex:04d}_{subtime}",
    "LogOut": "{BatchID}/logs/{name}_{JobIndex:04d}_{subtime}.out",
    "LogErr": "{BatchID}/logs/{name}_{JobIndex:04d}_{subtime}.err",
    "TempFiles": "tmp*",
    "DefQueue": "",
    "WriteTries": 20,
    "DefResource": {"cput": "04:59:00", "mem": "1gb", "pmem": "1gb", "pvmem": "3gb", "vmem": "3gb"},
    "Hostname": os.uname().nodename,
    "OnFailure": "stop",
    "Retries": {},
}


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """An empty directory, and a home without a file."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    home, place = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    place.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(place)
    return place


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- defaults ------------------------------------------------------------------------------------------


def test_in_an_empty_directory_everything_has_a_default(somewhere):
    config = Config()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS
    assert list(somewhere.iterdir()) == []
    assert set(DEFAULTS) | {"JobTemplate"} <= set(dir(config))


def test_a_new_job_has_the_fields_of_the_manual_and_the_default_queue_and_resources():
    config = Config()
    config.DefQueue = NEW_JOB["queue"]
    assert config.job_template() == NEW_JOB


def test_a_new_job_is_a_copy_all_the_way_down():
    config = Config()
    made = config.job_template()
    made["resources"]["mem"] = made["name"][0] = "changed"
    assert config.job_template()["resources"]["mem"] == "1gb"
    assert config.job_template()["name"][0] == "human"
    assert Config().DefResource["mem"] == "1gb"


def test_a_template_of_ones_own_keeps_the_minimal_set_of_fields():
    config = Config()
    config.JobTemplate = {"batch_type": "ribo", "queue": "own", "resources": {"mem": "8gb"}, "organism": "yeast"}
    made = config.job_template()
    assert (made["batch_type"], made["queue"], made["resources"]) == ("ribo", "own", {"mem": "8gb"})
    assert (made["organism"], made["state"], made["BatchID"]) == ("yeast", "init", None)


def test_a_dictionary_may_be_changed_in_place():
    config = Config()
    config.DefResource["mem"] = "2gb"
    config.JobTemplate["priority"] = 5
    assert config.job_template()["resources"]["mem"] == "2gb"
    assert config.job_template()["priority"] == 5


def test_the_defaults_are_understood_by_what_reads_them():
    config = Config()
    for executor in ("local", "pbs", "sge", "slurm"):
        assert resources.read(config.DefResource, config.DefQueue, executor=executor).needs.memory
    job = {**config.job_template(), "BatchID": 20210101000000, "JobIndex": 3, "subtime": 17}
    assert filled(config.LogErr, job) == "20210101000000/logs/human/genome_map_0003_17.err"


@pytest.mark.parametrize(
    ("executor", "local", "name"),
    [("", True, "local"), ("", False, "pbs"), ("slurm", True, "slurm"), ("slurm", False, "slurm")],
)
def test_the_executor_is_the_named_one_else_this_machine_or_pbs(executor, local, name):
    config = Config()
    config.Executor, config.LocalRun = executor, local
    assert config.executor_name() == name


def test_logs_follow_the_format_until_they_are_set():
    config = Config()
    config.LogFormat = "{JobIndex}"
    assert (config.LogOut, config.LogErr) == ("{JobIndex}.out", "{JobIndex}.err")
    config.LogOut = "all.out"
    config.LogFormat = "x"
    assert (config.LogOut, config.LogErr) == ("all.out", "x.err")
    del config.LogOut
    assert config.LogOut == "x.out"


# --- paths ---------------------------------------------------------------------------------------------


def test_paths_are_seen_from_the_current_directory(somewhere, tmp_path, monkeypatch):
    config = Config()
    assert config.path("QFile") == somewhere / "coordinator.batch.db"
    assert config.path("JobDir") == somewhere / "batch"
    monkeypatch.chdir(tmp_path)
    assert config.path("JobDir") == tmp_path / "batch"
    config.JobDir = "/else/where"
    assert config.path("JobDir") == Path("/else/where")
    config.JobDir = "~/batches"
    assert config.path("JobDir") == tmp_path / "home" / "batches"


def test_what_is_no_path_is_refused():
    config = Config()
    with pytest.raises(BadOption, match="Hostname is not the name of a path: QFile and JobDir are"):
        config.path("Hostname")
    config.QFile = "postgresql://me:secret@host/jobs"
    with pytest.raises(BadOption, match=r"QFile is postgresql://\.\.\., a database and no file") as caught:
        config.path("QFile")
    assert "secret" not in str(caught.value)


# --- what is wrong -------------------------------------------------------------------------------------

WRONG = [
    ("qfile", "x", "there is no 'qfile'; did you mean QFile?"),
    ("JobDirectory", "x", "there is no 'JobDirectory'; did you mean JobDir?"),
    ("DefResources", {}, "there is no 'DefResources'; did you mean DefResource?"),
    ("zzz", 1, "there is no 'zzz'; there are LocalRun, Executor, QFile"),
    ("LocalRun", 1, "LocalRun is 1, and must be True or False"),
    ("LocalRun", "yes", "LocalRun is 'yes', and must be True or False"),
    ("WriteTries", 0, "WriteTries is 0, and must be a whole number from 1"),
    ("WriteTries", True, "WriteTries is True, and must be a whole number from 1"),
    ("WriteTries", 2.0, "WriteTries is 2.0, and must be a whole number from 1"),
    ("QFile", 5, "QFile is 5, and must be text that is not empty"),
    ("QFile", "", "QFile is '', and must be text that is not empty"),
    ("JobDir", "a\0b", "JobDir is 'a\\x00b', and must be text"),
    ("DefResource", "1gb", "DefResource is '1gb', and must be a dictionary with text for its keys"),
    ("DefResource", {1: 2}, "DefResource is {1: 2}, and must be a dictionary with text for its keys"),
    ("OnFailure", "go on", 'OnFailure is \'go on\', and must be "stop" or "continue"'),
    ("OnFailure", ["stop"], "OnFailure is ['stop'], and must be"),
    ("Retries", 3, "Retries is 3, and must be a dictionary"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_code_that_sets_what_cannot_be_is_told_so(name, value, words):
    config = Config()
    with pytest.raises(BadOption) as caught:
        setattr(config, name, value)
    assert str(caught.value).startswith(words)
    assert name not in DEFAULTS or getattr(config, name) == DEFAULTS[name]


def test_a_name_that_does_not_exist_is_no_attribute():
    config = Config()
    assert not hasattr(config, "Zonk")
    with pytest.raises(AttributeError, match=r"there is no 'Jobdir'; did you mean JobDir\?"):
        _ = config.Jobdir
    with pytest.raises(AttributeError, match="there is no 'Jobdir'"):
        del config.Jobdir
    other = copy.deepcopy(config)
    other.JobDir = "elsewhere"
    assert config.JobDir == "batch"


# --- the file ------------------------------------------------------------------------------------------


def test_a_file_says_what_code_does_not(somewhere):
    written(somewhere / FILE, 'QFile = "file.db"\nLocalRun = false\nWriteTries = 3\n[DefResource]\nmem = "9gb"\n')
    config = Config()
    config.WriteTries = 5
    assert (config.QFile, config.LocalRun, config.WriteTries) == ("file.db", False, 5)
    assert config.DefResource == {"mem": "9gb"}
    assert config.JobDir == "batch"


def test_the_environments_file_is_before_that_of_the_directory_and_that_before_the_users(
    somewhere, tmp_path, monkeypatch
):
    assert config_file() is None
    users = written(tmp_path / "home" / ".config" / "coordinator" / FILE, 'JobDir = "users"')
    assert config_file() == users
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_file() == users
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert config_file() is None
    assert config_file() is None
    xdg = written(tmp_path / "xdg" / "coordinator" / FILE, 'JobDir = "xdg"')
    assert config_file() == xdg
    assert Config().JobDir == "xdg"
    here = written(somewhere / FILE, 'JobDir = "here"')
    assert config_file() == here
    assert Config().JobDir == "here"
    monkeypatch.setenv(VARIABLE, str(written(tmp_path / "named.toml", 'JobDir = "named"')))
    assert Config().JobDir == "named"
    monkeypatch.setenv(VARIABLE, "~/named.toml")
    written(tmp_path / "home" / "named.toml", 'JobDir = "of home"')
    assert Config().JobDir == "of home"


def test_it_is_read_once_when_a_value_is_asked_for(somewhere):
    config = Config()
    config.QFile = "set.db"  # nothing is read yet
    path = written(somewhere / FILE, 'JobDir = "first"\nQFile = "file.db"')
    assert config.JobDir == "first"
    assert config.QFile == "set.db"
    path.write_text('JobDir = "second"\nWriteTries = 2')
    assert (config.JobDir, config.WriteTries) == ("first", 20)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Qfile = 1", "there is no 'Qfile'; did you mean QFile?"),
        ("QFile = 1", "QFile is 1, and must be text that is not empty"),
        ('[DefResource]\nmem = "1gb"\n[Retry]\n', "there is no 'Retry'; did you mean Retries?"),
        ("QFile = x", "is not TOML: "),
        ('QFile = "a"\nQFile = "b"', "is not TOML: "),
        ("x = " + "[" * 5_000, "is not TOML: "),
    ],
)
def test_an_error_of_the_file_names_the_file_and_the_key(somewhere, text, words):
    path = written(somewhere / FILE, text)
    config = Config()
    for _ in range(2):  # it is not taken for read
        with pytest.raises(BadOption) as caught:
            _ = config.JobDir
        assert str(caught.value).startswith(str(path))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_text("")
    assert config.JobDir == "batch"


def test_a_file_that_cannot_be_read_is_named(somewhere, tmp_path, monkeypatch):
    (somewhere / FILE).write_bytes(b"QFile = '\xff'")
    with pytest.raises(BadOption, match=rf"^{somewhere / FILE} is not UTF-8: byte 9$"):
        _ = Config().QFile
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(BadOption, match=rf"^{VARIABLE} names '.*none.toml', and there is no such file$"):
        _ = Config().QFile
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(BadOption, match="there is no such file"):
        _ = Config().QFile
    monkeypatch.setenv(VARIABLE, "~nobody-of-that-name/x.toml")
    with pytest.raises(BadOption, match="nobody knows that home directory"):
        _ = Config().QFile


def test_importing_it_reads_no_file(somewhere):
    written(somewhere / FILE, "this is no TOML")
    program = "from coordinator import batch; batch.config.QFile = 'x.db'"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=50)
