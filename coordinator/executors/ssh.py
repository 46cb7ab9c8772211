"""Logging in to a host over SSH; the only import of paramiko.

The launcher process calls it, in a thread for each host; every call has a time-out, and the attempt's ``cut`` ends one
that hangs all the same. Host keys are checked against the known ones, and unknown ones are refused; keys come from the
agent and from key files; nothing is forwarded. Every failure is a LaunchFailed with one sentence: what happened, why,
what to do. What is said on the host is :mod:`coordinator.executors.farside`'s.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import paramiko
from paramiko.auth_strategy import AuthStrategy, InMemoryPrivateKey

from coordinator.core.hosts import split_login
from coordinator.errors import BadInput, LaunchFailed
from coordinator.executors import farside, sshconfig, sshkeys
from coordinator.executors.attempt import Attempt, Gate, failed
from coordinator.executors.sshconfig import SSH_PORT, Target

#: seconds for single steps
CONNECT_S, GREETING_S, LOGIN_S = 10.0, 10.0, 12.0
#: seconds before a connection that was dropped in the greeting is tried again: at first, and at most; a random share
RETRY_S, RETRY_MOST_S = 0.3, 3.0

logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # its failures arrive as exceptions

_gates: dict[tuple[str, int], Gate] = {}
_gates_lock = threading.Lock()


def launch(
    attempt: Attempt,
    name: str,
    options: Mapping[str, Any],
    orders: dict[str, Any],
    here: Mapping[str, Any],
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run the host's keeper with these orders; what it says when it is ready. Raises LaunchFailed.

    ``here``: {"path": [...], "umask": "0022"} of this machine. A URL among ``orders["urls"]`` whose host is ``*`` gets
    this machine's address as the host sees it. ``tell`` gets what is said after the first word, until its end.
    """
    target = target_of(name, options)
    client = login(attempt, target)
    transport = client.get_transport()
    assert transport is not None
    if "urls" in orders:
        address = None if target.jumps else transport.sock.getsockname()[0]  # type: ignore[union-attr] # no channel
        orders = {**orders, "urls": farside.addressed(orders["urls"], address)}
    try:
        attempt.step = f"opening a session for {target.user}"
        channel = attempt.keep(transport.open_session(timeout=attempt.left_s()))
        channel.set_combine_stderr(True)
        return farside.order(attempt, target, channel, orders, here, tell)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if attempt.over or isinstance(error, TimeoutError):
            raise attempt.too_slow() from error
        raise failed("shell", f"{target.place} broke the connection while {attempt.step}: {_text(error)}") from error


def target_of(name: str, options: Mapping[str, Any]) -> Target:
    """The host of NAME.hosts, with OpenSSH's config. Raises LaunchFailed."""
    try:
        config = paramiko.SSHConfig.from_text(sshconfig.config_text()).lookup(name)
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize, ImportError, ValueError) as error:
        raise failed("config", f"OpenSSH's config cannot be used for {name}: {error}") from error
    try:
        return sshconfig.target(name, options, config)
    except BadInput as error:
        raise failed("config", error.message) from error


# --- logging in ---------------------------------------------------------------------------------------


def login(attempt: Attempt, target: Target) -> paramiko.SSHClient:
    """A client that is logged in, through the jump hosts if there are any."""
    opener = None
    for hop, following in _hops(target):
        opener = _through(attempt, _enter(attempt, hop, opener or _direct(attempt, hop)), hop, following)
    return _enter(attempt, target, opener or _direct(attempt, target))


def _hops(target: Target) -> list[tuple[Target, Target]]:
    """Each jump host with the one that comes after it."""
    hops = []
    for jump in target.jumps:
        user, host, port = split_login(jump)
        said = {"user": user, "port": port, "proxyjump": "none"}
        hops.append(target_of(host, {key: value for key, value in said.items() if value is not None}))
    return list(itertools.pairwise([*hops, target]))


def _enter(attempt: Attempt, target: Target, opener: Callable[[], Any]) -> paramiko.SSHClient:
    with _gates_lock:
        gate = _gates.setdefault((target.hostname, target.port), Gate())
    with attempt.queued():
        gate.enter(attempt)
    failure = None
    try:
        return _retrying(attempt, target, opener)
    except LaunchFailed as error:
        failure = error
        raise
    finally:
        gate.leave(attempt, failure)


def _retrying(attempt: Attempt, target: Target, opener: Callable[[], Any]) -> paramiko.SSHClient:
    """A server that drops connections in the greeting has too many of them: come back, each at a time of its own."""
    tries, pause_s = 0, RETRY_S
    while True:
        tries += 1
        try:
            return _try(attempt, target, opener)
        except (ConnectionResetError, EOFError, paramiko.SSHException) as error:
            if attempt.over:
                raise attempt.too_slow() from error
            if isinstance(error, paramiko.SSHException) and "protocol banner" not in str(error):
                words = f"{target.place} and this machine do not agree on how to talk SSH: {_text(error)}"
                raise failed("reach", words) from error
            if attempt.deadline - time.monotonic() < 2 * pause_s + 1:
                raise failed(
                    "busy",
                    f"the SSH server of {target.place} closed each of {tries} connections before a word was said: it "
                    f"has too many logins at once (MaxStartups), or does not want this machine (hosts.deny, fail2ban)",
                ) from error
            attempt.rest(random.uniform(0.3, 1.0) * pause_s)
            pause_s = min(2 * pause_s, RETRY_MOST_S)


def _try(attempt: Attempt, target: Target, opener: Callable[[], Any]) -> paramiko.SSHClient:
    sock = attempt.keep(opener())
    client = attempt.keep(paramiko.SSHClient())
    refuse, keys = _Refuse(), _Keys(attempt, target)
    client.set_missing_host_key_policy(refuse)
    known, revoked = _known(target)
    entry = target.hostname if target.port == SSH_PORT else f"[{target.hostname}]:{target.port}"
    for key, _ in reversed(known):  # of several keys of one kind, the first in the file counts
        client.get_host_keys().add(entry, key.get_name(), key)
    attempt.step = "waiting for the SSH server's greeting"
    began = time.monotonic()
    try:
        client.connect(
            target.hostname,
            target.port,
            target.user,
            sock=sock,
            timeout=attempt.left_s(LOGIN_S),
            banner_timeout=attempt.left_s(GREETING_S),
            auth_timeout=attempt.left_s(LOGIN_S),
            channel_timeout=attempt.left_s(LOGIN_S),
            auth_strategy=keys,
        )
    except paramiko.BadHostKeyException as error:
        raise _changed_key(target, error.key) from error
    except paramiko.AuthenticationException as error:
        if attempt.over:
            raise attempt.too_slow() from error
        raise _not_admitted(target, keys) from error
    except paramiko.SSHException as error:
        if refuse.shown is not None:
            raise _unknown_key(target, refuse.shown, refuse.shown in revoked) from error
        if not attempt.over and "protocol banner" in str(error) and time.monotonic() - began > GREETING_S - 1:
            raise failed(
                "reach",
                f"{target.place} takes connections, but its SSH server says nothing within {GREETING_S:g} s: the host "
                f"hangs or is overloaded",
            ) from error
        raise
    except TimeoutError as error:
        raise attempt.too_slow() from error
    transport = client.get_transport()
    if transport is None or not transport.is_authenticated():
        words = "wants more than a key to log in, and a second factor cannot be asked for here"
        raise failed("login", f"{target.place} {words} (user {target.user})")
    return client


def _direct(attempt: Attempt, target: Target) -> Callable[[], Any]:
    def connect() -> socket.socket:
        attempt.step = f"connecting to {target.place}"
        limit_s = attempt.left_s(CONNECT_S)
        where = f"{target.place} port {target.port}" if target.port == SSH_PORT else target.place
        try:
            return socket.create_connection((target.hostname, target.port), timeout=limit_s)
        except socket.gaierror as error:
            words = f"the name {target.hostname} is not known on this machine ({error.strerror})"
            cure = "correct it in NAME.hosts, or give it a HostName in ~/.ssh/config"
            raise failed("reach", f"{words}: {cure}") from error
        except ConnectionRefusedError as error:
            words = f"{where} refuses connections: no SSH server is running there, or a firewall is in the way"
            raise failed("reach", words) from error
        except TimeoutError as error:
            words = f"{where} did not answer within {limit_s:.0f} s: it is down, or the way to it is cut"
            raise failed("reach", words) from error
        except ConnectionResetError:
            raise  # as when it is dropped in the greeting
        except (OSError, UnicodeError) as error:
            raise failed("reach", f"{where} cannot be reached: {_text(error)}") from error

    return connect


def _through(attempt: Attempt, client: paramiko.SSHClient, hop: Target, following: Target) -> Callable[[], Any]:
    def connect() -> paramiko.Channel:
        attempt.step = f"connecting to {following.place} through {hop.place}"
        transport = client.get_transport()
        assert transport is not None
        address = (following.hostname, following.port)
        try:
            return transport.open_channel("direct-tcpip", address, ("127.0.0.1", 0), timeout=attempt.left_s(CONNECT_S))
        except (paramiko.SSHException, EOFError) as error:
            why = f"it is down, or not known there ({_text(error)})"
            raise failed("reach", f"{following.place} cannot be reached through {hop.place}: {why}") from error

    return connect


def _text(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


# --- keys of the user ---------------------------------------------------------------------------------


class _Keys(AuthStrategy):
    """The agent's keys and the key files; those of the agent that a file names come first."""

    def __init__(self, attempt: Attempt, target: Target) -> None:
        super().__init__(paramiko.SSHConfig())
        self._attempt, self._target = attempt, target
        #: for the message when none was taken
        self.tried: list[str] = []
        self.unusable: list[str] = []

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        target, attempt = self._target, self._attempt
        named = {blob for file in target.identities if (blob := sshkeys.public_blob(file)) is not None}
        offered = set()
        for key in sorted(self._agents(), key=lambda key: key.asbytes() not in named):
            offered.add(key.asbytes())
            if key.asbytes() in named or not target.identities_only:
                attempt.step = "logging in with a key of the ssh-agent"
                self.tried.append("the agent's keys")
                yield InMemoryPrivateKey(target.user, key)
        for file in target.identities:
            loaded = self._load(file)
            if loaded is not None and loaded.asbytes() not in offered:
                attempt.step = f"logging in with {file}"
                self.tried.append(file)
                yield InMemoryPrivateKey(target.user, loaded)

    def _agents(self) -> list[paramiko.AgentKey]:
        self._attempt.step = "asking the ssh-agent for its keys"
        try:
            return list(self._attempt.keep(paramiko.Agent()).get_keys())
        except (paramiko.SSHException, OSError) as error:
            self.unusable.append(f"the ssh-agent does not answer ({_text(error)})")
            return []

    def _load(self, file: str) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(file)
        except FileNotFoundError:
            return None
        except (paramiko.PasswordRequiredException, TypeError):  # TypeError: cryptography's word for it
            self.unusable.append(f"{file} has a passphrase; add it with ssh-add")
        except (paramiko.SSHException, OSError, ValueError) as error:
            self.unusable.append(f"{file} cannot be read: {_text(error)}")
        return None


def _not_admitted(target: Target, keys: _Keys) -> LaunchFailed:
    bad = "".join(f"; {one}" for one in keys.unusable)
    if not keys.tried:
        agent = os.environ.get("SSH_AUTH_SOCK")
        why = f"the ssh-agent at {agent} has no key or is gone" if agent else "there is no ssh-agent"
        # An agent that is started later is not known to a process that runs already.
        cure = "type `ssh-add`" if agent else "type `eval $(ssh-agent)` and `ssh-add`, then the same command again"
        cure += ", or name a key file with identity= in NAME.hosts"
        return failed("login", f"there is no key to log in to {target.place} with: {why}, and no key file{bad}; {cure}")
    tried = ", ".join(dict.fromkeys(keys.tried))
    words = f"{target.place} takes none of your keys for user {target.user} (tried: {tried}{bad})"
    cure = f"put your public key into its ~/.ssh/authorized_keys (ssh-copy-id {target.user}@{target.name})"
    return failed("login", f"{words}: {cure}")


# --- keys of the host ---------------------------------------------------------------------------------


def fingerprint(key: paramiko.PKey) -> str:
    """``ED25519 SHA256:...``, as ``ssh-keygen -l`` shows it."""
    kind = key.get_name().removeprefix("ssh-").removeprefix("ecdsa-sha2-").upper()
    return f"{kind} SHA256:{base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip('=')}"


class _Refuse(paramiko.RejectPolicy):
    """Refuses, and remembers what the host showed."""

    shown: paramiko.PKey | None = None

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # type: ignore[override]
        self.shown = key
        super().missing_host_key(client, hostname, key)


def _known(target: Target) -> tuple[list[tuple[paramiko.PKey, str]], list[paramiko.PKey]]:
    """The keys that are known for a host, with their places, and those that were revoked."""
    good, revoked = [], []
    for known in sshkeys.known_keys(target):
        with suppress(paramiko.SSHException, ValueError):
            entry = paramiko.hostkeys.HostKeyEntry.from_line(known.line)
            if entry is not None and entry.key is not None and known.revoked:
                revoked.append(entry.key)
            elif entry is not None and entry.key is not None:
                good.append((entry.key, known.place))
    return [(key, place) for key, place in good if key not in revoked], revoked


def _unknown_key(target: Target, shown: paramiko.PKey, revoked: bool) -> LaunchFailed:
    if revoked:
        return failed("host key", f"{target.place} shows a host key that was revoked ({fingerprint(shown)})")
    words = f"the host key of {target.place} is not known here ({fingerprint(shown)})"
    cure = f"compare it with the host's own and record it with `coordinator hosts trust {target.name}`"
    return failed("host key", f"{words}: {cure}")


def _changed_key(target: Target, shown: paramiko.PKey) -> LaunchFailed:
    known = "; ".join(f"{fingerprint(key)} in {place}" for key, place in _known(target)[0])
    return failed(
        "host key",
        f"the host key of {target.place} has CHANGED: it shows {fingerprint(shown)}, known is {known}. Somebody may be "
        f"in between. If the host was installed anew, remove the old key (ssh-keygen -R '{target.key_names[0]}') and "
        f"record the new one with `coordinator hosts trust {target.name}`.",
    )


def host_key(attempt: Attempt, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The key that a host shows, without logging in to it; ``state``: known, unknown, changed or revoked."""
    target = target_of(name, options)
    opener = None
    for hop, following in _hops(target):
        opener = _through(attempt, _enter(attempt, hop, opener or _direct(attempt, hop)), hop, following)
    known, revoked = _known(target)
    kinds = {key.get_name().replace("ssh-rsa", "rsa-sha2-512") for key, _ in known}
    try:
        transport = attempt.keep(paramiko.Transport(attempt.keep((opener or _direct(attempt, target))())))
        transport.banner_timeout = attempt.left_s(GREETING_S)
        security = transport.get_security_options()
        security.key_types = sorted(security.key_types, key=lambda kind: kind not in kinds)
        attempt.step = "waiting for the SSH server's greeting"
        transport.start_client(timeout=attempt.left_s(LOGIN_S))
        key = transport.get_remote_server_key()
    except (paramiko.SSHException, OSError, EOFError) as error:
        if attempt.over:
            raise attempt.too_slow() from error
        raise failed("reach", f"{target.place} shows no host key: {_text(error)}") from error
    same = next((place for one, place in known if one == key), None)
    return {
        "state": "revoked" if key in revoked else "known" if same else "changed" if known else "unknown",
        "fingerprint": fingerprint(key),
        "place": target.place,
        "known_at": same,
        "words": _changed_key(target, key).message if known and not same else "",
        "line": f"{target.key_names[0]} {key.get_name()} {key.get_base64()}",
        "file": target.known_hosts[0] if target.known_hosts else "",
    }
