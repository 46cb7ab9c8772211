"""What `coordinator why` says of hosts and of jobs on them: sentences that one machine alone does not bring about.

Each way to fail to get onto a host is in test_launching.py and test_people_faults.py.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coordinator import RCMonitor, paths
from coordinator.wire.client import split_url
from tests.end_to_end.daemons import HANG_S, Daemons, until
from tests.hosts.launched import told_everywhere
from tests.hosts.test_people_logs import Following
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def monitor(url: str) -> RCMonitor:
    host, port, _, _ = split_url(url)
    return RCMonitor(host, port=port)


def says(farm: Daemons, url: str, name: str, what: str, why: str = "", hang_s: float = 45.0) -> None:
    """`coordinator why` says so of the job or host, sooner or later."""
    last = [""]

    def found() -> bool:
        last[0] = farm.coordinator("why", name, f"--rc_url={url}").stdout
        blocks = last[0].replace("\n    why:  ", " | ").replace("\n    next: ", " | ").splitlines()
        return any(what in block and why in block for block in blocks)

    try:
        until(found, what, hang_s)
    except AssertionError:
        raise AssertionError(f"{what!r}, {why!r} is not in\n{last[0]}") from None


def test_a_job_whose_processors_are_on_their_way_says_so(farm: Daemons, tmp_path: Path) -> None:
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\nuntil [ -e {tmp_path}/awake ]; do sleep 0.05; done\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    url = farm.controller(f"node2 maxload=1.0,python={slow}\n")
    farm.job("one", url)
    says(farm, url, "one", "The job has been given 1 slot and no processor has begun yet.")
    m = monitor(url)
    m.setthrottle(0.0)
    says(farm, url, "one", "The job has no slot just now.", "throttle is 0: nothing is started")
    m.setthrottle(1.0)
    farm.touch("awake")
    until(lambda: farm.document("status", "one")["job"]["processors"], "it works after all")


#: on node1 all fails at once; elsewhere a task takes its time from when there is a file "go"
AT_FAULT = """\
import os, time


def client(server, **kwargs):
    for task_id in server:
        if os.uname().nodename == "node1":
            raise OSError("no graphics card")
        while not os.path.exists(os.path.join({directory!r}, "go")):
            time.sleep(0.01)
        time.sleep(0.1)
        yield task_id


def serve(**kwargs):
    yield from range(100000)


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


#: on node1 nothing can begin
SET_UP = AT_FAULT.replace(
    "    for task_id", '    if os.uname().nodename == "node1":\n        open("/opt/licence")\n    for task_id', 1
)


def test_a_host_where_all_tasks_fail_rests_first_in_doubt_and_then_since_others_do_better(farm: Daemons) -> None:
    farm.script(text=AT_FAULT)
    url = farm.controller("node1 1.0\nnode2 1.0\n")
    farm.job("one", url)
    doubt = "5 tasks in a row failed there at once, and no other host has done one yet"
    told_everywhere(farm, url, "one", "node1", doubt, "Host node1 is resting.")
    says(farm, url, "one", "Host node1 is resting.", doubt)
    farm.touch("go")
    fault = "5 tasks in a row failed there at once while other hosts did theirs; 5 of them are tried elsewhere"
    told_everywhere(farm, url, "one", "node1", fault, "Host node1 is resting.")
    says(farm, url, "one", "Host node1 is resting.", fault)


def test_a_host_where_no_processor_can_begin_is_named_and_the_others_go_on(farm: Daemons) -> None:
    farm.script(text=SET_UP)
    url = farm.controller("node1 3.0\nnode2 1.0\n")
    farm.job("one", url)
    words = "3 processors left it without one task done there: FileNotFoundError: "
    told_everywhere(farm, url, "one", "node1", words, "Host node1 is resting.")
    farm.touch("go")
    until(lambda: farm.document("status", "one")["job"]["done"] > 3, "the others go on")


def test_a_host_where_the_script_cannot_be_loaded_is_named_and_the_others_go_on(farm: Daemons) -> None:
    lacking = 'if os.uname().nodename == "node1":\n    import licence_of_the_lab\n\n\ndef client'
    farm.script(text=AT_FAULT.replace("def client", lacking))
    farm.touch("go")
    url = farm.controller("node1 1.0\nnode2 1.0\n")
    farm.job("one", url)
    words = "the script could not be loaded there: ModuleNotFoundError: No module named 'licence_of_the_lab'"
    told_everywhere(farm, url, "one", "node1", words, "Host node1 cannot be used.")
    until(lambda: farm.document("status", "one")["job"]["done"] > 3, "the others go on")


def test_a_job_of_another_host_that_cannot_be_asked_from_here_is_looked_for_there(farm: Daemons, hosts: Hosts) -> None:
    words = [sys.executable, "script.py", "one", "--local=1", "--n=1"]
    with hosts[0].start(words, cwd=farm.directory) as process:  # it serves at the host's own 127.0.0.1
        until(lambda: (farm.directory / "loaded").exists() and (farm.directory / "one.run").exists(), "it runs")
        shown = farm.coordinator("why", "one").stdout.splitlines()
        assert shown[0] == "The job's Coordinator does not answer."
        assert shown[1].startswith("    why:  it was started on node1, and ")
        assert shown[2] == "    next: look at it on node1, where it was started"
        farm.touch("go")
        assert process.wait(HANG_S) == 0


class Way:
    """A port of this machine that leads to another one, until the way is cut: then nobody hears anything."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._orders, self._ordered = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Way:
        self._thread.start()
        return self

    def cut(self) -> None:
        self._orders.send(b"cut")

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._thread.join()
        self._ordered.close()
        self._server.close()

    def _serve(self) -> None:
        ends: dict[socket.socket, socket.socket] = {}
        heard = [self._ordered, self._server]
        while True:
            for one in select.select([*heard, *(ends if self._server in heard else ())], [], [])[0]:
                if one is self._ordered:
                    if not one.recv(3):
                        for end in ends:
                            end.close()
                        return
                    heard = [self._ordered]
                elif one is self._server:
                    came, went = one.accept()[0], socket.create_connection(("127.0.0.1", self._to))
                    ends |= {came: went, went: came}
                elif one in ends:
                    self._pass_on(one, ends)

    def _pass_on(self, one: socket.socket, ends: dict[socket.socket, socket.socket]) -> None:
        with suppress(OSError):
            if words := one.recv(1 << 16):
                ends[one].sendall(words)
                return
        for end in (one, ends.pop(one)):
            ends.pop(end, None)
            end.close()


@contextmanager
def nothing_leaves(host: Host) -> Iterator[None]:
    """A firewall on that host lets connections be made, but nothing be said on them, SSH excepted."""
    rule = "tcp sport != 22 tcp flags & psh == psh drop"
    host.run(["nft", f"table inet mute {{ chain out {{ type filter hook output priority 0; {rule}; }}; }}"])
    try:
        yield
    finally:
        host.run(["nft", "delete table inet mute"])


@pytest.mark.timeout(180)
def test_who_falls_silent_is_named_in_the_end(farm: Daemons, home: Path, hosts: Hosts) -> None:
    """Each takes its time; here they are waited for together."""
    url = farm.controller("node1 1.0\nnode2 1.0\n")
    host, port, _, _ = split_url(url)
    login = paths.find_login(host, port)
    assert login is not None
    with nothing_leaves(hosts[1]), Way(port) as way:
        farm.job("one", url, "--grace=3", "--lease=3")
        until(lambda: farm.document("status", "one")["job"]["processors"], "node1 works")
        paths.keep_token("127.0.0.1", way.port, login.token, login.fingerprint)
        farm.job("far", f"https://127.0.0.1:{way.port}")
        with Following(farm, "--host=node1", f"--rc_url={url}") as following:
            until(lambda: following.has("/one_0."), "it has begun")
            way.cut()
            hosts[0].cut()
            words = "has not heard of the job for a while."
            says(farm, url, "far", words, "its Coordinator is silent; it leaves the queue if it stays so")
            words = "its keeper was started 20 s ago and has not been heard of"
            told_everywhere(farm, url, "one", "node2", words, "Host node2 cannot be used.")
            assert following.status() == 1
            text = following.said.read_text()
            assert "nothing has been heard of node1 (" in text, text
            assert ") for 20 s: it hangs, or the way to it is cut" in text
        hosts[0].heal()
