"""The dialect of Torque under the commands of that name that Slurm brings along, before a real Slurm.

They are no Torque, and Debian's package of them excludes Grid Engine's: it is fetched and unpacked where the tests are.
What they cannot do, where Torque can:

* ``qstat`` knows no ``-t`` (so that the dialect as it is sees nothing, which makes all unknown and nothing ended), no
  ``--version``, and never says how a job ended; an empty list is exit status 153 without a word;
* the elements of an array have ids of their own, one of them that of the array; ``qdel ID[2]`` ends all of it;
* ``qdel`` of a job that has ended is exit status 1 without a word.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.core.statuses import State
from coordinator.errors import SchedulerAbsent, SubmitRefused
from coordinator.executors.pbs import Torque
from coordinator.executors.scheduler import Scheduler, run
from tests.clusters.schedulers import WAIT, Submission
from tests.clusters.slurm import Slurm

PACKAGES = ("slurm-wlm-torque", "libslurm-perl", "libslurmdb-perl", "libswitch-perl", "libslurm38")
BEHIND = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "salloc")
#: sets PBS_JOBID and the others in a job
SPANK = "slurm-wlm/spank_pbs.so"


class Single(Torque):
    """For single jobs a list without ``-t`` says the same."""

    def queue(self, user: str) -> list[str]:
        return ["qstat", "-f"]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package unpacked."""
    place = tmp_path_factory.mktemp("torque")
    try:
        argv = ["apt-get", "-o", "Acquire::Retries=2", "download", *PACKAGES]
        got = subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=45)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Slurm's commands for Torque cannot be had here: {error}")
    if got.returncode:
        pytest.skip(f"Slurm's commands for Torque cannot be had here: {got.stderr.strip().splitlines()[-1]}")
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, place], check=True)
    for name in BEHIND:
        (place / "usr/bin" / name).symlink_to(f"/usr/bin/{name}")
    return place


@pytest.fixture(autouse=True)
def _found(commands: Path, own_slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They are on PATH, and jobs find their number."""
    perl = [commands / "usr/share/perl5", *commands.glob("usr/lib/*/perl5/*")]
    monkeypatch.setenv("PATH", f"{commands / 'usr/bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PERL5LIB", os.pathsep.join(map(str, perl)))
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join(map(str, commands.glob("usr/lib/*-linux-gnu"))))
    plugin = next(Path("/usr/lib").glob(f"*/{SPANK}"), None)
    if plugin is None:
        pytest.skip(f"this Slurm has no {SPANK}, by which jobs of Torque's commands know their number")
    (own_slurm.place / "plugstack.conf").write_text(f"optional {plugin}\n")
    yield
    (own_slurm.place / "plugstack.conf").unlink()


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Single(), "root")


def test_a_single_job_is_submitted_seen_found_and_ends(scheduler: Scheduler, tmp_path: Path) -> None:
    words = "echo $PBS_JOBID $PBS_JOBNAME $SLURM_JOB_NUM_NODES $SLURM_NTASKS $SLURM_MEM_PER_NODE $SLURM_JOB_PARTITION"
    job = Submission(
        scheduler, tmp_path, ["sh", "-c", f"{words}; {WAIT}; exit 3"], cores=2, memory="300mb", time="1m", queue="short"
    ).submit()
    assert scheduler.find(job.intent) == job.native
    (status,) = job.wait(State.RUNS)
    assert status.host == "n1"
    (tmp_path / "go").touch()
    assert job.exits()[0].code == 3
    name = job.command[job.command.index("-N") + 1]
    assert job.out() == f"{job.native} {name} 1 2 300 short\n"
    (status,) = job.wait()
    assert (status.code, status.signal) == (None, None)  # only the job's own word has it
    assert scheduler.find(job.intent) == job.native
    assert f"Job_Name = {name}" in scheduler.details(job.native)
    assert scheduler.find(Submission(scheduler, tmp_path, ["true"]).intent) is None


def test_a_single_job_is_cancelled(scheduler: Scheduler, tmp_path: Path) -> None:
    job = Submission(scheduler, tmp_path, ["sleep", "100"]).submit()
    job.wait(State.RUNS)
    job.cancel()
    job.wait()


def test_what_is_refused_is_a_refusal_with_slurms_words(scheduler: Scheduler, tmp_path: Path) -> None:
    with pytest.raises(SubmitRefused, match="Invalid partition name"):
        Submission(scheduler, tmp_path, ["true"], queue="nope").submit()


def test_each_element_of_an_array_knows_its_number(scheduler: Scheduler, tmp_path: Path) -> None:
    argvs = [["sh", "-c", f'echo "$NUMBER"; exit {code}'] for code in (0, 3, 77)]
    jobs = Submission(scheduler, tmp_path, *argvs).submit()
    assert [end.code for end in jobs.exits()] == [0, 3, 77]
    assert [jobs.out(number) for number in (1, 2, 3)] == ["1\n", "2\n", "3\n"]


def test_an_array_is_cancelled(scheduler: Scheduler, tmp_path: Path, own_slurm: Slurm) -> None:
    jobs = Submission(scheduler, tmp_path, *[["sleep", "100"]] * 3).submit()
    jobs.cancel()
    own_slurm.daemons.wait("the array did not end", lambda: not own_slurm.jobs("PENDING", "RUNNING", "COMPLETING"))


def test_the_dialect_of_torque_itself_takes_nothing_for_an_end(tmp_path: Path) -> None:
    scheduler = Scheduler(Torque(), "root")
    with pytest.raises(SchedulerAbsent, match="not that of torque"):
        scheduler.version()
    job = Submission(scheduler, tmp_path, ["sh", "-c", "exit 4"]).submit()
    assert job.exits()[0].code == 4
    (status,) = job.statuses()
    assert status.state is State.UNKNOWN
    assert "Unknown option: t" in status.words


def test_what_has_ended_is_nothing_to_cancel_and_the_command_says_no_word(scheduler: Scheduler, tmp_path: Path) -> None:
    job = Submission(scheduler, tmp_path, ["true"]).submit()
    job.wait()
    ran = run(["qdel", job.native])
    assert (ran.code, ran.said) == (1, "")
