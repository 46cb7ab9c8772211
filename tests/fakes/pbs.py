"""A fake OpenPBS: ``qsub``, ``qstat`` and ``qdel`` as its dialect uses them.

From openpbs/openpbs, of 2026, where a function or a file is named below; qsub(1B), qstat(1B) and pbs_job_attributes(7B)
of the same. Exit statuses are error numbers of pbs_error.h, of which a shell sees the last eight bits.

What is known about the jobs of others is one recorded job that has a shell function in its variables.
"""

from __future__ import annotations

import getopt
import re
import signal
import time
from pathlib import Path

from tests.fakes.jobs import Job, Jobs
from tests.fakes.pbsforms import (
    ARRAY_SIZE,
    FINISHED,
    FINISHED_SUBJOB,
    FOREIGN,
    HOST,
    NO_HISTORY,
    QUEUES,
    SERVER,
    UNKNOWN_JOB,
    UNKNOWN_QUEUE,
    WORDS,
    clock,
    exit_status,
    printed,
)  # fmt: skip
from tests.fakes.server import Answer, Asked, Fake, Unclaimed

# getopt's of qsub_sup.c, qstat.c and qdel.c
QSUB = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:q:r:R:S:u:v:VW:XzP:"
QSTAT = "ainpqrstwxu:fGHJMQEBW:T1F:D:"
QDEL = "W:x"


class Pbs(Fake):
    """``history``: does the server keep it? ``largest``: elements of an array."""

    words = WORDS

    def __init__(self, place: Path, slots: int = 4, history: bool = True, largest: int = 10_000) -> None:
        super().__init__(place)
        self.history, self.largest = history, largest
        # kill_delay in pbs_queue_attributes(7B): SIGTERM, and so many seconds later SIGKILL
        stop = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0))
        self.jobs = Jobs(place, slots, stop, stop)

    def answer(self, asked: Asked) -> Answer:
        # PRINT_VERSION_AND_EXIT of pbs_version.h.in
        if asked.words == ["--version"]:
            return Answer("pbs_version = 23.06.06\n")
        return {"qsub": self._qsub, "qstat": self._qstat, "qdel": self._qdel}[asked.program](asked)

    # --- qsub -------------------------------------------------------------------------------------------

    def _qsub(self, asked: Asked) -> Answer:
        options, rest = _options(asked, QSUB, "C N j o J l q A W")
        if options is None or len(rest) != 1:
            return Answer(err=_complaint("qsub", rest, options is None) + "usage: qsub [-a date_time] ...\n", code=2)
        told = dict(options)
        if told.get("-C") != "":
            raise Unclaimed("a script whose directives are read")
        if told.get("-j") != "oe" or not told.get("-o", "").startswith("/"):
            raise Unclaimed("outputs that are not one file")
        if any(value != "umask=022" for option, value in options if option == "-W"):
            raise Unclaimed(f"-W {told['-W']}")
        # PBS_MAXJOBNAME is 230 today; POSIX's qsub takes 15.
        if not re.fullmatch(r"[A-Za-z][!-~]{0,14}", told.get("-N", "")):
            return Answer(err="qsub: illegal -N value\nusage: qsub [-a date_time] ...\n", code=2)
        if told.get("-q", QUEUES[0]) not in QUEUES:
            return _refusal("qsub: Unknown queue", UNKNOWN_QUEUE)
        count = 0
        if "-J" in told:
            bounds = re.fullmatch(r"1-([0-9]+)", told["-J"])
            if bounds is None or int(bounds[1]) < 2:
                return Answer(err="qsub: illegal -J value\nusage: qsub [-a date_time] ...\n", code=2)
            count = int(bounds[1])
            if count > self.largest:
                return _refusal("qsub: Array job exceeds server or queue size limit", ARRAY_SIZE)
        number = self.jobs.number()
        native = f"{number}[].{SERVER}" if count else f"{number}.{SERVER}"
        # The server has a copy of its own.
        script = self.place / f"{number}.SC"
        script.write_bytes(Path(rest[0]).read_bytes())
        script.chmod(0o700)
        slots, limit_s = _resources([value for option, value in options if option == "-l"])
        queue = told.get("-q", QUEUES[0])
        jobs = []
        for index in range(1, count + 1) if count else (0,):
            # 7B, "Environment variables": little of what is there where qsub runs is there in the job.
            own = self._id(number, index)
            environment = {
                "HOME": str(self.place / "home"), "PATH": "/usr/local/bin:/usr/bin:/bin", "SHELL": "/bin/sh",
                "PBS_O_WORKDIR": asked.directory, "PBS_O_HOME": asked.environment.get("HOME", "/"),
                "PBS_O_PATH": asked.environment["PATH"], "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBID": own,
                "PBS_JOBNAME": told["-N"], "PBS_QUEUE": queue, "NCPUS": str(slots),
            }  # fmt: skip
            if index:
                environment |= {"PBS_ARRAY_INDEX": str(index), "PBS_ARRAY_ID": native}
            output = told["-o"].replace("^array_index^", str(index)) if index else told["-o"]
            job = Job(
                number, index, told["-N"], asked.environment.get("USER", "root"), [str(script)],
                str(self.place / "home"), environment, output, slots, limit_s,
                {"queue": queue, "account": told.get("-A", "")},
            )  # fmt: skip
            jobs.append(job)
        self.jobs.add(jobs)
        return Answer(f"{native}\n")

    # --- qstat ------------------------------------------------------------------------------------------

    def _qstat(self, asked: Asked) -> Answer:
        options, rest = _options(asked, QSTAT, "f t x B")
        if options is None:
            return Answer(err=_complaint("qstat", rest, True) + "usage: \nqstat [-f] [-J] ...\n", code=2)
        letters = {option for option, _ in options}
        if letters == {"-B", "-f"} and not rest:
            # display_statserver() of qstat.c; the attribute: pbs_server_attributes(7B)
            fields = f"    server_state = Active\n    max_array_size = {self.largest}\n    pbs_version = 23.06.06\n"
            return Answer(f"Server: {SERVER}\n{fields}\n")
        if "-f" not in letters or "-B" in letters:
            raise Unclaimed(f"qstat {' '.join(asked.words)}")
        old, subjobs = "-x" in letters, "-t" in letters
        if old and not self.history:
            # req_stat_job() of req_stat.c
            return _refusal("qstat: PBS is not configured to maintain job history", NO_HISTORY)
        if not rest:
            numbers = sorted({job.number for job in self.jobs.all()})
            return Answer(FOREIGN + "".join(self._told(number, old, subjobs) for number in numbers))
        out, err, code = "", "", 0
        for word in rest:
            number, index = _id_of(word)
            jobs = self.jobs.of(number)
            if not jobs or (not self.history and self._over(jobs)):
                err, code = f"{err}qstat: Unknown Job Id {word}\n", UNKNOWN_JOB
            elif self._over(jobs) and not old:
                # main() of qstat.c
                use = "use -x or -H to obtain historical job information"
                err, code = f"{err}qstat: {word} Job has finished, {use}\n", FINISHED
            elif index:
                out += self._subjob(next(job for job in jobs if job.index == index), jobs)
            else:
                out += self._told(number, old, subjobs)
        return Answer(out, err, code & 255)

    def _told(self, number: int, old: bool, subjobs: bool) -> str:
        """do_stat_of_a_job() of req_stat.c: a whole array, and with -t its elements, too."""
        jobs = self.jobs.of(number)
        if self._over(jobs) and not (old and self.history):
            return ""
        if not jobs[0].index:
            return printed(self._id(number, 0), self._fields(jobs[0]))
        fields = self._whole(jobs) | {"array": "True", "array_indices_submitted": f"1-{len(jobs)}"}
        text = printed(f"{number}[].{SERVER}", fields)
        return text + "".join(self._subjob(job, jobs) for job in jobs) if subjobs else text

    def _whole(self, jobs: list[Job]) -> dict[str, str]:
        begun = [job.began for job in jobs if job.began]
        fields = {"Job_Name": jobs[0].name, "job_state": "F" if self._over(jobs) else "B" if begun else "Q"}
        fields |= {"queue": jobs[0].told["queue"], "substate": "92" if self._over(jobs) else "10"}
        comment = time.strftime("Job Array Began at %a %b %d at %H:%M", time.localtime(min(begun, default=0)))
        fields["comment"] = comment if begun else self._why(jobs[0])
        over = [job for job in jobs if job.status is not None]
        if over:
            # update_sj_parent() of array_func.c: 0, 1 or 2, after the element that has ended last
            last = int(exit_status(max(over, key=lambda job: job.ended)))
            fields["Exit_status"] = "1" if last > 0 else "2" if last < 0 else "0"
        return fields

    def _subjob(self, job: Job, jobs: list[Job]) -> str:
        """Of an element that the server has no record of (it waits, it has never begun, or there is no history) is told
        what is told of the whole array, its exit status included, but for state and comment: expand_remaining_subjob()
        of dec_reply.c, status_subjob() of stat_job.c; "finished" says nothing (test_subjob_comments in pbs_job_array.py
        has it of one that was deleted)."""
        own = self._id(job.number, job.index)
        if job.waits:
            return printed(own, self._whole(jobs) | {"job_state": "Q", "substate": "10"})
        if not job.ended or (self.history and job.began):
            return printed(own, self._fields(job) | {"array_id": f"{job.number}[].{SERVER}"})
        return printed(own, self._whole(jobs) | {"job_state": "X", "comment": "Subjob finished"})

    def _over(self, jobs: list[Job]) -> bool:
        return all(job.ended for job in jobs)

    def _fields(self, job: Job) -> dict[str, str]:
        """Names and forms: pbs_job_attributes(7B), and the recorded jobs in tests/unit/test_pbs_dialect.py."""
        fields = {"Job_Name": job.name, "Job_Owner": f"{job.user}@{HOST}"}
        if job.began:
            wall = clock((job.ended or time.time()) - job.began)
            fields |= {"resources_used.cput": "00:00:00", "resources_used.mem": "3624kb"}
            fields |= {"resources_used.ncpus": str(job.slots), "resources_used.walltime": wall}
        end = "X" if job.index else "F"
        fields["job_state"] = end if job.ended else "R" if job.began else "Q"
        fields |= {"queue": job.told["queue"], "server": SERVER, "Account_Name": job.told["account"]}
        if job.began:
            fields |= {"exec_host": f"{HOST}/0*{job.slots}", "exec_vnode": f"({HOST}:ncpus={job.slots})"}
        fields["substate"] = "10" if job.waits else "42" if job.runs else "91" if job.deleted else "93"
        if job.status == 0 and not job.deleted:
            fields["substate"] = "92"
        variables = (f"{name}={value}".replace(",", "\\,") for name, value in job.environment.items())
        fields["Variable_List"] = ",".join(variables)
        ran = time.strftime("Job run at %a %b %d at %H:%M", time.localtime(job.began))
        if job.waits:
            fields["comment"] = self._why(job)
        elif job.ended and job.status is not None:
            fields["Exit_status"] = exit_status(job)
            # update_job_finish_comment() of svr_jobfunc.c
            how = "finished" if job.status == 0 else "failed"
            how = "exceeded resource walltime" if job.late else "terminated" if job.deleted else how
            fields["comment"] = f"{ran} on ({HOST}:ncpus={job.slots}) and {how}"
        return {name: value for name, value in fields.items() if value}

    def _why(self, job: Job) -> str:
        """pbs_allpart.py has both."""
        never = job.slots > self.jobs.slots
        return f"{'Can Never Run' if never else 'Not Running'}: Insufficient amount of resource: ncpus"

    # --- qdel -------------------------------------------------------------------------------------------

    def _qdel(self, asked: Asked) -> Answer:
        options, rest = _options(asked, QDEL, "")
        if options is None or not rest:
            complaint = _complaint("qdel", rest, options is None)
            return Answer(err=complaint + "usage:\n\tqdel [-W force|suppress_email=X] [-x] ...\n", code=2)
        err, code = "", 0
        for word in rest:
            number, index = _id_of(word)
            jobs = self.jobs.of(number)
            # process_deljobstat() of qdel.c, with the texts of pbs_messages.c
            if not jobs or (not self.history and self._over(jobs)):
                err, code = f"{err}qdel: Unknown Job Id {word}\n", UNKNOWN_JOB
            elif self._over(jobs):
                err, code = f"{err}qdel: Job has finished {word}\n", FINISHED
            elif index and jobs[index - 1].ended:
                err, code = f"{err}qdel: Request invalid for finished array subjob {word}\n", FINISHED_SUBJOB
            else:
                for job in jobs[index - 1 : index] if index else jobs:
                    self.jobs.delete(job)
        return Answer(err=err, code=code & 255)

    def _id(self, number: int, index: int) -> str:
        return f"{number}[{index}].{SERVER}" if index else f"{number}.{SERVER}"


def _options(asked: Asked, known: str, claimed: str) -> tuple[list[tuple[str, str]] | None, list[str]]:
    """None for the first where getopt(3) does not know one; the second is that one then. Raises Unclaimed."""
    try:
        options, rest = getopt.gnu_getopt(asked.words, known)
    except getopt.GetoptError as error:
        return None, [error.opt]
    for option, value in options:
        if option[1:] not in claimed.split():
            raise Unclaimed(f"{asked.program} {option} {value}".rstrip())
    return options, rest


def _complaint(program: str, rest: list[str], invalid: bool) -> str:
    """The C library's."""
    return f"{program}: invalid option -- '{rest[0][:1]}'\n" if invalid else ""


def _refusal(text: str, number: int) -> Answer:
    return Answer(err=f"{text}\n", code=number & 255)


def _resources(words: list[str]) -> tuple[int, float | None]:
    """qsub(1B), "Requesting resources": cores of the whole job, and seconds. Raises Unclaimed."""
    slots, limit_s = 0, None
    for word in words:
        if chunk := re.fullmatch(r"select=([1-9]\d*):ncpus=([1-9]\d*)(:mem=\d+mb)?(:ngpus=\d+)?", word):
            slots = int(chunk[1]) * int(chunk[2])
        elif clock := re.fullmatch(r"walltime=(\d+):(\d\d):(\d\d)", word):
            limit_s = float((int(clock[1]) * 60 + int(clock[2])) * 60 + int(clock[3]))
        elif word != "place=scatter":
            raise Unclaimed(f"-l {word}")
    if not slots:
        raise Unclaimed("a job that asks for no chunk")
    return slots, limit_s


def _id_of(word: str) -> tuple[int, int]:
    found = re.fullmatch(rf"([0-9]+)(?:\[([0-9]*)\])?\.{SERVER}", word)
    if found is None:
        raise Unclaimed(f"the id {word}")
    return int(found[1]), int(found[2] or 0)
