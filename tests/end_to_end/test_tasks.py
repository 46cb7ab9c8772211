"""What happens to a task: IDs of all types, results, errors, retries, time limits, deaths."""

from __future__ import annotations

import os
import re

import pytest

from coordinator import Processor
from coordinator.core import ids
from coordinator.history import group_errors
from tests.end_to_end.farm import Farm, exactly

ALL_KINDS = [
    1, True, 1.0, "1", (1,), [1], b"1", None, 0, False, 0.0, -0.0, "", b"", (), [], {}, "None", "true", "[1]", '"1"',
    2**31, 2**63 - 1, -(2**63), 2**70, 1e300, 5e-324, "unicode: \u00e4\u6f22\U0001f600", "two\nlines\n", "\r\t\0\x7f ",
    os.fsdecode(b"caf\xe9/\xff\xfe"), b"\x00\xff\n", (1, [b"x", ("y", None)]), {"a": (1, True)}, {"$tuple": [1]},
    "& < > ]]>", " spaces ", "a" * 10_000,
]  # fmt: skip


def test_ids_of_all_types_reach_the_client_and_the_files_as_what_they_are(farm: Farm) -> None:
    farm.script(
        f"""
        def server():
            yield from {ALL_KINDS!r}

        def client(server):
            for task_id in server:
                server.result((type(task_id).__name__, repr(task_id), task_id))
                yield task_id
        """
    )
    ended = farm.run()
    assert ended.status == 0, ended.said
    assert exactly(ended.done) == exactly(ALL_KINDS)
    assert sorted(ids.from_line(line) for line in ended.lines(".success")) == exactly(ALL_KINDS)
    assert exactly(task_id for task_id, _ in ended.results) == exactly(ALL_KINDS)
    for task_id, (kind, shown, value) in ended.results:
        assert (kind, shown) == (type(task_id).__name__, repr(task_id))
        assert exactly([value]) == exactly([task_id])
    assert ended.text(".error") == ""


def test_an_id_that_the_stream_has_twice_is_two_tasks(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from ["a", "b", "a"]

        def client(server):
            for task_id in server:
                yield task_id
        """
    )
    ended = farm.run()
    assert ended.status == 0, ended.said
    assert sorted(ended.lines(".success")) == ["a", "a", "b"]


def test_the_last_result_of_a_task_stands_and_a_failed_task_has_none(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(6)

        def client(server):
            for number in server:
                server.result("first")
                server.result({"square": number**2, "as": (number, b"\\x00\\xff")})
                if number == 3:
                    raise ValueError("three")
                yield number
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    expected = [(n, {"square": n**2, "as": (n, b"\x00\xff")}) for n in range(6) if n != 3]
    assert sorted(ended.results) == expected
    assert len(ended.lines(".results")) == 5


def test_a_plain_function_gives_its_results_by_return_and_has_what_setup_made(farm: Farm) -> None:
    farm.script(
        """
        def prepare(server, base: int = 1):
            note(f"setup {server.number}")
            return {"base": base}

        def square(number, setup, server, power: int = 2):
            assert server.attempt == 1 and server.lease > 0
            return None if number == 4 else setup["base"] + number**power

        def server(count: int = 8):
            yield from range(count)
        """,
        call="square, server, [], __file__, setup=prepare",
    )
    ended = farm.run("--base=100", "--power=3", "--count=6")
    assert ended.status == 0, ended.said
    assert sorted(ended.results) == [(n, 100 + n**3) for n in range(6) if n != 4]
    assert sorted(ended.done) == list(range(6))
    setups = ended.seen()
    assert len(setups) == len(set(setups)) <= 2  # once in each Processor that had a task


def test_one_bad_task_costs_one_task_and_the_set_up_runs_again(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(10)

        def client(server):
            note("set up")
            for number in server:
                if number in (3, 7):
                    raise ValueError(f"bad number {number}")
                yield number
        """
    )
    ended = farm.run(local=1)
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 2, 4, 5, 6, 8, 9]
    assert ended.lines(".error") == ["3", "7"]
    assert ended.seen() == ["set up"] * 3
    assert len(list(ended.path(".logs").glob("JOB_[0-9]*.log"))) == 1  # the Processor stayed


def test_errors_come_with_tracebacks_and_are_grouped_by_what_failed(farm: Farm) -> None:
    farm.script(
        """
        def inner(number):
            if number % 3 == 0:
                raise ValueError(f"number {number} is a multiple")
            if number == 7:
                {}["seven"]

        def server():
            yield from range(12)

        def client(server):
            for number in server:
                inner(number)
                yield number
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    failures = {failure.id: failure for failure in ended.failures}
    assert sorted(failures) == [0, 3, 6, 7, 9]
    for failure in failures.values():
        assert "Traceback (most recent call last)" in failure.traceback
        assert "in inner" in failure.traceback
        assert failure.where.startswith("script.py:")
        assert failure.final
        assert failure.attempt == 1
        assert failure.pid > 0
    assert failures[7].kind == "KeyError"
    groups = {group.kind: group for group in group_errors(ended.failures)}
    assert {kind: group.count for kind, group in groups.items()} == {"ValueError": 4, "KeyError": 1}
    # The terminal names the kinds and failing tasks, and what to type next.
    assert "4 x ValueError" in ended.err
    assert "1 x KeyError" in ended.err
    assert "coordinator errors JOB" in ended.err
    # The manual's place for tracebacks is the Coordinator's log.
    assert "is a multiple" in ended.text(".log")
    shown = farm.command("errors", "JOB")
    assert shown.status == 0, shown.said
    assert "4 x ValueError" in shown.out
    assert "in inner" in shown.out


def test_what_an_error_says_cannot_steer_the_terminal(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield "\\x1b]0;owned\\x07"
            raise LookupError("\\x1b[2J")

        def client(task_id):
            raise ValueError("\\x1b[31mred")
        """
    )
    ended = farm.run()
    shown = [ended.err]
    shown += [farm.command(*words, "JOB").out for words in (["errors"], ["status"], ["why"])]
    assert "ValueError: \\x1b[31mred" in ended.err
    assert "LookupError: \\x1b[2J" in ended.err
    assert not [text for text in shown if "\x1b" in text or "\x07" in text]


def test_more_results_and_errors_than_one_message_holds_are_reported_in_parts(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(4000)

        def client(number):
            if number % 500 == 499:
                return "x" * 1_000_000
            if number % 2:
                raise ValueError("a long story " * 300)
        """
    )
    ended = farm.run("--max_errors_in_a_row=1000000")
    assert ended.status == 1, ended.said
    assert len(ended.failures) == 1992
    assert len(ended.done) == 2008
    assert [(number, len(value)) for number, value in sorted(ended.results)] == [
        (number, 1_000_000) for number in range(499, 4000, 500)
    ]
    assert len(list(ended.path(".logs").glob("JOB_[0-9]*.log"))) == 2  # no Processor was lost over it
    log = ended.text(".log")
    counted = sum(map(int, re.findall(r"counted (\d+) more failures \(see `coordinator errors JOB`\)", log)))
    assert (log.count("task failed id=") + counted, counted > 0) == (1992, True)


def test_a_processor_leaves_after_errors_in_a_row_and_the_job_stops_after_three_of_them(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(100)

        def client(server):
            for number in server:
                raise OSError("no database here")
                yield number
        """
    )
    ended = farm.run("--max_errors_in_a_row=2", local=1)
    assert ended.status == 1, ended.said
    assert ended.done == []
    assert sorted(failure.id for failure in ended.failures) == list(range(6))  # two each of three Processors
    assert "3 processors left one after another" in ended.err
    assert "too many errors (2 in a row)" in ended.err
    assert "OSError: no database here" in ended.err
    assert len(list(ended.path(".logs").glob("JOB_[0-9]*.log"))) == 3


def test_how_many_processors_may_leave_before_the_job_stops_is_an_option(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(100)

        def client(server):
            raise OSError("no database here")
            yield 0
        """
    )
    ended = farm.run("--max_initialization_errors=1", local=1)
    assert ended.status == 1, ended.said
    assert "the first processor left without one task done: OSError: no database here" in ended.err
    assert len(list(ended.path(".logs").glob("JOB_[0-9]*.log"))) == 1
    refused = farm.run("--max_initialization_errors=0", local=1)
    assert refused.status == 2, refused.said
    assert "--max_initialization_errors=0: 1 or more expected" in refused.err


def test_one_success_between_errors_keeps_the_job_going(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(25)

        def client(server):
            for number in server:
                if number % 5:
                    raise OSError("not this one")
                yield number
        """
    )
    ended = farm.run("--max_errors_in_a_row=4", local=1)
    assert ended.status == 1, ended.said
    assert ended.done == [0, 5, 10, 15, 20]
    assert len(ended.failures) == 20


def test_set_up_that_fails_everywhere_stops_the_job_with_its_traceback_and_fails_no_task(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(10)

        def client(server):
            raise ConnectionError("the database is away")
            for number in server:
                yield number
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert ended.failures == []
    assert "ConnectionError: the database is away" in ended.err
    assert "10 left" in ended.err


def test_a_task_over_its_time_limit_is_ended_with_all_that_it_started_and_the_others_go_on(farm: Farm) -> None:
    farm.script(
        """
        import subprocess

        def server():
            yield from range(6)

        def client(server):
            for number in server:
                if number == 2:
                    subprocess.run(["sleep", "1000"])
                yield number
        """
    )
    ended = farm.run("--time_limit=0.6")
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4, 5]
    [failure] = ended.failures
    assert (failure.id, failure.kind) == (2, "TaskTimeLimit")
    assert failure.message == "it ran longer than the time limit of one task"


def test_a_failed_task_is_tried_again_at_growing_intervals(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from ["hopeless", "second", "good"]

        def client(server):
            for task_id in server:
                note(f"{task_id} {server.attempt}")
                if task_id == "hopeless" or task_id == "second" and server.attempt < 2:
                    raise RuntimeError(f"attempt {server.attempt}")
                server.result(server.attempt)
                yield task_id
        """
    )
    ended = farm.run("--retries=2")
    assert ended.status == 1, ended.said
    assert sorted(ended.seen()) == ["good 1", "hopeless 1", "hopeless 2", "hopeless 3", "second 1", "second 2"]
    assert dict(ended.results) == {"good": 1, "second": 2}
    assert [failure.id for failure in ended.failures] == ["hopeless"]
    tries = [failure for failure in ended.attempts if failure.id == "hopeless"]
    assert [(one.attempt, one.final, one.message) for one in tries] == [
        (1, False, "attempt 1"), (2, False, "attempt 2"), (3, True, "attempt 3"),
    ]  # fmt: skip
    assert tries[1].at - tries[0].at >= 1.0
    assert tries[2].at - tries[1].at >= 2.0


def test_a_task_that_kills_its_processors_is_given_up_after_three_and_the_rest_is_done(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(20)

        def client(server):
            for number in server:
                note(f"{number} {server.attempt}")
                if number == 5:
                    os.kill(os.getpid(), 9)
                yield number
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert ended.done == [n for n in range(20) if n != 5]
    [failure] = ended.failures
    assert (failure.id, failure.kind, failure.attempt) == (5, "ProcessorDied", 3)
    assert "SIGKILL" in failure.message
    assert [line for line in ended.seen() if line.startswith("5 ")] == ["5 1", "5 2", "5 3"]


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(3)"])
def test_a_task_that_ends_its_process_costs_that_task(farm: Farm, how: str) -> None:
    farm.script(
        f"""
        import sys

        def server():
            yield from range(5)

        def client(server):
            for number in server:
                if number == 2:
                    {how}
                yield number
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4]
    [failure] = ended.failures
    assert failure.kind == ("SystemExit" if "sys" in how else "ProcessorDied")
    assert "3" in failure.message


def test_a_script_whose_imports_leave_threads_behind_works(farm: Farm) -> None:
    farm.script(
        """
        import threading

        threading.Thread(target=threading.Event().wait, daemon=True).start()

        def server():
            note(f"the generator has {threading.active_count()} threads")
            yield from range(10)

        def client(number):
            return number
        """
    )
    ended = farm.run()
    assert ended.status == 0, ended.said
    assert sorted(ended.results) == [(n, n) for n in range(10)]
    assert ended.seen() == ["the generator has 3 threads"], "the thread of the imports lives there too"


def test_a_script_can_go_on_with_what_came_of_its_job(farm: Farm) -> None:
    path = farm.script(
        "def server():\n    yield from range(3)\n\ndef client(number):\n    assert number != 1\n    return number\n"
    )
    lines = "outcome = coordinator.start_client_or_server(client, server, [], __file__, exit=False)"
    lines += "\n    print(bool(outcome), outcome.name, outcome.exit_status, outcome.done, outcome.failed, outcome.left)"
    lines += "\n    print(sorted(coordinator.results(outcome.name)))"
    path.write_text(path.read_text().replace("coordinator.start_client_or_server(client, server, [], __file__)", lines))
    ended = farm.run()
    assert ended.status == 0, ended.said
    assert ended.out == "True JOB 1 2 1 0\n[(0, 0), (2, 2)]\n"


def test_a_slow_generator_delays_nothing_that_it_has_given(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(3)
            wait_for("worked 2")  # does not come unless these three are served now
            yield 3
            wait_for("worked 3")
            yield from range(4, 10)

        def client(server):
            for number in server:
                touch(f"worked {number}")
                yield number
        """
    )
    ended = farm.run(local=1)
    assert ended.status == 0, ended.said
    assert ended.done == list(range(10))


def test_a_long_task_does_not_keep_others_from_those_behind_it(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(2000)

        def client(server):
            for number in server:
                if number == 1000:
                    wait_for("the last")
                if len(os.listdir(HERE + "/others")) == 1998:
                    touch("the last")
                touch(f"others/{number}")
                yield number
        """
    )
    (farm.directory / "others").mkdir()
    ended = farm.run()
    assert ended.status == 0, ended.said
    assert len(ended.done) == 2000


def test_what_users_functions_print_is_in_the_logs(farm: Farm) -> None:
    farm.script(
        """
        import subprocess

        def server():
            print("the generator speaks")
            yield 1

        def client(server):
            for number in server:
                print("the client speaks")
                subprocess.run(["sh", "-c", "echo its child speaks; echo its child complains >&2"])
                yield number
        """
    )
    ended = farm.run(local=1)
    assert ended.status == 0, ended.said
    assert "the generator speaks" in ended.text(".log")
    [log] = ended.path(".logs").glob("JOB_[0-9]*.log")
    for words in ("the client speaks", "its child speaks", "its child complains"):
        assert words in log.read_text()
        assert words not in ended.out + ended.err
    for path in (ended.path(".log"), log):
        assert path.stat().st_mode & 0o777 == 0o600


_BUSY = """
    def server():
        yield from range(6)

    def client(server):
        for number in server:
            if number == 0:
                touch("busy")
                wait_for("go")
            server.result("farm")
            yield number
"""


def test_a_generator_can_be_tried_by_hand_on_a_running_job(farm: Farm) -> None:
    farm.script(_BUSY)

    def by_hand(server, **options):  # type: ignore[no-untyped-def]
        for number in server:
            server.result(["by hand", options])
            yield number

    def failing(server):  # type: ignore[no-untyped-def]
        for number in server:
            raise ValueError(f"by hand {number}")
            yield number

    with farm.start(local=1) as job:
        job.until((farm.directory / "busy").exists, "began its first task")
        assert Processor(job.url()).run_interactive(by_hand, n=2, colour="red") == 2
        with pytest.raises(ValueError, match="by hand") as raised:
            Processor(job.url()).run_interactive(failing)
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 1, ended.said
    found = dict(ended.results)
    assert [value for value in found.values() if value != "farm"] == [["by hand", {"colour": "red"}]] * 2
    [failure] = ended.failures
    assert failure.message == f"by hand {failure.id}" == str(raised.value)


def test_a_processor_started_by_hand_takes_its_share(farm: Farm) -> None:
    farm.script(_BUSY)
    with farm.start(local=1) as job:
        job.until((farm.directory / "busy").exists, "began its first task")
        (farm.directory / "hand").mkdir()
        told = farm.directory / "hand" / "script.py"
        told.write_text((farm.directory / "script.py").read_text().replace('"farm"', '"hand"'))
        with Farm(farm.directory / "hand").start(f"--url={job.url()}", job="", local=None) as hand:
            job.until(lambda: job.job()["done"] == 5, "had five tasks done")
            farm.touch("go")
            ended = job.wait()
            assert hand.wait().status == 0
    assert ended.status == 0, ended.said
    assert sorted(ended.results) == [(0, "farm")] + [(n, "hand") for n in range(1, 6)]


def test_a_job_that_stops_does_not_wait_for_a_processor_that_was_killed_and_has_no_keeper(farm: Farm) -> None:
    farm.script(_BUSY)
    with farm.start("--lease=1", local=1) as job:
        job.until((farm.directory / "busy").exists, "began its first task")
        (farm.directory / "hand").mkdir()
        by_hand = (
            (farm.directory / "script.py").read_text().replace('server.result("farm")', 'touch("held"); wait_for("x")')
        )
        (farm.directory / "hand" / "script.py").write_text(by_hand)
        with Farm(farm.directory / "hand").start(f"--url={job.url()}", job="", local=None) as hand:
            job.until((farm.directory / "held").exists, "gave it a task")
            hand.process.kill()
        job.interrupt()
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 130, ended.said
    assert "lease lapsed" in ended.text(".log")
