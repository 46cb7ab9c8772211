"""A farm whose Processors are jobs: of this machine here, since its jobs come and go as those of any scheduler do."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.core.statuses import Cause
from coordinator.executors.localjobs import LocalJobs
from coordinator.executors.spool import Over, Spool
from tests.end_to_end.batches import end_supervisor, own_spool
from tests.end_to_end.farm import HANG_S, LOOK_S, Farm, Running

# A port of its own: the next free one may be another job's when a killed Coordinator's successor wants it back.
SITE = ("--foreground", "--executor=local", "--host=127.0.0.1", "--port=0")
BODY = """
    def client(server, pause=0.0):
        for task_id in server:
            note(f"{task_id} {os.getpid()}")
            time.sleep(pause)
            yield task_id

    def server(n=50):
        yield from range(n)
"""


@pytest.fixture(autouse=True)
def _script(farm: Farm) -> Iterator[None]:
    farm.script(BODY)
    yield
    end_supervisor()


def start(farm: Farm, *words: str) -> Running:
    return farm.start(*SITE, *words, local=None)


def spool() -> Spool:
    return Spool(own_spool())


def pids(running: Running) -> set[int]:
    return {int(line.split()[1]) for line in running.seen()}


def all_over(number: int) -> dict[int, Over]:
    """The ends of all elements of a submission, as soon as the supervisor has seen them."""
    asked = spool().asked(number)
    assert asked is not None
    limit = time.monotonic() + HANG_S
    while len(over := spool().over(number)) < asked.count:
        assert time.monotonic() < limit
        time.sleep(LOOK_S)
    return over


def test_a_job_is_done_by_processors_that_are_jobs_and_leaves_no_token_behind(farm: Farm) -> None:
    ended = farm.run(*SITE, "--ntasks=2", "--n=200", "--pause=0.01", local=None)
    assert ended.status == 0, ended.err
    assert ended.done == list(range(200))
    assert len({line.split()[1] for line in ended.seen()}) == 2
    (submission,) = (farm.directory / "JOB.site").iterdir()
    left = sorted(path.name for path in submission.iterdir())
    assert not [name for name in left if name.startswith(("orders", "intent"))]
    assert {"script", "table", "1.exit", "2.exit"} <= set(left)
    assert spool().ids("asked") == [1]  # one array


def test_who_still_waits_when_the_job_is_done_is_taken_out_of_the_queue(farm: Farm) -> None:
    ended = farm.run(*SITE, "--ntasks=50", "--n=1", local=None)
    assert ended.status == 0, ended.err
    over = all_over(1)
    assert len(over) == 50
    assert sum(end.cause is Cause.CANCELLED for end in over.values()) >= 50 - len(os.sched_getaffinity(0))
    assert not list((farm.directory / "JOB.site").glob("*/orders*"))


def test_who_waits_in_the_queue_is_told_with_the_reason(farm: Farm) -> None:
    cores = len(os.sched_getaffinity(0))
    with start(farm, f"--ntasks={cores + 30}", "--n=1000", "--pause=0.05") as running:
        running.until(lambda: "waits for room" in farm.command("why", "JOB").out, "told")
        running.until(lambda: len(pids(running)) == cores, "worked")
        why, status = farm.command("why", "JOB").out, farm.command("status", "JOB").out
        running.interrupt()
        running.wait()
    assert f"{cores} processors on {cores} hosts work on it." in why
    assert "30 more processors submitted, and not begun yet." in why
    assert "in the queue of local, job 1: it waits for room on this machine" in why
    (row,) = [line for line in status.splitlines() if "waits for room" in line]
    assert row.split()[:5] == [f"local-{cores + 1}", "...", f"local-{cores + 30}", "30", "0"]


def test_what_its_processors_and_their_keepers_logged_lies_beside_the_job_and_is_shown(farm: Farm) -> None:
    farm.script("""
        def client(server):
            for task_id in server:
                print(f"worked on {task_id}", flush=True)
                yield task_id

        def server():
            yield from range(20)
    """)
    ended = farm.run(*SITE, "--ntasks=1", local=None)
    assert ended.status == 0, ended.err
    shown = farm.command("logs", "JOB", "--host=local-1", "--lines=0")
    assert shown.status == 0, shown.said
    assert shown.out.count("==> ") == 2  # the keeper's and the Processor's
    assert "JOB_keeper_local-1.log <==" in shown.out
    assert "worked on 19" in shown.out
    told = json.loads(farm.command("logs", "JOB", "--host=local-1", "--processor=0", "--json").out)
    (log,) = told["logs"]
    assert Path(log["log"]) == ended.path(".logs") / "JOB_0.log"
    assert "worked on 19" in log["lines"]


def test_one_that_is_taken_away_is_replaced_and_its_task_is_begun_again(farm: Farm) -> None:
    with start(farm, "--ntasks=1", "--n=40", "--pause=0.05") as running:
        running.until(lambda: len(running.seen()) > 5, "worked")
        (first,) = pids(running)
        LocalJobs(spool=spool()).cancel([("1", None, 1)])
        ended = running.wait()
    assert ended.status == 0, ended.err
    assert ended.done == list(range(40))
    assert len({line.split()[1] for line in ended.seen()}) == 2
    assert [failure.kind for failure in ended.attempts] in ([], ["Interrupted"])
    assert str(first) in {line.split()[1] for line in ended.seen()}


def test_before_its_time_is_over_a_processor_leaves_and_another_comes(farm: Farm) -> None:
    with start(farm, "--ntasks=1", "--time=8s", "--n=90", "--pause=0.1") as running:
        ended = running.wait()
    assert ended.status == 0, ended.err
    assert ended.done == list(range(90))  # more than one has the time for
    assert len({line.split()[1] for line in ended.seen()}) >= 2
    assert ended.attempts == []  # it left between two tasks
    assert "keeper retires host=local-1" in running.log()


def test_a_task_that_is_longer_than_what_is_left_is_begun_again_elsewhere(farm: Farm) -> None:
    farm.script("""
        def client(server):
            for task_id in server:
                note(f"{task_id} {os.getpid()}")
                while len(open(HERE + "/seen.txt").readlines()) < 2:
                    time.sleep(0.05)
                yield task_id

        def server():
            yield 1
    """)
    ended = farm.run(*SITE, "--ntasks=1", "--time=10s", local=None)
    assert ended.status == 0, ended.err
    assert ended.done == [1]
    (failure,) = ended.attempts
    assert failure.kind == "Interrupted"
    assert "the time of its job on the cluster was over" in failure.message


def test_a_killed_coordinator_finds_its_processors_again_and_takes_back_those_that_wait(farm: Farm) -> None:
    cores = len(os.sched_getaffinity(0))
    with start(farm, f"--ntasks={cores + 3}", "--n=200", "--pause=0.05") as running:
        running.until(lambda: len(pids(running)) == cores, "worked")
        before = pids(running)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    with start(farm, f"--ntasks={cores + 3}", "--n=200", "--pause=0.05") as running:
        ended = running.wait()
    assert ended.status == 0, ended.err
    assert ended.done == list(range(200))
    assert sorted(int(line.split()[0]) for line in ended.seen()) == list(range(200))  # nothing ran twice
    after = [int(line.split()[1]) for line in ended.seen()[-50:]]
    assert before & set(after)
    all_over(1)


def test_what_the_scheduler_refuses_is_said_where_people_look(farm: Farm) -> None:
    with start(farm, "--ntasks=1", "--cores=1000") as running:
        running.until(lambda: "it needs 1000 cores" in running.log(), "said")
        why = farm.command("why", "JOB")
        assert "it needs 1000 cores, and this machine has" in why.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--executor=qsub",), "there is no executor 'qsub'; there are local, file, slurm, sge, pbs, torque, lsf"),
        (("--executor=local", "--memory=lots"), "memory: 'lots' is no size"),
        (("--executor=local", "--ntasks=0"), "--ntasks=0: 1 or more expected"),
        (("--executor=local", "--submit_options='x"), "--submit_options='x: No closing quotation"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    farm: Farm, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ended = farm.run("--foreground", *words, local=None)
    assert ended.status in (1, 2)
    assert said in ended.err
    assert not (tmp_path / "JOB.site").exists()


def test_local_and_executor_exclude_each_other_and_a_resource_needs_its_rule(farm: Farm) -> None:
    ended = farm.run("--executor=local", local=1)
    assert "--local and --executor exclude each other" in ended.err
    farm.script(BODY, call='client, server, ["hg17"], __file__')
    ended = farm.run(*SITE, local=None)
    assert ended.status == 2
    assert "give the script's third argument as a dictionary {'hg17': (path, command)}" in ended.err


OPENING = """
    def client(server):
        for task_id in server:
            with server.open_resource("words") as words:
                server.result(words.read())
            yield task_id

    def server(n=20):
        yield from range(n)
"""


def test_a_rule_of_the_job_builds_once_on_a_node_and_anew_when_it_was_changed(farm: Farm, tmp_path: Path) -> None:
    for text, builds in (("one", 1), ("one", 1), ("two", 2)):
        rule = str(tmp_path / "local" / "words"), f"echo x >>{tmp_path}/built; echo {text} >%s"
        farm.script(OPENING, call=f'client, server, {{"words": {rule!r}}}, __file__')
        ended = farm.run(*SITE, "--ntasks=2", local=None)
        assert ended.status == 0, ended.err
        assert (tmp_path / "built").read_text() == "x\n" * builds
        assert {value for _, value in ended.results} == {f"{text}\n"}
        assert not farm.command("redo", "JOB", "--all").status


def test_who_was_taken_away_while_it_built_holds_nobody_up(farm: Farm, tmp_path: Path) -> None:
    rule = str(tmp_path / "words"), f"[ -e {tmp_path}/go ] || {{ touch {tmp_path}/begun; sleep 1000; }}; echo text >%s"
    farm.script(OPENING, call=f'client, server, {{"words": {rule!r}}}, __file__')
    with start(farm, "--ntasks=1", "--n=3") as running:
        running.until(lambda: (tmp_path / "begun").exists(), "began to build")
        (tmp_path / "go").touch()
        LocalJobs(spool=spool()).cancel([("1", None, 1)])
        ended = running.wait()
    assert ended.status == 0, ended.err
    assert [value for _, value in ended.results] == ["text\n"] * 3


def test_options_of_users_keep_their_names_where_no_scheduler_is_named(farm: Farm) -> None:
    farm.script("""
        def client(server, time=0, queue="", memory=1.0):
            for task_id in server:
                note(f"{time!r} {queue!r} {memory!r}")
                yield task_id

        def server():
            yield 1
    """)
    ended = farm.run("--time=5", "--queue=q", "--memory=2.5")
    assert ended.status == 0, ended.err
    assert ended.seen() == ["5 'q' 2.5"]
