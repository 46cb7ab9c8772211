"""Keys: which ones are known of a host, and whether the user has any to log in with.

:mod:`coordinator.executors.ssh` asks for the lines of known_hosts files that name a host, found without reading all the
keys in them; the Coordinator asks at its start whether there is an agent or a key file at all. It connects to the
agent's socket only.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import os
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from coordinator.errors import BadInput
from coordinator.executors.sshconfig import DEFAULT_KEYS, Target, absolute, config_text, parse_sshopts

AGENT_S = 3.0


# --- known host keys ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownKey:
    """A line of a known_hosts file. ``place``: ``file:line``; ``line`` as OpenSSH writes one, without its marker."""

    line: str
    place: str
    revoked: bool = False


def known_keys(target: Target) -> list[KnownKey]:
    """The lines that name this host. Under its port first; as with OpenSSH, a key known for port 22 does as well."""
    for name in target.key_names:
        found = [key for file in target.known_hosts for key in keys_in(file, name)]
        if found:
            return found
    return []


def keys_in(file: str, name: str) -> list[KnownKey]:
    """The lines of one file for that name; certificates of authorities are not understood and not counted."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            text = lines.read()
    except OSError:
        return []
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        if _names_match(words[0], name):
            found.append(KnownKey(" ".join([name, *words[1:3]]), f"{file}:{number}", bool(marker)))
    return found


def _names_match(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in patterns[3:].split("|"))
        except ValueError:
            return False
        # What OpenSSH's HashKnownHosts writes; it hides names and protects no key.
        return hmac.compare_digest(hmac.new(salt, name.lower().encode(), hashlib.sha1).digest(), digest)
    hit = False
    for pattern in patterns.lower().split(","):
        wanted = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), wanted):
            if pattern.startswith("!"):
                return False
            hit = True
    return hit


def public_blob(file: str) -> bytes | None:
    """The public key beside a key file, None if there is none: the agent may hold that key."""
    with suppress(OSError, ValueError, IndexError), open(f"{file.removesuffix('.pub')}.pub", encoding="ascii") as lines:
        return base64.b64decode(lines.read().split()[1])
    return None


# --- is there any key to log in with? -----------------------------------------------------------------


def agent_keys() -> int:
    """How many keys the ssh-agent holds; 0 where there is no agent."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        return 0
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(AGENT_S)
            agent.connect(path)
            agent.sendall(b"\0\0\0\x01\x0b")  # SSH2_AGENTC_REQUEST_IDENTITIES
            with agent.makefile("rb") as answer:
                kind, count = struct.unpack(">4xBI", answer.read(9))
    except (OSError, struct.error):
        return 0
    return int(count) if kind == 12 else 0


def no_key_words(hosts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why none of these hosts can be logged in to, if there is neither an agent with a key nor a key file."""
    if not hosts or agent_keys():
        return None
    named = [str(options["identity"]) for options in hosts.values() if "identity" in options]
    named += [file for options in hosts.values() for file in _identities(str(options.get("sshopts", "")))]
    named += re.findall(r"(?im)^\s*IdentityFile[\s=]+\"?([^\s\"]+)", config_text())
    # %d and the like are for the host's own turn; here they may count as there.
    if any("%" in file or os.access(absolute(file), os.R_OK) for file in (*named, *DEFAULT_KEYS)):
        return None
    agent = os.environ.get("SSH_AUTH_SOCK")
    if not agent:
        why = "no ssh-agent is running for this shell (SSH_AUTH_SOCK is not set)"
    elif not os.path.exists(agent):
        why = f"the ssh-agent is gone ({agent}, which SSH_AUTH_SOCK names, does not exist)"
    else:
        why = f"the ssh-agent at {agent} has no key or does not answer"
    first, *others = hosts
    who = f"{first} and {len(others)} more hosts" if others else first
    return (
        f"{who} can only be reached over SSH, and there is no key to log in with: {why}, and there is no key file. "
        f"Type `eval $(ssh-agent)` and `ssh-add`, or name a key file with identity= in NAME.hosts or IdentityFile in "
        f"~/.ssh/config."
    )


def _identities(sshopts: str) -> list[str]:
    try:
        return parse_sshopts(sshopts).get("identityfile", [])
    except BadInput:
        return []
