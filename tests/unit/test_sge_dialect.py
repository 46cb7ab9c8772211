"""Grid Engine's dialect: what reaches its commands, and what its answers become.

Where an answer comes from stands above it. "daimh/sge" is the public repository whose first sources are the tarball of
Grid Engine 8.1.9; its manual pages are in doc/man.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.needs import Needs
from coordinator.core.statuses import Cause, Intent, Row, State, Status, Used, mark_in, name_of
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import Dialect
from coordinator.executors.sge import MOST_ARRAY, USUAL_ARRAY, Sge
from tests.unit.dialects import check_fault, check_garbage, rows_of

SGE: Dialect = Sge()
MARK = "abcdefgh23"
INTENT = Intent(MARK, "blast", "/home/me/job")


def argv(script: str = "/home/me/job/run.sh", output: str = "/home/me/job/out", **told: object) -> list[str]:
    count = told.pop("count", 1)
    assert isinstance(count, int)
    return SGE.submit(replace(INTENT, needs=Needs.of(told), count=count), script, output)


# --- what is submitted ------------------------------------------------------------------------------------------------


def test_a_job_is_submitted_with_name_directory_output_and_shell_and_nothing_of_its_script_is_an_option() -> None:
    assert argv() == [
        "qsub", "-terse", "-N", "blast.abcdefgh23", "-wd", "/home/me/job", "-j", "y", "-o", "/home/me/job/out",
        "-S", "/bin/sh", "-b", "n", "-C", "", "-m", "n", "/home/me/job/run.sh",
    ]  # fmt: skip


def test_elements_of_an_array_are_numbered_from_one_and_write_to_files_of_their_own() -> None:
    words = argv(count=10)
    assert words[words.index("-t") + 1] == "1-10"
    assert words[words.index("-o") + 1] == "/home/me/job/out.$TASK_ID"


def test_what_a_job_needs_is_said_in_words_of_grid_engine() -> None:
    needs = {"cores": 4, "memory": "10gb", "time": "01:30:00", "gpus": 2, "queue": "main.q", "account": "proj"}
    assert argv(**needs)[18:-1] == [
        "-pe", "smp", "4", "-l", "h_vmem=2560M", "-l", "h_rt=5400", "-l", "gpu=2", "-q", "main.q", "-P", "proj",
    ]  # fmt: skip


def test_memory_is_divided_among_the_slots_and_never_rounded_down() -> None:
    assert "h_vmem=342M" in argv(cores=3, memory="1gb")
    assert "h_vmem=1M" in argv(cores=3, memory=1)


def test_a_parallel_environment_of_the_user_stands_in_the_place_of_ours() -> None:
    words = argv(cores=4, nodes=2, memory="4gb", options={"sge": ["-pe", "mpi", "8", "-R", "y"]})
    assert words.count("-pe") == 1
    assert words[-6:-1] == ["-pe", "mpi", "8", "-R", "y"]
    assert "h_vmem=1024M" in words


def test_several_hosts_need_the_name_of_a_parallel_environment() -> None:
    with pytest.raises(BadNeeds, match="2 hosts need a parallel environment"):
        argv(nodes=2, cores=4)


def test_mail_is_sent_only_if_the_user_asks_for_it() -> None:
    assert argv(options={"sge": ["-m", "ea"]}).count("-m") == 1


def test_the_options_of_another_scheduler_are_none_of_ours() -> None:
    assert argv(options={"slurm": ["--constraint=gpu"]}) == argv()


@pytest.mark.parametrize(
    "words",
    [
        ["-N", "other"], ["-t", "1-5"], ["-o", "/x"], ["-terse"], ["-@", "file"], ["-clear"], ["-sync", "y"],  # ours
        ["-b", "y"], ["-C", "#$"], ["-wd", "/"], ["-cwd"], ["-verify"], ["-jsv", "x"], ["-"], ["--"],
        ["rm"], ["-V", "rm"], ["-nonsense"], ["--mem=1"], ["-lh_rt=1"], [" -l"],  # no options, or glued
        ["-l"], ["-V", "-q"], ["-pe", "smp"],  # these would take our script for their value
        ["-w", "v"], ["-w", "p"], ["-binding", "pe"], ["-binding", "pe", "linear:1"],
    ],
)  # fmt: skip
def test_words_that_would_change_what_is_submitted_are_refused(words: list[str]) -> None:
    with pytest.raises(BadNeeds):
        argv(options={"sge": words})


def test_a_colon_in_the_path_of_the_output_is_not_a_host() -> None:
    assert argv(output="/data/a:b/out")[9] == ":/data/a:b/out"


@pytest.mark.parametrize("sign", ["$", "$HOME", ","])
def test_a_path_that_grid_engine_would_expand_or_divide_is_refused(sign: str) -> None:
    with pytest.raises(BadNeeds, match="more than a sign"):
        argv(output=f"/data/{sign}/out")


@pytest.mark.parametrize("path", ["", "out", "~/out", "-o", "/a\nb", "/a\x1b[0m", "/a\u2028b", "host:/out"])
def test_a_path_that_is_not_whole_or_has_a_control_character_is_refused(path: str) -> None:
    for told in ({"output": path}, {"script": path}):
        with pytest.raises(BadNeeds):
            argv(**told)
    with pytest.raises(BadNeeds):
        SGE.submit(replace(INTENT, directory=path), "/s", "/o")


FLAGS = {"-terse", "-V", "-h", "-hard", "-soft", "-notify", "-cwd", "-clear", "-verify", "-help", "-inherit"}
PLAIN = "aZ9/-: é中😀'\"\\@*?.#%`~="
TEXTS = st.text(PLAIN + "$,\n\x00\x1b\x85\u2028", max_size=5) | st.text(max_size=5)
GOOD = (
    ("-l", "h_rt=1"), ("-q", "a.q"), ("-pe", "mpi", "4"), ("-V",), ("-h",), ("-m", "ea"), ("-w", "e"), ("-A", "-V"),
    ("-P", "p"), ("-soft",), ("-binding", "linear:1"), ("-v", "A=b c"), ("-ac", "-l"), ("-hold_jid", "7"), (),
)  # fmt: skip
BAD = (
    "-l", "-pe", "-h", "-w", "-binding", "v", "pe", "-N", "-t", "-o", "-terse", "-C", "-S", "-b", "-wd", "-@", "-",
    "--", "-x", "n", "rm",
)  # fmt: skip
VALUES = {
    "cores": (1, 2, 3), "queue": (None, "main.q", "a@b"), "account": (None, "proj"), "memory": (None, 1, 2**40, "1gb"),
    "time": (None, 1, "01:00:00"),
}  # fmt: skip
#: what is spoilt: nothing, the directory, one of the values, or a word that is put between others or in place of one
SPOILS = ("", "directory", *VALUES, "between", "between", "instead", "instead")
SIZES = (2, len(GOOD), len(GOOD), len(SPOILS), 6, *map(len, VALUES.values()))


def picked(number: int, sizes: Sequence[int]) -> Iterator[int]:
    """One number is many choices: a draw for each would make ten thousand cases twice as slow."""
    for size in sizes:
        number, index = divmod(number, size)
        yield index


def as_qsub_reads(words: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Options with their values, then the script and its arguments: source/common/parse_qsub.c of daimh/sge takes the
    next word for a value without a look at it, and the first word without a hyphen for the script."""
    said, rest = [], iter(words)
    for word in rest:
        if not word.startswith("-"):
            return said, [word, *rest]
        count = 0 if word in FLAGS else 2 if word == "-pe" else 1
        said.append((word, *itertools.islice(rest, count)))
    return said, []


@pytest.mark.timeout(300)
@settings(max_examples=10_000, deadline=None)
@given(TEXTS, st.integers(0, 2 * len(BAD) - 1), st.integers(0, math.prod(SIZES) - 1))
def test_no_word_of_a_user_becomes_another_than_it_was(text: str, bad: int, number: int) -> None:
    array, first, second, spoilt, where, *values = picked(number, SIZES)
    name, count = text, 1 + 2 * array
    text = BAD[bad] if bad < len(BAD) else text
    theirs = [*GOOD[first], *GOOD[second]]
    told: dict[str, object] = {key: VALUES[key][value] for key, value in zip(VALUES, values, strict=True)}
    what = SPOILS[spoilt]
    if what in VALUES:
        told[what] = text
    elif what in ("between", "instead"):
        theirs[where : where + (what == "instead")] = [text]
    place = text if what == "directory" else ""
    try:
        intent = Intent(MARK, name, f"/d{place}", Needs.of({**told, "options": {"sge": theirs}}), count)
        words = SGE.submit(intent, f"/d{place}/run", f"/d{place}/out")
    except BadNeeds:
        return
    assert words[0] == "qsub"
    assert not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for word in words for sign in word)
    said, command = as_qsub_reads(words[1:])
    assert command == [f"/d{place}/run"]
    own = dict((option, values) for option, *values in said if option in ("-N", "-wd", "-o", "-terse", "-C", "-t"))
    assert mark_in(own["-N"][0]) == MARK
    assert re.fullmatch(r"[A-Za-z]\w{0,62}\.\w{10}", own["-N"][0], re.ASCII)
    assert own["-wd"] == [f"/d{place}"]
    assert own["-o"][0].lstrip(":") == f"/d{place}/out" + (".$TASK_ID" if count > 1 else "")
    assert (own["-terse"], own["-C"]) == ([], [""])
    assert ("-t" in own) == (count > 1)
    assert words[len(words) - 1 - len(theirs) : -1] == theirs
    tail: list[str] = []
    while len(tail) < len(theirs):
        tail = [*said.pop(), *tail]
    assert tail == theirs


# --- what qsub and others say -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "native"),
    [
        # aiidateam/aiida-core tests/schedulers/test_sge.py
        (" 1176936", "1176936"),
        # composed after get_bulk_jobid_string() in source/clients/qsub/qsub.c of daimh/sge
        ("12345.1-10:1\n", "12345"),
        # composed after MSG_JOB_NOSUITABLEQ_S in daimh/sge, as alces-software's documents show it before the id
        ("warning: no suitable queues\n58\n", "58"),
    ],
)
def test_the_id_of_a_job_is_read_from_what_qsub_printed(text: str, native: str) -> None:
    assert SGE.native_id(text) == native


# The second is bcgsc/mavis tests/integration/schedule/test_sge.py; the others are composed: nothing, two, half an id.
@pytest.mark.parametrize("text", ["", 'Your job 3891651 ("MV1") has been submitted', "12\n13\n", "12.1-", "１２"])
def test_an_answer_without_one_id_is_unclear(text: str) -> None:
    with pytest.raises(SubmitUnclear):
        SGE.native_id(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # issue TIGRLab/admin#623
        (
            "error: commlib error: got select error (No route to host)\nUnable to run job: unable to contact qmaster "
            'using port 6444 on host "srv-sge.camhres.ca".\nExiting.',
            SchedulerAway,
        ),
        # issue kaldi-asr/kaldi#3220: never connected, so nothing was sent
        (
            "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to send message to "
            'qmaster using port 6444 on host "ghost": got send error\nExiting.',
            SchedulerAway,
        ),
        # composed after MSG_GDI_CANT_SEND_MSG_TO_PORT_ON_HOST_SUSS in source/libs/gdi/msg_gdilib.h of daimh/sge
        ('unable to send message to qmaster using port 6444 on host "m": got send timeout', SubmitUnclear),
        # University of Iowa, hpcdocs, "High Volume Jobs"
        (
            "error: failed receiving gdi request response for mid=1 (got syncron message receive timeout error).",
            SubmitUnclear,
        ),
        # issue gawbul/docker-sge#12: qsub ends badly, and the job is there
        (
            "Unable to run job: warning: sgeadmin's job is not allowed to run in any queue\n"
            'Your job 1 ("STDIN") has been submitted\nExiting.',
            SubmitUnclear,
        ),
        # issue PacificBiosciences/FALCON-integrate#128
        (
            'Unable to run job: Job was rejected because job requests unknown queue "default".\nExiting.',
            SubmitRefused,
        ),
        # Cluster Flow's documents, "Errors from job submission"
        (
            'Unable to run job: job rejected: the requested parallel environment "orte" does not exist.',
            SubmitRefused,
        ),
        # issue TIGRLab/admin#1270
        ('Unable to run job: denied: host "tigrsrv.camhres.ca" is no submit host.', SubmitRefused),
        # composed after MSG_SGETEXT_UNKNOWN_RESOURCE_S and MSG_SGETEXT_NO_ACCESS2PRJ4USER_SS of daimh/sge
        ('Unable to run job: unknown resource "gpu".\nExiting.', SubmitRefused),
        ('Unable to run job: job rejected: no access to project "p" for user "u".\nExiting.', SubmitRefused),
        ("", SubmitRefused),
    ],
)
def test_a_fault_says_whether_to_ask_again_to_look_for_the_job_or_to_give_up(
    text: str, kind: type[SchedulerError]
) -> None:
    check_fault(SGE, text, kind)
    assert SGE.fault(text).message.startswith("Grid Engine")
    assert not SGE.gone(text)


@pytest.mark.parametrize(
    "text",
    [
        # composed after MSG_SGETEXT_DOESNOTEXIST_SS, ..._DEL_JOB_SS, ..._DOESNOTEXISTTASK_SU and _SUS of daimh/sge
        'denied: job "99" does not exist',
        "The job 99 of user(s) me does not exist",
        'job "99" task "4" does not exist',
        'job "99" task "4" does not exist for user(s) me',
        # composed after MSG_HISTORY_JOBIDXNOTFOUND_D, ..._JOBNAMEXNOTFOUND_S and ..._JOBARRAYTASKSWXYZNOTFOUND_DDDD
        "error: job id 99 not found",
        "error: job name blast.abcdefgh23 not found",
        "error: Job-array tasks 99.4-4:1 not found",
        # composed after MSG_QSTAT_FOLLOWINGDONOTEXIST of daimh/sge
        "Following jobs do not exist: \n99",
        # Univa's words for it, as many public scripts wait for them
        "Following jobs do not exist or permissions are not sufficient: \n99",
    ],
)
def test_a_job_that_is_not_there_is_gone(text: str) -> None:
    assert SGE.gone(text)


# composed after MSG_JOB_REGDELTASK_SUU, MSG_JOB_DELETEX_SSU and MSG_JOB_ALREADYDELETED_U of daimh/sge
@pytest.mark.parametrize(
    "text",
    ["me has registered the job-array task 9.4 for deletion", "me has deleted job 9", "job 9 is already in deletion"],
)
def test_a_job_that_is_about_to_end_is_not_gone_yet(text: str) -> None:
    assert not SGE.gone(text)
    assert SGE.ending(text)


def test_ids_and_commands_are_those_of_grid_engine() -> None:
    assert [SGE.element("12", 4, 10), SGE.element("12", 1, 1)] == ["12.4", "12"]
    assert SGE.cancel(["12.4", "13"]) == ["qdel", "12.4", "13"]
    assert SGE.details("12.4") == ["qstat", "-j", "12"]
    assert SGE.queue("me") == ["qstat", "-u", "me", "-s", "prs", "-xml"]
    assert SGE.history(["12", "13"]) == [["qacct", "-j", "12"], ["qacct", "-j", "13"]]
    assert SGE.search(name_of(INTENT)) == [["qacct", "-j", "blast.abcdefgh23"]]


@pytest.mark.parametrize(
    ("text", "most"),
    [
        # composed after sge_conf(5) of daimh/sge, which names the parameter, its default and the meaning of 0
        ("#global:\nexecd_spool_dir  /run/sge\nmax_aj_tasks                 500\nmax_u_jobs 0\n", 500),
        ("max_aj_tasks                 0\n", MOST_ARRAY),
        ("", USUAL_ARRAY),
    ],
)
def test_the_largest_array_is_that_of_the_configuration(text: str, most: int) -> None:
    assert SGE.largest(text) == most


# --- the queue --------------------------------------------------------------------------------------------------------

HEAD = (  # of issue sseemayer/qstat-pretty#5: SoGE 8.1.8
    "<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/"
    'schemas/qstat/qstat.xsd">\n  <queue_info>\n'
)
TAIL = "  </job_info>\n</job_info>\n"
QSTAT = (
    HEAD
    # issue sseemayer/qstat-pretty#5
    + """    <job_list state="running">
      <JB_job_number>821354</JB_job_number>
      <JAT_prio>0.56694</JAT_prio>
      <JB_name>antsBuildTemplate_deformable_0</JB_name>
      <JB_owner>anon1</JB_owner>
      <state>r</state>
      <JAT_start_time>2016-08-24T06:27:59</JAT_start_time>
      <queue_name>all.q@anonymized</queue_name>
      <slots>6</slots>
    </job_list>
"""
    # metrumresearchgroup/gogridengine jobinfo_test.go, there below <Queue-List>
    + """    <Queue-List><job_list state="running">
      <JB_job_number>1006</JB_job_number>
      <JAT_prio>0.55500</JAT_prio>
      <JB_name>task_array.sh</JB_name>
      <JB_owner>darrellb</JB_owner>
      <state>r</state>
      <JAT_start_time>2019-11-15T11:31:47</JAT_start_time>
      <slots>1</slots>
      <tasks>40</tasks>
    </job_list></Queue-List>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>1006</JB_job_number>
      <JAT_prio>0.55500</JAT_prio>
      <JB_name>task_array.sh</JB_name>
      <JB_owner>darrellb</JB_owner>
      <state>qw</state>
      <JB_submission_time>2019-11-15T11:31:34</JB_submission_time>
      <slots>1</slots>
      <tasks>41-150:1</tasks>
    </job_list>
"""
    # kisielk/gorge qstat/qstat_test.go, shortened
    + """    <job_list state="pending">
      <JB_job_number>3050948</JB_job_number>
      <JB_name>Something</JB_name>
      <state>Eqw</state>
      <queue_name></queue_name>
      <slots>1</slots>
    </job_list>
"""
    # aiidateam/aiida-core tests/schedulers/test_sge.py, shortened
    + """    <job_list state="pending">
      <JB_job_number>1212322</JB_job_number>
      <JB_name>Heusler</JB_name>
      <state>hqw</state>
      <queue_name></queue_name>
      <slots>1</slots>
    </job_list>
"""
    + TAIL
)
#: nobody has a job: composed after metrumresearchgroup/gogridengine test_data/small.xml
NOTHING = HEAD + "  </queue_info>\n  <job_info>\n" + TAIL


def test_each_job_of_the_queue_is_a_row_with_its_elements() -> None:
    running, element, pending, failed, held = SGE.queued(QSTAT)
    assert running == Row("821354", (), "antsBuildTemplate_deformable_0", Status(State.RUNS, host="anonymized"))
    assert element == Row("1006", (40,), "task_array.sh", Status(State.RUNS))
    assert pending == Row("1006", tuple(range(41, 151)), "task_array.sh", Status(State.WAITS))
    assert (held.native, held.status) == ("1212322", Status(State.WAITS, words="hqw"))
    assert failed.status.state is State.WAITS
    assert failed.status.words.startswith("Eqw: could not be started")


def test_a_queue_without_jobs_has_no_rows() -> None:
    assert SGE.queued(NOTHING) == []


def test_several_spans_of_elements_are_one_row() -> None:
    # composed after range_to_dstring() in source/libs/sgeobj/sge_range.c of daimh/sge
    assert SGE.queued(QSTAT.replace("41-150:1", "41,42,50-54:2,99"))[2].indices == (41, 42, 50, 52, 54, 99)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        # sge_status(5) of daimh/sge, by its categories
        ("qw hqw hRwq Rq", State.WAITS),
        ("Eqw Ehqw EhRqw", State.WAITS),
        ("r hr t Rr Rt s ts S tS T tT Rs Rts RS RtS RT RtT", State.RUNS),
        ("dr dt dRr dRt ds dS dT dRs dRS dRT", State.RUNS),
        ("z h R X r! 9 f", State.UNKNOWN),
    ],
)
def test_the_letters_of_a_state_say_whether_a_job_waits_or_runs(states: str, state: State) -> None:
    for letters in states.split():
        row = SGE.queued(QSTAT.replace("<state>r<", f"<state>{letters}<", 1))[0]
        assert row.status.state is state, letters
        assert row.status.words.strip() or letters == "qw" or letters == "r", letters


def test_a_name_that_is_no_xml_does_not_hide_the_other_jobs() -> None:
    # escape_string() in source/libs/sgeobj/sge_cull_xml.c of daimh/sge lets control characters through
    assert len(SGE.queued(QSTAT.replace("Heusler", "a\x01b\udc80\x00"))) == 5


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", QSTAT[:-20], QSTAT + "x", "<job_list/>", "error: commlib error", NOTHING.replace("job_info", "x"),
        QSTAT.replace("821354", ""), QSTAT.replace("41-150:1", "41-150:0"), QSTAT.replace("41-150:1", "1-99999999999"),
        QSTAT.replace("41-150:1", "1-2-3"), QSTAT.replace("<JB_job_number>1006", "<JB_job_number>1006.1-2:1"),
        QSTAT.replace("\n<job_info", '\n<!DOCTYPE job_info [<!ENTITY a "b">]>\n<job_info', 1), NOTHING + "<!-- -->",
    ],
)  # fmt: skip
def test_what_is_no_list_of_jobs_is_no_empty_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SGE.queued(text)


# --- what is remembered -----------------------------------------------------------------------------------------------

#: bcgsc/mavis tests/integration/schedule/test_sge.py, shortened, and each of the next four
PASSED = """
==============================================================
qname        transabyss.q
hostname     tac3n15.hpc.bcgsc.ca
jobname      A89009negative
jobnumber    3744253
taskid       40
qsub_time    Tue May 22 09:26:31 2018
granted_pe   openmpi
slots        8
failed       0
exit_status  0
ru_wallclock 10550s
ru_maxrss    2.608MB
cpu          76808.002s
maxvmem      14.885GB
arid         undefined
ar_sub_time  undefined
category     -U transabyss_users -q transabyss.q -l h_vmem=3.85G,mem_free=3.85G,mem_token=3.85G -pe openmpi 8
"""
ERROR = """
==============================================================
hostname     n603.numbers.bcgsc.ca
jobname      error
jobnumber    3755560
taskid       undefined
slots        1
failed       0
exit_status  1
ru_wallclock 60s
cpu          0.142s
maxvmem      1.926MB
"""
NOT_OPENED = """
==============================================================
hostname     n603.numbers.bcgsc.ca
jobname      MV_mock-A36971_batch-E6aEZJnTQAau598tcsMjAE
jobnumber    3760712
taskid       1
start_time   -/-
end_time     -/-
slots        1
failed       26  : opening input/output file
exit_status  0
ru_wallclock 0s
maxvmem      0.000B
category     -U transabyss_users -l h_rt=57600,h_vmem=16000M,mem_free=16000M,mem_token=16000M
"""
KILLED = """
==============================================================
hostname     n603.numbers.bcgsc.ca
jobname      arrtest
jobnumber    3757249
taskid       undefined
slots        1
failed       100 : assumedly after job
exit_status  137                  (Killed)
ru_wallclock 24s
cpu          0.140s
maxvmem      1.934MB
category     -U transabyss_users
"""
NO_JOB = """
Total System Usage
    WALLCLOCK         UTIME         STIME           CPU             MEMORY                 IO                IOW
================================================================================================================
   3786481073 6713770428.951 4374477378.582 11585461604.347   187237653407.317      156350319.140              0.000
"""
#: hpc-gridware/go-clusterscheduler pkg/qacct/parse_test.go, shortened: the Open Cluster Scheduler
OPEN = """==============================================================
qname                              all.q
hostname                           master
jobname                            sleep
jobnumber                          8
taskid                             97
pe_taskid                          NONE
submit_cmd_line                    qsub -b y -t 1-100:2 sleep 0
slots                              1
failed                             0
exit_status                        0
ru_wallclock                       1
cpu                                0.726
maxvmem                            21045248
==============================================================
qname                              all.q
hostname                           master
jobname                            sleep
jobnumber                          8
taskid                             99
pe_taskid                          NONE
slots                              1
failed                             0
exit_status                        0
Total System Usage
    WALLCLOCK         UTIME         STIME           CPU             MEMORY                 IO                IOW
================================================================================================================
           72        25.861        12.399        38.259              0.284              0.000              0.000"""
#: issue marbl/canu#1279, shortened: an older Grid Engine, without units
OLDER = """==============================================================
qname        amd.q               
hostname     node008.cm.cluster  
jobname      cormhap_moncler     
jobnumber    3192235             
taskid       1                   
slots        8                   
failed       0    
exit_status  1                   
ru_wallclock 0            
"""  # noqa: W291  as it was printed
#: composed after showjob() in source/clients/qacct/qacct.c and source/common/execution_states.c of daimh/sge
LIMIT = KILLED.replace("100 : assumedly after job", "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit")


def only(text: str) -> Status:
    (row,) = SGE.remembered(text)
    return row.status


def test_a_job_that_ended_by_itself_has_its_exit_code_and_what_it_used() -> None:
    used = Used(10550.0, 76808.002, round(14.885 * 2**30))
    status = Status(State.ENDED, 0, host="tac3n15.hpc.bcgsc.ca", used=used)
    assert SGE.remembered(PASSED) == [Row("3744253", (40,), "A89009negative", status)]
    assert (only(ERROR).state, only(ERROR).code, only(ERROR).signal) == (State.ENDED, 1, None)
    assert SGE.remembered(ERROR)[0].indices == ()
    assert (only(OLDER).code, only(OLDER).used) == (1, Used(0.0))


def test_a_job_that_was_killed_has_the_signal() -> None:
    status = only(KILLED)
    assert (status.state, status.code, status.signal, status.cause) == (State.ENDED, None, 9, Cause.NONE)
    assert status.words == "100 : assumedly after job"


def test_137_of_a_job_that_was_not_killed_is_its_own_exit_code() -> None:
    assert only(ERROR.replace("exit_status  1", "exit_status  137                  (Killed)")).code == 137


@pytest.mark.parametrize(
    ("category", "maxvmem", "cause"),
    [
        ("-l h_rt=3", "1.934MB", Cause.TIME),
        ("", "90GB", Cause.TIME),
        ("-u me -l h_rt=86400,h_stack=256m,h_vmem=1G", "1.001GB", Cause.MEMORY),
        ("-l h_rt=86400,h_vmem=1G", "0.999GB", Cause.TIME),
    ],
)
def test_a_limit_is_of_time_unless_more_memory_was_used_than_asked_for(
    category: str, maxvmem: str, cause: Cause
) -> None:
    text = LIMIT.replace("-U transabyss_users", category).replace("1.934MB", maxvmem)
    assert only(text).cause is cause
    assert (only(text).state, only(text).signal) == (State.ENDED, 9)


def test_what_may_be_used_is_counted_for_each_slot() -> None:
    text = LIMIT.replace("-U transabyss_users", "-l h_vmem=1G").replace("1.934MB", "1.5GB")
    assert only(text).cause is Cause.MEMORY
    assert only(text.replace("slots        1", "slots        2")).cause is Cause.TIME


@pytest.mark.parametrize(
    ("failed", "cause"),
    [
        ("44  : execd enforced h_rt limit", Cause.TIME),  # ihmeuw's tests of sge_utils, by Univa
        ("47  : execd enforced h_rss limit", Cause.MEMORY),  # a comment in a public workflow for Eddie, by Univa
    ],
)
def test_limits_of_univa_are_told_by_their_words(failed: str, cause: Cause) -> None:
    assert only(KILLED.replace("100 : assumedly after job", failed)).cause is cause


def test_univa_says_who_deleted_a_job() -> None:
    # composed after ihmeuw's tests of sge_utils, where deleted_by is NONE
    assert only(KILLED + "deleted_by   NONE\n").cause is Cause.NONE
    assert only(KILLED + "deleted_by   me@host\n").cause is Cause.CANCELLED


@pytest.mark.parametrize(
    ("failed", "state", "cause"),
    [
        # numbers and words of sge_status(5) of daimh/sge; what follows is sge_job_exit() in its qmaster/job_exit.c
        ("1   : assumedly before job", State.UNKNOWN, Cause.LAUNCH),
        ("11  : before job", State.UNKNOWN, Cause.LAUNCH),
        ("13  : in pestop", State.ENDED, Cause.NONE),
        ("15  : in epilog", State.UNKNOWN, Cause.NONE),
        ("18  : shepherd returned error", State.ENDED, Cause.NODE),
        ("19  : before writing exit_status", State.UNKNOWN, Cause.NODE),
        ("24  : migrating", State.UNKNOWN, Cause.NONE),
        ("25  : rescheduling", State.UNKNOWN, Cause.NONE),
        ("30  : application error returned", State.UNKNOWN, Cause.LAUNCH),
        ("99  : unknown", State.UNKNOWN, Cause.NONE),
        ("", State.UNKNOWN, Cause.NONE),
        ("1000", State.UNKNOWN, Cause.NONE),
    ],
)
def test_a_record_is_no_end_where_the_job_went_back_to_the_queue(failed: str, state: State, cause: Cause) -> None:
    status = only(ERROR.replace("failed       0", f"failed       {failed}"))
    assert (status.state, status.cause) == (state, cause)
    assert status.code == (1 if failed.startswith("13") else None)
    assert only(NOT_OPENED).words == "26 : opening input/output file"
    assert only(NOT_OPENED).state is State.UNKNOWN


def test_the_last_record_of_an_element_counts() -> None:
    # composed after accounting(5) of daimh/sge: a job that was started several times may have several
    again = PASSED.replace("failed       0", "failed       25  : rescheduling").replace("status  0", "status  99")
    assert only(again + PASSED).code == 0
    assert only(PASSED + again).state is State.UNKNOWN
    other = PASSED.replace("taskid       40", "taskid       41")
    assert [row.indices for row in SGE.remembered(again + other + PASSED)] == [(40,), (41,)]


def test_parts_of_a_parallel_job_are_not_the_job() -> None:
    # composed after accounting(5) of daimh/sge, field pe_taskid, in the form of the Open Cluster Scheduler
    part = OPEN.replace("NONE", "1.node2", 1).replace("exit_status                        0", "exit_status 9", 1)
    assert [row.indices for row in SGE.remembered(part)] == [(99,)]


def test_other_grid_engines_are_read_and_the_table_below_is_not() -> None:
    first, second = SGE.remembered(OPEN)
    assert (first.native, first.indices, first.status.host) == ("8", (97,), "master")
    assert first.status.used == Used(1.0, 0.726, 21045248)
    assert second.status.used == Used()
    assert SGE.remembered(NO_JOB) == []
    assert SGE.remembered("") == []


@pytest.mark.parametrize(
    "text",
    [
        "error: job id 99 not found",
        PASSED.replace("jobnumber    3744253", "jobnumber    x"),
        PASSED.replace("jobnumber    3744253\n", ""),
        PASSED.replace("taskid       40", "taskid       4-5"),
        PASSED + "\x1b[0m\n",
    ],
)
def test_what_is_no_accounting_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="accounting record"):
        SGE.remembered(text)


def test_a_record_that_breaks_off_is_no_end() -> None:
    assert only(PASSED[: PASSED.index("exit_status")]).state is State.UNKNOWN


# --- garbage ----------------------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=200))
def test_garbage_is_never_an_end(text: str) -> None:
    assert all(row.status.state is State.UNKNOWN for row in rows_of(text, SGE.queued, SGE.remembered))
    check_garbage(SGE, text)
    with contextlib.suppress(SubmitUnclear):
        assert SGE.native_id(text).isdecimal()


ANSWERS = st.sampled_from([QSTAT, PASSED + ERROR, KILLED, OPEN])
PIECES = st.one_of(st.text(max_size=5), st.sampled_from(["=" * 62 + "\n", "\n", "<", "9", " 0", "<!", "\x00"]))


@settings(max_examples=1000, deadline=None)
@given(ANSWERS, st.integers(0, 2500), st.integers(0, 40), PIECES)
def test_an_answer_with_a_torn_piece_is_rows_or_a_value_error(text: str, at: int, length: int, piece: str) -> None:
    torn = text[:at] + piece + text[at + length :]
    assert all(row.native.isdecimal() for row in rows_of(torn, SGE.queued, SGE.remembered))
