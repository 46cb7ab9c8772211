"""The manual's commands and its shell session on a really running job, with values and not only without errors.

The manual's code runs as printed, but for Python 3, its slips, and what a test cannot have:

* ``import coordinator`` instead of ``from pygr import coordinator``; ``print()`` is a function;
* ``rmOpts=",`` lacks a quote: it is ``rmOpts=''``;
* the rule's command, a string broken over two lines, stands on one; it waits before it builds, to be watched;
* ``getUserCursor``, ``SQLTable``, ``BlastDB`` and ``megablast`` are the site's own: a text file, a resource that is a
  text file, and work that lasts until the test lets it end;
* a test takes no fixed port and no fixed directory: ``--port=0``, ``--rc_url=``, ``RCMonitor(port=...)``, ``/usr/tmp``
  and ``/data`` below the test's directory; ``llc1`` is this machine, ``localhost``.
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
from coordinator import paths
from coordinator.wire.client import split_url
from tests.end_to_end.daemons import Daemons, lives, until

pytestmark = pytest.mark.e2e

MAPCLUSTERS = """\
import os, subprocess, sys, time

import coordinator

HERE = {directory!r}


def map_clusters(server,genome_rsrc='hg17',dbname='HUMAN_SPLICE_03',
                 result_table='GENOME_ALIGNMENT.hg17_cluster_JUN03_all',
                 rmOpts='',**kwargs):
   "map clusters one by one"
   # CONSTRUCT RESOURCE FOR US IF NEEDED
   genome = BlastDB(ifile=server.open_resource(genome_rsrc,'r'))
   for cluster_id in server:
       m = genome.megablast(cluster_id,rmOpts=rmOpts) # MASK, BLAST, READ INTO m
       print(dbname, result_table, m)
       yield cluster_id # WE MUST FUNCTION AS GENERATOR

def serve_clusters(dbname='HUMAN_SPLICE_03',
                   source_table='HUMAN_SPLICE_03.genomic_cluster_JUN03',**kwargs):
   "serve up cluster_id one by one"
   print('serving', dbname, source_table)
   with open(os.path.join(HERE, source_table)) as t:
       for id in t:
           yield id.strip()


class BlastDB:
   def __init__(self, ifile):
       with ifile:
           self.name, self.text = ifile.name, ifile.read()

   def megablast(self, cluster_id, rmOpts):
       with open(os.path.join(HERE, 'at.%d.new' % os.getpid()), 'w') as f:
           f.write(str(os.getpid()))
       os.rename(f.name, os.path.join(HERE, 'at.' + cluster_id))
       while not any(os.path.exists(os.path.join(HERE, go)) for go in ('go', 'go.' + cluster_id)):
           time.sleep(0.01)
       if 'bad' in cluster_id:
           raise ValueError('no such cluster: ' + cluster_id)
       subprocess.run(['echo', 'masked', cluster_id, rmOpts], check=True)
       return cluster_id, self.text.strip()


if __name__=='__main__':
   coordinator.start_client_or_server(map_clusters,serve_clusters,['hg17'],__file__)
"""

COMMAND = (
    "--dbname=MOUSE_SPLICE", "--source_table=genomic_cluster_jan02", "--genome_rsrc=mm5",
    "--result_table=GENOME_ALIGNMENT.mm5_cluster_jan02_all", "--rmOpts=-rodent",
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Daemons]:
    """A directory with the script, its source table of 2000 clusters (the 4th is bad), and zipped chromosomes."""
    daemons = Daemons(tmp_path)
    (tmp_path / "mapclusters5.py").write_text(MAPCLUSTERS.format(directory=str(tmp_path)))
    clusters = [f"Mm.{n}" if n != 4 else "Mm.4.bad" for n in range(1, 2001)]
    (tmp_path / "genomic_cluster_jan02").write_text("\n".join(clusters) + "\n")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("chr1", "chr2"):
        (data / f"{name}.fa.gz").write_bytes(gzip.compress(f">{name}\n".encode()))
    yield daemons
    daemons.touch("go", "unzip")
    daemons.end()


def monitor(url: str) -> coordinator.RCMonitor:
    return coordinator.RCMonitor(port=split_url(url)[1])


def rule(site: Daemons) -> tuple[str, str]:
    """The manual's rule, which waits until the test lets it build."""
    return (
        f"{site.directory}/usr/tmp/ucsc_msa/mm5",
        f"while [ ! -e {site.directory}/unzip ]; do sleep 0.02; done; gunzip -c {site.directory}/data/*.fa.gz >%s",
    )


def begin(site: Daemons, *more: str) -> tuple[coordinator.RCMonitor, coordinator.CoordinatorMonitor, dict[str, Any]]:
    """bigcheese, its rules, and the job mm5_jan02 with two processors that wait for the resource."""
    url = site.controller("localhost 2.0\n")
    m = monitor(url)
    m.setrule("mm5", rule(site))
    m.setrule("hg17", (f"{site.directory}/hg17", "touch %s"))
    run = site.job("mm5_jan02", url, *COMMAND, *more, script="mapclusters5.py")
    m.get_status()
    return m, m.coordinators["mm5_jan02"], run


def updated(m: coordinator.RCMonitor) -> bool:
    m.get_status()
    return True


def pids(c: coordinator.CoordinatorMonitor) -> set[int]:
    return {pid for _, pid, _ in c.client_report}


def test_the_coordinator_section(site: Daemons) -> None:
    errlog = site.directory / "leec" / "mm5_jan02.log"
    errlog.parent.mkdir()
    _, c, run = begin(site, f"--errlog={errlog}", "--priority=2.0")
    # "The Coordinator will run as a demon process, in the background, and redirect its output into a file."
    assert os.getsid(run["pid"]) == run["pid"] != os.getsid(0)
    assert {os.readlink(f"/proc/{run['pid']}/fd/{n}") for n in (0, 1, 2)} == {"/dev/null", str(errlog)}
    assert (run["log"], c.errlog, c.name, c.priority) == (str(errlog), str(errlog), "mm5_jan02", 2.0)
    assert not (site.directory / "mm5_jan02.log").exists()
    assert stat.S_IMODE(errlog.stat().st_mode) == 0o600
    # "Command-line arguments are passed to your client and server functions as Python named parameters."
    site.touch("unzip", "go.Mm.1", "go.Mm.2", "go.Mm.3")
    site.busy(4)
    until(lambda: "serving MOUSE_SPLICE genomic_cluster_jan02\n" in errlog.read_text(), "the server got its options")
    said = [path.read_text() for path in paths.log_directory().glob("mm5_jan02_[0-9]*.log")]
    printed = "MOUSE_SPLICE GENOME_ALIGNMENT.mm5_cluster_jan02_all ('Mm.1', '>chr1\\n>chr2')"
    until(lambda: any(printed in path.read_text() for path in paths.log_directory().iterdir()), f"the client: {said}")


def test_the_resource_controller_section(site: Daemons) -> None:
    log = site.directory / "elsewhere.log"
    url = site.controller(
        "llc1 2.0\n", "--overload_margin=0.9", "--rebalance_frequency=600", f"--errlog={log}", "--throttle=0.5"
    )
    assert {path.name for path in site.directory.glob("bigcheese.*")} == {
        "bigcheese.hosts", "bigcheese.rules", "bigcheese.rsrc", "bigcheese.rc.json",
    }  # fmt: skip
    m = monitor(url)
    farm = m.get_farm()
    assert (m.name, m.errlog, list(m.hosts)) == ("bigcheese", str(log), [["llc1", 2.0]])
    assert (farm["overload_margin"], farm["rebalance_frequency"], farm["throttle"]) == (0.9, 600.0, 0.5)
    assert "serve bigcheese" in log.read_text()


def test_a_session_watches_the_job(site: Daemons, capsys: pytest.CaptureFixture[str]) -> None:
    m, c, _ = begin(site)
    until(lambda: updated(m) and len(c.client_report) == 2, "two processors")

    # m.locks # SHOW LIST OF RESOURCES CURRENTLY LOCKED, UNDER CONSTRUCTION
    until(lambda: updated(m) and m.locks, "the resource is under construction")
    assert set(m.locks) == {"localhost:mm5"}
    assert m.locks["localhost:mm5"] in pids(c)
    assert m.resources == {}
    assert m.rules == {"mm5": list(rule(site)), "hg17": [f"{site.directory}/hg17", "touch %s"]}
    assert not list(c.pending_report), "nobody has a task while the resource is under construction"
    site.touch("unzip")
    until(lambda: updated(m) and not m.locks, "the resource is built")
    assert m.resources == {"localhost:mm5": rule(site)[0]}
    assert Path(rule(site)[0]).read_text() == ">chr1\n>chr2\n"

    # for name,c in m.coordinators.items(): print(name,len(c.client_report))
    running = site.busy(2)
    for name, one in m.coordinators.items():
        print(name, len(one.client_report))
    assert capsys.readouterr().out == "mm5_jan02 2\n"

    c.client_report.sort()
    assert [tuple(row) for row in c.client_report] == sorted(("localhost", pid, 0) for pid in set(running.values()))
    assert all(lives(pid) for pid in pids(c))

    # c.pending_report # PRINT LIST OF TASK IDS CURRENTLY RUNNING
    def pending() -> set[tuple[str, int]]:
        c.get_status()
        return {(task_id, pid) for task_id, host, pid, since in c.pending_report if host == "localhost" and since > 0}

    assert len(running) == 2
    assert pending() == set(running.items())

    # c.nsuccess # PRINT TOTAL #TASKS DONE;  c.nerrors # PRINT TOTAL #TASKS FAILED
    assert (c.nsuccess, c.nerrors) == (0, 0)
    assert "Mm.1" in running
    site.touch("go.Mm.1")
    until(lambda: updated(m) and c.nsuccess == 1, "one task is done")
    assert c.n >= 2
    done = {"Mm.1", "Mm.2", "Mm.3"}
    site.touch("go.Mm.2", "go.Mm.3", "go.Mm.4.bad")
    until(lambda: updated(m) and (c.nsuccess, c.nerrors) == (3, 1), "three are done and one failed")
    until(lambda: len(site.began().keys() - done - {"Mm.4.bad"}) == 2, "the next two began")
    running = {task_id: pid for task_id, pid in site.began().items() if task_id not in {*done, "Mm.4.bad"}}
    until(lambda: pending() == set(running.items()), "the next two are reported")
    assert sum(done for _, _, done in c.client_report) == 3
    until(lambda: set((site.directory / "mm5_jan02.success").read_text().split()) == done, "NAME.success has them")
    until(lambda: (site.directory / "mm5_jan02.error").read_text() == "Mm.4.bad\n", "NAME.error has it")

    # c.logfile # PRINT LIST OF ALL PROCESSOR LOGFILES
    assert {pid for _, pid, _ in c.logfile.values()} == pids(c)
    for path, (host, _, number) in c.logfile.items():
        assert (host, Path(path)) == ("localhost", paths.log_directory() / f"mm5_jan02_{number}.log")
        assert "MOUSE_SPLICE" in Path(path).read_text()
    assert c.get_job()["leased"] >= 2, "leased ones are told apart"


def test_a_session_directs_the_farm(site: Daemons) -> None:
    site.touch("unzip")
    m, c, _ = begin(site)
    until(lambda: updated(m) and len(c.client_report) == 2, "two processors")
    site.busy(2)

    # m.set_hostinfo('llc22','maxload',2.0) # ADD A NEW HOST TO OUR DATABASE
    m.set_hostinfo("llc22", "maxload", 2.0)
    m.get_status()
    assert list(m.hosts) == [["localhost", 2.0], ["llc22", 2.0]]
    assert m.get_hostinfo("llc22", "maxload") == 2.0
    host = until(lambda: (one := m.get_farm()["hosts"]["llc22"])["state"] == "unreachable" and one, "it is tried")
    assert "llc22" in host["reason"]
    assert c.get_job()["unreachable"] == {"llc22": host["reason"]}
    site.touch("go")
    done = c.nsuccess
    until(lambda: updated(m) and c.nsuccess > done + 5, "the job goes on with the rest")
    assert len(c.client_report) == 2

    # m.setload('llc1','maxload',0.0) # STOP USING llc1 FOR THE MOMENT
    m.setload("localhost", "maxload", 0.0)
    until(lambda: updated(m) and len(c.client_report) == 0, "the processors left")
    assert not any(lives(pid) for _, pid, _ in c.logfile.values())
    assert ["localhost", 0.0] in m.hosts
    assert [pid for _, pid, _ in c.logfile.values()] == [False, False]

    # m.load_balance() # MAKE IT ALLOCATE ANY FREE CPUS NOW...
    m.setload("localhost", "maxload", 1.0)
    assert m.load_balance() is True
    until(lambda: updated(m) and len(c.client_report) == 1, "one came back")
    done = c.nsuccess
    until(lambda: updated(m) and c.nsuccess > done, "it works")
    numbers = [number for _, _, number in c.logfile.values()]
    assert len(numbers) == len(set(numbers)) == 3, "no number is used twice"

    # retry_unused_hosts(): those that could not be reached are tried again, and say so again
    assert m.retry_unused_hosts() is True
    until(lambda: m.get_farm()["hosts"]["llc22"]["state"] == "unreachable", "llc22 was tried again")
    m.delrule("hg17")
    m.get_status()
    assert set(m.rules) == {"mm5"}


def test_a_session_directs_the_job(site: Daemons) -> None:
    site.touch("unzip")
    m, c, _ = begin(site)
    first, second = sorted(site.busy(2).items())
    assert first[0] == "Mm.1"
    until(lambda: updated(m) and pids(c) == {first[1], second[1]}, "two processors")

    # set_max_clients: whoever asks first leaves; what runs is finished
    assert c.set_max_clients(1) is True
    site.touch("go.Mm.1")
    until(lambda: updated(m) and pids(c) == {second[1]}, "one left")
    until(lambda: not lives(first[1]), "its process ended")
    assert (c.nsuccess, [row[0] for row in c.pending_report]) == (1, [second[0]])
    assert c.set_max_clients(2) is True
    until(lambda: updated(m) and len(c.client_report) == 2, "another one came")
    assert first[1] not in pids(c)

    # stop_client: that one leaves, and since its slot is there, another one comes
    assert c.stop_client("localhost", second[1]) is True
    site.touch("go")
    until(lambda: updated(m) and second[1] not in pids(c) and len(c.client_report) == 2, "it was replaced")
    until(lambda: not lives(second[1]), "its process ended")
    assert c.nsuccess >= 2, "what it worked on is done"
    with pytest.raises(coordinator.errors.UnknownProcessor):
        c.stop_client("localhost", second[1])


def test_the_logs_section(site: Daemons) -> None:
    m, c, run = begin(site)
    # ResourceController logfile: load reporting, as long as there is a job
    until(lambda: "report_load host=localhost" in Path(m.errlog).read_text(), "the load was reported")
    site.touch("unzip", "go")
    until(lambda: updated(m) and c.nsuccess > 10 and c.nerrors == 1, "tasks are done, one failed")
    # Processor logfiles: every Processor "(and all subprocesses run by it) send stdout and stderr to a logfile"
    said = "".join(Path(path).read_text() for path in c.logfile)
    assert "masked Mm.1 -rodent\n" in said, "the output of its subprocesses is there"
    assert f"building {rule(site)[0]}: " in said
    assert "ValueError: no such cluster: Mm.4.bad" in said
    assert all(stat.S_IMODE(os.stat(path).st_mode) == 0o600 for path in c.logfile)
    # Coordinator logfile: requests, tracebacks, what was started
    log = Path(c.errlog).read_text()
    assert Path(c.errlog) == site.directory / "mm5_jan02.log"
    assert "keeper starts host=localhost processors=[" in log
    assert "exchange processor=" in log
    assert "ValueError: no such cluster: Mm.4.bad\n" in log
    assert f'  File "{site.directory}/mapclusters5.py", line' in log
    assert all(f"pid={pid}" in log for pid in pids(c)), "each registration is there"
    # ResourceController logfile: register() and unregister(), resource requests
    c.stop("the test is over")
    until(lambda: not lives(run["pid"]), "the job ended")
    log = Path(m.errlog).read_text()
    for word in ("register_coordinator mm5_jan02", "unregister_coordinator mm5_jan02", "setrule mm5",
                 "acquire_rule mm5 host=localhost", "release_rule mm5 host=localhost"):  # fmt: skip
        assert word in log
    m.get_status()
    assert m.coordinators == {}
