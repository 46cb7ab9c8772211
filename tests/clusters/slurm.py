"""A throwaway Slurm of this machine: munged, slurmctld, some slurmd; with accounting, slurmdbd and MariaDB, too.

    with Slurm(tmp_path) as slurm:
        slurm.run("sbatch", "--wrap=hostname")

Debian's slurmd runs several times on one machine, each as a node of its own. All state, keys, sockets and logs lie in
the directory that it is given.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.clusters import mariadb
from tests.clusters.daemons import Cluster, Daemons, free_ports, lacking

PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "setpriv": "util-linux",
}
ACCOUNTING = {"slurmdbd": "slurmdbd", **mariadb.PROGRAMS}

#: cores and MiB that each node says it has; they are promises to Slurm only
CORES, MEMORY_MIB = 4, 4000
#: most elements of an array, and one: as a site has it that has not said otherwise
MAX_ARRAY = 1001

_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=200
GresTypes=gpu
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool.%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.%n.log
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=2
MinJobAge={min_job_age}
MaxArraySize={max_array}
MaxJobCount=20000
MessageTimeout=10
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000,default_queue_depth=1000
SlurmdParameters=config_overrides
{accounting}
NodeName=DEFAULT CPUs={cores} RealMemory={memory} State=UNKNOWN
{nodes}
PartitionName=main Nodes=n[1-{count}] Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=n1 MaxTime=1 State=UP PriorityTier=10
"""

_DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={place}/slurmdbd.log
PidFile={place}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
CommitDelay=1
"""

_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
# Its connection to slurmdbd stays open and finds munged by the "password".
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={place}/munge.socket"""


def missing(accounting: bool = False) -> str | None:
    """Why this machine cannot have one; None if it can."""
    return lacking({**PROGRAMS, **(ACCOUNTING if accounting else {})})


class Slurm(Cluster):
    """``nodes``: n1, n2, ...; ``min_job_age_s``: how long the queue remembers who has ended."""

    def __init__(self, place: Path, nodes: int = 2, accounting: bool = False, min_job_age_s: int = 300) -> None:
        self.place, self.nodes, self._accounting = place, nodes, accounting
        self._min_job_age_s = min_job_age_s
        #: what its commands need, beside what everybody has
        self.environment = {"SLURM_CONF": str(place / "slurm.conf"), "MUNGE_SOCKET": str(place / "munge.socket")}
        self.daemons = Daemons(place, self.environment)
        self.run = self.daemons.run

    def end_jobs(self) -> None:
        self.run("scancel", "--user=root", "--signal=KILL", "--full")
        self.run("scancel", "--user=root")
        self.daemons.wait("the jobs did not end", lambda: not self.jobs("RUNNING", "COMPLETING"))
        # A slurmstepd has a socket NODE_JOB.STEP while it lives, and outlives its slurmd: of one that could not tell
        # the controller how its job ended, that is up to 15 s after this one is back.
        self.daemons.wait("a slurmstepd did not end", lambda: not [*self.place.glob("spool.n*/n*_*.*")])

    def jobs(self, *states: str) -> list[str]:
        """Ids of those in the queue in these states, of all if there is none."""
        chosen = ",".join(states) or "all"
        return self.run("squeue", "--noheader", "--array", f"--states={chosen}", "--format=%i").stdout.split()

    def start_controller(self) -> None:
        self.daemons.start("slurmctld", "slurmctld", "-D", "-f", str(self.place / "slurm.conf"))

    def start_node(self, name: str) -> None:
        (self.place / f"spool.{name}").mkdir(exist_ok=True)
        self.daemons.start(f"slurmd.{name}", "slurmd", "-D", "-N", name, "-f", str(self.place / "slurm.conf"))

    def wait_for_controller(self) -> None:
        self.daemons.wait("slurmctld does not answer", lambda: self.run("scontrol", "ping").returncode == 0)

    def up(self) -> None:
        # munged asks that nobody else can write where its key and its socket are.
        self.place.chmod(0o755)
        (self.place / "state").mkdir()
        key = self.place / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.daemons.start(
            "munged", "munged", "--foreground", "--force", f"--socket={self.place}/munge.socket", f"--key-file={key}",
            f"--pid-file={self.place}/munged.pid", f"--seed-file={self.place}/munge.seed",
        )  # fmt: skip
        self.daemons.wait("munged does not answer", lambda: (self.place / "munge.socket").exists())
        ports = free_ports(self.nodes + 3)
        accounting = (
            self._account(ports[1], ports[2]) if self._accounting else "AccountingStorageType=accounting_storage/none"
        )
        host = socket.gethostname().partition(".")[0]
        nodes = "\n".join(
            f"NodeName=n{number + 1} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            for number, port in enumerate(ports[3:])
        )
        (self.place / "slurm.conf").write_text(
            _CONF.format(
                host=host, port=ports[0], place=self.place, accounting=accounting, cores=CORES, memory=MEMORY_MIB,
                nodes=nodes, count=self.nodes, max_array=MAX_ARRAY, min_job_age=self._min_job_age_s,
            )
        )  # fmt: skip
        (self.place / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        self.start_controller()
        for number in range(self.nodes):
            self.start_node(f"n{number + 1}")
        idle = ("sinfo", "--noheader", "--Node", "--partition=main", "--states=idle", "--format=%N")
        self.daemons.wait("the nodes are not idle", lambda: len(self.run(*idle).stdout.split()) == self.nodes)

    # --- inside -----------------------------------------------------------------------------------------

    def _account(self, port: int, sql: int) -> str:
        """Start a database and slurmdbd; the lines of slurm.conf that name them."""
        place = self.place / "database"
        place.mkdir()
        mariadb.start(
            self.daemons, place,
            "create database slurm; create user slurm@'%' identified by 'slurm'; grant all on slurm.* to slurm@'%'",
            "--bind-address=127.0.0.1", f"--port={sql}", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        conf = self.place / "slurmdbd.conf"
        conf.write_text(_DATABASE.format(place=self.place, port=port, sql=sql))
        conf.chmod(0o600)
        # The tools look for slurmdbd by slurm.conf, which is not whole yet.
        (self.place / "slurm.conf").write_text(
            f"ClusterName=tests\nSlurmctldHost=localhost\nAuthInfo=socket={self.place}/munge.socket\n"
            + _ACCOUNTING.format(port=port, place=self.place) + "\nNodeName=n1\nPartitionName=main Nodes=n1\n"
        )  # fmt: skip
        self.daemons.start("slurmdbd", "slurmdbd", "-D")
        add = ("sacctmgr", "--immediate", "--quiet", "add", "cluster", "tests")
        self.daemons.wait("slurmdbd does not answer", lambda: self.run(*add).returncode == 0)
        return _ACCOUNTING.format(port=port, place=self.place)
