"""A classic processor: any XML-RPC client, with the calls and shapes that the ancestor's processors used."""

from __future__ import annotations

import os
import socket
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from coordinator.core import ids
from coordinator.errors import BadInput, NotAuthorised, UnknownProcessor, UnservableTaskID
from tests.end_to_end.farm import Farm, Running, exactly

HOST, PID = "elsewhere.example.org", 4711


@contextmanager
def waiting_job(farm: Farm, stream: str) -> Iterator[tuple[Running, xmlrpc.client.ServerProxy]]:
    """A job whose own processor is busy with the first task, "own", until the file "go" is there; and a client."""
    farm.script(
        f"""
        def server():
            yield "own"
            {stream}

        def client(server):
            for task_id in server:
                if task_id == "own":
                    touch("busy")
                wait_for("go")
                yield task_id
        """
    )
    with farm.start(local=1) as job:
        job.until((farm.directory / "busy").exists, "began")
        with xmlrpc.client.ServerProxy(job.url(), allow_none=True) as client:
            yield job, client


def test_a_classic_client_works_on_tasks_one_at_a_time(farm: Farm) -> None:
    with waiting_job(
        farm,
        'yield from [1, 2.5, "three", "vier & <5>", [6, "a"], (7, 8), {"nine": [True]}, b"\\xff", "failing", "\u6f22"]',
    ) as (job, client):
        assert client.register_client(HOST, PID, "/tmp/classic_0.log") is True
        done: Any = False
        taken = []
        while True:
            task = client.next(HOST, PID, done)
            if task is True:
                break
            assert client.next(HOST, PID, False) == task, "asked again, it is the same task"
            [mine] = [one for one in client.get_status()[6] if one[2] == PID]
            assert mine[:2] == [task, HOST]
            taken.append(task)
            if task == "failing":
                assert (
                    client.report_error(
                        HOST, PID, task, "Traceback (most recent call last):\n  ...\nOSError: no such thing\n"
                    )
                    is True
                )
                done = False
            else:
                done = task
        # Nothing left, but the job is not over: somebody may still fail.
        assert client.next(HOST, PID, False) is True
        name, errlog, n, nsuccess, nerrors, clients, pending, logs = client.get_status()
        assert (name, n, nsuccess, nerrors) == ("JOB", 11, 9, 1)
        assert errlog == str(farm.directory / "JOB.log")
        assert [HOST, PID, 9] in clients
        assert [one[0] for one in pending] == ["own"]
        assert logs["/tmp/classic_0.log"][:2] == [HOST, PID]
        farm.touch("go")
        assert client.unregister_client(HOST, PID, "run_all done") is True
        ended = job.wait()
    assert taken == [
        1,
        2.5,
        "three",
        "vier & <5>",
        [6, "a"],
        [7, 8],
        {"nine": [True]},
        xmlrpc.client.Binary(b"\xff"),
        "failing",
        "\u6f22",
    ]
    assert ended.status == 1, ended.said
    assert exactly(ended.done) == exactly(
        ["own", 1, 2.5, "three", "vier & <5>", [6, "a"], (7, 8), {"nine": [True]}, b"\xff", "\u6f22"]
    )
    [failure] = ended.failures
    assert (failure.id, failure.kind, failure.message, failure.host, failure.pid) == (
        "failing",
        "OSError",
        "no such thing",
        HOST,
        PID,
    )
    assert f"register_client host={HOST} pid={PID}" in ended.text(".log")


def test_report_success_ends_a_task_too(farm: Farm) -> None:
    with waiting_job(farm, "yield from range(3)") as (job, client):
        client.register_client(HOST, PID, "")
        for number in range(3):
            assert client.next(HOST, PID, False) == number
            assert client.report_success(HOST, PID, number) is True
        client.unregister_client(HOST, PID, "done")
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 0, ended.said
    assert len(ended.done) == 4


def test_a_success_that_is_not_the_task_it_holds_serves_that_task_again(farm: Farm) -> None:
    with waiting_job(farm, "yield from [1, 2]") as (job, client):
        client.register_client(HOST, PID, "")
        assert client.next(HOST, PID, False) == 1
        for wrong in (2, "1", 1.0, True, [1]):
            assert client.next(HOST, PID, wrong) == 1
        for wrong in (2, "1", True):
            with pytest.raises(xmlrpc.client.Fault, match="does not hold") as refused:
                client.report_success(HOST, PID, wrong)
            assert refused.value.faultCode == BadInput.code
        assert client.next(HOST, PID, 1) == 2
        client.unregister_client(HOST, PID, "had enough")
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 0, ended.said
    assert exactly(ended.done) == exactly(["own", 1, 2]), "what it held when it left went to another"


def test_two_clients_hold_different_tasks(farm: Farm) -> None:
    with waiting_job(farm, "yield from range(4)") as (job, client):
        for pid in (1, 2):
            client.register_client(HOST, pid, "")
        assert [client.next(HOST, pid, False) for pid in (1, 2)] == [0, 1]
        assert [client.next(HOST, pid, pid - 1) for pid in (1, 2)] == [2, 3]
        assert client.stop_client(HOST, 1) is True
        assert client.next(HOST, 1, 2) is False, "it was told to stop"
        for pid in (1, 2):
            client.unregister_client(HOST, pid, "")
        farm.touch("go")
        assert job.wait().status == 0


@pytest.mark.parametrize(
    "task", ["True", "False", "None", "2**31", "'\\x01'", "os.fsdecode(b'\\xff')", "[1, None]", "{'a': 2**63 - 1}"]
)
def test_an_id_that_plain_xmlrpc_cannot_carry_is_a_fault_that_names_it_and_stays_for_others(
    farm: Farm, task: str
) -> None:
    with waiting_job(farm, f"yield {task}") as (job, client):
        client.register_client(HOST, PID, "")
        for _ in range(2):
            with pytest.raises(xmlrpc.client.Fault) as refused:
                client.next(HOST, PID, False)
            assert refused.value.faultCode == UnservableTaskID.code
            value = eval(task, {"os": os})
            assert ids.shown(value) in refused.value.faultString
        client.unregister_client(HOST, PID, "")
        farm.touch("go")
        ended = job.wait()
    assert ended.status == 0, ended.said
    assert exactly(ended.done) == exactly(["own", value])


def test_who_is_not_registered_is_told_so(farm: Farm) -> None:
    with waiting_job(farm, "yield 1") as (job, client):
        for call in (
            client.next,
            client.report_success,
            lambda host, pid, one: client.report_error(host, pid, one, ""),
        ):
            with pytest.raises(xmlrpc.client.Fault, match="register_client") as refused:
                call(HOST, PID, False)
            assert refused.value.faultCode == UnknownProcessor.code
        farm.touch("go")
        assert job.wait().status == 0


def test_a_client_that_registers_at_the_end_is_told_that_there_is_no_more(farm: Farm) -> None:
    with waiting_job(farm, "") as (job, client):
        client.register_client(HOST, PID, "")
        assert client.next(HOST, PID, False) is True  # the one task may still fail and come back
        farm.touch("go")
        # It answers False, or is gone: the job does not wait for those who hold nothing.
        assert job.wait().status == 0


def test_without_the_token_nobody_is_served(farm: Farm) -> None:
    with waiting_job(farm, "") as (job, _):
        port = job.run_file()["port"]
        for url in (f"http://127.0.0.1:{port}", f"http://coordinator:{'0' * 64}@127.0.0.1:{port}"):
            with xmlrpc.client.ServerProxy(url) as other, pytest.raises(xmlrpc.client.ProtocolError) as refused:
                other.get_status()
            assert refused.value.errcode == 401
        with pytest.raises(NotAuthorised):
            _connect(port).call("get_status")
        farm.touch("go")
        assert job.wait().status == 0


def _connect(port: int) -> Any:
    from coordinator.wire.client import Connection

    return Connection(f"http://127.0.0.1:{port}")


def test_introspection_answers_from_the_list_that_dispatch_uses(farm: Farm) -> None:
    with waiting_job(farm, "") as (job, client):
        methods = client.system.listMethods()
        assert {"register_client", "next", "report_success", "report_error", "unregister_client", "get_status"} <= set(
            methods
        )
        assert client.system.methodSignature("next")
        assert all(isinstance(one, list) for one in client.system.methodSignature("next"))
        assert "success_id" in client.system.methodHelp("next")
        with pytest.raises(xmlrpc.client.Fault, match="no_such_call"):
            client.no_such_call()
        with pytest.raises(xmlrpc.client.Fault):
            client.next(HOST)
        farm.touch("go")
        assert job.wait().status == 0


def test_a_silent_connection_keeps_nobody_from_being_served(farm: Farm) -> None:
    with waiting_job(farm, "yield from range(20)") as (job, client):
        silent = socket.create_connection(("127.0.0.1", job.run_file()["port"]))
        assert client.get_status()[0] == "JOB"
        farm.touch("go")
        assert job.wait().status == 0
        silent.close()
