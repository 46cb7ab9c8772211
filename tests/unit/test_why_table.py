"""docs/why.rst has every sentence that people are told about what waits or fails; each is produced for real by a test.

The sentences are taken out of the code that says them. ``...`` stands for what differs from case to case.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT
from tests.unit.whytable import PRODUCED

PACKAGE = ROOT / "coordinator"
#: where hosts' faults become sentences
LAUNCHING = ["executors/ssh.py", "executors/farside.py", "executors/attempt.py", "executors/remote.py", "arrival.py"]
LAUNCHING += ["executors/sshkeys.py", "executors/sshconfig.py"]


#: where jobs stop and hosts are given up
STANDING_UNDER = ["crew.py", "hosttrials.py", "run.py", "farmview.py", "keeper.py", "guard.py", "core/farm.py"]
#: what has fewer words is part of another sentence, and so is this one
WORDS, AFTERTHOUGHT = 3, ".... Try `ssh ...` by hand."


def template(node: ast.expr) -> Iterator[str]:
    """The text of a string, ``...`` for its values; of a choice each way."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from template(node.body)
        yield from template(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            yield from template(part)
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            yield from template(part)
    elif isinstance(node, ast.DictComp):
        yield from template(node.value)
    elif isinstance(node, ast.BinOp):
        for left in template(node.left):
            for right in template(node.right):
                yield left + right


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def first_words(path: Path) -> Iterator[str]:
    """What each Reason says first."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and name_of(node) == "Reason":
            yield from template(node.args[0])
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "what":
            yield from template(node.value)


def returned(path: Path, function: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from template(inner.value)


def launch_failures(path: Path) -> Iterator[str]:
    """What LaunchFailed is raised with, and the words that are completed on the way."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and name_of(node) in ("failed", "_failed") and len(node.args) == 2:
            yield from template(node.args[1])
        elif isinstance(node, ast.Call) and name_of(node) == "LaunchFailed":
            yield from template(node.args[0])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "words":
            yield from template(node.value)


def assigned(path: Path) -> Iterator[str]:
    """What is kept as the reason why a job stops, or a host is not used."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign):
            names = {ast.unparse(target).rpartition(".")[2].strip("()") for target in node.targets}
            if names & {"words", "reason", "stopping", "_fault"}:
                yield from template(node.value)
        elif isinstance(node, ast.Call) and name_of(node) in ("_not_started"):
            for argument in node.args:
                yield from template(argument)


def plain(text: str) -> str:
    """Values that stand beside each other are one; a sentence of values only says nothing."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"(\.\.\.[ :,;]*)+\.\.\.", "...", text)
    return text if len(re.findall(r"[A-Za-z']+", text)) >= WORDS and text != AFTERTHOUGHT else ""


def said() -> set[str]:
    """Every sentence of the code."""
    found = {*first_words(PACKAGE / "reasons.py"), *returned(PACKAGE / "core/balance.py", "_reason")}
    for file in LAUNCHING:
        found.update(launch_failures(PACKAGE / file))
    found.update(returned(PACKAGE / "executors/sshkeys.py", "no_key_words"))
    found.update(returned(PACKAGE / "core/rules.py", "resting"))
    found.update(returned(PACKAGE / "job.py", "_why_nobody"))
    for function in ("_state", "_process"):
        found.update(returned(PACKAGE / "standing.py", function))
    for file in STANDING_UNDER:
        found.update(assigned(PACKAGE / file))
    return {plain(text) for text in found} - {""}


def documented() -> list[str]:
    return [plain(text) for text in re.findall(r"(?m)^(?:\* )?``(.+)``$", (ROOT / "docs/why.rst").read_text())]


def test_the_table_has_every_sentence_of_the_code_once_and_no_other() -> None:
    table = documented()
    assert sorted(said() - set(table)) == [], "missing in docs/why.rst"
    assert sorted(set(table) - said()) == [], "said nowhere"
    assert len(table) == len(set(table))


def test_every_sentence_is_produced_by_a_test() -> None:
    assert sorted(said() - PRODUCED.keys()) == [], "no test is known to produce it"
    assert sorted(PRODUCED.keys() - said()) == []
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"(?m)^\s*(?:async )?def (test_\w+)\(", path.read_text())
    }
    assert sorted(set(PRODUCED.values()) - tests) == [], "no such test"
