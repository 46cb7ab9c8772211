"""What a job needs: what people may write, and what is refused before any scheduler hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.needs import DAY_S, GIB, MIB, MOST_TIME_S, Needs, clock, memory_of, time_of
from coordinator.errors import BadNeeds


@pytest.mark.parametrize(
    ("written", "size"),
    [("1gb", GIB), ("500M", 500 * MIB), ("1.5GiB", 3 * GIB // 2), ("2048", 2048), (" 3 kb ", 3072), (1 << 30, GIB),
     ("1t", 1024 * GIB), ("10b", 10)],
)  # fmt: skip
def test_sizes_are_powers_of_1024(written: Any, size: int) -> None:
    assert memory_of(written) == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("04:59:00", 17_940), ("2-12:00:00", 60 * 3600), ("90m", 5400), ("1.5h", 5400), ("3600", 3600), (60, 60),
     ("10:30", 37_800), ("100:00:00", 360_000), ("2d", 2 * DAY_S), ("30 s", 30)],
)  # fmt: skip
def test_times_are_clocks_and_spans(written: Any, seconds: int) -> None:
    assert time_of(written) == seconds


@pytest.mark.parametrize("blank", [" ", "\t", "\x1c", "\x1f", "\x85", "\u2028"])
def test_blanks_around_a_number_are_no_part_of_it(blank: str) -> None:
    assert Needs.of({"cores": f"{blank}2{blank}", "time": f"60{blank}"}) == Needs(cores=2, time_s=60)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"memory": "lots"}, "memory: 'lots' is no size"),
        ({"memory": "-1"}, "memory: '-1' is no size"),
        ({"memory": 0}, "memory: 0 is not a number of bytes"),
        ({"memory": True}, "memory: True is not a number"),
        ({"time": "1:2:3:4"}, "time: '1:2:3:4' is no time"),
        ({"time": "10:30\n#SBATCH"}, "time: "),
        ({"time": 10**12}, "time: 1000000000000 is not a number of seconds"),
        ({"cores": 0}, "cores: 0 is not a number of cores"),
        ({"cores": "two"}, "cores: 'two'"),
        ({"cores": 1.5}, "cores: 1.5"),
        ({"queue": "-p"}, "queue: '-p' can be no name"),
        ({"queue": "a b"}, "queue: 'a b' can be no name"),
        ({"account": "x\n#SBATCH --uid=0"}, "account: "),
        ({"queue": "a", "partition": "a"}, "partition: that is said twice"),
        ({"ram": 1}, "'ram' is nothing that a job can need: it needs account, cores"),
        ({"options": ["--x"]}, "options: "),
        ({"options": {"slurm": "--x"}}, "options: the words for 'slurm' are not a list"),
        ({"options": {"slurm": ["a\nb"]}}, "options: 'a\\\\nb' is no word"),
        ({"options": {"slurm": ["\u2028"]}}, "options: "),
        ({"options": {"slurm": [""]}}, "options: "),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_key(told: dict[str, Any], words: str) -> None:
    with pytest.raises(BadNeeds, match=words):
        Needs.of(told)


def test_needs_travel_as_json() -> None:
    needs = Needs.of({"cores": 2, "memory": "1gb", "time": "1h", "partition": "p", "options": {"sge": ["-l", "a=b"]}})
    told = needs.told()
    assert told == {"cores": 2, "memory": GIB, "time": 3600, "queue": "p", "options": {"sge": ["-l", "a=b"]}}
    assert Needs.of(told) == needs
    assert Needs().told() == {}


def test_a_rerun_may_ask_for_twice_as_much() -> None:
    needs = Needs.of({"memory": "1gb", "time": "1h", "queue": "p"})
    more = needs.changed({"memory": "x2", "time": "x1.5", "queue": "long"})
    assert (more.memory, more.time_s, more.queue) == (2 * GIB, 5400, "long")
    with pytest.raises(BadNeeds, match="there is no number to multiply by 2"):
        Needs().changed({"memory": "x2"})
    with pytest.raises(BadNeeds, match="there is no number"):
        needs.changed({"queue": "x2"})


@given(st.integers(1, MOST_TIME_S))
def test_a_clock_is_read_back(seconds: int) -> None:
    assert time_of(clock(seconds)) == seconds


@given(st.dictionaries(st.text(max_size=10) | st.sampled_from(["cores", "memory", "time", "queue", "options"]),
                       st.none() | st.text() | st.integers() | st.floats() | st.lists(st.text()) | st.booleans(),
                       max_size=4))  # fmt: skip
def test_whatever_is_written_is_needs_or_refused(told: dict[str, Any]) -> None:
    try:
        needs = Needs.of(told)
    except BadNeeds:
        return
    assert Needs.of(needs.told()) == needs
