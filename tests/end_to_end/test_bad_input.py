"""Bad input gets a clear error, and nothing is lost."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from tests.end_to_end.farm import Ended, Farm
from tests.smalldisk import SmallDisk

GOOD = """
    def server():
        yield from range(5)

    def client(server):
        for number in server:
            yield number
"""


def refused(ended: Ended, status: int = 1) -> str:
    """What a command that could not begin said: no traceback, no task, no process."""
    assert ended.status == status, ended.said
    assert "Traceback" not in ended.err + ended.out
    return ended.err


# --- the stream ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("object()", ["<object object at", "builtins.object"]),
        ("float('nan')", ["nan", "not JSON"]),
        ("(1, {2, 3})", ["(1, {2, 3})", "builtins.set"]),
        ("{1: 2}", ["{1: 2}", "keys are strings"]),
        ("'x' * 2_000_000", ["'xxx", "1048576"]),
    ],
)
def test_an_id_that_cannot_travel_is_shown_with_its_position(farm: Farm, value: str, words: list[str]) -> None:
    farm.script(
        f"""
        def server():
            yield from ["a", "b", "c"]
            yield {value}
            yield "never"

        def client(server):
            for task_id in server:
                yield task_id
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert sorted(ended.lines(".success")) == ["a", "b", "c"]
    for word in [*words, "at position 3 of the stream"]:
        assert word in ended.err
        assert word in ended.text(".log")


def test_what_a_generator_gave_before_it_raised_is_done_and_its_traceback_is_the_jobs_reason(farm: Farm) -> None:
    farm.script(
        """
        def rows():
            raise LookupError("the table has gone")

        def server():
            yield from range(7)
            rows()
            yield 8

        def client(server):
            for number in server:
                if number == 6:
                    touch("begun")
                    wait_for("go")
                yield number
        """
    )
    with farm.start() as job:
        job.until((farm.directory / "begun").exists, "began the last task")
        told = job.until(lambda: (one := job.job())["reason"] and one, "had a reason")
        farm.touch("go")
        ended = job.wait()
    assert "LookupError: the table has gone" in told["reason"]
    assert "in rows" in told["last_error"]
    assert ended.status == 1, ended.said
    assert ended.done == list(range(7))
    assert "the server generator failed after 7 IDs: LookupError: the table has gone" in ended.err
    assert "in rows\n" in ended.err  # the traceback, where the user looks
    why = farm.command("why", "JOB")
    assert "LookupError" in why.out
    # The same command begins the generator again and goes on.
    text = (farm.directory / "script.py").read_text().replace("            rows()", "")
    (farm.directory / "script.py").write_text(text.replace("    rows()\n", ""))
    again = farm.run()
    assert again.status == 0, again.said
    assert again.done == [0, 1, 2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('at once'); yield", "RuntimeError: at once"),
        ("return None", "TypeError: 'NoneType' object is not iterable"),
        ("import sys; sys.exit('enough'); yield", "SystemExit"),
    ],
)
def test_a_server_function_that_gives_no_stream_is_the_jobs_error(farm: Farm, body: str, words: str) -> None:
    farm.script(f"def server():\n    {body}\n\ndef client(server):\n    for number in server:\n        yield number\n")
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert words in ended.err
    assert "after 0 IDs" in ended.err


def test_an_empty_stream_is_a_job_that_is_done(farm: Farm) -> None:
    farm.script(
        "def server():\n    return []\n\ndef client(server):\n    for number in server:\n        yield number\n"
    )
    ended = farm.run()
    assert ended.status == 0, ended.said
    assert ended.text(".success") == ""


# --- what the client function does --------------------------------------------------------------------


def client_that(farm: Farm, *lines: str) -> Ended:
    """A job of the tasks 0 to 5, whose client does ``lines`` for each number; on one Processor."""
    body = "\n".join(f"        {line}" for line in lines)
    farm.script(f"def server():\n    yield from range(6)\n\ndef client(server):\n    for number in server:\n{body}\n")
    return farm.run(local=1)


def test_a_client_that_yields_an_id_it_was_not_given_fails_that_task(farm: Farm) -> None:
    ended = client_that(farm, "yield '2' if number == 2 else number")
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4, 5]
    [failure] = ended.failures
    assert (failure.id, failure.kind) == (2, "WrongYield")
    assert "yielded '2', but the ID it was given is 2" in failure.message


def test_pythons_equality_is_not_asked_whether_two_ids_are_the_same(farm: Farm) -> None:
    ended = client_that(farm, "yield True if number == 1 else 4.0 if number == 4 else int(str(number))")
    assert sorted(failure.id for failure in ended.failures) == [1, 4]
    assert ended.done == [0, 2, 3, 5]


def test_a_client_that_yields_none_fails_that_task(farm: Farm) -> None:
    ended = client_that(farm, "yield None if number == 2 else number")
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4, 5]
    [failure] = ended.failures
    assert (failure.id, failure.kind) == (2, "WrongYield")
    assert "yielded None" in failure.message


def test_a_client_that_forgets_to_yield_fails_that_task(farm: Farm) -> None:
    ended = client_that(farm, "if number in (2, 5):", "    continue", "yield number")
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4]
    assert [failure.kind for failure in ended.failures] == ["MissingYield"] * 2
    first, last = (failure.message for failure in ended.failures)
    assert "without yielding 2" in first
    assert "without yielding 5" in last


def test_a_client_that_yields_twice_fails_nothing_that_is_done(farm: Farm) -> None:
    ended = client_that(farm, "yield number", "if number == 2: yield number")
    assert 2 not in [failure.id for failure in ended.failures]
    assert ended.done == [0, 1, 2, 3, 4, 5]
    [log] = ended.path(".logs").glob("JOB_[0-9]*.log")
    assert "yielded 2 while it had no task" in log.read_text()


def test_what_raises_between_two_tasks_costs_none(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(6)

        def client(server):
            note("called")
            for number in server:
                yield number
                if number == 2:
                    raise OSError("while cleaning up")
            raise OSError("at the end")
        """
    )
    ended = farm.run(local=1)
    assert ended.status == 0, ended.said
    assert ended.done == [0, 1, 2, 3, 4, 5]
    assert ended.seen() == ["called", "called"]
    [log] = ended.path(".logs").glob("JOB_[0-9]*.log")
    assert "OSError: while cleaning up" in log.read_text()


def test_a_client_that_returns_early_fails_the_task_it_had_and_is_called_again(farm: Farm) -> None:
    ended = client_that(farm, "if number == 2:", "    return", "yield number")
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4, 5]
    [failure] = ended.failures
    assert (failure.id, failure.kind) == (2, "MissingYield")
    assert "returned without yielding 2" in failure.message


def test_a_client_that_never_takes_a_task_stops_the_job_with_that_reason(farm: Farm) -> None:
    farm.script("def server():\n    yield 1\n\ndef client(server):\n    return\n    yield\n")
    ended = farm.run(local=1)
    assert ended.status == 1, ended.said
    assert "returned without taking a task" in ended.err
    assert "1 left" in ended.err


def test_a_client_without_any_yield_is_refused_before_anything_runs(farm: Farm) -> None:
    farm.script("def server():\n    yield 1\n\ndef client(server):\n    for number in server:\n        print(number)\n")
    said = refused(farm.run())
    assert "has no `yield`" in said
    assert not (farm.directory / "JOB.journal").exists()


def test_a_result_that_cannot_travel_fails_its_task(farm: Farm) -> None:
    ended = client_that(farm, "server.result(object() if number == 2 else number)", "yield number")
    assert ended.status == 1, ended.said
    assert dict(ended.results) == {n: n for n in (0, 1, 3, 4, 5)}
    [failure] = ended.failures
    assert (failure.id, failure.kind) == (2, "UnservableResult")


def test_an_unknown_rule_fails_the_task_that_asks_for_it(farm: Farm) -> None:
    ended = client_that(farm, "if number == 2: server.open_resource('hg71')", "yield number")
    assert ended.status == 1, ended.said
    assert ended.done == [0, 1, 3, 4, 5]
    [failure] = ended.failures
    assert failure.kind == "NoSuchRule"
    assert "hg71" in failure.message
    assert "setrule" in failure.message


# --- the script ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [("def server(:\n", "SyntaxError"), ("import no_such_module_here\n", "No module named 'no_such_module_here'")],
)
def test_a_script_that_cannot_be_imported_is_an_error(farm: Farm, text: str, words: str) -> None:
    (farm.directory / "script.py").write_text(text)
    ended = farm.command("run", "script.py", "JOB", "--local=2")
    assert ended.status == 1, ended.said
    assert words in ended.err
    assert "script.py" in ended.err
    assert not (farm.directory / "JOB.journal").exists()


def test_a_script_that_processors_cannot_load_is_the_jobs_reason_with_its_last_words(farm: Farm) -> None:
    farm.script(
        """
        import threading

        # A thread: what has one is not forked, and its script is loaded anew for the processors.
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        if os.environ.get("COORDINATOR_ROLE", "").startswith("zygote"):
            raise ImportError("there is no licence on this host")

        def server():
            yield from range(5)

        def client(number):
            return number
        """
    )
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert "the script could not be loaded" in ended.err
    assert "ImportError: there is no licence on this host" in ended.err
    assert "5 left" in ended.err


def test_a_script_that_is_not_there_is_an_error(farm: Farm) -> None:
    said = refused(farm.command("run", "absent.py", "JOB"))
    assert "there is no script absent.py" in said


def test_coordinator_run_runs_a_script_as_python_does(farm: Farm) -> None:
    (farm.directory / "numbers_of_mine.py").write_text("NUMBERS = [1, 2, 3]\n")
    farm.script(
        """
        from numbers_of_mine import NUMBERS

        def server():
            yield from NUMBERS

        def client(number):
            return number
        """
    )
    ended = farm.command("run", "script.py", "JOB", "--local=2")
    assert ended.status == 0, ended.said
    assert dict(ended.results) == {1: 1, 2: 2, 3: 3}
    farm.script("def server():\n    yield from range(3)\n\ndef client(number):\n    assert number != 1\n")
    failing = farm.command("run", "script.py", "OTHER", "--local=2", job="OTHER")
    assert failing.status == 1, failing.said
    assert failing.lines(".error") == ["1"]


# --- names, ports, files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["some/where", "/tmp/JOB", "two\nlines", "..", ".hidden", "", " JOB", "x" * 300, "a\x07"]
)
def test_a_name_that_no_file_can_have_is_refused(farm: Farm, name: str) -> None:
    farm.script(GOOD)
    with farm.start(name, job="") as job:
        ended = job.wait()
    assert ended.status in (1, 2), ended.said
    assert "Traceback" not in ended.err
    assert "name" in ended.err
    assert os.listdir(farm.directory) == ["script.py"]


def test_a_port_in_use_is_an_error_that_names_it(farm: Farm) -> None:
    farm.script(GOOD)
    (farm.directory / "farm.hosts").write_text("localhost 1.0\n")
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        said = refused(farm.run(f"--port={port}"))
        assert str(port) in said
        assert "in use" in said
        said = refused(farm.command("--rc=farm", f"--port={port}"))
        assert str(port) in said
    assert farm.run().status == 0  # the failed start has left nothing in the way


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("node2 maxlaod=2.0", "unknown attribute 'maxlaod'"),
        ("node2 many", "maxload must be a number"),
        ("node2 -1", "maxload must be between 0"),
        ("node2 nan", "maxload must be between 0"),
        ("node1 4.0", "already on line 2"),
        ("-oProxyCommand=touch 1.0", "is not a host name"),
        ("node2 sshopts=", "sshopts has no value"),
        ("node2 maxload=1,maxload=2", "maxload is given twice"),
        ("node2\x1b[2J 2.0", "control character"),
    ],
)
def test_a_bad_line_of_the_hosts_file_is_named_on_the_terminal(farm: Farm, line: str, words: str) -> None:
    (farm.directory / "farm.hosts").write_text(f"# the nodes\nnode1 2.0\n{line}\n")
    said = refused(farm.command("--rc=farm", "--port=0"))
    assert "farm.hosts:3: " in said
    assert words in said
    assert "\x1b" not in said


def test_a_resource_controller_that_is_not_there_is_an_error_that_says_what_to_do(farm: Farm) -> None:
    farm.script(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    url = f"http://coordinator:{'0' * 64}@127.0.0.1:{port}"
    said = refused(farm.run(f"--rc_url={url}", local=None))
    assert f"no ResourceController answers at http://127.0.0.1:{port}" in said
    assert "0" * 64 not in said
    assert "--local" in said
    # Without a token in the URL the token file is looked at first, and named.
    said = refused(farm.run(f"--rc_url=http://127.0.0.1:{port}", local=None))
    assert "tokens.json" in said


def test_a_second_coordinator_of_the_same_name_in_the_directory_refuses(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(3)

        def client(server):
            for number in server:
                touch("begun")
                wait_for("go")
                yield number
        """
    )
    with farm.start() as first:
        first.until((farm.directory / "begun").exists, "began")
        second = farm.run()
        pid = first.run_file()["pid"]
        farm.touch("go")
        ended = first.wait()
    said = refused(second)
    assert f"JOB is being served already as process {pid}" in said
    assert "coordinator stop JOB" in said
    assert ended.status == 0, ended.said
    assert ended.done == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".log", ".journal", ".success", ".results", ".run", ".logs"])
def test_a_file_that_cannot_be_written_is_named(farm: Farm, suffix: str) -> None:
    farm.script(GOOD)
    obstacle = farm.directory / f"JOB{suffix}"
    if suffix in (".journal", ".logs"):
        obstacle.write_text("a file of the user's")
    else:
        obstacle.mkdir()
    ended = farm.run()
    refused(ended)
    assert f"JOB{suffix}" in ended.err
    # Once it is out of the way the same command works.
    obstacle.unlink() if obstacle.is_file() else obstacle.rmdir()
    again = farm.run()
    assert again.status == 0, again.said
    assert again.done == [0, 1, 2, 3, 4]


# --- a full disk --------------------------------------------------------------------------------------


WITH_RESULTS = """
    def server():
        yield from range(300)

    def client(server):
        for number in server:
            server.result([number] * 1000)
            yield number
"""


@pytest.fixture
def full_disk(small_disk: SmallDisk) -> Farm:
    """The farm on a disk with room for a part of its job's journal."""
    small_disk.fill(leave_bytes=400_000)
    farm = Farm(small_disk.path)
    farm.script(WITH_RESULTS)
    return farm


def test_on_a_full_disk_serving_stops_with_the_reason_and_goes_on_when_there_is_room(
    full_disk: Farm, small_disk: SmallDisk
) -> None:
    with full_disk.start() as job:
        told = job.until(lambda: (one := job.job())["state"] == "stalled" and one, "stalled")
        assert "No space left on device" in told["reason"]
        assert "JOB.journal" in told["reason"]
        assert told["done"] < 300
        status = full_disk.command("status", "JOB")
        assert "No space left on device" in status.out, status.said
        small_disk.make_room()
        ended = job.wait()
    assert ended.status == 0, ended.said
    assert ended.done == list(range(300))
    assert sorted(ended.results) == [(number, [number] * 1000) for number in range(300)]
    assert len(ended.lines(".results")) == len(ended.lines(".success")) == 300


def test_a_job_that_is_killed_on_a_full_disk_has_lost_nothing_that_it_acknowledged(
    full_disk: Farm, small_disk: SmallDisk
) -> None:
    with full_disk.start() as job:
        job.until(lambda: job.job()["state"] == "stalled", "stalled")
        job.process.send_signal(signal.SIGKILL)
        job.process.wait()
    small_disk.make_room()
    ended = full_disk.run()
    assert ended.status == 0, ended.said
    assert sorted(ended.results) == [(number, [number] * 1000) for number in range(300)]
