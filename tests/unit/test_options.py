"""The command line of a user's script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coordinator import options
from coordinator.errors import BadOption


def client(
    server: Any, rmOpts="", exponent=2, scale: float = 1.0, fast=False, limit: int | None = None
) -> Iterator[Any]:
    "works on one"
    yield from server


def open_client(server: Any, rmOpts="", **kwargs: Any) -> Iterator[Any]:
    yield from server


def numbers(n=10, table: str = "x") -> Iterator[int]:
    "gives IDs"
    yield from range(n)


def read(*argv: str, client: Any = client) -> options.CommandLine:
    return options.read(argv, [(client, 1), (numbers, 0)], "script.py")


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("--rmOpts=hello world", "rmOpts", "hello world"),
        ("--rmOpts=a=b", "rmOpts", "a=b"),
        ("--rmOpts=", "rmOpts", ""),
        ("--rmOpts='\"$(x)", "rmOpts", "'\"$(x)"),
        ("--rmOpts=Grüße 漢", "rmOpts", "Grüße 漢"),
        ("--rmOpts=-rodent", "rmOpts", "-rodent"),
        ("--exponent=3", "exponent", 3),
        ("--scale=2", "scale", 2.0),
        ("--fast", "fast", True),
        ("--fast=no", "fast", False),
        ("--limit=7", "limit", 7),
        ("--n=5", "n", 5),
        ("--table=7", "table", "7"),
    ],
)
def test_a_users_option_arrives_unchanged_in_the_type_of_its_parameter(word: str, name: str, value: object) -> None:
    users = read("JOB", word).users
    assert users == {name: value}
    assert type(users[name]) is type(value)


def test_a_value_may_follow_its_option() -> None:
    line = read("--exponent", "4", "JOB", "--port", "0")
    assert (line.name, line.users["exponent"], line.ours["port"]) == ("JOB", 4, 0)


def test_our_options_are_typed_and_have_defaults() -> None:
    ours = read("JOB").ours
    assert (ours["priority"], ours["demand_ncpu"], ours["immediate"], ours["local"]) == (1.0, 0, False, None)
    ours = read("JOB", "--priority=2", "--demand-ncpu=3", "--immediate", "--local=4", "--time_limit=1.5").ours
    assert (ours["priority"], ours["demand_ncpu"], ours["immediate"], ours["local"]) == (2.0, 3, True, 4)
    assert ours["time_limit"] == 1.5
    assert read("JOB", "--immediate=no").ours["immediate"] is False
    assert read("JOB", "--local").ours["local"] == 0


@pytest.mark.parametrize(
    "word",
    [
        "--port=x",
        "--port=70000",
        "--priority=0",
        "--priority=nan",
        "--local=-1",
        "--immediate=maybe",
        "--n=x",
        "--lease=0",
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_that_names_the_option(word: str) -> None:
    with pytest.raises(BadOption, match=word.partition("=")[0]):
        read("JOB", word)


def test_a_parameter_without_a_default_must_be_given_and_one_named_as_ours_gets_ours() -> None:
    def needy(server: Any, table: str, port: int) -> Iterator[Any]:
        yield from server

    with pytest.raises(BadOption, match="--table is missing: your function needy has no default"):
        options.read(["JOB", "--port=1"], [(needy, 1)], "script.py")
    line = options.read(["JOB", "--table=t", "--port=1"], [(needy, 1)], "script.py")
    assert line.users == {"table": "t", "port": 1}
    assert line.ours["port"] == 1


@pytest.mark.parametrize("argv", [["JOB", "--port"], ["--priority", "--local", "JOB"], ["JOB", "--url="]])
def test_an_option_without_its_value_says_that_it_needs_one(argv: list[str]) -> None:
    with pytest.raises(BadOption, match=r"needs a value: --\w+=\.\.\."):
        read(*argv)


def test_a_processor_that_a_person_starts_needs_no_name() -> None:
    line = read("--url=http://h:8888", "--exponent=5")
    assert (line.name, line.url, line.users) == ("", "http://h:8888", {"exponent": 5})


def test_an_option_that_nobody_takes_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="--exponent"):
        read("JOB", "--exponnent=3")
    with pytest.raises(BadOption, match="--priority"):
        read("JOB", "--prioritty=3")


def test_an_option_that_only_kwargs_takes_warns_when_it_is_near_a_known_one() -> None:
    line = read("JOB", "--prioritty=3", client=open_client)
    assert line.users == {"prioritty": "3"}
    assert "--priority" in line.warnings[0]
    assert not read("JOB", "--dbname=x", client=open_client).warnings


def test_after_two_dashes_all_options_are_the_users() -> None:
    line = read("JOB", "--", "--priority=3", client=open_client)
    assert line.users == {"priority": "3"}
    assert line.ours["priority"] == 1.0


@pytest.mark.parametrize("argv", [[], ["A", "B"]])
def test_without_one_name_there_is_usage_and_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*argv)
    assert ended.value.code == 2
    assert "NAME" in capsys.readouterr().err


def test_help_lists_our_options_and_the_functions_own_with_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("--local", "--priority", "--exponent", "--rmOpts", "--n", "works on one", "gives IDs"):
        assert word in said
    for option in options.OURS:
        assert f"--{option.name}" in said


def test_each_function_gets_what_it_names_or_all() -> None:
    given = {"rmOpts": "x", "n": 3, "other": "y"}
    assert options.taken_by(numbers, given) == {"n": 3}
    assert options.taken_by(open_client, given) == given
