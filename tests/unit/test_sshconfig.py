"""How a host is logged in to: which option wins, what is understood, which key is known; and what its shell is told."""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import BadInput, LaunchFailed
from coordinator.executors import farside, sshconfig, sshkeys
from coordinator.executors.attempt import AT_ONCE, Attempt, Gate, failed
from coordinator.executors.launcher import Launcher
from coordinator.executors.shell import script
from coordinator.executors.sshconfig import Target, config_text, parse_sshopts, target

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEkpP8RovdtPVd8rWvcI3D1a7iGV0MPx3IBFozGPfVji"


def known(name: str, line: str, tmp_path: Path, **more: Any) -> list[str]:
    """Where a host of that name is known, in a file with that line."""
    (tmp_path / "known").write_text(line + "\n")
    options = {"userknownhostsfile": str(tmp_path / "known"), "globalknownhostsfile": "none", **more}
    return [key.place.rpartition(":")[2] for key in sshkeys.known_keys(target(name, {}, options))]


# --- options ------------------------------------------------------------------------------------------


def test_a_plain_host_is_its_name_the_user_and_port_22() -> None:
    found = target("node1", {}, {})
    assert (found.hostname, found.port, found.user, found.jumps) == ("node1", 22, getpass.getuser(), ())
    assert found.identities == tuple(os.path.expanduser(file) for file in sshconfig.DEFAULT_KEYS)
    assert found.python == sys.executable
    assert (found.key_names, found.place) == (("node1",), "node1")


def test_the_hosts_line_wins_over_sshopts_and_they_over_opensshs_config() -> None:
    config = {"user": "c", "port": "3", "hostname": "10.0.0.3", "identityfile": ["/c"], "proxyjump": "gate3"}
    found = target("node1", {}, config)
    assert (found.user, found.port, found.hostname, found.jumps) == ("c", 3, "10.0.0.3", ("gate3",))
    options = {"sshopts": "-l s -p 2 -i /s -o HostName=10.0.0.2 -J a@gate2:22,b"}
    found = target("node1", options, config)
    assert (found.user, found.port, found.hostname, found.jumps) == ("s", 2, "10.0.0.2", ("a@gate2:22", "b"))
    assert found.identities == ("/s", "/c")
    options |= {"user": "h", "port": "1", "identity": "/h", "proxyjump": "none", "python": "/p", "env.X": "y"}
    found = target("node1", options, config)
    assert (found.user, found.port, found.jumps) == ("h", 1, ())
    assert found.identities == ("/h", "/s", "/c")
    assert (found.python, found.env) == ("/p", (("X", "y"),))
    assert found.place == "node1 (10.0.0.2 port 1)"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("", {}),
        ("-p 2222", {"port": ["2222"]}),
        ("-p2222 -x -aq", {"port": ["2222"]}),
        ("-o Port=1 -oUser=a -o 'HostName b'", {"port": ["1"], "user": ["a"], "hostname": ["b"]}),
        ("-i '~/a b' -i c", {"identityfile": ["~/a b", "c"]}),
        ("-o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=yes", {}),
    ],
)
def test_sshopts_are_read_as_ssh_would(text: str, means: dict[str, list[str]]) -> None:
    assert parse_sshopts(text) == means


@pytest.mark.parametrize(
    ("options", "config", "says"),
    [
        ({"sshopts": "-X"}, {}, "'-X' is not understood; known are -p -l -i -J and -o"),
        ({"sshopts": "-A"}, {}, "'-A' is not understood"),
        ({"sshopts": "node2"}, {}, "'node2' is not understood"),
        ({"sshopts": "-p"}, {}, "'-p' has no value"),
        ({"sshopts": "'"}, {}, "cannot be read"),
        ({"sshopts": "-o ProxyCommand=id"}, {}, "-o proxycommand=id is not possible here"),
        ({"sshopts": "-o StrictHostKeyChecking=no"}, {}, "host keys are always checked"),
        ({"sshopts": "-o ForwardAgent=yes"}, {}, "is not possible here"),
        ({"sshopts": "-p 99999"}, {}, "a port is a number from 1 to 65535"),
        ({"user": "a;b"}, {}, "'a;b' is not a user name"),
        ({"user": "-oX"}, {}, "is not a user name"),
        ({}, {"user": "a\x1b"}, "is not a user name"),
        ({}, {"hostname": "-oProxyCommand=x"}, "is not a host name"),
        ({"proxyjump": "a b"}, {}, "is not a host name"),
        ({"proxyjump": "a@b:x"}, {}, "a port is a number"),
        ({}, {"proxycommand": "nc %h %p"}, "has a ProxyCommand for node1, which is not run here"),
    ],
)
def test_what_cannot_be_used_is_refused_and_named(options: dict[str, str], config: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        target("node1", options, config)
    assert says in caught.value.message


def test_included_files_count_where_they_are_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paramiko = pytest.importorskip("paramiko")
    monkeypatch.setenv("HOME", str(tmp_path))
    ssh = tmp_path / ".ssh"
    (ssh / "conf.d").mkdir(parents=True)
    (ssh / "config").write_text("Host a\n  Include conf.d/*.conf\n  Port 3\nHost b\n  Port 4\nInclude missing\n")
    (ssh / "conf.d/1.conf").write_text("User from-include\nHost c\n  Port 5\n")
    system = tmp_path / "system"
    system.write_text("Port 6\nUser late\n")
    config = paramiko.SSHConfig.from_text(config_text(("~/.ssh/config", str(system))))
    assert (config.lookup("a")["user"], config.lookup("a")["port"]) == ("from-include", "3")
    assert (config.lookup("b")["user"], config.lookup("b")["port"]) == ("late", "4")
    assert config.lookup("z")["port"] == "6"


# --- keys ---------------------------------------------------------------------------------------------


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def test_a_host_is_known_by_name_pattern_hash_alias_and_port(tmp_path: Path) -> None:
    assert known("node1", f"# x\n\nnode2,node1 {KEY} comment", tmp_path) == ["3"]
    assert known("NODE1", f"node1 {KEY}", tmp_path) == ["1"]
    assert known("node1", f"node? {KEY}\n*.example.org {KEY}\n!node1,* {KEY}", tmp_path) == ["1"]
    assert known("node1", f"{hashed('node2')} {KEY}\n{hashed('node1')} {KEY}\n|1|x|y {KEY}", tmp_path) == ["2"]
    assert known("node1", f"node1 {KEY}\n[node1]:2222 {KEY}", tmp_path, port="2222") == ["2"]
    assert known("node1", f"node1 {KEY}", tmp_path, port="2222") == ["1"], "as with OpenSSH"
    assert known("node1", f"[node1]:2222 {KEY}", tmp_path) == []
    assert known("node1", f"node1 {KEY}\nlab {KEY}", tmp_path, hostkeyalias="lab", port="9") == ["2"]
    assert known("node1", f"@cert-authority node1 {KEY}\nnode1 broken", tmp_path) == []
    assert known("node1", f"node1 {KEY}", tmp_path, hostname="10.0.0.1") == [], "its address is what is looked up"


def test_a_revoked_key_is_marked(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"@revoked node1 {KEY}\n")
    found = sshkeys.keys_in(str(tmp_path / "known"), "node1")
    assert [(key.revoked, key.line) for key in found] == [(True, f"node1 {KEY}")]


def test_thousands_of_hashed_names_are_looked_through_at_once(tmp_path: Path) -> None:
    many = "".join(f"{hashed(f'host{number}')} {KEY}\n" for number in range(5000))
    assert known("host4999", many, tmp_path) == ["5000"]


@pytest.fixture
def no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(sshconfig, "CONFIG_FILES", ("~/.ssh/config",))
    monkeypatch.setattr(config_text, "__defaults__", (("~/.ssh/config",),))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def test_neither_agent_nor_key_is_said_and_any_of_them_will_do(no_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts: dict[str, dict[str, str]] = {"node1": {}, "node2": {}}
    words = sshkeys.no_key_words(hosts)
    assert words is not None
    assert words.startswith(
        "node1 and 1 more hosts can only be reached over SSH, and there is no key to log in with: no "
    )
    assert sshkeys.no_key_words({}) is None
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    assert "the ssh-agent is gone (/nowhere/agent" in str(sshkeys.no_key_words(hosts))
    (no_keys / "lab").write_text("")
    assert sshkeys.no_key_words({"node1": {"identity": str(no_keys / "lab")}}) is None
    assert sshkeys.no_key_words({"node1": {"sshopts": f"-i {no_keys}/lab"}}) is None
    (no_keys / ".ssh/config").write_text("Host x\n  IdentityFile ~/lab\n")
    assert sshkeys.no_key_words(hosts) is None
    (no_keys / ".ssh/config").unlink()
    (no_keys / ".ssh/id_ed25519").write_text("")
    assert sshkeys.no_key_words(hosts) is None


@pytest.mark.parametrize(
    ("answer", "keys"), [(b"\0\0\0\x05\x0c\0\0\0\x02", 2), (b"\0\0\0\x01\x05", 0), (b"", 0), (None, 0)]
)
def test_an_agent_is_asked_for_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, keys: int
) -> None:
    monkeypatch.setattr(sshkeys, "AGENT_S", 0.2)
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen()

        def serve() -> None:
            asked, _ = agent.accept()
            with asked:
                assert asked.recv(10) == b"\0\0\0\x01\x0b"
                if answer is None:
                    asked.recv(1)  # until it is given up
                else:
                    asked.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        assert sshkeys.agent_keys() == keys
        thread.join()


# --- what the shell is told ---------------------------------------------------------------------------

SHELLS = [path for name in ("dash", "bash", "ksh", "mksh", "zsh", "busybox") if (path := shutil.which(name))]
WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("shell", SHELLS)
@given(value=WORDS, folder=WORDS)
def test_every_value_arrives_as_it_left(shell: str, value: str, folder: str) -> None:
    text = script(("aa", "b'b"), "/usr/bin/env", [folder], [("X", value)]).replace("-m coordinator.keeper", "-0")
    argv = [shell, "sh"] if shell.endswith("busybox") else [shell]
    said = subprocess.run(argv, input=text.encode(), capture_output=True, env={}, timeout=30, check=True)
    assert said.stderr == b""
    marker, _, rest = said.stdout.partition(b"\n")
    assert marker == b"aab'b"
    assert marker not in text.encode()
    environment = dict(one.split("=", 1) for one in rest.decode().split("\0") if "=" in one)
    assert (environment["X"], environment.get("PYTHONPATH", "")) == (value, folder)


def test_a_shell_takes_nothing_of_the_orders_when_python_is_not_there(tmp_path: Path) -> None:
    text = script(("a", "b"), "/nowhere/python", [], [])
    orders = f'\n{{"x": 1}} ; touch {tmp_path}/ran\ntouch {tmp_path}/ran\n'
    said = subprocess.run(["/bin/sh"], input=text + orders, capture_output=True, text=True, timeout=30)
    assert said.returncode == 127
    assert not (tmp_path / "ran").exists()


def test_a_start_url_that_would_mean_the_host_itself_is_left_out() -> None:
    urls = ["https://head:8888", "https://*:8888"]
    assert farside.addressed(urls, "10.0.0.9") == ["https://head:8888", "https://10.0.0.9:8888"]
    assert farside.addressed(urls, "fe80::1") == ["https://head:8888", "https://[fe80::1]:8888"]
    assert farside.addressed(urls, "127.0.0.1") == farside.addressed(urls, None) == ["https://head:8888"]


class Channel:
    """What a host says: pieces of bytes, then its end."""

    def __init__(self, *said: bytes, status: int = 1) -> None:
        self.sent = b""
        self._said, self._status = list(said), status
        self.status_event = threading.Event()
        self.status_event.set()

    def settimeout(self, _: float) -> None: ...
    def exec_command(self, command: str) -> None:
        assert command == "/bin/sh"

    def sendall(self, data: bytes) -> None:
        if not self._said:
            raise OSError("Socket is closed")
        self.sent += data

    def recv(self, _: int) -> bytes:
        if not self._said:
            return b""
        piece = self._said.pop(0)
        words = [line for line in self.sent.decode().splitlines() if line.startswith("printf")]
        marker = "".join(words[0].split(";")[0].split()[2:]).encode()
        return piece.replace(b"MARKER", marker)

    def recv_exit_status(self) -> int:
        return self._status


def order(*said: bytes, status: int = 1) -> tuple[dict[str, Any] | str, Channel]:
    channel = Channel(*said, status=status)
    where = Target("node1", "node1", 22, "bob", (), False, (), None, (), "/p/python3", ())
    try:
        return farside.order(Attempt("node1"), where, channel, {"token": "secret"}, {"path": []}), channel
    except LaunchFailed as error:
        return error.message, channel


def test_orders_leave_only_after_the_marker_came_back() -> None:
    said, channel = order(b"Welcome\nto node1", b"\nMARK", b"never")
    assert isinstance(said, str)
    assert b"secret" not in channel.sent
    said, channel = order(b"Welcome MARK", b"", status=0)
    assert b"secret" not in channel.sent
    said, channel = order(b"Welcome", b" MARKER\nnoise\n{}\n[1]\n", b'{"ready": 7, "python"', b': "3.11"}\n')
    assert isinstance(said, dict)
    assert (said["ready"], said["python"]) == (7, "3.11")
    assert json.loads(channel.sent.splitlines()[-1]) == {"token": "secret"}


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ([b"MARKER\n", b"sh: 1: not found\n"], 127, "/p/python3 is not there on node1: name its Python 3.11 or later"),
        ([b"MARKER\n"], 126, "/p/python3 cannot be run on node1"),
        ([b"no \x1b[31mlogin\n\nhere\n"], 5, "as bob ended at once with exit status 5; it said: no  [31mlogin / here"),
        ([b"x" * 600_000] * 3, 0, "the login shell of bob on node1 prints without end: mend its start-up files"),
        ([b'MARKER\n{"error": "no disk", "step": "log"}\n'], 1, "no disk"),
        (
            [b'MARKER\n{"error": "it is old", "step": "python"}\n'],
            1,
            "cannot be used on node1: it is old; name another",
        ),
        (
            [b'MARKER\n{"error": "no module", "step": "package"}\n'],
            1,
            "cannot import coordinator (no module): install it there",
        ),
    ],
)
def test_what_goes_wrong_on_the_host_is_one_sentence(said: list[bytes], status: int, words: str) -> None:
    message, _ = order(*said, status=status)
    assert words in message
    assert "\n" not in message


# --- the launcher -------------------------------------------------------------------------------------


def test_few_enter_a_server_at_once_and_those_who_queue_hear_that_it_is_dead() -> None:
    gate, entered, go = Gate(), threading.Semaphore(0), threading.Event()
    heard: list[str] = []

    def enter() -> None:
        attempt = Attempt("node1")
        try:
            gate.enter(attempt)
        except LaunchFailed as error:
            heard.append(error.message)
            return
        entered.release()
        go.wait(30)
        gate.leave(attempt, failed("reach", "it is down"))

    threads = [threading.Thread(target=enter) for _ in range(AT_ONCE + 3)]
    for thread in threads:
        thread.start()
    for _ in range(AT_ONCE):
        assert entered.acquire(timeout=30)
    assert not entered.acquire(timeout=0.05)
    go.set()
    for thread in threads:
        thread.join(30)
    assert heard == ["it is down"] * 3
    gate.enter(Attempt("node1"))  # who comes later tries by himself


def test_those_who_hang_for_ever_do_not_close_the_gate() -> None:
    gate, hanging = Gate(), [Attempt("node1") for _ in range(AT_ONCE)]
    for attempt in hanging:
        gate.enter(attempt)
    for attempt in hanging:
        attempt.cut()
    gate.enter(Attempt("node1"))
    with pytest.raises(LaunchFailed):
        gate.enter(hanging[0])


class Answers:
    """What a launcher said."""

    def __init__(self) -> None:
        self.said: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()

    def __call__(self, message: dict[str, Any]) -> None:
        with self._changed:
            self.said[message["id"]] = message
            self._changed.notify_all()

    def wait(self, *numbers: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.said.keys() >= set(numbers), 30)


def test_a_request_that_hangs_or_breaks_is_answered_and_the_others_go_on() -> None:
    answers, release = Answers(), threading.Event()

    def do(attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        if request["host"] == "hangs":
            attempt.step = "waiting for the end of the world"
            attempt.deadline = time.monotonic()
            release.wait(30)
        if request["host"] == "breaks":
            raise ZeroDivisionError("oops")
        return {"host": request["host"]}

    launcher = Launcher(do, answers)
    for number, host in enumerate(("hangs", "breaks", "works")):
        launcher.ask({"id": number, "host": host})
    answers.wait(1, 2)
    assert answers.said[2] == {"id": 2, "ready": {"host": "works"}}
    assert "breaks: ZeroDivisionError while waiting for its turn: oops" in answers.said[1]["failed"]
    while 0 not in answers.said:
        launcher.look()
    assert "was not ready within 25 s; it was waiting for the end of the world" in answers.said[0]["failed"]
    before = answers.said[0]
    release.set()
    launcher.ask({"id": 3, "host": "works"})
    answers.wait(3)
    assert answers.said[0] == before, "it is answered once"


def test_what_is_cancelled_is_answered_at_once_unless_its_orders_have_left() -> None:
    answers, release, begun = Answers(), threading.Event(), threading.Barrier(3)

    def do(attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        attempt.committed = request["host"] == "committed"
        begun.wait(30)
        release.wait(30)
        return {}

    launcher = Launcher(do, answers)
    launcher.ask({"id": 1, "host": "early"})
    launcher.ask({"id": 2, "host": "committed"})
    begun.wait(30)
    launcher.cancel(1)
    launcher.cancel(2)
    launcher.cancel(9)
    answers.wait(1)
    assert answers.said == {1: {"id": 1, "failed": "it was not needed any more", "step": "cancelled"}}
    release.set()
    answers.wait(2)
    assert answers.said[2] == {"id": 2, "ready": {}}


def test_a_coordinator_with_remote_hosts_never_imports_paramiko() -> None:
    code = (
        "import sys, coordinator.taskserver, coordinator.executors.choice as choice\n"
        "choice.AnyExecutor().look_ahead({'localhost': {}})\n"
        "assert 'paramiko' not in sys.modules and 'cryptography' not in sys.modules, sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
