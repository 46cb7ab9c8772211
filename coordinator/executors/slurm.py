"""Slurm's dialect: ``sbatch --parsable``, ``squeue`` and ``sacct`` with formats of our own, ``scancel``.

Pure, as :mod:`coordinator.executors.dialect` says. States are those of squeue(1) and sacct(1) of Slurm 22.05 to 25.05;
one that is not known yet is unknown. Without accounting (no slurmdbd) sacct fails, and what the queue has forgotten
stays unknown until the job's own exit file tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from coordinator.core.needs import MIB, UNITS, clock
from coordinator.core.statuses import Cause, Intent, Row, State, Status, Used, indices_of, name_of
from coordinator.errors import SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import checked_path, checked_words, last_words

OURS = (
    "--parsable", "--job-name", "-J", "--array", "-a", "--output", "-o", "--error", "-e", "--chdir", "-D", "--wrap",
    "--wait", "-W", "--test-only", "--clusters", "-M", "--uid", "--help", "--usage", "--version", "-V",
)  # fmt: skip
#: MaxArraySize is 1001 where a site has not said otherwise, and an index must be below it
USUAL_ARRAY = 1000

# A site's own sbatch may greet before it answers, and may not know --parsable.
_ID = re.compile(r"(\d+)(?:;[\w.-]+)?|Submitted batch job (\d+)(?: on cluster [\w.-]+)?")
# The controller has, or may have, taken the request and did not get its answer through.
_UNCLEAR = re.compile(
    r"Socket timed out|Zero Bytes were transmitted|Connection reset|Communication|unexpected message", re.I
)
_AWAY = re.compile(
    r"Unable to contact slurm controller|temporarily|Connection refused|No route to host|persistent connection"
    r"|talking to (?:the )?database|try again|backup controller|Transport endpoint|DB not running",
    re.I,
)
# So many jobs may somebody have in the queue: there is room again when some of them have ended. Where the limit has no
# name it may be that one.
_FULL = re.compile(r"MaxSubmit|Job violates accounting/QOS policy", re.I)
_NEVER = re.compile(r"PerJob|MaxWall|MaxCpu|MaxNode|MinCpu|InvalidAccount|InvalidQOS", re.I)
_GONE = re.compile(r"Invalid job id|Job/step already completing or completed|already completed", re.I)

_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_RUNS = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "STOPPED", "SUSPENDED"}
_ENDS = {
    "COMPLETED": Cause.NONE,
    "FAILED": Cause.NONE,
    "TIMEOUT": Cause.TIME,
    "DEADLINE": Cause.TIME,
    "OUT_OF_MEMORY": Cause.MEMORY,
    "NODE_FAIL": Cause.NODE,
    "BOOT_FAIL": Cause.NODE,
    "PREEMPTED": Cause.PREEMPTED,
    "CANCELLED": Cause.CANCELLED,
    "LAUNCH_FAILED": Cause.LAUNCH,
}
_QUEUE = "%F|%K|%T|%N|%r|%j"
_HISTORY = "JobID,State,ExitCode,ElapsedRaw,TotalCPU,MaxRSS,NodeList,JobName"


class Slurm:
    """See :class:`coordinator.executors.dialect.Dialect`."""

    name = "slurm"
    known_by = r"(?i)^slurm"
    programs: tuple[str, ...] = ("sbatch", "squeue", "scancel")
    id_variables: tuple[str, ...] = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID")
    index_variables: tuple[str, ...] = ("SLURM_ARRAY_TASK_ID",)

    def submit(self, intent: Intent, script: str, output: str) -> list[str]:
        needs = intent.needs
        argv = ["sbatch", "--parsable", f"--job-name={name_of(intent)}", f"--chdir={checked_path(intent.directory)}"]
        # A percent sign of a path would be read as a field of the pattern.
        quoted = checked_path(output).replace("%", "%%")
        argv.append(f"--output={quoted}.%a" if intent.count > 1 else f"--output={quoted}")
        if intent.count > 1:
            argv.append(f"--array=1-{intent.count}")
        argv += [f"--nodes={needs.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={needs.cores}"]
        if needs.memory is not None:
            argv.append(f"--mem={-(-needs.memory // MIB)}M")
        if needs.time_s is not None:
            argv.append(f"--time={clock(needs.time_s)}")
        if needs.gpus:
            argv.append(f"--gres=gpu:{needs.gpus}")
        if needs.queue:
            argv.append(f"--partition={needs.queue}")
        if needs.account:
            argv.append(f"--account={needs.account}")
        return [*argv, *checked_words(needs.options.get(self.name, ()), OURS, True), checked_path(script)]

    def native_id(self, text: str) -> str:
        lines = text.strip().splitlines()
        found = _ID.fullmatch(lines[-1].strip()) if lines else None
        if found is None:
            raise SubmitUnclear(f"sbatch said {text.strip()[:200]!r}, which has no job id")
        return found[1] or found[2]

    def fault(self, text: str) -> SchedulerError:
        words = last_words(text)
        if _UNCLEAR.search(text):
            return SubmitUnclear(f"Slurm: {words}")
        if _AWAY.search(text):
            return SchedulerAway(f"Slurm does not answer now: {words}")
        if _FULL.search(text) and not _NEVER.search(text):
            return SchedulerAway(f"Slurm takes no more jobs now: {words}")
        return SubmitRefused(f"Slurm: {words}")

    def element(self, native: str, index: int, count: int) -> str:
        return f"{native}_{index}" if count > 1 else native

    def queue(self, user: str) -> list[str]:
        return ["squeue", "--noheader", "--array", "--states=all", f"--user={user}", f"--format={_QUEUE}"]

    def queued(self, text: str) -> list[Row]:
        rows = []
        for line in text.splitlines():
            if not line.strip():
                continue
            native, index, state, hosts, reason, name = _fields(line, 6)
            indices = (int(index),) if index.isdecimal() else ()
            words = "" if reason in ("None", "(null)") else reason
            rows.append(Row(native, indices, name, _status(state, words, hosts)))
        return rows

    def history(self, natives: Sequence[str]) -> list[list[str]]:
        jobs = ",".join(natives)
        return [["sacct", "--noheader", "--parsable2", "--duplicates", f"--format={_HISTORY}", f"--jobs={jobs}"]]

    def remembered(self, text: str) -> list[Row]:
        """Of a job that was requeued there are several; the last one counts. An id may have been given again: what had
        it before has another name. The memory is told by a job's steps, which follow it."""
        jobs: dict[tuple[str, str], Row] = {}
        memory: dict[tuple[str, str], int] = {}
        last = ("", "")
        for line in text.splitlines():
            if not line.strip():
                continue
            native, state, code, wall, cpu, rss, hosts, name = _fields(line, 8)
            whole, dot, _ = native.partition(".")
            if dot:
                if whole == last[0]:
                    memory[last] = max(memory.get(last, 0), _size(rss))
                continue
            number, _, element = whole.partition("_")
            indices = indices_of(element.strip("[]")) if element else ()
            used = Used(float(wall) if wall.isdecimal() else None, _seconds(cpu))
            last = whole, name
            jobs[last] = Row(number, indices, name, _status(state, "", hosts, code, used))
            memory.pop(last, None)
        return [row if not memory.get(key) else _with_memory(row, memory[key]) for key, row in jobs.items()]

    def search(self, name: str) -> list[list[str]]:
        since = "--starttime=now-7days"
        return [["sacct", "--noheader", "--parsable2", f"--format={_HISTORY}", f"--name={name}", since]]

    def cancel(self, elements: Sequence[str]) -> list[str]:
        return ["scancel", *elements]

    def gone(self, text: str) -> bool:
        return bool(_GONE.search(text))

    def ending(self, line: str) -> bool:
        return False  # of them scancel says nothing

    def details(self, element: str) -> list[str]:
        return ["scontrol", "show", "job", element]

    def largest_array(self) -> list[str]:
        return ["scontrol", "show", "config"]

    def largest(self, text: str) -> int:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
        return max(1, int(found[1]) - 1) if found else USUAL_ARRAY

    def version(self) -> list[str]:
        return ["sbatch", "--version"]


def _fields(line: str, count: int) -> list[str]:
    fields = line.strip().split("|", count - 1)
    if len(fields) != count:
        raise ValueError(f"no line of a list of jobs: {line[:200]!r}")
    return fields


def _status(state: str, words: str, hosts: str, code: str = "", used: Used | None = None) -> Status:
    state, _, by = state.partition(" ")  # CANCELLED by 1000
    state = state.rstrip("+")
    host = "" if hosts in ("", "(null)", "None assigned") else hosts
    used = used or Used()
    if state in _WAITS:
        return Status(State.WAITS, words=words or ("" if state == "PENDING" else state), used=used)
    if state in _RUNS:
        return Status(State.RUNS, words="" if state == "RUNNING" else state, host=host, used=used)
    if state not in _ENDS:
        return Status(State.UNKNOWN, words=f"Slurm calls it {state!r}", host=host, used=used)
    exit_code, signal = _exit(code)
    cause = _ENDS[state]
    if state == "CANCELLED" and words == "DependencyNeverSatisfied":
        cause = Cause.DEPENDENCY
    said = state if not by else f"{state} {by}"
    if state == "COMPLETED":
        exit_code = 0
    return Status(State.ENDED, exit_code, signal, cause, said if words == "" else f"{said}, {words}", host, used)


def _exit(code: str) -> tuple[int | None, int | None]:
    """``7:0`` is exit code 7, ``0:9`` is signal 9."""
    found = re.fullmatch(r"(\d+):(\d+)", code)
    if found is None:
        return None, None
    number, signal = int(found[1]), int(found[2])
    return (None, signal) if signal else (number, None)


def _with_memory(row: Row, memory: int) -> Row:
    return replace(row, status=replace(row.status, used=replace(row.status.used, memory=memory)))


def _seconds(text: str) -> float | None:
    """``1-02:03:04``, ``02:03.456``."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return round(float(found[1]) * UNITS[found[2].lower()]) if found else 0
