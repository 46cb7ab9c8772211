"""The files of the hosts: who may log in, by which key, under which names they know each other. hosts.py calls it.

It only writes below the testbed's own directory; host-init.sh copies the files into each host.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.machine import TestbedError

FARMER = "farmer"
_FIRST_UID = 7700
#: the user "farmer" has the first of these as login shell, "farmer-csh" csh, and so on for those that are installed
SHELLS = ("bash", "csh", "tcsh", "fish", "dash")

# What Debian ships but for the line that includes other files: everything else, MaxStartups above all, is the default.
_SSHD_CONFIG = """\
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    shell: str

    @property
    def home(self) -> str:
        return "/root" if self.uid == 0 else f"/home/{self.name}"


def users() -> list[User]:
    """root, farmer, and a farmer for each shell of SHELLS that this machine has."""
    found = [
        User("root", 0, shutil.which("bash") or "/bin/sh"),
        User(FARMER, _FIRST_UID, shutil.which("bash") or "/bin/sh"),
    ]
    for number, shell in enumerate(SHELLS[1:], _FIRST_UID + 1):
        path = shutil.which(shell)
        if path:
            found.append(User(f"{FARMER}-{shell}", number, path))
    return found


def make_keys(files: Iterable[Path]) -> None:
    """An ed25519 key each, all at once."""
    started = [
        subprocess.Popen(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.parent.name, "-f", str(file)])
        for file in files
    ]
    if any([process.wait() for process in started]):
        raise TestbedError("ssh-keygen failed")


def furnish(bed: Path, gateway: str, hosts: dict[str, str], host_keys: dict[str, Path]) -> None:
    """What all hosts share. ``hosts``: {name: address}; ``host_keys``: {name: file of its private key}."""
    for folder in ("etc/ssh", "homes", "superuser", "machine/home/.ssh"):
        (bed / folder).mkdir(parents=True, exist_ok=True)
    known = "".join(f"{name},{hosts[name]} {_public(key)}\n" for name, key in host_keys.items())
    _write_names(bed, gateway, hosts)
    (bed / "etc/ssh/sshd_config").write_text(_SSHD_CONFIG)
    (bed / "etc/ssh/ssh_known_hosts").write_text(known)
    _write_ssh_client(bed, hosts, known)
    _write_users(bed, known)


def furnish_host(own: Path, name: str) -> None:
    """What one host alone has, besides its key."""
    (own / "etc/hostname").write_text(f"{name}\n")
    (own / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")


def _write_names(bed: Path, gateway: str, hosts: dict[str, str]) -> None:
    nodes = "".join(f"{address} {name}\n" for name, address in hosts.items())
    text = f"127.0.0.1 localhost\n::1 localhost\n{gateway} {socket.gethostname()} head\n{nodes}"
    (bed / "etc/hosts").write_text(text)
    (bed / "machine/hosts").write_text(text)


def _write_ssh_client(bed: Path, hosts: dict[str, str], known: str) -> None:
    places = "".join(f"Host {name}\n  HostName {address}\n" for name, address in hosts.items())
    known_hosts = bed / "machine/known_hosts"
    config = (
        f"{places}Host {' '.join(hosts)}\n  IdentityAgent {bed}/agent/socket\n  UserKnownHostsFile {known_hosts}\n"
        "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
    )
    known_hosts.write_text(known)
    (bed / "machine/ssh_config").write_text(config)
    (bed / "machine/home/.ssh/config").write_text(config)
    (bed / "machine/home/.ssh/known_hosts").write_text(known)


def _write_users(bed: Path, known: str) -> None:
    everybody = users()
    replaced = {user.name for user in everybody}
    lines = {}
    for name in ("passwd", "group", "shadow"):
        with open(f"/etc/{name}", encoding="utf-8", errors="surrogateescape") as file:
            lines[name] = [line for line in file if line.split(":")[0] not in replaced]
    authorized = f"{_public(bed / 'key')}\n"
    for user in everybody:
        home = bed / "superuser" if user.uid == 0 else bed / "homes" / user.name
        (home / ".ssh").mkdir(parents=True, exist_ok=True)
        (home / ".ssh/authorized_keys").write_text(authorized)
        (home / ".ssh/known_hosts").write_text(known)
        for path in (home, home / ".ssh", home / ".ssh/authorized_keys", home / ".ssh/known_hosts"):
            os.chown(path, user.uid, user.uid)
            path.chmod(0o700 if path.is_dir() else 0o600)
        lines["passwd"].append(f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:{user.shell}\n")
        lines["shadow"].append(f"{user.name}:*:19000:0:99999:7:::\n")
        lines["group"].append(f"{user.name}:x:{user.uid}:\n")
    (bed / "superuser").chmod(0o711)  # the Python of the tests may lie below it
    for name, text in lines.items():
        table = bed / "etc" / name
        table.write_text("".join(text), encoding="utf-8", errors="surrogateescape")
        table.chmod(0o600 if name == "shadow" else 0o644)


def _public(key: Path) -> str:
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])
