"""One host of the testbed: what runs on it, its link, its crash and boot. README.rst beside it says what each thing is.

hosts.py makes them; tests use them. A host's state is in its directory (BED/nodeI), so that any process can go on
with it. Only signals, control groups, packet filters and mounts that carry the host's own mark are ever touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.testbed import furniture
from tests.testbed.booting import boot
from tests.testbed.machine import HANG_S, TestbedError, do, found, interfaces, ip, line_of, make_groups
from tests.testbed.processes import Inhabitant, Process, children, command_line, detach, inhabitants, inner_pid

HERE = Path(__file__).resolve().parent
#: how enter.sh starts a command
_WAY_IN = 'cd -- "$1" && shift && exec "$@"'
Direction = Literal["both", "in", "out"]
_SSHD = 'rm -f /run/sshd.pid; "$1" -E /run/testbed/sshd.log && until [ -s /run/sshd.pid ]; do sleep 0.005; done'


@dataclass(frozen=True)
class Load:
    """What a host says of itself in its load file: runnable processes, bytes that new processes can have, cores."""

    load1: float = 0.0
    memory_available_bytes: int = 4 << 30
    cores: int = 2

    def __str__(self) -> str:
        return f"{self.load1:.2f} {self.memory_available_bytes} {self.cores}\n"


class Host:
    """One host. pids are those that the host itself knows, except where ``outer`` says otherwise."""

    def __init__(self, bed: Path, number: int, index: int) -> None:
        self.bed, self.index = bed, index
        self.name = f"node{index}"
        self.address = f"10.{number}.{index // 200}.{index % 200 + 10}"
        self.own = bed / self.name
        self.group = (f"coordinator-testbed-{number}", self.name)
        self.veth, self.tap, self.bridge = f"ct{number}v{index}", f"ct{number}d{index}", f"ct{number}br"
        self.mac = f"02:77:{number:02x}:00:{index // 200:02x}:{index % 200:02x}"

    def __repr__(self) -> str:
        return f"<{self.name} {self.address} {'up' if self.is_up else 'down'}>"

    # --- looking ---

    @property
    def init(self) -> Process | None:
        """PID 1 of the host, as the machine sees it; None while the host is down."""
        return Process.read(self.own / "init")

    @property
    def is_up(self) -> bool:
        return self.init is not None

    def _init(self) -> Process:
        init = self.init
        if init is None:
            raise TestbedError(f"{self.name} is down: boot() it")
        return init

    def path(self, inside: str | os.PathLike[str]) -> Path:
        """The file of the host as this machine can open it, while the host is up."""
        return Path(f"/proc/{self._init().pid}/root", os.fspath(inside).lstrip("/"))

    def processes(self) -> list[Inhabitant]:
        """All but the host's own three: PID 1, what it sleeps by, and the listening sshd."""
        base = self._base()
        return [each for each in inhabitants(self._init().pid) if each.pid not in base]

    def _base(self) -> set[int]:
        base = {1}
        with suppress(OSError, ValueError):
            base.add(int(self.path("/run/sshd.pid").read_text()))
        return base | {each.pid for each in inhabitants(self._init().pid) if each.argv == ("sleep", "infinity")}

    def pid_of(self, process: subprocess.Popen[Any]) -> int:
        """The pid, on the host, of what start() started, from when it runs; it takes a moment to get there."""
        deadline = time.monotonic() + HANG_S
        while process.poll() is None and time.monotonic() < deadline:
            for outer in children(process.pid):
                words, pid = command_line(outer), inner_pid(outer)
                if pid is not None and words and words[0] not in ("nsenter", "setpriv") and _WAY_IN not in words:
                    return pid
            time.sleep(0.002)
        raise TestbedError(f"it does not run on {self.name}: exit status {process.poll()}")

    # --- running ---

    def start(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        user: str = "root",
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Run it on the host, not over SSH; ``env`` is added to what a login has. To end it is to end the command,
        but its other signals go by kill(pid_of(process), number). Options are those of subprocess.Popen."""
        who = next((each for each in furniture.users() if each.name == user), None)
        if who is None:
            raise TestbedError(f"{self.name} has no user {user}")
        agent = self.bed / ("agent/farmer/socket" if who.uid else "agent/socket")
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": who.home,
            "USER": who.name,
            "LOGNAME": who.name,
            "SHELL": who.shell,
            "LANG": "C.UTF-8",
            "SSH_AUTH_SOCK": str(agent),
            **(env or {}),
        }
        groups = " ".join(str(group) for group in make_groups(*self.group))
        enter = [str(HERE / "enter.sh"), str(self._init().pid), groups, who.name, str(cwd or who.home)]
        return subprocess.Popen([*enter, *(os.fspath(word) for word in argv)], env=environment, cwd="/", **options)

    def run(
        self, argv: Sequence[str | os.PathLike[str]], *, check: bool = True, timeout_s: float = HANG_S, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """start() it and wait for its end; text of stdout and stderr. ``input`` may be text for its stdin."""
        given = options.pop("input", None)
        options = {"stdin": subprocess.PIPE if given is not None else subprocess.DEVNULL, **options}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        with self.start(argv, **options) as process:
            try:
                out, err = process.communicate(given, timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        ran = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check and process.returncode:
            raise TestbedError(f"{self.name}: {argv}: exit status {process.returncode}: {err}")
        return ran

    # --- processes ---

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        for each in inhabitants(self._init().pid):
            if each.pid == pid:
                if number == signal.SIGCONT:
                    each.resume()
                else:
                    each.outer.signal(number)
                return
        raise ProcessLookupError(f"{self.name} has no process {pid}")

    def stop(self, pid: int) -> None:
        self.kill(pid, signal.SIGSTOP)

    def resume(self, pid: int) -> None:
        self.kill(pid, signal.SIGCONT)

    def kill_sshd(self) -> None:
        """The listening one; sessions go on."""
        pid = self.sshd
        if pid is None:
            raise TestbedError(f"no sshd listens on {self.name}")
        outer = next(each.outer for each in inhabitants(self._init().pid) if each.pid == pid)
        outer.signal(signal.SIGKILL)
        outer.wait()

    def start_sshd(self) -> None:
        self.run(["sh", "-c", _SSHD, "sh", found("sshd") or "sshd"], env={"PATH": os.environ["PATH"]})

    @property
    def sshd(self) -> int | None:
        """The pid of the listening sshd."""
        with suppress(OSError, ValueError):
            pid = int(self.path("/run/sshd.pid").read_text())
            if any(each.pid == pid and "sshd" in " ".join(each.argv[:1]) for each in inhabitants(self._init().pid)):
                return pid
        return None

    def freeze(self) -> None:
        """Everything on the host stands still, PID 1 and sshd included, and cannot notice."""
        self._freeze(1)

    def thaw(self) -> None:
        self._freeze(0)

    def _freeze(self, state: int) -> None:
        for group in make_groups(*self.group):
            if (group / "cgroup.freeze").exists():
                (group / "cgroup.freeze").write_text(str(state))
                deadline = time.monotonic() + HANG_S
                while f"frozen {state}" not in (group / "cgroup.events").read_text():
                    if time.monotonic() > deadline:
                        raise TestbedError(f"{self.name} does not {'freeze' if state else 'thaw'}")
                    time.sleep(0.002)
                return
        if state:
            raise TestbedError("freeze() needs control groups of version 2, and this machine has none mounted")

    def limit_memory(self, limit_bytes: int | None) -> None:
        """All that runs on the host may have so much together; the kernel kills what wants more. None: no limit."""
        for group in make_groups(*self.group):
            for name, endless in (("memory.limit_in_bytes", "-1"), ("memory.max", "max")):
                if (group / name).exists():
                    (group / name).write_text(endless if limit_bytes is None else str(limit_bytes))
                    return
        if limit_bytes is not None:
            raise TestbedError("limit_memory() needs the memory controller of control groups")

    def set_load(self, load: float | Load | None) -> None:
        """What /run/coordinator-load says on the host; None takes the file away: the machine's own figures are left."""
        file = self.own / "run/load"
        if load is None:
            file.unlink(missing_ok=True)
            return
        new = self.own / "run/load.new"
        new.write_text(str(load if isinstance(load, Load) else Load(float(load))))
        new.replace(file)

    def tidy(self, deadline: float) -> list[Inhabitant]:
        """Undo every fault but a crash; what still runs at the deadline is killed and returned."""
        self.thaw()
        self.heal()
        self.delay(0)
        self.limit_memory(None)
        for each in inhabitants(self._init().pid):
            if each.state == "T":
                each.resume()
        left = [each for each in self.processes() if not each.outer.wait(max(0.0, deadline - time.monotonic()))]
        for each in left:
            each.outer.signal()
            each.outer.wait()
        if self.sshd is None:
            self.start_sshd()
        return left

    # --- the link ---

    def cut(self, direction: Direction = "both", peer: Host | str | None = None) -> None:
        """Frames to the host ("in"), from it ("out") or both vanish silently, those of one peer if it is given
        (a Host or an address). Cuts add up until heal()."""
        address = peer.address if isinstance(peer, Host) else peer
        rules = []
        for chain, way, field in (("in", "ingress", "saddr"), ("out", "egress", "daddr")):
            if direction in ("both", chain):
                rules.append(f"add chain netdev cut {way} {{ type filter hook {way} device eth0 priority 0; }}")
                rules.append(f"add rule netdev cut {way} {f'ip {field} {address} ' if address else ''}drop")
        self._nft("add table netdev cut\n" + "\n".join(rules) + "\n")

    def heal(self) -> None:
        self._nft("add table netdev cut\ndelete table netdev cut\n")

    def _nft(self, text: str) -> None:
        do("nsenter", "--target", str(self._init().pid), "--net", found("nft") or "nft", "-f", "-", stdin=text)

    def delay(self, delay_ms: float, loss_percent: float = 0.0) -> None:
        """Every frame takes so much longer, each way, or is lost; 0 and 0: the plain link. Connections go on."""
        self._stop_relay()
        if not delay_ms and not loss_percent:
            return
        argv = [sys.executable, "-I", str(HERE / "relay.py"), self.veth, self.tap, str(delay_ms), str(loss_percent)]
        reading, writing = os.pipe()
        try:
            with open(self.own / "relay.log", "wb") as log:
                relay = detach(argv, stdin=subprocess.DEVNULL, stdout=writing, stderr=log)
            relay.write(self.own / "relay")
            os.close(writing)
            writing = -1
            if line_of(reading, time.monotonic() + HANG_S) != "ready":
                raise TestbedError(f"the relay did not start: {(self.own / 'relay.log').read_text()}")
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)
        changes = f"link set {self.veth} nomaster\nlink set {self.veth} promisc on\n"
        ip(f"{changes}link set {self.tap} master {self.bridge} up\n")

    def _stop_relay(self) -> None:
        relay = Process.read(self.own / "relay")
        if relay is not None:
            relay.signal()
            relay.wait()
            if self.veth in interfaces():  # unless the host has just ended: then the kernel takes it away any moment
                back = f"link set {self.veth} promisc off\nlink set {self.veth} master {self.bridge}\n"
                ip(back, force=not self.is_up)
        (self.own / "relay").unlink(missing_ok=True)

    # --- the whole host ---

    def crash(self, silent: bool = False) -> None:
        """Every process ends at once. Peers hear their connections close; if ``silent``, as when the power fails,
        they hear nothing. The disk stays, /tmp and /run do not."""
        if silent:
            self.cut()
        self._stop()

    def _stop(self) -> None:
        self._stop_relay()
        for name in ("init", "unshare"):
            process = Process.read(self.own / name)
            if process is not None:
                process.signal()
                if not process.wait():
                    raise TestbedError(f"{self.name}: {name} (pid {process.pid}) does not end")
            (self.own / name).unlink(missing_ok=True)

    def boot(self, fresh: bool = False) -> None:
        """Start it if it is down, with a link that is whole; with an empty disk if ``fresh``."""
        if not self.is_up:
            boot([self], fresh)
