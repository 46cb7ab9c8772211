"""The dialects of PBS Pro, OpenPBS and Torque: what they say to qsub, qstat and qdel, and what they make of answers.

Each answer names where it comes from; those of which only the form is known say after what they are composed.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, Row, State, Status, Used, mark_in
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.pbs import LONGEST_NAME, Pbs, Torque
from tests.fakes.pbsforms import FOREIGN
from tests.unit.dialects import ANY, CONTROL, MARK, check_fault, check_garbage, ended, intent, ours_of, rows_of

PBS, TORQUE = Pbs(), Torque()
BOTH = pytest.mark.parametrize("dialect", [PBS, TORQUE], ids=["pbs", "torque"])

# aiidateam/aiida-core, tests/schedulers/test_pbspro.py (text_qstat_f_to_test), shortened
PBS_QUEUE = """\
Job Id: 68350.mycluster
    Job_Name = cell-Qnormal
    Job_Owner = usernum1@mycluster.cluster
    job_state = Q
    queue = Q_express
    Output_Path = mycluster.cluster:/home/usernum1/scratch/cptest/scaletest/PTO
\tscaletest/testjob.out
    Resource_List.walltime = 01:00:00
    substate = 10
    comment = Not Running: Node is in an ineligible state: offline
    project = _pbs_project_default

Job Id: 69301.mycluster
    Job_Name = Cu-dbp
    Job_Owner = user02@mycluster.cluster
    resources_used.cpupercent = 6384
    resources_used.cput = 4090:56:03
    resources_used.mem = 13378420kb
    resources_used.ncpus = 64
    resources_used.walltime = 64:26:16
    job_state = R
    exec_host = b141/0*16+b142/0*16+b143/0*16+b144/0*16
    exec_vnode = (b141:ncpus=16)+(b142:ncpus=16)+(b143:ncpus=16)+(b144:ncpus=16
\t)
    substate = 42
    Variable_List = SSH_ASKPASS=/usr/libexec/openssh/gnome-ssh-askpass,
\tPERL_BADLANG=0,KDE_IS_PRELINKED=1,PBS_O_HOME=/home/user02,
\tmodule=() {  eval `/usr/bin/modulecmd bash $*`,},
\tLESSOPEN=|/usr/bin/lesspipe.sh %s,PBS_O_LOGNAME=user02
    comment = Job run at Sat Apr 20 at 01:36 on (b141:ncpus=16)+(b142:ncpus=16)
\t+(b143:ncpus=16)+(b144:ncpus=16)
    project = _pbs_project_default

Job Id: 69302.mycluster
    Job_Name = Cu-dbp
    job_state = H
    Hold_Types = s
    substate = 22

"""

# Composed after the text above, with the statuses of OpenPBS's src/include/job.h and the comments that its
# src/server/svr_jobfunc.c (update_job_finish_comment) and pbs_messages.c make of them
PBS_ENDS = [
    ("F", "92", "0", "Job run at Sat Apr 20 at 01:36 on (b141:ncpus=1) and finished", 0, None, Cause.NONE),
    ("F", "93", "7", "Job run at Sat Apr 20 at 01:36 on (b141:ncpus=1) and failed", 7, None, Cause.NONE),
    ("F", "93", "137", "Job run at Sat Apr 20 at 01:36 on (b141:ncpus=1) and failed", 137, None, Cause.NONE),
    ("F", "93", "265", "Job run at Sat Apr 20 at 01:36 on (b141:ncpus=1) and failed", None, 9, Cause.NONE),
    ("F", "93", "-29", "Job run at Sat Apr 20 at 01:36 and exceeded resource walltime", None, None, Cause.TIME),
    ("F", "93", "-28", "Job run at Sat Apr 20 at 01:36 and exceeded resource cput", None, None, Cause.TIME),
    ("F", "93", "-27", "Job run at Sat Apr 20 at 01:36 and exceeded resource mem", None, None, Cause.MEMORY),
    ("F", "93", "-26", "Job run at Sat Apr 20 at 01:36 and exceeded resource vmem", None, None, Cause.MEMORY),
    ("F", "93", "-25", "Job run at Sat Apr 20 at 01:36 and exceeded resource ncpus (sum)", None, None, Cause.NONE),
    ("F", "93", "-1", "Job run at Sat Apr 20 at 01:36 and failed", None, None, Cause.LAUNCH),
    ("F", "91", "-3", "job held, too many failed attempts to run and terminated", None, None, Cause.LAUNCH),
    ("F", "93", "-4", "Job run at Sat Apr 20 at 01:36 and failed", None, None, Cause.NODE),
    ("F", "93", "-20", "Job run at Sat Apr 20 at 01:36 and failed", None, None, Cause.NODE),
    ("F", "91", "271", "Job run at Sat Apr 20 at 01:36 and terminated", None, 15, Cause.CANCELLED),
    ("F", "91", "", "", None, None, Cause.CANCELLED),
    ("F", "91", "", "Job deleted as result of dependency on job 7.s", None, None, Cause.DEPENDENCY),
    ("F", "92", "x", "", None, None, Cause.NONE),
    ("X", "92", "3", "", 3, None, Cause.NONE),
]

# Composed after qstat(1B) of OpenPBS (ids and states of subjobs) and the listing in openpbs/openpbs pull request 2496;
# array_state_count as in the array pages of docs.metacentrum.cz
PBS_ARRAY = f"""\
Job Id: 9[].djoko
    Job_Name = map.{MARK}
    job_state = B
    array = True
    array_state_count = Queued:1 Running:1 Exiting:0 Expired:1
    array_indices_submitted = 1-3

Job Id: 9[1].djoko
    Job_Name = map.{MARK}
    job_state = X
    exec_host = djoko/0
    substate = 92
    Exit_status = 1
    array_id = 9[].djoko

Job Id: 9[2].djoko
    Job_Name = map.{MARK}
    job_state = R
    exec_host = djoko/1
    array_id = 9[].djoko

Job Id: 9[3].djoko
    Job_Name = map.{MARK}
    job_state = Q
    array_id = 9[].djoko

"""

# bcgsc/mavis, its tests of TorqueScheduler.parse_qstat, shortened; the tabs are those that Torque's qstat.c prints,
# where the tests have eight spaces
TORQUE_QUEUE = """\
Job Id: 9.torque01.bcgsc.ca
    Job_Name = subtest.sh
    Job_Owner = creisle@torque01.bcgsc.ca
    resources_used.cput = 00:00:00
    resources_used.vmem = 346716kb
    resources_used.walltime = 00:01:00
    resources_used.mem = 3624kb
    resources_used.energy_used = 0
    job_state = C
    queue = batch
    exec_host = torque01.bcgsc.ca/0
    Variable_List = PBS_O_QUEUE=batch,PBS_O_HOME=/home/creisle,
\tPBS_O_LOGNAME=creisle
    comment = Job started on Tue May 29 at 09:37
    exit_status = 0
    submit_args = subtest.sh
    total_runtime = 60.481239
    init_work_dir = /projects/trans_scratch/validations/workspace/creisle/temp

    request_version = 1

Job Id: 48[1].torque01.bcgsc.ca
    Job_Name = MA_mock-A47933_batch-JT3CUggKXNStHcoFXYaGR3-1
    job_state = C
    depend = afterokarray:43[].torque01.bcgsc.ca
    Variable_List = PBS_ARRAYID=1,PBS_O_QUEUE=batch,PBS_O_HOME=/home/creisle,
\tXDG_RUNTIME_DIR=/run/user/1365,
\tBASH_FUNC_module()=() {  eval `/usr/bin/modulecmd bash $*`\\
}
    euser = creisle
    comment = Job 48[].torque01.bcgsc.ca deleted because its dependency of arr
\tay 43[].torque01.bcgsc.ca can never be satisfied
    exit_status = 271
    job_array_id = 1
"""

# Composed after print_job_full of contribs/torque/qstat.pl of SchedMD/slurm
SLURM_QUEUE = f"""\
Job Id:\t1
\tJob_Name = map.{MARK}
\tJob_Owner = root@n1
\tjob_state = C
\tqueue = main
\tqtime = Sat Nov 21 10:00:00 2026
\texec_host = n1/1
\tPriority = 4294901759
\teuser = root(0)
\tResource_List.walltime = 00:10:00
\tResource_List.ncpus = 2

Job Id:\t2
\tJob_Name = map.{MARK}
\tjob_state = R
\texec_host = n1/1+n2/1

"""


def statuses(rows: list[Row]) -> dict[tuple[str, tuple[int, ...]], Status]:
    return {(row.native, row.indices): row.status for row in rows}


ASKED = {
    "cores": 4, "memory": "1.5gb", "time": "04:59:00", "gpus": 1, "nodes": 2, "queue": "short", "account": "lab",
    "options": {"pbs": ["-W", "umask=022"], "torque": ["-m", "n"]},
}  # fmt: skip


def test_a_job_of_pbs_asks_for_what_it_needs() -> None:
    assert PBS.submit(intent(needs=Needs.of(ASKED)), "/shared/b1/script", "/shared/b1/output") == [
        "qsub", "-C", "", "-N", f"map.{MARK}", "-j", "oe", "-o", "/shared/b1/output",
        "-l", "select=2:ncpus=4:mem=1536mb:ngpus=1", "-l", "place=scatter", "-l", "walltime=04:59:00",
        "-q", "short", "-A", "lab", "-W", "umask=022", "/shared/b1/script",
    ]  # fmt: skip


def test_a_job_of_torque_asks_for_the_memory_of_all_its_nodes() -> None:
    assert TORQUE.submit(intent(needs=Needs.of(ASKED)), "/shared/b1/script", "/shared/b1/output") == [
        "qsub", "-N", f"map.{MARK}", "-o", "/shared/b1/output", "-e", "/shared/b1/output.err",
        "-l", "nodes=2:ppn=4:gpus=1,mem=3072mb,walltime=04:59:00", "-q", "short", "-A", "lab", "-m", "n",
        "/shared/b1/script",
    ]  # fmt: skip


@BOTH
def test_what_is_not_said_is_left_to_the_site(dialect: Pbs | Torque) -> None:
    argv = dialect.submit(intent(), "/b/script", "/b/output")
    assert not re.search(r"mem=|walltime=|gpus=|place=| -q | -A ", " ".join(argv))


def test_an_array_has_numbers_from_one_and_an_output_for_each() -> None:
    argv = PBS.submit(intent(count=40), "/b/script", "/b/output")
    assert argv[8:11] == ["/b/output.^array_index^", "-J", "1-40"]
    argv = TORQUE.submit(intent(count=40), "/b/script", "/b/output")
    assert argv[4:9] == ["/b/output", "-e", "/b/output.err", "-t", "1-40"]


@BOTH
def test_an_element_has_its_number_in_the_id(dialect: Pbs | Torque) -> None:
    assert dialect.element("123[].server.org", 4, 9) == "123[4].server.org"
    assert dialect.element("123[]", 4, 9) == "123[4]"
    assert dialect.element("123.server", 1, 1) == "123.server"


@BOTH
def test_a_name_is_short_enough_for_old_servers_and_ends_in_the_mark(dialect: Pbs | Torque) -> None:
    argv = dialect.submit(intent("a very long name indeed"), "/b/script", "/b/output")
    name = argv[argv.index("-N") + 1]
    assert (name, mark_in(name)) == (f"a_ve.{MARK}", MARK)
    assert len(name) == LONGEST_NAME


@BOTH
@pytest.mark.parametrize("path", ["/a:b/o", "/a$(id)/o", "/a'/o", "/a\n/o", "o", "", "-o", "/a%/o", "/a;b"])
def test_a_path_that_qsub_would_read_otherwise_is_refused(dialect: Pbs | Torque, path: str) -> None:
    with pytest.raises(BadNeeds, match="another directory"):
        dialect.submit(intent(), "/b/script", path)
    with pytest.raises(BadNeeds, match="another directory"):
        dialect.submit(intent(), path, "/b/output")


def test_a_blank_in_a_path_is_for_pbs_only() -> None:
    assert "/my files/o" in PBS.submit(intent(), "/b/script", "/my files/o")
    with pytest.raises(BadNeeds):
        TORQUE.submit(intent(), "/b/script", "/my files/o")


@BOTH
@pytest.mark.parametrize(
    "word",
    ["-N", "-Nx", "-J", "-J1-3", "-t1-3", "-o", "-o/x", "-e/x", "-joe", "-C#X", "-I", "-X", "-z", "-Vz", "-hI", "--",
     "--version", "--v", "-Wblock=true", "-W block=true", "block=true", "umask=022,block=true"],
)  # fmt: skip
def test_a_user_cannot_change_how_jobs_are_named_numbered_and_found(dialect: Pbs | Torque, word: str) -> None:
    with pytest.raises(BadNeeds):
        dialect.submit(intent(needs=Needs(options={dialect.name: (word,)})), "/b/script", "/b/output")


@BOTH
def test_what_else_users_say_reaches_qsub_as_it_is(dialect: Pbs | Torque) -> None:
    words = (
        "-W",
        "depend=afterok:7",
        "-V",
        "-Vh",
        "-l",
        "software=x y",
        "-m",
        "abe",
        "-v",
        "A=$HOME,block",
        "-p",
        "-5",
    )
    argv = dialect.submit(intent(needs=Needs(options={dialect.name: words})), "/b/script", "/b/output")
    assert list(words) == argv[-13:-1]


@BOTH
@pytest.mark.parametrize(
    ("text", "native"),
    [
        # openpbs/openpbs pull requests 2496 and 2603; bcgsc/mavis (Torque); the wrappers of SchedMD/slurm
        ("9[].djoko\n", "9[].djoko"),
        ("69.openpbs-ptl\n", "69.openpbs-ptl"),
        ("141.torque01.bcgsc.ca\n", "141.torque01.bcgsc.ca"),
        ("142[].torque01.bcgsc.ca\n", "142[].torque01.bcgsc.ca"),
        ("1\n", "1"),
        # composed: what a site's hook may print before
        ("Your project has 12 hours left.\n\n  7609762.imgt1  \n", "7609762.imgt1"),
    ],
)
def test_the_whole_id_is_kept(dialect: Pbs | Torque, text: str, native: str) -> None:
    assert dialect.native_id(text) == native


@BOTH
@pytest.mark.parametrize("text", ["", "\n", "qsub: no", "1.a\n2.a\n", "٣.server", "12 is it", "[].x", "SUCCESS"])
def test_an_answer_without_one_id_is_unclear(dialect: Pbs | Torque, text: str) -> None:
    with pytest.raises(SubmitUnclear, match="not one job id"):
        dialect.native_id(text)


@BOTH
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # openpbs/openpbs, src/cmds/qsub.c; errno 15010 in test/tests/functional of the same (munge is down)
        ("qsub: cannot connect to server polaris (errno=15008)", SchedulerAway),
        ("auth: error returned: 15010\nqsub: cannot connect to server polaris (errno=15010)", SchedulerAway),
        # a comment of a client of Torque that waits then
        ("pbs_iff: cannot read reply from pbs_server-No Permission.\n"
         "qsub: cannot connect to server michelangelo (errno=15007) Unauthorized Request", SchedulerAway),
        # adaptivecomputing/torque, cnt2server.c, qsub_functions.c, pbs_error_db.h and svr_jobfunc.c
        ("Cannot connect to default server host 'm' - check pbs_server daemon and/or trqauthd.\n"
         "qsub: cannot connect to server m (errno=111) Connection refused", SchedulerAway),
        ("qsub: submit error (Maximum number of jobs already in queue for user MSG=total number of current user's jobs "
         "exceeds the queue limit: user u@h, queue batch)", SchedulerAway),
        # equinor/ert, tests/ert/unit_tests/scheduler/test_openpbs_driver.py: what its driver tries again
        ("pbs_iff: cannot connect to host\npbs_iff: all reserved ports in use", SchedulerAway),
        ("qstat: Invalid credential", SchedulerAway),
        ("Connection refused", SchedulerAway),
        # openpbs/openpbs, src/lib/Libcmds/cnt2server.c and src/cmds/qdel.c
        ("Unknown Host.\nCouldn't connect to cluster: polaris", SchedulerAway),
        ("Premature end of message", SubmitUnclear),
        # openpbs/openpbs issue 2554: its server has crashed
        ("Connection refused\nqstat: cannot connect to server pdw-s1 (errno=15010)", SchedulerAway),
        # adaptivecomputing/torque issue 425: the same of Torque's
        ("qsub: submit error (This stream has already been closed. End of File.)", SubmitUnclear),
        # openpbs/openpbs, src/lib/Liblog/pbs_messages.c, behind "qsub: " as src/cmds/qsub.c prints them
        ("qsub: Request not allowed: Server shutting down", SchedulerAway),
        ("qsub: No free connections", SchedulerAway),
        ("qsub: would exceed queue workq's per-user limit", SchedulerAway),
        ("qsub: would exceed complex's per-project limit of jobs in 'Q' state", SchedulerAway),
        ("qsub: Maximum number of jobs already in queue workq", SchedulerAway),
        ("qsub: Batch protocol error", SubmitUnclear),
        ("qsub: PBS server internal error", SubmitUnclear),
        ("qsub: System error: ", SubmitUnclear),
        ("qsub: Failed to save job/resv, refer server logs for details", SubmitUnclear),
        ("qsub: Error 15031", SubmitUnclear),
        ("qsub: Unknown queue", SubmitRefused),
        ("qsub: Unauthorized Request ", SubmitRefused),
        ("qsub: Job violates queue and/or server resource limits", SubmitRefused),
        ("qsub: would exceed queue workq's per-user limit on resource ncpus", SubmitRefused),
        ("qsub: illegally formed destination: a b", SubmitRefused),
        ("qsub: Array job exceeds server or queue size limit", SubmitRefused),
        ("qstat: PBS is not configured to maintain job history", SubmitRefused),
        # adaptivecomputing/torque, src/include/pbs_error_db.h
        ("qsub: submit error (Premature End of File)", SubmitUnclear),
        ("qsub: submit error (Time out)", SubmitUnclear),
        ("qsub: submit error (Unknown queue MSG=cannot locate queue)", SubmitRefused),
        # nextflow-io/nextflow issue 5218: Torque 6.1.3, which does not know PBS's -J
        ("The -J option can only be used in conjunction with -P\n\nusage: qsub [-a date_time]", SubmitRefused),
        # composed after contribs/torque/qsub.pl of SchedMD/slurm and slurm_strerror(3)
        ("There was an error running the Slurm sbatch command.\nThe command was:\n'/usr/bin/sbatch x 2>&1'\nand the "
         "output was:\n'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n'",
         SubmitUnclear),
        ("and the output was:\n'sbatch: error: Batch job submission failed: Unable to contact slurm controller "
         "(connect failure)\n'", SchedulerAway),
        ("and the output was:\n'sbatch: error: invalid partition specified: x\n'", SubmitRefused),
        ("", SubmitRefused),
    ],
)  # fmt: skip
def test_a_fault_is_a_refusal_an_absence_or_unclear(
    dialect: Pbs | Torque, text: str, kind: type[SchedulerError]
) -> None:
    check_fault(dialect, text, kind)


@BOTH
@pytest.mark.parametrize(
    ("text", "gone"),
    [
        # equinor/ert, test_openpbs_driver.py; openpbs/openpbs, pbs_messages.c; Torque's pbs_error_db.h, svr_chk_owner.c
        ("qstat: Unknown Job Id 1", True),
        ("qdel: Unknown Job Id 580[3-5]", True),  # openpbs/openpbs issue 2554
        ("qdel: Job has finished 9.djoko", True),
        ("qdel: Request invalid for finished array subjob 9[1].djoko", True),
        ("qstat: Unknown Job Id Error 9.torque01", True),
        ("qdel: Unknown Array ID 9[].torque01", True),
        ("qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 9.torque01", True),
        # ert asks again after this one, since the job may be on its way to a host
        ("qdel: Request invalid for state of job 9.djoko", False),
        ("qdel: Unauthorized Request  9.djoko", False),
        ("qstat: Unknown queue x", False),
        ("", False),
    ],
)
def test_who_is_gone_is_known_by_the_words(dialect: Pbs | Torque, text: str, gone: bool) -> None:
    assert dialect.gone(text) is gone


def test_the_commands_ask_for_everything_about_all_jobs() -> None:
    assert PBS.queue("me") == TORQUE.queue("me") == ["qstat", "-f", "-t"]
    assert PBS.history(["1.s", "2[].s"]) == [["qstat", "-x", "-f", "-t", "1.s", "2[].s"]]
    assert PBS.search("map.x") == [["qstat", "-x", "-f"]]
    assert TORQUE.history(["1.s"]) == TORQUE.search("map.x") == []
    assert PBS.cancel(["1.s", "2[3].s"]) == TORQUE.cancel(["1.s", "2[3].s"]) == ["qdel", "1.s", "2[3].s"]
    assert PBS.details("1.s") == ["qstat", "-x", "-f", "1.s"]
    assert TORQUE.details("1.s") == ["qstat", "-f", "1.s"]
    assert PBS.version() == TORQUE.version() == ["qstat", "--version"]
    assert PBS.largest_array() == TORQUE.largest_array() == ["qstat", "-B", "-f"]


def test_the_queue_of_pbs_is_read_over_its_folded_lines() -> None:
    rows = PBS.queued(PBS_QUEUE)
    assert [(row.native, row.indices, row.name) for row in rows] == [
        ("68350.mycluster", (), "cell-Qnormal"), ("69301.mycluster", (), "Cu-dbp"), ("69302.mycluster", (), "Cu-dbp"),
    ]  # fmt: skip
    waits, runs, held = (row.status for row in rows)
    assert waits == Status(State.WAITS, words="Not Running: Node is in an ineligible state: offline")
    used = Used(64 * 3600 + 26 * 60 + 16.0, 4090 * 3600 + 56 * 60 + 3.0, 13378420 << 10)
    assert runs == Status(State.RUNS, host="b141", used=used)
    assert held == Status(State.WAITS, words="held")


def test_a_variable_with_line_ends_in_it_is_no_reason_to_read_nothing() -> None:
    assert PBS.queued(FOREIGN) == [Row("171389798.mycluster", (), "script.sh", Status(State.WAITS))]


@pytest.mark.parametrize(("state", "substate", "exit_status", "comment", "code", "signal", "cause"), PBS_ENDS)
def test_an_exit_status_of_pbs_says_why_a_job_ended(
    state: str, substate: str, exit_status: str, comment: str, code: int | None, signal: int | None, cause: Cause
) -> None:
    text = f"Job Id: 7.s\n    Job_Name = map.{MARK}\n    job_state = {state}\n    exec_host = b141/0*4\n"
    text += f"    substate = {substate}\n"
    text += f"    Exit_status = {exit_status}\n" if exit_status else ""
    text += f"    comment = {comment}\n" if comment else ""
    (row,) = PBS.remembered(text)
    assert row.name == f"map.{MARK}"
    assert row.status == Status(State.ENDED, code, signal, cause, comment, "b141")


def test_the_elements_of_an_array_of_pbs_are_told_one_by_one() -> None:
    rows = PBS.queued(PBS_ARRAY)
    assert {row.name for row in rows} == {f"map.{MARK}"}
    assert statuses(rows) == {
        ("9[].djoko", ()): Status(State.RUNS),
        ("9[].djoko", (1,)): Status(State.ENDED, 1, host="djoko"),
        ("9[].djoko", (2,)): Status(State.RUNS, host="djoko"),
        ("9[].djoko", (3,)): Status(State.WAITS),
    }


def test_the_exit_status_of_a_whole_array_is_no_elements() -> None:
    (row,) = PBS.remembered("Job Id: 9[].djoko\n    job_state = F\n    Exit_status = 1\n    substate = 92\n")
    assert row.status == Status(State.ENDED)


@pytest.mark.parametrize("comment", ["Subjob finished", "Subjob failed", "Subjob terminated"])
def test_of_an_element_without_a_record_the_exit_status_is_the_whole_arrays(comment: str) -> None:
    # openpbs/openpbs, status_subjob() of src/server/stat_job.c: without a history, or where it was deleted in the queue
    fields = f"    job_state = X\n    substate = 91\n    Exit_status = 0\n    comment = {comment}\n"
    (row,) = PBS.queued(f"Job Id: 9[3].djoko\n    Job_Name = map.{MARK}\n{fields}")
    assert (row.indices, row.status) == ((3,), Status(State.ENDED, words=comment))


def test_when_an_array_began_is_no_reason_why_an_element_waits() -> None:
    # openpbs/openpbs, expand_remaining_subjob() of src/lib/Libifl/dec_reply.c, and pbs_job_array_comment.py
    comment = "Job Array Began at Sun Nov 22 at 02:03"
    (row,) = PBS.queued(f"Job Id: 9[3].djoko\n    job_state = Q\n    comment = {comment}\n")
    assert row.status == Status(State.WAITS)


def test_the_queue_of_torque_is_read_and_its_numbers_are_taken_from_the_names() -> None:
    rows = TORQUE.queued(TORQUE_QUEUE)
    assert [row.name for row in rows] == ["subtest.sh", "MA_mock-A47933_batch-JT3CUggKXNStHcoFXYaGR3"]
    one, element = (row.status for row in rows)
    words = "Job started on Tue May 29 at 09:37"
    assert one == Status(State.ENDED, 0, None, Cause.NONE, words, "torque01.bcgsc.ca", Used(60.0, 0.0, 3624 << 10))
    assert (rows[1].native, rows[1].indices) == ("48[].torque01.bcgsc.ca", (1,))
    assert (element.state, element.code, element.signal, element.cause) == (State.ENDED, None, 15, Cause.DEPENDENCY)
    assert element.words.endswith("its dependency of array 43[].torque01.bcgsc.ca can never be satisfied")


@pytest.mark.parametrize(
    ("exit_status", "code", "signal", "cause"),
    # adaptivecomputing/torque, src/include/pbs_job.h, and resmom/{linux,darwin}/mom_start.c for the signals
    [("0", 0, None, Cause.NONE), ("3", 3, None, Cause.NONE), ("265", None, 9, Cause.NONE),
     ("10009", None, 9, Cause.NONE), ("-1", None, None, Cause.LAUNCH), ("-9", None, None, Cause.LAUNCH),
     ("-4", None, None, Cause.NODE), ("-10", None, None, Cause.MEMORY), ("-11", None, None, Cause.TIME),
     ("-12", None, None, Cause.TIME), ("-99", None, None, Cause.NONE), ("256", None, None, Cause.NONE)],
)  # fmt: skip
def test_an_exit_status_of_torque_says_why_a_job_ended(
    exit_status: str, code: int | None, signal: int | None, cause: Cause
) -> None:
    (row,) = TORQUE.queued(f"Job Id: 7.s\n    job_state = C\n    exit_status = {exit_status}\n")
    assert row.status == Status(State.ENDED, code, signal, cause)


def test_what_slurm_prints_as_torque_is_read_and_says_nothing_of_an_exit() -> None:
    rows = TORQUE.queued(SLURM_QUEUE)
    assert {row.name for row in rows} == {f"map.{MARK}"}
    assert statuses(rows) == {
        ("1", ()): Status(State.ENDED, None, None, Cause.NONE, "", "n1"),
        ("2", ()): Status(State.RUNS, host="n1"),
    }


@pytest.mark.parametrize(
    ("dialect", "letters", "state"),
    [(PBS, "QHWT", State.WAITS), (PBS, "RESUB", State.RUNS), (PBS, "FX", State.ENDED), (PBS, "MCZ?", State.UNKNOWN),
     (TORQUE, "QHWT", State.WAITS), (TORQUE, "RES", State.RUNS), (TORQUE, "C", State.ENDED),
     (TORQUE, "FXM", State.UNKNOWN)],
)  # fmt: skip
def test_a_letter_that_is_not_known_is_no_end(dialect: Pbs | Torque, letters: str, state: State) -> None:
    for letter in letters:
        (row,) = dialect.queued(f"Job Id: 7.s\n    job_state = {letter}\n")
        assert row.status.state is state


@BOTH
def test_a_job_of_which_nothing_is_told_is_unknown(dialect: Pbs | Torque) -> None:
    assert [row.status.state for row in dialect.queued("Job Id: 7.s\n    Job_Name = x\n")] == [State.UNKNOWN]
    assert [row.status.state for row in dialect.queued("Job Id: 7.s\n    job_state = CF\n")] == [State.UNKNOWN]
    assert dialect.queued("") == dialect.queued("\n\n") == []


@BOTH
def test_who_is_told_of_twice_in_different_ways_is_unknown(dialect: Pbs | Torque) -> None:
    # Another user's variable may have line ends in it and say anything after them.
    forged = "Job Id: 8.s\n    job_state = R\n    Variable_List = A=1\nJob Id: 7.s\n    job_state = C\n"
    real = "Job Id: 7.s\n    job_state = R\n"
    state = {row.native: row.status.state for row in dialect.queued(real + forged)}
    assert state == {"7.s": State.UNKNOWN, "8.s": State.RUNS}
    assert [row.status.state for row in dialect.queued(real + real)] == [State.RUNS]


@BOTH
def test_the_first_of_two_fields_counts(dialect: Pbs | Torque) -> None:
    text = "Job Id: 7.s\n    job_state = R\n    Variable_List = A=f() {\n    job_state = C\n\tx\n}\n    comment = a\n"
    (row,) = dialect.queued(text)
    assert row.status == Status(State.RUNS)


@BOTH
@pytest.mark.parametrize("text", ["No such thing", "Job id            Name\n", "Job Id: R7.s\n", "{}", "    a = b\n"])
def test_what_is_no_list_is_refused(dialect: Pbs | Torque, text: str) -> None:
    with pytest.raises(ValueError, match=r"no line of a list|no id of a job"):
        dialect.queued(text)


def test_the_site_says_how_large_an_array_may_be() -> None:
    # composed after "<name> = <value>" of qstat -B -f in qstat(1B), and the names of both servers' attributes
    assert PBS.largest("Server: djoko\n    server_state = Active\n    max_array_size = 50000\n    x = 1\n") == 50_000
    assert TORQUE.largest("Server: t\n    max_job_array_size = 500\n") == 500
    assert PBS.largest("    max_array_size = 0\n") == 1
    assert (PBS.largest("nothing"), TORQUE.largest("max_array_size = 3")) == (10_000, 1_000)


HYPHENS = {"-C", "-N", "-j", "-o", "-e", "-J", "-t", "-l", "-q", "-A"}


@pytest.mark.timeout(300)
@settings(max_examples=10_000, deadline=None)
@given(ANY, ANY, ANY | st.integers(), ANY)
def test_nothing_that_people_write_becomes_another_word_or_line(
    name: str, place: str, amount: str | int, word: str
) -> None:
    for dialect, count, told in (
        (PBS, 9, {"queue": place, "memory": amount}),
        (TORQUE, 1, {"account": place, "time": amount}),
        (PBS, 1, {"account": place, "options": {"pbs": [word]}}),
        (TORQUE, 9, {"queue": place, "options": {"torque": [word]}}),
    ):
        try:
            argv = dialect.submit(intent(name, Needs.of(told), count), "/b/script", "/b/output")
        except BadNeeds:
            continue
        ours = ours_of(argv, [word] if "options" in told else [], ["/b/script"], HYPHENS)
        # Only the prefix of directives is empty.
        assert [ours[at - 1] for at, value in enumerate(ours) if not value] == (["-C"] if dialect is PBS else [])
        written = ours[ours.index("-N") + 1]
        assert mark_in(written) == MARK
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,3}\.[a-z2-7]{10}", written)


@given(st.sampled_from([PBS, TORQUE]), st.text())
def test_a_path_is_one_word_and_no_option(dialect: Pbs | Torque, path: str) -> None:
    try:
        argv = dialect.submit(intent(), path, f"/b/{path}")
    except BadNeeds:
        return
    assert argv[-1] == path
    assert path.startswith("/")
    assert not CONTROL.search(path)


@given(st.text())
def test_garbage_is_never_an_end(text: str) -> None:
    for garbage in (text, f"Job Id: 7.s\n{text}", f"Job Id: 7.s\n    job_state = {text}"):
        rows = rows_of(garbage, PBS.queued, PBS.remembered, TORQUE.queued)
        first = text.partition("\n")[0]
        assert first in ("C", "F", "X") or not ended(rows)


@given(st.text())
def test_garbage_is_no_id(text: str) -> None:
    for dialect in (PBS, TORQUE):
        try:
            native = dialect.native_id(text)
        except SubmitUnclear:
            continue
        assert re.fullmatch(r"[0-9]+(\[[0-9]*\])?(\.[A-Za-z0-9_.-]+)?", native)


@given(st.text())
def test_garbage_is_some_fault_and_a_size_of_an_array(text: str) -> None:
    for dialect in (PBS, TORQUE):
        check_garbage(dialect, text)


@settings(max_examples=500)
@given(
    st.sampled_from(
        [
            "job_state",
            "Exit_status",
            "exec_host",
            "comment",
            "resources_used.mem",
            "substate",
            "resources_used.walltime",
            "resources_used.cput",
            "Job_Name",
        ]
    ),
    st.text(),
)
def test_any_value_of_a_field_is_read(field: str, value: str) -> None:
    for dialect in (PBS, TORQUE):
        for state in ("Q", "R", "C", "F"):
            text = f"Job Id: 7[2].s\n    job_state = {state}\n    {field} = {value.replace(chr(10), ' ')}\n"
            (row,) = dialect.queued(text)
            assert (row.native, row.indices) == ("7[].s", (2,))
            assert (row.status.state is State.ENDED) == (state in dialect.ends)
