"""The command line: usage, help, finding jobs, logs, `run`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator import logfiles, paths, standing, whereabouts
from coordinator.__main__ import main
from coordinator.commands import logs
from coordinator.commands.run import with_local
from coordinator.errors import BadInput, ControllerLost, NoSuchJob, StateError
from coordinator.remote import controller
from tests.contract.jobs import document, ran, write_journal

HANG_S = 60
COMMANDS = ("run", "status", "jobs", "hosts", "rules", "errors", "results", "logs", "wait", "stop", "why", "redo")


# --- usage -------------------------------------------------------------------------------------------


def test_without_arguments_the_help_is_shown_and_the_status_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys)
    assert (status, out) == (2, "")
    assert "coordinator --rc=NAME" in err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "--help")
    assert status == 0
    for name in COMMANDS:
        assert f"\n  {name} " in out
        assert ran(capsys, name, "--help")[0] == 0


def test_help_imports_nothing_slow() -> None:
    for words in (["--help"], ["status", "--help"], ["results", "--help"], ["hosts", "--help"], ["--rc=x", "--help"]):
        code = (
            f"import sys; from coordinator.__main__ import main; status = main({words!r});"
            "slow = {'rich', 'xmlrpc', 'asyncio', 'paramiko', 'psutil', 'sqlite3', 'httptools', 'http'};"
            "print(sorted(slow & set(sys.modules)), status, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, check=True)
        assert done.stderr == "[] 0\n", words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["statsu"], "Did you mean status"),
        (["--rc"], "--rc=NAME"),
        (["--rc="], "--rc=NAME"),
        (["--rc", "--port=5001"], "--rc=NAME"),
        (["--port=5001", "--rc="], "--rc=NAME"),
        (["--rc=a/b"], "is a path"),
        (["--rc=x", "--port=99999"], "--port"),
        (["--rc=x", "--port=five"], "--port"),
        (["--rc=x", "--overload_margin=nan"], "overload_margin"),
        (["--rc=x", "--throttle=inf"], "throttle"),
        (["--rc=x", "--rebalance_frequency=0"], "rebalance_frequency"),
        (["--rc=x", "--colour=red"], "--colour"),
        (["status", "a", "b"], "b"),
        (["stop"], "--rc=NAME"),
        (["stop", "job", "--rc=x"], "one of the two"),
        (["redo", "job"], "--failed"),
        (["redo", "job", "7", "--all"], "one of the three"),
        (["errors"], "JOB"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_has_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    status, _, err = ran(capsys, *words)
    assert status == 2
    assert expected in err
    assert "Traceback" not in err


def test_options_may_be_written_with_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--rc_url", "--rc-url"):
        status, _, err = ran(capsys, "hosts", f"{option}=http://coordinator:x@127.0.0.1:1")
        assert status == 1
        assert "127.0.0.1:1" in err


def test_an_error_is_one_sentence_on_stderr_and_a_document_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, "status", "nojob")
    assert (status, out) == (1, "")
    assert err.startswith("coordinator: No job 'nojob'")
    assert err.count("\n") == 1
    status, out, err = ran(capsys, "status", "nojob", "--json")
    assert status == 1
    content = json.loads(out)
    assert (content["version"], content["kind"], content["error"]["name"]) == (1, "error", "NoSuchJob")


def test_ctrl_c_has_status_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(whereabouts, "find", interrupted)
    assert main(["results", "job"]) == 130


def test_a_reader_that_went_away_is_no_traceback() -> None:
    files = write_journal(Path.cwd(), "job")
    code = "import sys; from coordinator.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = f'"{sys.executable}" -c "{code}" results {files.name} | true; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


# --- finding a job -----------------------------------------------------------------------------------


def test_a_job_is_found_by_name_by_path_and_in_the_users_registry(tmp_path: Path) -> None:
    write_journal(tmp_path, "here")
    (tmp_path / "sub").mkdir()
    write_journal(tmp_path / "sub", "there")
    paths.note_run("there", tmp_path / "sub")
    assert whereabouts.find("here").shown == "here"
    for typed in ("sub/there", str(tmp_path / "sub" / "there"), "there", "./sub/there"):
        assert whereabouts.find(typed).files == paths.JobFiles(tmp_path / "sub", "there")
    assert [place.name for place in whereabouts.here()] == ["here"]


@pytest.mark.parametrize("typed", ["nojob", "sub/nojob", "../nojob"])
def test_a_job_that_nobody_knows_says_where_it_was_looked_for(typed: str) -> None:
    with pytest.raises(NoSuchJob, match="nojob"):
        whereabouts.find(typed)


def test_a_run_file_that_is_no_json_or_a_link_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "job.run").write_text("{")
    with pytest.raises(StateError, match=r"job\.run"):
        whereabouts.find("job")
    (tmp_path / "other.run").symlink_to(tmp_path / "job.run")
    with pytest.raises(StateError, match="symbolic link"):
        whereabouts.find("other")


# --- logs --------------------------------------------------------------------------------------------


def test_logs_show_the_end_of_the_log_and_where_processors_log(capsys: pytest.CaptureFixture[str]) -> None:
    files = write_journal(Path.cwd(), "job")
    Path(files.log).write_text("".join(f"line {i}\n" for i in range(200)))
    log = paths.log_directory() / "job_3.log"
    log.write_text("hello\n")
    _, out, _ = ran(capsys, "logs", "job", "--lines=2")
    assert out.startswith("line 198\nline 199\n\n")
    assert str(log) in out
    assert ran(capsys, "logs", "job", "--processor=3")[1] == "hello\n"
    content = document(capsys, "logs", "logs", "job", "--lines=1")
    assert (content["lines"], content["processors"][0]["number"]) == (["line 199"], 3)
    status, _, err = ran(capsys, "logs", "job", "--processor=9")
    assert (status, "known are: 3" in err) == (1, True)


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "a\nb", "a\n\nb\n", "x\n" * 70_000, "é\n" * 3])
def test_tail_gives_the_last_lines_whatever_the_file(tmp_path: Path, lines: int, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    whole = text.splitlines(keepends=True)
    assert logfiles.tail(str(path), lines) == ("".join(whole[-lines:] if lines else whole), len(text.encode()))


def test_what_is_appended_is_followed_until_the_job_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    steps = iter([True, True, False])

    def lives() -> bool:
        with path.open("ab") as file:
            file.write("né\n".encode())
        return next(steps)

    assert "".join(logs.appended(str(path), 4, lives)) == "né\nné\nné\n"


# --- run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["NAME"], ["NAME", "--local"]),
        (["NAME", "--x=1"], ["NAME", "--local", "--x=1"]),
        (["NAME", "--local=2"], ["NAME", "--local=2"]),
        (["NAME", "--", "--local"], ["NAME", "--local", "--", "--local"]),
        (["--x=1", "NAME"], ["--x=1", "NAME", "--local"]),
        ([], ["--local"]),
        (["--help"], ["--local", "--help"]),
    ],
)
def test_local_is_added_unless_it_is_there(words: list[str], expected: list[str]) -> None:
    assert with_local(words) == expected


def test_run_gives_the_script_its_own_words_directory_and_exit_status(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("VALUE = 5\n")
    script = tmp_path / "sub" / "script.py"
    script.write_text("import sys, beside\nprint(__name__, __file__, sys.argv[1:])\nsys.exit(beside.VALUE)\n")
    words = ["run", "sub/script.py", "NAME", "--rmOpts=", "--msg=hello world", "--expr=a=b", "--help", "--my-opt=x"]
    done = subprocess.run(
        [sys.executable, "-m", "coordinator", *words], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == 5
    assert done.stdout == f"__main__ sub/script.py {['NAME', '--local', *words[3:]]!r}\n"


def test_run_without_a_script_or_with_one_that_is_not_there_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "run")[0] == 2
    status, _, err = ran(capsys, "run", "nosuch.py", "NAME")
    assert (status, "nosuch.py" in err) == (1, True)


# --- errors have the classes that programs expect ----------------------------------------------------


def test_errors_are_those_of_the_tree() -> None:
    with pytest.raises(ControllerLost):
        controller("http://coordinator:x@127.0.0.1:1").call("get_farm")
    with pytest.raises(BadInput):
        standing.look_at("ftp://host:1")
