"""The command line of a user's script: our options, the user's own, types, help, near misses.

``start_client_or_server`` calls it. Options are ``--name=value`` (or ``--name value``); ours are declared in ``OURS``,
the user's are the parameters of the client and server functions, converted to the type of the annotation or of the
default. Nothing is started or opened here.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.core.leases import GRACE_S, TERM_S
from coordinator.core.trials import LEAVES
from coordinator.errors import BadOption

if TYPE_CHECKING:
    import argparse


def flag(text: str) -> bool:
    """``--immediate``, ``--immediate=yes``, ``--immediate=0`` ..."""
    known = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}
    if text.lower() not in known:
        raise ValueError("yes or no expected")
    return known[text.lower()]


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("a number above 0 expected")
    return value


def term(text: str) -> float:
    """Seconds of a lease, which must outlast a beat and a round trip."""
    value = positive(text)
    if value < 1:
        raise ValueError("1 second or more expected, since a lease must outlast a beat of the keeper and its answer")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("0 or more expected")
    return value


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("1 or more expected")
    return value


def port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise ValueError("a port is 0 to 65535")
    return value


class Option(NamedTuple):
    """One option of ours. ``alone``: its value when it is given without one; None where it needs a value."""

    name: str
    convert: Callable[[str], Any]
    default: Any
    help: str
    alone: str | None = None
    metavar: str = "VALUE"


OURS: tuple[Option, ...] = (
    Option(
        "local",
        count,
        None,
        "run in the foreground on N cores of this machine (all of them without a number)",
        "0",
        "N",
    ),
    Option("port", port, None, "the port to serve at; a free one from 8888 up unless given", metavar="PORT"),
    Option(
        "host",
        str,
        None,
        "the address to serve at; every interface unless given (--local: 127.0.0.1)",
        metavar="ADDRESS",
    ),
    Option("no_tls", flag, False, "plain HTTP for other machines too, on a network that you trust", "yes", "yes|no"),
    Option(
        "insecure",
        flag,
        False,
        "ask nobody for a token: whoever can reach the port may do everything; only on a network that you trust",
        "yes",
        "yes|no",
    ),
    Option("priority", positive, 1.0, "share of the processors among jobs that run at the same time", metavar="NUMBER"),
    Option("rc_url", str, None, "the ResourceController; http://THISHOST:5000 unless given", metavar="URL"),
    Option("errlog", str, None, "the log; NAME.log unless given", metavar="FILE"),
    Option("immediate", flag, False, "run now, without waiting for earlier jobs", "yes", "yes|no"),
    Option("demand_ncpu", count, 0, "exactly so many processors, 0 for a share", metavar="N"),
    Option("ncpu_limit", count, 999999, "never more than so many processors", metavar="N"),
    Option("max_errors_in_a_row", count, 10, "a processor leaves after so many failed tasks in a row", metavar="N"),
    Option(
        "max_initialization_errors",
        at_least_one,
        LEAVES,
        "a host rests when so many processors have left it, unable to begin or with too many errors, without one task "
        "done there; after so many on all hosts the job stops",
        metavar="N",
    ),
    Option("retries", count, 0, "try a failed task so many times more, at growing intervals", metavar="N"),
    Option("time_limit", positive, None, "end a task that runs longer, in seconds", metavar="SECONDS"),
    Option(
        "lease", term, TERM_S, "seconds after which the tasks of a silent processor go to others", metavar="SECONDS"
    ),
    Option(
        "grace",
        positive,
        None,
        f"seconds that processors wait for a lost Coordinator ({GRACE_S:.0f}; --local: 60)",
        metavar="SECONDS",
    ),
    Option("foreground", flag, False, "do not detach from the terminal", "yes", "yes|no"),
)


#: Options that are ours only beside --executor, since functions of users have parameters of such names.
SITE: tuple[Option, ...] = (
    Option("executor", str, None, "run the processors as jobs of slurm, sge, pbs, torque, lsf, local or ssh:HOST"),
    Option("ntasks", at_least_one, 1, "with --executor: so many processors at most", metavar="N"),
    Option("cores", str, None, "with --executor: cores of each processor", metavar="N"),
    Option("memory", str, None, "with --executor: memory of each processor, as 4gb", metavar="SIZE"),
    Option("time", str, None, "with --executor: time of each processor on the cluster, as 04:00:00", metavar="TIME"),
    Option("gpus", str, None, "with --executor: GPUs of each processor", metavar="N"),
    Option("queue", str, None, "with --executor: the queue", metavar="NAME"),
    Option("partition", str, None, "with --executor: the same, as Slurm says it", metavar="NAME"),
    Option("account", str, None, "with --executor: who pays", metavar="NAME"),
    Option("submit_options", str, None, "with --executor: words for the scheduler's command as they are"),
)
#: those of them of which core.needs.Needs is made
NEEDS = ("cores", "memory", "time", "gpus", "queue", "partition", "account")


class CommandLine:
    """What was typed: the job's name, our options (defaults filled in), the user's (converted, only what was given)."""

    def __init__(self) -> None:
        self.name = ""
        self.ours: dict[str, Any] = {option.name: option.default for option in (*OURS, *SITE)}
        self.users: dict[str, Any] = {}
        self.given: set[str] = set()
        self.warnings: list[str] = []
        self.url: str | None = None
        self.logfile: str | None = None


def read(argv: Sequence[str], functions: Sequence[tuple[Callable[..., Any], int]], prog: str) -> CommandLine:
    """Understand ``argv`` (without the program). Raises BadOption; ``--help`` and a missing NAME end the process.

    ``functions``: the user's, each with how many of its first parameters are not options (the server, the task's ID).
    """
    takers = {
        name: parameter for function, skip in functions for name, parameter in user_parameters(function, skip).items()
    }
    takes_all = any(takes_everything(function) for function, _ in functions)
    argv, literal = (
        (list(argv[: argv.index("--")]), list(argv[argv.index("--") + 1 :])) if "--" in argv else (list(argv), [])
    )
    if "--help" in argv or "-h" in argv:
        _parser(prog, functions, takers).print_help()
        sys.exit(0)
    line = CommandLine()
    under_site = any(word.partition("=")[0] == "--executor" for word in argv)
    ours = {option.name: option for option in ((*OURS, *SITE) if under_site else (*OURS, SITE[0]))}
    names: list[str] = []
    words = [(word, True) for word in argv] + [(word, False) for word in literal]
    while words:
        word, may_be_ours = words.pop(0)
        if not word.startswith("--"):
            names.append(word)
            continue
        key, equals, text = word[2:].partition("=")
        name = key if key in takers or key in ours else key.replace("-", "_")
        given = text if equals else None
        if may_be_ours and name in ("url", "logfile"):
            setattr(line, name, _needed(name, given))
        elif may_be_ours and name in ours:
            option = ours[name]
            if given is None:
                given = option.alone if option.alone is not None else _next(words, name)
            line.ours[name] = _convert(name, option.convert, given)
            line.given.add(name)
            if name in takers:
                line.users[name] = line.ours[name]
        elif name in takers:
            line.users[name] = _user_value(name, takers[name], given, words)
        elif takes_all:
            line.users[key] = True if given is None else given
            near = _near(key, [*ours, *takers])
            if near and may_be_ours:
                line.warnings.append(f"--{key} is passed to your functions as it is; did you mean --{near[0]}?")
        else:
            raise BadOption(_unknown(key, [*ours, *takers]))
    if len(names) != 1 and line.url is None:
        _parser(prog, functions, takers).print_usage(sys.stderr)
        wrong = (
            "the NAME of the job is missing" if not names else f"one NAME expected, got {len(names)}: {' '.join(names)}"
        )
        print(f"{prog}: {wrong}", file=sys.stderr)  # noqa: T201 - this is the command line's own voice
        sys.exit(2)
    line.name = names[0] if names else ""
    for function, skip in functions:
        for name, parameter in user_parameters(function, skip).items():
            if parameter.default is inspect.Parameter.empty and name not in line.users:
                if name not in ours:
                    whose = getattr(function, "__name__", function)
                    raise BadOption(f"--{name} is missing: your function {whose} has no default for it")
                line.users[name] = line.ours[name]
    return line


def user_parameters(function: Callable[..., Any], skip: int) -> dict[str, inspect.Parameter]:
    """The parameters of a user's function that can be options: not the first ``skip``, not *args or **kwargs."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in parameters if p.kind in kinds and p.name not in ("server", "setup")}


def takes_everything(function: Callable[..., Any]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def taken_by(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those of ``options`` that the function names, or all where it has ``**kwargs``."""
    if takes_everything(function):
        return dict(options)
    names = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}


# --- inside -------------------------------------------------------------------------------------------


def _convert(name: str, convert: Callable[[str], Any], text: str) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise BadOption(f"--{name}={text}: {error}") from error


def _needed(name: str, given: str | None) -> str:
    if not given:
        raise BadOption(f"--{name} needs a value: --{name}=...")
    return given


def _next(words: list[tuple[str, bool]], name: str) -> str:
    if not words or words[0][0].startswith("--"):
        raise BadOption(f"--{name} needs a value: --{name}=...")
    return words.pop(0)[0]


def _user_value(name: str, parameter: inspect.Parameter, given: str | None, words: list[tuple[str, bool]]) -> Any:
    kind = option_type(parameter)
    if kind is bool:
        return True if given is None else _convert(name, flag, given)
    return _convert(name, kind, _next(words, name) if given is None else given)


def option_type(parameter: inspect.Parameter) -> Callable[[str], Any]:
    """What converts the text of an option: the annotation if it is int, float, bool or str, else the default's type."""
    by_name: dict[Any, Callable[[str], Any]] = {
        int: int,
        float: float,
        bool: bool,
        str: str,
        "int": int,
        "float": float,
        "bool": bool,
        "str": str,
    }
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = annotation.replace(" ", "").removesuffix("|None")
    else:
        left = [kind for kind in getattr(annotation, "__args__", ()) if kind is not type(None)]
        annotation = left[0] if len(left) == 1 else annotation
    if annotation in by_name:
        return by_name[annotation]
    return by_name.get(type(parameter.default), str)


def _near(name: str, known: Iterable[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name.replace("-", "_"), sorted(set(known)), n=3, cutoff=0.75)


def _unknown(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name.replace("-", "_"), sorted(set(known)), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join('--' + n for n in near)}?" if near else "--help lists the options."
    return f"there is no option --{name}, and neither your client nor your server function takes it; {hint}"


def _parser(
    prog: str, functions: Sequence[tuple[Callable[..., Any], int]], takers: dict[str, inspect.Parameter]
) -> argparse.ArgumentParser:
    """For the words of --help; made only for who asks, since a start that asks for none is waited for."""
    import argparse

    about = "\n\n".join(
        f"{getattr(f, '__name__', f)}: {inspect.cleandoc(f.__doc__)}" for f, _ in functions if f.__doc__
    )
    parser = argparse.ArgumentParser(
        prog=os.path.basename(prog),
        usage=f"{os.path.basename(prog)} NAME [--local[=N]] [options] [--your_option=value ...]",
        description=about or None, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "NAME", help="names the job, its journal NAME.journal and its files NAME.success, .error, .results, .log"
    )
    group = parser.add_argument_group("your functions' options")
    ours = {option.name for option in (*OURS, SITE[0])}
    for name, parameter in takers.items():
        if name in ours:
            continue  # listed below; functions that name it get it
        default = parameter.default
        shown = "required" if default is inspect.Parameter.empty else f"default {default!r}"
        kind = getattr(option_type(parameter), "__name__", "str")
        group.add_argument(f"--{name}", metavar=kind.upper(), help=shown.replace("%", "%%"))
    group = parser.add_argument_group("options of coordinator")
    for option in (*OURS, *SITE):
        default = (
            f" (default {option.default:g})"
            if isinstance(option.default, (int, float)) and option.default not in (False,)
            else ""
        )
        group.add_argument(
            f"--{option.name}",
            metavar=option.metavar,
            help=(option.help + default).replace("%", "%%"),
            nargs="?" if option.alone else None,
        )
    return parser
