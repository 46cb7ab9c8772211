"""The testbed is what it says: real hosts, each fault is the fault that it is called, and nothing is left behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.testbed import machine
from tests.testbed.furniture import SHELLS, users
from tests.testbed.host import Host, Load
from tests.testbed.hosts import ROOT, STANDING, STATE, Hosts, lock
from tests.testbed.machine import TestbedError, control_groups, interfaces, missing
from tests.testbed.processes import Process, command_line

HANG_S = 30.0
#: long enough for what passes a whole link, many times over; a test waits so long where nothing must come
SILENCE_S = 0.4

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def ssh(hosts: Hosts, host: Host, *command: str, user: str = "root") -> subprocess.CompletedProcess[str]:
    argv = hosts.ssh(host, *command, user=user)
    return subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S, stdin=subprocess.DEVNULL)


@contextmanager
def session(hosts: Hosts, host: Host, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(hosts.ssh(host, *command), bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def comes(process: subprocess.Popen[bytes], timeout_s: float = HANG_S) -> bytes | None:
    """The next bytes that it prints; None if there are none in that time."""
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), 1000) if select.select([process.stdout], [], [], timeout_s)[0] else None


def echoes(process: subprocess.Popen[bytes], text: bytes, timeout_s: float = HANG_S) -> bool:
    assert process.stdin is not None
    process.stdin.write(text)
    return comes(process, timeout_s) == text


def reaches(address: str, port: int = 22, source: Host | None = None) -> bool:
    """Does a new connection come about, from this machine or from a host?"""
    if source is not None:
        code = f"import socket; socket.create_connection(('{address}', {port}), timeout={SILENCE_S})"
        return source.run([sys.executable, "-c", code], check=False).returncode == 0
    try:
        socket.create_connection((address, port), timeout=SILENCE_S).close()
    except OSError:
        return False
    return True


def hears(listener: socket.socket, timeout_s: float) -> bytes | None:
    listener.settimeout(timeout_s)
    try:
        return listener.recv(100)
    except TimeoutError:
        return None


# --- what a host is -----------------------------------------------------------------------------------


def test_each_host_has_its_own_name_address_and_processes(hosts: Hosts) -> None:
    for host in hosts:
        said = host.run(
            [
                "sh",
                "-c",
                "hostname; ip -4 -o addr show eth0; echo $(readlink /proc/$$/ns/pid); ls /proc | grep -c '^[0-9]'",
            ]
        )
        name, address, processes, count = said.stdout.splitlines()
        assert name == host.name
        assert f" {host.address}/16 " in address
        assert processes != os.readlink("/proc/self/ns/pid")
        assert int(count) < 20
    assert len({host.address for host in hosts}) == len(hosts)


def test_each_host_has_a_tmp_disk_and_run_of_its_own(hosts: Hosts) -> None:
    for folder in ("/tmp", "/var/tmp", "/usr/tmp", "/run", "/etc", "/root", "/dev/shm"):
        hosts[0].run(["touch", f"{folder}/only-here"])
        assert hosts[0].path(f"{folder}/only-here").exists()
        assert not hosts[1].path(f"{folder}/only-here").exists()
        assert not Path(folder, "only-here").exists()
        hosts[0].run(["rm", f"{folder}/only-here"])


def test_the_shared_folders_the_checkout_and_python_are_the_same_everywhere(hosts: Hosts, tmp_path: Path) -> None:
    hosts[0].run(["sh", "-c", f"echo from a host >{hosts.shared}/a; echo here too >{tmp_path}/b"])
    assert (hosts.shared / "a").read_text() == "from a host\n"
    assert hosts[1].run(["cat", hosts.shared / "a", tmp_path / "b"]).stdout == "from a host\nhere too\n"
    (hosts.shared / "a").unlink()
    code = "import sys, coordinator; print(sys.prefix, coordinator.__file__)"
    said = hosts[2].run([sys.executable, "-c", code], cwd=ROOT, user="farmer").stdout.split()
    assert said == [sys.prefix, str(ROOT / "coordinator/__init__.py")]


def test_hosts_know_each_other_and_this_machine_by_name(hosts: Hosts) -> None:
    names = {"head": hosts.gateway, socket.gethostname(): hosts.gateway, **{host.name: host.address for host in hosts}}
    for name, address in names.items():
        assert hosts[0].run(["getent", "hosts", name]).stdout.split()[0] == address
    own = subprocess.run(hosts.here("getent", "hosts", *names), capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in own.splitlines()] == list(names.values())
    with open("/etc/hosts", encoding="utf-8") as file:
        assert hosts[0].address not in file.read()


def test_a_host_cannot_be_reached_from_elsewhere_nor_reach_beyond(hosts: Hosts) -> None:
    routes = hosts[0].run(["ip", "-4", "route"]).stdout.splitlines()
    assert [route.split()[0] for route in routes] == [f"10.{hosts.number}.0.0/16"]
    with open("/proc/net/route", encoding="ascii") as file:
        assert any(line.startswith(hosts[0].bridge) for line in file)
    said = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    assert f"unreachable 10.{hosts.number}.0.0/16" in said


# --- logging in ---------------------------------------------------------------------------------------


def test_the_key_in_the_agent_opens_each_host_for_root_and_for_farmer(hosts: Hosts) -> None:
    assert os.environ["SSH_AUTH_SOCK"] == str(hosts.agent)
    for host in hosts:
        for user in ("root", "farmer"):
            ran = ssh(hosts, host, "hostname; id -un; pwd", user=user)
            home = "/root" if user == "root" else "/home/farmer"
            assert (ran.stdout.split(), ran.returncode) == ([host.name, user, home], 0), ran.stderr


def test_without_the_agent_nobody_gets_in(hosts: Hosts) -> None:
    argv = hosts.ssh(hosts[0], "true", options=["-o", "IdentityAgent=none", "-o", "IdentityFile=none"])
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S)
    assert ran.returncode == 255
    assert "Permission denied" in ran.stderr


def test_a_host_that_known_hosts_does_not_name_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    lines = hosts.known_hosts.read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [[f"{host.name},{host.address}", "ssh-ed25519"] for host in hosts]
    changed = tmp_path / "known_hosts"
    changed.write_text(lines[0].replace(lines[0].split()[2], lines[1].split()[2]) + "\n")
    for host, word in ((hosts[0], "HOST IDENTIFICATION HAS CHANGED"), (hosts[1], "No ED25519 host key is known")):
        argv = hosts.ssh(host, "true", options=["-o", f"UserKnownHostsFile={changed}"])
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S)
        assert ran.returncode == 255
        assert word in ran.stderr


def test_hosts_log_in_to_each_other_as_the_same_user(hosts: Hosts) -> None:
    for user in ("root", "farmer"):
        ran = hosts[0].run(["ssh", "-o", "BatchMode=yes", "node2", "hostname; id -un"], user=user)
        assert ran.stdout.split() == ["node2", user]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_user_for_each_login_shell(hosts: Hosts, shell: str) -> None:
    name = "farmer" if shell == "bash" else f"farmer-{shell}"
    if name not in {user.name for user in users()}:
        pytest.skip(f"{shell} is not installed: apt-get install {'tcsh' if shell == 'csh' else shell}")
    echo = "status is-login; and echo fish" if shell == "fish" else "echo $0"
    ran = ssh(hosts, hosts[0], f"echo 'a  b'; getent passwd {name}; {echo}", user=name)
    lines = ran.stdout.splitlines()
    assert lines[0] == "a  b"
    assert Path(lines[1].split(":")[6]).name == shell


def test_sshd_has_its_default_settings(hosts: Hosts) -> None:
    said = hosts[0].run(["sshd", "-T"]).stdout.splitlines()
    for line in ("maxstartups 10:30:100", "maxsessions 10", "logingracetime 120", "port 22", "strictmodes yes"):
        assert line in said


def test_max_startups_drops_connections_beyond_a_hundred(hosts: Hosts) -> None:
    opened = []
    try:
        dropped = False
        for _ in range(300):  # the first ten are let in, then three of ten are dropped, from the hundredth on all
            connection = socket.create_connection((hosts[0].address, 22), timeout=HANG_S)
            opened.append(connection)
            with suppress(ConnectionResetError):
                if connection.recv(100).startswith(b"SSH-2.0"):
                    continue
            dropped = True
            break
        assert dropped
        assert len(opened) > 10
    finally:
        for connection in opened:
            connection.close()


def test_paramiko_needs_only_the_environment(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    paramiko = pytest.importorskip("paramiko")
    for name, value in hosts.environment.items():
        monkeypatch.setenv(name, value)
    config = paramiko.SSHConfig.from_path(os.path.expanduser("~/.ssh/config")).lookup("node2")
    with paramiko.SSHClient() as client:
        client.load_system_host_keys()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(config["hostname"], username="farmer", look_for_keys=False, timeout=HANG_S)
        _, out, _ = client.exec_command("hostname")
        assert out.read() == b"node2\n"


# --- faults of the link -------------------------------------------------------------------------------


def test_a_cut_link_is_silent_both_ways_and_connections_go_on_when_it_heals(hosts: Hosts) -> None:
    with session(hosts, hosts[0], "cat") as cat:
        assert echoes(cat, b"before\n")
        hosts[0].cut()
        assert not reaches(hosts[0].address)
        assert not reaches(hosts[1].address, source=hosts[0])
        assert not echoes(cat, b"meanwhile\n", SILENCE_S)
        assert cat.poll() is None
        assert reaches(hosts[1].address)
        hosts[0].heal()
        assert comes(cat) == b"meanwhile\n"
        assert reaches(hosts[0].address)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_link_cut_one_way_carries_the_other(hosts: Hosts, direction: str) -> None:
    host, code = (
        hosts[0],
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 7)); print(flush=True)",
    )
    code += "\nwhile True: print(s.recv(100).decode(), flush=True)"
    with socket.socket(type=socket.SOCK_DGRAM) as here:
        here.bind((hosts.gateway, 0))
        listener = host.start([sys.executable, "-c", code], stdout=subprocess.PIPE, bufsize=0)
        try:
            assert comes(listener) == b"\n"
            say = [
                "sh",
                "-c",
                f"echo hello | timeout 1 bash -c 'cat >/dev/udp/{hosts.gateway}/{here.getsockname()[1]}'",
            ]
            host.run(say)  # both now know each other's link address, so that no question about it is cut
            assert hears(here, HANG_S) == b"hello\n"
            here.sendto(b"whole", (host.address, 7))
            assert comes(listener) == b"whole\n"
            host.cut(direction)  # type: ignore[arg-type]
            here.sendto(b"in", (host.address, 7))
            host.run(say)
            assert (comes(listener, SILENCE_S) is None) == (direction == "in")
            assert (hears(here, SILENCE_S) is None) == (direction == "out")
            host.heal()
            here.sendto(b"again", (host.address, 7))
            assert comes(listener) == b"again\n"
        finally:
            listener.kill()
            listener.wait()
            assert listener.stdout is not None
            listener.stdout.close()


def test_two_hosts_can_be_cut_from_each_other_alone(hosts: Hosts) -> None:
    hosts[0].cut(peer=hosts[1])
    assert not reaches(hosts[1].address, source=hosts[0])
    assert not reaches(hosts[0].address, source=hosts[1])
    assert reaches(hosts[2].address, source=hosts[0])
    assert reaches(hosts[0].address)
    assert reaches(hosts[1].address)


def test_a_delayed_link_is_late_by_that_much_each_way_and_loses_no_connection(hosts: Hosts) -> None:
    with session(hosts, hosts[0], "cat") as cat:
        assert echoes(cat, b"before\n")
        hosts[0].delay(150)
        started = time.monotonic()
        assert echoes(cat, b"late\n")
        assert time.monotonic() - started >= 0.3  # there and back
        many = b"x" * 300_000
        hosts[0].delay(2)
        ran = subprocess.run(hosts.ssh(hosts[0], "cat"), input=many, capture_output=True, timeout=HANG_S)
        assert ran.stdout == many
        hosts[0].delay(0)
        assert echoes(cat, b"after\n")


def test_a_link_that_loses_frames_still_carries_everything(hosts: Hosts) -> None:
    hosts[0].delay(0, loss_percent=5)
    ran = subprocess.run(hosts.ssh(hosts[0], "cat"), input=b"y" * 100_000, capture_output=True, timeout=HANG_S)
    assert ran.stdout == b"y" * 100_000


# --- faults of processes and hosts --------------------------------------------------------------------


def test_anything_on_a_host_can_be_stopped_resumed_and_killed(hosts: Hosts) -> None:
    sleeper = hosts[0].start(["sleep", "1000"])
    pid = hosts[0].pid_of(sleeper)
    assert [(each.pid, each.argv) for each in hosts[0].processes()] == [(pid, ("sleep", "1000"))]
    hosts[0].stop(pid)
    assert hosts[0].run(["ps", "-o", "stat=", "-p", str(pid)]).stdout.startswith("T")
    hosts[0].resume(pid)
    assert hosts[0].run(["ps", "-o", "stat=", "-p", str(pid)]).stdout.startswith("S")
    hosts[0].kill(pid)
    assert sleeper.wait(HANG_S) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        hosts[0].kill(pid)


def test_what_a_test_started_on_a_host_ends_with_its_command(hosts: Hosts) -> None:
    for user in ("root", "farmer"):
        sleeper = hosts[0].start(["sleep", "1000"], user=user)
        hosts[0].pid_of(sleeper)
        sleeper.kill()
        sleeper.wait()
    assert hosts.reset() == []


def test_reset_undoes_faults_and_says_what_was_left_running(hosts: Hosts) -> None:
    hosts[0].run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"])
    hosts[0].cut()
    hosts[0].set_load(99)
    hosts[0].kill_sshd()
    hosts[1].crash()
    hosts[2].stop(1)
    left = hosts.reset(grace_s=0.1)
    assert [line.split(": ", 1)[0] for line in left] == ["node1"]
    assert left[0].endswith("sleep 1000")
    for host in hosts:
        assert reaches(host.address)
        assert host.run(["cat", "/run/coordinator-load"]).stdout == str(Load())


def test_killing_sshd_refuses_new_logins_and_keeps_the_open_ones(hosts: Hosts) -> None:
    with session(hosts, hosts[0], "cat") as cat:
        assert echoes(cat, b"before\n")
        hosts[0].kill_sshd()
        assert "Connection refused" in ssh(hosts, hosts[0], "true").stderr
        assert echoes(cat, b"still here\n")
        hosts[0].start_sshd()
        assert ssh(hosts, hosts[0], "hostname").stdout == "node1\n"


def test_a_frozen_host_accepts_connections_and_says_nothing(hosts: Hosts) -> None:
    if "v2" not in control_groups():
        pytest.skip("no control groups of version 2 are mounted")
    with session(hosts, hosts[0], "cat") as cat:
        assert echoes(cat, b"before\n")
        hosts[0].freeze()
        assert not echoes(cat, b"meanwhile\n", SILENCE_S)
        assert reaches(hosts[0].address)
        with socket.create_connection((hosts[0].address, 22)) as connection:
            assert hears(connection, SILENCE_S) is None
        hosts[0].thaw()
        assert comes(cat) == b"meanwhile\n"


def test_a_crash_ends_everything_and_peers_hear_their_connections_close(hosts: Hosts) -> None:
    host = hosts[0]
    with session(hosts, host, "cat") as cat:
        assert echoes(cat, b"before\n")
        host.crash()
        assert cat.wait(HANG_S) == 255
    assert not host.is_up
    assert not reaches(host.address)
    with pytest.raises(TestbedError, match="node1 is down"):
        host.run(["true"])
    host.boot()
    assert ssh(hosts, host, "hostname").stdout == "node1\n"
    assert reaches(host.address, source=hosts[1])


def test_a_silent_crash_is_not_heard(hosts: Hosts) -> None:
    with socket.create_connection((hosts[0].address, 22), timeout=HANG_S) as connection:
        assert connection.recv(100).startswith(b"SSH-2.0")
        hosts[0].crash(silent=True)
        assert hears(connection, SILENCE_S) is None
        hosts[0].boot()
        connection.settimeout(HANG_S)
        connection.send(b"x")
        with pytest.raises(ConnectionResetError):  # the host that came back knows nothing of it
            connection.recv(100)


def test_the_disk_outlives_a_crash_and_tmp_does_not(hosts: Hosts) -> None:
    look = "cat /proc/sys/kernel/random/boot_id; cat /root/kept /var/tmp/kept /etc/kept; ls -d /tmp/g*"
    hosts[0].run(["sh", "-c", "echo 1 >/root/kept; echo 2 >/var/tmp/kept; echo 3 >/etc/kept; touch /tmp/gone"])
    before = hosts[0].run(["sh", "-c", look]).stdout.split()
    other = hosts[1].run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()
    hosts[0].crash()
    hosts[0].boot()
    after = hosts[0].run(["sh", "-c", look], check=False).stdout.split()
    assert before[1:] == ["1", "2", "3", "/tmp/gone"]
    assert after[1:] == ["1", "2", "3"]
    assert len({before[0], after[0], other, Path("/proc/sys/kernel/random/boot_id").read_text().strip()}) == 4
    hosts[0].crash()
    hosts[0].boot(fresh=True)
    assert hosts[0].run(["sh", "-c", look], check=False).stdout.split()[1:] == []


def test_a_disk_is_full_on_one_host_alone(hosts: Hosts) -> None:
    fill = ["sh", "-c", "dd if=/dev/zero of=/var/tmp/fill bs=1M 2>&1; echo x >/home/farmer/x"]
    assert "No space left on device" in hosts[0].run(fill, check=False).stdout
    assert "No space left on device" in ssh(hosts, hosts[0], "echo x >file", user="farmer").stderr
    assert ssh(hosts, hosts[1], "echo x >file; rm file", user="farmer").returncode == 0
    hosts[0].crash()


def test_a_host_may_have_less_memory_than_the_others(hosts: Hosts) -> None:
    eat = [sys.executable, "-c", "x = bytes(1) * 200_000_000; print(len(x))"]
    try:
        hosts[0].limit_memory(100_000_000)
    except TestbedError as error:
        pytest.skip(str(error))
    assert ssh(hosts, hosts[0], *eat[:1], "-c", f"'{eat[2]}'").returncode in (137, 255)
    assert hosts[0].run(eat, check=False).returncode == -signal.SIGKILL
    assert hosts[1].run(eat).stdout == "200000000\n"
    hosts[0].limit_memory(None)
    assert hosts[0].run(eat).stdout == "200000000\n"


def test_each_host_has_load_figures_of_its_own(hosts: Hosts) -> None:
    hosts[0].set_load(1.5)
    hosts[1].set_load(Load(0.25, memory_available_bytes=1000, cores=16))
    hosts[2].set_load(None)
    assert hosts[0].run(["cat", "/run/coordinator-load"], user="farmer").stdout == "1.50 4294967296 2\n"
    assert hosts[1].run(["cat", "/run/coordinator-load"]).stdout == "0.25 1000 16\n"
    assert hosts[2].run(["cat", "/run/coordinator-load"], check=False).returncode == 1


def test_a_machine_without_root_or_tools_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "found", lambda name: None if name in ("nft", "sshd") else name)
    assert missing() == "the testbed needs nft, sshd: apt-get install nftables openssh-server"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing() == "the testbed needs root: it makes network namespaces"


# --- up and down --------------------------------------------------------------------------------------


def _traces(number: int, owner: str = "") -> list[str]:
    """What is on this machine that only the testbed of that number can have made; nothing, if the number is by now
    that of another, whose owner is not ``owner`` (a line of its file)."""
    with lock():
        file = STATE / str(number) / "owner"
        if owner and file.exists() and file.read_text() != owner:
            return []
        found = [name for name in interfaces() if name.startswith(f"ct{number}")]
        said = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
        found += [line for line in said.splitlines() if f"10.{number}." in line]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [line for line in mounts if f"{STATE}/{number}/" in line]
        for mount in control_groups().values():
            found += [str(group) for group in mount.glob(f"coordinator-testbed-{number}")]
        for name in filter(str.isdecimal, os.listdir("/proc")):
            words = " ".join(command_line(int(name)))
            if f"{STATE}/{number}/" in words or f"tests.testbed watch {number} {owner.strip()}" in words:
                found.append(words)
        return found + [str(path) for path in [STATE / str(number)] if path.exists()]


def _owner_of(number: int) -> str:
    return (STATE / str(number) / "owner").read_text()


def _processes_in(namespaces: set[str]) -> list[Process]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        for kind in ("net", "mnt", "pid", "uts", "ipc"):
            with suppress(OSError):
                process = Process.of(int(name))
                if os.readlink(f"/proc/{name}/ns/{kind}") in namespaces and process is not None:
                    found.append(process)
    return found


def _machine_files() -> dict[str, bytes]:
    files = ["/etc/hosts", "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hostname", "/etc/machine-id"]
    paths = [Path(file) for file in files] + sorted(Path("/etc/ssh").rglob("*")) + sorted(Path("/root/.ssh").glob("*"))
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def test_after_down_nothing_is_left_whatever_the_hosts_were_in_the_middle_of() -> None:
    before = _machine_files()
    hosts = Hosts(3)
    with hosts:
        assert _traces(hosts.number)
        inits = [host.init.pid for host in hosts if host.init]
        own = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in inits for kind in ("net", "mnt", "pid", "uts", "ipc")}
        assert len(own) == 15
        sleeper = hosts[0].start(["sleep", "1000"])
        hosts[0].run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"])
        hosts[0].cut("in")
        hosts[0].delay(20)
        hosts[1].stop(1)
        if "v2" in control_groups():
            hosts[1].freeze()
        members = _processes_in(own)
        assert len({process.pid for process in members}) > 9
        hosts[2].crash()
        assert _machine_files() == before
        number, owner = hosts.number, _owner_of(hosts.number)
    sleeper.wait(HANG_S)
    assert _traces(number, owner) == []
    assert not [process for process in members if process.lives]
    assert _machine_files() == before
    hosts.down()  # once more does nothing


def test_testbeds_stand_side_by_side(hosts: Hosts) -> None:
    with Hosts(1) as others:
        assert others.number != hosts.number
        assert others[0].address != hosts[0].address
        assert ssh(others, others[0], "hostname; cat /etc/machine-id").stdout.split() == [
            "node1",
            others[0].path("/etc/machine-id").read_text().strip(),
        ]
        assert not reaches(others[0].address, source=hosts[0])
    assert reaches(hosts[0].address)


_OWNER = """
import sys
from tests.testbed.hosts import Hosts
hosts = Hosts(1).up()
print(hosts.number, flush=True)
sys.stdin.read()
"""


@contextmanager
def _owner() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Another process with a testbed of its own, and the number of that."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _OWNER], bufsize=0, cwd=ROOT, stdin=pipe, stdout=pipe) as process:
        try:
            yield process, int(comes(process) or b"-1")
        finally:
            process.kill()


def test_a_testbed_whose_owner_is_killed_goes_down_by_itself() -> None:
    with _owner() as (owner, number):
        watcher = Process.read(STATE / str(number) / "watcher")
        assert watcher is not None
        line = _owner_of(number)
        owner.kill()
        owner.wait()
        assert watcher.wait(HANG_S)
        assert _traces(number, line) == []


def test_a_testbed_that_nobody_watches_any_more_is_removed_by_the_next() -> None:
    with _owner() as (owner, number):
        watcher = Process.read(STATE / str(number) / "watcher")
        assert watcher is not None
        line = _owner_of(number)
        watcher.signal()
        watcher.wait()
        owner.kill()
        owner.wait()
        Hosts(1).up().down()
        assert _traces(number, line) == []


def test_a_testbed_for_a_person_is_put_up_tried_and_taken_down() -> None:
    if (STATE / str(STANDING)).exists():
        pytest.skip("somebody's own testbed is standing: make testbed-down")

    def testbed(*words: str, status: int = 0) -> str:
        argv = [sys.executable, "-m", "tests.testbed", *words]
        ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, stdin=subprocess.DEVNULL)
        assert ran.returncode == status, ran.stderr
        return ran.stdout + ran.stderr

    try:
        assert testbed("up", "2").startswith("2 hosts are up: node1 (10.77.0.11) to node2 (10.77.0.12)\n")
        assert testbed("up", "2") == "2 hosts are standing already\n"
        assert testbed("run", "node2", "hostname") == "node2\n"
        assert testbed("run", "node2", "false", status=1) == ""
        testbed("cut", "node1", "in")
        testbed("heal", "node1")
        testbed("crash", "node1")
        assert testbed("status").split()[:6] == ["node1", "10.77.0.11", "down", "node2", "10.77.0.12", "up"]
        testbed("boot", "node1")
        hosts = Hosts.standing()
        script = "ssh -o BatchMode=yes farmer@node1 hostname; getent hosts node2"
        argv = hosts.here("sh", "-c", script)
        env = {**os.environ, **hosts.environment}
        said = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=HANG_S)
        assert said.stdout.split() == ["node1", "10.77.0.12", "node2"]
        assert "no host node9: there are node1, node2" in testbed("crash", "node9", status=1)
        assert testbed("up", "1").startswith("1 hosts are up")
    finally:
        testbed("down")
        testbed("down")
    assert _traces(STANDING) == []
    assert "no testbed is standing: make testbed N=3" in testbed("status", status=1)
