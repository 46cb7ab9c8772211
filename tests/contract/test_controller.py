"""The ResourceController's contract: one body of tests, against the object and over the wire."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coordinator import paths
from coordinator.controller import ControllerTurns, RunFile, note_text, read_run_file
from coordinator.errors import (
    BadInput,
    BadParameters,
    BadRule,
    BuildFailed,
    HostsFileError,
    NameTaken,
    NoSuchJob,
    NoSuchRule,
    NotAuthorised,
    NotLocked,
    StateError,
    UnknownHost,
    UnknownMethod,
)
from coordinator.resource import ResourceController
from coordinator.wire.client import Connection
from tests.contract.serving import HANG_S, serving

RULE = ["/usr/tmp/ucsc_msa/hg17", "gunzip -c /data/yxing/databases/ucsc_msa/human_assembly_HG17/*.fa.gz\n   >%s"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """Whoever talks to the ResourceController. ``note`` never waits: what has no answer yet gives the late answer."""

    def __init__(self, controller: ResourceController, clock: Clock) -> None:
        self.controller = controller
        self.clock = clock

    def call(self, method: str, *params: Any) -> Any:
        return getattr(self.controller, method)(*params)

    def note(self, method: str, **note: Any) -> Any:
        answer = getattr(self.controller, method)(note)
        return self.controller.again(method, note, self.clock(), late=True) if answer is None else answer

    def passes(self, seconds: float) -> None:
        """Time passes, in ticks as the loop makes them."""
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            self.controller.tick()

    # What the tests say again and again.

    def beat(self, name: str = "A", **more: Any) -> Any:
        return self.note("beat_job", name=name, url=f"http://x:8888/{name}", **more)

    def ask(self, pid: int, name: str = "hg17", host: str = "node1", **more: Any) -> Any:
        return self.note("await_resource", host=host, pid=pid, name=name, **more)

    def settle(self, pid: int, lock: int, error: str = "", name: str = "hg17", host: str = "node1") -> Any:
        told = {
            "host": host,
            "pid": pid,
            "name": name,
            "lock": lock,
            "built": not error,
            "error": error,
            "size_bytes": 7,
        }
        return self.note("settle_rule", **told)

    def farm(self) -> Any:
        return self.call("get_farm")


class WirePeer(Peer):
    """The same by XML-RPC; time passes on the server's thread."""

    def __init__(self, controller: ResourceController, clock: Clock, url: str, on_loop: Any) -> None:
        super().__init__(controller, clock)
        self.connection = Connection(url, timeout_s=HANG_S)
        self.on_loop = on_loop

    def call(self, method: str, *params: Any) -> Any:
        return self.connection.call(method, *params)

    def note(self, method: str, **note: Any) -> Any:
        return json.loads(self.connection.note(method, note_text(note)))

    def passes(self, seconds: float) -> None:
        self.on_loop(lambda: Peer.passes(self, seconds))


@contextlib.contextmanager
def running(kind: str, directory: Path, clock: Clock, **options: Any) -> Iterator[Peer]:
    controller = ResourceController("bigcheese", directory=directory, clock=clock, **options)
    try:
        if kind == "object":
            yield Peer(controller, clock)
            return
        with serving(turn=ControllerTurns(controller).turn) as served:
            peer = WirePeer(controller, clock, served.url, served.on_loop)
            yield peer
            peer.connection.close()
    finally:
        controller.close()


@pytest.fixture(params=["object", "wire"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def peer(kind: str, tmp_path: Path, clock: Clock) -> Iterator[Peer]:
    (tmp_path / "bigcheese.hosts").write_text("node1 2.0\nnode2 maxload=4.0,sshopts=-p 2222\n")
    with running(kind, tmp_path, clock) as made:
        yield made


# --- hosts and shares ---


def test_a_job_that_beats_gets_slots_with_the_options_of_their_hosts(peer: Peer) -> None:
    answer = peer.beat(user="bob", wants=6)
    assert answer["slots"] == {"node1": 2, "node2": 4}
    assert answer["hosts"] == {"node1": {"maxload": 2.0}, "node2": {"maxload": 4.0, "sshopts": "-p 2222"}}
    assert answer["queued"] is None
    assert peer.beat(seen=answer["version"], processors=answer["slots"])["version"] == answer["version"]


def test_get_status_has_the_shape_of_the_manual(peer: Peer, tmp_path: Path) -> None:
    peer.call("register_coordinator", "mapclusters3", "http://x:8888", "leec", 1.0, ["hg17"], False, 0)
    peer.call("register_processor", "node1", 77, "http://x:8888")
    peer.call("report_load", "node2", 77, 0.25)
    peer.call("setrule", "hg17", RULE)
    assert peer.call("acquire_rule", "node1", 77, "hg17") == RULE
    name, errlog, load, hosts, jobs, rules, resources, locks = peer.call("get_status")
    assert (name, errlog) == ("bigcheese", str(tmp_path / "bigcheese.log"))
    assert load == {"node1": 1.0, "node2": 0.25}
    assert hosts == [["node1", 2.0], ["node2", 4.0]]
    assert [job[:5] for job in jobs] == [["mapclusters3", "http://x:8888", 1.0, 6, 1]]
    assert jobs[0][5] == pytest.approx(peer.controller.wall(), abs=3600)
    assert (rules, resources, locks) == ({"hg17": RULE}, {}, {"node1:hg17": 77})


def test_a_classic_coordinator_asks_where_it_may_start_processors(peer: Peer) -> None:
    peer.call("register_coordinator", "old", "http://x:1", "bob", 1.0, [], False, 3)
    wanted = peer.call("request_cpus", "old", "http://x:1")
    assert len(wanted) == 3
    assert peer.call("register_processor", wanted[0], 5, "http://x:1") is True
    assert len(peer.call("request_cpus", "old", "http://x:1")) == 2
    assert peer.call("unregister_processor", wanted[0], 5, "http://x:1") is True
    assert len(peer.call("request_cpus", "old", "http://x:1")) == 3
    assert peer.call("unregister_coordinator", "old", "http://x:1", "Done") is True
    with pytest.raises(NoSuchJob):
        peer.call("request_cpus", "old", "http://x:1")
    with pytest.raises(NoSuchJob):
        peer.call("register_processor", "node1", 5, "http://x:1")


def test_the_same_name_and_url_again_changes_priority_and_demand(peer: Peer) -> None:
    for priority, demand in ((1.0, 0), (2.5, 4)):
        peer.call("register_coordinator", "old", "http://x:1", "bob", priority, [], False, demand)
    (job,) = peer.farm()["jobs"]
    assert (job["priority"], job["demand_ncpu"], job["slots"]) == (2.5, 4, 4)
    peer.beat("new", priority=1.0)
    peer.call("register_coordinator", "new", "http://x:8888/new", "ann", 7.0, [], True, 0)
    assert peer.farm()["jobs"][1]["priority"] == 7.0
    peer.beat("new", priority=1.0)
    assert peer.farm()["jobs"][1]["priority"] == 7.0


def test_a_queued_job_is_told_why_and_moves_up_when_the_first_one_ends(peer: Peer) -> None:
    peer.beat("A")
    queued = peer.beat("B")
    assert queued["slots"] == {}
    assert queued["queued"].startswith("queued behind 'A'")
    assert [job["state"] for job in peer.farm()["jobs"]] == ["running", "queued"]
    peer.call("unregister_coordinator", "A", "http://x:8888/A", "Done")
    assert peer.beat("B", seen=queued["version"])["slots"] == {"node1": 2, "node2": 4}


def test_a_silent_job_is_lost_and_then_out_of_the_queue(peer: Peer) -> None:
    peer.beat("A")
    peer.passes(20)
    peer.beat("B")
    assert [job["state"] for job in peer.farm()["jobs"]] == ["lost", "queued"]
    peer.passes(15)
    peer.beat("B")
    assert [(job["name"], job["state"]) for job in peer.farm()["jobs"]] == [("B", "running")]


def test_report_load_says_go_on_or_overloaded_and_never_false_for_an_error(peer: Peer) -> None:
    assert peer.call("report_load", "node1", 1, 2.6) is True
    assert peer.call("report_load", "node1", 1, 2.7) is False
    with pytest.raises(UnknownHost):
        peer.call("report_load", "node9", 1, 0.0)
    for load in ("high", -1.0, True):
        with pytest.raises(BadInput):
            peer.call("report_load", "node1", 1, load)


def test_maxload_is_set_by_call_and_new_hosts_are_added(peer: Peer) -> None:
    before = peer.beat()
    assert peer.call("set_hostinfo", "llc22", "maxload", 2.0) is True
    assert peer.call("get_hostinfo", "llc22", "maxload") == 2.0
    after = peer.beat(seen=before["version"])
    assert after["slots"] == {"node1": 2, "node2": 4, "llc22": 2}
    assert peer.call("setload", "node2", "maxload", 0.0) is True
    assert peer.beat(seen=after["version"])["slots"] == {"node1": 2, "llc22": 2}
    assert peer.call("get_hostinfo", "node2", "sshopts") == "-p 2222"
    with pytest.raises(UnknownHost):
        peer.call("get_hostinfo", "node9", "maxload")
    with pytest.raises(BadInput):
        peer.call("get_hostinfo", "node1", "sshopts")


@pytest.mark.parametrize(
    ("host", "attr", "val"),
    [
        ("node1", "sshopts", "x; touch /tmp/hole #"),
        ("node1", "sshopts", "-oProxyCommand=touch /tmp/hole"),
        ("node1", "python", "/bin/sh"),
        ("node1", "__class__", 1.0),
        ("node1", "maxload", "two"),
        ("node1", "maxload", -1.0),
        ("node1", "maxload", [2.0]),
        ("-oProxyCommand=x", "maxload", 1.0),
        ("x; touch /tmp/hole #", "maxload", 1.0),
        ("x\ny", "maxload", 1.0),
        (["node1"], "maxload", 1.0),
    ],
)
@pytest.mark.parametrize("method", ["set_hostinfo", "setload"])
def test_no_option_and_no_strange_host_comes_in_by_a_call(
    peer: Peer, method: str, host: Any, attr: str, val: Any
) -> None:
    before = peer.call("get_status")
    with pytest.raises(BadInput) as caught:
        peer.call(method, host, attr, val)
    if attr != "maxload":
        assert "bigcheese.hosts only" in str(caught.value)
    assert peer.call("get_status")[3] == before[3]


def test_throttle_load_balance_and_retry_answer_true(peer: Peer) -> None:
    assert peer.call("setthrottle", 0.5) is True
    assert sum(peer.beat()["slots"].values()) == 3
    assert peer.call("load_balance") is True
    assert peer.call("retry_unused_hosts") is True
    with pytest.raises(BadInput):
        peer.call("setthrottle", -1)


def test_an_unreachable_host_is_shown_with_its_reason_and_not_given(peer: Peer) -> None:
    answer = peer.beat(unreachable={"node2": "connection refused"})
    assert answer["slots"] == {"node1": 2}
    host = peer.farm()["hosts"]["node2"]
    assert (host["state"], host["reason"]) == ("unreachable", "connection refused")
    assert host["since"] is not None
    retry = answer["retry"]
    peer.call("retry_unused_hosts")
    assert peer.beat(unreachable={"node2": "connection refused"})["retry"] > retry
    assert peer.beat()["slots"] == {"node1": 2, "node2": 4}
    assert peer.farm()["hosts"]["node2"]["state"] == "ok"


def test_a_host_that_one_job_cannot_use_and_another_does_tells_so(peer: Peer) -> None:
    peer.beat(processors={"node2": 1})
    peer.beat("B", unreachable={"node2": "no such script"})
    host = peer.farm()["hosts"]["node2"]
    assert (host["state"], host["reason"]) == ("ok", "job 'B' cannot use it: no such script")
    assert host["since"] is not None


def test_a_host_that_rests_is_shown_with_the_reason_alone(peer: Peer) -> None:
    peer.beat(unreachable={"node2": "resting: all fails there"})
    host = peer.farm()["hosts"]["node2"]
    assert (host["state"], host["reason"]) == ("resting", "all fails there")


def test_load_of_other_people_is_a_reason_of_the_host(peer: Peer) -> None:
    peer.beat(loads={"node1": 9.0}, memory={"node1": 1 << 40})
    assert peer.farm()["hosts"]["node1"] == {
        "maxload": 2.0,
        "load": 9.0,
        "memory_available_bytes": 1 << 40,
        "slots": 0,
        "processors": 0,
        "state": "ok",
        "reason": "other work on it leaves 0 of 2 slots (load 9.00)",
        "since": None,
        "options": {},
    }


def test_an_edited_hosts_file_is_taken_up_and_a_bad_edit_is_shown(peer: Peer, tmp_path: Path) -> None:
    answer = peer.beat()
    (tmp_path / "bigcheese.hosts").write_text("node1 2.0\nnode3 8\n")
    peer.passes(1)
    answer = peer.beat(seen=answer["version"])
    assert answer["slots"] == {"node1": 2, "node3": 8}
    (tmp_path / "bigcheese.hosts").write_text("node1 two\n")
    peer.passes(1)
    assert peer.farm()["hosts_error"].startswith("bigcheese.hosts:1: ")
    assert set(peer.farm()["hosts"]) == {"node1", "node3"}
    (tmp_path / "bigcheese.hosts").write_text("node1 1\n")
    peer.passes(1)
    assert peer.farm()["hosts_error"] is None
    assert peer.beat(seen=answer["version"])["slots"] == {"node1": 1}


def test_a_wrong_beat_is_a_fault_and_changes_nothing(peer: Peer) -> None:
    with pytest.raises(BadParameters, match="priority"):
        peer.beat(priority="high")
    assert peer.farm()["jobs"] == []


# --- resources ---


def test_one_builds_others_wait_and_then_have_the_file(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    build = peer.ask(1)
    assert build == {"state": "build", "path": RULE[0], "command": RULE[1], "lock": build["lock"], "rebuild": False}
    assert peer.ask(1) == build
    assert peer.ask(2) == {"state": "wait"}
    assert peer.farm()["locks"] == {"node1:hg17": 1}
    assert peer.settle(1, build["lock"]) == {"path": RULE[0]}
    assert peer.ask(2) == {"state": "file", "path": RULE[0]}
    assert peer.farm()["resources"] == {"node1:hg17": RULE[0]}
    assert peer.call("get_resource", "node1", 3, "hg17") == RULE[0]
    assert peer.ask(2, gone=True)["state"] == "build"


def test_the_lock_of_a_processor_that_is_gone_is_free(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    first = peer.ask(1)
    peer.beat(gone=[["node1", 1]])
    second = peer.ask(2)
    assert second["lock"] > first["lock"]
    with pytest.raises(NotLocked):
        peer.settle(1, first["lock"])


def test_the_locks_of_a_job_that_is_gone_are_free(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    peer.beat("A", run="run7")
    peer.ask(1, job="run7")
    peer.call("unregister_coordinator", "A", "http://x:8888/A", "stopped")
    assert peer.ask(2)["state"] == "build"


def test_the_locks_of_classic_processors_go_with_their_job(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    peer.call("register_coordinator", "old", "http://x:1", "bob", 1.0, [], False, 0)
    peer.call("register_processor", "node1", 5, "http://x:1")
    assert peer.call("acquire_rule", "node1", 5, "hg17") == RULE
    peer.call("unregister_coordinator", "old", "http://x:1", "Done")
    assert peer.ask(2)["state"] == "build"


def test_a_failed_rule_tells_its_stderr_and_rests(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    peer.settle(1, peer.ask(1)["lock"], "exit status 1: gunzip: <no> such & file")
    assert peer.ask(2) == {"state": "failed", "reason": "exit status 1: gunzip: <no> such & file"}
    assert peer.farm()["failed_builds"] == {"node1:hg17": "exit status 1: gunzip: <no> such & file"}
    with pytest.raises(BuildFailed):
        peer.call("acquire_rule", "node1", 2, "hg17")
    peer.call("retry_unused_hosts")
    assert peer.ask(2)["state"] == "build"


def test_a_host_where_a_rule_fails_rests_for_the_jobs_that_declare_its_resource(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)

    def slots(name: str, **more: Any) -> Any:
        return peer.beat(name, immediate=True, **more)["slots"]

    slots("A", resources=["hg17"])
    slots("B")
    peer.settle(1, peer.ask(1)["lock"], "gunzip: no space left")
    assert slots("A", resources=["hg17"]).keys() == {"node2"}
    assert slots("B")["node1"] == 2
    assert slots("C", resources=["hg17", "more"]).keys() == {"node2"}, "a job that comes now is spared it too"
    host = peer.farm()["hosts"]["node1"]
    assert host["reason"] == "the resource 'hg17' could not be built there: gunzip: no space left"
    # Where it fails everywhere it is no host's fault, and the job is to meet it and to tell.
    peer.settle(2, peer.ask(2, host="node2")["lock"], "gunzip: no space left", host="node2")
    assert set(slots("A", resources=["hg17"])) | set(slots("C", resources=["hg17"])) == {"node1", "node2"}
    for name in "BC":
        peer.call("unregister_coordinator", name, f"http://x:8888/{name}", "done")
    peer.passes(12)
    assert slots("A", resources=["hg17"]) == {"node1": 2, "node2": 4}, "the rest is over"
    peer.settle(3, peer.ask(3)["lock"], "again")
    assert slots("A", resources=["hg17"]) == {"node2": 4}
    peer.call("retry_unused_hosts")
    peer.passes(1)
    assert slots("A", resources=["hg17"]) == {"node1": 2, "node2": 4}


def test_what_is_built_is_shown_with_size_and_time_and_both_survive_a_restart(
    kind: str, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "bigcheese.hosts").write_text("node1 2.0\n")
    shown = {"host": "node1", "resource": "hg17", "path": RULE[0], "size_bytes": 7}
    with running(kind, tmp_path, clock) as peer:
        peer.call("setrule", "hg17", RULE)
        peer.settle(1, peer.ask(1)["lock"])
        [built] = peer.farm()["built"]
        assert {**built, "since": 0} == {**shown, "since": 0}
        assert built["since"] == pytest.approx(peer.controller.wall(), abs=3600)
        peer.call("acquire_rule", "node2", 5, "hg17")
        peer.call("release_rule", "node2", 5, "hg17")
        assert [one["size_bytes"] for one in peer.farm()["built"]] == [7, None], "a classic builder tells no size"
    with running(kind, tmp_path, clock) as peer:
        assert peer.farm()["built"][0] == built
        peer.call("setrule", "hg17", [RULE[0], "another %s"])
        assert peer.farm()["built"] == []


def test_an_unknown_rule_is_an_error(peer: Peer) -> None:
    with pytest.raises(NoSuchRule):
        peer.ask(1, "mm5")
    with pytest.raises(NoSuchRule):
        peer.call("acquire_rule", "node1", 1, "mm5")
    peer.call("setrule", "hg17", RULE)
    assert peer.note("missing_resources", names=["hg17", "mm5"]) == {"missing": ["mm5"]}


def test_classic_processors_build_and_release(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    assert peer.call("get_resource", "node1", 1, "hg17") is False
    assert peer.call("acquire_rule", "node1", 1, "hg17") == RULE
    assert peer.call("get_resource", "node1", 2, "hg17") is True
    assert peer.call("acquire_rule", "node1", 2, "hg17") is True
    assert peer.call("release_rule", "node1", 1, "hg17") is True
    assert peer.call("get_resource", "node1", 2, "hg17") == RULE[0]
    with pytest.raises(NotLocked):
        peer.call("release_rule", "node1", 1, "hg17")


def test_a_lock_can_be_freed_by_hand(peer: Peer) -> None:
    peer.call("setrule", "hg17", RULE)
    peer.ask(1)
    assert peer.call("del_lock", "node1", "hg17") is True
    with pytest.raises(NotLocked):
        peer.call("del_lock", "node1", "hg17")
    assert peer.ask(2)["state"] == "build"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("x", ["/x", "cp y"]),
        ("x", ["/x", "\n"]),
        ("x", ["x", "cp y %s"]),
        ("x", "cp y %s"),
        ("x\n", RULE),
        ("a:b", RULE),
        (3, RULE),
    ],
)
def test_a_bad_rule_is_refused(peer: Peer, name: Any, rule: Any) -> None:
    with pytest.raises(BadRule):
        peer.call("setrule", name, rule)
    assert peer.farm()["rules"] == {}


def test_rules_and_resources_survive_a_restart_and_locks_do_not(kind: str, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "bigcheese.hosts").write_text("node1 2.0\n")
    with running(kind, tmp_path, clock) as peer:
        peer.call("setrule", "hg17", RULE)
        peer.call("setrule", "mm5", ["/mm5", "cp x %s"])
        peer.call("setrule", "gone", ["/gone", "cp x %s"])
        peer.call("delrule", "gone")
        peer.settle(1, peer.ask(1)["lock"])
        unfinished = peer.ask(1, "mm5")["lock"]
        version = peer.beat()["version"]
    with running(kind, tmp_path, clock) as peer:
        assert peer.farm()["rules"] == {"hg17": RULE, "mm5": ["/mm5", "cp x %s"]}
        assert peer.farm()["resources"] == {"node1:hg17": RULE[0]}
        assert peer.farm()["locks"] == {}
        # The builder of the life before hands in: its file is there all the same.
        assert peer.settle(1, unfinished, name="mm5") == {"path": "/mm5"}
        assert peer.ask(2, "mm5") == {"state": "file", "path": "/mm5"}
        # A Coordinator that knows the answers of the life before is told the new one.
        assert peer.beat(seen=version)["version"] > version
        peer.call("setrule", "hg17", ["/elsewhere", RULE[1]])
    with running(kind, tmp_path, clock) as peer:
        assert peer.farm()["resources"] == {"node1:mm5": "/mm5"}


def test_every_method_is_known_to_introspection_and_no_other_is_served(peer: Peer) -> None:
    if isinstance(peer, WirePeer):
        listed = peer.call("system.listMethods")
        assert set(peer.controller.xmlrpc_methods) <= set(listed)
        assert not {"tick", "close", "again", "farm"} & set(listed)
        for method in ("tick", "close", "again", "__init__", "beat_job.__class__", "system.multicall"):
            with pytest.raises(UnknownMethod):
                peer.call(method)
    for method in peer.controller.xmlrpc_methods:
        assert getattr(peer.controller, method).__doc__


def test_a_controller_without_a_server_ends_with_its_job(peer: Peer) -> None:
    with pytest.raises(StateError):
        peer.call("stop")


# --- embedded ---


def test_an_embedded_controller_needs_no_file_and_makes_none_until_a_rule_is_set(tmp_path: Path, clock: Clock) -> None:
    with running("object", tmp_path, clock, hosts={"localhost": 3}) as peer:
        # Somebody asked for three slots: they are three whatever else the machine does.
        assert peer.beat(loads={"localhost": 99.0})["slots"] == {"localhost": 3}
        peer.passes(3)
        assert list(tmp_path.iterdir()) == []
        peer.call("setrule", "hg17", RULE)
        assert (tmp_path / "bigcheese.rules").exists()
    with running("object", tmp_path, clock, hosts={"localhost": 3}) as peer:
        assert peer.ask(1)["state"] == "build"


def test_a_missing_or_bad_hosts_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(HostsFileError, match=r"bigcheese\.hosts: there is no such file"):
        ResourceController("bigcheese", directory=tmp_path)
    (tmp_path / "bigcheese.hosts").write_text("ok 1\n" + "\n" * 5 + "node1 two\n")
    with pytest.raises(HostsFileError, match=r"^bigcheese\.hosts:7: maxload must be a number"):
        ResourceController("bigcheese", directory=tmp_path)


# --- only over the wire ---


@pytest.fixture
def wired(tmp_path: Path, clock: Clock) -> Iterator[tuple[Any, ControllerTurns, Clock]]:
    controller = ResourceController("bigcheese", directory=tmp_path, clock=clock, hosts={"node1": 2})
    turns = ControllerTurns(controller)
    with serving(turn=turns.turn) as served:
        yield served, turns, clock
    controller.close()


def note_of(served: Any, method: str, **note: Any) -> Any:
    connection = Connection(served.url, timeout_s=HANG_S)
    try:
        return json.loads(connection.note(method, note_text(note)))
    finally:
        connection.close()


def wait_until_parked(served: Any, turns: ControllerTurns, count: int) -> None:
    event = threading.Event()

    def look() -> None:
        if len(turns._parked) >= count:
            event.set()
        else:
            served.loop.call_later(0.005, look)

    served.loop.call_soon_threadsafe(look)
    assert event.wait(HANG_S)


def test_those_who_wait_are_woken_by_the_builder(wired: Any) -> None:
    served, turns, _ = wired
    with xmlrpc.client.ServerProxy(served.url) as standard:
        assert standard.setrule("hg17", RULE) is True
    lock = note_of(served, "await_resource", host="node1", pid=1, name="hg17", wait_s=20)["lock"]
    with ThreadPoolExecutor(8) as pool:
        waiting = [
            pool.submit(note_of, served, "await_resource", host="node1", pid=pid, name="hg17", wait_s=20)
            for pid in range(2, 10)
        ]
        wait_until_parked(served, turns, 8)
        note_of(served, "settle_rule", host="node1", pid=1, name="hg17", lock=lock, built=True, error="", size_bytes=1)
        assert [one.result(HANG_S) for one in waiting] == [{"state": "file", "path": RULE[0]}] * 8


def test_when_the_builder_dies_one_of_those_who_wait_builds_and_never_a_dead_one(wired: Any) -> None:
    served, turns, _ = wired
    served.on_loop(lambda: turns.controller.setrule("hg17", RULE))
    note_of(served, "await_resource", host="node1", pid=1, name="hg17")
    with ThreadPoolExecutor(3) as pool:
        waiting = {}
        for pid in (2, 3, 4):
            waiting[pid] = pool.submit(note_of, served, "await_resource", host="node1", pid=pid, name="hg17", wait_s=20)
            wait_until_parked(served, turns, pid - 1)
        note_of(served, "beat_job", name="A", url="http://x", gone=[["node1", 2], ["node1", 1]])
        with pytest.raises(StateError, match="has ended"):
            waiting[2].result(HANG_S)
        assert waiting[3].result(HANG_S)["state"] == "build"
        note_of(served, "beat_job", name="A", url="http://x", gone=[["node1", 3]])
        assert waiting[4].result(HANG_S)["state"] == "build"


def test_a_beat_waits_until_its_answer_changes_or_its_time_is_over(wired: Any) -> None:
    served, turns, clock = wired
    first = note_of(served, "beat_job", name="A", url="http://x")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(note_of, served, "beat_job", name="A", url="http://x", seen=first["version"], wait_s=9)
        wait_until_parked(served, turns, 1)
        note_of(served, "beat_job", name="B", url="http://y", immediate=True)
        second = waiting.result(HANG_S)
        assert second["slots"] == {"node1": 1}
        waiting = pool.submit(note_of, served, "beat_job", name="A", url="http://x", seen=second["version"], wait_s=9)
        wait_until_parked(served, turns, 1)

        def nine_seconds() -> None:
            for _ in range(9):
                clock.now += 1
                turns.tick()

        served.on_loop(nine_seconds)
        assert waiting.result(HANG_S) == second


def edited(turns: ControllerTurns, clock: Clock) -> None:
    """NAME.hosts is edited, and a second passes."""
    path = Path(turns.controller.directory, "bigcheese.hosts")
    path.write_text("node1 maxload=5\nnode2 maxload=2\n")
    clock.now += 1
    turns.tick()


#: what happens -> what A has then, where A shares two hosts of two slots with B, and C waits
EVENTS: dict[str, tuple[Any, dict[str, int]]] = {
    "a job ends": (("unregister_coordinator", "B", "http://B", "done"), {"node1": 2, "node2": 2}),
    "set_hostinfo": (("set_hostinfo", "node2", "maxload", 6.0), {"node1": 1, "node2": 3}),
    "setload": (("setload", "node1", "maxload", 0.0), {"node2": 1}),
    "a new host": (("set_hostinfo", "node3", "maxload", 2.0), {"node1": 1, "node2": 1, "node3": 1}),
    "setthrottle": (("setthrottle", 0.5), {"node2": 1}),
    "other work": (("report_load", "node1", 1, 4.0), {"node2": 1}),
    "a job of higher priority": (("register_coordinator", "B", "http://B", "", 3.0, [], True, 0), {"node2": 1}),
    "a job that demands": (("register_coordinator", "D", "http://D", "", 1.0, [], False, 2), {"node2": 1}),
    "an edited hosts file": (edited, {"node1": 3, "node2": 1}),
}


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_shares_anew_at_once_and_who_waits_is_told(event: str, tmp_path: Path, clock: Clock) -> None:
    """No time passes but the second in which an edited file is seen: nothing here waits for a timer."""
    happens, after = EVENTS[event]
    (tmp_path / "bigcheese.hosts").write_text("node1 2.0\nnode2 2.0\n")
    turns = ControllerTurns(ResourceController("bigcheese", directory=tmp_path, clock=clock))
    told = {"name": "A", "url": "http://A", "immediate": True}
    with contextlib.closing(turns.controller), serving(turn=turns.turn) as served, ThreadPoolExecutor(1) as pool:
        note_of(served, "beat_job", **told)
        note_of(served, "beat_job", name="B", url="http://B", immediate=True)
        note_of(served, "beat_job", name="C", url="http://C")
        first = note_of(served, "beat_job", **told, processors={"node1": 1, "node2": 1})
        assert first["slots"] == {"node1": 1, "node2": 1}
        waiting = pool.submit(note_of, served, "beat_job", **told, seen=first["version"], wait_s=9)
        wait_until_parked(served, turns, 1)
        if callable(happens):
            served.on_loop(lambda: happens(turns, clock))
        else:
            with xmlrpc.client.ServerProxy(served.url) as standard:
                getattr(standard, happens[0])(*happens[1:])
        assert waiting.result(HANG_S)["slots"] == after


def test_a_server_that_slept_drops_no_job(wired: Any) -> None:
    served, turns, clock = wired
    note_of(served, "beat_job", name="A", url="http://x")

    def sleep() -> None:
        clock.now += 3600
        turns.tick()

    served.on_loop(sleep)
    assert list(turns.controller.farm.jobs) == ["http://x"]


@pytest.mark.parametrize("params", [(), ("{}", "{}"), ({},), ("[]",), ("{",), ("[" * 100_000,), ("3",), (3,)])
def test_a_broken_note_is_a_fault(wired: Any, params: tuple[Any, ...]) -> None:
    served, _, _ = wired
    connection = Connection(served.url, timeout_s=HANG_S)
    with pytest.raises(BadParameters):
        connection.call("await_resource", *params)
    connection.close()


def test_each_directive_is_logged_with_its_author(wired: Any, caplog: pytest.LogCaptureFixture) -> None:
    served, _, _ = wired
    with caplog.at_level("INFO", "coordinator.resource"), xmlrpc.client.ServerProxy(served.url) as standard:
        standard.setthrottle(0.5)
    (line,) = [record.getMessage() for record in caplog.records if "setthrottle" in record.getMessage()]
    assert line.startswith("setthrottle 0.5 by=owner@127.0.0.1")


# --- as a process ---

SERVER = """
import json, sys
from coordinator.controller import serve_controller
def announce(**told):
    print(json.dumps(told), flush=True)
try:
    serve_controller(json.loads(sys.argv[1]), announce)
except Exception as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
    sys.exit(1)
"""


@contextlib.contextmanager
def process(directory: Path, **options: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    words = json.dumps({"rc": "bigcheese", "port": 0, "host": "127.0.0.1", **options})
    started = subprocess.Popen(
        [sys.executable, "-P", "-c", SERVER, words], stdout=subprocess.PIPE, text=True, cwd=directory
    )
    try:
        assert started.stdout is not None
        yield started, json.loads(started.stdout.readline())
    finally:
        started.kill()
        started.communicate()


def test_a_process_serves_asks_for_its_token_and_leaves_its_jobs_alone(tmp_path: Path) -> None:
    (tmp_path / "bigcheese.hosts").write_text("localhost 2\n")
    with process(tmp_path) as (server, told):
        token = paths.find_token("127.0.0.1", told["port"])
        assert token is not None
        with pytest.raises(NotAuthorised):
            Connection(told["url"], token="wrong").call("get_status")
        client = Connection(told["url"], token=token)
        note = {"name": "A", "url": "http://x", "pid": server.pid, "host": "localhost"}
        assert json.loads(client.note("beat_job", note_text(note)))["slots"] == {"localhost": 2}
        run = read_run_file(str(tmp_path), "bigcheese")
        assert run is not None
        assert (run["pid"], run["url"], run["name"]) == (server.pid, told["url"], "bigcheese")
        assert (tmp_path / "bigcheese.rc.json").stat().st_mode & 0o777 == 0o600
        assert client.call("stop") is True
        assert server.wait(HANG_S) == 0
        client.close()
    assert read_run_file(str(tmp_path), "bigcheese") is None
    log = (tmp_path / "bigcheese.log").read_text()
    assert "register_coordinator A" in log
    assert "its jobs go on" in log
    assert (tmp_path / "bigcheese.log").stat().st_mode & 0o777 == 0o600


def test_sigterm_ends_it_cleanly_and_kill_9_hinders_no_restart(tmp_path: Path) -> None:
    (tmp_path / "bigcheese.hosts").write_text("localhost 2\n")
    with process(tmp_path) as (server, told):
        token = paths.find_token("127.0.0.1", told["port"])
        client = Connection(told["url"], token=token)
        client.call("setrule", "hg17", RULE)
        client.close()
        server.send_signal(signal.SIGKILL)
        assert server.wait(HANG_S) == -signal.SIGKILL
    assert read_run_file(str(tmp_path), "bigcheese") is not None
    with process(tmp_path, port=told["port"]) as (server, again):
        # The same port has the same token, and the rules are there.
        assert paths.find_token("127.0.0.1", told["port"]) == token
        client = Connection(again["url"], token=token)
        assert client.call("get_farm")["rules"] == {"hg17": RULE}
        client.close()
        server.send_signal(signal.SIGTERM)
        assert server.wait(HANG_S) == 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_people_changed_by_call_survives_its_end_and_is_dropped_by_stop(
    tmp_path: Path, end: signal.Signals
) -> None:
    hosts = tmp_path / "bigcheese.hosts"
    hosts.write_text("localhost 2\nnode1 2\nnode2 2\n")

    def called(told: dict[str, Any], *calls: tuple[Any, ...]) -> dict[str, Any]:
        client = Connection(told["url"], token=paths.find_token("127.0.0.1", told["port"]))
        for method, *params in calls:
            assert client.call(method, *params) is True
        farm: dict[str, Any] = client.call("get_farm")
        client.close()
        return farm

    def maxloads(farm: dict[str, Any]) -> dict[str, float]:
        return {name: host["maxload"] for name, host in farm["hosts"].items()}

    with process(tmp_path) as (server, told):
        called(told, ("set_hostinfo", "node1", "maxload", 5.0), ("setload", "node2", "maxload", 0.0))
        called(told, ("set_hostinfo", "llc22", "maxload", 2.0), ("setthrottle", 0.5))
        server.send_signal(end)
        server.wait(HANG_S)
    hosts.write_text("localhost 2\nnode1 3\nnode2 2\n")
    with process(tmp_path, port=told["port"]) as (server, told):
        farm = called(told)
        assert maxloads(farm) == {"localhost": 2.0, "node1": 3.0, "node2": 0.0, "llc22": 2.0}
        assert farm["throttle"] == 0.5
        assert hosts.read_text() == "localhost 2\nnode1 3\nnode2 2\n"
        client = Connection(told["url"], token=paths.find_token("127.0.0.1", told["port"]))
        assert client.call("stop") is True
        client.close()
        assert server.wait(HANG_S) == 0
    assert not (tmp_path / "bigcheese.changes").exists()
    with process(tmp_path, port=told["port"]) as (server, told):
        farm = called(told)
        assert maxloads(farm) == {"localhost": 2.0, "node1": 3.0, "node2": 2.0}
        assert farm["throttle"] == 1.0


def test_what_prevents_a_start_is_told_before_the_announcement(tmp_path: Path) -> None:
    (tmp_path / "bigcheese.hosts").write_text("# a\n# b\n# c\n# d\n# e\n# f\nlocalhost two\n")
    with process(tmp_path) as (_, told):
        assert told["error"].startswith("HostsFileError: bigcheese.hosts:7: ")
    (tmp_path / "bigcheese.hosts").write_text("localhost 2\n")
    with process(tmp_path) as (_, first):
        (tmp_path / "other.hosts").write_text("localhost 2\n")
        with process(tmp_path, rc="other", port=first["port"]) as (_, told):
            assert told["error"].startswith(f"PortTaken: Port {first['port']} is in use")
        with process(tmp_path) as (_, told):
            assert told["error"].startswith("NameTaken: a ResourceController of this name already runs")
            assert f"pid {first['pid']}" in told["error"]
    with process(tmp_path, rc="a/b") as (_, told):
        assert told["error"].startswith("BadName")
    assert not (tmp_path / "other.rc.json").exists()


def test_a_run_file_is_one_processs_own(tmp_path: Path) -> None:
    first = RunFile(str(tmp_path), "bigcheese")
    first.write({"pid": os.getpid(), "url": "http://x:5000"})
    with pytest.raises(NameTaken, match=f"pid {os.getpid()}"):
        RunFile(str(tmp_path), "bigcheese")
    first.remove()
    RunFile(str(tmp_path), "bigcheese").remove()
