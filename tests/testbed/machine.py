"""What the testbed asks of the machine that it stands on: whether it can, control groups, interfaces, a line of text.

host.py and hosts.py call it. It starts only what ends before it returns.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

#: bound on what hangs, no promise of speed
HANG_S = 20.0

_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ssh-agent": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}


_TRIAL = """
mount -t tmpfs testbed /mnt
mkdir /mnt/up /mnt/work
mount -t overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work testbed /mnt
PATH="$PATH:/usr/sbin:/sbin"
ip link add eth0 type veth peer name eth1
nft 'add table netdev cut; add chain netdev cut out { type filter hook egress device eth0 priority 0; }'
"""


class TestbedError(Exception):
    """The testbed could not do what it was asked; the text says what was said."""

    __test__ = False  # for pytest, which takes the name for a test's


def missing() -> str | None:
    """Why this machine cannot have a testbed, as one sentence; None if it can."""
    if os.uname().sysname != "Linux":
        return "the testbed needs the namespaces of Linux"
    if os.geteuid() != 0:
        return "the testbed needs root: it makes network namespaces"
    lacking = {name: package for name, package in _TOOLS.items() if not found(name)}
    if lacking:
        return f"the testbed needs {', '.join(lacking)}: apt-get install {' '.join(sorted(set(lacking.values())))}"
    argv = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "sh", "-euc", _TRIAL]
    tried = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S)
    return f"this machine lets nobody make a testbed: {tried.stderr.strip()}" if tried.returncode else None


def found(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def do(*argv: str, stdin: str = "") -> str:
    """Run it to its end; what it printed. TestbedError with what it complained about if its status is not 0."""
    ran = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=HANG_S)
    if ran.returncode:
        raise TestbedError(f"{' '.join(argv)}: {ran.stderr.strip() or f'exit status {ran.returncode}'}")
    return ran.stdout


# --- control groups -----------------------------------------------------------------------------------


def control_groups() -> dict[str, Path]:
    """Mount points: "v2" and, where the machine still has it, the "memory" controller of the older kind."""
    mounts: dict[str, Path] = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            _, where, kind, options = line.split()[:4]
            if kind == "cgroup2":
                mounts.setdefault("v2", Path(where))
            elif kind == "cgroup" and "memory" in options.split(","):
                mounts.setdefault("memory", Path(where))
    return mounts


def make_groups(*parts: str) -> list[Path]:
    """The groups of that name, one below each mount point that lets us; none where control groups are not ours."""
    made = []
    for kind, mount in control_groups().items():
        group = mount
        with suppress(OSError):
            for part in parts:
                if kind == "v2" and "memory" in (group / "cgroup.controllers").read_text().split():
                    with suppress(OSError):  # then there is no limit_memory(), and it says so
                        (group / "cgroup.subtree_control").write_text("+memory")
                group /= part
                group.mkdir(exist_ok=True)
            made.append(group)
    return made


def remove_groups(*parts: str) -> None:
    """Its processes have ended; the kernel may need a moment to see it."""
    for mount in control_groups().values():
        group, deadline = mount.joinpath(*parts), time.monotonic() + HANG_S
        while group.is_dir():
            try:
                group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


# --- interfaces ---------------------------------------------------------------------------------------


def interfaces() -> list[str]:
    return sorted(os.listdir("/sys/class/net"))


def ip(batch: str, force: bool = False) -> None:
    """``force``: go on after a line that fails, since its object may be gone already."""
    ran = subprocess.run(
        [found("ip") or "ip", *(["-force"] if force else []), "-batch", "-"],
        input=batch,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    if ran.returncode and not force:
        raise TestbedError(f"ip: {ran.stderr.strip()} in\n{batch}")


def subnet_is_used(octet: int) -> bool:
    """Does the machine have an address or a route in 10.octet.0.0/16, or one that lies around it?"""
    for line in do("ip", "-4", "route", "show", "table", "all").splitlines():
        words = line.split()
        target = words[1] if words[0] in ("local", "broadcast", "unreachable", "blackhole", "prohibit") else words[0]
        address, _, length = target.partition("/")
        if address.startswith(f"10.{octet}.") or (address.startswith("10.") and length and int(length) < 16):
            return True
    return False


# --- pipes -----------------------------------------------------------------------------------------------


def line_of(fd: int, deadline: float) -> str:
    """One line from a pipe, without its newline; what there is of it if the pipe ends or the time is over."""
    text = b""
    while select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
        byte = os.read(fd, 1)
        if byte in (b"", b"\n"):
            break
        text += byte
    return text.decode("utf-8", "replace")
