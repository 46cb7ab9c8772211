"""The command: `coordinator ...`, `python -m coordinator ...` and `python coordinator.py ...` in a checkout.

bin/coordinator and coordinator.py call main(). With `--rc=NAME` and no sub-command it is the ResourceController's
role; anything else is a sub-command of coordinator.commands. This file turns what goes wrong into one sentence on
stderr and an exit status: 0 well, 1 an error, 2 wrong usage, 130 Ctrl-C. It decides nothing about jobs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
# What a shell reports of a program that wrote into a pipe which nobody reads any more.
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    import click

    from coordinator import commands
    from coordinator.errors import BadName, BadOption, CoordinatorError

    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A name may hold what this terminal's encoding cannot: shown as an escape, never a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = commands.perform(words)
        sys.stdout.flush()
        return status
    except click.UsageError as problem:
        problem.show()
        return 2
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except CoordinatorError as problem:
        commands.complain(problem, words)
        return 2 if isinstance(problem, (BadOption, BadName)) else 1
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as problem:
        commands.complain(commands.system_error(problem), words)
        return 1


if __name__ == "__main__":
    sys.exit(main())
