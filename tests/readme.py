"""The README as readers take it: a section, and what stands in it letter for letter. Tests of what it says use it."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def section(title: str) -> str:
    """Its text, to the next title."""
    text = (ROOT / "README.rst").read_text()
    begin = text.index(f"\n{title}\n" + "-" * len(title))
    ends = [match.start() for match in re.finditer(r"\n[^\n]+\n-{3,}\n", text)]
    return text[begin : min(end for end in ends if end > begin)]


def blocks(text: str) -> list[str]:
    """The literal blocks, without their indentation."""
    found = re.findall(r"::\n\n((?:    [^\n]*\n|\n)+)", text)
    return [re.sub(r"(?m)^    ", "", block).strip("\n") for block in found]


def hello() -> str:
    """The script ``hello.py``, which two sections run."""
    return next(block for block in blocks(section("A cluster you can ssh to")) if block.startswith("import "))
