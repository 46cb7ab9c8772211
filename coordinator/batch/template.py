"""A job's script from its template: ``{field}`` stands for what the job's description says.

Whoever makes scripts and the names of log files calls :func:`filled`. Templates are shell scripts, so nothing but a
field is touched::

    {name}  {JobIndex:04d}  {resources[mem]}  {vars[x]}  {name[0]}     fields, with items and a format
    {data!q}                                                          quoted, one word for the shell
    {{name}}                                                          the text {name}
    ${VAR} ${A[@]} ${VAR:-x} {a,b} {1..5} {} {print $1} { cmd; }      not fields: left as they are
    ${{VAR}}                                                          ${VAR}, as templates of old had to write it

Around a field each doubled pair of braces is one brace, as in Python: ``{{{name}}}`` is the value in braces.
Everywhere else braces stay as they are. ``{print}``, ``{next}``, ``{exit}``, ``{getline}`` and ``{nextfile}`` are
awk's, unless the job has a field of that name. A value is put in once and never read again as a template, and none can
add a line.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from numbers import Number
from pathlib import PurePath
from typing import Any

from coordinator.core.needs import one_line
from coordinator.errors import BadTemplate

#: statements of awk that look like a field
AWK = frozenset(("print", "next", "exit", "getline", "nextfile"))

# A width of more than three digits is no format: it would fill the memory. Nor is one that begins with a space: {a: 1}.
_FIELD = re.compile(
    r"""(?<![{$])(?P<open>\{++)
    (?P<written>(?P<name>[A-Za-z_][A-Za-z0-9_]*+)
        (?P<items>(?:\[[^\[\]{}\x00-\x20\x7f-\x9f\u2028\u2029'"`$\\]++\])*+)
        (?P<quoted>!q)?
        (?P<format>:(?:[^{}\s]?[<>=^])?[-+]?\#?0?[0-9]{0,3}[_,]?(?:\.[0-9]{1,3})?[bcdeEfFgGosxX%]?)?)
    (?P<close>\}++)""",
    re.VERBOSE,
)
#: as templates had to write the shell's own braces once; no shell knows it
_DOUBLED = re.compile(r"\$\{\{([^{}\n]*)\}\}")
_ITEM = re.compile(r"\[([^\]]*)\]")


def filled(text: str, job: Mapping[str, Any]) -> str:
    """The template with what ``job`` says. A ``name`` that is a list is joined by ``/``; other lists and dictionaries
    are JSON; None is nothing.

    Raises BadTemplate, which names the line and the field.
    """

    def put(found: re.Match[str]) -> str:
        before, after = len(found["open"]), len(found["close"])
        pairs, single = divmod(min(before, after), 2)
        inside = _put(found, job) if single else found["written"]
        # Braces that have no partner on the other side stay.
        alone = min(before, after) - pairs
        return "{" * (before - alone) + inside + "}" * (after - alone)

    return _FIELD.sub(put, _DOUBLED.sub(r"${\1}", text))


def fields(text: str) -> set[str]:
    """The names of the fields of a template, without awk's statements."""
    return {
        found["name"]
        for found in _FIELD.finditer(text)
        if min(len(found["open"]), len(found["close"])) % 2 and not _is_awk(found)
    }


def _is_awk(found: re.Match[str]) -> bool:
    return found["written"] in AWK


def _put(found: re.Match[str], job: Mapping[str, Any]) -> str:
    if _is_awk(found) and found["name"] not in job:
        return "{" + found["written"] + "}"
    try:
        value = _shaped(_valued(found, job), found["name"], bool(found["items"]), found["format"])
    except BadTemplate as error:
        line = found.string.count("\n", 0, found.start()) + 1
        raise BadTemplate(f"line {line}: {{{found['written']}}}: {error.message}") from error
    return shlex.quote(value) if found["quoted"] else value


def _valued(found: re.Match[str], job: Mapping[str, Any]) -> Any:
    written = found["written"]
    if found["name"] not in job:
        raise BadTemplate(_missing("the job has no field", found["name"], job, written))
    value, path = job[found["name"]], found["name"]
    for item in _ITEM.findall(found["items"]):
        if isinstance(value, Mapping):
            if item not in value:
                raise BadTemplate(_missing(f"{path} has no item", item, value, written))
            value = value[item]
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            if not re.fullmatch(r"-?[0-9]{1,9}", item, re.ASCII) or not -len(value) <= int(item) < len(value):
                raise BadTemplate(f"{path} is a list of {len(value)}, of which {item} is none. {_otherwise(written)}")
            value = value[int(item)]
        else:
            raise BadTemplate(f"{path} has no items: it is {_shown(value)}. {_otherwise(written)}")
        path += f"[{item}]"
    return value


def _missing(what: str, name: str, known: Mapping[Any, Any], written: str) -> str:
    names = [str(each) for each in known if one_line(str(each))]
    near = difflib.get_close_matches(name, names, n=1)
    has = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names)[:20]) or 'none'}."
    return f"{what} {name!r}; {has[:300]} {_otherwise(written)}"


def _otherwise(written: str) -> str:
    return f"If it is not meant as a field, write {{{{{written}}}}}"


def _shaped(value: Any, name: str, item: bool, form: str | None) -> str:
    """As text in one line."""
    if value is None:
        value = ""
    elif name == "name" and not item and isinstance(value, (list, tuple)):
        value = "/".join(_plain(each) for each in value)
    elif isinstance(value, (list, tuple, Mapping)):
        try:
            value = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadTemplate(f"this cannot be written as JSON: {error}") from error
    elif isinstance(value, bool) or not isinstance(value, Number):
        value = _plain(value)
    try:
        text = format(value, form[1:]) if form else str(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadTemplate(f"{_shown(value)} cannot be written as {form}: {error}") from error
    if not one_line(text):
        raise BadTemplate(
            f"its value {_shown(text)} has a line end or another control character, and nothing in a value can add a"
            " line to the script: put it into a file and give the script the file's name"
        )
    return text


def _plain(value: Any) -> str:
    if not isinstance(value, (str, bool, Number, PurePath)):
        raise BadTemplate(
            f"a {type(value).__name__} is not written into a script: only text, numbers, lists and the like"
        )
    return str(value)


def _shown(value: Any) -> str:
    """ASCII, since it may hold what no terminal can show."""
    return ascii(value)[:80]
