"""Every attack on XML-RPC that is known to us, against a real server and, the other way round, a hostile one.

After each the same question: is the server still there for others? The amounts are those that hurt the standard
library's server.
"""

from __future__ import annotations

import gzip
import resource
import socket
import time
import xmlrpc.client
from collections.abc import Iterator

import pytest

from coordinator import errors
from coordinator.wire import codec
from coordinator.wire.client import Connection
from coordinator.wire.server import Limits
from tests.contract.serving import HANG_S, TOKEN, Served, answering, ok, request, serving, status, to_the_end

SHORT = Limits(header_s=0.2, body_s=0.2, idle_s=0.2)


def call_of(value: str, before: str = "") -> bytes:
    return f"{before}<methodCall><methodName>echo</methodName><params>{value}</params></methodCall>".encode()


def reply_of(value: str, before: str = "") -> bytes:
    return f"{before}<methodResponse><params>{value}</params></methodResponse>".encode()


def string(text: str) -> str:
    return f"<param><value><string>{text}</string></value></param>"


def laughs(levels: int, times: int) -> str:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * times}">' for n in range(1, levels))
    return f'<!DOCTYPE r [<!ENTITY l0 "{"ha" * 50}">{entities}]>'


#: name: (what comes before the root element, the parameters, the error)
BOMBS: dict[str, tuple[str, str, type[errors.CoordinatorError]]] = {
    "billion laughs": (laughs(10, 10), string("&l9;"), errors.BadRequest),
    "quadratic blow-up over expat's limit": (laughs(1, 1), string("&l0;" * 500_000), errors.BadRequest),
    "quadratic blow-up below expat's limit": (laughs(1, 1), string("&l0;" * 10_000), errors.BadRequest),
    "external entity": ('<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>', string("&x;"), errors.BadRequest),
    "external DTD": ('<!DOCTYPE r SYSTEM "file:///etc/passwd">', string("x"), errors.BadRequest),
    "parameter entity": ('<!DOCTYPE r [<!ENTITY % x "y">]>', string("x"), errors.BadRequest),
    "plain DOCTYPE": ("<!DOCTYPE r>", string("x"), errors.BadRequest),
    "processing instruction": ("<?php echo 1 ?>", string("x"), errors.BadRequest),
    "nested arrays": ("", "<param>" + "<value><array><data>" * 90_000, errors.BadRequest),
    "nested structs": ("", "<param>" + "<value><struct><member><name/>" * 90_000, errors.BadRequest),
    "100,001 values": ("", "<param><value><array><data>" + "<value/>" * 100_001, errors.BadRequest),
    "million-digit integer": ("", f"<param><value><int>{'9' * 1_000_000}</int></value></param>", errors.BadParameters),
    "26-digit i8": ("", f"<param><value><i8>{'9' * 26}</i8></value></param>", errors.BadParameters),
    "integer of 32 bits": ("", "<param><value><int>2147483648</int></value></param>", errors.BadParameters),
    "not a number": ("", "<param><value><double>nan</double></value></param>", errors.BadParameters),
    "infinity": ("", "<param><value><double>inf</double></value></param>", errors.BadParameters),
    "control character": ("", string("\x01"), errors.ProtocolError),
    "control character by number": ("", string("&#1;"), errors.ProtocolError),
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def _still_there(served: Served) -> Iterator[None]:
    yield
    connection = Connection(served.url)
    assert connection.call("echo", "still there") == "still there"
    connection.close()


def memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- bodies, both ways ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOMBS)
def test_the_server_refuses_the_bomb_with_a_fault(served: Served, name: str) -> None:
    before, value, error = BOMBS[name]
    held = memory_bytes()
    answer = served.exchange(request(call_of(value, before)))
    assert status(answer) == 200
    with pytest.raises(errors.CoordinatorError) as caught:
        codec.load_reply(answer.partition(b"\r\n\r\n")[2])
    assert type(caught.value) is error
    assert memory_bytes() - held < 64 << 20


@pytest.mark.parametrize("name", BOMBS)
def test_the_client_refuses_the_bomb_of_a_server(name: str) -> None:
    before, value, error = BOMBS[name]
    with answering(ok(reply_of(value, before))) as url:
        connection = Connection(url)
        with pytest.raises(errors.CoordinatorError) as caught:
            connection.note("echo", "x")
        assert type(caught.value) is error
        connection.close()


@pytest.mark.parametrize(
    "body",
    [
        "<param>" + "<value><array><data>" * 1_000_000 + "</data></array></value>" * 1_000_000 + "</param>",
        "<param><value><int>1</int></value></param>" * 1_000_000,
    ],
    ids=["1,000,000 nested arrays", "1,000,000 parameters"],
)
def test_what_is_larger_than_a_message_is_refused_by_its_length_alone(served: Served, body: str) -> None:
    held = memory_bytes()
    whole = call_of(body)
    header = request(Content_Length=str(len(whole)))
    assert status(served.exchange(header)) == 413
    with served.connect() as client:  # and if it is sent all the same
        try:
            client.sendall(header + whole)
            assert status(to_the_end(client)) == 413
        except (BrokenPipeError, ConnectionResetError):
            pass
    with answering(ok(reply_of(body))) as url, pytest.raises(errors.PeerLost, match="at most"):
        Connection(url).call("echo", 1)
    assert memory_bytes() - held < 256 << 20  # the test's own copies of the body


def test_a_call_within_the_limits_is_served_though_it_is_large(served: Served) -> None:
    connection = Connection(served.url)
    assert connection.call("count", *[1] * 60_000) == 60_000
    connection.close()


def test_compressed_bodies_are_refused_both_ways(served: Served) -> None:
    for bomb in (gzip.compress(b"x" * (19 << 20)), gzip.compress(b"x" * (60 << 20))):
        for coding in ("gzip", "deflate", "identity", "br"):
            assert status(served.exchange(request(bomb, Content_Encoding=coding))) == 415
        for field in ("Content_Encoding", "Transfer_Encoding"):
            with answering(ok(bomb, **{field: "gzip"})) as url, pytest.raises(errors.PeerLost):
                Connection(url).call("echo", 1)


def test_what_we_write_can_always_be_read(served: Served) -> None:
    connection = Connection(served.url)
    for value in ("\x01", "a\0b", "\ufffe", "\ud800"):
        with pytest.raises(errors.BadParameters):
            connection.call("echo", value)
    assert connection.call("echo", 2**31) == 2**31
    assert connection.call("echo", b"\x01\x00") == b"\x01\x00"
    assert connection.call("echo", "a\r\nb\rc]]>") == "a\r\nb\rc]]>"
    connection.close()


# --- framing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ("300000000", 413),
        ("9" * 15, 413),
        ("9" * 40, 400),
        ("-1", 400),
        ("+5", 400),
        ("0x10", 400),
        ("1,2", 400),
        ("1e3", 400),
        ("", 400),
        (None, 411),
    ],
)
def test_a_length_that_cannot_be_is_refused_before_a_byte_is_read(
    served: Served, length: str | None, expected: int
) -> None:
    held = memory_bytes()
    assert status(served.exchange(request(Content_Length=length))) in (expected, 411 if length == "" else expected)
    assert memory_bytes() - held < 16 << 20


@pytest.mark.parametrize(
    "header",
    [
        request(b"x", Transfer_Encoding="chunked"),
        request(b"", Content_Length=None, Transfer_Encoding="chunked") + b"0\r\n\r\n",
        request(b"", Content_Length=None, Transfer_Encoding="identity"),
        request(b"x", Transfer_Encoding="chunked, identity"),
        request(b"x", Transfer_Encoding=" xchunked"),
        request(b"xx").replace(b"Content-Length: 2\r\n", b"Content-Length: 2\r\nContent-Length: 2\r\n"),
        request(b"xx").replace(b"Content-Length: 2\r\n", b"Content-Length: 1\r\ncontent-length: 2\r\n"),
        request(b"xx").replace(b"Content-Length: 2", b"Content-Length : 2"),
        request(b"xx").replace(b"Content-Length: 2", b" Content-Length: 2"),
        request(b"xx").replace(b"Host: ", b"Host: a\r\nHost: "),
        request(b"xx").replace(b"Host: ", b"Host: a\0"),
        request(b"xx").replace(b"Authorization: ", b"Authorization: Basic eDp5\r\nAuthorization: "),
        request(b"xx", Host=None),
        request(b"xx", Host=""),
        request(b"xx", Host="a b"),
        request(b"xx", Host="a/b"),
        request(b"xx", Host="a:b"),
        request(b"xx", Host="<script>"),
        request(b"xx", Connection="Upgrade", Upgrade="h2c"),
        request(b"xx").replace(b"HTTP/1.1", b"HTTP/2.0"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
    ],
    ids=repr,
)
def test_a_request_of_doubtful_framing_is_refused_and_the_connection_ends(served: Served, header: bytes) -> None:
    smuggled = request(codec.note_call("echo", "smuggled"))
    answer = served.exchange(header + smuggled)
    assert status(answer) == 400
    assert answer.count(b"Content-Length: ") == 1
    assert b"smuggled" not in answer


def test_a_header_without_end_is_cut_at_its_limit(served: Served) -> None:
    for endless in (b"X-Long: " + b"x" * 300_000, b"X-Many: y\r\n" * 30_000, b"\r\n" * 30_000):
        answer = served.exchange(b"POST /RPC2 HTTP/1.1\r\n" * (not endless.startswith(b"\r")) + endless)
        assert status(answer) in (400, 431)
    assert status(served.exchange(b"POST /" + b"x" * 300_000)) == 431
    assert status(served.exchange(request(b"x", X_Long="x" * 20_000))) == 431


# --- who may ask ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        request(Authorization=None, Content_Length="4000000"),
        request(token="wrong", Content_Length="4000000"),
        request(token=TOKEN + "x", Content_Length="4000000"),
        request(token="", Content_Length="4000000"),
        request(Authorization="Basic", Content_Length="4000000"),
        request(Authorization="Basic !!!!", Content_Length="4000000"),
        request(Authorization="Basic gICA", Content_Length="4000000"),
        request(Authorization=f"Bearer {TOKEN}", Content_Length="4000000"),
    ],
)
def test_without_the_right_token_the_answer_comes_before_the_body_is_sent(served: Served, header: bytes) -> None:
    answer = served.exchange(header)
    assert status(answer) == 401
    assert b"WWW-Authenticate: Basic" in answer
    assert TOKEN.encode() not in answer


def test_a_request_without_any_header_is_not_taken_for_the_one_before(served: Served) -> None:
    assert status(served.exchange(b"POST /RPC2 HTTP/1.1\r\n\r\n")) == 400
    assert status(served.exchange(b"POST /RPC2 HTTP/1.0\r\n\r\n")) == 401
    good = request(codec.note_call("echo", "x"), close=False)
    without = request(codec.note_call("echo", "secret"), Authorization=None)
    answer = served.exchange(good + good + without)
    assert answer.count(b"200 OK") == 2
    assert answer.count(b"401 Unauthorized") == 1
    assert b"secret" not in answer


def test_web_pages_cannot_call(served: Served) -> None:
    body = codec.note_call("echo", "x")
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/xmlx", "text",
                 "text/xml; charset=utf-7"):  # fmt: skip
        assert status(served.exchange(request(body, Content_Type=kind))) == 415
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{served.port}"):
        assert status(served.exchange(request(body, Origin=origin))) == 403
    with serving(token=None) as plain:  # where there is no token that a page would lack
        assert status(plain.exchange(request(body, Origin="http://evil.example", Authorization=None))) == 403
        assert status(plain.exchange(request(body, Content_Type="text/plain", Authorization=None))) == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_nothing_but_post_is_taken(served: Served, method: str) -> None:
    answer = served.exchange(request().replace(b"POST", method.encode(), 1))
    assert status(answer) == 405
    assert b"Allow: POST" in answer


# --- what may be asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "system.multicall",
        "echo.__func__",
        "echo.__func__.__globals__",
        "__class__",
        "__init__",
        "_dispatch",
        "get",
        "keys",
        "system",
        "system.",
        "system.__class__",
        "system.listMethods.__globals__",
        "Echo",
        "echo x",
        "../echo",
        "echo\u200b",
        "x" * 1_000_000,
    ],
    ids=lambda name: ascii(name[:40]),
)
def test_only_listed_names_are_methods(served: Served, name: str) -> None:
    connection = Connection(served.url)
    with pytest.raises((errors.UnknownMethod, errors.BadRequest)) as caught:
        connection.call(name, [{"methodName": "echo", "params": [1]}] * 3)
    assert len(caught.value.message) < 200
    connection.close()


def test_a_fault_tells_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    class SecretError(Exception):
        pass

    def fail() -> None:
        raise SecretError("/home/secret/path.py line 7")

    def exit_() -> None:
        raise KeyError("secret")

    with serving({"fail": fail, "exit": exit_}) as failing, xmlrpc.client.ServerProxy(failing.url) as proxy:
        for name in ("fail", "exit"):
            with pytest.raises(xmlrpc.client.Fault) as caught:
                getattr(proxy, name)()
            assert caught.value.faultCode == errors.InternalError.code
            assert "ecret" not in caught.value.faultString
            assert "Error" not in caught.value.faultString
    assert "SecretError: /home/secret/path.py line 7" in caplog.text
    assert TOKEN not in caplog.text


# --- clients that hold on -------------------------------------------------------------------------------------


def test_500_idle_connections_keep_nobody_from_being_served(served: Served) -> None:
    idle = [served.connect() for _ in range(500)]
    try:
        half = [served.connect() for _ in range(20)]
        for client in half:
            client.sendall(request(codec.note_call("echo", "x"))[:-10])
        idle += half
        connection = Connection(served.url)
        for number in range(100):
            assert connection.call("echo", number) == number
        connection.close()
    finally:
        for client in idle:
            client.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"P",
        b"\r\n",
        request(b"x")[:40],
        request(b"x" * 100)[:-1],
        request(codec.note_call("echo", "x"), close=False),
        request(codec.note_call("echo", "x"), close=False) + b"POS",
    ],
    ids=repr,
)
def test_a_connection_that_goes_no_further_is_cut_at_its_deadline(begun: bytes) -> None:
    with serving(limits=SHORT) as short, short.connect() as slow:
        slow.sendall(begun)
        connection = Connection(short.url)
        assert connection.call("echo", 1) == 1  # meanwhile others are served
        answer = to_the_end(slow)  # ends: the server has cut it; a hang fails the test
        assert answer.count(b"200 OK") == begun.count(b"</methodCall>")
        connection.close()


def test_a_body_that_comes_a_byte_at_a_time_is_cut_at_its_deadline() -> None:
    with serving(limits=SHORT) as short, short.connect() as slow:
        slow.settimeout(0.01)
        slow.sendall(request(Content_Length="1000000"))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(slow)


def drip(client: socket.socket) -> None:
    """Send a byte at a time until the other side has had enough."""
    ended = time.monotonic() + HANG_S
    while time.monotonic() < ended:
        client.sendall(b"x")
        try:
            if not client.recv(65536):
                raise ConnectionResetError
        except TimeoutError:
            pass


def test_a_client_that_does_not_read_its_answers_is_cut_and_fills_no_memory() -> None:
    text = "x" * 1_000_000
    with serving({"big": lambda *_: text}, limits=SHORT) as short, socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.settimeout(HANG_S)
        greedy.connect(("127.0.0.1", short.port))
        held = memory_bytes()
        calls = request(codec.note_call("big", ""), close=False) * 1000
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            greedy.sendall(calls * 100)
        assert memory_bytes() - held < 64 << 20  # eight answers, and what the loop joins of them


def test_a_call_that_waits_for_its_answer_is_not_idle() -> None:
    parked = []
    with serving(turn=parked.extend, limits=SHORT) as short:
        for closing in (False, True):
            with short.connect() as patient, short.connect() as idle:
                patient.sendall(request(codec.note_call("wait", ""), close=closing))
                while not parked:
                    time.sleep(0)
                assert to_the_end(idle) == b""  # came later than the call, and has been cut
                short.on_loop(lambda: parked.pop().answer("at last"))
                patient.settimeout(HANG_S)
                assert b"at last" in patient.recv(65536)


def test_strangers_who_take_every_place_make_room_for_others() -> None:
    with serving(limits=Limits(connections=20)) as small:
        known = Connection(small.url)
        assert known.call("echo", 1) == 1
        strangers = [small.connect() for _ in range(60)]
        try:
            late = Connection(small.url)
            assert late.call("echo", 2) == 2
            assert known.call("echo", 3) == 3
            late.close()
        finally:
            for client in strangers:
                client.close()
        known.close()


def test_with_every_place_taken_by_known_clients_one_more_is_told_so() -> None:
    with serving(limits=Limits(connections=3)) as small:
        known = [Connection(small.url) for _ in range(3)]
        for connection in known:
            assert connection.call("echo", 1) == 1
        with pytest.raises((errors.Overloaded, errors.PeerLost)):
            Connection(small.url).call("echo", 2)
        known.pop().close()
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            try:
                assert Connection(small.url).call("echo", 2) == 2
                break
            except errors.CoordinatorError:
                continue


def test_bodies_under_way_are_bounded_all_together() -> None:
    with serving(limits=Limits(buffered_bytes=3_000_000)) as small:
        clients = [small.connect() for _ in range(4)]
        try:
            for number, client in enumerate(clients, 1):
                client.sendall(request(Content_Length="1000001") + b"x" * 900_000)
                while small.on_loop(lambda: small.server.buffered_bytes) < number * 900_000 and number < 4:
                    pass
            assert b"503" in clients[3].recv(100)
            clients[3].close()
            assert Connection(small.url).call("echo", 1) == 1
            for client in clients[:3]:
                client.sendall(b"x" * 100_001)
                assert b"200 OK" in client.recv(100)
            small.on_loop(lambda: None)
            assert small.server.buffered_bytes == 0
        finally:
            for client in clients:
                client.close()


# --- a hostile server -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00" * 100,
        b"220 ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 300000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    ],
    ids=lambda answer: repr(answer[:70]),
)
def test_a_server_that_answers_nonsense_is_a_lost_peer(answer: bytes) -> None:
    with answering(answer) as url:
        connection = Connection(url, timeout_s=HANG_S)
        with pytest.raises(errors.PeerLost):
            connection.note("echo", "x")
        assert connection.fileno() == -1


def test_a_server_that_answers_a_byte_at_a_time_does_not_hold_its_client() -> None:
    def answer_slowly(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n")
        client.settimeout(0.01)
        drip(client)

    with answering(answer_slowly) as url, pytest.raises(errors.PeerLost, match="did not answer within"):
        Connection(url, timeout_s=0.3).note("echo", "x")


def test_the_text_of_a_hostile_fault_is_bounded() -> None:
    fault = xmlrpc.client.dumps(xmlrpc.client.Fault(1, "x" * 3_000_000), methodresponse=True).encode()
    with answering(ok(fault)) as url:
        connection = Connection(url)
        with pytest.raises(errors.CoordinatorError) as caught:
            connection.call("echo", 1)
        connection.close()
    assert len(caught.value.message) <= codec.FAULT_CHARS


def test_a_note_answered_by_another_value_is_refused() -> None:
    with answering(ok(codec.dump_reply([1, 2]))) as url, pytest.raises(errors.ProtocolError):
        Connection(url).note("echo", "x")
