"""A fake LSF 10.1: ``bsub``, ``bjobs``, ``bkill`` and ``bparams`` as its dialect uses them.

From IBM's pages on Spectrum LSF 10.1 (named by their titles below), from what its clients' tests have recorded, and
from openlava, which descends from LSF (named by its files). Where none of them has the text of a refusal, it is
:class:`~tests.fakes.server.Unclaimed`.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from pathlib import Path

from tests.fakes.jobs import Job, Jobs
from tests.fakes.server import Answer, Asked, Fake, Unclaimed

HOST = socket.gethostname()
QUEUES = ("normal", "short")
FIELDS = {
    "jobid", "jobindex", "stat", "job_name", "exec_host", "exit_code", "exit_reason", "pend_reason", "cpu_used",
    "run_time", "max_mem",
}  # fmt: skip
#: exit(-1), as every command of openlava ends that could not
BAD = 255

# "Please wait" as in the tests of mskcc/ridgeback's batch_systems.lsf_client and a page on setting LSF up: the commands
# try again until somebody ends them. "End of file": lsb.err.c of openlava.
_DOWN = ("LSF is down. Please wait ...\n", BAD, True)
_LOST = {"bsub": "End of file. Job not submitted.\n"}
_WORDS = {
    name: {"away": _DOWN, "lost": (_LOST.get(name, "End of file\n"), BAD, False)}
    for name in ("bsub", "bjobs", "bkill", "bparams")
}

# Composed after a mail to Open MPI's users (Platform LSF 7.0.4) and what a LIM of 2017 printed; on standard error, as
# every command of openlava does
VERSION = """\
IBM Spectrum LSF Standard 10.1.0.0, Jun 15 2016
Copyright International Business Machines Corp. 1992, 2016.

  binary type: linux2.6-glibc2.3-x86_64
"""

# IBM, "Termination reasons displayed by bacct, bhist, and bjobs", as aiida-core's test_lsf.py and ridgeback record them
OWNER = "TERM_OWNER: job killed by owner"
RUNLIMIT = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"


class Lsf(Fake):
    """``minute_s``: how long a minute is, in which LSF has its limits; ``largest``: MAX_JOB_ARRAY_SIZE."""

    words = _WORDS

    def __init__(self, place: Path, slots: int = 4, minute_s: float = 60.0, largest: int = 1000) -> None:
        super().__init__(place)
        self.minute_s, self.largest = minute_s, largest
        # IBM, "bkill": SIGINT, SIGTERM, SIGKILL, JOB_TERMINATE_INTERVAL (10 s) apart; "bsub -W": SIGUSR2, and these
        # ten minutes later
        stop = ((signal.SIGINT, 0.3), (signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0))
        self.jobs = Jobs(place, slots, stop, ((signal.SIGUSR2, 1.0), *stop))

    def answer(self, asked: Asked) -> Answer:
        if asked.words == ["-V"]:
            return Answer(err=VERSION)
        return {"bsub": self._bsub, "bjobs": self._bjobs, "bkill": self._bkill, "bparams": self._bparams}[
            asked.program
        ](asked)

    # --- bsub -------------------------------------------------------------------------------------------

    def _bsub(self, asked: Asked) -> Answer:
        """IBM, "bsub": options, each with a value, and then the command, whose words a shell gets in one line."""
        told: dict[str, list[str]] = {}
        words = list(asked.words)
        while words and words[0].startswith("-"):
            option = words.pop(0)
            if option not in ("-J", "-o", "-cwd", "-n", "-R", "-M", "-W", "-gpu", "-q", "-P") or not words:
                raise Unclaimed(f"bsub {option}")
            told.setdefault(option, []).append(words.pop(0))
        if not words or not {"-J", "-o", "-cwd", "-n", "-R"} <= set(told):
            raise Unclaimed(f"bsub {' '.join(asked.words)}")
        one = {option: values[-1] for option, values in told.items()}
        # lsb.err.c of openlava, and equinor/ert, test_lsf_driver.py (what was recorded on the command line)
        if one.get("-q", QUEUES[0]) not in QUEUES:
            return Answer(err=f"{one['-q']}: No such queue. Job not submitted.\n", code=BAD)
        name = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[1-([1-9][0-9]*)\])?", one["-J"])
        if name is None:
            raise Unclaimed(f"-J {one['-J']}")
        count = int(name[2] or 0)
        if count > self.largest:
            return Answer(err="Job array index too large. Job not submitted.\n", code=BAD)
        slots = int(one["-n"])
        if slots > 2 * self.jobs.slots:  # the limit of its queues
            return Answer(err="Too many processors requested. Job not submitted.\n", code=BAD)
        for section in told["-R"]:
            if section.startswith("rusage") and not re.fullmatch(r"rusage\[mem=[0-9]+MB\]", section):
                return Answer(err="Error in rusage section. Job not submitted.\n", code=BAD)
            if not re.fullmatch(r"rusage\[mem=[0-9]+MB\]|span\[(hosts=1|ptile=[0-9]+)\]", section):
                raise Unclaimed(f"-R {section}")
        self._claimed(one)
        number = self.jobs.number()
        limit_s = int(one["-W"]) * self.minute_s if "-W" in one else None
        queue = one.get("-q", QUEUES[0])
        jobs = []
        for index in range(1, count + 1) if count else (0,):
            # IBM, "Environment variables set for job execution": those of bsub's place are there, too
            own = {"LSB_JOBID": str(number), "LSB_JOBINDEX": str(index), "LSB_QUEUE": queue, "LSB_JOBNAME": name[1]}
            own |= {"LSB_HOSTS": HOST, "LSB_DJOB_NUMPROC": str(slots), "LS_SUBCWD": asked.directory}
            output = one["-o"].replace("%J", str(number)).replace("%I", str(index))
            job = Job(
                number, index, f"{name[1]}[{index}]" if index else name[1], asked.environment.get("USER", "root"),
                ["/bin/sh", "-c", " ".join(words)], one["-cwd"], asked.environment | own, output, slots, limit_s,
            )  # fmt: skip
            jobs.append(job)
        self.jobs.add(jobs)
        # aiida-core, tests/schedulers/test_lsf.py, and clients' comments for the default queue
        where = f"queue <{queue}>" if "-q" in one else f"default queue <{queue}>"
        return Answer(f"Job <{number}> is submitted to {where}.\n")

    def _claimed(self, one: dict[str, str]) -> None:
        forms = {"-M": "[0-9]+MB", "-W": "[1-9][0-9]*", "-gpu": "num=[1-9][0-9]*", "-P": "[A-Za-z0-9_.-]+"}
        for option, form in forms.items():
            if not re.fullmatch(form, one.get(option, "")) and option in one:
                raise Unclaimed(f"{option} {one[option]}")

    # --- bjobs ------------------------------------------------------------------------------------------

    def _bjobs(self, asked: Asked) -> Answer:
        """IBM, "bjobs", "-json", "-o"; exit statuses and words for nobody: "LSB_BJOBS_CONSISTENT_EXIT_CODE", Y."""
        match asked.words:
            case ["-a", "-json", "-o", fields, "-u", user]:
                jobs, err = [job for job in self.jobs.all() if job.user == user], "No job found\n"
            case ["-a", "-json", "-o", fields, "-J", name]:
                # "-J": an array's name without its indices is that of all its elements
                jobs = [job for job in self.jobs.all() if job.name.partition("[")[0] == name]
                err = f"Job <{name}> is not found\n"
            case ["-a", "-json", "-o", fields, *ids] if ids and not any(word.startswith("-") for word in ids):
                jobs, err = [], ""
                for word in ids:
                    some = self._of(word)
                    jobs += some
                    err += "" if some else f"Job <{word}> is not found\n"
            case ["-l", word]:
                return self._long(word)
            case _:
                raise Unclaimed(f"bjobs {' '.join(asked.words)}")
        if unknown := set(fields.split()) - FIELDS:
            raise Unclaimed(f"bjobs -o {' '.join(sorted(unknown))}")
        records = [self._record(job, fields.split()) for job in jobs]
        if not records:
            return Answer(err=err, code=BAD)
        missing = err if "is not found" in err and asked.words[4:5] not in (["-u"], ["-J"]) else ""
        # TheRoddyWMS/BatchEuphoria, LSFJobManagerSpec.groovy
        told = {"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}
        return Answer(json.dumps(told, indent=2, separators=(",", ":")) + "\n", missing, BAD if missing else 0)

    def _record(self, job: Job, fields: list[str]) -> dict[str, str]:
        """Fields: IBM, "bjobs -o"; forms of their values: the records in tests/unit/test_lsf_dialect.py."""
        wall = f"{int((job.ended or time.time()) - job.began)} second(s)" if job.began else ""
        told = {
            "jobid": str(job.number), "jobindex": str(job.index), "job_name": job.name, "stat": _state(job),
            "exec_host": ":".join([HOST] * job.slots) if job.began else "", "exit_code": _exit_code(job),
            "exit_reason": _reason(job), "pend_reason": "New job is waiting for scheduling;" if job.waits else "",
            "cpu_used": "0.1 second(s)" if job.began else "", "run_time": wall,
            "max_mem": "5.2 Mbytes" if job.ended and job.began else "",
        }  # fmt: skip
        return {field.upper(): told[field] for field in fields}

    def _long(self, word: str) -> Answer:
        """The first line of IBM's example in "bjobs -UF", of which -l breaks its lines."""
        jobs = self._of(word)
        if not jobs:
            return Answer(err=f"Job <{word}> is not found\n", code=BAD)
        lines = [f"Job <{word}>, Job Name <{job.name}>, User <{job.user}>, Status <{_state(job)}>" for job in jobs]
        return Answer("\n".join(lines) + "\n")

    # --- bkill and bparams ------------------------------------------------------------------------------

    def _bkill(self, asked: Asked) -> Answer:
        """equinor/ert, test_lsf_driver.py (test_kill): one that could not be killed makes the whole command fail."""
        out, err = "", ""
        for word in asked.words:
            jobs = self._of(word)
            if not jobs:
                err += f"Job <{word}>: No matching job found\n"
            elif all(job.ended for job in jobs):
                err += f"Job <{word}>: Job has already finished\n"
            else:
                for job in jobs:
                    self.jobs.delete(job)
                out += f"Job <{word}> is being terminated\n"
        return Answer(out, err, BAD if err else 0)

    def _bparams(self, asked: Asked) -> Answer:
        """IBM, "bparams -a": all parameters of lsb.params; the form is that which a MATLAB script for LSF looks for."""
        if asked.words != ["-a"]:
            raise Unclaimed(f"bparams {' '.join(asked.words)}")
        return Answer(f"    CLEAN_PERIOD = 3600\n    MAX_JOB_ARRAY_SIZE = {self.largest}\n")

    def _of(self, word: str) -> list[Job]:
        found = re.fullmatch(r"([1-9][0-9]*)(?:\[([1-9][0-9]*)\])?", word)
        if found is None:
            raise Unclaimed(f"the id {word}")
        return [job for job in self.jobs.of(int(found[1])) if found[2] is None or job.index == int(found[2])]


def _state(job: Job) -> str:
    return "PEND" if job.waits else "RUN" if job.runs else "DONE" if job.status == 0 and not job.deleted else "EXIT"


def _exit_code(job: Job) -> str:
    """128 and the signal; nothing where it was 0, or where it never began."""
    if job.status is None or job.status == 0:
        return ""
    return str(job.status if job.status > 0 else 128 - job.status)


def _reason(job: Job) -> str:
    return "" if not job.ended else RUNLIMIT if job.late else OWNER if job.deleted else ""
