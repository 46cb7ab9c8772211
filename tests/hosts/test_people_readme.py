"""The README's section "A cluster you can ssh to", as it is printed: its files, its commands, and what they print.

What a test cannot have is replaced: ``make testbed`` and ``make testbed-shell`` (the test has its own testbed), and
port 5000, which may be another's (``--port=0`` and ``--rc_url=``). In what is printed ``...`` stands for anything.
Commands that only look are repeated until they print what the README says, as a reader looks again.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.daemons import HANG_S, end_process, until
from tests.readme import blocks, hello, section
from tests.testbed.hosts import ROOT, Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

TITLE = "A cluster you can ssh to"
#: look and change nothing
LOOKS = ("coordinator hosts", "coordinator status", "coordinator why", "coordinator logs")
ASKS_THE_CONTROLLER = ("coordinator hosts", "coordinator why", "coordinator logs", "coordinator stop --rc", "python ")


@dataclass
class Step:
    """A command of the README and what it says that it prints."""

    command: str
    prints: str = ""


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for block in blocks(text):
        if block.startswith("$ "):
            for line in block.splitlines():
                if line.startswith("$ "):
                    found.append(Step(line[2:]))
                else:
                    found[-1].prints += line + "\n"
    return found


@pytest.fixture
def pids() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in reversed(pids):
        end_process(pid)


@pytest.mark.timeout(240)
def test_a_newcomer_follows_the_section_word_for_word(hosts: Hosts, tmp_path: Path, pids: list[int]) -> None:
    text = section(TITLE)
    make = next(block for block in blocks(text) if block.startswith("make "))
    assert make.splitlines() == ["make testbed N=3", "make testbed-shell"]
    for target in re.findall(r"make ([\w-]+)", text):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()
    script = hello()
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    environment = {**os.environ, **hosts.environment, "PATH": path}
    directory, rc_url = tmp_path, ""

    def typed(command: str) -> str:
        """What is printed, errors too."""
        if command.startswith("coordinator --rc"):
            command += " --port=0"
        elif rc_url and command.startswith(ASKS_THE_CONTROLLER):
            words = command.split(" | ")
            command = " | ".join([f"{words[0]} --rc_url={shlex.quote(rc_url)}", *words[1:]])
        ended = subprocess.run(
            hosts.here("sh", "-c", command), cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=4 * HANG_S, check=False,
        )  # fmt: skip
        if "coordinator --rc" in command or command.startswith("python "):
            pids.extend(int(pid) for pid in re.findall(r"\bpid +(\d+)\b", ended.stdout))
        return ended.stdout

    def is_said(step: Step, said: str) -> bool:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        return doctest.OutputChecker().check_output(step.prints, said, flags)

    followed = steps(text)
    assert len(followed) > 10
    for step in followed:
        said = typed(step.command)
        if step.command.startswith(LOOKS):
            last = [said]

            def looked_again(step: Step = step, last: list[str] = last) -> bool:
                if is_said(step, last[0]):
                    return True
                last[0] = typed(step.command)
                return False

            with suppress(AssertionError):
                until(looked_again, f"seen as the README has it: {step.command}")
            said = last[0]
        assert is_said(step, said), f"$ {step.command}\nREADME:\n{step.prints}\nprinted:\n{said}"
        if step.command.startswith("mkdir "):
            directory = tmp_path / step.command.split()[1]
            (directory / "hello.py").write_text(script + "\n")
        if step.command.startswith("coordinator --rc"):
            rc_url = re.findall(r"url +(\S+)", said)[0]
    results = [line.split("\t") for line in typed("coordinator results HELLO").splitlines()]
    assert {node for _, node in results} == {'"node1"', '"node2"', '"node3"'}
    assert sorted(int(task) for task, _ in results) == list(range(1200))
