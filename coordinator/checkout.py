"""For `python coordinator.py` in a checkout: find a Python that has what the package needs, or say what to type.

Only the script of the checkout calls it, before anything else of the package is imported; an installed coordinator
never does. It imports nothing that may be missing and installs nothing.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

#: The third-party packages of setup.py, by the names under which they are imported.
NEEDED = ("click", "cryptography", "httptools", "paramiko", "psutil", "rich", "sqlalchemy")


def ensure_dependencies(root: Path) -> None:
    """Return if this Python can run the checkout at ``root``; else go on in its .venv; else exit with one sentence."""
    old = sys.version_info < (3, 11)
    missing = [] if old else [name for name in NEEDED if find_spec(name) is None]
    if not old and not missing:
        return
    python = root / ".venv" / "bin" / "python"
    if os.access(python, os.X_OK) and os.path.abspath(sys.executable) != os.path.abspath(python):
        # Not through procs: this may be an older Python, which cannot load it. The program is replaced, no child made.
        words = getattr(sys, "orig_argv", ["", *sys.argv])  # before 3.10 the interpreter's own options are lost
        os.execv(python, [str(python), *words[1:]])  # noqa: S606 - a fixed path, no shell
    reason = "Python 3.11 or newer" if old else f"packages that this Python does not have ({', '.join(missing)})"
    raise SystemExit(f"coordinator needs {reason}: type `make -C {root} venv` once, then try again.")
