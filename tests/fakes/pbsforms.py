"""The words of a fake OpenPBS (pbs.py): what its commands say where nobody answers, and how qstat prints a job.

From openpbs/openpbs, of 2026: each with the function or file that it is from.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from tests.fakes.jobs import Job

SERVER, HOST = "pbs-tests", socket.gethostname()
QUEUES = ("workq", "short")

# pbs_error.h
UNKNOWN_JOB, SYSTEM, UNKNOWN_QUEUE, PROTOCOL, ARRAY_SIZE = 15001, 15010, 15018, 15031, 15107
FINISHED, NO_HISTORY, FINISHED_SUBJOB = 15139, 15140, 15159

# cnt2server.c prints what errno says, and then each command its own (openpbs/openpbs issue 2554 has both of qstat);
# qstat gives up with what pbs_connect returned. Error (15031): do_submit() of qsub.c, where a server says nothing.
_AWAY = "Connection refused\n{}: cannot connect to server pbs-tests (errno=15010)\n"
WORDS = {
    "qsub": {"away": (_AWAY.format("qsub"), SYSTEM & 255, False),
             "lost": ("qsub: Error (15031) submitting job\n", PROTOCOL & 255, False)},
    "qstat": {"away": (_AWAY.format("qstat"), 255, False), "lost": ("qstat: Error 15031\n", PROTOCOL & 255, False)},
    "qdel": {"away": ("Connection refused\nCouldn't connect to cluster: pbs-tests\n", SYSTEM & 255, False),
             "lost": ("qdel: Error 15031\n", PROTOCOL & 255, False)},
}  # fmt: skip

# aiidateam/aiida-core, tests/schedulers/fixtures/qstat-multiline-func.txt, shortened: a shell function with line ends
FOREIGN = """\
Job Id: 171389798.mycluster
    Job_Name = script.sh
    Job_Owner = user@mycluster.cluster
    job_state = Q
    substate = 10
    Variable_List = PBS_O_HOME=/,MY_VARIABLE=1,MY_VARIABLE_2=2,
\tBASH_FUNC_my_func_multiline%%=() {  if true; then
 echo foo; else
 ech
\to bar; fi
},_=/opt/pbs/default/bin/qsub,
\tPBS_O_QUEUE=normal
    etime = Wed Jun 17 04:50:46 2026
    Submit_arguments = -V script.sh

"""


def exit_status(job: Job) -> str:
    """job.h: JOB_EXEC_KILL_WALLTIME is -29; 256 and the signal where one has ended the shell itself."""
    assert job.status is not None
    return "-29" if job.late else str(job.status if job.status >= 0 else 256 - job.status)


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def printed(native: str, fields: dict[str, str]) -> str:
    """prt_attr() of qstat.c: four spaces, and lines of at most 79 characters, of which a tab continues the first."""
    return f"Job Id: {native}\n" + "".join(_folded(f"    {name} = {value}") for name, value in fields.items()) + "\n"


def _folded(line: str) -> str:
    return "\n\t".join(_parts(line)) + "\n"


def _parts(line: str) -> Iterator[str]:
    width = 78
    while len(line) > width:
        comma = line.rfind(",", 0, width)
        at = comma + 1 if comma > 0 else width
        yield line[:at]
        line, width = line[at:], 70
    yield line
