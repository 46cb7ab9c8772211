"""RCMonitor and CoordinatorMonitor over the wire, against the real ResourceController and a strict Coordinator."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from coordinator import paths
from coordinator.errors import (
    BadRule,
    ControllerLost,
    CoordinatorLost,
    NotAuthorised,
    NoToken,
    StateError,
    UnknownHost,
)
from coordinator.monitor import CoordinatorMonitor, RCMonitor
from coordinator.resource import ResourceController
from coordinator.wire.server import TurnServer, each, token_check
from tests.contract.serving import HANG_S, serving

TOKEN = "f" * 64


def close(server: TurnServer, loop: asyncio.AbstractEventLoop) -> None:
    server.stop()
    # Transports are closed by callbacks of the loop, some of which schedule others.
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@contextmanager
def served(methods: Mapping[str, Callable[..., Any]]) -> Iterator[int]:
    """The port of a real server of these methods, which asks for the token."""
    with serving(methods, token=TOKEN) as server:
        yield server.port


class FakeCoordinator:
    """A job as the wire shows it. It refuses every call that no test announced."""

    def __init__(self, name: str = "job") -> None:
        self.name = name
        self.done = 10
        self.stopped: list[tuple[str, int]] = []
        self.most: list[int] = []

    def get_status(self) -> list[Any]:
        """The classic list."""
        clients = [["node2", 7, 4], ["node1", 9, 6]]
        pending = [[10, "node1", 9, 1795248231.93], ["a\nb", "node2", 7, 1795248232.0]]
        logs = {"/tmp/job_1.log": ["node2", 7, 1], "/tmp/job_0.log": ["node1", False, 0]}
        return [self.name, f"/home/bob/{self.name}.log", 12, self.done, 1, clients, pending, logs]

    def stop_client(self, host: str, pid: int) -> bool:
        """Stop one processor."""
        if (host, pid) != ("node1", 9):
            raise StateError(f"No processor {pid} runs on {host}.")
        self.stopped.append((host, pid))
        return True

    def set_max_clients(self, n: int) -> bool:
        """At most so many processors."""
        self.most.append(n)
        return True

    def methods(self) -> dict[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in ("get_status", "stop_client", "set_max_clients")}


@pytest.fixture
def controller(tmp_path: Any) -> Iterator[ResourceController]:
    (tmp_path / "bigcheese.hosts").write_text("node1 2.0\nnode2 maxload=4.0\n")
    made = ResourceController("bigcheese", directory=tmp_path)
    yield made
    made.close()


def methods_of(controller: ResourceController) -> dict[str, Callable[..., Any]]:
    return {name: getattr(controller, name) for name in controller.xmlrpc_methods}


@pytest.fixture
def port(controller: ResourceController) -> Iterator[int]:
    with served(methods_of(controller)) as port:
        paths.keep_token("127.0.0.1", port, TOKEN)
        yield port


@pytest.fixture
def job() -> Iterator[tuple[FakeCoordinator, str]]:
    fake = FakeCoordinator()
    with served(fake.methods()) as port:
        yield fake, f"http://127.0.0.1:{port}"


def register(controller: ResourceController, url: str, name: str = "job", priority: float = 1.0) -> None:
    controller.register_coordinator(name, url, "bob", priority, [], False, 0)


# --- the ResourceController ------------------------------------------------------------------------


def test_a_monitor_shows_the_controller_with_the_manuals_attributes(port: int) -> None:
    m = RCMonitor("127.0.0.1", port)
    assert m.rc_url == f"http://127.0.0.1:{port}"
    assert m.name == "bigcheese"
    assert m.errlog.endswith("bigcheese.log")
    assert m.systemLoad == {"node1": 0.0, "node2": 0.0} or m.systemLoad == {}
    assert sorted(m.hosts) == [["node1", 2.0], ["node2", 4.0]]
    assert m.coordinators == m.rules == m.resources == m.locks == {}


def test_the_manuals_session_changes_the_controller(port: int) -> None:
    m = RCMonitor("127.0.0.1", port)
    m.setrule("hg17", ("/usr/tmp/ucsc_msa/hg17", "gunzip -c /data/human_assembly_HG17/*.fa.gz >%s"))
    m.get_status()
    assert m.rules == {"hg17": ["/usr/tmp/ucsc_msa/hg17", "gunzip -c /data/human_assembly_HG17/*.fa.gz >%s"]}
    m.set_hostinfo("llc22", "maxload", 2.0)
    m.setload("node1", "maxload", 0.0)
    m.load_balance()
    m.get_status()
    assert sorted(m.hosts) == [["llc22", 2.0], ["node1", 0.0], ["node2", 4.0]]
    assert m.get_hostinfo("llc22", "maxload") == 2.0
    assert m.acquire_rule("node2", 77, "hg17") == m.rules["hg17"]
    m.get_status()
    assert m.locks == {"node2:hg17": 77}
    m.delrule("hg17")
    m.get_status()
    assert m.rules == {}


def test_every_method_of_the_controller_can_be_called_through_the_monitor(
    port: int, controller: ResourceController
) -> None:
    m = RCMonitor("127.0.0.1", port)
    for name in controller.xmlrpc_methods:
        assert callable(getattr(m, name))
        assert name in dir(m)


def test_what_the_controller_refuses_is_raised_as_its_own_error(port: int) -> None:
    m = RCMonitor("127.0.0.1", port)
    with pytest.raises(BadRule, match="%s"):
        m.setrule("hg17", ("/tmp/hg17", "no place to write to"))
    with pytest.raises(UnknownHost):
        m.get_hostinfo("nowhere", "maxload")


def test_a_name_that_nobody_has_is_an_attribute_error_that_names_the_near_ones(port: int) -> None:
    m = RCMonitor("127.0.0.1", port)
    with pytest.raises(AttributeError, match="load_balance"):
        m.load_balence  # noqa: B018
    assert not hasattr(m, "_repr_png_")


def test_a_whole_url_may_stand_for_the_host(port: int) -> None:
    assert RCMonitor(f"http://coordinator:{TOKEN}@127.0.0.1:{port}").name == "bigcheese"


# --- tokens and servers that are not there ---------------------------------------------------------


def test_no_token_for_a_server_names_the_token_file() -> None:
    with pytest.raises(NoToken) as caught:
        RCMonitor("127.0.0.1", 5999)
    assert str(paths.token_file()) in str(caught.value)


def test_a_token_in_the_url_is_used_and_never_shown(controller: ResourceController) -> None:
    with served(methods_of(controller)) as port:
        m = RCMonitor(f"http://coordinator:{TOKEN}@127.0.0.1:{port}")
        assert TOKEN not in repr(m) + m.rc_url + m._repr_html_()
        with pytest.raises(NotAuthorised) as caught:
            RCMonitor(f"http://coordinator:{'0' * 64}@127.0.0.1:{port}")
        assert "0" * 64 not in str(caught.value)


def test_a_controller_that_is_not_there_says_what_to_do(controller: ResourceController) -> None:
    with served(methods_of(controller)) as port:
        paths.keep_token("127.0.0.1", port, TOKEN)
        m = RCMonitor("127.0.0.1", port)
    with pytest.raises(ControllerLost, match="coordinator --rc=NAME"):
        RCMonitor("127.0.0.1", port)
    with pytest.raises(ControllerLost):
        m.get_status()
    assert m.name == "bigcheese"


def test_a_controller_that_was_restarted_answers_the_same_monitor(controller: ResourceController) -> None:
    with served(methods_of(controller)) as port:
        paths.keep_token("127.0.0.1", port, TOKEN)
        m = RCMonitor("127.0.0.1", port)
    server = TurnServer(each(methods_of(controller)), token_check(TOKEN), host="127.0.0.1", port=port)
    server.listen()
    loop = asyncio.new_event_loop()
    server.start(loop)
    answered: list[str] = []

    def ask() -> None:
        m.get_status()
        answered.append(m.name)
        loop.call_soon_threadsafe(loop.stop)

    asking = threading.Thread(target=ask)
    asking.start()
    loop.run_forever()
    asking.join(HANG_S)
    close(server, loop)
    assert answered == ["bigcheese"]


# --- jobs ------------------------------------------------------------------------------------------


def test_a_job_is_found_by_its_name_and_has_the_manuals_attributes(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    register(controller, job[1], priority=2.0)
    m = RCMonitor("127.0.0.1", port)
    for name, c in m.coordinators.items():
        assert (name, len(c.client_report)) == ("job", 2)
    c = m.coordinators["job"]
    assert (c.name, c.url, c.priority) == ("job", job[1], 2.0)
    assert isinstance(c.start_time, float)
    assert isinstance(c.ncpu, int)
    assert isinstance(c.allocated_ncpu, int)
    assert (c.errlog, c.n, c.nsuccess, c.nerrors) == ("/home/bob/job.log", 12, 10, 1)
    c.client_report.sort()
    assert c.client_report == [["node1", 9, 6], ["node2", 7, 4]]
    assert c.pending_report[0] == [10, "node1", 9, 1795248231.93]
    assert c.logfile["/tmp/job_1.log"] == ["node2", 7, 1]


def test_get_status_brings_a_job_up_to_date_in_place(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    register(controller, job[1])
    m = RCMonitor("127.0.0.1", port)
    c = m.coordinators["job"]
    report = c.client_report
    job[0].done = 11
    c.get_status()
    assert c.nsuccess == 11
    job[0].done = 12
    m.get_status()
    assert m.coordinators["job"] is c
    assert c.client_report is report
    assert c.nsuccess == 12


def test_every_method_of_a_job_can_be_called_through_its_monitor(job: tuple[FakeCoordinator, str]) -> None:
    c = CoordinatorMonitor(job[1], token=TOKEN)
    assert c.stop_client("node1", 9) is True
    c.set_max_clients(3)
    assert (job[0].stopped, job[0].most) == ([("node1", 9)], [3])
    with pytest.raises(StateError, match="No processor 1 "):
        c.stop_client("node1", 1)
    with pytest.raises(AttributeError):
        c.make_coffee()


def test_a_job_without_a_token_of_its_own_is_asked_with_the_controllers(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    register(controller, job[1])
    assert RCMonitor("127.0.0.1", port).coordinators["job"].nsuccess == 10
    with pytest.raises(NoToken):
        CoordinatorMonitor(job[1])


def test_an_old_token_of_the_jobs_port_in_the_token_file_does_no_harm(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    register(controller, job[1])
    paths.keep_token("127.0.0.1", int(job[1].rpartition(":")[2]), "0" * 64)
    assert RCMonitor("127.0.0.1", port).coordinators["job"].nsuccess == 10


def test_two_jobs_of_one_name_do_not_hide_each_other(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    other = FakeCoordinator()
    with served(other.methods()) as second:
        register(controller, job[1])
        register(controller, f"http://127.0.0.1:{second}")
        m = RCMonitor("127.0.0.1", port)
        assert [c.url for c in m.coordinators.values()] == [job[1], f"http://127.0.0.1:{second}"]
        assert list(m.coordinators) == ["job", "job (2)"]


def test_a_job_that_does_not_answer_is_shown_with_the_reason_and_hides_no_other(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    with served({}) as dead:
        pass
    register(controller, f"http://127.0.0.1:{dead}", name="dead")
    register(controller, job[1])
    m = RCMonitor("127.0.0.1", port)
    assert m.coordinators["job"].nsuccess == 10
    c = m.coordinators["dead"]
    assert len(c.client_report) == 0
    assert "cannot be reached" in c.problem
    assert "cannot be reached" in repr(m.coordinators)
    with pytest.raises(CoordinatorLost):
        c.get_status()


# --- how they print --------------------------------------------------------------------------------


def test_monitors_and_their_attributes_print_as_tables(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    register(controller, job[1])
    m = RCMonitor("127.0.0.1", port)
    c = m.coordinators["job"]
    assert repr(c.client_report).splitlines()[0].split() == ["host", "pid", "done"]
    assert repr(c.pending_report).splitlines()[2].startswith("a\\nb")
    assert "/tmp/job_0.log" in repr(c.logfile)
    assert repr(m.rules) == "(no rules)"
    assert "bigcheese" in repr(m)
    assert "node1" in repr(m)
    for shown in (m, c, m.coordinators, m.hosts, c.client_report, c.logfile):
        assert shown._repr_html_().startswith("<table>")
        assert hasattr(shown, "__rich__")


def test_hosts_print_with_load_memory_state_and_reason_and_compare_as_the_manuals(
    port: int, controller: ResourceController
) -> None:
    note = {"name": "job", "url": "http://127.0.0.1:1", "loads": {"node1": 0.75}, "memory": {"node1": 3_200_000_000}}
    controller.beat_job({**note, "processors": {"node1": 2}, "unreachable": {"node2": "node2: connection refused"}})
    m = RCMonitor("127.0.0.1", port)
    assert sorted(m.hosts) == [["node1", 2.0], ["node2", 4.0]]
    heads, *rows = repr(m.hosts).splitlines()
    assert heads.split() == ["host", "maxload", "load", "memory", "slots", "processors", "state", "reason", "since"]
    assert rows[0].split() == ["node1", "2.0", "0.75", "3.2", "GB", "2", "2", "ok", "-", "-"]
    assert "unreachable" in rows[1]
    assert "node2: connection refused" in rows[1]
    assert "connection refused" in repr(m)


def test_attributes_are_real_lists_and_dictionaries(
    port: int, controller: ResourceController, job: tuple[FakeCoordinator, str]
) -> None:
    register(controller, job[1])
    m = RCMonitor("127.0.0.1", port)
    c = m.coordinators["job"]
    for value, kind in ((m.hosts, list), (m.rules, dict), (c.client_report, list), (c.logfile, dict)):
        assert isinstance(value, kind)
        assert json.loads(json.dumps(value)) == value


def test_html_in_a_jobs_name_is_escaped(port: int, controller: ResourceController) -> None:
    evil = FakeCoordinator("<img src=x>")
    with served(evil.methods()) as second:
        register(controller, f"http://127.0.0.1:{second}", name="<img src=x>")
        m = RCMonitor("127.0.0.1", port)
        assert "<img" not in m._repr_html_() + m.coordinators._repr_html_()
