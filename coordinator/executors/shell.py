"""What is said to the login shell of a host: always ``/bin/sh``; and to that shell: a script that ends in Python.

:mod:`coordinator.executors.ssh` sends the script to stdin as soon as the command runs. The script prints a marker that
is not written in it, so that neither a banner nor an echo is taken for it, and then runs the keeper with the host's
Python, which reads its orders from the same stdin. Values stand in the script only here, quoted; a token never does.
Pure functions.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

COMMAND = "/bin/sh"

# Run when the keeper failed. Python 2 understands it too, to say that it is too old; what it does not know it leaves
# to the keeper's own words.
_DIAGNOSIS = """\
import json, sys
step = words = None
if sys.version_info < (3, 11):
    step, words = "python", "it is Python %d.%d, and coordinator needs 3.11 or later" % sys.version_info[:2]
else:
    try:
        import coordinator.keeper
    except ImportError as error:
        step, words = "package", str(error)
if step:
    sys.stdout.write(json.dumps({"step": step, "error": words}) + chr(10))
sys.exit(1)
"""


def script(
    marker: tuple[str, str], python: str, path: Iterable[str], env: Iterable[tuple[str, str]], umask: str | None = None
) -> str:
    """``path``: directories for the front of PYTHONPATH. The two halves of ``marker`` come back as one word."""
    lines = ["", "", "cd /"]  # a start-up file that reads a line from stdin gets an empty one
    if umask is not None and re.fullmatch(r"[0-7]{1,4}", umask):
        lines.append(f"umask {umask}")
    for name, value in env:
        lines.append(f"{name}={shlex.quote(value)}; export {name}")
    if front := ":".join(path):
        lines.append(f'PYTHONPATH={shlex.quote(front)}"${{PYTHONPATH:+:$PYTHONPATH}}"; export PYTHONPATH')
    first, second = (shlex.quote(half) for half in marker)
    python = shlex.quote(python)
    # One line, read whole before it runs: the shell must never take orders that are meant for Python.
    keeper = f"{python} -m coordinator.keeper || exec {python} -c {shlex.quote(_DIAGNOSIS)}"
    return "\n".join([*lines, f"printf '%s%s\\n' {first} {second}; {keeper}; exit"]) + "\n"
