"""More than one user at a ResourceController: tokens of their own, jobs of their own, rules of their own."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator import paths
from coordinator.controller import ControllerTurns, authorise_users, note_text
from coordinator.errors import (
    BadInput,
    BuildFailed,
    NoSuchRule,
    NotAuthorised,
    StateError,
)
from coordinator.monitor import CoordinatorMonitor, RCMonitor
from coordinator.resource import ResourceController
from coordinator.userdesk import user_name
from coordinator.users import UserTable, digest_of, is_ticket, ticket_of
from coordinator.wire.client import Connection
from tests.contract.serving import HANG_S, TOKEN, Served, serving, to_the_end
from tests.contract.test_controller import Clock, wait_until_parked
from tests.end_to_end.daemons import Daemons, until

pytestmark = pytest.mark.slow

RULE = ["/tmp/hg17", "echo owner > %s"]
HERS = ["/tmp/hers", "echo ann > %s"]


class Site:
    """A ResourceController on the wire, and what its users send to it."""

    def __init__(self, served: Served, turns: ControllerTurns, clock: Clock) -> None:
        self.served, self.turns, self.controller, self.clock = served, turns, turns.controller, clock
        self.tokens = {"owner": TOKEN}
        self.lines: dict[str, Connection] = {}

    def line(self, who: str) -> Connection:
        if who not in self.lines:
            self.lines[who] = Connection(self.served.plain_url, self.tokens[who], timeout_s=HANG_S)
        return self.lines[who]

    def call(self, who: str, method: str, *params: Any) -> Any:
        return self.line(who).call(method, *params)

    def note(self, who: str, method: str, **note: Any) -> Any:
        return json.loads(self.line(who).note(method, note_text(note)))

    def beat(self, who: str, name: str = "A", port: int = 8888, **more: Any) -> Any:
        return self.note(who, "beat_job", name=name, url=f"http://x:{port}", run=f"run-{name}", **more)

    def ask(self, who: str, pid: int, name: str = "hg17", **more: Any) -> Any:
        return self.note(who, "await_resource", host="node1", pid=pid, name=name, **more)

    def settle(self, who: str, pid: int, lock: int, name: str = "hg17") -> Any:
        told = {"host": "node1", "pid": pid, "name": name, "lock": lock, "built": True, "error": "", "size_bytes": 0}
        return self.note(who, "settle_rule", **told)

    def admit(self, name: str) -> str:
        self.tokens[name] = self.call("owner", "add_user", name)
        return self.tokens[name]

    def job(self, name: str = "A") -> dict[str, Any]:
        (found,) = [job for job in self.call("owner", "get_farm")["jobs"] if job["name"] == name]
        return dict(found)

    def pass_time(self, seconds: int) -> None:
        def passes() -> None:
            for _ in range(seconds):
                self.clock.now += 1.0
                self.turns.tick()

        self.served.on_loop(passes)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "bigcheese.hosts").write_text("node1 4.0\n")
    clock = Clock()
    controller = ResourceController("bigcheese", directory=tmp_path, clock=clock)
    turns = ControllerTurns(controller)
    with serving(turn=turns.turn) as served:
        served.server.authorise = authorise_users(TOKEN, controller)

        def removed(user: str) -> None:
            served.server.recheck()
            turns.forget(user)

        controller.office.on_removed = removed
        made = Site(served, turns, clock)
        yield made
        for line in made.lines.values():
            line.close()
    controller.close()


# --- the table --------------------------------------------------------------------------------------------------


def test_a_user_has_a_token_that_no_file_holds(site, tmp_path):
    token = site.admit("ann")
    assert len(bytes.fromhex(token)) == 32
    assert site.call("ann", "get_status")[0] == "bigcheese"
    table = tmp_path / "bigcheese.users"
    assert table.stat().st_mode & 0o777 == 0o600
    assert json.loads(table.read_text())["ann"]["sha256"] == digest_of(token)
    for path in tmp_path.iterdir():
        assert token.encode() not in path.read_bytes(), path


def test_the_table_outlives_its_controller(tmp_path):
    first = UserTable(tmp_path / "NAME.users")
    tokens = {name: first.add(name, 7.0) for name in ("bob", "ann")}
    first.remove("bob")
    again = UserTable(tmp_path / "NAME.users")
    assert [(user.name, user.since) for user in again.list()] == [("ann", 7.0)]
    assert again.whose(tokens["ann"]) == "ann"
    assert again.whose(tokens["bob"]) is None
    assert again.whose("") is None
    assert again.whose("\udcff") is None


DAMAGED = ["{", "[]", '{"ann": 1}', '{"ann": {"sha256": "x"}}', '{"a b": {"sha256": "x", "since": 1}}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_table_is_named_and_opens_nothing(tmp_path, content):
    paths.replace_private(tmp_path / "NAME.users", content.encode())
    with pytest.raises(StateError, match=r"NAME\.users is no table of users"):
        UserTable(tmp_path / "NAME.users")


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "../x", "a\nb", "x" * 33, "owner", "é", user_name()])
def test_names_that_no_user_can_have(site, name):
    with pytest.raises(BadInput):
        site.call("owner", "add_user", name)
    assert site.call("owner", "get_users") == []


def test_one_user_of_each_name(site):
    token = site.admit("ann")
    with pytest.raises(BadInput, match="'ann' is a user already"):
        site.call("owner", "add_user", "ann")
    with pytest.raises(BadInput, match=r"'bob' is none of the users \(ann\)"):
        site.call("owner", "remove_user", "bob")
    site.call("owner", "remove_user", "ann")
    assert site.admit("ann") != token


def test_only_the_owner_admits_removes_lists_and_stops(site):
    site.admit("ann")
    for method, *params in (("add_user", "bob"), ("remove_user", "ann"), ("get_users",), ("stop",)):
        with pytest.raises((NotAuthorised, StateError)):
            site.call("ann", method, *params)
    assert [user["name"] for user in site.call("owner", "get_users")] == ["ann"]


def test_the_owner_alone_stops_it(site):
    site.admit("ann")
    stopped = []
    site.controller.office.on_stop = lambda: stopped.append(True)
    with pytest.raises(NotAuthorised, match="only the owner of bigcheese may stop it, and you are ann"):
        site.call("ann", "stop")
    assert not stopped
    assert site.call("owner", "stop") is True


def test_a_controller_that_is_part_of_a_job_has_no_users(tmp_path):
    with (
        closing(ResourceController("job", hosts={"localhost": 1}, directory=tmp_path)) as controller,
        pytest.raises(StateError, match="part of its job"),
    ):
        controller.add_user("ann")
    assert not list(tmp_path.iterdir())


# --- a user who is removed ----------------------------------------------------------------------------------------


def test_a_removed_user_is_out_at_once_on_open_connections_too(site):
    site.admit("ann")
    site.admit("bob")
    site.beat("ann", "A", wants=2)
    site.beat("bob", "B", port=8889, wants=2)
    assert site.call("ann", "get_status")[0] == "bigcheese"
    assert site.call("owner", "remove_user", "ann") == ["A"]
    with pytest.raises(NotAuthorised):
        site.call("ann", "get_status")
    assert [job["name"] for job in site.call("bob", "get_farm")["jobs"]] == ["B"]


def test_what_a_removed_user_waits_for_is_refused(site):
    site.admit("ann")
    site.call("owner", "setrule", "hg17", RULE)
    site.ask("owner", 1, wait_s=0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(site.ask, "ann", 2, wait_s=20)
        wait_until_parked(site.served, site.turns, 1)
        site.call("owner", "remove_user", "ann")
        with pytest.raises(NotAuthorised, match="ann is no longer a user"):
            waiting.result(HANG_S)


def test_rules_of_a_removed_user_are_not_those_of_the_next_one_of_that_name(site, tmp_path):
    site.admit("ann")
    site.call("ann", "setrule", "mine", HERS)
    assert (tmp_path / "bigcheese.ann.rules").exists()
    version = site.controller.version
    site.call("owner", "remove_user", "ann")
    assert site.controller.version > version
    assert not list(tmp_path.glob("bigcheese.ann.*"))
    site.lines.pop("ann").close()
    site.admit("ann")
    with pytest.raises(NoSuchRule):
        site.ask("ann", 1, "mine")


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_a_job_has_the_user_who_proved_it_whatever_it_says(site):
    site.admit("ann")
    site.beat("ann", "A", user="root")
    site.call("ann", "register_coordinator", "B", "http://x:1", "root", 1.0, [], False, 0)
    site.beat("owner", "C", port=8890, user="ann")
    assert [site.job(name)["user"] for name in "ABC"] == ["ann", "ann", user_name()]


def test_nobody_speaks_for_a_job_of_somebody_else(site):
    site.admit("ann")
    site.admit("bob")
    site.beat("ann", "A", wants=2)
    for attempt in (
        lambda: site.beat("bob", "A", wants=0),
        lambda: site.beat("bob", "other", wants=0),
        lambda: site.beat("bob", "A", processors={"node1": 4}),
        lambda: site.call("bob", "unregister_coordinator", "A", "http://x:8888", "Done"),
        lambda: site.call("bob", "register_processor", "node1", 5, "http://x:8888"),
        lambda: site.call("bob", "unregister_processor", "node1", 5, "http://x:8888"),
        lambda: site.call("bob", "request_cpus", "A", "http://x:8888"),
    ):
        with pytest.raises(NotAuthorised, match="another user's"):
            attempt()
    assert (site.job()["user"], site.job()["slots"]) == ("ann", 2)
    assert site.call("ann", "unregister_coordinator", "A", "http://x:8888", "Done") is True
    assert site.call("owner", "get_farm")["jobs"] == []


def test_everybody_sets_priorities_and_loads_and_each_directive_is_logged_with_its_author(site, caplog):
    site.admit("ann")
    site.admit("bob")
    site.beat("ann", "A", wants=2)
    with caplog.at_level("INFO", "coordinator.resource"):
        site.call("bob", "register_coordinator", "A", "http://x:8888", "whoever", 7.0, [], True, 0)
        site.call("bob", "setload", "node1", "maxload", 3.0)
        site.call("ann", "setthrottle", 0.5)
    assert (site.job()["priority"], site.job()["user"]) == (7.0, "ann")
    said = [record.getMessage() for record in caplog.records]
    for words, author in (("register_coordinator A", "bob"), ("set_hostinfo node1", "bob"), ("setthrottle", "ann")):
        assert any(line.startswith(words) and f" by={author}@127.0.0.1:" in line for line in said), (words, said)


def test_the_port_of_a_job_that_is_silent_may_be_another_users(site):
    site.admit("ann")
    site.admit("bob")
    site.beat("ann", "A")
    site.pass_time(10)
    with pytest.raises(NotAuthorised):
        site.beat("bob", "A")
    site.pass_time(10)
    site.beat("bob", "A")
    assert site.job()["user"] == "bob"


# --- rules --------------------------------------------------------------------------------------------------------


def test_a_users_own_rule_runs_in_that_users_jobs_only(site):
    site.admit("ann")
    site.admit("bob")
    site.call("ann", "setrule", "mine", HERS)
    for other in ("bob", "owner"):
        with pytest.raises(NoSuchRule):
            site.ask(other, 1, "mine")
        with pytest.raises(NoSuchRule):
            site.call(other, "acquire_rule", "node1", 1, "mine")
        assert site.note(other, "missing_resources", names=["mine"]) == {"missing": ["mine"]}
        assert "mine" not in site.call(other, "get_farm")["rules"]
        assert "mine" not in site.call(other, "get_status")[5]
    assert site.note("ann", "missing_resources", names=["mine", "x"]) == {"missing": ["x"]}
    answer = site.ask("ann", 1, "mine")
    assert (answer["state"], answer["command"]) == ("build", HERS[1])
    assert site.settle("ann", 1, answer["lock"], "mine") == {"path": HERS[0]}
    assert site.ask("ann", 2, "mine") == {"state": "file", "path": HERS[0]}
    assert site.call("ann", "get_status")[6] == {"node1:mine": HERS[0]}
    assert site.call("bob", "get_status")[6] == {}


def test_the_owners_rules_are_for_everybody(site):
    site.call("owner", "setrule", "hg17", RULE)
    site.admit("ann")
    answer = site.ask("ann", 1)
    assert (answer["state"], answer["command"]) == ("build", RULE[1])
    assert site.settle("ann", 1, answer["lock"]) == {"path": RULE[0]}
    assert site.ask("owner", 2) == {"state": "file", "path": RULE[0]}
    with pytest.raises(NotAuthorised, match="is the owner's"):
        site.call("ann", "delrule", "hg17")
    assert site.call("ann", "get_farm")["rules"] == {"hg17": RULE}


def test_ones_own_rule_stands_before_the_owners_and_for_nobody_else(site):
    site.call("owner", "setrule", "hg17", RULE)
    site.admit("ann")
    site.admit("bob")
    site.call("ann", "setrule", "hg17", HERS)
    assert [site.ask(who, pid)["command"] for pid, who in enumerate(("ann", "bob"), 1)] == [HERS[1], RULE[1]]
    assert [site.call(who, "get_status")[5]["hg17"] for who in ("ann", "bob", "owner")] == [HERS, RULE, RULE]
    assert site.call("owner", "get_users")[0]["rules"] == {"hg17": HERS}
    assert site.call("ann", "delrule", "hg17") is True
    assert site.call("ann", "get_status")[5]["hg17"] == RULE


def test_what_was_locked_under_the_owners_rule_is_settled_there_though_an_own_one_came_meanwhile(site):
    site.call("owner", "setrule", "hg17", RULE)
    site.admit("ann")
    lock = site.ask("ann", 1)["lock"]
    site.call("ann", "setrule", "hg17", HERS)
    assert site.settle("ann", 1, lock) == {"path": RULE[0]}
    assert site.ask("owner", 2) == {"state": "file", "path": RULE[0]}
    assert site.ask("ann", 1)["command"] == HERS[1]


def test_own_rules_are_kept_over_a_restart(site, tmp_path):
    site.admit("ann")
    site.call("ann", "setrule", "mine", HERS)
    with closing(ResourceController("bigcheese", directory=tmp_path)) as again:
        again.office.caller = "ann"
        assert again.get_status()[5] == {"mine": HERS}
        again.office.caller = "owner"
        assert again.get_status()[5] == {}


def test_a_users_rules_are_checked_like_the_owners(site):
    site.admit("ann")
    for bad in (["/x", "no place"], ["relative", "touch %s"], None):
        with pytest.raises(BadInput):
            site.call("ann", "setrule", "bad", bad)
    site.call("ann", "setrule", "fails", ["/tmp/x", "false %s"])
    lock = site.ask("ann", 1, "fails")["lock"]
    told = {"host": "node1", "pid": 1, "name": "fails", "lock": lock, "built": False, "error": "no", "size_bytes": 0}
    site.note("ann", "settle_rule", **told)
    with pytest.raises(BuildFailed):
        site.call("ann", "acquire_rule", "node1", 2, "fails")


def test_nobody_settles_or_frees_the_lock_of_somebody_elses_job(site):
    site.call("owner", "setrule", "hg17", RULE)
    site.admit("ann")
    site.admit("bob")
    lock = site.ask("ann", 1, job="run-A")["lock"]
    for attempt in (
        lambda: site.settle("bob", 1, lock),
        lambda: site.call("bob", "release_rule", "node1", 1, "hg17"),
        lambda: site.call("bob", "del_lock", "node1", "hg17"),
    ):
        with pytest.raises(NotAuthorised, match="another user's job"):
            attempt()
    # Nor by the words of a job that is gone, whatever it called itself and whoever it says has ended.
    site.beat("bob", "ann/run-A", gone=[["node1", 1]])
    site.call("bob", "unregister_processor", "node1", 1, "http://x:8888")
    site.call("bob", "unregister_coordinator", "ann/run-A", "http://x:8888", "Done")
    assert site.call("owner", "get_status")[7] == {"node1:hg17": 1}
    assert site.call("owner", "del_lock", "node1", "hg17") is True


def test_locks_of_a_users_job_are_free_when_it_is_gone(site):
    site.call("owner", "setrule", "hg17", RULE)
    site.admit("ann")
    site.call("ann", "setrule", "mine", HERS)
    site.beat("ann", "A")
    site.ask("ann", 1, job="run-A")
    site.ask("ann", 2, "mine", job="run-A")
    site.call("ann", "unregister_coordinator", "A", "http://x:8888", "Done")
    assert site.call("owner", "get_status")[7] == {}
    assert site.call("ann", "get_status")[7] == {}


# --- who may look at a job ----------------------------------------------------------------------------------------


def test_a_ticket_is_for_one_user_at_one_job():
    ticket = ticket_of("secret", "ann")
    assert is_ticket(ticket, "secret", "ann")
    for text, secret, name in ((ticket, "secret", "bob"), (ticket, "other", "ann"), ("", "secret", "ann")):
        assert not is_ticket(text, secret, name)
    assert not is_ticket("\udcff", "secret", "ann")


def test_the_controller_introduces_users_to_jobs_and_shows_no_token(site):
    assert "visitors" not in site.beat("owner", "A", wants=1), "without users there is nobody to introduce"
    site.admit("ann")
    secret = site.beat("owner", "A", wants=1)["visitors"]
    url = "http://x:8888"
    hers, owners = (site.call(who, "get_tickets")[url] for who in ("ann", "owner"))
    assert (hers["mine"], hers["user"], owners["mine"]) == (False, "ann", True)
    assert is_ticket(hers["ticket"], secret, "ann")
    site.admit("bob")
    assert site.beat("owner", "A", wants=1)["visitors"] != secret, (
        "who is removed keeps no ticket; so each change is one"
    )


@contextmanager
def recorder() -> Iterator[tuple[str, bytearray]]:
    """A Coordinator of somebody who wants the tokens of others: all that reaches it."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG_S)

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(HANG_S)
                while b"</methodCall>" not in heard and (some := client.recv(65536)):
                    heard.extend(some)
                client.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                to_the_end(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
        finally:
            thread.join(HANG_S)


def test_a_monitor_sends_nobodys_token_to_a_job_of_somebody_else(site):
    site.admit("ann")
    with recorder() as (url, heard):
        site.note("ann", "beat_job", name="trap", url=url)
        monitor = RCMonitor(site.served.plain_url, token=TOKEN)
        assert "does not take this token" in str(monitor.coordinators["trap"].problem)
    login = next(line for line in bytes(heard).split(b"\r\n") if line.startswith(b"Authorization: "))
    user, _, password = base64.b64decode(login.split()[-1]).decode().partition(":")
    assert user == "owner"
    assert password != TOKEN
    assert password == site.call("owner", "get_tickets")[url]["ticket"]


# --- the whole ----------------------------------------------------------------------------------------------------


class Lab:
    """bigcheese of one person, and ann with a state directory, a certificate and a job directory of her own."""

    def __init__(self, top: Path) -> None:
        self.owner = self.person(top, "owner")
        self.ann = self.person(top, "ann")
        self.url = self.owner.controller("localhost 4.0\n")

    def person(self, top: Path, name: str) -> Daemons:
        for part in ("job", "state"):
            (top / name / part).mkdir(parents=True)
        environment = {**os.environ, "XDG_STATE_HOME": os.fspath(top / name / "state")}
        made = Daemons(top / name / "job", environment)
        made.script()
        return made

    def state(self, who: Daemons) -> Path:
        assert who.environment is not None
        return Path(who.environment["XDG_STATE_HOME"], "coordinator")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.ann.end()
    made.owner.end()


def admit_ann(lab: Lab) -> dict[str, Any]:
    told = lab.owner.document("users", "add", "ann", f"--rc_url={lab.url}")
    directory = lab.state(lab.ann)
    directory.mkdir(mode=0o700)
    (directory / "tokens.json").write_text(json.dumps(told["entry"]))
    (directory / "tokens.json").chmod(0o600)
    return told


def test_a_user_of_the_lab_runs_a_job_and_others_look_at_it(lab, monkeypatch):
    told = admit_ann(lab)
    run = lab.ann.job("hers", lab.url, "--n=40")
    lab.ann.busy(2)
    assert run["fingerprint"] != told["fingerprint"], "her Coordinator shows her own certificate"

    # The owner sees it, by a ticket and pinned to her certificate, and may not direct it.
    (job,) = lab.owner.document("jobs", f"--rc_url={lab.url}")["jobs"]
    assert (job["name"], job["user"], job["state"]) == ("hers", "ann", "running")
    (listed,) = lab.owner.document("users", "list", f"--rc_url={lab.url}")["users"]
    assert (listed["name"], listed["jobs"]) == ("ann", ["hers"])
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(lab.state(lab.owner).parent))
    monitor = until(lambda: looked_at(lab.url), "the owner's monitor sees the job")
    assert len(monitor.coordinators["hers"].client_report) == 4
    with pytest.raises(NotAuthorised, match="others may look at it, and set_max_clients is more"):
        monitor.coordinators["hers"].set_max_clients(1)

    # Her job's token opens her job; neither hers nor the owner's opens what is the other's.
    mine = json.loads((lab.state(lab.owner) / "tokens.json").read_text())[next(iter(told["entry"]))]["token"]
    with connected(run["url"], run["token"], run["fingerprint"]) as job_line:
        assert job_line.call("get_job")["name"] == "hers"
    for token in (mine, told["token"] + "0"):
        with connected(run["url"], token, run["fingerprint"]) as line, pytest.raises(NotAuthorised):
            line.call("get_job")
    for token in (run["token"], "", "0" * 64):
        with connected(lab.url, token, told["fingerprint"]) as line, pytest.raises(NotAuthorised):
            line.call("get_status")
    with connected(lab.url, told["token"], told["fingerprint"]) as line, pytest.raises(NotAuthorised):
        line.call("add_user", "bob")

    log = (lab.owner.directory / "bigcheese.log").read_text()
    assert "register_coordinator hers" in log
    assert "user=ann" in log
    for token in (mine, told["token"], run["token"]):
        assert token not in log

    said = lab.owner.coordinator("users", "remove", "ann", f"--rc_url={lab.url}").stdout
    assert "ann is no user" in said
    assert "hers" in said
    assert lab.owner.document("users", "list", f"--rc_url={lab.url}")["users"] == []
    # The job goes on with what it has.
    lab.ann.touch("go")
    assert lab.ann.coordinator("wait", "hers").returncode == 0


def looked_at(url: str) -> RCMonitor | None:
    """The monitor of a ResourceController whose one job could be asked."""
    monitor = RCMonitor(url)
    (job,) = monitor.coordinators.values()
    assert isinstance(job, CoordinatorMonitor)
    return monitor if job.problem is None else None


@contextmanager
def connected(url: str, token: str, fingerprint: str) -> Iterator[Connection]:
    connection = Connection(url, token, timeout_s=HANG_S, fingerprint=fingerprint)
    try:
        yield connection
    finally:
        connection.close()


def test_the_command_shows_a_token_once_with_the_line_for_the_other_ones_file(lab):
    ended = lab.owner.coordinator("users", "add", "ann", f"--rc_url={lab.url}")
    assert ended.returncode == 0
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith('  "')]
    ((address, entry),) = json.loads("{" + line + "}").items()
    assert address in lab.url
    assert len(bytes.fromhex(entry["token"])) == 32
    assert entry["fingerprint"] == json.loads((lab.owner.directory / "bigcheese.rc.json").read_text())["fingerprint"]
    assert "ann" in lab.owner.coordinator("users", "list", f"--rc_url={lab.url}").stdout
    refused = lab.owner.coordinator("users", "add", "a/b", f"--rc_url={lab.url}")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is not a user name" in refused.stderr
