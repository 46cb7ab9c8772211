"""``--insecure``: a farm on a trusted network that asks nobody for a token, and says so loudly."""

from __future__ import annotations

import os
import xmlrpc.client
from pathlib import Path

import pytest

from coordinator.wire.client import split_url
from tests.end_to_end.daemons import CALM, ROOT, Daemons

pytestmark = pytest.mark.e2e

SAID = "--insecure: whoever can reach port {} may do everything here, without a token and without TLS"


def stranger(directory: Path) -> Daemons:
    """Somebody with no token file."""
    return Daemons(directory, {**os.environ, "XDG_STATE_HOME": os.fspath(directory / "nobody")})


def insecure_controller(daemons: Daemons) -> str:
    (daemons.directory / "open.hosts").write_text("localhost 2\n")
    ended = daemons.type(os.fspath(ROOT / "coordinator.py"), "--rc=open", "--port=0", CALM, "--insecure")
    assert ended.returncode == 0, ended
    told = dict(line.split(None, 1) for line in ended.stdout.splitlines()[1:])
    daemons.note(int(told["pid"]))
    assert SAID.format(split_url(told["url"])[1]) in ended.stderr
    return told["url"]


def test_a_farm_that_asks_nobody_for_a_token_serves_strangers_and_says_so(daemons: Daemons, tmp_path: Path) -> None:
    url = insecure_controller(daemons)
    assert url.startswith("http://")
    port = split_url(url)[1]
    assert SAID.format(port) in daemons.log("open")
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}") as standard:
        assert standard.setthrottle(0.5)
        assert standard.setthrottle(1.0)
    # A job that was not told to be so keeps its own door shut.
    run = daemons.job("shut", url, "--n=40")
    with (
        xmlrpc.client.ServerProxy(f"http://127.0.0.1:{run['port']}") as standard,
        pytest.raises(xmlrpc.client.ProtocolError) as refused,
    ):
        standard.get_status()
    assert refused.value.errcode == 401
    other = stranger(tmp_path)
    jobs = other.document("jobs", f"--rc_url={url}")["jobs"]
    assert [job["name"] for job in jobs] == ["shut"]


def test_a_job_that_asks_nobody_for_a_token_is_open_and_says_so(daemons: Daemons) -> None:
    url = insecure_controller(daemons)
    ended = daemons.type("script.py", "one", f"--rc_url={url}", "--n=4", "--insecure")
    run = daemons.run_file("one")
    daemons.note(run["pid"])
    assert ended.returncode == 0, ended
    assert SAID.format(run["port"]) in ended.stderr
    assert SAID.format(run["port"]) in daemons.log("one")
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{run['port']}") as standard:
        name, *_ = standard.get_status()
    assert name == "one"
    daemons.touch("go")
    waited = daemons.coordinator("wait", "one")
    assert waited.returncode == 0, waited


def test_where_a_token_is_asked_for_a_stranger_hears_where_to_put_one(daemons: Daemons, tmp_path: Path) -> None:
    url = daemons.controller()
    ended = stranger(tmp_path).coordinator("jobs", f"--rc_url={url}")
    assert ended.returncode == 1
    assert "No token is known for" in ended.stderr
    assert "tokens.json" in ended.stderr
