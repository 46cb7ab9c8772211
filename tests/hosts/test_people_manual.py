"""The manual's Coordinator, ResourceController, RCMonitor and logs sections over three hosts that are logged in to.

Script, options and what was changed in the manual's code are those of end_to_end/test_manual_session.py; here the
hosts are others, so that a resource is on each host's own disk and logs are read where they were written.
"""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import coordinator
from coordinator.wire.client import split_url
from tests.end_to_end.daemons import Daemons, lives, until
from tests.end_to_end.test_manual_session import COMMAND, MAPCLUSTERS
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

#: on each host's own disk
MM5 = "/var/tmp/ucsc_msa/mm5"


@pytest.fixture
def site(home: Path, tmp_path: Path) -> Iterator[Daemons]:
    """A directory that all hosts see, with the script, its source table (the 4th cluster is bad) and chromosomes."""
    daemons = Daemons(tmp_path)
    (tmp_path / "mapclusters5.py").write_text(MAPCLUSTERS.format(directory=str(tmp_path)))
    clusters = [f"Mm.{n}" if n != 4 else "Mm.4.bad" for n in range(1, 2001)]
    (tmp_path / "genomic_cluster_jan02").write_text("\n".join(clusters) + "\n")
    (tmp_path / "data").mkdir()
    for name in ("chr1", "chr2"):
        (tmp_path / "data" / f"{name}.fa.gz").write_bytes(gzip.compress(f">{name}\n".encode()))
    yield daemons
    daemons.touch("go", "unzip")
    daemons.end()


@pytest.mark.timeout(180)
def test_the_manuals_session_over_three_hosts(site: Daemons, hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    # ResourceController: "bigcheese.hosts: a list of cluster nodes and associated maximum load"
    url = site.controller("node1 2.0\nnode2 2.0\nnode3 1.0\n")
    m = coordinator.RCMonitor(port=split_url(url)[1])
    assert list(m.hosts) == [["node1", 2.0], ["node2", 2.0], ["node3", 1.0]]
    waits = f"while [ ! -e {site.directory}/unzip ]; do sleep 0.02; done; "
    m.setrule("mm5", (MM5, waits + f"gunzip -c {site.directory}/data/*.fa.gz >%s"))
    m.setrule("hg17", (MM5.replace("mm5", "hg17"), "touch %s"))

    # Coordinator: "To start a job coordinator (which in turn will the run the whole job ... using SSH)"
    errlog = site.directory / "leec" / "mm5_jan02.log"
    errlog.parent.mkdir()
    run = site.job("mm5_jan02", url, *COMMAND, f"--errlog={errlog}", script="mapclusters5.py")
    m.get_status()
    c = m.coordinators["mm5_jan02"]

    def updated() -> bool:
        m.get_status()
        return True

    def where() -> list[str]:
        updated()
        return sorted(host for host, _, _ in c.client_report)

    nodes = ["node1", "node2", "node3"]
    until(lambda: where() == ["node1", "node1", "node2", "node2", "node3"], "five processors on three hosts")

    # m.locks # SHOW LIST OF RESOURCES CURRENTLY LOCKED, UNDER CONSTRUCTION: one builder on each host
    until(lambda: updated() and set(m.locks) == {f"{node}:mm5" for node in nodes}, "each host builds")
    builders = dict(m.locks)
    assert {(node, builders[f"{node}:mm5"]) for node in nodes} <= {(host, pid) for host, pid, _ in c.client_report}
    assert not list(c.pending_report), "nobody has a task while the resource is under construction"
    site.touch("unzip")
    until(lambda: updated() and not m.locks, "it is built on all")
    assert m.resources == {f"{node}:mm5": MM5 for node in nodes}
    assert [host.path(MM5).read_text() for host in hosts] == [">chr1\n>chr2\n"] * 3
    assert not Path(MM5).exists(), "this machine has none"

    # for name,c in m.coordinators.items(): print(name,len(c.client_report))
    site.busy(5)
    for name, one in m.coordinators.items():
        print(name, len(one.client_report))
    assert capsys.readouterr().out == "mm5_jan02 5\n"

    # c.client_report.sort() # MAKE IT SORT CLIENTS BY HOSTNAME
    c.client_report.sort()
    assert [row[0] for row in c.client_report] == ["node1", "node1", "node2", "node2", "node3"]
    assert [row[2] for row in c.client_report] == [0] * 5
    # c.pending_report # PRINT LIST OF TASK IDS CURRENTLY RUNNING
    began = site.began()
    until(lambda: updated() and {row[0] for row in c.pending_report} == set(began), "the tasks that run are reported")
    # On which host each runs, as that host knows its processes.
    for task_id, host, pid, _ in c.pending_report:
        assert began[task_id] == pid
        assert any(each.pid == pid for each in hosts.named(host).processes())

    # c.nsuccess # PRINT TOTAL #TASKS DONE;  c.nerrors # PRINT TOTAL #TASKS FAILED
    site.touch(*(f"go.Mm.{n}" for n in (1, 2, 3, 5)), "go.Mm.4.bad")
    until(lambda: updated() and (c.nsuccess, c.nerrors) == (4, 1), "four are done and one failed")

    # c.logfile # PRINT LIST OF ALL PROCESSOR LOGFILES: on their hosts, private
    assert sorted(host for host, _, _ in c.logfile.values()) == ["node1", "node1", "node2", "node2", "node3"]
    said = ""
    for path, (host, pid, number) in c.logfile.items():
        log = hosts.named(host).path(path)
        assert os.path.basename(path).startswith(f"mm5_jan02_{number}.")
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        assert (host, pid) in {(row[0], row[1]) for row in c.client_report}
        said += log.read_text()
    # "(and all subprocesses run by it) send stdout and stderr to a logfile on local disk of the host"
    assert "masked Mm.1 -rodent\n" in said
    assert "ValueError: no such cluster: Mm.4.bad" in said
    logs: list[dict[str, Any]] = []
    for node in nodes:
        logs += site.document("logs", "mm5_jan02", f"--host={node}", f"--rc_url={url}", "--lines=0")["logs"]
    assert {one["log"] for one in logs if one["number"] is not None} == set(c.logfile)
    assert "masked Mm.1 -rodent" in [line for one in logs for line in one["lines"]]

    # m.set_hostinfo('llc22','maxload',2.0) # ADD A NEW HOST TO OUR DATABASE: one that is not there
    m.set_hostinfo("llc22", "maxload", 2.0)
    host = until(lambda: (one := m.get_farm()["hosts"]["llc22"])["state"] == "unreachable" and one, "it is tried")
    assert "the name llc22 is not known on this machine" in host["reason"]
    m.set_hostinfo("llc22", "maxload", 0.0)
    # and one that is there, with more room
    m.set_hostinfo("node3", "maxload", 2.0)
    until(lambda: where().count("node3") == 2, "another one on node3")
    # m.setload('llc1','maxload',0.0) # STOP USING llc1 FOR THE MOMENT
    gone = {pid for host, pid, _ in c.client_report if host == "node1"}
    m.setload("node1", "maxload", 0.0)
    site.touch("go")
    until(lambda: "node1" not in where(), "node1 is left")
    until(lambda: not any(each.pid in gone for each in hosts[0].processes()), "its processes ended")
    # m.load_balance() # MAKE IT ALLOCATE ANY FREE CPUS NOW...
    m.setload("node1", "maxload", 1.0)
    assert m.load_balance() is True
    until(lambda: where().count("node1") == 1, "one came back")
    assert m.retry_unused_hosts() is True
    m.delrule("hg17")
    updated()
    assert set(m.rules) == {"mm5"}

    # Coordinator logfile: tracebacks, what was started; ResourceController logfile: loads, resources, registrations
    until(lambda: "ValueError: no such cluster: Mm.4.bad\n" in errlog.read_text(), "the traceback")
    assert all(f"keeper starts host={node} processors=[" in errlog.read_text() for node in nodes)
    log = Path(m.errlog or "")
    until(lambda: all(f"report_load host={node}" in log.read_text() for node in nodes), "each host's load")
    c.stop("the test is over")
    until(lambda: not lives(run["pid"]), "the job ended")
    for words in ("register_coordinator mm5_jan02", "unregister_coordinator mm5_jan02", "setrule mm5"):
        assert words in log.read_text()
    for node in nodes:
        assert f"acquire_rule mm5 host={node}" in log.read_text()
        assert f"release_rule mm5 host={node}" in log.read_text()
    for each in hosts:
        each.run(["rm", "-rf", os.path.dirname(MM5)])
