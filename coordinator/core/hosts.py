"""Hosts: the text of NAME.hosts and the values that it stands for.

The ResourceController parses the file at its start and whenever it was edited; nobody else reads it. A line is
one of::

    node1                                   one slot (maxload 1.0)
    node1 2.0                               the pair of the manual
    node1 maxload=2.0,sshopts=-p 2222       attributes, split at a comma that comes before NAME=
    node1 port=2222,user=bob,identity=~/.ssh/lab,proxyjump=bob@gate:22,python=/opt/python3,env.LANG=C
    # a comment; blank lines are fine, and so is a comment after a line

An error names file and line. This room never opens the file, never looks a name up and never reaches a host.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from coordinator.errors import BadInput, HostsFileError

DEFAULT_MAXLOAD = 1.0
#: a larger number is a slip of the keyboard, not a machine
MOST_MAXLOAD = 100_000.0
KNOWN = ("maxload", "sshopts", "port", "user", "identity", "proxyjump", "python", "env.NAME")

_NAME = re.compile(r"[A-Za-z0-9._:][A-Za-z0-9._:-]{0,252}")
_ATTRIBUTE = re.compile(r"(?:^|,)\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*=")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_VARIABLE = re.compile(r"env\.[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True)
class HostInfo:
    """One host: ``maxload`` in runnable processes (usually its cores), ``options`` as strings, its line in the file."""

    name: str
    maxload: float = DEFAULT_MAXLOAD
    options: Mapping[str, str] = field(default_factory=dict)
    line: int = field(default=0, compare=False)

    def with_maxload(self, maxload: float) -> HostInfo:
        return replace(self, maxload=maxload)

    def attributes(self) -> dict[str, float | str]:
        """``{'maxload': 2.0, 'sshopts': '-p 2222'}``, as ``get_hostinfo`` answers them."""
        return {"maxload": self.maxload, **self.options}


def check_host(name: object) -> str:
    """``name`` if it can be a host's name, else BadInput: it goes to SSH later, so it may never look like an option."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = repr(name)[:80]
        raise BadInput(
            f"{shown} is not a host name: at most 253 letters, digits, '.', '_', ':' and '-', not starting with '-'"
        )
    return name


def check_user(name: str) -> str:
    """``name`` if somebody can log in under it, else BadInput."""
    if not _USER.fullmatch(name):
        shown = repr(name)[:80]
        raise BadInput(f"{shown} is not a user name: a letter or '_', then up to 31 letters, digits, '_', '.' and '-'")
    return name


def check_port(text: str) -> int:
    """``text`` as a port, or BadInput."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536):
        raise BadInput(f"a port is a number from 1 to 65535, not {text[:80]!r}")
    return int(text)


def split_login(text: str) -> tuple[str | None, str, int | None]:
    """``(user, host, port)`` of ``[user@]host[:port]``, an IPv6 address in brackets; raises BadInput."""
    user, at, address = text.strip().rpartition("@")
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (":" in host and not host.endswith("]")):
        host, port = address, ""
    host = check_host(host.removeprefix("[").removesuffix("]"))
    return (check_user(user) if at else None), host, (check_port(port) if port else None)


def check_maxload(value: object) -> float:
    """``value`` as a load in runnable processes, or BadInput. 0 means: do not use this host."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise BadInput(f"maxload must be a number, not {value!r}")
    try:
        maxload = float(value)
    except (ValueError, OverflowError):
        raise BadInput(f"maxload must be a number, not {str(value)[:80]!r}") from None
    if not math.isfinite(maxload) or not 0 <= maxload <= MOST_MAXLOAD:
        raise BadInput(f"maxload must be between 0 and {MOST_MAXLOAD:g}, not {str(value)[:80]}")
    return maxload


def parse(text: str, filename: str = "NAME.hosts") -> dict[str, HostInfo]:
    """The hosts of a file's text, in its order. Raises HostsFileError (``bigcheese.hosts:7: ...``)."""
    found: dict[str, HostInfo] = {}
    spelled: dict[str, HostInfo] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        try:
            host = _parse_line(line.removesuffix("\r"), number)
            if host is None:
                continue
            # DNS does not know case, and a host that is listed twice would get its slots twice.
            first = spelled.setdefault(host.name.lower(), host)
            if first is not host:
                raise BadInput(f"host {host.name!r} is already on line {first.line}; keep one of the two")
        except BadInput as error:
            raise HostsFileError(f"{filename}:{number}: {error.message}") from None
        found[host.name] = host
    return found


def format(hosts: Mapping[str, HostInfo]) -> str:
    """The text that :func:`parse` reads as these hosts. Raises BadInput for a value that no line can hold."""
    lines = []
    for host in hosts.values():
        settings = [f"maxload={host.maxload!r}", *(f"{name}={value}" for name, value in host.options.items())]
        line = f"{check_host(host.name)} {','.join(settings)}"
        if _parse_line(line, 0) != host:
            raise BadInput(f"the options of host {host.name!r} cannot be written on one line: {dict(host.options)!r}")
        lines.append(line + "\n")
    return "".join(lines)


def _parse_line(line: str, number: int) -> HostInfo | None:
    if any(not character.isprintable() and character != "\t" for character in line):
        raise BadInput("the line holds a control character; a hosts file is plain text, one host a line")
    words = _COMMENT.sub("", line, count=1).strip().split(None, 1)
    if not words:
        return None
    name = check_host(words[0])
    rest = words[1].strip() if len(words) > 1 else ""
    marks = list(_ATTRIBUTE.finditer(rest))
    bare = (rest[: marks[0].start()] if marks else rest).strip().rstrip(",").strip()
    maxload = _bare_maxload(bare) if bare else None
    options: dict[str, str] = {}
    for index, mark in enumerate(marks):
        end = marks[index + 1].start() if index + 1 < len(marks) else len(rest)
        attribute = mark.group(1)
        value = rest[mark.end() : end].strip()
        if attribute in options or (attribute == "maxload" and maxload is not None):
            raise BadInput(f"{attribute} is given twice")
        if attribute == "maxload":
            maxload = check_maxload(value)
        elif attribute in KNOWN or _VARIABLE.fullmatch(attribute):
            if not value and not attribute.startswith("env."):
                raise BadInput(f"{attribute} has no value")
            _check_option(attribute, value)
            options[attribute] = value
        else:
            raise BadInput(f"unknown attribute {attribute!r}; known are {', '.join(KNOWN)}")
    return HostInfo(name, DEFAULT_MAXLOAD if maxload is None else maxload, options, number)


def _check_option(attribute: str, value: str) -> None:
    """What can be known of a value before anybody logs in; it never becomes a word of a command line."""
    if attribute == "port":
        check_port(value)
    elif attribute == "user":
        check_user(value)
    elif attribute == "proxyjump" and value.lower() != "none":
        for jump in value.split(","):
            split_login(jump)


def _bare_maxload(text: str) -> float:
    try:
        return check_maxload(text)
    except BadInput as error:
        raise BadInput(f"{error.message}; a line is 'HOST', 'HOST MAXLOAD' or 'HOST maxload=2.0,sshopts=...'") from None
