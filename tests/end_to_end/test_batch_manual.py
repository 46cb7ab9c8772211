"""The manual of batches, from its first line to its last, on this machine: a tour.

Read it from top to bottom: each part is a section of the manual, in its order and with its arguments. Jobs are real
processes; what they did is read from files that they append to.
"""

from __future__ import annotations

import inspect
import json
import os
import pickle
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator import batch as psu
from coordinator.errors import (
    BadFilter,
    BadInput,
    BadOption,
    BadTemplate,
    DuplicateJob,
    NoSuchJob,
    StaleChange,
    StateError,
)
from tests.end_to_end.batches import HANG_S, NEW_JOB, WAIT, Batches, batches, states

__all__ = ["batches"]

# --- typical workflow -----------------------------------------------------------------------------------


def test_a_new_job_has_the_fields_of_the_manual(batches: Batches) -> None:
    psu.config.DefQueue = NEW_JOB["queue"]
    assert psu.get_job_template() == NEW_JOB
    assert list(psu.get_job_template()) == list(NEW_JOB)  # it is printed in that order, too


def test_a_job_goes_from_init_over_run_to_complete_and_collected(batches: Batches) -> None:
    # "(4) the user-defined function asks for the job metadata. (5) while doing so, the job state is updated to 'run'"
    script = batches.program(
        """
        import os, time
        info = psu.get_job_info(SetID=True)
        os.mkfifo("asked")
        with open("asked", "w") as asked:
            print(info["state"], file=asked)
        while not os.path.exists("go"):
            time.sleep(0.05)
        psu.set_complete()
        """
    )
    batch = batches.add(script)
    assert states(batch) == ["init"]  # (1)
    assert psu.submit_jobs() == 1
    assert states(batch) in (["submit"], ["run"])  # (2) and soon (3)
    batches.until(lambda: (batches.place / "asked").exists())
    assert (batches.place / "asked").read_text() == "run\n"
    assert states(batch) == ["run"]  # (5)
    batches.go()
    batches.reach(batch, "complete")  # (6)
    psu.set_job_field(batch, 0, {"state": "collected"}, Unless={})
    assert states(batch) == ["collected"]  # (7)


def test_in_an_empty_directory_the_defaults_work_and_what_is_made_is_beside_them(batches: Batches) -> None:
    batch = batches.run("true")
    assert states(batch) == ["complete"]
    assert sorted(os.listdir()) == ["batch", "coordinator.batch.db"]
    assert sorted(os.listdir("batch")) == [str(batch), "submissions"]


def test_a_priority_group_is_submitted_when_the_one_above_it_is_complete(batches: Batches) -> None:
    # "the next-ranked priority group will be submitted only once they have successfully completed"
    template = psu.get_job_template(SetID=True)
    jobs = [
        {**template, "JobIndex": index, "priority": priority, "script": f"echo {priority} >>ran"}
        for index, priority in enumerate([1, 3, 2, 3, 2])
    ]
    psu.add_batch_to_queue(template["BatchID"], jobs)
    assert psu.periodic_submitter(period=0.1) == 5
    assert batches.lines("ran") == ["3", "3", "2", "2", "1"]


def test_priorities_from_100_on_are_before_every_other_batch(batches: Batches) -> None:
    # "jobs with priorities that exceed 100 are globally prioritized - across all batches": the ancestor meant 100, too
    low, high, higher = (batches.add("true", priority=priority) for priority in (99, 100, 101))
    assert psu.submit_jobs() == 1
    batches.settle(low, high, higher)
    assert [states(batch) for batch in (low, high, higher)] == [["init"], ["init"], ["complete"]]
    psu.submit_jobs()
    batches.settle(low, high, higher)
    assert [states(batch) for batch in (low, high, higher)] == [["init"], ["complete"], ["complete"]]
    # A batch is raised above the others as a whole.
    other = batches.add("true")
    psu.boost_batch_priority(other)
    assert psu.get_job_info(other, 0)["priority"] == 101
    assert psu.submit_jobs() == 1
    batches.settle(low, other)
    assert [states(batch) for batch in (low, other)] == [["init"], ["complete"]]


def test_vars_are_environment_variables_of_the_job(batches: Batches) -> None:
    hard = "two words, a 'quote', a \"double\", a $HOME, a {name}\nand a line"
    script = "env -0 | tr '\\0' '\\1' >environment"
    batches.run(script, vars={"INPUT": "reads.fa", "COUNT": 7, "HARD": hard})
    found = dict(pair.partition("=")[::2] for pair in (batches.place / "environment").read_text().split("\1"))
    assert (found["INPUT"], found["COUNT"], found["HARD"]) == ("reads.fa", "7", hard)


# --- user API: job monitoring ---------------------------------------------------------------------------


def shown(capsys: pytest.CaptureFixture[str], **choice: Any) -> str:
    """What get_queue prints."""
    capsys.readouterr()
    assert psu.get_queue(**choice) is None
    return capsys.readouterr().out


def test_get_queue_shows_each_batch_by_state_and_three_totals(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batches.add("true", "true", "true", f"touch up; {WAIT}", "true")
    psu.set_job_field(batch, 4, {"priority": 0})
    psu.submit_jobs()
    batches.reach(batch, "complete", "complete", "complete", "run", "init")
    assert shown(capsys) == (
        f"\n{batch}: human/genome_map\n"
        "  complete        3: 0-2\n"
        "  run             1: 3*\n"  # "denoted by an asterisk (*) when the job is recognized as currently online"
        "  init            1: 4\n"
        "\n"
        f"total jobs on {psu.config.executor_name()} queue: 1\n"
        "running/complete/total: 1/3/5\n"
    )
    # "for displaying only a compact report of currently supposed-to-be running jobs"
    assert "3*" in shown(capsys, Display={"submit", "run", "spawn"})
    assert "complete  " not in shown(capsys, Display={"submit", "run", "spawn"})
    assert psu.get_queue(Verbose=False) == {batch: {"complete": [0, 1, 2], "run": [3], "init": [4]}}
    batches.go()
    batches.settle(batch)


def test_on_a_terminal_the_dashboard_is_a_table(batches: Batches) -> None:
    batch = batches.add("true", "true")
    terminal, its_end = os.openpty()
    show = "from coordinator import batch as psu; psu.get_queue()"
    with subprocess.Popen([sys.executable, "-c", show], stdout=its_end) as process:
        os.close(its_end)
        text = b""
        try:
            while some := os.read(terminal, 65536):
                text += some
        except OSError:  # so a terminal says that nobody writes any more
            os.close(terminal)
        assert process.wait(HANG_S) == 0
    assert str(batch) in text.decode()
    assert "─" in text.decode()
    assert "running/complete/total: 0/0/2" in text.decode()


def test_get_queue_shows_the_jobs_of_a_filter(batches: Batches) -> None:
    ingolia = batches.add("true", name="Ingolia_2009", batch_type="ribo")
    batches.add("true", name=["Yang", "2015"], batch_type="ribo")
    batches.add("true", name=["Ingolia_2009", "other"], batch_type="rna")
    manual = 'name LIKE "%Ingolia_2009%" AND BatchID > 20210101000000 AND batch_type=="ribo"'
    assert psu.get_queue(Filter=manual, Verbose=False) == {ingolia: {"init": [0]}}
    assert [row["name"] for row in psu.get_sql_queue("name LIKE 'Yang/%'")] == ["Yang/2015"]
    # Nothing of it is pasted into a query: what is no condition is refused, and the place is shown.
    with pytest.raises(BadFilter, match="; DROP TABLE job"):
        psu.get_queue(Filter="state = 'init'; DROP TABLE job", Verbose=False)


def test_missing_jobs_are_reported_their_logs_printed_and_they_are_reset(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    # "a job that started running but has disappeared from queue before completing"
    asks = batches.program('psu.get_job_info(SetID=True); raise SystemExit("the disk of the world is full")')
    batch = batches.run(asks, "true", "echo before any call >&2; exit 3")
    text = shown(capsys, ReportMissing=True)
    assert "missing jobs:\n" in text
    assert f"  {batch}: 0 (exit status 1 on {os.uname().nodename})\n" in text
    assert f"  {batch}: 2 (exit status 3 on {os.uname().nodename})\n" in text
    assert "the disk of the world is full\n" in text
    assert "before any call\n" in text
    assert "2 missing jobs were set back to init\n" in shown(capsys, ResetMissing=True)
    assert states(batch) == ["init", "complete", "init"]
    assert "missing" not in shown(capsys)


def test_logs_of_every_attempt_are_kept_and_print_log_takes_several_of_everything(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batches.run(*['echo "out $TRY"; echo "first\nerr $TRY\nlast" >&2; exit 1'] * 2, vars={"TRY": "one"})
    psu.get_queue(ResetMissing=True)
    psu.set_batch_field(batch, {"vars": {"TRY": "two"}})
    psu.submit_jobs()
    batches.settle(batch)

    def printed(*arguments: Any) -> list[str]:
        capsys.readouterr()
        psu.print_log(*arguments)
        return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("---")]

    assert printed(batch, 0, "stderr") == ["first", "err two", "last"]  # the manual's example: the last recorded one
    assert printed(batch, 0) == ["out two"]
    assert printed(batch, 0, "stdout", 0) == ["out one"]  # history_idx
    assert printed(batch, 0, "stdout", -2) == ["out one"]
    assert printed(batch, 0, "stderr", -1, 1) == ["last"]  # lines to print
    assert printed(batch, 0, "stderr", -1, -1) == ["first"]
    assert printed(batch, 0, "stderr", -1, None, "^err") == ["err two"]  # regex
    assert printed([batch], range(2), ("stdout", "stderr"), [0, 1], None, "one|two") == [
        "out one", "out two", "err one", "err two",
    ] * 2  # fmt: skip
    info = psu.get_job_info(batch, 1)
    assert psu.get_log_paths(info) == {"stdout": info["stdout"], "stderr": info["stderr"]}
    assert [Path(path).read_text() for path in info["stdout"]] == ["out one\n", "out two\n"]
    with pytest.raises(BadInput, match="not to 'sdterr'"):
        psu.print_log(batch, 0, "sdterr")
    with pytest.raises(BadInput, match="no regular expression"):
        psu.print_log(batch, 0, "stderr", -1, None, "(")


def test_what_is_known_of_a_job_is_in_its_metadata(batches: Batches) -> None:
    batch = batches.run("exit 4", sample="liver")
    info = psu.get_job_info(batch, 0)
    assert (info["state"], info["sample"]) == ("failed", "liver")  # a field of the user's own
    assert info["ClusterID"] == info["submit_id"]
    assert info["ClusterID"].isdecimal()
    assert info["hostname"] == os.uname().nodename
    assert len(info["subtime"]) == 14
    # "the last qstat data recorded before the job shut down"
    record = info["qstat"]
    assert (record["state"], record["outcome"], record["exit_code"]) == ("ended", "failed", 4)
    assert record["ended"] >= record["began"]
    with pytest.raises(NoSuchJob, match=f"no job 7 in batch {batch}"):
        psu.get_job_info(batch, 7)


def test_a_job_tells_the_name_that_the_configuration_has_for_its_host(batches: Batches) -> None:
    named = batches.program(
        "psu.config.Hostname = 'node7.example.org'; psu.get_job_info(SetID=True); psu.set_complete()"
    )
    batch = batches.run(named, "exit 4")
    batches.until(lambda: bool(states()) and psu.get_job_info(batch, 0)["qstat"].get("outcome") == "ok")
    assert psu.get_job_info(batch, 0)["hostname"] == "node7.example.org"  # although the node has told its own by then
    assert psu.get_job_info(batch, 1)["hostname"] == os.uname().nodename


# --- user API: job submission ---------------------------------------------------------------------------


def test_submit_jobs_takes_the_filters_of_get_queue_and_limits(batches: Batches) -> None:
    one, two = batches.add("true", name="one"), batches.add(*["true"] * 3, name="two")
    assert psu.submit_jobs(Filter="name == 'one'") == 1
    assert psu.submit_jobs(MinPrior=2) == 0
    batches.settle(one)
    assert psu.submit_jobs(MaxJobs=2) == 2
    batches.settle(two)
    assert psu.submit_jobs(ForceSubmit=True) == 1
    batches.settle(two)
    assert (states(one), states(two)) == (["complete"], ["complete"] * 3)


def test_one_batch_and_one_job_are_submitted_by_name(batches: Batches) -> None:
    first, second = batches.add("true", "true"), batches.add("true", "true", "true")
    psu.set_job_field(second, 2, {"priority": 0})
    assert psu.submit_one_batch(first) == 2
    assert psu.submit_one_job(second, 1) == 1
    batches.settle(first, second)
    assert (states(first), states(second)) == (["complete"] * 2, ["init", "complete", "init"])
    assert psu.submit_one_job(second, 2) == 1  # whatever group it is in
    batches.settle(second)
    B = psu.get_queue(Verbose=False)
    assert psu.submit_one_batch(B, SubCount=5) == 6  # what get_queue gave is taken as B
    batches.settle(second)
    assert states(second) == ["complete"] * 3


def test_jobs_of_this_machine_submit_nothing_and_the_main_process_does(batches: Batches) -> None:
    # "you may still call the function in your code, and the submission will be ignored"
    ends = batches.program("psu.get_job_info(SetID=True); psu.set_complete(Submit=True); print(psu.submit_jobs())")
    template = psu.get_job_template(SetID=True)
    batch = template["BatchID"]
    psu.add_job_to_queue({**template, "JobIndex": 0, "priority": 2, "script": ends})
    psu.add_job_to_queue({**template, "JobIndex": 1, "script": "true"})
    psu.submit_jobs()
    batches.reach(batch, "complete", "init")
    batches.until(lambda: bool(states()) and psu.get_job_info(batch, 0)["qstat"].get("exit_code") == 0)
    said = Path(psu.get_job_info(batch, 0)["stdout"][0]).read_text()
    assert "a job of this machine submits nothing" in said
    assert said.endswith("0\n")
    assert psu.periodic_submitter(period=0.1) == 1
    batches.settle(batch)
    assert states(batch) == ["complete", "complete"]


def test_a_group_that_failed_says_so_and_stops_its_batch_or_lets_it_go_on(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    def two_groups(**choice: Any) -> int:
        template = psu.get_job_template(SetID=True)
        jobs = [
            {**template, "JobIndex": index, "priority": priority, "script": script}
            for index, (priority, script) in enumerate([(2, "exit 1"), (2, "true"), (1, "true")])
        ]
        psu.add_batch_to_queue(template["BatchID"], jobs, **choice)
        return int(template["BatchID"])

    stops, goes_on = two_groups(), two_groups(OnFailure="continue")
    psu.submit_jobs()
    batches.settle(stops, goes_on)
    capsys.readouterr()
    assert psu.submit_jobs() == 1
    reason = f"batch {stops}: priority 2 did not succeed (job 0), and the groups below it wait: reset what failed"
    assert reason in capsys.readouterr().out
    batches.settle(stops, goes_on)
    assert states(stops) == ["failed", "complete", "init"]
    assert states(goes_on) == ["failed", "complete", "complete"]
    assert f"does not go on: {reason.partition(': ')[2]}" in shown(capsys)
    # It can be told so later, too.
    psu.set_batch_field(stops, {"on_failure": "continue"})
    assert psu.submit_jobs() == 1
    batches.settle(stops)
    assert states(stops) == ["failed", "complete", "complete"]


# --- user API: resubmitting jobs ------------------------------------------------------------------------


def test_only_what_is_not_done_is_set_back_and_everything_with_unless_nothing(batches: Batches) -> None:
    batch = batches.run("exit 1", "true", "true", name="Yang_2015")
    psu.set_job_field(batch, 2, {"state": "collected"}, Unless={})
    B = psu.get_queue(Filter='name LIKE "%Yang_2015%"', Verbose=False)
    assert psu.set_batch_field(B) == 1
    assert states(batch) == ["init", "complete", "collected"]
    assert psu.set_batch_field(B, Unless={}) == 2  # "to reset the job completely (regardless of job state)"
    assert states(batch) == ["init", "init", "init"]
    psu.set_batch_field([batch], {"state": "complete"})
    assert psu.set_job_field(batch, 1, Unless={}) == 1
    assert psu.set_job_field(batch, [0, 2], Unless={"JobIndex": [2]}) == 1
    assert states(batch) == ["init", "init", "complete"]
    psu.submit_jobs()
    batches.settle(batch)
    assert states(batch) == ["failed", "complete", "complete"]


# --- user API: deleting jobs ----------------------------------------------------------------------------


def test_jobs_are_deleted_from_the_queue_with_all_that_they_started(batches: Batches) -> None:
    os.mkfifo("alive")
    tree = "sh -c 'exec 3>alive; echo up >&3; while :; do sleep 1; done' & wait"
    batch = batches.add(tree, WAIT)
    assert psu.submit_jobs() == 2
    with open("alive") as alive:
        assert alive.readline() == "up\n"
        assert psu.qdel_job(batch, 0) == 1
        assert alive.read() == ""  # nobody holds it any more
    batches.reach(batch, "cancelled", "run")
    assert psu.qdel_batch(psu.get_queue(Verbose=False)) == 1
    batches.reach(batch, "cancelled", "cancelled")
    assert psu.get_job_info(batch, 1)["qstat"]["cause"] == "cancelled"
    # What was cancelled on purpose is not missing, and can be set back.
    assert psu.get_queue(ResetMissing=True, Verbose=False) == {batch: {"cancelled": [0, 1]}}
    assert psu.set_batch_field(batch) == 2


def test_batches_are_removed_from_the_store_by_name_and_by_state(batches: Batches) -> None:
    done, mixed, waits = batches.run("true", "true"), batches.run("true", "exit 1"), batches.add("true", "true")
    assert psu.remove_batch_by_state("complete") == 2
    assert list(states()) == [mixed, waits]
    assert psu.remove_batch(mixed) == 2
    assert psu.remove_batch({waits: {}}) == 2
    assert states() == {}
    with pytest.raises(NoSuchJob, match="there is no such batch"):
        psu.remove_batch(done)
    # Logs stay until their directories are cleaned away.
    assert (batches.place / "batch" / str(done) / "logs").is_dir()
    (batches.place / "batch" / str(done) / "tmp_1").touch()
    assert psu.clean_temp_files() == 1
    assert psu.clean_temp_folders() == 2
    assert not (batches.place / "batch" / str(done)).exists()


# --- program API: job preparation -----------------------------------------------------------------------

TEMPLATE = """#!/bin/bash
# {name} {JobIndex:04d}: what is no field is left alone
A=(x "y z"); echo "${A[1]} ${HOME:+home}" | awk '{print $1}' >{out}
echo {{out}} {1..3} >>{out}
"""


def test_a_script_is_made_from_a_template(batches: Batches) -> None:
    (batches.place / "my_template_script.sh").write_text(TEMPLATE)
    JobInfo = {**psu.get_job_template(SetID=True), "JobIndex": 3, "out": "result.txt"}
    JobInfo["script"] = "my_template_script.sh"
    assert psu.generate_script(JobInfo) == JobInfo
    made = Path(JobInfo["script"])
    assert made == batches.place / "batch" / str(JobInfo["BatchID"]) / "scripts" / "my_template_script_3.sh"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert "# human/genome_map 0003: what is no field" in made.read_text()
    psu.add_job_to_queue(JobInfo)
    psu.submit_jobs()
    batches.settle(JobInfo["BatchID"])
    assert batches.lines("result.txt") == ["y", "{out} 1 2 3"]
    # A field that the job does not have is shown with its line.
    (batches.place / "wrong.sh").write_text("#!/bin/sh\n\necho {resultt}\n")
    with pytest.raises(BadTemplate, match=r"line 3: .*resultt.*did you mean 'result'"):
        psu.generate_script({**JobInfo, "result": "x"}, "wrong.sh")


def test_a_script_is_a_file_or_a_command_line(batches: Batches) -> None:
    plain, python = batches.place / "plain.sh", batches.place / "count.py"
    plain.write_text("echo plain {JobIndex} >>ran\n")  # a file is run as it is, by sh if it says nothing else
    python.write_text(f"#!{sys.executable}\nopen('ran', 'a').write('python\\n')\n")
    python.chmod(0o755)
    batch = batches.add("plain.sh", "./count.py", "echo line {JobIndex} {name} >>ran; echo ${HOME:+home} >>ran")
    for priority, index in enumerate([2, 1, 0]):
        psu.set_job_field(batch, index, {"priority": priority})
    psu.periodic_submitter(period=0.1)
    assert batches.lines("ran") == ["plain {JobIndex}", "python", "line 2 human/genome_map", "home"]


def test_data_is_json_or_a_pickle_if_asked_for(batches: Batches) -> None:
    JobInfo = {**psu.get_job_template(SetID=True), "JobIndex": 0}
    Data = {"reads": ["ACGT", "é"], "count": 2}
    psu.generate_data(JobInfo, Data)
    assert JobInfo["data"] == str(batches.place / "batch" / str(JobInfo["BatchID"]) / "data_0.json")
    assert json.loads(Path(JobInfo["data"]).read_text()) == Data
    with pytest.raises(BadInput, match="use Pickle=True"):
        psu.generate_data(JobInfo, {1, 2})
    psu.generate_data(JobInfo, {1, 2}, Pickle=True)
    assert pickle.loads(Path(JobInfo["data"]).read_bytes()) == {1, 2}
    # The job finds it by its metadata.
    JobInfo["script"] = batches.program("import shutil; shutil.copy(psu.get_job_info()['data'], 'seen')")
    psu.add_job_to_queue(JobInfo)
    psu.submit_jobs()
    batches.settle(JobInfo["BatchID"])
    assert pickle.loads((batches.place / "seen").read_bytes()) == {1, 2}


def test_jobs_are_added_one_by_one_or_many_at_a_time_and_none_twice(batches: Batches) -> None:
    template = psu.get_job_template(SetID=True)
    batch = template["BatchID"]
    assert psu.add_job_to_queue({**template, "JobIndex": 0}) == [(batch, 0)]
    with pytest.raises(DuplicateJob, match="is there already"):
        psu.add_job_to_queue({**template, "JobIndex": 0})
    blank = {name: value for name, value in template.items() if name != "BatchID"}
    (batches.place / "my_template_script.sh").write_text("echo {JobIndex}")
    JobInfoList = [dict(blank), dict(blank)]
    assert psu.add_batch_to_queue(batch, JobInfoList, set_index=True, build_script=True) == [(batch, 1), (batch, 2)]
    assert [Path(job["script"]).read_text() for job in JobInfoList] == ["echo 1", "echo 2"]
    other = psu.get_job_template(SetID=True)["BatchID"]
    added = psu.add_job_to_queue([{**template, "JobIndex": 9}, {**template, "BatchID": other, "JobIndex": 0}])
    assert added == [(batch, 9), (other, 0)]
    with pytest.raises(BadInput, match="given to batch"):
        psu.add_batch_to_queue(other, [{**template, "JobIndex": 8}])
    assert states() == {batch: {"init": [0, 1, 2, 9]}, other: {"init": [0]}}


ASK_FOR_IDS = """
import sys
from coordinator import batch as psu
sys.stdin.readline()
print(*[psu.get_job_template(SetID=True)["BatchID"] for _ in range(5)])
"""


def test_batch_ids_are_date_and_time_and_never_given_twice(batches: Batches) -> None:
    asking = [
        subprocess.Popen([sys.executable, "-c", ASK_FOR_IDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in asking:  # all of them at the same time
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    given = [int(word) for process in asking for word in process.communicate(timeout=HANG_S)[0].split()]
    assert len(set(given)) == len(given) == 30
    assert {len(str(id)) for id in given} == {14}


# --- program API: job runtime ---------------------------------------------------------------------------


def test_a_job_needs_no_arguments_for_its_runtime_calls_and_may_give_them(batches: Batches) -> None:
    short = batches.program(
        """
        import json, os
        os.chdir("/")  # it finds its store wherever it is
        info = psu.get_job_info(SetID=True)
        told = psu.get_qstat()
        info["result"] = {"found": 7}
        psu.update_job(info)
        info = psu.get_job_info()
        psu.set_complete(Submit=True)
        print(json.dumps([info["BatchID"], info["JobIndex"], info["result"], info["ClusterID"], told["id"]]))
        """
    )
    long = batches.program(
        """
        import os, sys
        batch, index = int(sys.argv[1]), int(sys.argv[2])
        info = psu.get_job_info(batch, index, SetID=True)
        info["result"] = index
        psu.update_job(info)
        psu.set_complete(batch, index)
        """,
        "long.py",
    )
    batch = batches.run(short, long + " {BatchID} {JobIndex}")
    assert states(batch) == ["complete", "complete"]
    info = psu.get_job_info(batch, 0)
    log = Path(info["stdout"][0])
    batches.until(lambda: log.read_text().endswith("]\n"))  # it is complete before it says the rest
    said = json.loads(log.read_text().splitlines()[-1])
    assert said[:3] == [batch, 0, {"found": 7}]
    assert said[3] == info["ClusterID"]
    assert re.fullmatch(r"\d+[._]1", said[3])  # Slurm's 1_1 is 1.1 here
    assert said[4] == said[3].replace("_", ".")
    assert info["result"] == {"found": 7}
    assert psu.get_job_info(batch, 1)["result"] == 1
    # Outside a job nobody can know which one is meant.
    with pytest.raises(StateError, match="this is no job of a batch"):
        psu.set_complete()
    with pytest.raises(StateError, match="this is no job of a batch"):
        psu.get_job_info(SetID=True)
    with pytest.raises(StateError, match="only a job multiplies itself"):
        psu.spawn_submit(N=2)
    assert psu.get_qstat() == {}


def test_a_job_may_call_its_state_as_it_likes(batches: Batches) -> None:
    # "additional job states may be arbitrarily defined by the user (simply by updating the metadata ...)"
    script = batches.program(
        """
        info = psu.get_job_info(SetID=True)
        info["state"] = "half-way"
        psu.update_job(info)
        """
    )
    batch = batches.run(script)
    assert states(batch) == ["half-way"]
    assert psu.get_queue(Display={"half-way"}, Verbose=False) == {batch: {"half-way": [0]}}


def test_of_two_that_update_a_job_both_are_kept_or_the_stale_one_is_refused(batches: Batches) -> None:
    batch = batches.add("true", one=1, two=2)
    mine, yours = psu.get_job_info(batch, 0), psu.get_job_info(batch, 0)
    mine["one"], yours["two"] = "mine", "yours"
    psu.update_job(mine)
    psu.update_job(yours)
    kept = psu.get_job_info(batch, 0)
    assert (kept["one"], kept["two"]) == ("mine", "yours")
    assert yours["one"] == "mine"  # who updates sees what is kept
    mine["two"] = "mine, too"
    with pytest.raises(StaleChange, match="somebody else has changed two since you read it"):
        psu.update_job(mine)
    assert psu.get_job_info(batch, 0)["two"] == "yours"


def test_a_job_and_a_shell_that_update_it_both_are_kept_or_the_stale_one_is_refused(batches: Batches) -> None:
    script = batches.program(
        """
        import os, time
        info = psu.get_job_info(SetID=True)
        open("read", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.05)
        info["one"] = "the job's"
        psu.update_job(info)
        info["two"] = "the job's"
        info["version"] -= 3  # as if it had read it long ago
        try:
            psu.update_job(info)
        except Exception as error:
            open("refused", "w").write(type(error).__name__)
        psu.set_complete()
        """
    )
    batch = batches.add(script, one=1, two=2)
    psu.submit_jobs()
    batches.until(lambda: (batches.place / "read").exists())
    shell = psu.get_job_info(batch, 0)
    shell["two"] = "the shell's"
    psu.update_job(shell)
    batches.go()
    batches.settle(batch)
    kept = psu.get_job_info(batch, 0)
    assert (kept["state"], kept["one"], kept["two"]) == ("complete", "the job's", "the shell's")
    assert batches.lines("refused") == ["StaleChange"]


# --- jobs that multiply ---------------------------------------------------------------------------------

MULTIPLIES = """
import os, sys
info = psu.get_job_info(SetID=True)
part = info.get("SpawnID", 0)
if info["state"] != "spawn":
    info = psu.spawn_submit(N=4)
    open("multiplied", "w").close()
with open("parts", "a") as file:
    file.write(f"{part}\\n")
if str(part) in sys.argv[1:] and not os.path.exists(f"died.{part}"):
    open(f"died.{part}", "w").close()
    os._exit(1)
if psu.spawn_complete()["state"] == "complete":
    with open("closers", "a") as file:
        file.write(f"{part}\\n")
"""


def test_a_job_multiplies_itself_and_exactly_one_of_all_closes_it(batches: Batches) -> None:
    batch = batches.add(batches.program(MULTIPLIES))
    assert psu.submit_jobs() == 1
    batches.until(lambda: (batches.place / "multiplied").exists())
    assert states(batch) == ["spawn"]
    submitted = psu.submit_jobs()
    # On this machine the main process submits the copies; elsewhere the job does, if nobody is ahead of it.
    assert submitted == 4 or (submitted == 0 and psu.config.executor_name() != "local")
    batches.settle(batch)
    assert states(batch) == ["complete"]
    assert sorted(batches.lines("parts")) == ["0", "1", "2", "3", "4"]
    batches.until(lambda: len(batches.lines("closers")) == 1)
    copies = psu.spawn_get_info(batch, 0)
    assert [copy["SpawnID"] for copy in copies] == [0, 1, 2, 3, 4]
    assert {copy["spawn_state"] for copy in copies} == {"complete"}
    assert len({copy["stdout"] for copy in copies}) == 5  # each has logs of its own


def test_copies_that_died_are_made_again_before_anything_is_reset(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batches.add(batches.program(MULTIPLIES) + " 2 3")
    psu.submit_jobs()
    batches.until(lambda: (batches.place / "multiplied").exists())
    psu.submit_jobs()
    batches.until(lambda: sorted(c["spawn_state"] for c in psu.spawn_get_info(batch, 0) if states()) == [
        "complete", "complete", "complete", "failed", "failed",
    ])  # fmt: skip
    # "if a job was stuck in 'spawn' state, you may try the following: (before resorting to initializing state)"
    assert states(batch) == ["spawn"]
    assert f"  {batch}: 0 (" in shown(capsys)
    assert psu.spawn_resubmit(batch, 0) == 2
    batches.settle(batch)
    assert states(batch) == ["complete"]
    assert sorted(batches.lines("parts")) == ["0", "1", "2", "3", "4", "5", "6"]
    assert len(batches.lines("closers")) == 1


# --- extending to other job schedulers ------------------------------------------------------------------


class ProcessJobExecutor(psu.JobExecutor):
    """A scheduler of twenty lines: each job is a process of the one who submits."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, JobInfo: dict[str, Any], Spawn: bool = False) -> str:
        process = subprocess.Popen([JobInfo["script"]], start_new_session=True)
        self.processes[str(process.pid)] = process
        return str(process.pid)

    def delete(self, JobInfo: dict[str, Any]) -> None:
        self.processes[JobInfo["ClusterID"]].terminate()

    def qstat(self) -> dict[str, list[str]]:
        return {id: [id, "R"] for id, process in self.processes.items() if process.poll() is None}


def test_a_users_own_executor_runs_jobs_and_is_taken_by_every_call(
    batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ProcessJobExecutor()
    ends = batches.program("psu.get_job_info(SetID=True); psu.set_complete()")
    first, second = batches.add(ends, WAIT, vars={"TRY": "x y"}), batches.add("true", "true", WAIT)
    assert psu.submit_jobs(Executor=own, Filter=f"BatchID = {first}") == 2
    batches.reach(first, "complete", "run")
    batches.until(lambda: "total jobs on ProcessJobExecutor queue: 1\n" in shown(capsys, Executor=own))
    id = psu.get_job_info(first, 1)["ClusterID"]
    assert psu.get_qstat(id, Executor=own) == {"id": id, "name": id, "state": "R"}
    assert psu.submit_one_job(second, 0, Executor=own) == 1
    assert psu.submit_one_batch(second, Executor=own) == 2
    batches.reach(second, "complete", "complete", "run")
    assert psu.qdel_job(first, 1, Executor=own) == 1
    assert psu.qdel_batch(second, Executor=own) == 1
    batches.settle(first, second)
    assert (states(first), states(second)) == (["complete", "cancelled"], ["complete", "complete", "cancelled"])
    psu.set_batch_field(second, {"state": "init", "script": "true"})
    assert psu.periodic_submitter(period=0.1, Executor=own, Filter=f"BatchID = {second}") == 1
    psu.set_complete(first, 1, Submit=True, Executor=own)
    assert states(first) == ["complete", "complete"]
    for process in own.processes.values():
        process.wait(HANG_S)


def test_every_call_that_speaks_to_a_scheduler_takes_an_executor(batches: Batches) -> None:
    calls = [
        psu.get_queue, psu.submit_jobs, psu.submit_one_batch, psu.submit_one_job, psu.periodic_submitter, psu.get_qstat,
        psu.qdel_job, psu.qdel_batch, psu.set_complete, psu.spawn_submit, psu.spawn_resubmit,
    ]  # fmt: skip
    assert all("Executor" in inspect.signature(call).parameters for call in calls)
    five = [psu.PBSJobExecutor, psu.SGEJobExecutor, psu.SlurmJobExecutor, psu.LocalJobExecutor, psu.FileJobExecutor]
    assert all(issubclass(kind, psu.JobExecutor) for kind in five)
    batch = batches.add("true", "true")
    assert psu.submit_one_job(batch, 0, Executor="local") == 1
    assert psu.submit_one_job(batch, 1, Executor=psu.LocalJobExecutor(max_workers=2)) == 1
    batches.settle(batch)
    assert states(batch) == ["complete", "complete"]
    with pytest.raises(BadOption, match="there is no executor 'slrum'; there are local, file, slurm"):
        psu.submit_jobs(Executor="slrum")


def test_jobs_that_become_a_script_run_when_somebody_runs_it(batches: Batches) -> None:
    batch = batches.add("echo $X >>ran", "echo $X >>ran", vars={"X": "by hand"})
    assert psu.submit_jobs(Executor=psu.FileJobExecutor("jobs.sh")) == 2
    assert states(batch) == ["submit", "submit"]
    subprocess.run(["./jobs.sh"], check=True, timeout=HANG_S)
    batches.settle(batch)
    assert states(batch) == ["complete", "complete"]
    assert batches.lines("ran") == ["by hand", "by hand"]
