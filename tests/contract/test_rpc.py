"""XMLRPCServerBase, XMLRPCClient and get_connection as the manual has them, on the object and over the wire."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

import pytest

from coordinator import errors, paths, proxy, rpc
from coordinator.rpc import XMLRPCClient, XMLRPCServerBase, get_connection
from tests.contract.serving import HANG_S


class Genome:
    """What a user serves."""

    xmlrpc_methods = {
        "length": 0,
        "slice": "take",
        "fail": 0,
        "refuse": 0,
        "leave": 0,
        "absent": 0,
        "__init__": 0,
        "x.y": 0,
    }
    secret = "not served"

    def __init__(self) -> None:
        self.sequence = "ACGT" * 10

    def length(self) -> int:
        """How many letters."""
        return len(self.sequence)

    def take(self, start: int, stop: int) -> str:
        return self.sequence[start:stop]

    def fail(self) -> None:
        raise ValueError("secret inside")

    def refuse(self) -> None:
        raise errors.BadInput("no such chromosome")

    def leave(self) -> None:
        raise SystemExit(3)

    def unlisted(self) -> None:
        raise AssertionError


class Index:
    """A resource database, as register() expects it."""

    xmlrpc_methods = {"registerServer": 0}

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def registerServer(self, locationKey: str, data: Any) -> bool:
        self.known[locationKey] = data
        return True


@pytest.fixture
def server() -> Iterator[XMLRPCServerBase]:
    server = XMLRPCServerBase("genomes", host="127.0.0.1", port=0)
    server["hg17"] = Genome()
    server.serve_in_thread()
    yield server
    server.close()


@pytest.fixture
def url(server: XMLRPCServerBase) -> str:
    return f"http://127.0.0.1:{server.port}"


# --- serving objects ------------------------------------------------------------------------------------------


def test_a_client_sees_the_objects_and_calls_their_methods(url: str) -> None:
    client = XMLRPCClient(url)
    assert list(client) == ["hg17"]
    assert len(client) == 1
    assert "hg17" in client
    assert "hg18" not in client
    genome = client["hg17"]
    assert genome.length() == 40
    assert genome.slice(1, 3) == "CG"  # an alias: the object calls it take
    assert {"length", "slice"} <= set(dir(genome))
    client.close()


def test_what_an_object_does_not_list_cannot_be_called(url: str) -> None:
    client = XMLRPCClient(url)
    for name in (
        "unlisted",
        "secret",
        "sequence",
        "take",
        "absent",
        "__init__",
        "__class__",
        "x.y",
        "length.__func__",
        "",
    ):
        with pytest.raises(errors.UnknownMethod):
            client.call("methodCall", "hg17", name, [])
    with pytest.raises(AttributeError, match=r"unlisted; it has fail, leave, length, refuse, slice"):
        client["hg17"].unlisted()
    with pytest.raises(KeyError, match="hg18"):
        client["hg18"]
    for name in ("hg18", 1, None, ["hg17"]):
        with pytest.raises(errors.UnknownMethod):
            client.call("methodCall", name, "length", [])
        with pytest.raises(errors.UnknownMethod):
            client.call("objectInfo", name)
    with pytest.raises(errors.BadParameters):
        client.call("methodCall", "hg17", "length", {"a": 1})
    with pytest.raises(errors.BadParameters):
        client.call("methodCall", "hg17")
    client.close()


def test_errors_reach_the_client_as_faults_never_as_false(url: str, caplog: pytest.LogCaptureFixture) -> None:
    client = XMLRPCClient(url)
    with pytest.raises(errors.BadInput, match="no such chromosome"):
        client["hg17"].refuse()
    for method in ("fail", "leave"):
        with pytest.raises(errors.InternalError) as caught:
            getattr(client["hg17"], method)()
        assert "secret" not in caught.value.message
    with pytest.raises(errors.BadParameters, match=r"slice\(start, stop\)"):
        client["hg17"].slice(1)
    assert client["hg17"].length() == 40
    client.close()
    assert "ValueError: secret inside" in caplog.text


def test_the_standard_librarys_client_finds_its_way(server: XMLRPCServerBase, url: str) -> None:
    server["empty"] = type("Empty", (), {"xmlrpc_methods": {}})()
    with xmlrpc.client.ServerProxy(url) as client:
        assert client.objectList() == {"hg17": client.objectInfo("hg17"), "empty": {}}
        assert client.objectInfo("hg17")["slice"] == "take"
        assert client.objectInfo("hg17")["length"] == 0
        assert client.methodCall("hg17", "slice", [0, 2]) == "AC"
        assert {"methodCall", "objectList", "objectInfo"} < set(client.system.listMethods())
        assert client.system.methodSignature("methodCall") == [["undef", "string", "string", "array"]]
        assert "Call a method of a served object" in client.system.methodHelp("methodCall")
        for fault in (lambda: client.methodCall("hg17", "fail", []), lambda: client.nothing()):
            with pytest.raises(xmlrpc.client.Fault):
                fault()


def test_objects_come_and_go_while_the_server_runs(server: XMLRPCServerBase, url: str) -> None:
    server["mm5"] = Genome()
    assert set(XMLRPCClient(url)) == {"hg17", "mm5"}
    assert server["mm5"].length() == 40
    del server["mm5"]
    with pytest.raises(KeyError):
        server["mm5"]
    with pytest.raises(KeyError):
        XMLRPCClient(url)["mm5"]


def test_an_object_without_a_list_of_methods_is_refused(server: XMLRPCServerBase) -> None:
    with pytest.raises(errors.BadInput, match="xmlrpc_methods"):
        server["bad"] = object()
    with pytest.raises(errors.BadInput, match="string"):
        server[1] = Genome()  # type: ignore[index]


def test_a_slow_method_keeps_nobody_waiting(server: XMLRPCServerBase, url: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        xmlrpc_methods = {"wait": 0}

        def wait(self) -> bool:
            begun.set()
            return go_on.wait(HANG_S)

    server["slow"] = Slow()
    answers: list[bool] = []
    caller = threading.Thread(target=lambda: answers.append(XMLRPCClient(url)["slow"].wait()))
    caller.start()
    assert begun.wait(HANG_S)
    assert XMLRPCClient(url)["hg17"].length() == 40
    go_on.set()
    caller.join(HANG_S)
    assert answers == [True]


def test_more_calls_than_can_wait_are_refused(
    server: XMLRPCServerBase, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "WAITING_CALLS", 0)
    with pytest.raises(errors.Overloaded):
        XMLRPCClient(url).call("objectList")
    monkeypatch.setattr(rpc, "WAITING_CALLS", 1)
    assert list(XMLRPCClient(url)) == ["hg17"]


def test_requests_are_logged_when_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    server = XMLRPCServerBase("logged", "127.0.0.1", 0, logRequests=True)
    server.serve_in_thread()
    XMLRPCClient(f"http://127.0.0.1:{server.port}").call("objectList")
    server.close()
    assert "call method=objectList peer=127.0.0.1" in caplog.text


# --- tokens ---------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded() -> Iterator[XMLRPCServerBase]:
    server = XMLRPCServerBase("guarded", "127.0.0.1", 0, token="T0KEN")
    server["hg17"] = Genome()
    server.serve_in_thread()
    yield server
    server.close()


def test_a_server_with_a_token_asks_for_it(guarded: XMLRPCServerBase) -> None:
    assert XMLRPCClient(f"http://me:T0KEN@127.0.0.1:{guarded.port}")["hg17"].length() == 40
    with pytest.raises(errors.NotAuthorised):
        XMLRPCClient(f"http://me:wrong@127.0.0.1:{guarded.port}")["hg17"]
    with xmlrpc.client.ServerProxy(f"http://me:T0KEN@127.0.0.1:{guarded.port}") as client:
        assert client.methodCall("hg17", "length", []) == 40


def test_a_url_without_a_token_takes_the_one_that_is_kept(guarded: XMLRPCServerBase) -> None:
    url = f"http://127.0.0.1:{guarded.port}"
    with pytest.raises(errors.NoToken) as caught:
        XMLRPCClient(url)["hg17"]
    assert str(paths.token_file()) in caught.value.message
    paths.keep_token("127.0.0.1", guarded.port, "T0KEN")
    assert XMLRPCClient(url)["hg17"].length() == 40


# --- get_connection -------------------------------------------------------------------------------------------


def test_connections_to_one_url_are_shared_and_kept(server: XMLRPCServerBase, url: str) -> None:
    server["mm5"] = Genome()
    first, again, other = get_connection(url, "hg17"), get_connection(url, "hg17"), get_connection(url, "mm5")
    assert first is again
    assert first._server is other._server
    assert (first.length(), other.length()) == (40, 40)
    proxy._clients.pop(url).close()


def test_one_client_serves_many_threads(url: str) -> None:
    client = XMLRPCClient(url)
    genome = client["hg17"]
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for start in range(20):
            answer = genome.slice(start, start + number)
            if answer != ("ACGT" * 10)[start : start + number]:
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert wrong == []
    client.close()


# --- register -------------------------------------------------------------------------------------------------


def test_register_tells_a_resource_database_by_url_by_object_or_as_configured(
    server: XMLRPCServerBase, url: str
) -> None:
    index = Index()
    server["index"] = index
    key = f"127.0.0.1:{server.port}"
    server.registrationData = {"Bio.Seq.hg17": {"name": "hg17"}}
    assert server.register(url) is True
    assert index.known.pop(key) == server.registrationData
    assert server.register(server=index) is True
    assert index.known.pop(key) == server.registrationData
    server["other"] = Index()
    server.register(url, "other")
    assert server["other"].known == {key: server.registrationData}
    server.index_url = url
    assert server.register() is True
    assert index.known == {key: server.registrationData}
    proxy._clients.pop(url).close()


def test_register_without_anybody_to_tell_says_so(server: XMLRPCServerBase) -> None:
    with pytest.raises(errors.BadInput, match="give register\\(\\) a url or a server"):
        server.register()


# --- life -----------------------------------------------------------------------------------------------------


def test_the_port_is_bound_when_the_server_is_made(server: XMLRPCServerBase) -> None:
    with pytest.raises(errors.PortTaken, match=str(server.port)):
        XMLRPCServerBase("second", "127.0.0.1", server.port)


def test_without_a_host_every_interface_is_served_and_the_full_name_announced() -> None:
    for host in ("", None):
        server = XMLRPCServerBase("everywhere", host, 0)
        assert server.host == rpc.get_hostname() == paths.full_hostname()
        server.serve_in_thread()
        assert len(XMLRPCClient(f"http://127.0.0.1:{server.port}")) == 0
        server.close()
        server.close()
    assert rpc.get_hostname("no-such-host.invalid") == "no-such-host.invalid"


def test_a_closed_server_frees_its_port_and_does_not_start_again() -> None:
    server = XMLRPCServerBase("closed", "127.0.0.1", 0)
    port = server.port
    server.close()
    XMLRPCServerBase("again", "127.0.0.1", port).close()
    for start in (server.serve_in_thread, server.serve_forever):
        with pytest.raises(errors.StateError):
            start()


def test_serve_forever_serves_in_the_foreground_until_it_is_closed() -> None:
    server = XMLRPCServerBase("foreground", "127.0.0.1", 0)
    seen: list[int] = []

    def look_and_close() -> None:
        seen.append(len(XMLRPCClient(f"http://127.0.0.1:{server.port}")))
        server.close()

    other = threading.Thread(target=look_and_close)
    other.start()
    assert server.serve_forever() is None
    other.join(HANG_S)
    assert seen == [0]


def test_ctrl_c_ends_a_server_in_the_foreground() -> None:
    program = (
        # Whoever runs these tests in the background of a shell has SIGINT ignored, and that is inherited.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from coordinator.rpc import XMLRPCServerBase\n"
        "s = XMLRPCServerBase('s', '127.0.0.1', 0); print(s.port, flush=True); s.serve_forever(); print('ended')"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        port = int(running.stdout.readline())
        assert len(XMLRPCClient(f"http://127.0.0.1:{port}")) == 0
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=HANG_S)[0] == "ended\n"
        assert running.returncode == 0


def test_a_daemon_serves_in_a_process_of_its_own_and_writes_a_private_log(tmp_path: Path) -> None:
    program = (
        "import sys; from coordinator.rpc import XMLRPCServerBase\n"
        "class Talk:\n    xmlrpc_methods = {'say': 0}\n    def say(self): print('said', flush=True); return True\n"
        "s = XMLRPCServerBase('talks', '127.0.0.1', 0); s['talk'] = Talk()\n"
        "print(s.port, s.serve_forever(daemonize=True))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=HANG_S)
    port, pid = map(int, shown.stdout.split())
    try:
        assert os.getsid(pid) == pid
        client = XMLRPCClient(f"http://127.0.0.1:{port}")
        assert client["talk"].say() is True
        client.close()
        log = tmp_path / "talks.log"
        assert log.read_text() == "said\n"
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
    finally:
        os.kill(pid, signal.SIGTERM)
    gone = XMLRPCClient(f"http://127.0.0.1:{port}")
    with pytest.raises(errors.PeerLost):
        ask_for_ever(gone)
    gone.close()


def ask_for_ever(client: XMLRPCClient) -> None:
    while True:
        client.call("objectList")


def test_a_daemon_is_refused_for_a_name_that_is_no_file_and_beside_threads(server: XMLRPCServerBase) -> None:
    late = XMLRPCServerBase("late", "127.0.0.1", 0)
    with pytest.raises(errors.StateError, match="threads"):
        late.serve_forever(demonize=True)
    late.close()
    server.close()
    bad = XMLRPCServerBase("../bad", "127.0.0.1", 0)
    with pytest.raises(errors.BadName):
        bad.serve_forever(daemonize=True)
    bad.close()


def test_a_servers_own_simple_xmlrpc_server_may_serve_in_its_place() -> None:
    with SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as simple:
        server = XMLRPCServerBase("given", server=simple)
        server["hg17"] = Genome()
        thread = server.serve_in_thread()
        with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.port}") as client:
            assert client.methodCall("hg17", "length", []) == 40
            with pytest.raises(xmlrpc.client.Fault) as caught:
                client.methodCall("hg17", "refuse", [])
            assert caught.value.faultCode == errors.BadInput.code
        simple.shutdown()
        thread.join(HANG_S)
        server.close()
