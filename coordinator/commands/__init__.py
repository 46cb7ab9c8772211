"""The command line: which sub-commands there are, in which file each lives, and what all of them share.

coordinator.__main__ calls perform(). A sub-command's file is imported when that sub-command is used, and rich, XML-RPC
and the journal inside its body only, so that --help answers at once. Nothing here knows what a job is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from coordinator.errors import BadOption, CoordinatorError, NoToken

if TYPE_CHECKING:
    from coordinator.tables import Table

# The version of every --json document; docs/json.rst says what is in each. It grows when a field goes or changes.
JSON_VERSION = 1

# name: (module, attribute, one line of help), in the order of --help.
_COMMANDS = {
    "run": ("run", "run", "Run a script in the foreground on this machine."),
    "status": ("job", "status", "What a job has done, runs and waits for; without JOB, all jobs."),
    "jobs": ("job", "jobs", "The jobs of a ResourceController and of this directory."),
    "hosts": ("farm", "hosts", "The hosts of a ResourceController, their load and state."),
    "users": ("users", "users", "Who may use a ResourceController: add, list, remove."),
    "rules": ("farm", "rules", "Rules, built resources and locks of a ResourceController."),
    "errors": ("record", "errors", "What failed in a job, grouped, with tracebacks."),
    "results": ("record", "results", "The results of a job, one task a line."),
    "logs": ("logs", "logs", "A job's log, or with --host those of its Processors on a host."),
    "wait": ("job", "wait", "Wait until a job ends; exit status 0 if all its tasks are done."),
    "stop": ("job", "stop", "Stop a job, or with --rc=NAME a ResourceController."),
    "why": ("job", "why", "Why a job waits, is slow or failed, or a host is not used, and what to do next."),
    "batch": ("batch", "batch", "Batches of jobs: add, list, show, submit, why, log, cancel, rerun, remove."),
    "doctor": ("doctor", "doctor", "Which schedulers are here, and whether a job comes through each."),
    "redo": ("record", "redo", "Make failed, chosen or all tasks of a job to be done again."),
}

_USAGE = """\b
Start a ResourceController:   coordinator --rc=NAME [options]
Start a job on the farm:      python script.py NAME [options]
Run one on this machine:      coordinator run script.py NAME [options]

JOB is a job's name in this directory, a path to it (dir/NAME), the name of a job started elsewhere
by you, of one that the ResourceController knows, or a Coordinator's URL.
"""


def plain_dashes(name: str) -> str:
    """Options are written with underscores, as users of the manual know them; dashes mean the same."""
    return name.replace("-", "_")


CONTEXT = {"token_normalize_func": plain_dashes, "help_option_names": ["-h", "--help"], "max_content_width": 110}


class Commands(click.Group):
    """A group whose sub-commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        from importlib import import_module

        module, attribute, _ = _COMMANDS[cmd_name]
        found = getattr(import_module(f"coordinator.commands.{module}"), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `coordinator --help` lists them."
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in _COMMANDS.items()])


@click.command("coordinator", cls=Commands, context_settings=CONTEXT, help=_USAGE)
def _top() -> None:
    pass


def perform(words: Sequence[str]) -> int:
    """Run the command that the words name; its exit status. Raises click's and our own errors."""
    if not words:
        print(_help(_top), file=sys.stderr)
        return 2
    if _is_controller(words):
        from coordinator.commands.farm import NEEDS_NAME, controller

        if words[-1] == "--rc":
            raise click.UsageError(NEEDS_NAME)
        return _invoke(controller, "coordinator", words)
    return _invoke(_top, "coordinator", words)


def _invoke(command: click.Command, name: str, words: Sequence[str]) -> int:
    # Not command.main(): it makes status 1 of a broken pipe and of Ctrl-C, whatever we would say.
    try:
        with command.make_context(name, list(words)) as context:
            status = command.invoke(context)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    return status if isinstance(status, int) else 0


def _help(command: click.Command) -> str:
    with click.Context(command, info_name="coordinator", **CONTEXT) as context:  # type: ignore[arg-type]
        return command.get_help(context)


def _is_controller(words: Sequence[str]) -> bool:
    """Whether this is the ResourceController's role: --rc somewhere, and no sub-command before it."""
    for word in words:
        if word == "--rc" or word.startswith("--rc="):
            return True
        if word == "--" or word in _COMMANDS:
            return False
    return False


# --- what the sub-commands share -------------------------------------------------------------------


F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout (docs/json.rst).")(command)


def rc_url_option(command: F) -> F:
    return click.option(
        "--rc_url",
        metavar="URL",
        help="The ResourceController to ask.  [default: http://THISHOST:5000]",
    )(command)


def job_argument(command: F) -> F:
    return click.argument("job", metavar="JOB")(command)


def document(kind: str, **content: Any) -> dict[str, Any]:
    """A --json document of that kind."""
    return {"version": JSON_VERSION, "kind": kind, **content}


def print_json(value: object) -> None:
    import json

    # ASCII only: safe for every terminal and pipe, whatever is in the names.
    print(json.dumps(value, default=_tagged))


def _tagged(value: object) -> object:
    """Values that JSON lacks, in the form that task IDs have everywhere: {"$bytes": ...}."""
    import json

    from coordinator.core import ids

    return json.loads(ids.encode(value))


def print_tables(tables: Iterable[Table]) -> None:
    """Each table, with an empty line between two."""
    from coordinator.tables import show

    for number, table in enumerate(tables):
        if number:
            print()
        show(table, sys.stdout)


def complain(problem: CoordinatorError, words: Sequence[str]) -> None:
    """One sentence on stderr; a program that asked for --json gets it as a document as well."""
    from coordinator.tables import visible

    print(f"coordinator: {visible(problem.message, keep=chr(10))}", file=sys.stderr)
    if "--json" in words:
        error = {"code": problem.code, "name": type(problem).__name__, "message": problem.message}
        print_json(document("error", error=error))


def system_error(problem: OSError) -> CoordinatorError:
    """What the system refused, as a sentence."""
    where = f"{problem.filename}: " if problem.filename else ""
    return CoordinatorError(f"{where}{problem.strerror or problem}")


def finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A click callback: 'nan' and 'inf' are numbers to Python and nonsense to a balance."""
    if value is not None and value - value != 0:
        raise BadOption(f"--{param.name} must be a finite number, not {value}")
    return value


def ask_farm(rc_url: str | None, required: bool = True) -> tuple[dict[str, Any] | None, str]:
    """What the ResourceController says of itself, or None and why it could not be asked."""
    from coordinator import remote

    try:
        return dict(remote.controller(rc_url).call("get_farm")), ""
    except CoordinatorError as problem:
        if required:
            raise
        if rc_url is None and isinstance(problem, NoToken):
            return None, "you have started no ResourceController on this machine."
        return None, problem.message
