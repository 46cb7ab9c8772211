"""`coordinator run script.py NAME`: a job in the foreground on this machine, without a ResourceController.

coordinator.commands imports this file for `run`. The script runs as if it had been typed after `python`, with
--local among its options; what it does with them, and its exit status, are its own.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from coordinator.commands import CONTEXT
from coordinator.errors import BadInput

# What follows the script is the script's, --help too: the parser stops at the first word that is no option.
_SCRIPTS_OWN: dict[str, Any] = {**CONTEXT, "allow_interspersed_args": False}


@click.command(context_settings=_SCRIPTS_OWN)
@click.argument("script", metavar="SCRIPT.py")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="NAME [OPTIONS]...")
def run(script: str, words: tuple[str, ...]) -> int:
    """Run SCRIPT.py here: its tasks spread over this machine's cores, with progress, until all are done.

    The same as `python SCRIPT.py NAME --local [OPTIONS]`; --local=N sets the number of Processors. All options, and
    --help after the script's name, are the script's own.
    """
    import runpy

    if not os.path.isfile(script):
        raise BadInput(f"there is no script {script}; give the path of a Python file")
    sys.argv = [script, *with_local(list(words))]
    # As `python script.py` has it: the script's own directory first.
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")
    return 0


def with_local(words: list[str]) -> list[str]:
    """The script's words with --local after NAME, unless they say it; after `--` all words are the user's own."""
    ours = words[: words.index("--")] if "--" in words else words
    if any(word == "--local" or word.startswith("--local=") for word in ours):
        return words
    at = next((i + 1 for i, word in enumerate(ours) if not word.startswith("-")), 0)
    return [*words[:at], "--local", *words[at:]]
