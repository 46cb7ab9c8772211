"""What runs on a node: a script that is the same for every job of a submission, and a table with a line for each.

A submission's directory holds both; :mod:`coordinator.executors.scheduler` writes them before a scheduler hears of the
jobs. The script finds its line by the number that the scheduler gives it, claims the attempt, runs the job, and leaves
an exit file, by which its end is known whatever the scheduler says or forgets. It needs ``/bin/sh``, ``sed`` and
``ln``: nothing of ours has to be installed there. Nothing that people wrote stands in the script; in the table every
value is quoted, and a line is a line. Pure functions of text.

Beside ``record``, a path that each attempt has for itself:

``record.begun``
    ``ID.INDEX HOST SECONDS``: made by ``ln``, which only one can do. Who finds it made by another job does nothing, so
    that a submission that happened twice runs once; who finds itself was started again by its scheduler, and runs
    again unless it has ended.
``record.exit``
    one line of JSON, renamed into place: see :func:`exit_of`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.core.statuses import Used
from coordinator.errors import BadInput

#: exit statuses of the script itself, where no job could be begun (sysexits.h: EX_OSFILE, EX_CANTCREAT)
NO_LINE, NO_CLAIM = 72, 73
#: what the script calls a job to which nobody gave an id
NO_ID = "none"
#: in whose name an attempt is begun that is never to begin: it was cancelled before
NOBODY = "cancelled.0"
#: in a job's environment: ID.INDEX, and seconds since the epoch of its begin
NATIVE_ID, BEGAN = "COORDINATOR_NATIVE_ID", "COORDINATOR_BEGAN"

SCRIPT = """\
#!/bin/sh
# One of the jobs of the table beside this file, by its number. Written by coordinator; nothing in it is a directive.
umask 077
here=@HERE@
native=
for found in @IDS@ @NO_ID@; do native=${native:-$found}; done
index=
for found in @INDICES@; do index=${index:-$found}; done
case $index in '' | 0 | *[!0-9]*) index=1 ;; esac
newline='
'
line=$(sed -n "${index}{p;q;}" "$here/table")
if [ -z "$line" ]; then
    echo "coordinator: on $(uname -n) no line $index of $here/table can be read: is that file system mounted?" >&2
    exit @NO_LINE@
fi
eval "$line"
host=$(uname -n | tr -cd 'A-Za-z0-9._-')
me=$(printf '%s' "$native.$index" | tr -cd 'A-Za-z0-9._[]-')
began=$(date +%s)
printf '%s %s %s\\n' "$me" "$host" "$began" >"$record.claim.$$"
if ! ln "$record.claim.$$" "$record.begun" 2>/dev/null; then
    first=
    if [ -e "$record.begun" ]; then read -r first rest <"$record.begun"; fi
    if [ -z "$first" ]; then
        echo "coordinator: on $(uname -n) $record.begun cannot be made: is the disk full, or read-only?" >&2
        exit @NO_CLAIM@
    elif [ "$first" != "$me" ]; then
        echo "coordinator: job $first has begun this attempt already, so job $me leaves it alone" >&2
        rm -f "$record.claim.$$"
        exit 0
    elif [ -e "$record.exit" ]; then
        echo "coordinator: job $me was started again, but this attempt is over" >&2
        rm -f "$record.claim.$$"
        exit 0
    fi
    mv -f "$record.claim.$$" "$record.begun"
else
    rm -f "$record.claim.$$"
fi
umask "$mask"
code=0
if ! cd -- "$directory" 2>>"$err"; then
    code=@NO_LINE@
else
    @NATIVE_ID@=$me
    @BEGAN@=$began
    export @NATIVE_ID@ @BEGAN@
    # A job's own variables are not for the commands of this script: one of them may be PATH.
    (variables; exec "$@") </dev/null >>"$out" 2>>"$err" &
    child=$!
    for signal in TERM INT HUP USR1 USR2 XCPU CONT; do trap "kill -$signal $child 2>/dev/null" $signal; done
    # A signal ends the wait, not the job.
    while :; do
        wait "$child"
        code=$?
        kill -0 "$child" 2>/dev/null || break
    done
fi
umask 077
times >"$record.times.$$"
used=$(sed -n '2{p;q;}' "$record.times.$$" | tr -cd '0-9.ms ')
rm -f "$record.times.$$"
if printf '{"code": %d, "native": "%s", "host": "%s", "began": %d, "ended": %d, "cpu": "%s"}\\n' \\
    "$code" "$me" "$host" "$began" "$(date +%s)" "$used" >"$record.exit.$$"; then
    mv -f "$record.exit.$$" "$record.exit"
fi
exit "$code"
"""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CPU = re.compile(r"(\d+)m(\d+(?:\.\d+)?)s")
#: the script's own, still needed when a job's variables are there, and those that make a shell do something else
_RESERVED = frozenset(
    ("here", "native", "index", "found", "newline", "line", "host", "me", "began", "first", "rest", "code", "child",
     "signal", "used", "record", "directory", "out", "err", "mask", "variables", "IFS", "ENV", "BASH_ENV")
)  # fmt: skip


@dataclass(frozen=True)
class Element:
    """A job of a submission. ``argv``: what runs in ``directory``; ``out``, ``err``: where it prints to; ``record``: of
    this attempt alone; ``variables``: of its environment; ``umask``: in octal, that of whoever submitted it."""

    argv: Sequence[str]
    directory: str
    record: str
    out: str
    err: str
    variables: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o077


@dataclass(frozen=True)
class Exit:
    """How a job ended, by its own exit file. ``code``: as ``$?`` has it; ``signal``: the one that ended it, 0 for none.
    Times are seconds since the epoch on the job's own host."""

    code: int
    native: str
    host: str
    began: float
    ended: float
    used: Used

    @property
    def signal(self) -> int:
        """Shells give the end by a signal as 128 and its number."""
        return self.code - 128 if 128 < self.code <= 192 else 0


def script(here: str, id_variables: Sequence[str], index_variables: Sequence[str]) -> str:
    """``here``: the submission's directory; a job's id and its number are in the first of their variables that is
    there.

    Raises BadInput.
    """
    if not all(_VARIABLE.fullmatch(name) for name in (*id_variables, *index_variables)):
        raise BadInput(f"one of {id_variables!r} or of {index_variables!r} is no name of a variable")
    if "\n" in here or "\r" in here or "\0" in here:
        raise BadInput(f"jobs cannot be submitted from {here!r}: there is a line end in its name")
    ids, numbers = (" ".join(f'"${{{name}:-}}"' for name in names) for names in (id_variables, index_variables))
    values = {
        "HERE": shlex.quote(here), "IDS": ids, "INDICES": numbers,
        "NO_LINE": str(NO_LINE), "NO_CLAIM": str(NO_CLAIM), "NO_ID": NO_ID, "NATIVE_ID": NATIVE_ID, "BEGAN": BEGAN,
    }  # fmt: skip
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], SCRIPT)


def table(elements: Sequence[Element]) -> str:
    """The lines of the table, one for each element. Raises BadInput."""
    return "".join(line(element) + "\n" for element in elements)


def line(element: Element) -> str:
    """One job's line. Raises BadInput for what no environment and no command can hold."""
    if not element.argv:
        raise BadInput("there is nothing to run")
    words = [f"{name}={quoted(getattr(element, name))}" for name in ("directory", "record", "out", "err")]
    words.append(f"mask={element.umask & 0o777:03o}")
    exports = []
    for name, value in element.variables.items():
        if not _VARIABLE.fullmatch(name) or name in _RESERVED:
            raise BadInput(
                f"{name!r} cannot be a job's variable: letters, digits and _, not a digit in front, and none of ours"
            )
        exports.append(f"export {name}={quoted(value)};")
    own = f"variables() {{ {' '.join(exports) or ':;'} }}"
    return "; ".join([*words, own, "set -- " + " ".join(map(quoted, element.argv))])


def quoted(value: str) -> str:
    """A word of the shell, in one line whatever is in it. Raises BadInput."""
    if "\0" in value:
        raise BadInput(f"{value[:80]!r} has a zero byte, which no command can be given")
    return '"$newline"'.join(shlex.quote(part) for part in value.split("\n"))


def exit_of(text: str) -> Exit:
    """The content of an exit file. Raises BadInput if it is damaged."""
    try:
        told: Any = json.loads(text)
        minutes = [60 * int(m) + float(s) for m, s in _CPU.findall(str(told["cpu"]))]
        used = Used(max(0.0, float(told["ended"]) - float(told["began"])), sum(minutes) if minutes else None)
        return Exit(
            int(told["code"]), str(told["native"]), str(told["host"]), float(told["began"]), float(told["ended"]), used
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"the exit file is damaged: {text[:200]!r}") from error


def begun_of(text: str) -> str:
    """Which job has begun the attempt: ``ID.INDEX``; "" where that is not told."""
    return text.partition(" ")[0].strip()


def native_in(begun: str) -> str:
    """The native id of the job or array that has begun the attempt, "" where nobody gave it one. PBS calls an element
    ``17[4].server`` where the array is ``17[].server``."""
    native = re.sub(r"\[\d+\]", "[]", begun.rpartition(".")[0])
    return "" if native == NO_ID or begun == NOBODY else native
