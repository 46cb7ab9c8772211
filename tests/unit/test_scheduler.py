"""What is made of a scheduler that is down, slow, silent or forgetful: no false end, no second submission.

The commands are scripted, strictly: each answer must be asked for, in this order, and nothing else. Each case names the
thread or page that it comes from.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, Intent, State, mark_in, mark_of, name_of
from coordinator.errors import (
    BadOption,
    CoordinatorError,
    NotCancelled,
    SchedulerAway,
    SubmitRefused,
    SubmitUnclear,
)
from coordinator.executors.dialect import Dialect
from coordinator.executors.jobscript import Element
from coordinator.executors.lsf import Lsf
from coordinator.executors.named import job_executor, names
from coordinator.executors.pbs import Pbs, Torque
from coordinator.executors.scheduler import MANY, Ran, Scheduler, run
from coordinator.executors.sge import Sge
from coordinator.executors.slurm import Slurm

MARK, OTHER = "k3f2a4b7q2", "zzzzzzzzzz"
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
NO_ACCOUNTING = "Slurm accounting storage is disabled"
NO_DATABASE = (
    "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:slurm-hpc:6819: "
    "Connection refused\nsacct: error: Problem talking to the database: Connection refused"
)
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
HUNG = "squeue has not answered for 90 s"


class Commands:
    """Answers in order: (command, code, out, err), or (command, error)."""

    def __init__(self, *answers: tuple[str, int, str, str] | tuple[str, CoordinatorError]) -> None:
        self._answers = list(answers)
        self.asked: list[list[str]] = []

    def __call__(self, argv: Sequence[str]) -> Ran:
        self.asked.append(list(argv))
        assert self._answers, f"nobody expected {argv}"
        command, *answer = self._answers.pop(0)
        assert argv[0] == command
        if isinstance(answer[0], CoordinatorError):
            raise answer[0]
        code, out, err = answer
        return Ran(code, out, err)  # type: ignore[arg-type]

    def over(self) -> bool:
        return not self._answers


def row(native: str, state: str, index: str = "N/A", mark: str = MARK, reason: str = "None") -> str:
    return f"{native}|{index}|{state}|n1|{reason}|map.{mark}\n"


def past(native: str, state: str, code: str = "0:0", mark: str = MARK) -> str:
    return f"{native}|{state}|{code}|5|00:04||n1|map.{mark}\n"


def queue(out: str = "", code: int = 0, err: str = "") -> tuple[str, int, str, str]:
    return "squeue", code, out, err


def history(out: str = "", code: int = 0, err: str = "") -> tuple[str, int, str, str]:
    return "sacct", code, out, err


def scheduler(*answers: tuple[str, int, str, str] | tuple[str, CoordinatorError]) -> tuple[Scheduler, Commands]:
    commands = Commands(*answers)
    return Scheduler(Slurm(), "ada", commands), commands


W, R, E, U = State.WAITS, State.RUNS, State.ENDED, State.UNKNOWN
#: (what happens and where it was seen, the answers, what is said of job 7)
ONE = [
    ("it runs", [queue(row("7", "RUNNING"))], R),
    ("it waits", [queue(row("7", "PENDING", reason="Priority"))], W),
    ("it is about to end: squeue(1), COMPLETING", [queue(row("7", "COMPLETING"))], R),
    ("it was put back: squeue(1), REQUEUED", [queue(row("7", "REQUEUED"))], W),
    ("it is stopped: squeue(1), SUSPENDED", [queue(row("7", "SUSPENDED"))], R),
    ("it ended and is remembered for MinJobAge", [queue(row("7", "COMPLETED"))], E),
    ("the controller is down: ArjunaCluster/ArjunaUsers#92", [queue("", 1, DOWN)], U),
    ("squeue hangs: nextflow-io/nextflow#1045", [("squeue", SchedulerAway(HUNG))], U),
    ("squeue says nothing, and the history neither: nextflow-io/nextflow#1644", [queue(""), history("")], U),
    ("squeue forgot it, the history has it", [queue(""), history(past("7", "COMPLETED"))], E),
    ("squeue forgot it and there is no accounting: snakemake-executor-plugin-slurm#38",
     [queue(""), history("", 1, NO_ACCOUNTING)], U),
    ("squeue forgot it and the database is away: snakemake-executor-plugin-slurm#207",
     [queue(""), history("", 1, NO_DATABASE)], U),
    ("the database is late: snakemake-executor-plugin-slurm#336, the job is not there yet",
     [queue(""), history(past("6", "COMPLETED"))], U),
    ("squeue prints its header in spite of us: auto_process_ngs#1182",
     [queue("JOBID PRIORITY PARTITION NAME USER ST\n")], U),
    ("squeue prints half a line and dies: composed after squeue(1)", [queue("7|N/A|RUN")], U),
    ("squeue greets: llnl/maestrowf#441", [queue("Welcome to the cluster\n" + row("7", "RUNNING"))], U),
    ("squeue is a web page: composed after a proxy's answer", [queue("<html>502 Bad Gateway</html>")], U),
    ("squeue says zero bytes: composed after a full disk", [queue("\0\0\0\0")], U),
    ("a state that nobody knows: composed after squeue(1)", [queue(row("7", "TELEPORTING")), ], U),
    ("the id was given to somebody else after a reset: slurm.conf(5), FirstJobId",
     [queue(row("7", "COMPLETED", mark=OTHER)), history("")], U),
    ("the id was given to somebody else, the history has both",
     [queue(row("7", "RUNNING", mark=OTHER)), history(past("7", "COMPLETED", mark=OTHER) + past("7", "FAILED", "3:0"))],
     E),
    ("sacct has it as running although squeue forgot it: sacctmgr(1), runaway jobs",
     [queue(""), history(past("7", "RUNNING"))], R),
    ("a queue of nobody's jobs is an error: composed after slurm_load_jobs(3)",
     [queue("", 1, "slurm_load_jobs error: Invalid job id specified"), history(past("7", "COMPLETED"))], E),
    ("the history is cut in the middle of a line", [queue(""), history("7|COMPL")], U),
    ("a job was revoked: squeue(1), REVOKED (federation)", [queue(row("7", "REVOKED"))], U),
]  # fmt: skip


@pytest.mark.parametrize(("case", "answers", "state"), ONE, ids=[case[0] for case in ONE])
def test_no_silence_is_an_end(case: str, answers: list[tuple[str, int, str, str]], state: State) -> None:
    cluster, commands = scheduler(*answers)
    status = cluster.poll({"7": (MARK, [1])})["7", 1]
    assert status.state is state
    assert commands.over()
    if state is U:
        assert status.words  # why nobody knows


ENDS = [
    ("COMPLETED", "0:0", 0, None, Cause.NONE),
    ("FAILED", "7:0", 7, None, Cause.NONE),
    ("FAILED", "0:9", None, 9, Cause.NONE),
    ("TIMEOUT", "0:15", None, 15, Cause.TIME),
    ("OUT_OF_MEMORY", "0:125", None, 125, Cause.MEMORY),
    ("NODE_FAIL", "1:0", 1, None, Cause.NODE),
    ("CANCELLED by 0", "0:15", None, 15, Cause.CANCELLED),
    ("PREEMPTED", "0:15", None, 15, Cause.PREEMPTED),
    ("BOOT_FAIL", "0:0", 0, None, Cause.NODE),
    ("DEADLINE", "0:0", 0, None, Cause.TIME),
]


@pytest.mark.parametrize(("state", "code", "exit_code", "number", "cause"), ENDS)
def test_an_end_has_its_cause(state: str, code: str, exit_code: int | None, number: int | None, cause: Cause) -> None:
    cluster, _ = scheduler(queue(""), history(past("7", state, code)))
    status = cluster.poll({"7": (MARK, [1])})["7", 1]
    assert (status.state, status.code, status.signal, status.cause) == (E, exit_code, number, cause)


def test_ten_thousand_jobs_are_one_call() -> None:
    text = "".join(row(str(native), "RUNNING", str(index)) for native in range(10) for index in range(1, 1001))
    cluster, commands = scheduler(queue(text))
    found = cluster.poll({str(native): (MARK, range(1, 1001)) for native in range(10)})
    assert len(found) == 10_000
    assert {status.state for status in found.values()} == {R}
    assert len(commands.asked) == 1


def test_elements_that_the_queue_forgot_are_looked_up_and_the_others_are_not_doubted() -> None:
    cluster, _ = scheduler(
        queue(row("7", "RUNNING", "2")), history(past("7_1", "FAILED", "1:0") + past("7_[2-3]", "PENDING"))
    )
    found = cluster.poll({"7": (MARK, [1, 2, 3])})
    assert [found["7", index].state for index in (1, 2, 3)] == [E, R, W]


def test_nobody_is_asked_about_nothing() -> None:
    cluster, commands = scheduler()
    assert cluster.poll({}) == {}
    assert commands.over()


# --- submitting -------------------------------------------------------------------------------------------


def intent(directory: Path, count: int = 1) -> Intent:
    return Intent(MARK, "map", str(directory), Needs(), count)


def test_a_submission_is_on_disk_before_it_is_made(tmp_path: Path) -> None:
    cluster, commands = scheduler(("sbatch", 0, "7\n", ""))
    elements = [Element(["true"], str(tmp_path), f"{tmp_path}/{n}", "/o", "/e") for n in range(3)]
    argv = cluster.prepare(intent(tmp_path, 3), elements)
    assert len((tmp_path / "table").read_text().splitlines()) == 3
    assert stat.S_IMODE((tmp_path / "table").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["script", "table"]
    assert commands.asked == []
    assert cluster.submit(intent(tmp_path, 3)) == "7"
    assert commands.asked == [argv]


SUBMITS = [
    ("it is taken", ("sbatch", 0, "7;c1\n", ""), "7"),
    ("the answer is lost: sdsc-summer-institute-2019#55", ("sbatch", 1, "", TIMED_OUT), SubmitUnclear),
    ("sbatch hangs: nextflow-io/nextflow#1045", ("sbatch", SchedulerAway("sbatch has not answered")), SubmitUnclear),
    ("sbatch says nothing and ends well: composed after a wrapper that eats its answer", ("sbatch", 0, "", ""),
     SubmitUnclear),
    ("the answer is garbage", ("sbatch", 0, "\x00\xff<html>", ""), SubmitUnclear),
    ("the controller is down: galaxyproject/pulsar#254",
     ("sbatch", 1, "", "sbatch: error: Batch job submission failed: " + DOWN[23:]), SchedulerAway),
    ("the queue is full: rwth-i6/sisyphus#241", ("sbatch", 1, "", "sbatch: error: AssocMaxSubmitJobLimit\n"),
     SchedulerAway),
    ("the partition does not exist: slurm_strerror(3)",
     ("sbatch", 1, "", "sbatch: error: invalid partition specified: nope"), SubmitRefused),
    ("sbatch is killed: composed after an out-of-memory kill on a login node", ("sbatch", -9, "", ""), SubmitUnclear),
    ("sbatch fails without a word", ("sbatch", 1, "", ""), SubmitUnclear),
]  # fmt: skip


@pytest.mark.parametrize(("case", "answer", "expected"), SUBMITS, ids=[case[0] for case in SUBMITS])
def test_an_answer_to_a_submission_is_an_id_a_refusal_or_unclear(
    case: str, answer: tuple[str, int, str, str], expected: str | type[CoordinatorError], tmp_path: Path
) -> None:
    cluster, commands = scheduler(answer)
    if isinstance(expected, str):
        assert cluster.submit(intent(tmp_path)) == expected
    else:
        with pytest.raises(expected):
            cluster.submit(intent(tmp_path))
    assert commands.over()


def test_a_job_is_found_by_its_mark_in_the_queue_or_the_history(tmp_path: Path) -> None:
    look = intent(tmp_path)
    cluster, _ = scheduler(queue(row("6", "RUNNING", mark=OTHER) + row("7", "PENDING")), history(""))
    assert cluster.find(look) == "7"
    cluster, commands = scheduler(queue(""), history(past("8_1", "COMPLETED")))
    assert cluster.find(look) == "8"
    assert f"--name=map.{MARK}" in commands.asked[1]
    cluster, _ = scheduler(queue(""), history("", 1, NO_ACCOUNTING))
    assert cluster.find(look) is None


@pytest.mark.parametrize(
    "answers",
    [
        [queue("", 1, DOWN)],
        [queue(""), history("", 1, NO_DATABASE)],
        [queue("what?\n")],
        [("squeue", SchedulerAway(HUNG))],
    ],
)
def test_whoever_does_not_answer_has_not_said_that_there_is_no_job(
    answers: list[tuple[str, int, str, str]], tmp_path: Path
) -> None:
    cluster, _ = scheduler(*answers)
    with pytest.raises(SchedulerAway):
        cluster.find(intent(tmp_path))


# --- ending -----------------------------------------------------------------------------------------------


def test_who_has_ended_already_is_no_fault_of_a_cancel() -> None:
    gone = "scancel: error: Kill job error on job id 7: Invalid job id specified"
    cluster, commands = scheduler(("scancel", 1, "", gone))
    cluster.cancel([("7", None, 1), ("8", 3, 10)])
    assert commands.asked == [["scancel", "7", "8_3"]]


def test_a_cancel_that_did_not_happen_is_said() -> None:
    cluster, _ = scheduler(("scancel", 1, "", "scancel: error: Kill job error on job id 7: Access/permission denied"))
    with pytest.raises(NotCancelled, match="permission denied"):
        cluster.cancel([("7", None, 1)])
    cluster, _ = scheduler(("scancel", 1, "", DOWN))
    with pytest.raises(SchedulerAway):
        cluster.cancel([("7", None, 1)])


SLURM_GONE = "scancel: error: Kill job error on job id 7: Invalid job id specified\n"
SLURM_DENIED = "scancel: error: Kill job error on job id 8: Access/permission denied\n"
SGE_GONE, SGE_ENDS = 'denied: job "7" does not exist\n', "me has registered the job 8 for deletion\n"
# recorded in gc3pie's tests of its SGE backend
SGE_DENIED = 'me - you do not have the necessary privileges to delete the job "8"\n'
PBS_GONE, PBS_DENIED = "qdel: Unknown Job Id 7.djoko\n", "qdel: Unauthorized Request  8.djoko\n"
LSF_GONE, LSF_ENDS = "Job <7>: Job has already finished\n", "Job <8> is being terminated\n"
LSF_DENIED = "Job <8>: User permission denied\n"
WARNING = "ERROR: ld.so: object '/opt/lib9.so' from LD_PRELOAD cannot be preloaded: ignored.\n"
#: (dialect, the command, what it says of jobs 7 and 8, what of it is a refusal)
CANCELS = [
    (Slurm, "scancel", SLURM_GONE + SLURM_DENIED, "permission denied"),
    (Slurm, "scancel", SLURM_DENIED + SLURM_GONE, "permission denied"),
    (Slurm, "scancel", SLURM_GONE + SLURM_GONE.replace("7", "8"), None),
    (Slurm, "scancel", WARNING + SLURM_GONE, None),
    (Sge, "qdel", SGE_GONE + SGE_DENIED, "necessary privileges"),
    (Sge, "qdel", SGE_ENDS + SGE_GONE, None),
    (Sge, "qdel", SGE_GONE + "job 8 is already in deletion\n", None),
    (Sge, "qdel", "Following jobs do not exist or permissions are not sufficient: \n7\n8\n", None),
    (Pbs, "qdel", PBS_GONE + PBS_DENIED, "Unauthorized Request"),
    (Pbs, "qdel", PBS_GONE + "qdel: Job has finished 8.djoko\n", None),
    (Torque, "qdel", PBS_DENIED + PBS_GONE, "Unauthorized Request"),
    (Lsf, "bkill", LSF_GONE + LSF_DENIED, "User permission denied"),
    (Lsf, "bkill", LSF_ENDS + LSF_GONE, None),
]


@pytest.mark.parametrize(("dialect", "command", "said", "refusal"), CANCELS)
def test_a_refusal_is_not_lost_among_those_who_have_ended_already(
    dialect: type[Dialect], command: str, said: str, refusal: str | None
) -> None:
    cluster = Scheduler(dialect(), "ada", Commands((command, 1, "", said)))
    places = [(native, None, 1) for native in (("7.djoko", "8.djoko") if ".djoko" in said else ("7", "8"))]
    if refusal is None:
        cluster.cancel(places)
        return
    with pytest.raises(NotCancelled, match=refusal) as caught:
        cluster.cancel(places)
    # Only what was refused is told.
    assert not re.search(r"Invalid job id|not exist|Unknown Job|already finished", caught.value.message)


@pytest.mark.parametrize(
    ("dialect", "command", "said"),
    [
        (Slurm, "scancel", SLURM_GONE + "scancel: error: Kill job error on job id 8: " + DOWN[23:] + "\n"),
        (Pbs, "qdel", PBS_GONE + "Connection refused\nqdel: cannot connect to server djoko (errno=111)\n"),
        (Lsf, "bkill", LSF_GONE + "Job <8>: Failed in an LSF library call: Slave LIM configuration is not ready yet\n"),
    ],
)
def test_a_scheduler_that_goes_away_in_the_middle_of_a_cancel_is_away(
    dialect: type[Dialect], command: str, said: str
) -> None:
    cluster = Scheduler(dialect(), "ada", Commands((command, 1, "", said)))
    with pytest.raises(SchedulerAway):
        cluster.cancel([("7", None, 1), ("8", None, 1)])


def test_a_refusal_of_some_does_not_keep_the_others_from_being_cancelled() -> None:
    cluster, commands = scheduler(("scancel", 1, "", SLURM_DENIED), ("scancel", 0, "", ""))
    with pytest.raises(NotCancelled, match="permission denied"):
        cluster.cancel([(str(native), None, 1) for native in range(1, MANY + 2)])
    assert commands.asked[1] == ["scancel", str(MANY + 1)]


def test_a_cancel_that_fails_without_a_word_has_not_happened() -> None:
    cluster, _ = scheduler(("scancel", 1, "", ""))
    with pytest.raises(NotCancelled):
        cluster.cancel([("7", None, 1)])


# --- names and marks --------------------------------------------------------------------------------------


def test_a_name_of_ours_is_what_people_called_it_and_the_mark() -> None:
    for given, shown in (
        ("map", "map"),
        ("12 monkeys", "j12_monkeys"),
        ("", "job"),
        ("é/../x", "x"),
        ("--wrap", "wrap"),
    ):
        assert name_of(Intent(MARK, given, "/d")) == f"{shown}.{MARK}"
    assert name_of(Intent(MARK, "a" * 100, "/d"), 15) == f"aaaa.{MARK}"
    assert mark_in("map") == mark_in("map.short") == ""
    assert len({mark_of(number) for number in range(1000)}) == 1000


# --- others' dialects --------------------------------------------------------------------------------------


def test_a_dialect_of_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "from coordinator.executors.slurm import Slurm\nclass Acme(Slurm):\n    name = 'acme'\n"
    (tmp_path / "acme_scheduler.py").write_text(lines)
    (tmp_path / "acme-1.dist-info").mkdir()
    (tmp_path / "acme-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    points = "[coordinator.schedulers]\nacme = acme_scheduler:Acme\n"
    (tmp_path / "acme-1.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "acme" in names()
    assert job_executor("acme").name == "acme"
    with pytest.raises(BadOption, match=r"there is no executor 'nobody'; there are local, file, slurm, .*, acme"):
        job_executor("nobody")


# --- the commands themselves ------------------------------------------------------------------------------


def test_a_command_that_is_not_there_is_said_with_its_name() -> None:
    with pytest.raises(SchedulerAway, match="no-such-sbatch cannot be run here: No such file"):
        run(["no-such-sbatch"])


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        program = (
            "import subprocess; subprocess.run(['sh', '-c', 'exec 3>alive; sleep 100'], cwd='" + str(tmp_path) + "')"
        )
        with pytest.raises(SchedulerAway, match="not answered for 2 s"):
            run([sys.executable, "-c", program], limit_s=2.0)
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""  # nobody holds the other end any more
    finally:
        os.close(reader)


def test_a_command_speaks_english_and_ends_by_its_own_signal() -> None:
    ran = run(["sh", "-c", "printf %s $LC_ALL; kill -TERM $$"])
    assert (ran.code, ran.out) == (-signal.SIGTERM, "C")
