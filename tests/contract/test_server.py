"""What the server promises to well-meaning clients: turns, order, the standard library's client, life and death."""

from __future__ import annotations

import gc
import resource
import socket
import threading
import time
import weakref
import xmlrpc.client

import pytest

from coordinator import errors, tls
from coordinator.wire import codec
from coordinator.wire.client import Connection, split_url
from coordinator.wire.server import Call, Limits, TurnServer, each
from tests.contract.serving import HANG_S, TOKEN, answering, ok, request, serving, status, to_the_end


def add(a: int, b: int | str = 2, *rest: int) -> float:
    """Add two numbers."""
    return a + int(b)


# --- calls ----------------------------------------------------------------------------------------------------


def test_the_standard_librarys_client_works_with_a_token_in_its_url() -> None:
    with serving({"add": add}) as served, xmlrpc.client.ServerProxy(served.url) as proxy:
        assert proxy.add(1, 2) == 3
        assert proxy.add(1) == 3
        names = ["add", "system.listMethods", "system.methodHelp", "system.methodSignature"]
        assert proxy.system.listMethods() == names
        assert proxy.system.methodSignature("add") == [
            ["double", "int"],
            ["double", "int", "int"],
            ["double", "int", "string"],
        ]
        assert proxy.system.methodSignature("system.methodHelp") == [["string", "string"]]
        assert proxy.system.methodHelp("add") == "add(a, [b], *rest)\n\nAdd two numbers."
        for unknown in ("system.methodHelp", "system.methodSignature"):
            with pytest.raises(xmlrpc.client.Fault) as caught:
                getattr(proxy, unknown)("nothing")
            assert caught.value.faultCode == errors.UnknownMethod.code


def test_parameters_that_do_not_fit_are_a_fault_that_says_so() -> None:
    with serving({"add": lambda a, b: a + b}) as served:
        connection = Connection(served.url)
        for params in ((1,), (1, 2, 3)):
            with pytest.raises(errors.BadParameters, match=r"add\(a, b\)"):
                connection.call("add", *params)
        with pytest.raises(errors.InternalError):
            connection.call("add", 1, "x")  # a TypeError of the method's own
        with pytest.raises(errors.BadParameters, match=r"system.listMethods\(\)"):
            connection.call("system.listMethods", 1)
        with pytest.raises(errors.UnknownMethod):
            connection.call("subtract", 1, 2)


def test_an_error_of_ours_arrives_as_its_class_and_any_other_as_internal(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise errors.NotLocked("hg17 is not locked by you")

    def fail() -> None:
        raise OSError("/home/somebody/secret")

    with serving({"refuse": refuse, "fail": fail}) as served:
        connection = Connection(served.url)
        with pytest.raises(errors.NotLocked, match="hg17 is not locked by you"):
            connection.call("refuse")
        with pytest.raises(errors.InternalError) as caught:
            connection.call("fail")
    assert "secret" not in caught.value.message
    assert "/home/somebody/secret" in caplog.text  # the log has it, with the traceback


def test_an_answer_that_cannot_travel_is_internal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving({"bad": lambda: object(), "long": lambda: "x" * (5 << 20)}) as served:
        connection = Connection(served.url)
        for name in ("bad", "long"):
            with pytest.raises(errors.InternalError):
                connection.call(name)
    assert "the answer of bad cannot travel" in caplog.text


def test_a_turn_that_raises_faults_its_calls_and_the_server_lives(caplog: pytest.LogCaptureFixture) -> None:
    def turn(calls: list[Call]) -> None:
        for call in calls:
            if call.method == "fine":
                call.answer(1)
            else:
                raise RuntimeError("the turn broke")

    with serving(turn=turn) as served:
        connection = Connection(served.url)
        with pytest.raises(errors.InternalError):
            connection.call("broken")
        assert connection.call("fine") == 1
    assert "the turn broke" in caplog.text


# --- turns and order ------------------------------------------------------------------------------------------


def test_calls_that_arrive_together_are_one_turn() -> None:
    turns: list[int] = []
    held = threading.Event()

    def turn(calls: list[Call]) -> None:
        turns.append(len(calls))
        if calls[0].method == "hold":
            held.wait(HANG_S)
        for call in calls:
            call.answer("")

    with serving(turn=turn) as served:
        connections = [Connection(served.url) for _ in range(5)]
        connections[0].send_note("hold", "")
        while not turns:
            time.sleep(0)  # gives the other thread its turn; no time is measured
        for connection in connections[1:]:
            connection.send_note("note", "")
        held.set()
        for connection in connections:
            assert connection.receive_note() == ""
            connection.close()
    assert turns[0] == 1
    assert sum(turns) == 5
    assert len(turns) <= 3  # the second may have begun before the last note came


def test_answers_come_in_the_order_of_the_calls_however_they_are_given() -> None:
    parked: list[Call] = []

    def turn(calls: list[Call]) -> None:
        parked.extend(calls)
        if len(parked) == 3:
            for call in reversed(parked):
                call.answer(call.params[0])

    with serving(turn=turn) as served:
        connection = Connection(served.url)
        for text in ("1", "2", "3"):
            connection.send_note("m", text)
        with pytest.raises(errors.StateError, match="not answered yet"):
            connection.note("m", "4")
        assert [connection.receive_note() for _ in range(3)] == ["1", "2", "3"]
        with pytest.raises(errors.StateError):
            connection.receive_note()
        connection.close()


def test_a_call_is_answered_in_a_later_turn_and_only_once() -> None:
    parked: list[Call] = []
    with serving(turn=parked.extend) as served:
        connection = Connection(served.url)
        connection.send_note("wait", "")
        while not parked:
            time.sleep(0)
        call = parked[0]
        assert (call.method, call.params, call.caller, call.answered) == ("wait", ("",), "owner", False)
        assert call.peer.startswith("127.0.0.1:")

        def answer_twice() -> None:
            call.answer("first")
            call.answer("second")
            call.fault(errors.StateError())

        served.on_loop(answer_twice)
        assert call.answered
        assert connection.receive_note() == "first"
        assert connection.fileno() >= 0
        connection.close()
        assert connection.fileno() == -1


def test_an_answer_to_a_client_that_is_gone_is_dropped() -> None:
    parked: list[Call] = []
    with serving(turn=parked.extend) as served:
        with served.connect() as client:
            client.sendall(request(codec.note_call("wait", ""), close=False))
            while not parked:
                time.sleep(0)
        served.on_loop(lambda: parked[0].answer("x" * 100_000))
        connection = Connection(served.url)
        connection.send_note("wait", "")
        while len(parked) < 2:
            time.sleep(0)
        served.on_loop(lambda: parked[1].answer("still here"))
        assert connection.receive_note() == "still here"
        connection.close()


def test_a_client_that_is_gone_takes_no_answer_from_those_after_it() -> None:
    parked: list[Call] = []
    with serving(turn=parked.extend) as served:
        client, other = served.connect(), Connection(served.url)
        client.sendall(request(codec.note_call("wait", "gone"), close=True))
        while not parked:
            time.sleep(0)
        other.send_note("wait", "here")
        while len(parked) < 2:
            time.sleep(0)

        def answer_both() -> None:
            client.close()  # the server has no time to notice
            for call in parked:
                call.answer(call.params[0])

        served.on_loop(answer_both)
        assert other.receive_note() == "here"
        other.close()


def test_a_client_that_pipelines_without_end_is_served_and_never_read_ahead_by_much() -> None:
    waiting: list[int] = []
    parked: list[Call] = []

    def turn(calls: list[Call]) -> None:
        parked.extend(calls)
        waiting.append(len(parked))
        served.loop.call_soon(answer_one)

    def answer_one() -> None:
        if parked:
            call = parked.pop(0)
            call.answer(call.params[0])
            served.loop.call_soon(answer_one)

    with serving(turn=turn, limits=Limits(pipelined=4)) as served:
        text = "x" * 100_000  # a request is larger than half of what is received at once
        connection = Connection(served.url)
        sender = threading.Thread(target=lambda: [connection.send_note("m", text) for _ in range(50)])
        sender.start()
        for _ in range(50):
            while not connection._owed:
                time.sleep(0)
            assert connection.receive_note() == text
        sender.join(HANG_S)
        connection.close()
    assert max(waiting) <= 4 + 4


def test_a_large_note_goes_both_ways() -> None:
    with serving() as served:
        text = "x" * (4_000_000)
        connection = Connection(served.url)
        assert connection.note("echo", text) == text
        connection.close()


# --- HTTP -----------------------------------------------------------------------------------------------------


def test_a_connection_serves_many_calls_and_ends_when_the_client_asks() -> None:
    body = codec.note_call("echo", "x")
    with serving() as served:
        answer = served.exchange(request(body, close=False) * 3 + request(body, close=True) + request(body))
        assert answer.count(b"HTTP/1.1 200 OK") == 4
        old = request(body, Connection=None).replace(b"HTTP/1.1", b"HTTP/1.0")
        assert served.exchange(old).count(b"200 OK") == 1


def test_a_client_that_closes_its_side_still_gets_its_answer() -> None:
    with serving() as served, served.connect() as client:
        client.sendall(request(codec.note_call("echo", "x"), close=False))
        client.shutdown(socket.SHUT_WR)
        assert b"<string>x</string>" in to_the_end(client)


def test_a_request_that_comes_byte_by_byte_is_read() -> None:
    with serving() as served, served.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request(codec.note_call("echo", "x")):
            client.sendall(bytes([byte]))
        assert b"<string>x</string>" in to_the_end(client)


def test_expect_100_continue_is_answered_before_the_body() -> None:
    body = codec.note_call("echo", "x")
    whole = request(body, Expect="100-continue")
    with serving() as served, served.connect() as client:
        client.sendall(whole[: -len(body)])
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert b"200 OK" in to_the_end(client)


def test_both_paths_and_both_names_of_xml_are_taken() -> None:
    body = codec.note_call("echo", "x")
    with serving() as served:
        for kind in ("text/xml", "TEXT/XML; charset=utf-8", 'application/xml;charset="UTF-8"'):
            assert status(served.exchange(request(body, Content_Type=kind))) == 200
        assert status(served.exchange(request(body).replace(b"/RPC2", b"/", 1))) == 200
        assert status(served.exchange(request(body).replace(b"/RPC2", b"/other", 1))) == 404
        for host in ("node1", "node1:5000", "127.0.0.1", "[::1]:5000", "a.b-c_d"):
            assert status(served.exchange(request(body, Host=host))) == 200


def test_a_server_without_a_token_serves_anybody() -> None:
    with serving(token=None) as served:
        assert Connection(served.plain_url).call("echo", 1) == 1
        assert Connection(served.url).call("echo", 1) == 1


# --- life -----------------------------------------------------------------------------------------------------


def test_a_port_in_use_and_a_strange_host_are_named() -> None:
    with serving() as served, pytest.raises(errors.PortTaken, match=str(served.port)):
        TurnServer(each({}), None, "127.0.0.1", served.port).listen()
    with pytest.raises(errors.BadInput, match=r"192\.0\.2\.1"):
        TurnServer(each({}), None, "192.0.2.1").listen()
    with pytest.raises(errors.BadInput, match="no host of ours"):
        TurnServer(each({}), None, "no host of ours").listen()
    with pytest.raises(errors.BadInput, match="70000"):
        TurnServer(each({}), None, "127.0.0.1", 70000).listen()


def test_a_server_that_is_stopped_frees_its_port_at_once() -> None:
    with serving() as served:
        connection = Connection(served.url)
        assert connection.call("echo", 1) == 1
        port = served.port
    again = TurnServer(each({}), None, "127.0.0.1", port)
    assert again.listen() == ("127.0.0.1", port)
    again.stop()
    with pytest.raises(errors.PeerLost):
        connection.call("echo", 1)


def test_without_a_descriptor_left_clients_are_turned_away_and_the_server_goes_on() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving() as served:
        connection = Connection(served.url)
        assert connection.call("echo", 1) == 1
        clients = [socket.socket() for _ in range(3)]
        with socket.socket() as probe:
            lowest = probe.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            for client in clients:
                client.settimeout(HANG_S)
                client.connect(("127.0.0.1", served.port))
            assert [to_the_end(client) for client in clients] == [b"", b"", b""]  # hung up on, not left to wait
            assert connection.call("echo", 2) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for client in clients:
                client.close()
        assert Connection(served.url).call("echo", 3) == 3
        connection.close()


# --- the client -----------------------------------------------------------------------------------------------


def test_a_url_is_taken_apart_and_a_bad_one_shows_no_token() -> None:
    assert split_url("http://host:5000") == ("host", 5000, None, None)
    assert split_url("http://me:T%40%2F@host:5000/RPC2") == ("host", 5000, "me", "T@/")
    assert split_url("http://me@[::1]:80/") == ("::1", 80, "me", None)
    assert split_url("http://host") == ("host", 80, None, None)
    for bad in ("", "host:5000", "ftp://me:T0KEN@host:1", "http://me:T0KEN@:1", "http://me:T0KEN@host:x",
                "http://me:T0KEN@host:0", "http://me:T0KEN@ho st:1", "http://me:T0KEN@host\r\nX: y:1",
                "http://host:1/x", "http://me:T0KEN%zz@host:1", "http://me:T0KEN@host:99999"):  # fmt: skip
        with pytest.raises(errors.BadInput) as caught:
            split_url(bad)
        assert "T0KEN" not in caught.value.message


def test_a_server_that_is_not_there_is_a_lost_peer_and_no_token_is_shown() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://me:T0KEN@127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(errors.PeerLost, match="refused") as caught:
            Connection(url).call("m")
    assert "T0KEN" not in caught.value.message
    with pytest.raises(errors.PeerLost, match="cannot be reached"):
        Connection("http://no-such-host.invalid:1").call("m")


def test_a_connection_opens_again_after_the_server_closed_it_idle() -> None:
    with serving(limits=Limits(idle_s=0.05)) as served:
        connection = Connection(served.url)
        assert connection.call("echo", 1) == 1
        assert connection._poll is not None
        assert connection._poll.poll(HANG_S * 1000)  # the server has ended it
        assert connection.call("echo", 2) == 2
        connection.close()


def test_a_call_is_never_sent_twice() -> None:
    seen: list[str] = []

    def turn(calls: list[Call]) -> None:
        seen.extend(call.method for call in calls)
        for connection in list(served.server._connections):
            connection.cut()

    with serving(turn=turn) as served, pytest.raises(errors.PeerLost):
        Connection(served.url).call("next")
    assert seen == ["next"]


def test_a_slow_server_is_a_lost_peer_and_a_late_answer_is_not_taken_for_the_next() -> None:
    parked: list[Call] = []

    def turn(calls: list[Call]) -> None:
        for call in calls:
            if call.method == "slow":
                parked.append(call)
            else:
                call.answer("quick")

    with serving(turn=turn) as served:
        connection = Connection(served.url, timeout_s=0.05)
        with pytest.raises(errors.PeerLost, match=r"within 0\.05 s"):
            connection.note("slow", "")
        connection.timeout_s = HANG_S
        served.on_loop(lambda: parked[0].answer("slow"))
        assert connection.note("quick", "") == "quick"
        connection.close()


def test_answers_of_an_old_server_that_closes_after_each_are_read() -> None:
    old = ok(codec.dump_reply(7)).replace(b"HTTP/1.1", b"HTTP/1.0")
    with answering(old) as url:
        connection = Connection(url)
        assert connection.call("m") == 7
        assert connection.fileno() == -1


def test_a_refused_token_and_a_missing_one_are_said_apart() -> None:
    with serving() as served:
        with pytest.raises(errors.NotAuthorised, match="does not take this token"):
            Connection(served.plain_url, token="wrong").call("echo", 1)
        with pytest.raises(errors.NotAuthorised, match="asks for a token"):
            Connection(served.plain_url).note("echo", "x" * 1_000_000)
        assert Connection(served.plain_url, token=TOKEN).call("echo", 1) == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_connection_that_is_over_leaves_no_garbage_that_holds_itself(encrypted: bool) -> None:
    with serving(tls=tls.server_context() if encrypted else None) as served:
        gc.collect()
        gc.disable()
        try:
            if encrypted:
                fingerprint = tls.own_fingerprint()
                connection = Connection(served.url.replace("http:", "https:"), fingerprint=fingerprint)
            else:
                connection = Connection(served.url)
            assert connection.call("echo", 1) == 1
            (theirs,) = served.on_loop(lambda: [weakref.ref(one) for one in served.server._connections])
            connection.close()
            over = time.monotonic() + HANG_S
            while served.on_loop(lambda: len(served.server._connections)) and time.monotonic() < over:
                time.sleep(0.01)
            assert served.on_loop(theirs) is None
        finally:
            gc.enable()
