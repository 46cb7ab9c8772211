"""The script that runs on a node, in real shells: what it runs, what it leaves behind, and what it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.errors import BadInput
from coordinator.executors.jobscript import (
    NO_CLAIM,
    NO_LINE,
    Element,
    begun_of,
    exit_of,
    line,
    native_in,
    quoted,
    script,
    table,
)

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
LIMIT_S = 50.0


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return [request.param, "sh"] if request.param == "busybox" else [request.param]


class Node:
    """Where jobs of one submission run. ``shell``: what its /bin/sh is."""

    def __init__(self, here: Path, shell: list[str], *elements: Element) -> None:
        self.here, self._shell = here, shell
        (here / "table").write_text(table(elements), encoding="utf-8", errors="surrogateescape")
        (here / "script").write_text(script(str(here), ["TEST_ARRAY_ID", "TEST_ID"], ["TEST_INDEX", "TEST_OTHER"]))

    def start(self, native: str = "17", index: str = "1") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._shell, str(self.here / "script")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TEST_ID": native, "TEST_INDEX": index},
        )  # fmt: skip

    def run(self, native: str = "17", index: str = "1") -> tuple[int, str]:
        process = self.start(native, index)
        out, err = process.communicate(timeout=LIMIT_S)
        assert out == ""
        return process.returncode, err


def element(here: Path, number: int, *argv: str, **more: object) -> Element:
    at = here / f"job{number}"
    given = {"variables": {}, "directory": str(here), **more}
    return Element(argv, record=str(at), out=f"{at}.out", err=f"{at}.err", **given)  # type: ignore[arg-type]


def test_a_job_runs_in_its_directory_with_its_variables_and_leaves_an_exit_file(
    tmp_path: Path, shell: list[str]
) -> None:
    (tmp_path / "else where").mkdir()
    words = ("sh", "-c", 'pwd; printf "%s|" "$A" "$@"; echo no >&2; exit 7', "x", "o'ne", "two\nlines\n", "")
    one = element(tmp_path, 1, *words, directory=str(tmp_path / "else where"), variables={"A": '$(exit 9)"`\n'})
    node = Node(tmp_path, shell, element(tmp_path, 0, "false"), one)
    assert node.run(index="2") == (7, "")
    assert Path(one.out).read_text() == f"{tmp_path}/else where\n" + "$(exit 9)\"`\n|o'ne|two\nlines\n||"
    assert Path(one.err).read_text() == "no\n"
    ended = exit_of(Path(one.record + ".exit").read_text())
    assert (ended.code, ended.signal, ended.native) == (7, 0, "17.2")
    assert ended.ended >= ended.began > 1e9
    assert ended.used.cpu_s is not None
    assert begun_of(Path(one.record + ".begun").read_text()) == "17.2"
    assert sorted(path.name for path in tmp_path.glob("job1*")) == ["job1.begun", "job1.err", "job1.exit", "job1.out"]


def test_a_submission_that_happened_twice_runs_once(tmp_path: Path, shell: list[str]) -> None:
    node = Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", "echo ran"))
    assert node.run("17") == (0, "")
    code, said = node.run("18")
    assert code == 0
    assert "job 17.1 has begun this attempt already, so job 18.1 leaves it alone" in said
    assert (tmp_path / "job1.out").read_text() == "ran\n"


def test_of_many_that_begin_at_once_one_runs(tmp_path: Path, shell: list[str]) -> None:
    node = Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", "echo ran"))
    started = [node.start(str(native)) for native in range(8)]
    said = [process.communicate(timeout=LIMIT_S)[1] for process in started]
    assert (tmp_path / "job1.out").read_text() == "ran\n"
    assert len([words for words in said if "leaves it alone" in words]) == 7


def test_a_job_that_its_scheduler_starts_again_runs_again_unless_it_has_ended(tmp_path: Path, shell: list[str]) -> None:
    node = Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", "echo ran; kill -9 $PPID"))
    assert node.run()[0] == -signal.SIGKILL  # its node was lost before it could say anything
    assert not (tmp_path / "job1.exit").exists()
    Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", "echo ran"))
    assert node.run() == (0, "")
    assert node.run()[1] == "coordinator: job 17.1 was started again, but this attempt is over\n"
    assert (tmp_path / "job1.out").read_text() == "ran\nran\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGXCPU])
def test_a_signal_reaches_the_job_and_its_end_is_told(tmp_path: Path, shell: list[str], number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "up")
    job = element(
        tmp_path, 1, "python3", "-c", "import signal; signal.signal(2, 0); open('up', 'w').close(); signal.pause()"
    )
    process = Node(tmp_path, shell, job).start()
    with open(tmp_path / "up"):
        process.send_signal(number)
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + number
    assert exit_of((tmp_path / "job1.exit").read_text()).signal == number


def test_a_job_may_answer_a_signal_and_end_well(tmp_path: Path, shell: list[str]) -> None:
    os.mkfifo(tmp_path / "up")
    answer = "trap 'echo saved; exit 0' USR1; echo >up; while :; do sleep 0.05; done"
    process = Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", answer)).start()
    with open(tmp_path / "up") as up:
        up.read()
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=LIMIT_S)
    assert exit_of((tmp_path / "job1.exit").read_text()).code == 0
    assert (tmp_path / "job1.out").read_text() == "saved\n"


def test_a_number_without_a_line_and_a_table_that_is_not_there_are_said(tmp_path: Path, shell: list[str]) -> None:
    node = Node(tmp_path, shell, element(tmp_path, 1, "true"))
    code, said = node.run(index="2")
    assert code == NO_LINE
    assert f"no line 2 of {tmp_path}/table can be read" in said
    (tmp_path / "table").unlink()
    assert node.run()[0] == NO_LINE


@pytest.mark.parametrize("index", ["", "undefined", "0"])
def test_what_a_scheduler_says_of_a_job_that_is_no_array_is_the_first_line(
    tmp_path: Path, shell: list[str], index: str
) -> None:
    assert Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", "exit 3")).run(index=index)[0] == 3


def test_where_no_claim_can_be_made_nothing_runs(tmp_path: Path, shell: list[str]) -> None:
    node = Node(tmp_path, shell, element(tmp_path / "not there", 1, "sh", "-c", f"touch {tmp_path}/ran"))
    code, said = node.run()
    assert code == NO_CLAIM
    assert "cannot be made" in said
    assert not (tmp_path / "ran").exists()


def test_a_directory_that_is_not_there_is_the_end_of_the_job_and_said_in_its_log(
    tmp_path: Path, shell: list[str]
) -> None:
    node = Node(tmp_path, shell, element(tmp_path, 1, "true", directory=str(tmp_path / "gone")))
    assert node.run()[0] == NO_LINE
    assert "gone" in (tmp_path / "job1.err").read_text()
    assert exit_of((tmp_path / "job1.exit").read_text()).code == NO_LINE


def test_the_job_has_the_umask_of_who_submitted_it(tmp_path: Path, shell: list[str]) -> None:
    assert Node(tmp_path, shell, element(tmp_path, 1, "sh", "-c", "umask", umask=0o027)).run()[0] == 0
    assert (tmp_path / "job1.out").read_text().strip() in ("0027", "027")


def test_nobody_can_be_run_by_a_name_of_a_variable() -> None:
    for name in ("A=1; rm", "1A", "", "a b", "record", "IFS", "BASH_ENV", "é"):
        with pytest.raises(BadInput, match="cannot be a job's variable"):
            line(Element(["true"], "/", "/r", "/o", "/e", {name: "x"}))


def test_what_no_command_can_hold_is_refused() -> None:
    with pytest.raises(BadInput, match="zero byte"):
        line(Element(["a\0b"], "/", "/r", "/o", "/e"))
    with pytest.raises(BadInput, match="nothing to run"):
        line(Element([], "/", "/r", "/o", "/e"))
    with pytest.raises(BadInput, match="line end"):
        script("/a\nb", ["ID"], ["INDEX"])


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '{"code": "x"}', '{"code": 1, "native": "1"}', "\0"])
def test_a_damaged_exit_file_is_said_to_be_damaged(text: str) -> None:
    with pytest.raises(BadInput, match="damaged"):
        exit_of(text)


VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,5}", fullmatch=True)


@pytest.mark.timeout(300)
@settings(max_examples=10_000, deadline=None)
@given(
    st.lists(VALUES, min_size=1, max_size=4),
    st.dictionaries(NAMES, VALUES, max_size=2),
)
def test_a_line_is_a_line_whatever_is_in_it(words: list[str], variables: dict[str, str]) -> None:
    try:
        text = line(Element(words, words[0], words[-1], "/o", "/e", variables))
    except BadInput:
        assert {"IFS", "ENV"} & set(variables)
        return
    assert "\n" not in text
    # Nothing stands outside of quotes but words of ours.
    assert text.startswith("directory=")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, min_size=1, max_size=40))
def test_a_shell_reads_each_value_as_it_was(values: list[str]) -> None:
    program = "newline='\n'\neval \"$1\"\n" + r"""printf '%s\0' "$@" """
    answer = subprocess.run(
        ["sh", "-c", program, "sh", "set -- " + " ".join(map(quoted, values))], capture_output=True, timeout=LIMIT_S,
        check=True,
    )  # fmt: skip
    assert answer.stdout.decode().split("\0")[:-1] == values


SOURCE = st.text(st.sampled_from("/abc '\"$`\\#@-\t;&|()*~é"), max_size=30)


@given(SOURCE)
def test_the_script_is_the_same_but_for_the_name_of_its_directory(name: str) -> None:
    plain, other = (script(at, ["ID"], ["INDEX"]).splitlines() for at in ("/here", f"/{name}"))
    assert len(plain) == len(other)
    assert [at for at, (one, two) in enumerate(zip(plain, other, strict=True)) if one != two] in ([3], [])
    assert not [text for text in other if text.startswith(("#SBATCH", "#PBS", "#BSUB", "#$"))]


def test_an_element_is_known_by_the_id_of_its_array() -> None:
    assert native_in("17.2") == "17"
    assert native_in("17[4].server.4") == "17[].server"
    assert native_in("none.1") == native_in("") == ""
