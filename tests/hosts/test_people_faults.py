"""The rarer ways not to get a keeper onto a host, each brought about for real and told in a sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from coordinator.core.hosts import parse
from coordinator.errors import LaunchFailed
from coordinator.executors import remote
from coordinator.executors.remote import ask
from tests.end_to_end.daemons import until
from tests.hosts.launched import at
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def failures(requests: dict[str, dict[str, Any]]) -> dict[str, str]:
    """{host: sentence} of requests that must all fail; {"options", and more of the request} each."""
    names = list(requests)
    asked = [{"do": "look", "host": name, "options": {}, "paths": ["/"], **requests[name]} for name in names]
    return {names[number]: said.get("failed", f"(no failure: {said})") for number, said in ask(asked)}


def options(text: str) -> dict[str, Any]:
    """Of a line of NAME.hosts."""
    return {"options": dict(parse(f"x maxload=1.0,{text}\n")["x"].options)}


@contextmanager
def speaking(words: bytes | None) -> Iterator[int]:
    """The port of something on this machine that says that to each who connects, and hangs up; None: at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    heard, _ = server.accept()
                except OSError:
                    return
                with heard, suppress(OSError):
                    if words is not None:
                        heard.sendall(words)
                        heard.recv(1000)
                    else:
                        heard.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def start_up(host: Host, text: str) -> Iterator[None]:
    """A line in the .bashrc of farmer on that host."""
    host.run(["sh", "-c", "cat >/home/farmer/.bashrc"], input=text + "\n")
    try:
        yield
    finally:
        host.run(["rm", "/home/farmer/.bashrc"])


@contextmanager
def another_sshd(host: Host, port: int, *words: str) -> Iterator[None]:
    with host.start(["/usr/sbin/sshd", "-D", "-e", "-p", str(port), "-o", "PidFile=none", *words]) as process:
        host.run(["sh", "-c", f"until ss -ltn | grep -q ':{port} '; do sleep 0.05; done"])
        try:
            yield
        finally:
            host.kill(host.pid_of(process))
            process.wait()


def test_servers_that_are_none_and_ways_that_do_not_lead_there_are_named(home: Path, hosts: Hosts) -> None:
    gone = f"10.{hosts.number}.200.1"
    with speaking(b"SSH-1.5-old\r\n") as old, speaking(b"SSH-2.0-x\r\n") as rude, speaking(None) as full:
        here = "sshopts=-o HostName=127.0.0.1 -p"
        said = failures(
            {
                "old": options(f"{here} {old}"),
                "rude": {**options(f"{here} {rude}"), "do": "key"},
                "full": options(f"{here} {full}"),
                "beyond": options(f"proxyjump=root@node1,sshopts=-o HostName={gone} -o HostKeyAlias=node1"),
                "nobodys": options("sshopts=-o HostName=255.255.255.255"),
            }
        )
    assert f"old (127.0.0.1 port {old}) and this machine do not agree on how to talk SSH: " in said["old"]
    assert f"rude (127.0.0.1 port {rude}) shows no host key: " in said["rude"]
    assert "connections before a word was said: it has too many logins at once (MaxStartups)" in said["full"]
    assert f"beyond ({gone}) cannot be reached through node1" in said["beyond"]
    assert "nobodys (255.255.255.255) port 22 cannot be reached: " in said["nobodys"] or (
        "255.255.255.255) cannot be reached" in said["nobodys"]
    ), said


def test_servers_that_want_more_or_give_less_are_named(home: Path, hosts: Hosts) -> None:
    with (
        another_sshd(hosts[0], 2201, "-o", "MaxSessions=0"),
        another_sshd(hosts[0], 2202, "-o", "AuthenticationMethods=publickey,password"),
    ):
        said = failures({"none": options(at(hosts[0], "port=2201")), "more": options(at(hosts[0], "port=2202"))})
    assert "broke the connection while opening a session for root" in said["none"]
    assert "wants more than a key to log in, and a second factor cannot be asked for here (user root)" in said["more"]


def test_a_key_that_was_revoked_and_a_config_that_cannot_be_read_are_named(home: Path, hosts: Hosts) -> None:
    known = home / ".ssh/known_hosts"
    line = next(line for line in known.read_text().splitlines() if hosts[0].address in line)
    known.write_text(f"@revoked {line}\n" + known.read_text().replace(line + "\n", ""))
    assert "shows a host key that was revoked (ED25519 SHA256:" in failures({"node1": {}})["node1"]
    config = home / ".ssh/config"
    config.write_text("Match\n" + config.read_text())
    assert "OpenSSH's config cannot be used for node1" in failures({"node1": {}})["node1"]


def test_start_up_files_that_print_without_end_or_end_the_connection_are_named(home: Path, hosts: Hosts) -> None:
    farmer = {"options": {"user": "farmer"}}
    with start_up(hosts[0], "yes Welcome"):
        said = failures({"node1": farmer})["node1"]
        assert "the login shell of farmer on node1" in said
        assert "prints without end: mend its start-up files; it said: " in said
    with start_up(hosts[1], "kill -9 $PPID"):
        said = failures({"node2": farmer})["node2"]
        assert said.startswith("the connection to node2")
        assert "broke while waiting for the login shell of farmer" in said


def test_a_python_that_hangs_is_named(home: Path, hosts: Hosts, tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 40\n")
    hanging.chmod(0o755)
    said = failures({"node1": {"options": {"python": str(hanging)}}})["node1"]
    assert said == f"node1 was not ready within 25 s; it was waiting for {hanging}. Try `ssh node1` by hand."

    def sleeping() -> list[int]:
        return [each.pid for each in hosts[0].processes() if each.argv[:1] == ["sleep"]]

    def ended() -> bool:
        """The login shell asks a Python that failed why, and it hangs again."""
        for pid in sleeping():
            hosts[0].kill(pid)
        return not sleeping() and not any("/bin/sh" in " ".join(each.argv) for each in hosts[0].processes())

    until(ended, "the host is as it was")


def test_what_a_keeper_lacks_on_its_host_is_named(home: Path, hosts: Hosts, tmp_path: Path) -> None:
    orders = {"remote": True, "keeper": "k", "name": "one", "argv": ["python", "x"], "directory": str(tmp_path)}
    orders |= {"script": None, "log_directory": None}

    def start(node: str, **more: object) -> dict[str, Any]:
        return {"do": "start", "orders": {**orders, "host": node, **more}}

    with socket.create_server((hosts.gateway, 0)) as server:
        closed = server.getsockname()[1]
    directory = "/tmp/coordinator-0"
    hosts[1].run(["sh", "-c", f"rm -rf {directory} && mkdir {directory} && chown 12345 {directory}"])
    said = failures(
        {
            "node1": start("node1", urls=[f"http://{hosts.gateway}:{closed}"]),
            "node2": start("node2", urls=[]),
            "node3": start("node3", urls=[]),
        }
    )
    hosts[1].run(["rm", "-rf", directory])
    url = f"http://{hosts.gateway}:{closed}"
    assert f"node1 cannot reach the Coordinator ({url}: Connection refused): open that port" in said["node1"]
    assert "node2 cannot write logs: " in said["node2"]
    assert f"{directory} belongs to another user (uid 12345)" in said["node2"]
    assert said["node3"] == "the job was started with --host= and a name that means its own machine only"


def test_a_launcher_that_is_killed_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = remote.start_launcher

    def doomed() -> Any:
        child = begin()
        child.kill()
        child.wait()
        return child

    monkeypatch.setattr(remote, "start_launcher", doomed)
    with pytest.raises(LaunchFailed, match="the process that logs in over SSH ended before it had answered"):
        failures({"node1": {}})
