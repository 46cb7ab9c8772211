"""A throwaway Grid Engine of this machine: a cell of its own with sge_qmaster and sge_execd.

    with GridEngine(tmp_path) as cell:
        cell.run("qsub", "-b", "y", "hostname")

Debian's package makes a cell under /var at its installation; that one is not touched. One queue, ``main.q``, and the
parallel environment ``smp`` on this machine; root may run jobs; schedules and accounts are written each second.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.clusters.daemons import Cluster, ClusterError, Daemons, free_ports, lacking

PROGRAMS = {
    "sge_qmaster": "gridengine-master",
    "sge_execd": "gridengine-exec",
    "qsub": "gridengine-client",
    "setpriv": "util-linux",
}
SLOTS = 4

_PACKAGE, _LIBRARIES = Path("/usr/share/gridengine"), Path("/usr/lib/gridengine")
_PE = """\
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""
_HOST = """\
hostname {host}
load_scaling NONE
complex_values NONE
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""


def missing() -> str | None:
    """Why this machine cannot have one; None if it can."""
    return lacking(PROGRAMS)


class GridEngine(Cluster):
    """``slots``: of its one queue."""

    def __init__(self, place: Path, slots: int = SLOTS) -> None:
        self.place, self.slots = place, slots
        self._host = socket.gethostname()
        qmaster, execd = free_ports(2)
        self.environment = {
            "SGE_ROOT": str(place), "SGE_CELL": "default", "SGE_CLUSTER_NAME": "tests",
            "SGE_QMASTER_PORT": str(qmaster), "SGE_EXECD_PORT": str(execd),
        }  # fmt: skip
        # SGE_ND: in the foreground.
        self.daemons = Daemons(place, {**self.environment, "SGE_ND": "true"})
        self.run = self.daemons.run

    def end_jobs(self) -> None:
        self.run("qdel", "-f", "-u", "*")
        self.daemons.wait("the jobs did not end", lambda: not self.run("qstat", "-u", "*").stdout.strip())

    def up(self) -> None:
        self.place.chmod(0o755)
        self._lay_out()
        self.daemons.start("sge_qmaster", "sge_qmaster")
        self.daemons.wait("sge_qmaster does not answer", lambda: self.run("qconf", "-sh").returncode == 0)
        for option in ("-ah", "-as"):
            self.run("qconf", option, self._host)
        self._change("-ssconf", "-Msconf", {
            "schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1",
            "job_load_adjustments": "NONE",
        })  # fmt: skip
        self._add("-Ae", _HOST.format(host=self._host))
        self._add("-Ahgrp", f"group_name @allhosts\nhostlist {self._host}\n")
        self._add("-Ap", _PE)
        self._change("-sq", "-Aq", {
            "qname": "main.q", "hostlist": "@allhosts", "slots": str(self.slots), "load_thresholds": "NONE",
            "pe_list": "smp", "shell": "/bin/bash", "shell_start_mode": "unix_behavior", "rerun": "TRUE",
        })  # fmt: skip
        self.daemons.start("sge_execd", "sge_execd")
        self.daemons.wait("sge_execd does not report", self._reports)

    # --- inside -----------------------------------------------------------------------------------------

    def _reports(self) -> bool:
        lines = self.run("qhost", "-h", self._host).stdout.splitlines()
        fields = lines[-1].split() if lines else []
        return len(fields) > 3 and fields[3] != "-"

    def _lay_out(self) -> None:
        place = self.place
        for name in ("default/common", "qmaster/job_scripts", "execd", "spooldb", "bin", "lib", "utilbin"):
            (place / name).mkdir(parents=True)
        for name in ("bin", "lib", "utilbin"):
            (place / name / "lx-amd64").symlink_to(_LIBRARIES)
        (place / "util").symlink_to(_PACKAGE / "util")
        common = place / "default/common"
        bootstrap = _with(
            (_PACKAGE / "default-bootstrap").read_text(),
            {"spooling_params": str(place / "spooldb"), "qmaster_spool_dir": str(place / "qmaster"),
             "admin_user": "root"},
        )  # fmt: skip
        (common / "bootstrap").write_text(bootstrap)
        (common / "act_qmaster").write_text(self._host + "\n")
        (common / "cluster_name").write_text("tests\n")
        # 127.0.0.1 may be called localhost: both are one host.
        (common / "host_aliases").write_text(f"{self._host} localhost\n")
        configuration = _with(
            (_PACKAGE / "default-configuration").read_text(),
            {"execd_spool_dir": str(place / "execd"), "min_uid": "0", "min_gid": "0", "load_report_time": "00:00:02",
             "max_unheard": "00:00:15", "mailer": "/bin/true", "reschedule_unknown": "00:00:00"},
        )  # fmt: skip
        configuration = configuration.replace("flush_time=00:00:15 joblog=false", "flush_time=00:00:01 joblog=true")
        (place / "configuration").write_text(configuration)
        make = (_PACKAGE / "scripts/init_cluster").read_text()
        (place / "init_cluster").write_text(re.sub(r"(?m)^baseconf=.*", f"baseconf={place}/configuration", make))
        made = self.run("sh", str(place / "init_cluster"), str(place), "default", str(place / "spooldb"), "root")
        if made.returncode:
            raise ClusterError(f"the cell could not be made: {made.stdout}{made.stderr}")

    def _add(self, option: str, text: str) -> None:
        file = self.place / f"new{option}"
        file.write_text(text)
        done = self.run("qconf", option, str(file))
        if done.returncode:
            raise ClusterError(f"qconf {option}: {done.stdout}{done.stderr}")

    def _change(self, show: str, option: str, values: dict[str, str]) -> None:
        self._add(option, _with(self.run("qconf", show).stdout, values))


def _with(text: str, values: dict[str, str]) -> str:
    """A configuration of lines ``name value`` with other values."""
    for name, value in values.items():
        text = re.sub(rf"(?m)^{name}\s.*", f"{name} {value}", text)
    return text
