"""`coordinator hosts check` and `coordinator hosts trust HOST`: can hosts be used, and are they who they say?

coordinator.commands.farm calls both. They ask the same launcher that a job starts its keepers with, so that what they
say of a host is what a job will meet there. Host keys are written down after a yes that was typed, never otherwise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from coordinator.commands import document, print_json, print_tables
from coordinator.core.hosts import HostInfo, check_host
from coordinator.errors import BadInput, CoordinatorError, HostsFileError

#: seconds that a clock may differ before a person should set it: tasks' times and files' dates are compared
CLOCK_S = 2.0
#: how far a failed look came, by its step, in the columns reachable, key, python
_CAME = {
    "config": (None, None, None),
    "reach": (False, None, None),
    "busy": (False, None, None),
    "host key": (True, "host's not known", None),
    "login": (True, "yours not taken", None),
    "python": (True, "ok", False),
    "package": (True, "ok", False),
}
_KEYS = ("reachable", "key", "python", "version", "cores", "load", "memory_bytes", "path", "clock_s")


def check(name: str | None, rc_url: str | None, path: str | None, as_json: bool) -> int:
    """Try every host; exit status 1 if there is something to do about one."""
    import coordinator
    from coordinator.executors.remote import ask
    from coordinator.tables import Column, Table, bytes_size, cell, columns

    table = hosts_of(name, rc_url)
    path = os.path.abspath(path or os.curdir)
    names = list(table)
    requests = [{"do": "look", "host": host, "options": dict(table[host]), "paths": [path]} for host in names]
    found = {names[number]: result(said, path, coordinator.__version__) for number, said in ask(requests)}
    rows = {host: found[host] for host in names}
    if as_json:
        print_json(document("hosts_check", path=path, hosts=rows))
    else:
        heads = columns("host", *_KEYS[:6], Column("memory", bytes_size), "path", Column("clock", _seconds))
        lines = [[host, *(row[key] for key in _KEYS)] for host, row in rows.items()]
        print_tables([Table(heads, lines, empty="(no hosts)")])
        print(f"path: is {cell(path)} there? clock: its difference to this machine's.\n")
        # Below the table, since a terminal leaves no room for sentences beside ten columns.
        faulty = {host: row["todo"] for host, row in rows.items() if row["todo"]}
        for host, todo in faulty.items():
            print(f"{cell(host)}: {cell(todo)}")
        good = len(rows) - len(faulty)
        if rows:
            many = (good or "None") if faulty else "All"
            print(f"{many} of {len(rows)} hosts can be used as they are.")
    return 1 if any(row["todo"] for row in rows.values()) else 0


def result(said: Mapping[str, Any], path: str, version: str) -> dict[str, Any]:
    """One row, from what the launcher said of a host."""
    row: dict[str, Any] = dict.fromkeys(_KEYS)
    if "failed" in said:
        reachable, key, python = _CAME.get(said["step"], (True, "ok", None))
        return {**row, "reachable": reachable, "key": key, "python": python, "todo": said["failed"]}
    facts = said["ready"]
    # Its clock is read at some moment between the sending and the answer.
    middle = (facts["sent_at"] + facts["heard_at"]) / 2
    away = max(0.0, abs(facts["time"] - middle) - (facts["heard_at"] - facts["sent_at"]) / 2)
    clock = round(away if facts["time"] > middle else -away, 1) + 0.0
    row |= {key: facts[key] for key in ("python", "version", "cores", "load", "memory_bytes")}
    row |= {"reachable": True, "key": "ok", "path": facts["paths"][path], "clock_s": clock}
    todo = []
    if facts["version"] != version:
        todo.append(f"install version {version} of coordinator there, or name a Python that has it with python=")
    if not row["path"]:
        todo.append(f"{path} is not there: mount the file system, or start jobs in a directory that all hosts see")
    if abs(clock) > CLOCK_S:
        todo.append(f"set its clock, which is {abs(clock):g} s {'ahead' if clock > 0 else 'behind'}")
    return {**row, "todo": "; ".join(todo)}


def _seconds(value: object) -> str:
    return f"{value:+.1f} s" if isinstance(value, (int, float)) and value else "-" if value is None else "0 s"


def hosts_of(name: str | None, rc_url: str | None) -> dict[str, dict[str, Any]]:
    """{host: options}: of NAME.hosts, else of the ResourceController, else of the only hosts file here."""
    from coordinator.commands import ask_farm

    if name is None:
        farm, why = ask_farm(rc_url, required=rc_url is not None)
        if farm is not None:
            return {host: dict(one.get("options") or {}) for host, one in farm["hosts"].items()}
        here = sorted(file for file in os.listdir() if file.endswith(".hosts"))
        if len(here) != 1:
            which = f"there are {', '.join(here)}" if here else "there is no hosts file"
            raise BadInput(f"Which hosts? In this directory {which}; no ResourceController answered: {why}")
        name = here[0]
    from coordinator.hostsfile import HostsFile

    table: Mapping[str, HostInfo] = HostsFile(
        os.path.abspath(name if name.endswith(".hosts") else f"{name}.hosts")
    ).table
    return {host: dict(info.options) for host, info in table.items()}


# --- trust --------------------------------------------------------------------------------------------


def trust(host: str, rc_url: str | None, as_json: bool) -> int:
    """Show the fingerprint of a host's key and record it after a yes; exit status 1 if it is not to be trusted."""
    from coordinator.executors.remote import ask
    from coordinator.tables import cell

    options = options_of(check_host(host), rc_url)
    ((_, said),) = ask([{"do": "key", "host": host, "options": options}])
    if "failed" in said:
        raise CoordinatorError(said["failed"])
    key, recorded = said["ready"], False
    if key["state"] == "unknown" and not key["file"]:
        raise BadInput(f"OpenSSH's config names no UserKnownHostsFile for {host} in which the key could be recorded")
    if key["state"] == "unknown":
        print(f"{cell(key['place'])} shows the host key\n\n    {cell(key['fingerprint'])}\n", file=sys.stderr)
        print("On the host itself, `ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub` shows it too.", file=sys.stderr)
        print(f"If it is the same: record it in {cell(key['file'])}? (yes/no) ", end="", file=sys.stderr, flush=True)
        recorded = sys.stdin.readline().strip().lower() in ("yes", "y")
        if recorded:
            _record(key["file"], key["line"])
    if as_json:
        facts = {one: key[one] for one in ("state", "fingerprint", "file", "known_at")}
        print_json(document("hosts_trust", host=host, recorded=recorded, **facts))
    elif recorded:
        print(f"recorded: {cell(host)} {cell(key['fingerprint'])}")
    elif key["state"] == "known":
        print(f"{cell(host)} is known already: {cell(key['fingerprint'])} in {cell(key['known_at'])}")
    elif key["state"] == "unknown":
        print("not recorded")
    else:
        words = key["words"] or f"{host} shows a key that was revoked ({key['fingerprint']}): do not trust it"
        print(f"coordinator: {cell(words)}", file=sys.stderr)
    return 0 if recorded or key["state"] == "known" else 1


def options_of(host: str, rc_url: str | None) -> dict[str, Any]:
    """How it is reached, where a ResourceController or a hosts file here knows it."""
    for url in dict.fromkeys([rc_url, None]):
        try:
            found = hosts_of(None, url).get(host)
        except HostsFileError:
            raise
        except CoordinatorError:
            continue
        if found is not None:
            return found
    return {}


def _record(file: str, line: str) -> None:
    """At the end of a known_hosts file, which OpenSSH reads as well."""
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "rb+") as known:
        size = known.seek(0, os.SEEK_END)
        known.seek(max(0, size - 1))
        torn = known.read(1) not in (b"", b"\n")
        known.write(b"\n" * torn + line.encode() + b"\n")
