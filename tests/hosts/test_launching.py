"""Launching on real hosts: who is reached and how, and each way to fail, in a sentence that people see."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from coordinator.executors.remote import ask
from tests.end_to_end.daemons import Daemons, lives, until
from tests.hosts.launched import SCRIPT, at, ran, told_everywhere
from tests.testbed.furniture import users
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing
from tests.testbed.processes import children

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def looks(requests: dict[str, dict[str, str]], paths: tuple[str, ...] = ("/",)) -> dict[str, dict[str, Any]]:
    """{name: answer} of logins with those options, all at once."""
    names = list(requests)
    asked = [{"do": "look", "host": name, "options": requests[name], "paths": list(paths)} for name in names]
    return {names[number]: said for number, said in ask(asked)}


def look(name: str, **options: str) -> dict[str, Any]:
    return looks({name: options})[name]


# --- it works -----------------------------------------------------------------------------------------


def test_a_job_runs_on_every_host_and_loads_its_script_once_on_each(farm: Daemons) -> None:
    url = farm.controller("node1 2.0\nnode2 2.0\nnode3 1.0\n")
    farm.job("one", url)
    job = until(
        lambda: len((job := farm.document("status", "one")["job"])["processors"]) == 5 and job, "five processors"
    )
    assert sorted(one["host"] for one in job["processors"]) == ["node1", "node1", "node2", "node2", "node3"]
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    assert sorted(ran(farm), key=int) == [str(number) for number in range(100)]
    assert set(ran(farm).values()) == {"node1", "node2", "node3"}
    loaded = (farm.directory / "loaded").read_text().split()
    assert [loaded.count(node) for node in ("node1", "node2", "node3")] == [1, 1, 1]


def test_no_login_lasts_no_token_shows_and_logs_are_the_users_own(farm: Daemons, hosts: Hosts) -> None:
    url = farm.controller("node1 2.0\n")
    run = farm.job("alone", url)
    job = until(
        lambda: len((job := farm.document("status", "alone")["job"])["processors"]) == 2 and job, "two processors"
    )

    def sessions() -> list[str]:
        return [str(each) for each in hosts[0].processes() if "sshd" in " ".join(each.argv) or "-sh" in each.argv]

    until(lambda: not sessions(), "the login is over")
    for each in hosts[0].processes():
        environment = Path(f"/proc/{each.outer.pid}/environ").read_bytes().decode(errors="replace")
        assert run["token"] not in " ".join(each.argv) + environment
    for one in job["processors"]:
        log = hosts[0].path(one["log"])
        assert (log.stat().st_mode & 0o777, log.stat().st_uid) == (0o600, 0)
        assert log.name == f"alone_{one['number']}.log"
    hosts[0].kill_sshd()
    farm.touch("go")
    assert farm.coordinator("wait", "alone").returncode == 0, "the end of SSH means nothing"


@pytest.mark.parametrize("user", [user.name for user in users()] if missing() is None else [])
def test_every_login_shell_does(home: Path, user: str) -> None:
    said = look("node1", user=user)
    assert said["ready"]["host"] == "node1"


BANNERS = {
    "bash": (".bashrc", "echo 'Welcome! {\"ready\": 1}'; printf 'no newline'; cat /etc/passwd"),
    "csh": (".cshrc", "echo Welcome; echo 'to node1'"),
    "tcsh": (".tcshrc", "echo Welcome"),
    "fish": (".config/fish/config.fish", "echo Welcome"),
}


@pytest.mark.parametrize("shell", BANNERS)
def test_a_login_shell_may_print_banners(home: Path, hosts: Hosts, shell: str) -> None:
    user = "farmer" if shell == "bash" else f"farmer-{shell}"
    if all(one.name != user for one in users()):
        pytest.skip(f"{shell} is not installed")
    with start_up_file(hosts[1], user, *BANNERS[shell]):
        assert look("node2", user=user)["ready"]["host"] == "node2"


class start_up_file:
    """A file in a user's home on a host, for a while."""

    def __init__(self, host: Host, user: str, name: str, text: str) -> None:
        self._host, self._path, self._text = host, f"/home/{user}/{name}", text

    def __enter__(self) -> None:
        write = 'mkdir -p "$(dirname "$1")" && cat >"$1"'
        self._host.run(["sh", "-c", write, "sh", self._path], input=self._text + "\n")

    def __exit__(self, *_: object) -> None:
        self._host.run(["rm", self._path])


def test_a_start_up_file_that_reads_a_line_gets_none_of_ours(home: Path, hosts: Hosts) -> None:
    with start_up_file(hosts[1], "farmer", ".bashrc", 'read -r line; echo "got <$line>"'):
        assert look("node2", user="farmer")["ready"]["host"] == "node2"


def test_hosts_are_reached_through_others_and_by_what_the_options_say(home: Path, hosts: Hosts) -> None:
    config = home / ".ssh/config"
    (home / ".ssh/more").write_text("Host elsewhere\n  HostName node3\n  User farmer\n  ProxyJump node1\n")
    config.write_text("Include more\n" + config.read_text().replace("node3\n", "node3 elsewhere\n"))
    said = looks(
        {
            "node3": {"proxyjump": "farmer@node1:22,node2"},
            "other": {"sshopts": f"-o HostName={hosts[1].address} -l farmer -p 22"},
            "elsewhere": {},
        }
    )
    assert {name: one.get("ready", one)["host"] for name, one in said.items()} == {
        "node3": "node3",
        "other": "node2",
        "elsewhere": "node3",
    }


def test_a_key_file_does_without_an_agent(home: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    locked = home / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    said = looks({"node1": {"identity": str(hosts.key)}, "node2": {"identity": str(locked)}, "node3": {}})
    assert said["node1"]["ready"]["host"] == "node1"
    assert f"{locked} has a passphrase; add it with ssh-add" in said["node2"]["failed"]
    assert "there is no ssh-agent" in said["node3"]["failed"]


def fake_python(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_ten_thousand_arguments_arrive_as_they_left(home: Path, hosts: Hosts, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    alphabet = " '\"\\$`!*?[]{}()<>|&;#~=%\n\t\r\x01é€😀\udc80-ab1"
    arguments = ["".join(dice.choices(alphabet, k=dice.randrange(12))) for _ in range(10_000)]
    names = ['it\'s "here" $HOME', "a b/`c`;d", "-n *"]
    directory = tmp_path.joinpath(*names)
    directory.mkdir(parents=True)
    script = directory / "sc ript';.py"
    script.write_text(
        "import json, os, sys\n"
        "told = [sys.argv[1:], os.getcwd(), os.environ['ODD'], '%o' % os.umask(0)]\n"
        "json.dump(told, open('told.new', 'w'))\n"
        "os.rename('told.new', 'told')\n"
    )
    odd = 'a\'b "c" $d `e` \\ é =,'
    with socket.create_server((hosts.gateway, 0)) as server:
        orders = {
            "keeper": "k", "host": "node1", "run": "r", "name": "one", "tag": f"test-{seed}", "numbers": [],
            "token": "t", "urls": [f"http://{hosts.gateway}:{server.getsockname()[1]}"], "directory": str(directory),
            "script": str(script), "argv": ["python", str(script), *arguments], "log_directory": None, "remote": True,
            "grace_s": 0.5, "beat_s": 0.2, "time_limit_s": None, "max_errors_in_a_row": 10,
        }  # fmt: skip
        before = os.umask(0o027)
        try:
            request = {"do": "start", "host": "node1", "options": {"env.ODD": odd}, "orders": orders}
            ((_, said),) = ask([request])
        finally:
            os.umask(before)
        assert "ready" in said, said
        until((directory / "told").exists, "the script ran")
    told = json.loads((directory / "told").read_text())
    assert told == [arguments, str(directory), odd, "27"]
    # Nobody answers the keeper: it ends after its grace time, and the fixture sees that it does.


@pytest.mark.timeout(300)
def test_two_hundred_launches_on_default_servers_all_succeed(home: Path, hosts: Hosts, tmp_path: Path) -> None:
    """Four jobs at once, 50 launches each, all on three hosts that take ten logins at a time."""
    python = fake_python(tmp_path / "python", 'read -r line\necho "{\\"ready\\": $$}"\n')
    assert "MaxStartups" not in hosts[0].path("/etc/ssh/sshd_config").read_text(), "the default"
    answers: list[dict[str, Any]] = []

    def launch() -> None:
        orders = {"remote": True}
        each = [
            {"do": "start", "host": f"node{1 + n % 3}", "options": {"python": python}, "orders": orders}
            for n in range(50)
        ]
        answers.extend(said for _, said in ask(each))

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200
    assert [said for said in answers if "ready" not in said] == []


def test_keepers_on_hosts_return_to_a_coordinator_that_was_killed_and_its_launcher_ends(farm: Daemons) -> None:
    url = farm.controller("node1 2.0\nnode2 1.0\n")
    # A port of its own: of those from 8888 up another job takes the first that is free, this one's as soon as it is.
    words = ("--n=40", "--port=0")
    run = farm.job("one", url, *words)
    job = until(lambda: len((job := farm.document("status", "one")["job"])["processors"]) == 3 and job, "three work")
    launchers = children(run["pid"])
    before = {(one["number"], one["host"], one["pid"]) for one in job["processors"]}
    os.kill(run["pid"], signal.SIGKILL)
    until(lambda: not any(lives(pid) for pid in launchers), "what it had started here ended")
    assert farm.job("one", url, *words)["run"] == run["run"]
    job = until(lambda: len((job := farm.document("status", "one")["job"])["processors"]) == 3 and job, "they returned")
    assert {(one["number"], one["host"], one["pid"]) for one in job["processors"]} == before
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0
    lines = (farm.directory / "ran").read_text().splitlines()
    assert sorted(int(line.split()[0]) for line in lines) == list(range(40)), "each ran once"


# --- it does not --------------------------------------------------------------------------------------


def test_each_way_to_fail_is_a_sentence_within_half_a_minute_and_stops_nobody(
    farm: Daemons, home: Path, hosts: Hosts, tmp_path: Path
) -> None:
    broken = fake_python(tmp_path / "broken", "exit 3\n")
    banner = start_up_file(hosts[0], "farmer", ".bashrc", "yes Welcome")
    with banner, socket.create_server((hosts.gateway, 0)) as deaf:
        deaf_port = deaf.getsockname()[1]
        lines = {
            "nowhere": ("", "the name nowhere is not known on this machine"),
            "refusing": (at(hosts[0], "port=2222"), "refuses connections: no SSH server is running there"),
            "deaf": (f"sshopts=-o HostName={hosts.gateway} -p {deaf_port}", "its SSH server says nothing within 10 s"),
            "cut": (at(hosts[1]), "port 22 "),
            "frozen": (at(hosts[2]), "its SSH server says nothing within 10 s: the host hangs"),
            "unknown": (at(hosts[0]) + " -o HostKeyAlias=nobody", "is not known here (ED25519 SHA256:"),
            "changed": (at(hosts[0]) + " -o HostKeyAlias=node2", "has CHANGED: it shows ED25519 SHA256:"),
            "stranger": (
                at(hosts[0], "user=stranger"),
                "takes none of your keys for user stranger (tried: the agent's",
            ),
            "snakeless": (at(hosts[0], "python=/opt/none/python3"), "/opt/none/python3 is not there on snakeless"),
            "broken": (at(hosts[0], f"python={broken}"), "ended at once with exit status"),
            "beyond": (at(hosts[0], "proxyjump=nowhere2"), "the name nowhere2 is not known"),
            "endless": (at(hosts[0], "user=farmer"), "the login shell of farmer on endless"),
            "odd": ("sshopts=-o StrictHostKeyChecking=no", "host keys are always checked"),
        }
        hosts[1].cut()
        hosts[2].freeze()
        text = "".join(f"{name} maxload=1.0{',' if line else ''}{line}\n" for name, (line, _) in lines.items())
        url = farm.controller(f"node1 1.0\n{text}")
        farm.touch("go")
        farm.job("one", url, "--n=1000000")
        until(lambda: "node1" in ran(farm).values(), "the others go on")

        def reported() -> dict[str, str]:
            known = farm.document("hosts", f"--rc_url={url}")["hosts"]
            return {name: host["reason"] for name, host in known.items() if host["state"] == "unreachable"}

        until(lambda: len(reported()) == len(lines), "all are reported")
        found = reported()
        job = farm.document("status", "one")["job"]
        why = {one["what"]: one["why"] for one in farm.document("why", "one", f"--rc_url={url}")["reasons"]}
        for name in lines:
            told_everywhere(farm, url, "one", name, lines[name][1], f"Host {name} cannot be used.")
    for name, (_, words) in lines.items():
        assert words in found[name], name
        assert "\n" not in found[name]
        assert found[name] in farm.log("one")
        assert found[name] == job["unreachable"][name]
        assert words in why[f"Host {name} cannot be used by this job."]
    assert {one["host"] for one in job["processors"]} == {"node1"}


def test_a_script_that_a_host_does_not_see_is_named(farm: Daemons, home: Path, hosts: Hosts) -> None:
    hidden = hosts.home.parent / "hidden"  # on this machine only
    hidden.mkdir(exist_ok=True)
    elsewhere = Daemons(hidden)
    elsewhere.script(text=SCRIPT)
    url = farm.controller("node1 1.0\nnode2 1.0\n")
    try:
        elsewhere.job("two", url)
        words = f"{hidden} is not there on node1: start the job in a directory that all hosts see under the same path"
        told_everywhere(elsewhere, url, "two", "node1", words, "Host node1 cannot be used.")
        job = farm.document("status", str(hidden / "two"))["job"]
        assert job["unreachable"]["node1"] == words
        # A job that the hosts do see goes on, and people are told of both.
        farm.touch("go")
        farm.job("one", url, "--n=1000000")
        until(lambda: set(ran(farm).values()) == {"node1", "node2"}, "the other job uses them")
        told_everywhere(elsewhere, url, "two", "node1", words, "Host node1 is used: 1 processor on 1 slot.")
        assert f"job 'two' cannot use it: {words}" in farm.coordinator("why", "node1", f"--rc_url={url}").stdout
        assert farm.coordinator("stop", str(hidden / "two")).returncode == 0
    finally:
        elsewhere.end()


def test_a_full_disk_is_named(farm: Daemons, hosts: Hosts) -> None:
    hosts[2].run(["sh", "-c", "cat /dev/zero >/tmp/full 2>/dev/null; true"])
    try:
        url = farm.controller("node2 1.0\nnode3 1.0\n")
        farm.touch("go")
        farm.job("filled", url, "--n=1000000")
        words = "node3 cannot write logs in /tmp/coordinator-0: No space left on device"
        told_everywhere(farm, url, "filled", "node3", words, "Host node3 cannot be used.")
        assert words in farm.document("status", "filled")["job"]["unreachable"]["node3"]
        until(lambda: "node2" in ran(farm).values(), "the others go on")
        hosts[2].run(["rm", "/tmp/full"])
        assert farm.coordinator("stop", "filled").returncode == 0
    finally:
        hosts[2].run(["rm", "-f", "/tmp/full"])


def test_a_start_up_file_that_waits_is_named_and_so_is_one_that_takes_what_it_can(home: Path, hosts: Hosts) -> None:
    with start_up_file(hosts[0], "farmer", ".bashrc", "echo before; exit 5"):
        assert "ended at once with exit status 5; it said: before" in look("node1", user="farmer")["failed"]
    with start_up_file(hosts[0], "farmer", ".bashrc", "cat >/dev/null"):
        said = look("node1", user="farmer")
    assert said["step"] == "shell"
    assert "its start-up files must not ask or wait for anything" in said["failed"]


def test_another_version_and_an_old_python_are_named(home: Path, tmp_path: Path) -> None:
    pretend = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    old = f"case $1 in -m) exit 1;; esac\nexec {sys.executable} -c '{pretend}' \"$2\"\n"
    alone = f'exec {sys.executable} -I -S "$@"\n'
    names = {"node1": fake_python(tmp_path / "old", old), "node2": fake_python(tmp_path / "alone", alone)}
    said = looks({name: {"python": python} for name, python in names.items()})
    assert "it is Python 3.9, and coordinator needs 3.11 or later; name another with python=" in said["node1"]["failed"]
    assert "cannot import coordinator (No module named 'coordinator')" in said["node2"]["failed"]
    orders = {"remote": True, "host": "node1", "version": "9.9"}
    ((_, other),) = ask([{"do": "start", "host": "node1", "options": {}, "orders": orders}])
    assert "node1 has version 0.1.0 of coordinator and the job has 9.9: install the same" in other["failed"]


def test_a_job_is_not_begun_without_agent_and_key(farm: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    url = farm.controller("node1 1.0\n")
    monkeypatch.delenv("SSH_AUTH_SOCK")
    ended = farm.type("script.py", "one", f"--rc_url={url}")
    assert ended.returncode == 1
    assert (
        "node1 can only be reached over SSH, and there is no key to log in with: no ssh-agent is running"
        in ended.stderr
    )
    assert "SSH_AUTH_SOCK is not set" in ended.stderr
    assert not (farm.directory / "one.run").exists()


def test_an_agent_that_goes_in_the_middle_is_named_and_what_runs_goes_on(
    farm: Daemons, hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "agent"
    gone.symlink_to(hosts.agent)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(gone))
    url = farm.controller("node1 1.0\n")
    farm.job("one", url)
    until(lambda: farm.document("status", "one")["job"]["processors"], "node1 works")
    gone.unlink()
    (farm.directory / "bigcheese.hosts").write_text("node1 1.0\nnode2 1.0\n")
    words = f"with: the ssh-agent at {gone} has no key or is gone, and no key file; type `ssh-add`, or"
    told_everywhere(farm, url, "one", "node2", words, "Host node2 cannot be used.")
    assert words in farm.document("status", "one")["job"]["unreachable"]["node2"]
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0


def test_a_host_that_needs_a_key_where_there_is_no_agent_is_named_and_this_machine_goes_on(
    farm: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    url = farm.controller("localhost 1.0\n")
    farm.job("one", url, "--n=10")
    (farm.directory / "bigcheese.hosts").write_text("localhost 1.0\nnode1 1.0\n")
    words = "with: there is no ssh-agent, and no key file; type `eval $(ssh-agent)` and `ssh-add`, then"
    told_everywhere(farm, url, "one", "node1", words, "Host node1 cannot be used.")
    farm.touch("go")
    assert farm.coordinator("wait", "one").returncode == 0


def test_a_host_that_was_mended_is_used_when_people_ask_and_when_its_line_is_edited(
    farm: Daemons, hosts: Hosts
) -> None:
    from coordinator import RCMonitor
    from coordinator.wire.client import split_url

    hosts[0].kill_sshd()
    url = farm.controller(f"node1 1.0\nother maxload=1.0,{at(hosts[1], 'port=2222')}\n")
    farm.job("one", url)
    until(lambda: farm.document("status", "one")["job"]["unreachable"].keys() == {"node1", "other"}, "both are refused")
    hosts[0].start_sshd()
    host, port, _, _ = split_url(url)
    RCMonitor(host, port=port).retry_unused_hosts()
    until(lambda: farm.document("status", "one")["job"]["unreachable"].keys() == {"other"}, "node1 is used")
    (farm.directory / "bigcheese.hosts").write_text(f"node1 1.0\nother maxload=1.0,{at(hosts[1])}\n")
    until(lambda: len(farm.document("status", "one")["job"]["processors"]) == 2, "both work")


def test_a_job_ends_without_waiting_for_a_host_that_hangs(farm: Daemons, hosts: Hosts) -> None:
    hosts[1].freeze()
    url = farm.controller("node1 1.0\nnode2 1.0\n")
    farm.touch("go")
    farm.job("one", url, "--n=3")
    assert farm.coordinator("wait", "one", "--timeout=9").returncode == 0, "a launch takes 10 s to fail"


# --- commands -----------------------------------------------------------------------------------------


def test_hosts_check_tells_what_to_do_about_each_host(farm: Daemons, home: Path, hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "lab.hosts").write_text(
        f"node1 2\nnode2 2\nodd maxload=1,{at(hosts[2])} -o HostKeyAlias=nobody\nnode3 port=9\n"
    )
    found = farm.document("hosts", "check", "lab", f"--path={tmp_path}", status=1)["hosts"]
    assert found["node1"].pop("load") >= 0
    memory = found["node1"].pop("memory_bytes")
    version = ".".join(map(str, sys.version_info[:3]))
    assert memory > 1e6
    assert found["node1"] | {"cores": 0} == {
        "reachable": True, "key": "ok", "python": version, "version": "0.1.0", "cores": 0, "path": True, "clock_s": 0.0,
        "todo": "",
    }  # fmt: skip
    assert found["node2"]["todo"] == ""
    assert (found["odd"]["reachable"], found["odd"]["key"]) == (True, "host's not known")
    assert "coordinator hosts trust odd" in found["odd"]["todo"]
    assert (found["node3"]["reachable"], found["node3"]["key"]) == (False, None)
    table = farm.coordinator("hosts", "check", "lab", "--path=/nowhere")
    assert table.returncode == 1
    assert "node1: /nowhere is not there: mount the file system, or start jobs in a directory that all" in table.stdout
    assert "\nodd: the host key of odd (" in table.stdout
    assert table.stdout.endswith("\nNone of 4 hosts can be used as they are.\n")
    table = farm.coordinator("hosts", "check", "lab")
    assert table.returncode == 1
    assert "node2: " not in table.stdout
    assert table.stdout.endswith("\n2 of 4 hosts can be used as they are.\n")


def test_hosts_trust_records_a_key_after_a_yes_and_never_a_changed_one(
    farm: Daemons, home: Path, hosts: Hosts, tmp_path: Path
) -> None:
    known = home / ".ssh/known_hosts"
    before = known.read_text()
    address = hosts[0].address
    known.write_text("".join(line + "\n" for line in before.splitlines() if address not in line).rstrip("\n"))

    def trust(name: str, answer: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "coordinator", "hosts", "trust", name]
        return subprocess.run(words, input=answer, capture_output=True, text=True, timeout=60, check=False)

    assert "is not known here" in look("node1")["failed"]
    said = subprocess.run(
        ["ssh-keygen", "-l", "-f", hosts[0].own / "etc/ssh/ssh_host_ed25519_key.pub"], capture_output=True, text=True
    ).stdout
    asked = trust("node1", "no\n")
    assert asked.returncode == 1
    assert said.split()[1] in asked.stderr
    assert "is not known here" in look("node1")["failed"]
    assert trust("node1", "").returncode == 1
    agreed = trust("node1", "yes\n")
    assert agreed.returncode == 0, agreed
    assert "recorded" in agreed.stdout
    assert look("node1")["ready"]["host"] == "node1"
    assert subprocess.run(["ssh-keygen", "-F", address, "-f", known], capture_output=True).returncode == 0
    assert "is known already" in trust("node1", "").stdout
    known.write_text(before.replace(f"node1,{address}", "x").replace(f"node2,{hosts[1].address}", f"node1,{address}"))
    after = known.read_text()
    changed = trust("node1", "yes\n")
    assert changed.returncode == 1
    assert "has CHANGED" in changed.stderr
    assert known.read_text() == after
