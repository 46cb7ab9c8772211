"""``python -m benchmarks``: it fails when an ID of ours was lost or doubled, and for nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import environments, serving
from benchmarks.__main__ import main
from benchmarks.accepted import NotAResult
from benchmarks.contestants import BY_KEY
from benchmarks.environments import Environments, NotInstallable
from benchmarks.ours import NAME, Notes, Ours
from benchmarks.peer import PeerFailed, Peers
from benchmarks.running import Ran, environment, run
from benchmarks.workloads import BY_KEY as WORKLOADS


class ThisOne(Environments):
    """Nothing is installed: the test's own interpreter for the standard library, and no other environment."""

    def python(self, name: str) -> Path:
        if name:
            raise NotInstallable(f"{name} is not to be had in a test")
        return Path(sys.executable)


class Losing(Ours):
    """A farm that forgets an ID: the last line of NAME.success is gone when anybody looks."""

    def run(self, directory: Path, *command: str, limit_s: float = 60.0) -> tuple[Ran, Notes]:
        found = super().run(directory, *command, limit_s=limit_s)
        success = directory / f"{NAME}.success"
        success.write_text(self.damaged(success.read_text()))
        return found

    @staticmethod
    def damaged(text: str) -> str:
        return text[: text.rindex("\n", 0, -1) + 1]


class Doubling(Losing):
    """A farm that accepts an ID twice."""

    @staticmethod
    def damaged(text: str) -> str:
        return text + text[text.rindex("\n", 0, -1) + 1 :]


def bench(directory: Path, *words: str, ourselves: type[Ours] = Ours) -> tuple[int, dict]:
    """Exit status, and the result that was saved."""
    # Relative, as people type it; the test's current directory is `directory`.
    few = ["--quick", "--share=0.01", "--rounds=1", "--results=results"]
    status = main([*few, *words], ThisOne(directory), ourselves)
    return status, json.loads((directory / "results" / "quick.json").read_text())


def test_a_run_is_saved_and_printed_with_who_could_not_take_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = bench(tmp_path, "--only=noop-strings,pool-auto,joblib-auto")
    assert status == 0, capsys.readouterr().err
    assert {sample["contestant"] for sample in result["samples"]} == {"ours", "ours-function", "pool-auto"}
    assert all(sample["n"] == 1000 for sample in result["samples"])
    assert result["failed"] == {"joblib-auto": "quick is not to be had in a test"}
    printed = capsys.readouterr().out
    assert "| multiprocessing.Pool.map, chunksize auto |" in printed
    assert "| joblib, batch_size auto | quick is not to be had in a test |" in printed
    assert (tmp_path / "results" / "quick.md").read_text() == printed.rstrip("\n") + "\n"


@pytest.mark.parametrize(
    ("ourselves", "what"), [(Losing, "of 1,000 IDs 1 lost, 0 doubled"), (Doubling, "of 1,000 IDs 0 lost, 1 doubled")]
)
def test_a_lost_or_doubled_id_makes_it_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ourselves: type[Ours], what: str
) -> None:
    status, result = bench(tmp_path, "--only=noop-integers,pool-auto", ourselves=ourselves)
    assert status == 1
    assert len(result["wrong"]) == 1
    assert what in result["wrong"][0]
    assert "ours" not in {sample["contestant"] for sample in result["samples"]}, "what is no result is not in the table"
    assert f"NOT A RESULT: {result['wrong'][0]}" in capsys.readouterr().err


def test_a_command_of_ours_that_fails_is_no_result(tmp_path: Path) -> None:
    ours = Ours(ThisOne(tmp_path), tmp_path, 2)
    with pytest.raises(NotAResult, match=r"exit status 2: .*--nonsense"):
        ours.run(tmp_path, *ours.command("noop", "--nonsense=1"))


def test_a_peer_that_answers_less_than_it_was_asked_is_reported(tmp_path: Path) -> None:
    class Few(Peers):
        def run(self, contestant, directory, *words):  # type: ignore[no-untyped-def]
            ran, told = super().run(contestant, directory, *words)
            return ran, {**told, "answers": told["answers"] - 1}

    pool, workload = BY_KEY["pool-auto"], WORKLOADS["noop-strings"]
    with pytest.raises(PeerFailed) as failed:
        Few(ThisOne(tmp_path), tmp_path, 2).workload(pool, workload, 100, 0.0, tmp_path)
    assert str(failed.value) == "99 answers to 100 tasks"


def test_what_cannot_be_installed_is_told_with_the_installers_reason_and_not_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def wanted(name: str) -> list[str]:
        tried.append(name)
        return ["--no-index", "no-such-package==1.0"]

    monkeypatch.setattr(environments, "requirements", wanted)
    made = Environments(tmp_path / "made")
    for _ in range(2):
        with pytest.raises(NotInstallable, match=r"No matching distribution found for no-such-package==1\.0"):
            made.python("quick")
    assert tried == ["quick"]


def test_what_a_program_leaves_behind_is_ended_and_named(tmp_path: Path) -> None:
    leaves = "import subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)"
    ran = run([sys.executable, "-c", leaves], tmp_path, environment(tmp_path, tmp_path), 30.0)
    assert ran.status == 0
    assert ran.left == ("sleep 1000",)
    assert not Path(f"/proc/{ran.out.strip()}").exists()


def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    ran = run(["sleep", "1000"], tmp_path, environment(tmp_path, tmp_path), 0.2)
    assert ran.status is None
    assert "did not end within" in ran.reason


def test_simulated_processors_work_and_are_checked(tmp_path: Path) -> None:
    status, result = bench(tmp_path, "--only=simulated", "--simulated=20", "--simulated_s=2")
    assert status == 0, result["wrong"]
    [sample] = result["samples"]
    assert sample["figures"]["false_deaths"] == 0
    assert sample["figures"]["tasks"] > 0


@pytest.mark.parametrize("contestant", ["next-16", "next-proxy-16", "stdlib-16"])
def test_classic_clients_work_and_are_checked(tmp_path: Path, contestant: str) -> None:
    found = serving.classic(Ours(ThisOne(tmp_path), tmp_path, 2), contestant, 60, tmp_path)
    assert found["calls_per_s"] > 0


def test_a_lost_answer_of_a_simulated_processor_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "accepted").write_text("0 2\n3 4\n")
    (tmp_path / "success").write_text("0\n3\n")
    with pytest.raises(NotAResult, match="1 lost, 0 doubled"):
        serving.check_answered(tmp_path / "accepted", tmp_path / "success", 5)
    (tmp_path / "success").write_text("0\n1\n3\n3\n")
    with pytest.raises(NotAResult, match="0 lost, 1 doubled"):
        serving.check_answered(tmp_path / "accepted", tmp_path / "success", 5)
    (tmp_path / "success").write_text("0\n1\n2\n3\n")  # what was not answered may be accepted all the same
    serving.check_answered(tmp_path / "accepted", tmp_path / "success", 5)
