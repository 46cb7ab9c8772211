"""Who may do what: the three holes of the ancestor, tokens, private files and logs, over the wire against real daemons.

A ResourceController and two jobs are started once for all tests here, with a umask that hides nothing. Attacks on the
codec and on HTTP itself are in test_attacks.py.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from coordinator import errors, procs
from coordinator.wire.client import Connection, split_url
from tests.contract.serving import request, status, to_the_end
from tests.end_to_end.daemons import HANG_S, ROOT, Daemons, until

pytestmark = pytest.mark.slow

#: IDs and messages that try to be lines of a log, or commands of a terminal
FORGED = "2026-01-01 00:00:00.000 stop: forged"
IDS = [f"a\n{FORGED}", f"b\r\n{FORGED}\n", "\x1b]0;evil\x07", f"\u2028{FORGED}\u2029", "\x85\x9b31m", "\udcff\n"]

SCRIPT = """\
import json, os, sys, time

HERE = {directory!r}


def is_there(name):
    return os.path.exists(os.path.join(HERE, name))


def client(server, **kwargs):
    with open(os.path.join(HERE, "seen.%d" % os.getpid()), "w") as file:
        json.dump([dict(os.environ), sys.argv, sys.orig_argv], file)
    for task_id in server:
        if isinstance(task_id, str):
            raise ValueError("no " + task_id)
        while not is_there("go"):
            if is_there("open") and not is_there("opened"):
                with server.open_resource("genome", "r"):
                    open(os.path.join(HERE, "opened"), "w").close()
            time.sleep(0.02)
        yield task_id


def serve(**kwargs):
    yield from {ids!r}
    yield from range(1000)


if __name__ == "__main__":
    import coordinator

    coordinator.start_client_or_server(client, serve, [], __file__)
"""


def line_to(url: str, token: str, fingerprint: str) -> Connection:
    return Connection(url, token, timeout_s=HANG_S, fingerprint=fingerprint)


@dataclass
class Site:
    """bigcheese and its jobs: ``one``, and ``two``, whose command line held the farm's token in --rc_url."""

    daemons: Daemons
    rc_url: str
    token: str
    one: dict[str, Any]
    two: dict[str, Any]

    @property
    def directory(self) -> Path:
        return self.daemons.directory

    @property
    def state(self) -> Path:
        assert self.daemons.environment is not None
        return Path(self.daemons.environment["XDG_STATE_HOME"], "coordinator")

    @property
    def logs(self) -> Path:
        assert self.daemons.environment is not None
        return Path(self.daemons.environment["TMPDIR"], f"coordinator-{os.geteuid()}")

    @property
    def canary(self) -> Path:
        return self.directory / "CANARY"

    def controller(self, token: str | None = None) -> Connection:
        return line_to(self.rc_url, self.token if token is None else token, self.one["fingerprint"])

    def job(self, token: str | None = None) -> Connection:
        return line_to(self.one["url"], self.one["token"] if token is None else token, self.one["fingerprint"])

    def processes(self) -> dict[int, bytes]:
        """{pid: argv and environment} of every process that belongs to the farm: by where it works."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and os.readlink(entry / "cwd") == os.fspath(self.directory):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:  # it has ended, or is not ours
                continue
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    top = tmp_path_factory.mktemp("security")
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    for variable, name in (("XDG_STATE_HOME", "state"), ("TMPDIR", "tmp")):
        (top / name).mkdir()
        environment[variable] = os.fspath(top / name)
    directory = top / "job"
    directory.mkdir()
    (directory / "script.py").write_text(SCRIPT.format(directory=os.fspath(directory), ids=IDS))
    daemons = Daemons(directory, environment, umask=0)
    try:
        url = daemons.controller("localhost 4.0\n")
        tokens = json.loads((top / "state/coordinator/tokens.json").read_text())
        host, port = split_url(url)[:2]
        token = tokens[f"{host}:{port}"]["token"]
        one = daemons.job("one", url)
        two = daemons.job("two", f"http://somebody:{token}@{host}:{port}", "--immediate")
        made = Site(daemons, url, token, one, two)
        for run in (one, two):
            with closing(line_to(run["url"], run["token"], run["fingerprint"])) as job:
                until(lambda job=job: failed_and_working(job), "the bad IDs have failed and processors work")
                assert made.controller().call("set_hostinfo", "h2", "maxload", 1.0) is True
                until(lambda job=job: "h2" in job.call("get_job")["unreachable"], "a host that is not there was tried")
        yield made
    finally:
        daemons.end()


def failed_and_working(job: Connection) -> bool:
    now = job.call("get_job")
    return bool(now["failed"] >= len(IDS) and now["running"] >= 2)


# --- the three holes -------------------------------------------------------------------------------------------

COMMANDS = [
    "x; touch {} #",
    "$(touch {})",
    "`touch {}`",
    "-oProxyCommand=touch {}",
    "localhost; touch {}",
    "|touch {}",
    "a\ntouch {}",
]


def test_hosts_given_to_start_processors_are_looked_up_and_never_become_a_command(site: Site) -> None:
    job = site.job()
    known = job.call("get_job")["hosts"]
    for command in COMMANDS:
        with pytest.raises(errors.UnknownHost):
            job.call("start_processors", [command.format(site.canary)])
        with pytest.raises((errors.UnknownHost, errors.BadParameters)):
            job.call("start_processors", command.format(site.canary))
    for strange in ([["localhost"]], [7], [None], {"localhost": 1}, 7, None, [b"localhost"]):
        with pytest.raises((errors.UnknownHost, errors.BadParameters, errors.InternalError)) as caught:
            job.call("start_processors", strange)
        assert not isinstance(caught.value, errors.InternalError), strange
    assert job.call("get_job")["hosts"].keys() == known.keys() == {"localhost"}
    job.close()
    assert not site.canary.exists()


def test_options_of_hosts_come_from_the_hosts_file_only(site: Site) -> None:
    controller = site.controller()
    for command in COMMANDS:
        for host in ("localhost", "h2"):
            for attribute in ("sshopts", "python", "user", "env.LD_PRELOAD", "identity", "__class__", "maxload.x", ""):
                with pytest.raises(errors.BadInput):
                    controller.call("set_hostinfo", host, attribute, command.format(site.canary))
                with pytest.raises(errors.BadInput):
                    controller.call("setload", host, attribute, command.format(site.canary))
        for call in ("set_hostinfo", "setload"):
            with pytest.raises(errors.BadInput):
                controller.call(call, command.format(site.canary), "maxload", 1.0)
            with pytest.raises(errors.BadInput):
                controller.call(call, "h2", "maxload", command.format(site.canary))
        with pytest.raises(errors.BadInput):
            controller.call("get_resource", command.format(site.canary), 1, "genome")
        with pytest.raises(errors.CoordinatorError):
            controller.note("beat_job", json.dumps({"name": "x", "url": "http://x:1", "processors": {command: 1}}))
    until(lambda: controller.call("get_farm")["hosts"]["h2"]["state"] == "unreachable", "it is known not to be there")
    assert controller.call("get_farm")["hosts"]["h2"]["options"] == {}
    with pytest.raises(errors.BadInput):
        controller.call("get_hostinfo", "h2", "sshopts")
    controller.close()
    assert not site.canary.exists()


def test_a_rule_is_run_by_a_processor_of_the_owner_and_never_by_a_server(site: Site) -> None:
    controller = site.controller()
    genome = site.directory / "genome"
    command = f"echo $PPID > {site.canary}; touch %s"
    assert controller.call("setrule", "genome", [os.fspath(genome), command]) is True
    for call in ("load_balance", "retry_unused_hosts", "get_status", "get_farm"):
        controller.call(call)
    assert controller.call("get_resource", "localhost", 1, "genome") is False
    assert controller.call("acquire_rule", "localhost", 1, "genome") == [os.fspath(genome), command]
    assert controller.call("release_rule", "localhost", 1, "genome") is True
    assert controller.call("delrule", "genome") is True
    assert controller.call("setrule", "genome", [os.fspath(genome), command]) is True
    assert not site.canary.exists(), "no server has run it"
    (controller_pid,) = (json.loads((site.directory / "bigcheese.rc.json").read_text())["pid"],)
    assert procs.children_of(controller_pid) == [], "it has no process to run anything in"

    # The record of a built file, made by the classic call above, is for a file that is not there: it is built anew.
    processors = {one["pid"] for run in (site.one, site.two) for one in processors_of(run)}
    site.daemons.touch("open")
    until((site.directory / "opened").exists, "a processor opened the resource")
    assert int(site.canary.read_text()) in processors
    site.canary.unlink()
    for bad in (["/x", "no place"], ["/x", "%s %s"], ["/x"], "/x %s", ["relative", "touch %s"], [7, "touch %s"], None):
        with pytest.raises(errors.BadRule):
            controller.call("setrule", "bad", bad)
    for name in ("", " a", "a\nb", "localhost:genome", "x" * 5000, 7, None):
        with pytest.raises((errors.BadRule, errors.BadParameters)):
            controller.call("setrule", name, ["/x", "touch %s"])
    assert set(controller.call("get_farm")["rules"]) == {"genome"}
    controller.close()


def processors_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    job = line_to(run["url"], run["token"], run["fingerprint"])
    try:
        return list(job.call("get_job")["processors"])
    finally:
        job.close()


# --- tokens ----------------------------------------------------------------------------------------------------


def answer_to(port: int, method: str, token: str | None) -> bytes:
    """What the server says to a whole request, read to its end."""
    body = xmlrpc.client.dumps(("{}",), method).encode()
    login = {} if token is not None else {"Authorization": None}
    with socket.create_connection(("127.0.0.1", port), HANG_S) as client:
        client.sendall(request(body, token=token or "", **login))
        return to_the_end(client)


@pytest.mark.parametrize("server", ["ResourceController", "Coordinator"])
def test_every_method_asks_for_the_token_and_a_run_opens_nothing_but_itself(site: Site, server: str) -> None:
    if server == "ResourceController":
        connection, port, right = site.controller(), split_url(site.rc_url)[1], site.token
        wrong = [site.one["token"], site.two["token"]]
    else:
        connection, port, right = site.job(), site.one["port"], site.one["token"]
        wrong = [site.two["token"]]
    methods = connection.call("system.listMethods")
    assert {"await_resource", "settle_rule", "get_status", "stop"} <= set(methods)
    before = connection.call("get_status")
    for method in [*methods, "no_such_method"]:
        for token in (None, "", "wrong", right[:-1], right + "0", right.upper(), *wrong):
            answer = answer_to(port, method, token)
            assert status(answer) == 401, (method, token)
            assert right.encode() not in answer
            assert method.encode() not in answer, "whether there is such a method is not told either"
    assert status(answer_to(port, "get_status", right)) == 200
    if server == "ResourceController":
        assert [row[:4] for row in connection.call("get_status")[4]] == [row[:4] for row in before[4]]
    else:
        assert connection.call("get_status")[:2] == before[:2]
    connection.close()


def test_the_farms_token_opens_its_jobs_and_a_job_does_not_tell_it(site: Site) -> None:
    job = site.job(site.token)
    assert job.call("get_job")["run"] == site.one["run"]
    job.close()
    assert len({site.token, site.one["token"], site.two["token"]}) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in (site.token, site.one["token"], site.two["token"]))
    for run in (site.one, site.two):
        job = line_to(run["url"], run["token"], run["fingerprint"])
        for call in ("get_job", "get_status"):
            assert site.token not in repr(job.call(call))
            assert run["token"] not in repr(job.call(call))
        job.close()
    controller = site.controller()
    for call in ("get_farm", "get_status"):
        assert not any(token in repr(controller.call(call)) for token in (site.token, site.one["token"]))
    controller.close()


def test_no_token_is_in_argv_or_environment_of_any_process_nor_in_any_log(site: Site) -> None:
    tokens = [token.encode() for token in (site.token, site.one["token"], site.two["token"])]
    processes = site.processes()
    of_jobs = {
        site.one["pid"],
        site.two["pid"],
        *(one["pid"] for run in (site.one, site.two) for one in processors_of(run)),
    }
    assert of_jobs <= processes.keys()
    assert len(processes) >= 1 + 2 * (1 + 2) + 4, "the ResourceController; Coordinators, guards, zygotes; processors"
    for pid, words in processes.items():
        assert not any(token in words for token in tokens), f"process {pid}: {words[:200]!r}"
    files = [path for top in (site.directory, site.logs) for path in top.rglob("*") if path.is_file()]
    assert {"one.log", "two.log", "bigcheese.log", "one_0.log"} <= {path.name for path in files}
    assert len([path for path in files if path.name.startswith("seen.")]) >= 4, "what the user's code sees"
    for path in files:
        if path.suffix != ".run":
            assert not any(token in path.read_bytes() for token in tokens), path


# --- files -----------------------------------------------------------------------------------------------------


def test_what_the_farm_writes_is_its_owners_alone_whatever_the_umask_is(site: Site) -> None:
    modes = {
        path: stat.S_IMODE(path.lstat().st_mode)
        for top in (site.state, site.logs, site.directory)
        for path in [top, *top.rglob("*")]
    }
    ours = {path: mode for path, mode in modes.items() if not is_the_users(path, site.directory)}
    for name in ("tokens.json", "one.run", "one.log", "bigcheese.log", "bigcheese.rc.json", "bigcheese.rules",
                 "bigcheese.rsrc", "one.success", "one.error", "one.results", "one_0.log", "000001.seg"):  # fmt: skip
        assert name in {path.name for path in ours}, name
    for path, mode in ours.items():
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} has mode {mode:o}"


def is_the_users(path: Path, directory: Path) -> bool:
    """What the test, the script or its rule made."""
    made = ("script.py", "bigcheese.hosts", "open", "opened", "CANARY", "genome", "genome.lock")
    return path == directory or (path.parent == directory and (path.name in made or path.name.startswith("seen.")))


# --- logs ------------------------------------------------------------------------------------------------------


def test_names_ids_and_messages_cannot_forge_a_line_of_a_log(site: Site) -> None:
    evil = f"x\n{FORGED}\u2028{FORGED}\x85\x9b31m"
    controller = site.controller()
    strangers = [
        ("register_coordinator", evil, f"http://x:1/{evil}", evil, 1.0, [evil], False, 0),
        ("unregister_coordinator", evil, f"http://x:1/{evil}", evil),
        ("setrule", evil, ["/x", "touch %s"]),
        ("get_resource", "localhost", 1, evil),
        ("set_hostinfo", evil, "maxload", 1.0),
        ("register_processor", "localhost", 1, evil),
        (evil,),
    ]
    for method, *params in strangers:
        with suppress(errors.CoordinatorError):  # refused or taken, the log is what counts
            controller.call(method, *params)
    port = split_url(site.rc_url)[1]
    with pytest.raises(errors.NotAuthorised):
        Connection(f"http://{quote(evil)}:{site.token}@127.0.0.1:{port}").call("load_balance")
    job = site.job()
    for method, *params in (
        ("register_client", evil, 1, evil),
        ("unregister_client", evil, 1, evil),
        ("stop_client", evil, 1),
        ("start_processors", [evil]),
        (evil,),
    ):
        with suppress(errors.CoordinatorError):
            job.call(method, *params)
    controller.close()
    job.close()
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S")
    for name in ("bigcheese.log", "one.log", "two.log"):
        text = (site.directory / name).read_bytes()
        assert b"forged" in text, f"{name} tells of it"
        lines = text.decode().splitlines()  # every end of a line that Python knows
        for line in lines:
            assert stamp.match(line) or line.startswith("    "), line
            assert not line.startswith(FORGED)
            assert line.isprintable(), line
    assert "ValueError: no a" in (site.directory / "one.log").read_text(), "the tracebacks are there"


def test_words_that_xml_cannot_carry_hide_nothing_from_people(site: Site) -> None:
    """An exception, or a rule's stderr, may hold any character; the status of the whole farm must not fail by it."""
    for run in (site.one, site.two):
        with closing(line_to(run["url"], run["token"], run["fingerprint"])) as job:
            told = job.call("get_job")  # its last error, or the one before, has such words
            assert told["failed"] == sum(group["count"] for group in told["errors"]) == len(IDS)
            assert "ValueError: no " in told["last_error"]
    with closing(site.controller()) as controller:
        controller.call("setrule", "broken", ["/x", "touch %s"])
        asked = {"host": "localhost", "pid": 1, "name": "broken", "wait_s": 0.0}
        lock = json.loads(controller.note("await_resource", json.dumps(asked)))["lock"]
        told = {**asked, "lock": lock, "built": False, "error": "\x1b[31mno\0 such file", "size_bytes": 0}
        controller.note("settle_rule", json.dumps(told))
        assert "\\x1b[31mno\\x00 such file" in controller.call("get_farm")["failed_builds"]["localhost:broken"]
        assert controller.call("delrule", "broken") is True


# --- what may be called, and what comes back ---------------------------------------------------------------------


@pytest.mark.parametrize("server", ["ResourceController", "Coordinator"])
def test_system_methods_answer_from_the_list_that_dispatch_uses(site: Site, server: str) -> None:
    url, token = (site.rc_url, site.token) if server == "ResourceController" else (site.one["url"], site.one["token"])
    port = split_url(url)[1]
    with xmlrpc.client.ServerProxy(f"http://me:{token}@127.0.0.1:{port}") as proxy:
        assert isinstance(proxy, xmlrpc.client.ServerProxy)
        listed = proxy.system.listMethods()
        assert isinstance(listed, list)
        expected = {
            "ResourceController": {
                "load_balance", "setrule", "delrule", "report_load", "register_coordinator", "unregister_coordinator",
                "register_processor", "unregister_processor", "get_resource", "acquire_rule", "release_rule",
                "request_cpus", "retry_unused_hosts", "get_status", "setthrottle", "del_lock", "get_hostinfo",
                "set_hostinfo", "setload", "get_farm", "get_tickets", "add_user", "remove_user", "get_users", "stop",
                "beat_job", "await_resource", "settle_rule", "missing_resources",
            },
            "Coordinator": {
                "register_client", "unregister_client", "next", "report_success", "report_error", "get_status",
                "set_max_clients", "stop_client", "start_processors", "get_job", "stop", "redo", "exchange", "beat",
                "join", "await_resource", "settle_rule", "wait_job",
            },
        }[server]  # fmt: skip
        assert set(listed) == expected | {"system.listMethods", "system.methodSignature", "system.methodHelp"}
        assert len(listed) == len(set(listed))
        for name in listed:
            signatures = proxy.system.methodSignature(name)
            assert isinstance(signatures, list)
            assert signatures
            assert all(
                isinstance(one, list) and one and all(isinstance(kind, str) for kind in one) for one in signatures
            )
            assert str(proxy.system.methodHelp(name)).startswith(f"{name}(")
            assert "\n\n" in str(proxy.system.methodHelp(name)), f"{name} is described"
            # Too many parameters are refused as such: the method is there, and was not run.
            with pytest.raises(xmlrpc.client.Fault) as caught:
                getattr(proxy, name)(*["{}"] * 12)
            assert caught.value.faultCode == errors.BadParameters.code, (name, caught.value)
        for name in ("system.multicall", "_dispatch", "__init__", "on_stop", "farm", "tick", "close", "xmlrpc_methods",
                     "serve_forever", "_methods", "get_farm.__globals__", "run"):  # fmt: skip
            assert name not in listed
            for called, *params in ((name,), ("system.methodHelp", name), ("system.methodSignature", name)):
                with pytest.raises(errors.UnknownMethod):
                    Connection(f"http://me:{token}@127.0.0.1:{port}").call(called, *params)


def test_errors_reach_clients_as_faults_with_stable_numbers(site: Site) -> None:
    assert {code: error.__name__ for code, error in errors.by_code().items()}.items() >= {
        1: "CoordinatorError", 100: "BadInput", 101: "HostsFileError", 102: "BadRule", 103: "UnservableTaskID",
        104: "BadOption", 105: "BadName", 106: "UnservableResult", 107: "NoSuchJob", 108: "UnknownHost",
        150: "TaskError",
        151: "WrongYield", 152: "MissingYield", 153: "TaskTimeLimit", 154: "ProcessorDied", 155: "NotAGenerator",
        200: "NotAuthorised", 201: "NoToken", 300: "PeerLost", 301: "CoordinatorLost", 302: "ControllerLost",
        303: "PortTaken", 400: "LaunchFailed", 401: "ScriptFailed", 500: "BuildFailed", 501: "NoSuchRule",
        502: "NotLocked",
        600: "StateError", 601: "NameTaken", 602: "JournalDamaged", 603: "JournalStalled", 604: "StaleLease",
        605: "UnknownRun", 606: "UnknownProcessor", 607: "Overloaded", -32700: "ProtocolError", -32600: "BadRequest",
        -32601: "UnknownMethod", -32602: "BadParameters", -32603: "InternalError",
    }.items()  # fmt: skip
    other = json.dumps({"run": "another", "keeper": "x", "host": "h", "pid": 1, "seq": 1})
    for url, token, calls in (
        (site.rc_url, site.token, [
            (108, "get_hostinfo", "nowhere", "maxload"), (100, "get_hostinfo", "localhost", "colour"),
            (100, "setthrottle", -1.0), (102, "setrule", "x", ["/x", "no"]),
            (501, "acquire_rule", "localhost", 1, "nothing"), (502, "release_rule", "localhost", 1, "nothing"),
            (502, "del_lock", "localhost", "nothing"), (108, "report_load", "nowhere", 1, 1.0),
            (107, "request_cpus", "nobody", "http://x:9"), (-32602, "load_balance", 1), (-32602, "beat_job", "no JSON"),
            (-32602, "beat_job", "[]"), (-32602, "await_resource", "{}"), (-32601, "no_such_method"),
        ]),
        (site.one["url"], site.one["token"], [
            (606, "next", "h", 1, False), (606, "stop_client", "h", 1), (606, "report_success", "h", 1, 1),
            (108, "start_processors", ["nowhere"]), (605, "beat", other), (-32602, "beat", "{}"),
            (-32602, "exchange", "x"),
            (-32602, "join", "[]"), (-32602, "set_max_clients"), (-32602, "set_max_clients", "many"),
            (-32602, "set_max_clients", -1), (-32602, "wait_job", "long"), (-32602, "await_resource", "{}"),
            (-32601, "no_such_method"),
        ]),
    ):  # fmt: skip
        port = split_url(url)[1]
        with xmlrpc.client.ServerProxy(f"http://me:{token}@127.0.0.1:{port}") as proxy:
            for code, method, *params in calls:
                fault = fault_of(proxy, method, params)
                assert fault.faultCode == code, (method, params, fault)
                assert "Traceback" not in fault.faultString
                assert "/coordinator/" not in fault.faultString


def fault_of(proxy: xmlrpc.client.ServerProxy, method: str, params: list[Any]) -> xmlrpc.client.Fault:
    try:
        answer = getattr(proxy, method)(*params)
    except xmlrpc.client.Fault as fault:
        return fault
    pytest.fail(f"{method}{tuple(params)} answered {answer!r}")


def test_the_standard_module_that_shares_a_name_with_ours_is_not_hidden() -> None:
    code = "import coordinator.resource, coordinator.load, psutil; print(psutil.Process().rlimit(psutil.RLIMIT_NOFILE))"
    for words in (["-c", code], ["-P", "-c", code], ["-c", f"import psutil; {code}"]):
        ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=HANG_S, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert re.fullmatch(r"\(-?\d+, -?\d+\)\n", ended.stdout)
