"""LSF's dialect: what it says to bsub, bjobs and bkill, and what it makes of their answers.

Each answer names where it comes from; those of which only the form is known say after what they are composed.
"""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.needs import GIB, MIB, Needs
from coordinator.core.statuses import Cause, Row, State, Status, Used, mark_in
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.lsf import USUAL_ARRAY, Lsf
from tests.unit.dialects import ANY, MARK, check_fault, check_garbage, ended, intent, ours_of, rows_of

LSF = Lsf()
FIELDS = "jobid jobindex stat job_name exec_host exit_code exit_reason pend_reason cpu_used run_time max_mem"
BJOBS = ["bjobs", "-a", "-json", "-o", FIELDS]

# TheRoddyWMS/BatchEuphoria, src/test/groovy/.../cluster/lsf/LSFJobManagerSpec.groovy, its two records in one list and
# with the fields that we ask for
DONE = r"""
{
  "COMMAND":"bjobs",
  "JOBS":2,
  "RECORDS":[
    {
      "JOBID":"22005",
      "JOB_NAME":"ls -l",
      "STAT":"DONE",
      "EXIT_CODE":"",
      "EXEC_HOST":"tbi-cn019:tbi-cn019",
      "CPU_USED":"00:00:01",
      "RUN_TIME":"00:00:01",
      "MAX_MEM":"5.2 Gbytes",
      "PEND_REASON":"",
      "EXEC_CWD":"\/home\/otptest"
    },
    {
      "JOBID":"22006",
      "JOB_NAME":"ls -l",
      "STAT":"EXIT",
      "EXIT_CODE":"1",
      "EXEC_HOST":"tbi-cn020",
      "CPU_USED":"00:00:01",
      "RUN_TIME":"00:10:00",
      "MAX_MEM":"522 MBytes",
      "PEND_REASON":"Job dependency condition not satisfied;"
    }
  ]
}
"""

# mskcc/ridgeback, the tests of its batch_systems.lsf_client: both records in one list behind its lines of waiting; the
# ids are added, since it asks for one job at a time
WAITING = """\
Cannot connect to LSF. Please wait ...
Cannot connect to LSF. Please wait ...
{
  "COMMAND":"bjobs",
  "JOBS":2,
  "RECORDS":[
    {
      "JOBID":"12345678",
      "USER":"nikhil",
      "EXIT_CODE":"",
      "STAT":"EXIT",
      "EXIT_REASON":"TERM_OWNER: job killed by owner",
      "PEND_REASON":""
    },
    {
      "JOBID":"12345679",
      "USER":"nikhil",
      "EXIT_CODE":"",
      "STAT":"PEND",
      "EXIT_REASON":"",
      "PEND_REASON":"New job is waiting for scheduling;"
    }
  ]
}
"""

# argonne-lcf/balsam, the comment of LsfScheduler._parse_status_output, shortened
RUNNING = """\
{
"COMMAND":"bjobs",
"JOBS":1,
"RECORDS":[
  {
    "JOBID":"806290",
    "STAT":"RUN",
    "QUEUE":"batch",
    "PROJ_NAME":"BIP152",
    "RUN_TIME":"16038 second(s)"
  }
]
}
"""

# Composed after the records above and IBM's pages of LSF 10.1: "bsub -J" (name[index]), LSB_JOBINDEX (0 if there is no
# array) and LSB_BJOBS_DISPLAY_ENH (JOBID is jobID[index])
ARRAY = json.dumps(
    {
        "COMMAND": "bjobs",
        "JOBS": 4,
        "RECORDS": [
            {"JOBID": "7", "JOBINDEX": "1", "STAT": "RUN", "JOB_NAME": f"map.{MARK}[1]", "EXEC_HOST": "16*n1:16*n2"},
            {"JOBID": "7[2]", "JOBINDEX": "2", "STAT": "PEND", "JOB_NAME": f"map.{MARK}[2]", "EXEC_HOST": "-"},
            {"JOBID": "7[3]", "JOBINDEX": "", "STAT": "PSUSP", "JOB_NAME": f"map.{MARK}[3]", "PEND_REASON": "-"},
            {"JOBID": "8", "JOBINDEX": "0", "STAT": "RUN", "JOB_NAME": f"map.{MARK}", "EXEC_HOST": "n3"},
        ],
    }
)


def record(**fields: str) -> Status:
    (row,) = LSF.queued(json.dumps({"COMMAND": "bjobs", "JOBS": 1, "RECORDS": [{"JOBID": "7", **fields}]}))
    return row.status


def test_a_job_asks_for_what_it_needs() -> None:
    needs = Needs.of(
        {"cores": 4, "memory": "1.5gb", "time": "04:59:30", "gpus": 1, "queue": "short", "account": "lab",
         "options": {"lsf": ["-app", "x y"], "pbs": ["-V"]}}
    )  # fmt: skip
    assert LSF.submit(intent(needs=needs), "/shared/b1/script", "/shared/b1/output") == [
        "bsub", "-J", f"map.{MARK}", "-o", "/shared/b1/output", "-cwd", "/shared/b1", "-n", "4", "-R", "span[hosts=1]",
        "-M", "1536MB", "-R", "rusage[mem=1536MB]", "-W", "300", "-gpu", "num=1", "-q", "short", "-P", "lab",
        "-app", "x y", "/bin/sh", "/shared/b1/script",
    ]  # fmt: skip


def test_what_is_not_said_is_left_to_the_site() -> None:
    argv = LSF.submit(intent(), "/b/script", "/b/output")
    assert not {"-M", "-W", "-gpu", "-q", "-P"} & set(argv)


def test_several_nodes_have_as_many_cores_each() -> None:
    argv = LSF.submit(intent(needs=Needs(cores=4, nodes=3)), "/b/script", "/b/output")
    assert argv[argv.index("-n") + 1] == "12"
    assert argv[argv.index("-R") + 1] == "span[ptile=4]"


def test_an_array_has_numbers_from_one_and_an_output_for_each() -> None:
    argv = LSF.submit(intent(count=40), "/b/script", "/b/output")
    assert argv[1:5] == ["-J", f"map.{MARK}[1-40]", "-o", "/b/output.%I"]
    assert LSF.element("7", 3, 40) == "7[3]"
    assert LSF.element("7", 1, 1) == "7"


@pytest.mark.parametrize("path", ["/a b/o", "/a$(id)/o", "/a'/o", "/a\n/o", "o", "", "-o", "/a%I/o", "/a;b", "/a[1]"])
def test_a_path_that_lsf_or_its_shell_would_read_otherwise_is_refused(path: str) -> None:
    for directory, script, output in (
        (path, "/b/script", "/b/output"), ("/b", path, "/b/output"), ("/b", "/b/script", path),
    ):  # fmt: skip
        with pytest.raises(BadNeeds, match="another directory"):
            LSF.submit(intent(directory=directory), script, output)


@pytest.mark.parametrize(
    "word",
    ["-J", "-Jx[1-3]", "-o", "-o/x", "-oo", "-e", "-e/x", "-eo", "-cwd", "-K", "-I", "-Is", "-Ip", "-i", "-is", "-V",
     "-Zs", "-pack", "-jsdl", "-outdir", "-h"],
)  # fmt: skip
def test_a_user_cannot_change_how_jobs_are_named_numbered_and_found(word: str) -> None:
    with pytest.raises(BadNeeds, match="not a user's to give"):
        LSF.submit(intent(needs=Needs(options={"lsf": (word,)})), "/b/script", "/b/output")


def test_what_else_users_say_reaches_bsub_as_it_is() -> None:
    words = ("-env", "all", "-Jd", "what it is", "-R", "select[mem>4 && type==any]", "-extsched", "x", "-hostfile", "f",
             "-H", "-sp", "10", "-w", "done(7)", "-N", "-app", "a", "-ep", "x")  # fmt: skip
    argv = LSF.submit(intent(needs=Needs(options={"lsf": words})), "/b/script", "/b/output")
    assert list(words) == argv[-2 - len(words) : -2]


@pytest.mark.parametrize(
    ("text", "native"),
    [
        # aiidateam/aiida-core, tests/schedulers/test_lsf.py
        ("Job <764254593> is submitted to queue <test>.", "764254593"),
        # the comments of several clients on GitHub have it with the default queue
        ("Job <29209> is submitted to default queue <batch>.\n", "29209"),
        # mskcc/ridgeback, as above, with the rest of the line from LSF
        ("Cannot connect to LSF. Please wait ...\nCannot connect to LSF. Please wait ...\n"
         "Job <12345678> is submitted to default queue <normal>.\n", "12345678"),
        # composed after the same line with the notice of a site's esub before it
        ("*** INFO *** memory hard limit 32G\nJob <4711> is submitted to queue <regress>.\n", "4711"),
    ],
)  # fmt: skip
def test_the_id_is_found_in_what_sites_make_of_the_answer(text: str, native: str) -> None:
    assert LSF.native_id(text) == native


@pytest.mark.parametrize(
    "text",
    # equinor/ert, tests of its LSF driver (test_faulty_bsub)
    ["", "Job <444> is subtted to default queue", "Job <-1> is submitted to default queue",
     "Job <fuzz> is submitted to default queue", "Job <1.4> is submitted to default queue",
     "Job <1> is submitted to a\nJob <2> is submitted to b", "Job <٣> is submitted to a"],
)  # fmt: skip
def test_an_answer_without_one_id_is_unclear(text: str) -> None:
    with pytest.raises(SubmitUnclear, match="not one job id"):
        LSF.native_id(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # IBM's page on starting LSF, and openlava (callmbd), which descends from it
        ("batch system daemon not responding ... still trying", SubmitUnclear),
        ("Daemon (LIM) not responding ... still trying", SchedulerAway),
        # openlava, the messages of lsb.err.c, as its bsub prints them: "Job not submitted" is said in every case
        ("End of file. Job not submitted.", SubmitUnclear),
        ("Batch protocol error. Job not submitted.", SubmitUnclear),
        ("XDR encode/decode error. Job not submitted.", SubmitUnclear),
        ("Contacting batch daemon: Communication timeout. Job not submitted.", SubmitUnclear),
        ("Master batch daemon internal error. Job not submitted.", SubmitUnclear),
        ("System call failed: Broken pipe. Job not submitted.", SubmitUnclear),
        ("Connection refused by server. Job not submitted.", SchedulerAway),
        ("The destination queue has reached its job limit. Job not submitted.", SchedulerAway),
        ("short: No such queue. Job not submitted.", SubmitRefused),
        ("short: User cannot use the queue. Job not submitted.", SubmitRefused),
        ("Bad resource requirement syntax. Job not submitted.", SubmitRefused),
        ("Job array index too large. Job not submitted.", SubmitRefused),
        # the log of a client that tries bkill again after it
        ("Job <54421878>: Failed in an LSF library call: Slave LIM configuration is not ready yet", SchedulerAway),
        # a page on setting LSF up
        ("Failed in an LSF library call: LIM is down; try later", SchedulerAway),
        ("LSF is down. Please wait ...", SchedulerAway),
        ("Cannot connect to LSF. Please wait ...", SchedulerAway),
        # two sites' manuals on GitHub, the second about Sanger's LSF
        ("ERROR: You are not a member of project group P. Check with 'bugroup P'\nRequest aborted by esub. Job not "
         "submitted.", SubmitRefused),
        ("Returning output by mail is not supported on this cluster.\nPlease use the -o option to write output to "
         "disk.\nRequest aborted by esub. Job not submitted.", SubmitRefused),
        # composed: an esub's own words are none of LSF's
        ("Please wait until your quota is free.\nRequest aborted by esub. Job not submitted.", SubmitRefused),
        ("", SubmitRefused),
    ],
)  # fmt: skip
def test_a_fault_is_a_refusal_an_absence_or_unclear(text: str, kind: type[SchedulerError]) -> None:
    check_fault(LSF, text, kind)


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        # equinor/ert, tests of its LSF driver (test_kill, test_faulty_bjobs); aiida-core, test_lsf.py
        ("Job <11>: Job has already finished", True),
        ("Job <22>: No matching job found", True),
        ("Job <864220165> is not found", True),
        ("No unfinished job found", True),
        ("Job <764254593> is being terminated", False),
        ("Job <7>: User permission denied", False),
        ("", False),
    ],
)
def test_who_is_gone_is_known_by_the_words(text: str, gone: bool) -> None:
    assert LSF.gone(text) is gone
    assert LSF.ending(text) is ("is being terminated" in text)


def test_the_commands_ask_for_the_fields_that_are_read() -> None:
    assert LSF.queue("me") == [*BJOBS, "-u", "me"]
    assert LSF.history(["7", "8"]) == [[*BJOBS, "7", "8"]]
    assert LSF.search("map.x") == [[*BJOBS, "-J", "map.x"]]
    assert LSF.cancel(["7", "8[3]"]) == ["bkill", "7", "8[3]"]
    assert LSF.details("8[3]") == ["bjobs", "-l", "8[3]"]
    assert LSF.version() == ["bsub", "-V"]


def test_what_has_ended_says_how() -> None:
    done, failed = LSF.remembered(DONE)
    assert done == Row(
        "22005", (), "ls -l",
        Status(State.ENDED, 0, words="DONE", host="tbi-cn019", used=Used(1.0, 1.0, round(5.2 * GIB))),
    )  # fmt: skip
    assert failed.status == Status(State.ENDED, 1, words="EXIT", host="tbi-cn020", used=Used(600.0, 1.0, 522 * MIB))


def test_words_of_who_waits_for_lsf_are_no_part_of_the_list() -> None:
    killed, waits = LSF.queued(WAITING)
    assert killed.status == Status(
        State.ENDED, None, None, Cause.CANCELLED, "TERM_OWNER: job killed by owner"
    )  # fmt: skip
    assert waits.status == Status(State.WAITS, words="New job is waiting for scheduling")


def test_who_runs_has_used_some_time() -> None:
    assert LSF.queued(RUNNING) == [Row("806290", (), "", Status(State.RUNS, used=Used(16038.0)))]


def test_the_elements_of_an_array_are_told_one_by_one() -> None:
    rows = LSF.queued(ARRAY)
    assert {row.name for row in rows} == {f"map.{MARK}"}
    assert [(row.native, row.indices, row.status) for row in rows] == [
        ("7", (1,), Status(State.RUNS, host="n1")),
        ("7", (2,), Status(State.WAITS)),
        ("7", (3,), Status(State.WAITS, words="held")),
        ("8", (), Status(State.RUNS, host="n3")),
    ]


@pytest.mark.parametrize(
    ("reason", "code", "exit_code", "signal", "cause"),
    [
        # the text: aiida-core, tests/schedulers/test_lsf.py; 140 with it: the output of a job on GitHub
        ("TERM_RUNLIMIT: job killed after reaching LSF run time limit", "140", None, 12, Cause.TIME),
        # the text: the log of a job in a pipeline's manual, which has 130 with it
        ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.", "130", None, 2, Cause.MEMORY),
        # composed after IBM's "Termination reasons displayed by bacct, bhist, and bjobs"
        ("TERM_CPULIMIT: job killed after reaching LSF CPU usage limit", "", None, None, Cause.TIME),
        ("TERM_FORCE_OWNER: job killed by owner without time for cleanup", "137", None, 9, Cause.CANCELLED),
        ("TERM_ADMIN: job killed by root or LSF administrator", "", None, None, Cause.CANCELLED),
        ("TERM_PREEMPT: job killed after preemption", "", None, None, Cause.PREEMPTED),
        ("TERM_CWD_NOTEXIST: current working directory is not accessible", "2", 2, None, Cause.LAUNCH),
        ("TERM_REMOVE_HUNG_JOB: job removed from LSF", "", None, None, Cause.NODE),
        ("TERM_ORPHAN_SYSTEM: orphan job was automatically terminated by LSF", "", None, None, Cause.DEPENDENCY),
        ("TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF", "137", None, 9, Cause.NONE),
        ("TERM_UNKNOWN: unknown reason", "1", 1, None, Cause.NONE),
        ("", "137", 137, None, Cause.NONE),
        ("-", "3", 3, None, Cause.NONE),
    ],
)
def test_a_reason_says_why_a_job_ended(
    reason: str, code: str, exit_code: int | None, signal: int | None, cause: Cause
) -> None:
    words = reason if reason.startswith("TERM") else "EXIT"
    assert record(STAT="EXIT", EXIT_REASON=reason, EXIT_CODE=code) == Status(
        State.ENDED, exit_code, signal, cause, words
    )


@pytest.mark.parametrize(
    ("states", "state"),
    [("PEND PSUSP WAIT PROV", State.WAITS), ("RUN USUSP SSUSP", State.RUNS), ("DONE EXIT", State.ENDED),
     ("UNKWN ZOMBI FORWARDED - done", State.UNKNOWN)],
)  # fmt: skip
def test_a_state_that_is_not_known_is_no_end(states: str, state: State) -> None:
    for each in states.split(" "):
        assert record(STAT=each).state is state


def test_a_job_of_which_nothing_is_told_is_unknown() -> None:
    assert record().state is State.UNKNOWN
    # composed after the text of equinor/ert above: a record in place of a job that is not there
    assert record(ERROR="Job <7> is not found") == Status(State.UNKNOWN, words="Job <7> is not found")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "No unfinished job found\n", "No job found", "Job <1> is not found\nJob <2> is not found\n",
     "Cannot connect to LSF. Please wait ...\nNo unfinished job found\n",
     '{"COMMAND":"bjobs","JOBS":0,"RECORDS":[]}'],
)  # fmt: skip
def test_no_jobs_are_no_rows(text: str) -> None:
    assert LSF.queued(text) == []


@pytest.mark.parametrize(
    "text",
    ["bjobs: illegal option", "JOBID USER STAT\n7 me DONE", "{", "{}", '{"RECORDS":{}}', '{"RECORDS":[1]}',
     '{"RECORDS":[{}]}', '{"RECORDS":[{"JOBID":"x","STAT":"DONE"}]}', '{"RECORDS":[{"JOBID":"7","STAT":"DONE"}',
     '{"a":' * 100_000, '{"RECORDS":[{"JOBID":' + "9" * 5000 + "}]}"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the JSON reader's own words are among them
        LSF.queued(text)


def test_half_a_character_can_be_written_down() -> None:
    status = record(STAT="PEND", PEND_REASON="\ud800 waits")
    assert status.words.encode() == b"? waits"


def test_the_site_says_how_large_an_array_may_be() -> None:
    # the line that a MATLAB script for LSF says it looks for
    assert LSF.largest("MAX_JOB_ARRAY_SIZE = 5000\n") == 5000
    assert LSF.largest("    MAX_JOB_ARRAY_SIZE=1") == 1
    assert LSF.largest("nothing of it") == USUAL_ARRAY
    assert LSF.largest_array() == ["bparams", "-a"]


HYPHENS = {"-J", "-o", "-cwd", "-n", "-R", "-M", "-W", "-gpu", "-q", "-P"}


@pytest.mark.timeout(300)
@settings(max_examples=10_000, deadline=None)
@given(ANY, ANY, ANY | st.integers(), ANY)
def test_nothing_that_people_write_becomes_another_word_or_line(
    name: str, place: str, amount: str | int, word: str
) -> None:
    for told in (
        {"queue": place, "account": place},
        {"memory": amount, "queue": place},
        {"time": amount},
        {"options": {"lsf": [word]}},
    ):
        try:
            argv = LSF.submit(intent(name, Needs.of(told)), "/b/script", "/b/output")
        except BadNeeds:
            continue
        ours = ours_of(argv, [word] if "options" in told else [], ["/bin/sh", "/b/script"], HYPHENS)
        assert all(ours[1::2])
        assert mark_in(ours[1]) == MARK
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*\.[a-z2-7]{10}", ours[1])


@given(st.text())
def test_a_path_is_one_word_and_no_option(path: str) -> None:
    try:
        argv = LSF.submit(intent(directory=f"/b/{path}"), f"/b/{path}/script", f"/b/{path}/output")
    except BadNeeds:
        return
    assert argv[-1] == f"/b/{path}/script"
    assert not re.search(r"[\x00-\x20\x7f$`'\"\\;&|<>()*?\[\]{}!#~%]", path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@given(st.text() | JSON.map(lambda told: json.dumps({"RECORDS": told})) | JSON.map(json.dumps))
def test_garbage_is_never_an_end(text: str) -> None:
    for garbage in (text, f"{{{text}", f'{{"RECORDS":[{text}]}}'):
        assert not ended(rows_of(garbage, LSF.queued))


@given(st.sampled_from(FIELDS.upper().split()[1:]), st.text() | JSON)
def test_any_value_of_a_field_is_read_or_refused(field: str, value: object) -> None:
    for state in ("PEND", "RUN", "EXIT", "UNKWN"):
        told = {"JOBID": "7", "STAT": state, field: value}
        (row,) = LSF.queued(json.dumps({"RECORDS": [told]}))
        assert row.native == "7"
        if field != "STAT":
            assert (row.status.state is State.ENDED) == (state == "EXIT")
        row.status.words.encode()
        row.name.encode()


@given(st.text())
def test_garbage_is_some_fault_no_id_and_a_size_of_an_array(text: str) -> None:
    check_garbage(LSF, text)
    with pytest.raises(SubmitUnclear):
        LSF.native_id(text)
