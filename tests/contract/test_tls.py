"""TLS between machines: certificates that are pinned, servers that speak both, clients that send nothing to a stranger.

Everything goes over real sockets. What other machines do is done from an address of this one that is not loopback.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from coordinator import errors, paths, tls
from coordinator.addresses import Address, address_of, known_address, remember
from coordinator.link import RemoteLink
from coordinator.monitor import RCMonitor
from coordinator.proxy import XMLRPCClient
from coordinator.rpc import XMLRPCServerBase
from coordinator.wire.client import Connection
from coordinator.wire.server import Limits
from tests.contract.serving import HANG_S, TOKEN, Served, request, serving, status, to_the_end
from tests.contract.test_controller import process
from tests.end_to_end.daemons import until

pytestmark = pytest.mark.slow

CALL = xmlrpc.client.dumps(("hello",), "echo").encode()
UNKNOWN = "0" * 64


@pytest.fixture
def fingerprint() -> str:
    return tls.own_fingerprint()


@pytest.fixture
def served(fingerprint: str) -> Iterator[Served]:
    with serving(tls=tls.server_context(), host="") as server:
        yield server


def secure_url(served: Served, host: str = "127.0.0.1", token: str = TOKEN) -> str:
    return f"https://me:{token}@{host}:{served.port}"


@contextmanager
def connected(url: str, fingerprint: str | None, timeout_s: float = HANG_S) -> Iterator[Connection]:
    connection = Connection(url, timeout_s=timeout_s, fingerprint=fingerprint)
    try:
        yield connection
    finally:
        connection.close()


def own_address() -> str:
    """An address of this machine that is not loopback; skips where there is none."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # nothing is sent: the kernel only chooses a route
        found = str(probe.getsockname()[0])
        if not paths.is_loopback(found) and paths.is_this_machine(found):
            return found
    pytest.skip("this machine has no address but loopback, from which another machine could be played")


# --- the certificate --------------------------------------------------------------------------------------------


def show_fingerprint(say: Any) -> None:
    say.send(tls.own_fingerprint())


def test_the_certificate_is_made_once_however_many_ask_for_it_first():
    context = get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(4)]
    children = [context.Process(target=show_fingerprint, args=(say,)) for _, say in pipes]
    for child in children:
        child.start()
    told = {hear.recv() for hear, _ in pipes}
    for child in children:
        child.join(HANG_S)
    for pipe in pipes:
        for end in pipe:
            end.close()
    assert told == {tls.own_fingerprint()}
    assert tls.certificate_file().stat().st_mode & 0o777 == 0o600


def test_its_fingerprint_is_what_other_tools_print(fingerprint):
    words = ["openssl", "x509", "-in", str(tls.certificate_file()), "-noout", "-fingerprint", "-sha256", "-text"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=HANG_S).stdout
    except FileNotFoundError:
        pytest.skip("the openssl command is not here")
    assert tls.read_fingerprint(said.partition("=")[2].partition("\n")[0]) == fingerprint
    assert "prime256v1" in said


def test_what_is_no_fingerprint_is_refused_with_a_sentence(fingerprint):
    for bad in ("", "abc", "g" * 64, fingerprint + "0", "é" * 64):
        with pytest.raises(errors.BadInput, match="64 hexadecimal digits"):
            tls.read_fingerprint(bad)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_damaged_certificate_is_named(content):
    paths.replace_private(tls.certificate_file(), content)
    for ask in (tls.own_fingerprint, tls.server_context):
        with pytest.raises(errors.StateError, match=r"tls\.pem"):
            ask()


def test_a_certificate_that_others_could_read_becomes_private(fingerprint):
    tls.certificate_file().chmod(0o644)
    assert tls.own_fingerprint() == fingerprint
    assert tls.certificate_file().stat().st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(fingerprint, tmp_path):
    tls.certificate_file().rename(tmp_path / "elsewhere.pem")
    tls.certificate_file().symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(errors.StateError, match="symbolic link"):
        tls.server_context()


# --- a client and a server that know each other -------------------------------------------------------------------


def test_calls_and_notes_travel_encrypted_on_one_connection(served, fingerprint):
    with connected(secure_url(served), fingerprint) as client:
        assert client.call("echo", "hello") == "hello"
        first = client.fileno()
        assert isinstance(client._socket, ssl.SSLSocket)
        assert client._socket.version() == "TLSv1.3"
        for _ in range(3):
            assert client.note("echo", "text") == "text"
        assert client.fileno() == first, "a ticket or the like must not look like the server's end"


def test_a_fingerprint_may_be_written_as_other_tools_do(served, fingerprint):
    written = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    with connected(secure_url(served), written) as client:
        assert client.call("count", 1, 2) == 2


def test_long_bodies_travel_both_ways(served, fingerprint):
    text = "0123456789abcdef" * 200_000
    with connected(secure_url(served), fingerprint) as client:
        assert client.call("echo", text) == text


def test_notes_that_are_sent_ahead_are_answered_in_their_order(served, fingerprint):
    with connected(secure_url(served), fingerprint) as client:
        texts = [str(number) * 3000 for number in range(8)]
        for text in texts:
            client.send_note("echo", text)
        assert [client.receive_note() for _ in texts] == texts
        assert not client.more


def test_what_tls_has_deciphered_and_nobody_has_read_is_more(fingerprint):
    """A selector does not see it: who waits for the socket alone would wait for ever."""
    answers = []
    with (
        serving(turn=answers.extend, tls=tls.server_context()) as served,
        connected(secure_url(served), fingerprint) as client,
    ):
        client.send_note("one", "1")
        client.send_note("two", "2" * 5000)
        until(lambda: len(answers) == 2, "both notes arrived")

        def answer() -> None:
            for call in answers:
                call.answer(call.params[0])

        served.on_loop(answer)
        assert client.receive_note() == "1"
        assert client.more
        assert client.receive_note() == "2" * 5000


def test_the_standard_library_client_works_with_a_context(served):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(tls.certificate_file())
    with xmlrpc.client.ServerProxy(secure_url(served), context=context) as client:
        assert client.echo([1, "two"]) == [1, "two"]
        assert "echo" in client.system.listMethods()


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        (401, {"Authorization": None}),
        (403, {"Origin": "https://evil.example"}),
        (411, {"Content_Length": None}),
        (413, {"Content_Length": str(1 << 30)}),
        (415, {"Content_Type": "text/plain"}),
    ],
)
def test_refusals_arrive_encrypted_too(served, fingerprint, wanted, changes):
    with tls.secured(served.connect(), fingerprint, "it") as client:
        client.sendall(request(CALL, **changes))
        assert status(to_the_end(client)) == wanted


def test_an_answer_is_ended_in_order_so_that_nobody_can_cut_it_short(served, fingerprint):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(served.connect(), suppress_ragged_eofs=False) as client:
        client.sendall(request(CALL))
        assert b"hello" in to_the_end(client)  # an end without TLS's own would raise SSLEOFError


def test_a_client_may_say_that_it_sends_no_more_and_still_gets_its_answer(served, fingerprint):
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    channel = context.wrap_bio(arrived, leaving)
    with served.connect() as client:
        while True:
            try:
                channel.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.sendall(leaving.read())
                arrived.write(client.recv(65536))
        channel.write(request(CALL, close=False))
        with suppress(ssl.SSLWantReadError):
            channel.unwrap()
        client.sendall(leaving.read())
        arrived.write(to_the_end(client))
        assert b"hello" in channel.read(65536)


# --- strangers ----------------------------------------------------------------------------------------------------


@contextmanager
def recorder(answer: Callable[[socket.socket, bytearray], None]) -> Iterator[tuple[int, bytearray]]:
    """A hostile server: its port, and all that ever reached it."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG_S)

        def serve() -> None:
            client, _ = listener.accept()
            client.settimeout(HANG_S)
            with client, suppress(OSError):
                answer(client, heard)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            thread.join(HANG_S)
            assert not thread.is_alive()


def test_another_certificate_is_refused_before_the_token_is_sent(fingerprint, tmp_path, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_STATE_HOME", str(tmp_path))
        hostile, shown = tls.server_context(), tls.own_fingerprint()
    assert shown != fingerprint

    def listen(client: socket.socket, heard: bytearray) -> None:
        with hostile.wrap_socket(client, server_side=True) as channel:
            while some := channel.recv(65536):
                heard += some

    with (
        recorder(listen) as (port, heard),
        connected(f"https://me:{TOKEN}@127.0.0.1:{port}", fingerprint) as client,
    ):
        with pytest.raises(errors.NotAuthorised) as refused:
            client.call("echo", "secret")
        assert client.fileno() == -1
    assert heard == b""
    assert shown in refused.value.message
    assert fingerprint in refused.value.message
    assert "nothing was sent" in refused.value.message
    assert TOKEN not in refused.value.message


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 300, b""])
def test_a_server_that_speaks_no_tls_learns_no_token(fingerprint, answer):
    def reply(client: socket.socket, heard: bytearray) -> None:
        heard += client.recv(65536)
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)
        heard += to_the_end(client)

    with (
        recorder(reply) as (port, heard),
        connected(f"https://me:{TOKEN}@127.0.0.1:{port}", fingerprint) as client,
        pytest.raises(errors.PeerLost),
    ):
        client.call("echo", "secret")
    assert heard[:1] == b"\x16"
    assert TOKEN.encode() not in heard
    assert b"Basic" not in heard


def test_without_a_fingerprint_nothing_is_sent_at_all():
    def listen(client: socket.socket, heard: bytearray) -> None:
        heard += to_the_end(client)

    with (
        recorder(listen) as (port, heard),
        connected(f"https://me:{TOKEN}@127.0.0.1:{port}", None) as client,
        pytest.raises(errors.NotAuthorised, match=r"No fingerprint is known .*tokens\.json"),
    ):
        client.call("echo", "secret")
    assert heard == b""


def test_a_server_that_never_ends_its_handshake_is_given_up(fingerprint):
    over = threading.Event()

    def wait(client: socket.socket, heard: bytearray) -> None:
        over.wait(HANG_S)

    with recorder(wait) as (port, _):
        try:
            with (
                connected(f"https://127.0.0.1:{port}", fingerprint, timeout_s=0.2) as client,
                pytest.raises(errors.PeerLost, match=r"did not answer within 0\.2 s"),
            ):
                client.call("echo", 1)
        finally:
            over.set()


def test_plain_http_is_for_this_machine_and_refused_from_others(served):
    with served.connect() as client:
        client.sendall(request(CALL))
        assert status(to_the_end(client)) == 200
    with socket.create_connection((own_address(), served.port), HANG_S) as client:
        client.sendall(request(CALL))
        answer = to_the_end(client)
    assert status(answer) == 403
    assert b"From other machines this server takes https only" in answer
    assert b"hello" not in answer


def test_from_others_plain_http_is_refused_whatever_it_says(served):
    address = own_address()
    for first in (b"G", b"POST ", b"\x00" * 20, request(CALL, Authorization=None), b"\r\n"):
        with socket.create_connection((address, served.port), HANG_S) as client:
            client.sendall(first)
            assert status(to_the_end(client)) == 403, first


def test_our_client_says_what_to_do_about_that(served):
    with (
        connected(f"http://me:{TOKEN}@{own_address()}:{served.port}", None) as client,
        pytest.raises(errors.NotAuthorised, match="takes https only from other machines"),
    ):
        client.call("echo", 1)


def test_from_others_https_is_taken(served, fingerprint):
    with connected(secure_url(served, own_address()), fingerprint) as client:
        assert client.call("echo", "hello") == "hello"


def test_without_tls_plain_http_is_taken_from_everybody():
    with serving(host="") as served, connected(f"http://me:{TOKEN}@{own_address()}:{served.port}", None) as client:
        assert client.call("echo", "hello") == "hello"


def test_a_client_of_tls_is_told_that_the_server_speaks_none(fingerprint):
    with (
        serving() as served,
        connected(secure_url(served), fingerprint) as client,
        pytest.raises(errors.PeerLost, match="--no-tls"),
    ):
        client.call("echo", 1)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of a handshake of 512 bytes


def test_slow_handshakes_are_cut_at_the_deadline_and_block_nobody(fingerprint):
    limits = Limits(header_s=0.4)
    with serving(tls=tls.server_context(), limits=limits) as served, ExitStack() as stack:
        slow = [stack.enter_context(served.connect()) for _ in range(50)]
        for client in slow:
            client.sendall(HELLO)
        honest = stack.enter_context(connected(secure_url(served), fingerprint))
        cut: set[int] = set()
        while len(cut) < len(slow):  # they go on, a byte at a time: that must not give them more time
            assert honest.call("echo", "hello") == "hello"
            for number, client in enumerate(slow):
                if number not in cut:
                    try:
                        client.sendall(b"\x00")
                        client.settimeout(0.001)
                        if not client.recv(1):
                            cut.add(number)
                    except TimeoutError:
                        continue
                    except OSError:
                        cut.add(number)
        assert honest.call("echo", "hello") == "hello"


GARBAGE = [
    b"\x16",
    b"\x16" * 400,
    b"\x16\x03\x01\x00\x05hello",
    b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + b"x" * 70000,
    b"\x16\x03\x00\x00\x00",
    b"\x15\x03\x01\x00\x02\x02\x28",
    HELLO + bytes(501),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=[str(number) for number in range(len(GARBAGE))])
def test_garbage_in_place_of_a_handshake_is_the_end_of_its_connection_alone(fingerprint, garbage):
    with (
        serving(tls=tls.server_context(), limits=Limits(header_s=0.4)) as served,
        connected(secure_url(served), fingerprint) as honest,
    ):
        assert honest.call("echo", 1) == 1
        with served.connect() as client:
            with suppress(OSError):
                client.sendall(garbage)
            assert b"200 OK" not in to_the_end(client)
        assert honest.call("echo", 2) == 2


def test_bytes_that_were_changed_on_the_way_end_the_connection(served, fingerprint):
    with tls.secured(served.connect(), fingerprint, "it") as client:
        client.sendall(request(CALL, close=False)[:50])
        with socket.socket(fileno=socket.dup(client.fileno())) as beneath:
            beneath.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with suppress(OSError):
            assert b"200 OK" not in client.recv(65536)
    with connected(secure_url(served), fingerprint) as honest:
        assert honest.call("echo", 1) == 1


def test_a_server_that_stops_sends_the_answers_that_are_given(fingerprint):
    with serving(tls=tls.server_context()) as served, connected(secure_url(served), fingerprint) as client:
        assert client.call("echo", "x" * 100_000) == "x" * 100_000
        client.send_note("echo", "last")
        assert client.receive_note() == "last"
        served.on_loop(served.server.stop)
        with pytest.raises(errors.PeerLost):
            client.call("echo", 1)


# --- fingerprints travel with the token ---------------------------------------------------------------------------


def test_the_token_file_keeps_fingerprints_and_still_reads_old_lines(fingerprint):
    paths.keep_token("new.example.invalid", 5000, "secret", fingerprint)
    paths.keep_token("old.example.invalid", 5000, "secret")
    kept = json.loads(paths.token_file().read_text())
    assert kept == {
        "new.example.invalid:5000": {"token": "secret", "fingerprint": fingerprint},
        "old.example.invalid:5000": "secret",
    }
    assert paths.find_login("new.example.invalid", 5000) == paths.Login("secret", fingerprint)
    assert paths.find_login("old.example.invalid", 5000) == paths.Login("secret")
    paths.keep_token("new.example.invalid", 5000, "secret")  # it was started again, with --no-tls
    assert paths.find_login("new.example.invalid", 5000) == paths.Login("secret")


@pytest.mark.parametrize("entry", [None, 7, [], {}, {"token": 7}, {"fingerprint": "x"}])
def test_lines_that_nobody_understands_are_no_logins(entry):
    kept = {"h:1": entry, "h:2": {"token": "t", "fingerprint": 7}}
    paths.replace_private(paths.token_file(), json.dumps(kept).encode())
    assert paths.find_login("h", 1) is None
    assert paths.find_login("h", 2) == paths.Login("t")


def test_where_a_fingerprint_is_known_an_http_url_means_https(fingerprint):
    paths.keep_token("far.example.invalid", 5000, "secret", fingerprint)
    secure = Address("https://far.example.invalid:5000", "secret", fingerprint)
    assert address_of("http://far.example.invalid:5000") == secure
    assert address_of("https://far.example.invalid:5000") == secure
    assert address_of("http://me:other@far.example.invalid:5000").token == "other"
    assert address_of("http://me:other@far.example.invalid:5000").url == secure.url
    assert address_of("http://far.example.invalid:5001") == Address("http://far.example.invalid:5001")
    assert address_of("http://h:1", "given", UNKNOWN) == Address("https://h:1", "given", UNKNOWN)


def test_on_loopback_http_stays_http(fingerprint):
    paths.keep_token(socket.gethostname(), 5000, "secret", fingerprint)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert address_of(f"http://{host}:5000") == Address(f"http://{host}:5000", "secret", fingerprint)


LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LocalHost.", "::ffff:127.0.0.1"]
ELSEWHERE = ["", "0.0.0.0", "::", "192.0.2.2", "128.0.0.1", "127.0.0.1.example.org", "127.1", "::2"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_addresses_that_never_leave_the_machine(host):
    assert paths.is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_addresses_that_may_leave_it(host):
    assert not paths.is_loopback(host)


def test_a_url_with_a_token_is_remembered_with_the_fingerprint_that_is_known(served, fingerprint):
    host = own_address()
    paths.keep_token(host, served.port, "old", fingerprint)
    assert remember(f"http://me:{TOKEN}@{host}:{served.port}") == f"https://{host}:{served.port}"
    assert paths.find_login(host, served.port) == paths.Login(TOKEN, fingerprint)


def test_clients_of_objects_find_the_fingerprint_in_the_token_file(fingerprint):
    class Genome:
        xmlrpc_methods = {"length": 0}

        def length(self) -> int:
            return 40

    server = XMLRPCServerBase("genomes", host="", port=0, token=TOKEN, tls=tls.server_context())
    server["hg17"] = Genome()
    server.serve_in_thread()
    try:
        host = own_address()
        paths.keep_token(host, server.port, TOKEN, fingerprint)
        client = XMLRPCClient(f"http://{host}:{server.port}")
        assert client["hg17"].length() == 40
        client.close()
        wrong = XMLRPCClient(f"https://{host}:{server.port}", fingerprint=UNKNOWN)
        with pytest.raises(errors.NotAuthorised, match=UNKNOWN):
            wrong["hg17"]
    finally:
        server.close()


# --- the farm -----------------------------------------------------------------------------------------------------


@contextmanager
def controller(tmp_path: Path, **options: Any) -> Iterator[dict[str, Any]]:
    (tmp_path / "bigcheese.hosts").write_text("localhost 2\n")
    with process(tmp_path, host="", **options) as (_, told):
        assert "error" not in told, told
        yield told


def test_a_controller_for_other_machines_announces_https_and_monitors_reach_it(tmp_path, fingerprint):
    with controller(tmp_path) as told:
        run = json.loads((tmp_path / "bigcheese.rc.json").read_text())
        assert (run["fingerprint"], run["url"]) == (fingerprint, told["url"])
        assert told["url"].startswith("https://")
        login = paths.find_login(told["host"], told["port"])
        assert login is not None
        assert login.fingerprint == fingerprint
        for way in (told["url"], told["url"].replace("https:", "http:"), f"http://127.0.0.1:{told['port']}"):
            assert RCMonitor(way).name == "bigcheese"
        assert RCMonitor(told["host"], told["port"]).rc_url == told["url"]
        with pytest.raises(errors.NotAuthorised, match=UNKNOWN):
            RCMonitor(told["url"], token="x", fingerprint=UNKNOWN)
        link = RemoteLink(known_address(told["url"]))
        plan = link.first({"name": "A", "url": "https://x", "pid": 1, "host": "localhost", "fingerprint": UNKNOWN})
        assert plan is not None
        assert plan["slots"] == {"localhost": 2}
        (job,) = known_address(told["url"]).connect(HANG_S).call("get_farm")["jobs"]
        assert job["fingerprint"] == UNKNOWN
        link.finish("done")


def test_with_no_tls_it_announces_http(tmp_path):
    with controller(tmp_path, no_tls=True) as told:
        assert told["url"].startswith("http://")
        login = paths.find_login(told["host"], told["port"])
        assert login is not None
        assert login.fingerprint is None
        assert RCMonitor(told["url"]).name == "bigcheese"


def test_on_loopback_alone_it_needs_no_certificate(tmp_path):
    (tmp_path / "bigcheese.hosts").write_text("localhost 2\n")
    with process(tmp_path) as (_, told):
        assert told["url"] == f"http://127.0.0.1:{told['port']}"
    assert not tls.certificate_file().exists()


def test_a_job_keepers_processors_monitors_and_commands_speak_https(daemons, fingerprint):
    """Bound to an address that is not loopback, the Coordinator is reached by its own processors as from afar."""
    host = own_address()
    rc_url = daemons.controller("localhost 2.0\n")
    run = daemons.job("one", rc_url, f"--host={host}", "--n=20")
    assert (run["url"], run["fingerprint"]) == (f"https://{host}:{run['port']}", fingerprint)
    daemons.busy(2)
    (job,) = daemons.document("jobs", f"--rc_url={rc_url}")["jobs"]
    assert (job["name"], job["state"]) == ("one", "running")
    monitor = RCMonitor(rc_url)
    assert monitor.coordinators["one"].url == run["url"]
    assert len(monitor.coordinators["one"].client_report) == 2
    with pytest.raises(errors.NotAuthorised, match="takes https only"):
        Connection(run["url"].replace("https:", "http:"), run["token"]).call("get_job")
    daemons.touch("go")
    assert daemons.coordinator("wait", "one").returncode == 0
    assert daemons.document("status", "one")["job"]["done"] == 20


def test_with_no_tls_a_job_speaks_plain_http(daemons):
    host = own_address()
    rc_url = daemons.controller("localhost 2.0\n", "--no-tls")
    assert rc_url.startswith("http://")
    run = daemons.job("one", rc_url, f"--host={host}", "--no-tls", "--n=4")
    assert (run["url"], run["fingerprint"]) == (f"http://{host}:{run['port']}", None)
    with connected(run["url"].replace("//", f"//me:{run['token']}@"), None) as client:
        assert client.call("get_job")["name"] == "one"
    daemons.touch("go")
    assert daemons.coordinator("wait", "one").returncode == 0
