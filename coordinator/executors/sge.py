"""Grid Engine's dialect: ``qsub -terse``, ``qstat -xml``, ``qacct -j``, ``qdel``.

Pure, as :mod:`coordinator.executors.dialect` says. Written after the manual and the behaviour of Grid Engine 8.1.9;
Univa's, Altair's and the Open Cluster Scheduler's answers are read where they differ only in form. Three things are
otherwise than people expect. Memory is asked for each slot, so that ours is divided by the cores; GPUs are asked as
they are, although some sites count them for each slot, too. An account is a project (``-P``), since it is projects
that sites give to people and charge; the string of ``-A`` is only written down. And an accounting record is no end by
itself: there is one for each time that the job was sent back to the queue.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import replace

from coordinator.core.needs import MIB, shown
from coordinator.core.statuses import Cause, Intent, Row, State, Status, Used, indices_of, name_of
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import checked_path, last_words

#: what a user may say, and how many words follow it. qsub takes the next word for a value whatever it looks like, and
#: the first word that is none for the job's script: so each one is counted, and one that is not known is refused
THEIRS = {
    **dict.fromkeys(("-V", "-h", "-hard", "-soft", "-notify"), 0),
    **dict.fromkeys(("-a", "-ac", "-ar", "-A", "-c", "-ckpt", "-dc", "-dl", "-hold_jid", "-hold_jid_ad", "-js"), 1),
    **dict.fromkeys(("-l", "-m", "-M", "-masterq", "-p", "-P", "-q", "-r", "-R", "-sc", "-tc", "-v", "-w"), 1),
    "-binding": 1,
    "-pe": 2,
}
#: -w v and -w p only ask whether a job could run; these words of -binding have another one behind them
_REFUSED_VALUES = {"-w": ("v", "p"), "-binding": ("env", "pe", "set")}
#: the parallel environment of one host, as most sites call it; a user's own -pe stands in its place
PE = "smp"
#: max_aj_tasks where a site has not said otherwise; 0 is no limit but that of the number
USUAL_ARRAY, MOST_ARRAY = 75_000, 2**31 - 1

_ID, _NUMBER = re.compile(r"(\d{1,18})(?:\.\d+-\d+:\d+)?", re.ASCII), re.compile(r"\d{1,18}", re.ASCII)
#: the request was sent, or the job is there although qsub complains
_SENT = re.compile(r"has been submitted|failed receiving|receive timeout|got read error|lost connection", re.I)
_AWAY = re.compile(
    r"unable to contact|select error \((?:Connection (?:refused|timed)|No route to host|Network is unreachable)"
    r"|can't connect to service|can't resolve|temporarily|try again later", re.I,
)  # fmt: skip
_TORN = re.compile(r"commlib error|unable to send message|failed sending|got send (?:error|timeout)", re.I)
_GONE = re.compile(
    r"\bjob (?:id |name )?[^\s:]+ (?:task \S+ )?(?:(?:of|for) user\(s\) \S+ )?(?:does not exist|not found)"
    r"|\bjob-array tasks \S+ not found|following jobs do not exist", re.I,
)  # fmt: skip
_ENDING = re.compile(r"has registered the job|has deleted job|is already in deletion")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TASKS = re.compile(r"\d{1,7}(?:[-:,]\d{1,7})*", re.ASCII)
_RULE = re.compile(r"={40,}")
_FIELD = re.compile(r"([A-Za-z_]+)(?:\s+(.*))?", re.DOTALL)

#: letters of a state (sge_status(5)): of jobs that wait, and of those that have begun
_LETTERS, _BEGUN = frozenset("dEhqrRsStTwxz"), frozenset("rtsSTx")
#: "failed" of sge_status(5) after which a job is not run again; its exit status is the script's own
_AFTER_JOB = {0, 12, 13, 14, 16}
_KILLED, _HOST_FAILED, _NO_SHEPHERD = 100, {18, 20}, {17, 19}
#: those after which it goes back to the queue, or is held there in error: only the queue knows what became of it
_NOT_STARTED = {*range(1, 12), *range(26, 37), 38}
_ENFORCED = re.compile(r"enforced (.*) limit")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgtKMGT]?)B?", re.ASCII)
_SIZES = {"": 1} | {letter: (1024 if letter < "a" else 1000) ** (at % 4 + 1) for at, letter in enumerate("KMGTkmgt")}
_H_VMEM = re.compile(r"[ ,]h_vmem=([0-9.]+[kmgtKMGT]?)(?:[ ,]|$)")


class Sge:
    """See :class:`coordinator.executors.dialect.Dialect`."""

    name = "sge"
    known_by = r"\b(?:[A-Z]?GE|Grid Engine|OCS|GCS)\b"
    programs: tuple[str, ...] = ("qsub", "qstat", "qdel", "qacct")
    #: a job that is no array finds "undefined" as its number
    id_variables: tuple[str, ...] = ("JOB_ID",)
    index_variables: tuple[str, ...] = ("SGE_TASK_ID",)

    def submit(self, intent: Intent, script: str, output: str) -> list[str]:
        needs = intent.needs
        words = needs.options.get(self.name, ())
        said = _options(words)
        # Directory and output pass through an expansion of $HOME, $TASK_ID and others that not every Grid Engine can
        # be kept from; the output is a list of host:path besides, where a colon can be told to be none and a comma not.
        directory = _path("directory", intent.directory, "$")
        to = _path("output", output, "$,")
        to = f":{to}" if ":" in to else to
        argv = ["qsub", "-terse", "-N", name_of(intent), "-wd", directory, "-j", "y"]
        argv += ["-o", f"{to}.$TASK_ID" if intent.count > 1 else to]
        argv += ["-S", "/bin/sh", "-b", "n", "-C", ""]  # an empty prefix: no line of the script is read as an option
        if intent.count > 1:
            argv += ["-t", f"1-{intent.count}"]
        if "-m" not in said:
            argv += ["-m", "n"]
        if "-pe" not in said:
            if needs.nodes > 1:
                own = f'{{"{self.name}": ["-pe", NAME, "{needs.cores * needs.nodes}"]}}'
                raise BadNeeds(
                    f"nodes: {needs.nodes} hosts need a parallel environment of the site's, in options: {own}"
                )
            if needs.cores > 1:
                argv += ["-pe", PE, str(needs.cores)]
        if needs.memory is not None:
            argv += ["-l", f"h_vmem={-(-needs.memory // (needs.cores * MIB))}M"]
        if needs.time_s is not None:
            argv += ["-l", f"h_rt={needs.time_s}"]
        if needs.gpus:
            argv += ["-l", f"gpu={needs.gpus}"]
        if needs.queue:
            argv += ["-q", needs.queue]
        if needs.account:
            argv += ["-P", needs.account]
        return [*argv, *words, checked_path(script)]

    def native_id(self, text: str) -> str:
        found = [match[1] for line in text.splitlines() if (match := _ID.fullmatch(line.strip()))]
        if len(found) != 1:
            raise SubmitUnclear(f"qsub said {text.strip()[:200]!r}, which has no job id, or several")
        return found[0]

    def fault(self, text: str) -> SchedulerError:
        words = last_words(text)
        if not _SENT.search(text):
            if _AWAY.search(text):
                return SchedulerAway(f"Grid Engine does not answer now: {words}")
            if not _TORN.search(text):
                return SubmitRefused(f"Grid Engine: {words}")
        return SubmitUnclear(f"Grid Engine: {words}")

    def element(self, native: str, index: int, count: int) -> str:
        return f"{native}.{index}" if count > 1 else native

    def queue(self, user: str) -> list[str]:
        return ["qstat", "-u", user, "-s", "prs", "-xml"]  # not -g d: an element a line, though 75,000 may wait

    def queued(self, text: str) -> list[Row]:
        rows = []
        for job in _tree(text).iter("job_list"):
            native, tasks = (job.findtext("JB_job_number") or "").strip(), (job.findtext("tasks") or "").strip()
            if not _NUMBER.fullmatch(native) or (tasks and not _TASKS.fullmatch(tasks)):
                raise ValueError(f"no job of a list of jobs: {native[:100]!r}, elements {tasks[:100]!r}")
            host = (job.findtext("queue_name") or "").partition("@")[2].strip()
            status = _state((job.findtext("state") or "").strip(), host)
            rows.append(Row(native, indices_of(tasks) if tasks else (), job.findtext("JB_name") or "", status))
        return rows

    def history(self, natives: Sequence[str]) -> list[list[str]]:
        return [["qacct", "-j", native] for native in natives]  # of a list, qacct reads the first number only

    def remembered(self, text: str) -> list[Row]:
        """Of an element that was sent back to the queue there are several; the last one counts."""
        rows: dict[tuple[str, str], Row] = {}
        for fields in _records(text):
            if fields.get("pe_taskid", "NONE") != "NONE":
                continue  # a part of a parallel job, not the job
            native, task = fields.get("jobnumber", ""), fields.get("taskid", "")
            if not _NUMBER.fullmatch(native) or not re.fullmatch(r"undefined|\d{1,10}", task, re.ASCII):
                raise ValueError(f"no accounting record: job {native[:100]!r}, element {task[:100]!r}")
            indices = () if task == "undefined" else (int(task),)
            rows[native, task] = Row(native, indices, fields.get("jobname", ""), _ended(fields))
        return list(rows.values())

    def search(self, name: str) -> list[list[str]]:
        return [["qacct", "-j", name]]

    def cancel(self, elements: Sequence[str]) -> list[str]:
        return ["qdel", *elements]

    def gone(self, text: str) -> bool:
        return bool(_GONE.search(text))

    def ending(self, line: str) -> bool:
        return bool(_ENDING.search(line))

    def details(self, element: str) -> list[str]:
        return ["qstat", "-j", element.partition(".")[0]]  # it would take a number with a dot for a name

    def largest_array(self) -> list[str]:
        return ["qconf", "-sconf"]

    def largest(self, text: str) -> int:
        found = re.search(r"^max_aj_tasks\s+(\d{1,10})\b", text, re.MULTILINE | re.ASCII)
        return min(int(found[1]) or MOST_ARRAY, MOST_ARRAY) if found else USUAL_ARRAY

    def version(self) -> list[str]:
        return ["qstat", "-help"]  # its first line


def _options(words: Sequence[str]) -> set[str]:
    """Which options a user's words are. Raises BadNeeds."""
    said, left = set(), iter(words)
    for option in left:
        if option not in THEIRS:
            raise BadNeeds(f"{shown(option)} is no option of qsub that can be said here: they are {', '.join(THEIRS)}")
        values = [value for _, value in zip(range(THEIRS[option]), left, strict=False)]
        if len(values) < THEIRS[option]:
            raise BadNeeds(f"{option} has no value: the next word of the command would be taken for it")
        if values and values[0] in _REFUSED_VALUES.get(option, ()):
            raise BadNeeds(f"{option} {values[0]} is nothing that can be said here")
        said.add(option)
    return said


def _path(what: str, path: str, never: str) -> str:
    if found := [sign for sign in never if sign in path]:
        raise BadNeeds(
            f"{what}: Grid Engine would read the {found[0]} of {shown(path)} as more than a sign of the path"
        )
    return checked_path(path)


def _tree(text: str) -> ET.Element:
    if "<!" in text:
        raise ValueError("the list of jobs has a document type or a comment, which qstat does not write")
    # qstat writes the bytes of a name as they are: one of the user's other jobs must not hide ours.
    try:
        root = ET.fromstring(_NO_XML.sub("?", text))  # noqa: S314  nothing is declared in it: see above
    except ET.ParseError as error:
        raise ValueError(f"no list of jobs: {error}: {text[:200]!r}") from error
    if root.tag != "job_info":
        raise ValueError(f"no list of jobs, but {root.tag[:100]!r}")
    return root


def _state(state: str, host: str) -> Status:
    letters = set(state)
    if letters and letters <= _LETTERS:
        if "d" in letters:
            return Status(State.RUNS, words=f"{state}: it is being deleted", host=host)
        if "E" in letters:
            why = "could not be started; it waits until somebody clears its error (qmod -cj) or cancels it"
            return Status(State.WAITS, words=f"{state}: {why}; qstat -j says what happened")
        if letters & {"q", "w"}:
            return Status(State.WAITS, words="" if state == "qw" else state)
        if letters & _BEGUN:
            return Status(State.RUNS, words="" if state == "r" else state, host=host)
    return Status(State.UNKNOWN, words=f"Grid Engine calls it {state[:40]!r}", host=host)


def _records(text: str) -> Iterator[dict[str, str]]:
    """The fields of each accounting record."""
    fields: dict[str, str] | None = None
    for line in text.split("\n"):
        if not line.strip():
            continue
        if line.startswith("Total System Usage"):
            break  # the table that some print below
        found = _FIELD.fullmatch(line)
        if _RULE.fullmatch(line.strip()):
            if fields:
                yield fields
            fields = {}
        elif fields is None or found is None:
            raise ValueError(f"no line of an accounting record: {line[:200]!r}")
        else:
            fields.setdefault(found[1], (found[2] or "").strip())
    if fields:
        yield fields


def _ended(fields: dict[str, str]) -> Status:
    failed = re.match(r"(\d{1,3})(?:\s|$)", fields.get("failed", ""), re.ASCII)
    left = re.match(r"(\d{1,3})(?:\s|$)", fields.get("exit_status", ""), re.ASCII)
    words, memory = " ".join(fields.get("failed", "").split()), _bytes(fields.get("maxvmem", ""))
    used = Used(_seconds(fields.get("ru_wallclock", "")), _seconds(fields.get("cpu", "")), round(memory) or None)
    status = Status(State.UNKNOWN, words=words, host=fields.get("hostname", ""), used=used)
    if failed is None or left is None:
        return replace(status, words=f"its accounting record says failed {words[:40]!r}")
    number, code = int(failed[1]), int(left[1])
    cancelled = fields.get("deleted_by", "NONE") not in ("", "NONE")
    if number in _AFTER_JOB:
        return replace(status, state=State.ENDED, code=code, words=words if number else "")
    if number in _HOST_FAILED:
        return replace(status, state=State.ENDED, cause=Cause.NODE)
    limit = _ENFORCED.search(words)
    if limit or number == _KILLED:
        cause = Cause.CANCELLED if cancelled else _limit(limit[1], fields, memory) if limit else Cause.NONE
        return replace(status, state=State.ENDED, signal=code - 128 if 128 < code < 193 else None, cause=cause)
    cause = Cause.LAUNCH if number in _NOT_STARTED else Cause.NODE if number in _NO_SHEPHERD else Cause.NONE
    return replace(status, cause=cause)


def _limit(limits: str, fields: dict[str, str], memory: float) -> Cause:
    """``h_rt, h_cpu, or h_vmem``: one word for all of them. A job that asked for memory and used more is told apart."""
    if not re.search(r"_(?:rt|cpu)\b", limits):
        return Cause.MEMORY
    asked, slots = _H_VMEM.search(fields.get("category", "")), fields.get("slots", "")
    if asked is None or not re.fullmatch(r"\d{1,7}", slots, re.ASCII):
        return Cause.TIME
    return Cause.MEMORY if memory > _bytes(asked[1]) * int(slots) > 0 else Cause.TIME


def _seconds(text: str) -> float | None:
    """``10``, ``0.078s``."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*s?", text, re.ASCII)
    return float(found[1]) if found else None


def _bytes(text: str) -> float:
    """``14.570MB``, ``1.2G``, ``21045248``; 0 where it is none."""
    found = _SIZE.fullmatch(text)
    return float(found[1]) * _SIZES[found[2]] if found else 0.0
