"""Resources: files and directories that a rule builds once on each host, for all processors there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.farm import Ended, Farm

OPENING = """
    def server(count=4):
        yield from range(count)

    def client(server):
        for number in server:
            touch(f"opening {number}")
            opened = server.open_resource("words", "r")
            server.result([opened.name, opened.read()])
            opened.close()
            yield number
"""


def resource(farm: Farm, command: str, path: Path | None = None) -> str:
    """The call of start_client_or_server with one resource and its rule."""
    where = path or farm.directory / "local" / "words"
    return f"client, server, {{'words': ({str(where)!r}, {command!r})}}, __file__"


def test_one_processor_builds_a_resource_and_the_others_are_woken(farm: Farm) -> None:
    built = farm.directory / "built"
    both_open = f"[ -e '{farm.directory}/opening 0' ] && [ -e '{farm.directory}/opening 1' ]"
    command = f"echo x >> {built}; until {both_open}; do sleep 0.02; done; echo text > %s"
    farm.script(OPENING, resource(farm, command))
    ended = farm.run()
    assert ended.status == 0, ended.said
    path = farm.directory / "local" / "words"
    assert dict(ended.results) == {number: [str(path), "text\n"] for number in range(4)}
    assert built.read_text() == "x\n"
    left = {one.name for one in path.parent.iterdir()}
    assert left == {"words", "words.lock"}, "the temporary name is gone"
    # It stays built: a second job of that name and rule builds nothing.
    again = farm.run("--count=6")
    assert again.status == 0, again.said
    assert len(again.results) == 6
    assert built.read_text() == "x\n"


def test_a_rule_that_fails_is_reported_with_its_stderr_and_leaves_no_file(farm: Farm) -> None:
    built = farm.directory / "built"
    farm.script(OPENING, resource(farm, f"echo x >> {built}; echo half > %s; echo no such genome: hg71 >&2; exit 3"))
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert {failure.kind for failure in ended.failures} == {"BuildFailed"}
    for failure in ended.failures:
        assert "no such genome: hg71" in failure.message
        assert "exit status 3" in failure.message
    assert "no such genome: hg71" in ended.err
    assert built.read_text() == "x\n", "it was not run again for each task"
    assert [one.name for one in (farm.directory / "local").iterdir()] == ["words.lock"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("false | cat > %s", "exit status 1"),
        ("true # %s", "made no file"),
        ("kill -9 $$ # %s", "signal 9"),
    ],
)
def test_what_a_rule_made_counts_only_if_all_of_it_went_well(farm: Farm, command: str, words: str) -> None:
    farm.script(OPENING, resource(farm, command))
    ended = farm.run("--count=1", local=1)
    assert ended.status == 1, ended.said
    [failure] = ended.failures
    assert words in failure.message
    assert not (farm.directory / "local" / "words").exists()


def test_a_resource_may_be_a_directory_that_is_built_and_renamed_whole(farm: Farm) -> None:
    farm.script(
        """
        def server():
            yield from range(4)

        def client(server):
            for number in server:
                with server.open_resource("words") as opened:
                    server.result([opened.name, sorted(os.listdir(opened.name)), os.path.isdir(opened)])
                yield number
        """,
        resource(farm, 'mkdir %s && cd "$_" && touch part.1 part.2 part.3'),
    )
    ended = farm.run()
    assert ended.status == 0, ended.said
    path = str(farm.directory / "local" / "words")
    assert dict(ended.results) == {number: [path, ["part.1", "part.2", "part.3"], True] for number in range(4)}


def test_a_resource_whose_file_is_gone_is_built_again(farm: Farm) -> None:
    built = farm.directory / "built"
    farm.script(
        OPENING.replace(
            "opened = server", "if number == 3: os.unlink(HERE + '/local/words')\n            opened = server"
        ),
        resource(farm, f"echo x >> {built}; echo text > %s"),
    )
    ended = farm.run("--count=6", local=1)
    assert ended.status == 0, ended.said
    assert len(ended.results) == 6
    assert built.read_text() == "x\nx\n"


def test_the_path_of_a_resource_is_one_word_of_its_command(farm: Farm) -> None:
    odd = farm.directory / "a place; touch pwned" / "it's $HOME"
    farm.script(OPENING, resource(farm, "echo text > %s", odd))
    ended = farm.run("--count=1", local=1)
    assert ended.status == 0, ended.said
    assert ended.results == [(0, [str(odd), "text\n"])]
    assert not (farm.directory / "pwned").exists()


def test_a_resource_without_a_rule_is_the_jobs_error_before_the_first_task(farm: Farm) -> None:
    farm.script(OPENING, "client, server, ['words', 'grammar'], __file__")
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert "words, grammar" in ended.err
    assert "setrule" in ended.err
    assert "Traceback" not in ended.err
    assert not (farm.directory / "opening 0").exists()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("('/tmp/words', 'echo text')", "exactly once"),
        ("('words', 'echo > %s')", "must start"),
        ("('/tmp/words',)", "local path, shell command"),
        ("('/tmp/words', 7)", "local path, shell command"),
    ],
)
def test_a_bad_rule_is_the_jobs_error(farm: Farm, rule: str, words: str) -> None:
    farm.script(OPENING, f"client, server, {{'words': {rule}}}, __file__")
    ended = farm.run()
    assert ended.status == 1, ended.said
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_the_lock_of_a_builder_that_died_goes_to_another(farm: Farm) -> None:
    built = farm.directory / "built"
    # The first builder's processor is killed in the middle, by the rule itself.
    command = f"echo x >> {built}; [ $(wc -l < {built}) = 1 ] && kill -9 $PPID; echo text > %s"
    farm.script(OPENING, resource(farm, command))
    ended: Ended = farm.run("--count=2")
    assert ended.status == 0, ended.said
    assert [text for _, (_, text) in ended.results] == ["text\n"] * 2
    assert built.read_text() == "x\nx\n"
