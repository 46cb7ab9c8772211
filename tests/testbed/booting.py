"""Starting hosts: their disks, PID 1 (host-init.sh), links, until their sshd listens. host.py and hosts.py call it.

It waits for what PID 1 says on a pipe, never for a time; a host that does not come up says why in its console.log.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.machine import HANG_S, TestbedError, do, interfaces, ip, line_of, make_groups
from tests.testbed.processes import Process, detach

if TYPE_CHECKING:
    from tests.testbed.host import Host

HERE = Path(__file__).resolve().parent


class _Booting:
    """A host between the start of its PID 1 and its word that sshd listens."""

    def __init__(self, host: Host, folders: Sequence[str]) -> None:
        self.host, self.deadline = host, time.monotonic() + HANG_S
        (host.own / "run/boot_id").write_text(f"{uuid.uuid4()}\n")
        listening, self.control = os.pipe()
        self.report, saying = os.pipe()
        argv = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child"]
        argv += ["sh", str(HERE / "host-init.sh"), str(host.bed), str(host.own), host.name, host.address, *folders]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        try:
            with open(host.own / "console.log", "ab") as console:
                streams = {"stdin": listening, "stdout": saying, "stderr": console}
                detach(argv, groups=make_groups(*host.group), env=environment, **streams).write(host.own / "unshare")
        finally:
            os.close(listening)
            os.close(saying)

    def expect(self, word: str) -> str:
        line = line_of(self.report, self.deadline)
        if line.split()[:1] != [word]:
            console = (self.host.own / "console.log").read_text(errors="replace")
            raise TestbedError(f"{self.host.name} does not boot: {line or console or 'it says nothing'}")
        return line.partition(" ")[2]

    def close(self) -> None:
        os.close(self.control)
        os.close(self.report)


def boot(hosts: Sequence[Host], fresh: bool = False) -> None:
    """All at once: most of the time goes by inside of them."""
    if not hosts:
        return
    bed, present = hosts[0].bed, interfaces()
    made = json.loads((bed / "bed.json").read_text())
    stale = "".join(f"link del {host.veth}\n" for host in hosts if host.veth in present)
    booting: list[_Booting] = []
    try:
        for host in hosts:
            _mount_disk(host, made["disk_bytes"], fresh)
            booting.append(_Booting(host, made["folders"]))
        if stale:  # of a host that crashed: the kernel has not yet taken away its end of the link
            with suppress(TestbedError):
                ip(stale, force=True)
        batch = ""
        for each in booting:
            host, pid = each.host, int(each.expect("pid"))
            init = Process.of(pid)
            if init is None:
                raise TestbedError(f"{host.name} ended: {(host.own / 'console.log').read_text(errors='replace')}")
            init.write(host.own / "init")
            batch += f"link add {host.veth} type veth peer name eth0 address {host.mac} netns {pid}\n"
            batch += f"link set {host.veth} master {host.bridge} up\n"
        ip(batch)
        for each in booting:
            os.write(each.control, b"go\n")
        for each in booting:
            each.expect("ready")
    finally:
        for each in booting:
            each.close()


def _mount_disk(host: Host, size_bytes: int, fresh: bool) -> None:
    """It lies outside of the host's mount namespace, so that it is still there after a crash."""
    disk = host.own / "disk"
    if disk.is_mount():
        if not fresh:
            return
        do("umount", str(disk))
    disk.mkdir(exist_ok=True)
    do("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", f"{host.bridge}-{host.name}", str(disk))
