"""Where things lie, who may read them, what this machine is called."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator import errors, paths


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, everything on disk belongs to somebody else."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)


# --- directories -----------------------------------------------------------------------------------


def test_the_state_directory_is_made_private_below_xdg_state_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    assert paths.state_directory() == tmp_path / "deep" / "state" / "coordinator"
    assert mode_of(paths.state_directory()) == 0o700


def test_a_relative_xdg_state_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.state_directory() == tmp_path / ".local" / "state" / "coordinator"


def test_the_modes_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        assert mode_of(paths.state_directory()) == 0o700
        os.close(paths.open_private(tmp_path / "file", os.O_WRONLY | os.O_CREAT))
        assert mode_of(tmp_path / "file") == 0o600
    finally:
        os.umask(before)


def test_a_directory_that_others_can_enter_is_closed_to_them():
    paths.state_directory().chmod(0o755)
    assert mode_of(paths.state_directory()) == 0o700


def test_the_log_directory_is_ours_in_the_temporary_directory():
    found = paths.log_directory()
    assert found == Path(tempfile.gettempdir()) / f"coordinator-{os.getuid()}"
    assert mode_of(found) == 0o700


def test_without_tmpdir_the_temporary_directory_is_the_one_of_tempfile(monkeypatch):
    monkeypatch.delenv("TMPDIR")
    assert paths._temporary_directory() == Path(tempfile.gettempdir())


def test_a_symbolic_link_in_place_of_the_log_directory_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", Path(tempfile.gettempdir()) / f"coordinator-{os.getuid()}")
    with pytest.raises(errors.StateError, match="must be a directory"):
        paths.log_directory()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_directory_of_another_user_is_refused_with_the_cure(monkeypatch):
    (Path(tempfile.gettempdir()) / "coordinator-4242").mkdir()
    foreign(monkeypatch)
    with pytest.raises(errors.StateError, match=r"belongs to another user \(uid .*set TMPDIR"):
        paths.log_directory()


def test_a_directory_that_cannot_be_made_is_an_error_with_the_cure(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(errors.StateError, match="set XDG_STATE_HOME"):
        paths.state_directory()


# --- private files ---------------------------------------------------------------------------------


def test_a_private_file_is_0600_and_not_inherited(tmp_path):
    fd = paths.open_private(tmp_path / "file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        assert mode_of(tmp_path / "file") == 0o600
        assert not os.get_inheritable(fd)
        assert os.get_blocking(fd)
        os.write(fd, b"line\n")
    finally:
        os.close(fd)


def test_an_old_file_that_others_can_read_becomes_private(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o644)
    os.close(paths.open_private(tmp_path / "file", os.O_WRONLY | os.O_APPEND))
    assert mode_of(tmp_path / "file") == 0o600
    assert (tmp_path / "file").read_text() == "old"


def test_a_symbolic_link_is_not_followed(tmp_path):
    os.symlink(tmp_path / "target", tmp_path / "link")
    with pytest.raises(errors.StateError, match="symbolic link"):
        paths.open_private(tmp_path / "link", os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "target").exists()


def test_a_fifo_does_not_block_and_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(errors.StateError, match="regular file"):
        paths.open_private(tmp_path / "fifo", os.O_RDONLY)


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    foreign(monkeypatch)
    with pytest.raises(errors.StateError, match="another user"):
        paths.open_private(tmp_path / "file", os.O_RDONLY)


def test_what_the_system_refuses_stays_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        paths.open_private(tmp_path / "none", os.O_RDONLY)
    os.close(paths.open_private(tmp_path / "one", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    with pytest.raises(FileExistsError):
        paths.open_private(tmp_path / "one", os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_a_refused_file_leaves_no_descriptor_open(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(errors.StateError):
            paths.open_private(tmp_path / "fifo", os.O_RDONLY)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_replaced_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
    paths.replace_private(tmp_path / "file", b"one")
    paths.replace_private(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- names and files of a job ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "mapclusters2", "a b", "größe", "v1.2_x-3", "日本"])
def test_names_that_files_can_have_are_taken(name):
    assert paths.check_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "at least one character"),
        ("a/b", "is a path"),
        ("/tmp/x", "is a path"),
        ("a\nb", "cannot be printed"),
        ("a\0b", "cannot be printed"),
        ("a\x1b[31m", "cannot be printed"),
        ("a\udc80", "cannot be printed"),
        (" a", "space"),
        ("a ", "space"),
        (".", "begins with"),
        ("..", "begins with"),
        (".hidden", "begins with"),
        ("-rf", "begins with"),
        ("x" * 201, "longer than 200 bytes"),
        ("ü" * 101, "longer than 200 bytes"),
        (None, "not None"),
        (3, "not 3"),
    ],
)
def test_names_that_would_do_harm_are_refused_with_the_reason(name, why):
    with pytest.raises(errors.BadName, match=why):
        paths.check_name(name)


@given(st.text(max_size=300))
def test_every_name_is_usable_as_a_file_name_or_refused_in_one_line(name):
    try:
        files = paths.JobFiles(Path("/jobs"), name)
    except errors.BadName as refused:
        shown = refused.message
    else:
        shown = ""
        for path in map(Path, (files.journal, files.run, files.log, files.success, files.error, files.results)):
            assert path.parent == Path("/jobs")
            assert len(os.fsencode(path.name)) <= 255
            assert path.name.startswith(name + ".")
    assert "\n" not in shown


def test_the_files_of_a_job_stay_where_they_were_when_the_directory_changes(tmp_path, monkeypatch):
    files = paths.JobFiles(Path("."), "run")
    monkeypatch.chdir("/")
    assert files.directory == str(tmp_path)
    assert files.journal == str(tmp_path / "run.journal")
    assert files.run == str(tmp_path / "run.run")
    assert files.log == str(tmp_path / "run.log")
    assert files.success == str(tmp_path / "run.success")
    assert files.error == str(tmp_path / "run.error")
    assert files.results == str(tmp_path / "run.results")
    assert files.base == str(tmp_path / "run")


# --- where jobs ran --------------------------------------------------------------------------------


def test_a_noted_run_is_found_from_another_directory_while_its_files_are_there(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    paths.note_run("job", tmp_path / "here")
    monkeypatch.chdir("/")
    assert paths.find_run("job") is None  # nothing there yet
    (tmp_path / "here" / "job.journal").mkdir()
    assert paths.find_run("job") == paths.JobFiles(tmp_path / "here", "job")
    (tmp_path / "here" / "job.journal").rmdir()
    (tmp_path / "here" / "job.run").write_text("{}")
    assert paths.find_run("job") == paths.JobFiles(tmp_path / "here", "job")


def test_the_newest_run_of_a_name_counts(tmp_path):
    for place in ("old", "new"):
        (tmp_path / place / "job.journal").mkdir(parents=True)
        paths.note_run("job", tmp_path / place)
    found = paths.find_run("job")
    assert found is not None
    assert found.directory == str(tmp_path / "new")


def test_a_run_that_nobody_noted_is_not_found():
    assert paths.find_run("nobody") is None


def test_a_registry_entry_that_is_damaged_names_its_file():
    paths.note_run("job", ".")
    entry = paths.state_directory() / "runs" / "job.json"
    entry.write_text("{")
    with pytest.raises(errors.StateError, match=r"job\.json"):
        paths.find_run("job")


# --- tokens ----------------------------------------------------------------------------------------


def test_tokens_have_256_bits_and_differ():
    tokens = {paths.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(bytes.fromhex(token)) == 32 for token in tokens)


def test_a_kept_token_is_found_by_host_and_port_and_by_nobody_else():
    paths.keep_token("far.example.invalid", 5000, "secret")
    assert paths.find_token("far.example.invalid", 5000) == "secret"
    assert paths.find_token("FAR.example.invalid.", 5000) == "secret"
    assert paths.find_token("far.example.invalid", 5001) is None
    assert paths.find_token("other.example.invalid", 5000) is None
    assert mode_of(paths.token_file()) == 0o600


@pytest.mark.parametrize("kept_as", ["localhost", "127.0.0.1", socket.gethostname()])
@pytest.mark.parametrize("asked_as", ["localhost", "127.0.0.1", "::1", socket.gethostname()])
def test_this_machine_has_one_token_by_all_its_names(kept_as, asked_as):
    paths.keep_token(kept_as, 5000, "secret")
    assert paths.find_token(asked_as, 5000) == "secret"


def test_a_token_of_this_machine_is_not_kept_as_localhost():
    """A home directory that hosts share would give it to another host's localhost."""
    paths.keep_token("localhost", 5000, "secret")
    assert not any(key.startswith(("localhost", "127.")) for key in json.loads(paths.token_file().read_text()))


def test_without_a_token_file_there_is_no_token():
    assert paths.find_token("localhost", 5000) is None


def test_a_damaged_token_file_is_named():
    paths.token_file().write_text("{")
    with pytest.raises(errors.StateError, match=r"tokens\.json"):
        paths.find_token("localhost", 5000)


def keep_twenty(first: int) -> None:
    for port in range(first, first + 20):
        paths.keep_token("far.example.invalid", port, f"token{port}")


def test_processes_that_keep_tokens_at_once_lose_none():
    context = get_context("fork")
    children = [context.Process(target=keep_twenty, args=(first,)) for first in (100, 200, 300, 400)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert len(json.loads(paths.token_file().read_text())) == 80


# --- this machine's names --------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_names_of_the_loopback_are_this_machine(host):
    assert paths.is_this_machine(host)


def test_our_own_hostname_is_this_machine():
    assert paths.is_this_machine(socket.gethostname())
    assert paths.is_this_machine(paths.full_hostname())


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid", "", "a" * 300, "..", "2001:db8::1"])
def test_others_and_nonsense_are_not_this_machine(host):
    assert not paths.is_this_machine(host)


def test_an_address_that_is_bound_here_is_this_machine(monkeypatch):
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *args, **kwargs: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))],
    )
    assert paths.is_this_machine("alias.example")


def test_the_full_name_is_announced_only_if_it_resolves_to_this_machine(monkeypatch):
    answers = {"node1.site.example": "192.0.2.7", "node1": "127.0.0.1"}

    def resolve(name, port, **kwargs):
        if name not in answers:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")
    monkeypatch.setattr(socket, "getfqdn", lambda: "node1.site.example")

    def announced() -> str:
        paths.full_hostname.cache_clear()
        return paths.full_hostname()

    assert announced() == "node1"
    answers["node1.site.example"] = "127.0.0.1"
    assert announced() == "node1.site.example"
    answers.clear()
    assert announced() == "127.0.0.1"


def test_importing_it_loads_neither_socket_nor_json():
    code = "import sys, coordinator.paths; print(sorted({'socket', 'json', 'tempfile', 'asyncio'} & set(sys.modules)))"
    before = "import sys; print(sorted({'socket', 'json', 'tempfile', 'asyncio'} & set(sys.modules)))"
    out = [
        subprocess.run([sys.executable, "-c", each], capture_output=True, check=True).stdout for each in (before, code)
    ]
    assert out[1] == out[0]
