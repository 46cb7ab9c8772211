"""The command line of a user's script: options of ours and of the user's, help, and the ways out."""

from __future__ import annotations

import re

import pytest

from coordinator.core import ids
from tests.end_to_end.farm import Farm

#: notes all that each function was given, with types
TELLING = """
    def server(msg="none", expr: str = "", count: int = 2, ratio=0.5, deep: bool = False, *, tag: str | None = None):
        '''Gives so many numbers.

        Those from 0.
        '''
        note(("server", msg, expr, count, ratio, deep, tag))
        yield from range(count)

    def client(server, msg, count: int, colour="blue"):
        '''Does nothing, with care.'''
        note(("client", msg, count, colour))
        for number in server:
            yield number
"""


def told(seen: list[str]) -> set[str]:
    return set(seen)


def test_options_are_typed_and_each_function_gets_what_it_names(farm: Farm) -> None:
    farm.script(TELLING)
    ended = farm.run("--msg=hi", "--count=3", "--ratio=2", "--deep", "--tag=x", "--colour", "red", local=1)
    assert ended.status == 0, ended.said
    assert told(ended.seen()) == {
        str(("server", "hi", "", 3, 2.0, True, "x")),
        str(("client", "hi", 3, "red")),
    }
    assert ended.done == [0, 1, 2]


HARD = [
    "hello world", "a=b", "a=b=c", "'single' \"double\" `back` $HOME \\n", "\u00e4\u6f22\U0001f600", "", " ",
    "--looks=like one", "-x", "two\nlines", "*?[a]", "%s %(x)s", "null", "1", "&<>]]>",
]  # fmt: skip


def test_values_arrive_unchanged(farm: Farm) -> None:
    names = [f"v{number}" for number in range(len(HARD))]
    parameters = ", ".join(f"{name}: str" for name in names)
    farm.script(
        f"""
        def server({parameters}):
            yield [{", ".join(names)}]

        def client(server, {parameters}):
            for task_id in server:
                server.result([{", ".join(names)}])
                yield task_id
        """
    )
    ended = farm.run(*(f"--{name}={value}" for name, value in zip(names, HARD, strict=True)))
    assert ended.status == 0, ended.said
    assert ended.results == [(HARD, HARD)]


def test_everything_else_is_taken_by_kwargs_as_text_and_a_near_miss_warns(farm: Farm) -> None:
    farm.script(
        """
        def server(**kwargs):
            yield sorted(kwargs.items())

        def client(server, colour="blue", **kwargs):
            for task_id in server:
                server.result([colour, sorted(kwargs.items())])
                yield task_id
        """
    )
    ended = farm.run("--priorityy=2", "--whatever=1", "--alone", "--colour=red", "--dashed-name=x")
    assert ended.status == 0, ended.said
    [(given, (colour, rest))] = ended.results
    others = [("alone", True), ("dashed-name", "x"), ("priorityy", "2"), ("whatever", "1")]
    assert given == sorted([*others, ("colour", "red")])
    assert (colour, rest) == ("red", others)
    assert "--priorityy" in ended.err
    assert "did you mean --priority?" in ended.err
    assert "--whatever is" not in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--colur=red"], "did you mean --colour"),
        (["--locl=2"], "--local"),
        (["--qqqqqq"], "--help lists the options"),
        (["--count=many"], "--count=many"),
        (["--count"], "--count needs a value"),
        (["--port=eighty"], "--port=eighty"),
        (["--port=70000"], "0 to 65535"),
        (["--priority=-1"], "--priority=-1"),
        (["--priority=nan"], "--priority=nan"),
        (["--immediate=perhaps"], "yes or no"),
        (["--retries=-1"], "0 or more"),
        (["--time_limit=0"], "above 0"),
        (["SECOND"], "one NAME expected"),
        (["--deep=perhaps"], "yes or no"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it_and_leaves_nothing(farm: Farm, words: list[str], said: str) -> None:
    farm.script(TELLING)
    ended = farm.run("--msg=x", *words)
    assert ended.status == 2, ended.said
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (farm.directory / "JOB.journal").exists()


def test_an_option_that_a_function_needs_and_nobody_gave_is_an_error_at_once(farm: Farm) -> None:
    farm.script(TELLING)  # the client's msg and count have no default
    ended = farm.run("--count=3")
    assert ended.status == 2, ended.said
    assert "--msg" in ended.err
    assert not (farm.directory / "JOB.journal").exists()


def test_after_two_dashes_all_options_are_the_users(farm: Farm) -> None:
    farm.script(
        """
        def server(priority: int = 0, port="", **kwargs):
            yield (priority, port, sorted(kwargs.items()))

        def client(server):
            for task_id in server:
                yield task_id
        """
    )
    ended = farm.run("--", "--priority=7", "--port=starboard", "--immediate", "--help")
    assert ended.status == 0, ended.said
    assert ended.done == [(7, "starboard", [("help", True), ("immediate", True)])]
    assert "did you mean" not in ended.err


def test_an_option_of_ours_reaches_a_function_that_names_it(farm: Farm) -> None:
    farm.script("def server(retries, priority=1):\n    yield (retries, priority)\n\ndef client(task_id):\n    pass\n")
    ended = farm.run("--retries=2", "--priority=1.5")
    assert ended.status == 0, ended.said
    assert ended.done == [(2, 1.5)]


def test_help_lists_our_options_and_the_users_with_their_docstrings(farm: Farm) -> None:
    farm.script(TELLING)
    for words in (["--help"], ["JOB", "--local=2", "-h"]):
        ended = farm.run(*words, job="", local=None)
        assert ended.status == 0, ended.said
        for expected in (
            "Gives so many numbers.", "Those from 0.", "Does nothing, with care.", "--msg", "--count", "--colour",
            "--tag", "--deep", "--local", "--port", "--priority", "--rc_url", "--errlog", "--immediate",
            "--demand_ncpu", "--ncpu_limit", "--retries", "default 2", "default 'blue'", "NAME",
        ):  # fmt: skip
            assert expected in ended.out
    assert not (farm.directory / "JOB.journal").exists()


def test_without_a_name_it_says_how_it_is_used(farm: Farm) -> None:
    farm.script(TELLING)
    ended = farm.run(job="", local=None)
    assert ended.status == 2, ended.said
    assert re.search(r"usage:.*script\.py NAME", ended.err)
    assert "NAME of the job is missing" in ended.err


def test_errlog_names_the_log(farm: Farm) -> None:
    farm.script("def server():\n    yield 1\n\ndef client(task_id):\n    pass\n")
    (farm.directory / "logs").mkdir()
    ended = farm.run(f"--errlog={farm.directory}/logs/mine.log")
    assert ended.status == 0, ended.said
    assert "coordinator started" in (farm.directory / "logs" / "mine.log").read_text()
    assert not (farm.directory / "JOB.log").exists()


def test_local_without_a_number_uses_every_core_and_no_file_outside_the_directory(farm: Farm) -> None:
    import os

    farm.script("def server():\n    yield from range(50)\n\ndef client(number):\n    return number\n")
    own = farm.directory.with_name(f"{farm.directory.name}.own") / "state"
    with farm.start("--local", local=None) as job:
        ended = job.wait()
    assert ended.status == 0, ended.said
    assert f"slots JOB {{'localhost': {os.cpu_count()}}}" in ended.text(".log")
    assert [path for path in own.rglob("*") if path.is_file()] == []
    assert {path.name.partition(".")[0] for path in farm.directory.iterdir()} <= {"JOB", "script", "__pycache__"}
    assert not ended.path(".run").exists()


# --- Ctrl-C -------------------------------------------------------------------------------------------


WAITING = """
    def server():
        yield from range(10)

    def client(server):
        for number in server:
            note(f"begin {number}")
            touch("begun")
            wait_for("go")
            yield number
"""


def test_ctrl_c_lets_running_tasks_finish_and_says_how_to_go_on(farm: Farm) -> None:
    farm.script(WAITING)
    with farm.start() as job:
        job.until(lambda: len(job.seen()) == 2, "began two tasks")
        job.interrupt()
        job.until(lambda: "press Ctrl-C again" in job.err, "answered")
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 130, ended.said
    assert "2 running tasks" in ended.err
    assert "the same command goes on where it stopped" in ended.err
    assert "Traceback" not in ended.err
    begun = sorted(ids.decode(line.split()[1]) for line in ended.seen())
    assert ended.done == begun == [0, 1]
    assert not ended.path(".run").exists()
    again = farm.run()
    assert again.status == 0, again.said
    assert again.done == list(range(10))
    assert len(again.seen()) == 10  # none of them twice


def test_a_second_ctrl_c_ends_everything_at_once_and_loses_nothing_that_was_done(farm: Farm) -> None:
    farm.script(WAITING)
    with farm.start() as job:
        job.until(lambda: len(job.seen()) == 2, "began two tasks")
        job.interrupt()
        job.until(lambda: "press Ctrl-C again" in job.err, "answered")
        job.interrupt()
        ended = job.wait()
    assert ended.status == 130, ended.said
    assert "the same command goes on" in ended.err
    assert "Traceback" not in ended.err
    assert ended.done == []
    assert {one.kind for one in ended.attempts} == {"Interrupted"}, "nobody's fault"
    farm.touch("go")
    again = farm.run()
    assert again.status == 0, again.said
    assert again.done == list(range(10))
