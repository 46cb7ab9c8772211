"""How a host is logged in to: its line in NAME.hosts over OpenSSH's own configuration.

:mod:`coordinator.executors.ssh` asks for a :class:`Target`. OpenSSH's option files count for HostName, User, Port,
IdentityFile, IdentitiesOnly, ProxyJump, HostKeyAlias and the two KnownHostsFile; its checks of host keys cannot be
switched off here. Nothing is connected to, and no value from here becomes a word of a command line.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.core.hosts import check_host, check_port, check_user, split_login
from coordinator.errors import BadInput

SSH_PORT = 22
#: as OpenSSH looks for them when nothing names a key file
DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
#: the user's file first: the first value that is found counts
CONFIG_FILES = ("~/.ssh/config", "/etc/ssh/ssh_config")

#: of sshopts, those that switch off what is never done here
_MEANINGLESS = frozenset("axqTnkC46v")
_LETTERS = {"p": "port", "l": "user", "i": "identityfile", "J": "proxyjump"}
_WORDS = frozenset({"hostname", "user", "port", "identityfile", "identitiesonly", "proxyjump", "hostkeyalias"})
#: said by cautious people, and always so here
_TRUE_ANYWAY = {
    **{"batchmode": "yes", "stricthostkeychecking": "yes", "forwardagent": "no", "forwardx11": "no"},
    **{"passwordauthentication": "no", "permitlocalcommand": "no", "clearallforwardings": "yes"},
}


@dataclass(frozen=True)
class Target:
    """One host to log in to. ``name`` as in NAME.hosts; ``jumps``: hosts to go through, ``[user@]host[:port]`` each."""

    name: str
    hostname: str
    port: int
    user: str
    identities: tuple[str, ...]
    identities_only: bool
    jumps: tuple[str, ...]
    key_alias: str | None
    known_hosts: tuple[str, ...]
    python: str
    env: tuple[tuple[str, str], ...]

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names under which its host key may be known."""
        plain = self.key_alias or self.hostname
        return (plain,) if self.port == SSH_PORT or self.key_alias else (f"[{plain}]:{self.port}", plain)

    @property
    def place(self) -> str:
        """For messages: ``node1``, or ``node1 (10.0.0.1 port 2222)``."""
        where = ([self.hostname] if self.hostname != self.name else []) + (
            [f"port {self.port}"] if self.port != SSH_PORT else []
        )
        return f"{self.name} ({' '.join(where)})" if where else self.name


def target(name: str, options: Mapping[str, Any], config: Mapping[str, Any]) -> Target:
    """``options``: the host's attributes in NAME.hosts; ``config``: what OpenSSH's files say of it, keys in lower case.

    Raises BadInput with what cannot be used.
    """
    if str(config.get("proxycommand") or "none").lower() != "none" and not config.get("proxyjump"):
        raise BadInput(
            f"OpenSSH's config has a ProxyCommand for {name}, which is not run here; say proxyjump=HOST in NAME.hosts"
        )
    given: dict[str, list[str]] = {}
    for attribute in ("port", "user", "identity", "proxyjump"):
        if attribute in options:
            given["identityfile" if attribute == "identity" else attribute] = [str(options[attribute])]
    for word, values in parse_sshopts(str(options.get("sshopts", ""))).items():
        given[word] = given.get(word, []) + values
    for word in _WORDS & config.keys():
        values = config[word] if isinstance(config[word], list) else [str(config[word])]
        if word == "identityfile":
            given[word] = given.get(word, []) + values
        else:
            given.setdefault(word, values)

    def first(word: str) -> str | None:
        return given[word][0] if given.get(word) else None

    jumps = first("proxyjump") or "none"
    identities = [file for file in given.get("identityfile") or DEFAULT_KEYS if file.lower() != "none"]
    known_hosts = (
        *_files(config, "userknownhostsfile", USER_KNOWN_HOSTS),
        *_files(config, "globalknownhostsfile", SYSTEM_KNOWN_HOSTS),
    )
    try:
        return Target(
            name=check_host(name),
            hostname=check_host(first("hostname") or name),
            port=check_port(first("port") or str(SSH_PORT)),
            user=check_user(first("user") or getpass.getuser()),
            identities=tuple(absolute(file) for file in identities),
            identities_only=(first("identitiesonly") or "no").lower() == "yes",
            jumps=() if jumps.lower() == "none" else tuple(_jump(jump) for jump in jumps.split(",")),
            key_alias=first("hostkeyalias"),
            known_hosts=tuple(absolute(file) for file in known_hosts),
            python=str(options.get("python") or sys.executable),
            env=tuple((word[4:], str(value)) for word, value in options.items() if word.startswith("env.")),
        )
    except BadInput as error:
        raise BadInput(f"{name} cannot be logged in to: {error.message}") from None


def _jump(text: str) -> str:
    split_login(text)
    return text.strip()


def _files(config: Mapping[str, Any], word: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    said = config.get(word)
    if said is None:
        return otherwise
    return tuple(file for file in shlex.split(str(said)) if file.lower() != "none")


def absolute(file: str) -> str:
    return os.path.abspath(os.path.expanduser(file))


def parse_sshopts(text: str) -> dict[str, list[str]]:
    """``-p 2222 -o User=bob`` as ``{'port': ['2222'], 'user': ['bob']}``; BadInput for what is not understood."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"sshopts={text[:200]!r} cannot be read: {error}") from None
    found: dict[str, list[str]] = {}
    while words:
        word = words.pop(0)
        if len(word) > 1 and word[0] == "-" and set(word[1:]) <= _MEANINGLESS:
            continue
        letter, value = word[1:2], word[2:]
        if word[:1] != "-" or (letter not in _LETTERS and letter != "o"):
            raise BadInput(f"sshopts={text[:200]!r}: {word[:80]!r} is not understood; known are -p -l -i -J and -o")
        if not value:
            if not words:
                raise BadInput(f"sshopts={text[:200]!r}: {word!r} has no value")
            value = words.pop(0)
        if letter != "o":
            found.setdefault(_LETTERS[letter], []).append(value)
            continue
        option, _, value = re.sub(r"^\s*(\w+)(\s*=\s*|\s+)", r"\1=", value).partition("=")
        option = option.lower()
        if option in _WORDS and value:
            found.setdefault(option, []).append(value)
        elif _TRUE_ANYWAY.get(option) != value.lower() and option not in ("connecttimeout", "serveraliveinterval"):
            raise BadInput(
                f"sshopts={text[:200]!r}: -o {option[:40]}={value[:40]} is not possible here; known are Port, User, "
                f"HostName, IdentityFile, IdentitiesOnly, ProxyJump and HostKeyAlias, and host keys are always checked"
            )
    return found


# --- OpenSSH's option files ---------------------------------------------------------------------------


def config_text(files: Iterable[str] = CONFIG_FILES) -> str:
    """Those files as one text, with what they include in its place."""
    parts = []
    for file in files:
        path = os.path.expanduser(file)
        parts.append("Host *\n" + _with_included(path, os.path.dirname(path), 0))
    return "\n".join(parts)


def _with_included(path: str, directory: str, depth: int) -> str:
    """Includes are relative to ~/.ssh or /etc/ssh, and end with the block in which they stand."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    found, block = [], "Host *"
    for line in lines:
        word, _, rest = re.sub(r"^\s*(\w+)(\s*=\s*|\s+)", r"\1=", line).partition("=")
        if word.lower() in ("host", "match"):
            block = line
        if word.lower() != "include" or depth > 8:
            found.append(line)
            continue
        for pattern in shlex.split(rest, comments=True):
            for name in sorted(glob.glob(os.path.join(directory, os.path.expanduser(pattern)))):
                found += [_with_included(name, directory, depth + 1), block]
    return "\n".join(found)
