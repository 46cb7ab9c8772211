"""Several real hosts on this machine: each has its own name, address, processes, disk, /tmp and OpenSSH server.

    with Hosts(3, shared=[scratch]) as hosts:
        hosts[0].run(["hostname"]).stdout          # "node1"
        hosts[1].cut()                             # nobody hears it any more, and it hears nobody
        hosts[2].crash(); hosts[2].boot()

Tests and ``make testbed`` call it; README.rst beside it says what each thing is. It touches no file of the machine
outside STATE, and takes everything down again: by down(), and by a watcher when its process ends without that.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import overload

from tests.testbed import furniture
from tests.testbed.booting import boot
from tests.testbed.host import Host, Load
from tests.testbed.machine import TestbedError, do, interfaces, ip, remove_groups, subnet_is_used
from tests.testbed.processes import Process, detach, no_adoption

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STATE = Path("/run/coordinator-testbed")
#: the second octet of the subnet is the testbed's number: a person's standing one, and those of tests
STANDING, OF_TESTS = 77, range(78, 127)

DISK_BYTES = 256 << 20


class Hosts:
    """N hosts, node1 to nodeN, hosts[0] to hosts[N-1], on a bridge of their own. See the head of this file."""

    def __init__(
        self,
        count: int = 3,
        *,
        shared: Sequence[str | os.PathLike[str]] = (),
        standing: bool = False,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self._given = (count, [os.path.abspath(folder) for folder in shared], standing, disk_bytes)
        self._hosts: list[Host] = []
        self.number = 0

    @classmethod
    def standing(cls, number: int = STANDING) -> Hosts:
        """The testbed that somebody else has put up."""
        try:
            made = json.loads((STATE / str(number) / "bed.json").read_text())
        except FileNotFoundError:
            raise TestbedError("no testbed is standing: make testbed N=3") from None
        self = cls(made["count"])
        self._know(number, made["count"])
        return self

    @classmethod
    def standing_or_not(cls) -> Hosts:
        """The same for taking it down, whatever of it is left."""
        self = cls()
        self._know(STANDING, 0)
        return self

    def _know(self, number: int, count: int) -> None:
        self.number, self.bed = number, STATE / str(number)
        self._hosts = [Host(self.bed, number, index) for index in range(1, count + 1)]

    # --- looking ---

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)

    @overload
    def __getitem__(self, index: int) -> Host: ...
    @overload
    def __getitem__(self, index: slice) -> list[Host]: ...
    def __getitem__(self, index: int | slice) -> Host | list[Host]:
        return self._hosts[index]

    def named(self, name: str) -> Host:
        for host in self._hosts:
            if name in (host.name, host.address):
                return host
        raise TestbedError(f"no host {name}: there are {', '.join(host.name for host in self._hosts)}")

    @property
    def gateway(self) -> str:
        """The address of this machine in the hosts' network; they know it as "head" and by its hostname."""
        return f"10.{self.number}.0.1"

    @property
    def shared(self) -> Path:
        """A folder that all hosts and this machine see at this path; everybody may write in it."""
        return self.bed / "shared"

    @property
    def ssh_config(self) -> Path:
        return self.bed / "machine/ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.bed / "machine/known_hosts"

    @property
    def key(self) -> Path:
        return self.bed / "key"

    @property
    def agent(self) -> Path:
        """For SSH_AUTH_SOCK, on this machine and on the hosts alike."""
        return self.bed / "agent/socket"

    @property
    def home(self) -> Path:
        """A home whose .ssh has config and known_hosts that name the hosts, for what reads them there (paramiko)."""
        return self.bed / "machine/home"

    @property
    def environment(self) -> dict[str, str]:
        """What a command on this machine needs in order to use the hosts."""
        return {"SSH_AUTH_SOCK": str(self.agent), "HOME": str(self.home)}

    def ssh(self, host: Host, *command: str, user: str = "root", options: Sequence[str] = ()) -> list[str]:
        """The argument list of an OpenSSH client on this machine."""
        return ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", *options, f"{user}@{host.name}", *command]

    def here(self, *command: str) -> list[str]:
        """The argument list that runs a command on this machine so that it knows the hosts by name, and they it."""
        return ["unshare", "--mount", str(HERE / "here.sh"), str(self.bed), *command]

    # --- up and down ---

    def __enter__(self) -> Hosts:
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    def up(self) -> Hosts:
        count, shared, standing, disk_bytes = self._given
        if not 1 <= count <= 250:
            raise TestbedError(f"{count} hosts: a testbed has 1 to 250")
        self._know(_claim(standing), count)
        try:
            self._furnish(shared, disk_bytes)
            boot(self._hosts)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Everything ends: processes, namespaces, mounts, control groups, interfaces, files. Half of them, too."""
        number, self.number = self.number, 0  # from now on it may be another's
        if number:
            with lock():
                _remove(number)

    def reset(self, grace_s: float = 10.0) -> list[str]:
        """As after up(), but for files that live on; crash() what has files that must go. The processes that were
        left on the hosts after the grace time, one line each, killed now."""
        deadline = time.monotonic() + grace_s
        left = [f"{host.name}: {each}" for host in self._hosts if host.is_up for each in host.tidy(deadline)]
        boot([host for host in self._hosts if not host.is_up], fresh=True)
        for host in self._hosts:
            host.set_load(Load())
        return left

    def _furnish(self, shared: Sequence[str], disk_bytes: int) -> None:
        # A folder on the file system of / is seen through the hosts' own root, but as it was, not shared.
        folders = [str(ROOT), sys.prefix, sys.base_prefix, *shared]
        folders = [folder for folder in dict.fromkeys(folders) if folder not in ("/", "/usr", "/usr/local")]
        made = {"count": len(self._hosts), "folders": folders, "disk_bytes": disk_bytes}
        (self.bed / "bed.json").write_text(json.dumps(made))
        self.bed.chmod(0o711)
        self.shared.mkdir()
        self.shared.chmod(0o1777)
        for host in self._hosts:
            for folder in ("etc/ssh", "run"):
                (host.own / folder).mkdir(parents=True)
            host.set_load(Load())
            furniture.furnish_host(host.own, host.name)
        self._wire()
        keys = {host.name: host.own / "etc/ssh/ssh_host_ed25519_key" for host in self._hosts}
        furniture.make_keys([self.key, *keys.values()])
        furniture.furnish(self.bed, self.gateway, {host.name: host.address for host in self._hosts}, keys)
        self._start_agents()

    def _wire(self) -> None:
        bridge = f"ct{self.number}br"
        # Nothing for this subnet may ever leave by the machine's default route, even while the bridge is down.
        lines = [f"route add unreachable 10.{self.number}.0.0/16 metric 4294967295"]
        # With an address of its own: the kernel would give it the lowest of its ports, another one when that host ends,
        # and the others' neighbour tables would be wrong for seconds.
        address = f"02:77:{self.number:02x}:01:00:00"
        lines += [
            f"link add {bridge} address {address} type bridge",
            f"addr add {self.gateway}/16 dev {bridge}",
            f"link set {bridge} up",
        ]
        ip("\n".join(lines) + "\n")

    def _start_agents(self) -> None:
        """One that root may ask, and one that farmer may: an agent answers its own user only."""
        farmer = next(user for user in furniture.users() if user.name == furniture.FARMER)
        folder = self.bed / "agent/farmer"
        folder.mkdir(parents=True)
        os.chown(folder, farmer.uid, farmer.uid)
        as_farmer = ["setpriv", "--reuid", str(farmer.uid), "--regid", str(farmer.uid), "--clear-groups"]
        for socket, before in ((self.agent, []), (folder / "socket", as_farmer)):
            with no_adoption():
                said = do(*before, "ssh-agent", "-s", "-a", str(socket))
            agent = Process.of(int(said.split("SSH_AGENT_PID=")[1].split(";")[0]))
            if agent is None:
                raise TestbedError("ssh-agent ended at once")
            agent.write(socket.parent / "pid")
            do("env", f"SSH_AUTH_SOCK={socket}", "ssh-add", "-q", str(self.key))


def watch(number: int, owner: Process) -> None:
    """Wait for the end of the process that put the testbed up, and take it down if that has not."""
    owner.wait(None)
    with lock():
        if Process.read(STATE / str(number) / "watcher") == Process.of(os.getpid()):
            (STATE / str(number) / "watcher").unlink()
            _remove(number)


def _claim(standing: bool) -> int:
    """The number of a testbed that is ours now; what a dead process left is taken down on the way."""
    with lock():
        for left in [int(bed.name) for bed in STATE.iterdir() if bed.name.isdecimal()]:
            if left != STANDING and Process.read(STATE / str(left) / "owner") is None:
                _remove(left)
        for number in [STANDING] if standing else OF_TESTS:
            bed = STATE / str(number)
            if bed.exists():
                if not standing:
                    continue
                _remove(number)
            if subnet_is_used(number):
                if standing:
                    raise TestbedError(f"the subnet 10.{number}.0.0/16 is in use on this machine")
                continue
            bed.mkdir()
            if not standing:
                try:
                    _own(number)
                except BaseException:
                    _remove(number)
                    raise
            return number
    raise TestbedError("no number is free for one more testbed")


def _own(number: int) -> None:
    """It lives as long as this process: a watcher takes it down should this one end without doing so."""
    bed, owner = STATE / str(number), Process.of(os.getpid())
    assert owner is not None
    owner.write(bed / "owner")
    words = [sys.executable, "-m", "tests.testbed", "watch", str(number), str(owner.pid), owner.started]
    path, null = os.environ.get("PATH", ""), subprocess.DEVNULL
    watcher = detach(words, cwd=ROOT, env={"PATH": path}, stdin=null, stdout=null, stderr=null)
    watcher.write(bed / "watcher")


@contextmanager
def lock() -> Iterator[None]:
    """One process at a time changes which testbeds there are. The directory goes with the last of them."""
    fd = -1
    try:
        while fd < 0:
            STATE.mkdir(mode=0o711, exist_ok=True)
            with suppress(FileNotFoundError):
                fd = os.open(STATE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if not STATE.exists() or STATE.stat().st_ino != os.fstat(fd).st_ino:
                    os.close(fd)
                    fd = -1
        yield
        with suppress(OSError):
            STATE.rmdir()
    finally:
        if fd >= 0:
            os.close(fd)


def _remove(number: int) -> None:
    """All that a testbed of that number may have left, from what lies in its directory; does not mind what is gone."""
    bed = STATE / str(number)
    for file in (bed / "watcher", bed / "agent/pid", bed / "agent/farmer/pid"):
        process = Process.read(file)
        if process is not None:
            process.signal()
            process.wait()
    hosts = [Host(bed, number, int(own.name[4:])) for own in bed.glob("node*")]
    for host in hosts:
        with suppress(OSError):
            host.thaw()
    for host in hosts:
        init = host.init
        if init is not None:
            init.signal()
    for host in hosts:
        host._stop()
    links = [name for name in interfaces() if re.fullmatch(rf"ct{number}(br|[vd]\d+)", name)]
    route = f"10.{number}.0.0/16"
    routes = [f"route del unreachable {route} metric 4294967295\n"] if route in do("ip", "-4", "route") else []
    if links or routes:
        ip("".join([*routes, *(f"link del {name}\n" for name in links)]), force=True)
    for host in hosts:
        remove_groups(*host.group)
        disk = host.own / "disk"
        if disk.is_mount():
            do("umount", str(disk))
    remove_groups(f"coordinator-testbed-{number}")
    if bed.exists():
        shutil.rmtree(bed)
