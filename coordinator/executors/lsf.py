"""IBM Spectrum LSF's dialect: ``bsub`` with a command, ``bjobs -json`` with fields of our own, ``bkill``.

Pure, as :mod:`coordinator.executors.dialect` says. It needs LSF 10.1 with fix pack 2, from which on bjobs prints JSON
and limits may have units: a number without one is of kilobytes or of whatever LSF_UNIT_FOR_LIMITS says, and lines with
a delimiter have two free texts in them, either of which may have it. What has ended bjobs remembers for CLEAN_PERIOD
(an hour, usually); bhist, which knows more, prints for people only.

bsub gets ``/bin/sh SCRIPT`` and reads no line of the script; it joins these words for a shell, so that the script's
path may have no character that means something there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.core.needs import MIB, MINUTE_S, UNITS, shown
from coordinator.core.statuses import Cause, Intent, Row, State, Status, Used, name_of
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import checked_words, last_words

OURS = (
    "-J", "-o", "-oo", "-e", "-eo", "-outdir", "-cwd", "-K", "-I", "-i", "-is", "-Zs", "-V", "-h", "-pack", "-jsdl",
    "-jsdl_strict",
)  # fmt: skip
#: these begin like ours and are none of them
OTHERS = ("-Jd", "-env", "-ep", "-Ep", "-ext", "-extsched", "-eptl", "-hl", "-hostfile")
USUAL_ARRAY = 1000

_SUBMITTED = re.compile(r"Job <([0-9]{1,15})> is submitted to ")
# bsub ends the most of these with "Job not submitted.", too, though it cannot know.
_UNCLEAR = re.compile(
    r"End of file|protocol error|XDR|Communication time ?out|Timeout on connect|timed out|Connection reset|Broken pipe"
    r"|daemon not responding|daemon internal error|library internal error|System call failed|Server is not connected",
    re.I,
)
_AWAY = re.compile(
    r"Please wait|LSF is down|LIM is down|try later|still trying|not ready yet|Connection refused|Cannot connect"
    r"|Failed in an LSF library call|Batch service not registered|daemon cannot fork|Cannot allocate memory"
    r"|reached its job limit|threshold reached|does not have enough job slots",
    re.I,
)
_GONE = re.compile(r"is not found|has already finished|No matching job found|No (?:unfinished )?job found", re.I)
_ENDING = re.compile(r"is being terminated")
_NOTHING = re.compile(r"No (?:\w+ )?job found.*|Job <[^>]*> is not found.*|.*Please wait.*|.*still trying.*", re.I)

_WAITS = {"PEND": "", "PSUSP": "held", "WAIT": "waits for its chunk", "PROV": "waits for its host to wake up"}
_RUNS = {"RUN": "", "USUSP": "suspended by somebody", "SSUSP": "suspended by LSF"}
_CAUSES = {
    **dict.fromkeys(("RUNLIMIT", "CPULIMIT", "DEADLINE", "WINDOW"), Cause.TIME),
    **dict.fromkeys(("MEMLIMIT", "SWAP"), Cause.MEMORY),
    **dict.fromkeys(("OWNER", "FORCE_OWNER", "ADMIN", "FORCE_ADMIN", "BUCKET_KILL"), Cause.CANCELLED),
    **dict.fromkeys(("PREEMPT", "LOAD", "RC_RECLAIM", "MC_RECALL"), Cause.PREEMPTED),
    **dict.fromkeys(("PRE_EXEC_FAIL", "CWD_NOTEXIST", "DATA", "CSM_ALLOC", "KUBE"), Cause.LAUNCH),
    **dict.fromkeys(("REMOVE_HUNG_JOB", "ZOMBIE"), Cause.NODE),
    "ORPHAN_SYSTEM": Cause.DEPENDENCY,
}
_FIELDS = "jobid jobindex stat job_name exec_host exit_code exit_reason pend_reason cpu_used run_time max_mem"
_BJOBS = ("bjobs", "-a", "-json", "-o", _FIELDS)


class Lsf:
    """See :class:`coordinator.executors.dialect.Dialect`."""

    name = "lsf"
    known_by = r"\bLSF\b"
    programs: tuple[str, ...] = ("bsub", "bjobs", "bkill")
    id_variables: tuple[str, ...] = ("LSB_JOBID",)
    index_variables: tuple[str, ...] = ("LSB_JOBINDEX",)  # the index is 0 for a job that is no array

    def submit(self, intent: Intent, script: str, output: str) -> list[str]:
        """Memory and GPUs are of a host, where the site has not said that they are of a task."""
        needs, many = intent.needs, intent.count > 1
        name, file = name_of(intent), _path(output)
        argv = ["bsub", "-J", f"{name}[1-{intent.count}]" if many else name]
        # Without -e, both outputs go to one file; with -o, nobody gets a mail.
        argv += ["-o", f"{file}.%I" if many else file, "-cwd", _path(intent.directory)]
        argv += ["-n", str(needs.cores * needs.nodes)]
        argv += ["-R", "span[hosts=1]" if needs.nodes == 1 else f"span[ptile={needs.cores}]"]
        if needs.memory is not None:
            memory = f"{-(-needs.memory // MIB)}MB"
            argv += ["-M", memory, "-R", f"rusage[mem={memory}]"]
        if needs.time_s is not None:
            argv += ["-W", str(-(-needs.time_s // MINUTE_S))]
        if needs.gpus:
            argv += ["-gpu", f"num={needs.gpus}"]
        if needs.queue:
            argv += ["-q", needs.queue]
        if needs.account:
            argv += ["-P", needs.account]
        words = needs.options.get(self.name, ())
        checked_words([word for word in words if word not in OTHERS], OURS, True)
        return [*argv, *words, "/bin/sh", _path(script)]

    def native_id(self, text: str) -> str:
        found = _SUBMITTED.findall(text)
        if len(found) != 1:
            raise SubmitUnclear(f"bsub said {text.strip()[:200]!r}, which has not one job id")
        return str(found[0])

    def fault(self, text: str) -> SchedulerError:
        words = last_words(text)
        if _UNCLEAR.search(text):
            return SubmitUnclear(f"LSF: {words}")
        if _AWAY.search(text) and "aborted by esub" not in text:
            return SchedulerAway(f"LSF does not answer now: {words}")
        return SubmitRefused(f"LSF: {words}")

    def element(self, native: str, index: int, count: int) -> str:
        return f"{native}[{index}]" if count > 1 else native

    def queue(self, user: str) -> list[str]:
        return [*_BJOBS, "-u", user]

    def queued(self, text: str) -> list[Row]:
        return [_row(record) for record in _records(text)]

    def history(self, natives: Sequence[str]) -> list[list[str]]:
        return [[*_BJOBS, *natives]]

    def remembered(self, text: str) -> list[Row]:
        return self.queued(text)

    def search(self, name: str) -> list[list[str]]:
        return [[*_BJOBS, "-J", name]]

    def cancel(self, elements: Sequence[str]) -> list[str]:
        return ["bkill", *elements]

    def gone(self, text: str) -> bool:
        return bool(_GONE.search(text))

    def ending(self, line: str) -> bool:
        return bool(_ENDING.search(line))

    def details(self, element: str) -> list[str]:
        return ["bjobs", "-l", element]

    def largest_array(self) -> list[str]:
        return ["bparams", "-a"]

    def largest(self, text: str) -> int:
        found = re.search(r"MAX_JOB_ARRAY_SIZE\s*=\s*([0-9]{1,10})", text)
        return max(1, int(found[1])) if found else USUAL_ARRAY

    def version(self) -> list[str]:
        return ["bsub", "-V"]


def _path(path: str) -> str:
    """A percent sign would be read as a field, and other signs by the shell that gets the command."""
    if not re.fullmatch(r"/[\w@+=:,./-]*", path):
        raise BadNeeds(f"bsub takes no path like {shown(path)}; choose another directory")
    return path


def _records(text: str) -> list[Mapping[str, str]]:
    """What stands before the JSON are words of somebody who waits for LSF. Without any, there are no jobs."""
    start = text.find("{")
    if start < 0:
        for line in text.splitlines():
            if line.strip() and not _NOTHING.fullmatch(line.strip()):
                raise ValueError(f"no list of jobs: {text[:200]!r}")
        return []
    try:
        told, _ = json.JSONDecoder(strict=False).raw_decode(text, start)
    except RecursionError as error:
        raise ValueError(f"no list of jobs: {text[:200]!r}") from error
    records: Any = told.get("RECORDS")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"no list of jobs: {text[:200]!r}")
    # Half a surrogate pair, which JSON can spell, could not be written down.
    return [{key: str(value).encode(errors="replace").decode() for key, value in each.items()} for each in records]


def _row(record: Mapping[str, str]) -> Row:
    found = re.fullmatch(r"([0-9]{1,15})(?:\[([0-9]{1,10})\])?", record.get("JOBID", ""))
    if found is None:
        raise ValueError(f"no job: {str(record)[:200]}")
    # Of an array the index is in its own field, in the id (if LSB_BJOBS_DISPLAY_ENH is set) and in the name.
    index = found[2] or record.get("JOBINDEX", "")
    indices = (int(index),) if re.fullmatch(r"0*[1-9][0-9]{0,9}", index) else ()
    return Row(found[1], indices, record.get("JOB_NAME", "").partition("[")[0], _status(record))


def _status(record: Mapping[str, str]) -> Status:
    state, reason = record.get("STAT", ""), record.get("EXIT_REASON", "").strip(" -;")[:500]
    first = record.get("EXEC_HOST", "").partition(":")[0]
    host = first.rpartition("*")[2].strip(" -")
    wall, cpu, memory = (record.get(field, "") for field in ("RUN_TIME", "CPU_USED", "MAX_MEM"))
    used = Used(_seconds(wall), _seconds(cpu), _size(memory))
    if state in _WAITS:
        return Status(State.WAITS, words=record.get("PEND_REASON", "").strip(" -;")[:500] or _WAITS[state], used=used)
    if state in _RUNS:
        return Status(State.RUNS, words=_RUNS[state], host=host, used=used)
    if state == "DONE":
        return Status(State.ENDED, 0, words=state, host=host, used=used)
    if state != "EXIT":
        # UNKWN: its host does not answer. ZOMBI: it was killed or requeued meanwhile. Both may go on.
        return Status(State.UNKNOWN, words=record.get("ERROR", "") or f"LSF calls it {state!r}", host=host, used=used)
    keyword = re.match(r"TERM_([A-Z_]+)", reason)
    cause = _CAUSES.get(keyword[1], Cause.NONE) if keyword else Cause.NONE
    code, signal = _exit(record.get("EXIT_CODE", ""), keyword is not None)
    return Status(State.ENDED, code, signal, cause, reason or state, host, used)


def _exit(text: str, killed: bool) -> tuple[int | None, int | None]:
    """130 is signal 2 if LSF has killed it, else what a shell says of its last command."""
    if not re.fullmatch(r"[0-9]{1,3}", text):
        return None, None
    number = int(text)
    return (None, number - 128) if killed and 128 < number <= 192 else (number, None)


def _seconds(text: str) -> float | None:
    """``57208 second(s)``, ``00:10:00``."""
    if plain := re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) second\(s\)", text):
        return float(plain[1])
    if clock := re.fullmatch(r"([0-9]{1,7}):([0-9]{2}):([0-9]{2})", text):
        return float((int(clock[1]) * 60 + int(clock[2])) * 60 + int(clock[3]))
    return None


def _size(text: str) -> int | None:
    """``5.2 Gbytes``."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kmgt]?)b(?:ytes?)?", text, re.I)
    return round(float(found[1]) * UNITS[found[2].lower()]) if found else None
