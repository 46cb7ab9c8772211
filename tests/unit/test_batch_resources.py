"""The resources of a batch's job: what an executor is told, against docs/batch-resources.rst, and real limits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.batch.resources import ADDRESS_SPACE, CPU_S, FIVE, GRACE_S, KNOWN, Asked, limited, read
from coordinator.core.needs import GIB, MIB, READERS, Needs
from coordinator.core.statuses import Intent
from coordinator.errors import BadNeeds
from coordinator.executors.named import DIALECTS, dialect_of

ROOT = Path(__file__).resolve().parent.parent.parent
EXECUTORS = [*DIALECTS, "local", "file", "somebodys"]
MANUALS = {"cput": "04:59:00", "mem": "1gb", "pmem": "1gb", "pvmem": "3gb", "vmem": "3gb"}


# --- the tables of the documentation -----------------------------------------------------------------


def tables() -> dict[str, list[tuple[dict[str, str], list[str]]]]:
    """{the first word of a section's title: [(what is said, what it becomes)]}"""
    text = (ROOT / "docs" / "batch-resources.rst").read_text(encoding="utf-8")
    found: dict[str, list[tuple[dict[str, str], list[str]]]] = {}
    for title, body in re.findall(r"^([a-z][^\n]*)\n-{3,}\n(.*?)(?=\n\n[^\n]+\n-{3,}\n|\Z)", text, re.M | re.S):
        rows = re.findall(r"^``([a-z]+: [^`]*)`` +(\S.*)$", body, re.M)
        found[re.split(r"\W", title)[0]] = [
            (dict(pair.split(": ", 1) for pair in said.split(", ")), re.findall("``([^`]+)``", becomes))
            for said, becomes in rows
        ]
    return found


TABLES = tables()


def told(executor: str, resources: dict[str, Any]) -> Counter[str]:
    """All that is said in the command and to the shell, in words."""
    asked = read(resources, executor=executor)
    shell = limited([], asked.limits)
    words = shell[2].split(" && ")[:-1] if shell else []
    needs = asked.needs
    if executor in DIALECTS:
        words += dialect_of(executor).submit(Intent("abcdefgh23", "job", "/d", needs), "/d/script", "/d/output")
    else:
        words += [f"{needs.cores} cores", f"{(needs.memory or 0) // MIB} MiB", f"{needs.time_s} s"]
    return Counter(words)


@pytest.mark.parametrize(
    ("executor", "resources", "becomes"),
    [(executor, *row) for executor, rows in TABLES.items() for row in rows],
)
def test_the_documentations_table_is_what_executors_are_told(executor, resources, becomes):
    assert told(executor, resources) - told(executor, {}) == Counter(becomes)


def test_the_tables_name_every_executor_and_the_five_in_each():
    assert list(TABLES) == ["pbs", "torque", "sge", "slurm", "lsf", "local"]
    assert set(TABLES) == {*DIALECTS, "local"}
    for executor, rows in TABLES.items():
        assert {name for said, _ in rows for name in said} >= {*FIVE, "walltime", "smp"}, executor


def test_file_and_executors_of_other_packages_are_told_as_local_is():
    for resources, becomes in TABLES["local"]:
        for executor in ("file", "somebodys"):
            assert told(executor, resources) - told(executor, {}) == Counter(becomes)


# --- what may be said --------------------------------------------------------------------------------


def test_what_the_manual_shows_is_read_for_every_executor():
    assert read(MANUALS, "tamirs3", executor="local") == Asked(
        Needs(memory=GIB, queue="tamirs3"), ((CPU_S, 17_940), (ADDRESS_SPACE, 3 * GIB))
    )
    assert read(MANUALS, "tamirs3", executor="pbs") == Asked(
        Needs(memory=GIB, queue="tamirs3", options={"pbs": ("-l", "cput=04:59:00,pmem=1024mb,pvmem=3072mb")}),
        ((ADDRESS_SPACE, 3 * GIB),),
    )
    assert read(MANUALS, "tamirs3", executor="torque").limits == ()
    assert read(MANUALS, "tamirs3", executor="sge") == Asked(
        Needs(memory=3 * GIB, queue="tamirs3", options={"sge": ("-l", "h_cpu=17940")})
    )
    for executor in EXECUTORS:
        told(executor, MANUALS)


def test_nothing_said_is_nothing_asked():
    for executor in EXECUTORS:
        assert read({}, executor=executor) == Asked(Needs())
        assert read(dict.fromkeys(KNOWN), executor=executor) == Asked(Needs())


def test_every_need_may_be_said_and_a_users_own_words_come_last():
    said = {"cores": 2, "memory": "4gb", "time": "1h", "gpus": 1, "partition": "p", "account": "a", "nodes": 1,
            "options": {"pbs": ["-l", "cput=1"], "slurm": ["--exclusive"]}, "cput": 60, "mem": "1gb"}  # fmt: skip
    assert read(said, executor="pbs").needs == Needs(
        2,
        4 * GIB,
        3600,
        1,
        "p",
        "a",
        options={"pbs": ("-l", "cput=00:01:00", "-l", "cput=1"), "slurm": ("--exclusive",)},
    )


def test_grid_engines_slots_are_those_of_all_nodes():
    """Of several nodes the user names the parallel environment, whose slots are the cores of all of them."""
    said = {"cores": 4, "nodes": 2, "vmem": "8gb", "cput": 8 * 3600 + 1, "options": {"sge": ["-pe", "mpi", "8"]}}
    words = told("sge", said)
    assert words["h_vmem=1024M"] == 1
    assert words["h_cpu=3601"] == 1


def test_a_queue_is_said_by_the_job_or_by_its_resources():
    assert read({}, "a", executor="local").needs.queue == "a"
    assert read({"partition": "a"}, executor="local").needs.queue == "a"
    assert read({"queue": "a"}, "a", executor="local").needs.queue == "a"
    assert read({"partition": "a"}, "a", executor="local").needs.queue == "a"
    with pytest.raises(BadNeeds, match="queue: that is said twice, as 'b' and in the resources as 'a'"):
        read({"queue": "a"}, "b", executor="local")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cputt": 1}, r"'cputt' is nothing that a job can need: did you mean cput\? It needs account, cores, cput, "),
        ({"zzzzzz": 1}, r"'zzzzzz' is nothing that a job can need: It needs account"),
        ({5: 1}, "5 is nothing that a job can need"),
        ({"zz\nzz": None, "a\nb": 1}, r"'a\\nb' is nothing"),
        ({"mem": "lots"}, "^mem: 'lots' is no size"),
        ({"cput": "later"}, "^cput: 'later' is no time"),
        ({"vmem": 0}, "^vmem: 0 is not a number of bytes"),
        ({"pvmem": True}, "^pvmem: True is not"),
        ({"walltime": "x"}, "^time: 'x' is no time"),
        ({"smp": 0}, "^cores: 0 is not"),
        ({"walltime": 1, "time": 1}, "^walltime: that is said twice, as walltime and as time"),
        ({"cores": 1, "smp": 1}, "^smp: that is said twice, as smp and as cores"),
        ({"queue": "a", "partition": "b"}, "said twice"),
        ({"queue": "a b"}, "queue: 'a b' can be no name"),
        ({"pmem": "1000t", "cores": 100}, "^pmem, for all cores: "),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_its_name(resources, words):
    with pytest.raises(BadNeeds, match=words) as caught:
        read(resources, executor="local")
    assert "\n" not in str(caught.value)


def test_all_names_of_needs_are_known():
    assert set(READERS) < set(KNOWN)


sizes = st.integers(1, 2**50)
fives = {"cput": st.integers(1, 10**8), "mem": sizes, "pmem": sizes, "vmem": sizes, "pvmem": sizes}


@given(
    five=st.fixed_dictionaries({}, optional=fives),
    cores=st.integers(1, 64),
    executor=st.sampled_from(EXECUTORS),
)
def test_nothing_is_rounded_down(five, cores, executor):
    try:
        asked = read({**five, "cores": cores}, executor=executor)
    except BadNeeds as error:
        assert "for all cores" in str(error)  # noqa: PT017  pmem or pvmem may be too much for all of them
        return
    words = told(executor, {**five, "cores": cores})
    written = " ".join(words)
    memory = [
        int(found) * MIB
        for found in re.findall(r"[: ,]mem=(\d+)mb|--mem=(\d+)M|-M (\d+)MB", written)
        for found in found
        if found
    ]
    memory += [int(found) * MIB * cores for found in re.findall(r"h_vmem=(\d+)M", written)]
    least = five.get("mem", five.get("pmem", 0) * cores)
    if executor == "sge":
        least = five.get("vmem", five.get("pvmem", 0) * cores or least)
    assert asked.needs.memory == (least or None)
    if executor in DIALECTS:
        assert all(least <= each < least + MIB * cores for each in memory)
        assert bool(memory) == bool(least)
    for name in ("pmem", "vmem", "pvmem"):
        for found in re.findall(rf"[ ,]{name}=(\d+)mb", written):
            assert five[name] <= int(found) * MIB < five[name] + MIB
    for found in re.findall(r"ulimit -v (\d+)", written):
        assert int(found) * 1024 >= min(five.get("vmem", 2**60), five.get("pvmem", 2**60))
    for found in re.findall(r"h_cpu=(\d+)", written):
        assert five["cput"] <= int(found) * cores < five["cput"] + cores


# --- limits are real ---------------------------------------------------------------------------------


def run(limits: tuple[tuple[str, int], ...], program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    argv = limited([sys.executable, "-I", "-S", "-c", program, "a b", "$(id)"], limits)
    return subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=50)


def test_without_limits_the_command_is_as_it_was():
    assert limited(["a", "b c"], ()) == ["a", "b c"]


def test_the_shell_is_told_numbers_only_and_the_command_is_not_read_by_it(tmp_path):
    argv = limited(["x; y", "$(z)"], ((CPU_S, 60), (ADDRESS_SPACE, 5 * GIB + 1)))
    assert argv == [
        "/bin/sh",
        "-c",
        'ulimit -S -t 60 && ulimit -H -t 63 && ulimit -v 5242881 && exec "$@"',
        "sh",
        "x; y",
        "$(z)",
    ]
    said = run(((CPU_S, 60), (ADDRESS_SPACE, 8 * GIB)), "import sys; print(sys.argv[1:])", tmp_path)
    assert (said.returncode, said.stdout, said.stderr) == (0, "['a b', '$(id)']\n", "")


@pytest.mark.parametrize(
    "limits", [(("cpu_s", 0),), (("cpu_s", True),), (("cpu_s", "1; id"),), (("files", 5),), (("cpu_s", 1.5),)]
)
def test_what_is_no_limit_is_refused(limits):
    with pytest.raises(BadNeeds):
        limited(["true"], limits)


@pytest.mark.slow
def test_a_process_that_uses_more_cpu_time_is_ended(tmp_path):
    burns = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_DFL)\nwhile True: pass"
    assert run(((CPU_S, 1),), burns, tmp_path).returncode == -signal.SIGXCPU


@pytest.mark.slow
def test_one_that_catches_the_signal_may_clean_up_and_is_killed_soon_after(tmp_path):
    burns = "import signal; signal.signal(signal.SIGXCPU, lambda *_: print('caught', flush=True))\nwhile True: pass"
    ended = run(((CPU_S, 1),), burns, tmp_path)
    assert ended.returncode == -signal.SIGKILL
    assert 1 <= ended.stdout.count("caught") <= 1 + GRACE_S


@pytest.mark.slow
def test_a_process_that_maps_more_is_refused_the_memory_and_one_that_maps_less_is_not(tmp_path):
    maps = "import mmap; mmap.mmap(-1, 512 << 20); print('mapped')"
    assert run(((ADDRESS_SPACE, 2 * GIB),), maps, tmp_path).stdout == "mapped\n"
    ended = run(((ADDRESS_SPACE, 300 * MIB),), maps, tmp_path)
    assert ended.returncode == 1
    assert "Cannot allocate memory" in ended.stderr


@pytest.mark.slow
def test_what_a_job_starts_is_held_to_the_limits_too(tmp_path):
    reads = "import resource as r; print(r.getrlimit(r.RLIMIT_CPU), r.getrlimit(r.RLIMIT_AS))"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', {reads!r}], check=True)"
    ended = run(((CPU_S, 40), (ADDRESS_SPACE, 2 * GIB)), starts, tmp_path)
    assert ended.stdout == f"(40, {40 + GRACE_S}) ({2 * GIB}, {2 * GIB})\n"


@pytest.mark.slow
def test_a_limit_that_the_site_does_not_allow_fails_at_once():
    argv = limited(limited(["echo", "begun"], ((CPU_S, 60),)), ((CPU_S, 10),))
    nobody = {"user": 65_534} if os.geteuid() == 0 else {}  # root may have every limit
    ended = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=50, **nobody)
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "limit" in ended.stderr
