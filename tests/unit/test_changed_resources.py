"""Resources as people wrote them, with other values: what is multiplied, what is raised with it, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.batch.resources import changed, read
from coordinator.core.needs import GIB, MIB, memory_of
from coordinator.errors import BadNeeds

DEFAULT = {"cput": "04:59:00", "mem": "1gb", "pmem": "1gb", "pvmem": "3gb", "vmem": "3gb"}


@pytest.mark.parametrize(
    ("resources", "told", "expected"),
    [
        (DEFAULT, {"memory": "x2"},
         {"cput": "04:59:00", "mem": "2048mb", "pmem": "2048mb", "pvmem": "6144mb", "vmem": "6144mb"}),
        (DEFAULT, {"memory": "2gb"}, {**DEFAULT, "mem": "2gb", "pmem": "2gb"}),
        (DEFAULT, {"memory": "4gb"}, dict.fromkeys(("mem", "pmem", "pvmem", "vmem"), "4gb") | {"cput": "04:59:00"}),
        (DEFAULT, {"memory": "500mb"}, {**DEFAULT, "mem": "500mb"}),
        (DEFAULT, {"time": "x1.5"}, {**DEFAULT, "cput": "07:28:30"}),
        (DEFAULT, {"time": "10h"}, {**DEFAULT, "cput": "10h", "time": "10h"}),
        (DEFAULT, {"time": "1h"}, {**DEFAULT, "time": "1h"}),
        ({}, {"memory": "1gb", "cores": 2, "gpus": 1}, {"memory": "1gb", "cores": 2, "gpus": 1}),
        ({"memory": "1gb", "mem": "2gb"}, {"memory": "x2"}, {"memory": "2048mb", "mem": "4096mb"}),
        ({"walltime": "1h"}, {"time": "2h"}, {"walltime": "2h"}),
        ({"walltime": 60}, {"time": "*2"}, {"walltime": "00:02:00"}),
        ({"smp": 2}, {"cores": "x2"}, {"smp": 4}),
        ({"partition": "long"}, {"queue": "short"}, {"partition": "short"}),
        ({"mem": None}, {"memory": "1gb"}, {"memory": "1gb"}),
    ],
)  # fmt: skip
def test_what_is_said_changes_and_no_limit_of_its_kind_stays_below(
    resources: dict[str, Any], told: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = dict(resources)
    assert changed(resources, told) == expected
    assert resources == before


@pytest.mark.parametrize(
    ("resources", "told", "words"),
    [
        ({}, {"memory": "x2"}, "memory: there is no number to multiply by 2"),
        ({"queue": "long"}, {"queue": "x2"}, "queue: there is no number to multiply by 2"),
        ({}, {"memory": "much"}, "memory: 'much' is no size"),
        ({}, {"memoryy": "1gb"}, "'memoryy' is nothing that a job can need"),
        ({}, {"cores": 0}, "cores: 0 is not a number"),
    ],
)
def test_what_cannot_be_changed_is_refused_by_name(resources: Any, told: Any, words: str) -> None:
    with pytest.raises(BadNeeds, match=words):
        changed(resources, told)


@given(
    kinds=st.dictionaries(
        st.sampled_from(["mem", "pmem", "vmem", "pvmem", "memory"]), st.integers(MIB, 100 * GIB), min_size=1
    ),
    factor=st.sampled_from(["x2", "x1.25", "*3"]),
)
def test_a_multiple_asks_each_executor_for_more_of_what_was_said(kinds: dict[str, int], factor: str) -> None:
    more = changed(kinds, {"memory": factor})
    for name, was in kinds.items():
        assert was * float(factor[1:]) <= memory_of(more[name]) < was * float(factor[1:]) + 2 * MIB
    for executor in ("local", "slurm", "sge", "pbs", "torque"):
        before, after = read(kinds, executor=executor), read(more, executor=executor)
        assert (before.needs.memory or 0) <= (after.needs.memory or 0)
