"""Slurm's dialect: what it says to sbatch, squeue and sacct, and what it makes of their answers.

Each answer names where it comes from: a thread in which somebody had it, or the manual page.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.needs import GIB, Needs
from coordinator.core.statuses import Cause, State, mark_in
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.slurm import USUAL_ARRAY, Slurm
from tests.unit.dialects import MARK, check_fault, check_no_control, ended, intent, rows_of

SLURM = Slurm()


def test_a_job_asks_for_what_it_needs() -> None:
    needs = Needs.of(
        {"cores": 4, "memory": "1.5gb", "time": "04:59:00", "gpus": 1, "partition": "short", "account": "lab",
         "options": {"slurm": ["--constraint=avx2"], "sge": ["-l", "x=1"]}}
    )  # fmt: skip
    assert SLURM.submit(intent(needs=needs), "/shared/b1/script", "/shared/b1/output") == [
        "sbatch", "--parsable", f"--job-name=map.{MARK}", "--chdir=/shared/b1", "--output=/shared/b1/output",
        "--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=4", "--mem=1536M", "--time=04:59:00", "--gres=gpu:1",
        "--partition=short", "--account=lab", "--constraint=avx2", "/shared/b1/script",
    ]  # fmt: skip


def test_what_is_not_said_is_left_to_the_site() -> None:
    argv = SLURM.submit(intent(), "/s", "/o")
    assert not [word for word in argv if word.startswith(("--mem", "--time", "--partition", "--account", "--gres"))]


def test_an_array_has_numbers_from_one_and_an_output_for_each() -> None:
    argv = SLURM.submit(intent(count=40), "/s", "/a%b/output")
    assert "--array=1-40" in argv
    assert "--output=/a%%b/output.%a" in argv
    assert SLURM.element("7", 3, 40) == "7_3"
    assert SLURM.element("7", 1, 1) == "7"


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("12345\n", "12345"),
        ("75168975;clustername\n", "75168975"),  # sampsyo/clusterfutures#24
        # easybuilders/easybuild-framework#4061
        ("sbatch: no partition specified, using default partition m100_all_serial\n7787232\n", "7787232"),
        ("Submitted batch job 3969755 on cluster nautilus\n", "3969755"),  # snakemake-executor-plugin-slurm#121
        # llnl/maestrowf#441: a greeting with a number in it
        ("   Welcome to the Stampede3 Supercomputer\n\n--> Verifying valid jobname...OK\nSubmitted batch job 519605\n",
         "519605"),
    ],
)  # fmt: skip
def test_the_id_is_found_in_what_sites_make_of_the_answer(text: str, native: str) -> None:
    assert SLURM.native_id(text) == native


@pytest.mark.parametrize("text", ["", "\n", "Submitted", "-1", "12a", "12;", "job 12 maybe", "1.5"])
def test_an_answer_without_an_id_is_unclear(text: str) -> None:
    with pytest.raises(SubmitUnclear):
        SLURM.native_id(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # sdsc/sdsc-summer-institute-2019#55, where jobs were in the queue whose submission had ended so
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", SubmitUnclear),
        # ENCODE-DCC/caper, "Zero Bytes" of slurm_strerror(3)
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", SubmitUnclear),
        # galaxyproject/pulsar#254
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
         SchedulerAway),
        # ArjunaCluster/ArjunaUsers#92
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", SchedulerAway),
        # snakemake/snakemake-executor-plugin-slurm#207
        ("sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to "
         "host:slurm-hpc:6819: Connection refused\nsacct: error: Sending PersistInit msg: Connection refused",
         SchedulerAway),
        # snakemake/snakemake#2411
        ("sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:los:6819: "
         "No route to host\nsacct: error: Problem talking to the database: No route to host", SchedulerAway),
        # snakemake/snakemake-executor-plugin-slurm#331
        ("sacct: error: _open_persist_conn: failed to open persistent connection to host:slurm:6819: Connection "
         "refused", SchedulerAway),
        # szcf-weiya/techNotes#7
        ("salloc: error: QOSMaxSubmitJobPerUserLimit\nsalloc: error: Job submit/allocate failed: Job violates "
         "accounting/QOS policy (job submit limit, user's size and/or time limits)", SchedulerAway),
        # rwth-i6/sisyphus#241
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
         "accounting/QOS policy (job submit limit, user's size and/or time limits)", SchedulerAway),
        # mlr-org/batchtools#199, after 2,000 jobs: an older Slurm that does not name the limit
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's "
         "size and/or time limits)", SchedulerAway),
        # BSC-ES/autosubmit#2854
        ("sbatch: error: qosmaxwalldurationperjoblimit\nsbatch: error: batch job submission failed: job violates "
         "accounting/qos policy (job submit limit, user's size and/or time limits)", SubmitRefused),
        # slurm_strerror(3)
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", SubmitRefused),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", SubmitRefused),
        # snakemake/snakemake-executor-plugin-slurm#38
        ("Slurm accounting storage is disabled", SubmitRefused),
        ("", SubmitRefused),
    ],
)  # fmt: skip
def test_a_fault_is_a_refusal_an_absence_or_unclear(text: str, kind: type[SchedulerError]) -> None:
    check_fault(SLURM, text, kind)


# squeue --array --states=all with our format, after the fields of squeue(1)
QUEUE = f"""\
101|N/A|RUNNING|n1|None|one.{MARK}
102|1|COMPLETED|n2|None|map.{MARK}
102|2|PENDING||Resources|map.{MARK}
102|3|PENDING|(null)|Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions|map.{MARK}
103|N/A|COMPLETING|n[1-3]|None|a|b.{MARK}
104|N/A|CANCELLED||DependencyNeverSatisfied|x
105|N/A|HYPERVISING|n1|None|x
"""  # noqa: E501


def test_the_queue_is_read() -> None:
    rows = {(row.native, row.indices): row for row in SLURM.queued(QUEUE)}
    assert rows["101", ()].status.state is State.RUNS
    assert rows["101", ()].status.host == "n1"
    assert (rows["102", (1,)].status.state, rows["102", (1,)].status.code) == (State.ENDED, 0)
    assert (rows["102", (2,)].status.state, rows["102", (2,)].status.words) == (State.WAITS, "Resources")
    assert rows["102", (3,)].status.words.startswith("Nodes required for job are DOWN, DRAINED or reserved")
    assert rows["103", ()].status.state is State.RUNS  # it has not let go of its nodes
    assert mark_in(rows["103", ()].name) == MARK
    assert rows["104", ()].status.cause is Cause.DEPENDENCY
    assert rows["105", ()].status.state is State.UNKNOWN
    assert "HYPERVISING" in rows["105", ()].status.words


def test_an_empty_queue_is_no_fault_and_another_text_is() -> None:
    assert SLURM.queued("") == []
    with pytest.raises(ValueError, match="JOBID PARTITION"):
        SLURM.queued("JOBID PARTITION NAME USER ST TIME NODES NODELIST(REASON)")


# sacct --parsable2 with our format, after sacct(1): a job and its steps, an array whose rest is one line
HISTORY = f"""\
201|COMPLETED|0:0|65|00:01.250||n1|one.{MARK}
201.batch|COMPLETED|0:0|65|00:01.250|105000K|n1|batch
201.0|COMPLETED|0:0|60|00:01.000|2.5G|n1|step
202_1|FAILED|7:0|3|00:00.010||n2|map.{MARK}
202_2|FAILED|0:11|3|00:00.010||n2|map.{MARK}
202_3|TIMEOUT|0:0|60|1-02:03:04||n2|map.{MARK}
202_4|OUT_OF_MEMORY|0:125|5|00:04||n2|map.{MARK}
202_5|CANCELLED by 1000|0:15|5|00:04||None assigned|map.{MARK}
202_6|NODE_FAIL|1:0|5|00:04||n3|map.{MARK}
202_[7-9,20-30:5%4]|PENDING|0:0|0|00:00:00||None assigned|map.{MARK}
203|NODE_FAIL|1:0|5|00:04||n3|one.{MARK}
203|COMPLETED|0:0|9|00:08||n1|one.{MARK}
"""


def test_the_history_is_read_with_codes_signals_causes_and_what_was_used() -> None:
    rows = {(row.native, row.indices): row.status for row in SLURM.remembered(HISTORY)}
    one = rows["201", ()]
    assert (one.state, one.code, one.used.wall_s, one.used.cpu_s) == (State.ENDED, 0, 65, 1.25)
    assert one.used.memory == int(2.5 * GIB)
    assert (rows["202", (1,)].code, rows["202", (1,)].signal) == (7, None)
    assert (rows["202", (2,)].code, rows["202", (2,)].signal) == (None, 11)
    assert (rows["202", (3,)].cause, rows["202", (3,)].used.cpu_s) == (Cause.TIME, 93_784)
    assert rows["202", (4,)].cause is Cause.MEMORY
    assert (rows["202", (5,)].cause, rows["202", (5,)].words) == (Cause.CANCELLED, "CANCELLED by 1000")
    assert (rows["202", (6,)].cause, rows["202", (6,)].host) == (Cause.NODE, "n3")
    assert rows["202", (7, 8, 9, 20, 25, 30)].state is State.WAITS


def test_of_a_job_that_was_requeued_the_last_life_counts() -> None:
    rows = [row for row in SLURM.remembered(HISTORY) if row.native == "203"]
    assert [(row.status.state, row.status.code, row.status.host) for row in rows] == [(State.ENDED, 0, "n1")]


def test_what_had_an_id_before_it_was_given_again_keeps_its_end() -> None:
    # sacct --duplicates of Slurm 22.05, whose slurmctld has begun anew
    text = f"1|TIMEOUT|0:0|31|00:00||n1|late.{MARK}\n1.batch|FAILED|15:0|31|00:00|1M|n1|batch\n"
    text += "1|FAILED|5:0|0|00:00||n1|new.aaaaaaaaaa\n1.batch|FAILED|5:0|0|00:00|2M|n1|batch\n"
    late, new = SLURM.remembered(text)
    assert (late.name, late.status.cause, late.status.used.memory) == (f"late.{MARK}", Cause.TIME, 1 << 20)
    assert (new.name, new.status.code, new.status.used.memory) == ("new.aaaaaaaaaa", 5, 2 << 20)


def test_the_site_says_how_large_an_array_may_be() -> None:
    assert SLURM.largest("MaxArraySize            = 10001\nMaxJobCount = 20000\n") == 10_000
    assert SLURM.largest("nothing of it") == USUAL_ARRAY


@pytest.mark.parametrize(
    "word",
    ["--array=1-3", "--arr=1-3", "-a", "-a1-3", "--job-name=x", "-Jx", "-J", "--parsable", "--par", "--output=/x",
     "-o/x", "--wrap=ls", "--", "--chdir=/", "-D/"],
)  # fmt: skip
def test_a_user_cannot_change_how_jobs_are_named_numbered_and_found(word: str) -> None:
    with pytest.raises(BadNeeds, match="not a user's to give"):
        SLURM.submit(intent(needs=Needs(options={"slurm": (word,)})), "/s", "/o")


def test_what_else_users_say_reaches_sbatch_as_it_is() -> None:
    words = ("--constraint=a&b", "-C", "a|b", "--exclude=n[1-3]", "--mail-user=a@b", "--acctg-freq=1", "--comment=x y")
    assert list(words) == SLURM.submit(intent(needs=Needs(options={"slurm": words})), "/s", "/o")[-8:-1]


ANY = st.text(max_size=60)
NUMBERS = st.integers(-5, 10**20)


@pytest.mark.timeout(300)
@settings(max_examples=10_000, deadline=None)
@given(
    ANY, st.dictionaries(st.sampled_from(["queue", "partition", "account", "memory", "time", "cores"]), ANY | NUMBERS),
    st.lists(ANY, max_size=3),
)  # fmt: skip
def test_nothing_that_people_write_becomes_another_word_or_line(
    name: str, told: dict[str, str | int], words: list[str]
) -> None:
    try:
        needs = Needs.of({**told, "options": {"slurm": words}})
        argv = SLURM.submit(intent(name, needs), "/b/script", "/b/output")
    except BadNeeds:
        return
    check_no_control(argv)
    theirs = len(argv) - 1 - len(words)
    assert argv[theirs:-1] == words
    ours = argv[1:theirs]
    assert all(re.fullmatch(r"--[a-z-]+(=.+)?", word) for word in ours)
    assert len({word.partition("=")[0] for word in ours}) == len(ours)
    assert mark_in(argv[2]) == MARK
    assert re.fullmatch(r"--job-name=[A-Za-z][A-Za-z0-9_]*\.[a-z2-7]{10}", argv[2])


@given(st.text())
def test_garbage_is_never_an_end(text: str) -> None:
    assert not ended(rows_of(text, SLURM.queued, SLURM.remembered))
