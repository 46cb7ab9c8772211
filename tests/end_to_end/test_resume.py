"""The same NAME goes on: what is done is not done again, what failed or is new is done, whatever the stream gives."""

from __future__ import annotations

import signal

import pytest

from tests.end_to_end.farm import Ended, Farm, exactly

#: the stream is what stream.txt says, as Python; IDs in bad.txt fail; each execution is noted
SCRIPT = """
    def server():
        yield from eval(pathlib.Path(HERE, "stream.txt").read_text())

    def client(server):
        for task_id in server:
            note(repr(task_id))
            if repr(task_id) in pathlib.Path(HERE, "bad.txt").read_text().split("|"):
                raise ValueError(f"bad {task_id!r}")
            server.result(["result", task_id])
            yield task_id
"""


def go(farm: Farm, stream: object, *bad: object, words: tuple[str, ...] = ()) -> tuple[Ended, list[str]]:
    """Run the job with this stream and these bad IDs; and what was executed, in this run only."""
    farm.script(SCRIPT)
    (farm.directory / "stream.txt").write_text(stream if isinstance(stream, str) else repr(stream))
    (farm.directory / "bad.txt").write_text("|".join(map(repr, bad)))
    (farm.directory / "seen.txt").unlink(missing_ok=True)
    ended = farm.run(*words)
    return ended, sorted(ended.seen())


def shown(*values: object) -> list[str]:
    return sorted(map(repr, values))


def test_failed_tasks_are_tried_again_and_those_done_are_not(farm: Farm) -> None:
    first, executed = go(farm, "range(20)", 3, 7, 11)
    assert first.status == 1, first.said
    assert executed == shown(*range(20))
    assert first.lines(".error") == ["3", "7", "11"] or sorted(first.lines(".error")) == ["11", "3", "7"]
    second, executed = go(farm, "range(20)", 7)
    assert second.status == 1, second.said
    assert executed == shown(3, 7, 11)
    assert second.lines(".error") == ["7"]
    assert "19 done (17 of them in earlier runs), 1 failed, 0 left" in second.err
    assert sorted(second.lines(".success"), key=int) == [str(n) for n in range(20) if n != 7]
    assert [failure.id for failure in second.attempts if failure.id == 7] == [7, 7], "the history of errors is kept"
    third, executed = go(farm, "range(20)")
    assert third.status == 0, third.said
    assert executed == shown(7)
    assert third.text(".error") == ""
    assert sorted(third.results) == [(n, ["result", n]) for n in range(20)]
    fourth, executed = go(farm, "range(20)")
    assert fourth.status == 0, fourth.said
    assert executed == []
    assert len(fourth.lines(".success")) == len(fourth.lines(".results")) == 20


def test_a_stream_that_has_grown_gives_only_what_is_new(farm: Farm) -> None:
    go(farm, "range(10)")
    ended, executed = go(farm, "range(15)")
    assert ended.status == 0, ended.said
    assert executed == shown(*range(10, 15))
    assert ended.done == list(range(15))


@pytest.mark.parametrize("case", ["reordered", "filtered", "with something new in the middle", "of another kind"])
def test_a_generator_that_gives_something_else_today(farm: Farm, case: str) -> None:
    names = [f"name {n}" for n in range(50)]
    go(farm, names)
    today: list[object] = {
        "reordered": names[::-1],
        "filtered": [name for name in names if not name.endswith("3")],
        "with something new in the middle": [*names[:20], "new", *names[20:]],
        "of another kind": [*range(5), *names],
    }[case]  # type: ignore[assignment]
    new = [one for one in today if one not in names]
    ended, executed = go(farm, today)
    assert ended.status == 0, ended.said
    assert executed == shown(*new)
    assert exactly(ended.done) == exactly([*names, *new])
    # And once more as it was at first: all is known.
    again, executed = go(farm, names)
    assert again.status == 0, again.said
    assert executed == []


def test_an_id_is_known_by_its_type_too(farm: Farm) -> None:
    go(farm, [1, "1", (1,)])
    ended, executed = go(farm, [True, 1.0, [1], b"1", (1,), "1", 1])
    assert ended.status == 0, ended.said
    assert executed == shown(True, 1.0, [1], b"1")


def test_duplicates_are_counted(farm: Farm) -> None:
    go(farm, ["a", "b", "a"])
    ended, executed = go(farm, ["a", "a", "a", "b", "b"])
    assert ended.status == 0, ended.said
    assert executed == shown("a", "b")
    assert sorted(ended.lines(".success")) == ["a", "a", "a", "b", "b"]


def test_tasks_that_the_stream_does_not_give_any_more_are_still_finished(farm: Farm) -> None:
    go(farm, ["a", "b", "c"], "b")
    ended, executed = go(farm, ["a", "c", "d"])
    assert ended.status == 0, ended.said
    assert executed == shown("b", "d"), "what the journal has is served first"


def test_processor_numbers_and_their_logs_are_never_used_twice(farm: Farm) -> None:
    go(farm, "range(4)")
    ended, _ = go(farm, "range(8)")
    numbers = {path.stem for path in ended.path(".logs").glob("JOB_[0-9]*.log")}
    assert len(numbers) == 4


def test_a_coordinator_that_was_killed_goes_on_and_redoes_nothing_that_it_acknowledged(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(400)

        def client(server):
            for number in server:
                if number == 200:
                    touch("half")
                    wait_for("go")
                note(number)
                yield number
        """
    )
    with farm.start(local=1) as job:
        job.until((farm.directory / "half").exists, "was half through")
        job.until(lambda: job.job()["done"] == 200, "had reported what came before")
        job.process.send_signal(signal.SIGKILL)
        job.process.wait()
    with farm.start(local=1) as again:
        again.until(lambda: any(one["task"] == "200" for one in again.job()["processors"]), "had its processor back")
        farm.touch("go")
        ended = again.wait()
    assert ended.status == 0, ended.said
    assert ended.done == list(range(400))
    assert sorted(int(line) for line in ended.seen()) == list(range(400)), (
        "nothing is done twice where only the Coordinator died"
    )
    assert not ended.path(".run").exists()


# --- redo ---------------------------------------------------------------------------------------------


def test_redo_of_some_ids_of_an_ended_job(farm: Farm) -> None:
    go(farm, [1, "1", "two words", (3, "x"), "bad"], "bad")
    told = farm.command("redo", "JOB", "1", "two words")
    assert told.status == 0, told.said
    assert told.out.startswith("2 tasks")
    ended, executed = go(farm, [1, "1", "two words", (3, "x"), "bad"], "bad")
    assert executed == shown(1, "two words", "bad")
    assert exactly(ended.done) == exactly([1, "1", "two words", (3, "x")])
    assert len(ended.results) == 4
    # In the form of NAME.success, for what plain text cannot tell.
    told = farm.command("redo", "JOB", '"1"', '{"$tuple":[3,"x"]}')
    assert told.status == 0, told.said
    _, executed = go(farm, [1, "1", "two words", (3, "x"), "bad"])
    assert executed == shown("1", (3, "x"), "bad")


def test_redo_of_an_id_that_the_job_does_not_have_is_an_error_and_changes_nothing(farm: Farm) -> None:
    go(farm, "range(3)")
    told = farm.command("redo", "JOB", "1", "17")
    assert told.status == 1, told.said
    assert "no task 17" in told.err
    _, executed = go(farm, "range(3)")
    assert executed == []


def test_redo_of_the_failed_and_of_all(farm: Farm) -> None:
    go(farm, "range(6)", 2, 4)
    told = farm.command("redo", "JOB", "--failed")
    assert told.out.startswith("2 tasks"), told.said
    ended, executed = go(farm, "range(6)")
    assert executed == shown(2, 4)
    told = farm.command("redo", "JOB", "--all")
    assert told.out.startswith("6 tasks"), told.said
    assert list(told.results) == []
    ended, executed = go(farm, "range(6)", 0)
    assert executed == shown(*range(6))
    assert ended.status == 1, ended.said
    assert sorted(ended.results) == [(n, ["result", n]) for n in range(1, 6)]
    assert sorted(ended.lines(".success")) == ["1", "2", "3", "4", "5"]
    assert ended.lines(".error") == ["0"]


def test_redo_while_the_job_runs_is_done_at_once(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(6)

        def client(server):
            for number in server:
                note(number)
                if number == 5:
                    wait_for("go")
                if number == 2 and not os.path.exists(HERE + "/good"):
                    raise ValueError("not yet")
                yield number
        """
    )
    with farm.start() as job:
        job.until(lambda: (told := job.job())["done"] == 4 and told["failed"] == 1, "had all but the last")
        farm.touch("good")
        told = farm.command("redo", "JOB", "1")
        assert told.out == "1 tasks of JOB are to be done again; the job does them now.\n", told.said
        job.until(lambda: job.seen().count("1") == 2, "did it again")
        told = farm.command("redo", "JOB", "--failed")
        assert told.status == 0, told.said
        job.until(lambda: job.job()["done"] == 5, "did the failed one")
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 0, ended.said
    assert ended.done == [0, 1, 2, 3, 4, 5]
    assert sorted(ended.seen()) == ["0", "1", "1", "2", "2", "3", "4", "5"]


def test_results_and_errors_are_read_from_another_directory_and_after_the_end(farm: Farm) -> None:
    ended, _ = go(farm, [1, "two\nlines", b"\xff"], 1)
    elsewhere = farm.directory / "elsewhere"
    elsewhere.mkdir()
    other = Farm(elsewhere)
    told = other.command("results", str(farm.directory / "JOB"))
    assert told.status == 0, told.said
    assert sorted(told.out.splitlines()) == sorted(ended.lines(".results"))
    told = other.command("errors", str(farm.directory / "JOB"))
    assert "1 x ValueError" in told.out, told.said
