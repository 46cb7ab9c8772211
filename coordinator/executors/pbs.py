"""The dialects of PBS Professional and OpenPBS (:class:`Pbs`) and of Torque: ``qsub``, ``qstat -f`` as text, ``qdel``.

Pure, as :mod:`coordinator.executors.dialect` says. States and exit statuses are those of OpenPBS 23 (qstat(1B), job.h)
and of Torque 6.1 (pbs_job.h). The text, not ``-F json``: that breaks for everybody as soon as anybody's job has an odd
variable in its environment (OpenPBS issue 1255, pull requests 830 and 2049), and may name only the first of several
jobs (issue 2672). qstat lists the jobs of all users, since -u and -f exclude each other.

A job begins in the user's home: neither says by an option where, and both tell it in PBS_O_WORKDIR where qsub ran.

Torque is spoken so that the commands which Slurm brings along under the same names understand what submits, lists and
cancels a single job. They do not know ``qstat -t`` (see :attr:`Torque.listing`), show the elements of an array as jobs
with ids of their own, never say how a job ended, and hand every word to a shell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from coordinator.core.needs import MIB, UNITS, Needs, clock, shown
from coordinator.core.statuses import Cause, Intent, Row, State, Status, Used, name_of
from coordinator.errors import BadNeeds, SchedulerAway, SchedulerError, SubmitRefused, SubmitUnclear
from coordinator.executors.dialect import checked_words, last_words

#: names, files, numbers, directives, terminals, and -z, which prints no id
OURS = ("-N", "-o", "-e", "-j", "-J", "-t", "-C", "-I", "-X", "-z", "-G", "--", "--version", "--help", "--man")
#: a longer name was refused by old servers; the mark takes 11 of them
LONGEST_NAME = 15

_ID = re.compile(r"([0-9]{1,15})(?:(\[)([0-9]{0,9})\])?((?:\.[A-Za-z0-9_.-]+)?)")
_FLAGS = re.compile(r"-[Vhfx]+[^Vhfx]")
_BLOCK = re.compile(r"(?:-W\s*|.*,\s*)?block\s*=.*", re.I)
_UNCONNECTED = re.compile(
    r"cannot connect to server|Couldn't connect to cluster|Connection refused|pbs_iff|trqauthd", re.I
)
_UNCLEAR = re.compile(
    r"End of (?:File|message)|protocol error|Bad DIS|Tim(?:ed|e) ?out|Broken pipe|Connection reset|Socket close"
    r"|(?:reading|writing) data|Communication failure|internal error|System error|Failed to save|\bError \(?-?[0-9]",
    re.I,
)
_AWAY = re.compile(
    r"No free connections|Server connection table full|Server shutting down|Invalid credential|Expired credential|munge"
    r"|Resource temporarily unavailable|Resource busy|No server specified|Can not establish connection"
    r"|Unable to (?:contact slurm controller|get connection)|Could not connect|temporarily delayed"
    r"|Maximum number of jobs|would exceed (?:queue \S+|complex)'s per-\w+ limit(?! on resource)",
    re.I,
)
# "Request invalid for state of job" alone is not among them: a job that is just being started is answered so, too.
_GONE = re.compile(
    r"Unknown Job Id|Unknown Array ID|Job has finished|finished array subjob|already in exit state"
    r"|invalid state for job - (?:COMPLETE|EXITING)",
    re.I,
)
# Of an element that its server has no record of PBS tells the whole array's exit status, and says so by this.
_UNRECORDED = re.compile(r"Subjob (?:finished|failed|terminated)")
# When the array began: no reason why this element waits.
_BEGAN = re.compile(r"Job Array Began at .*")
_DEPENDENCY = re.compile(r"deleted (?:because its|as result of) dependency", re.I)

_WAITS = {"Q": "", "H": "held", "W": "waits for its time", "T": "is being moved"}
_RUNS = {"R": "", "B": "", "E": "exiting", "S": "suspended", "U": "suspended while its host is in use"}


class _Qsub:
    """What is the same in both; see :class:`coordinator.executors.dialect.Dialect`."""

    name: str
    programs: tuple[str, ...] = ("qsub", "qstat", "qdel")
    id_variables: tuple[str, ...] = ("PBS_JOBID",)
    listing: tuple[str, ...]  #: the command that lists all jobs with all they have
    ends: str  #: letters of jobs that have ended
    causes: Mapping[int, Cause]  #: exit statuses below 0, which no job of its own can have
    array_limit: str  #: what the most elements of an array are called
    usual_array: int

    def native_id(self, text: str) -> str:
        found = [line.strip() for line in text.split("\n") if _ID.fullmatch(line.strip())]
        if len(found) != 1:
            raise SubmitUnclear(f"qsub said {text.strip()[:200]!r}, which has not one job id")
        return found[0]

    def fault(self, text: str) -> SchedulerError:
        words = last_words(text)
        if _UNCONNECTED.search(text):
            return SchedulerAway(f"PBS does not answer now: {words}")
        if _UNCLEAR.search(text):
            return SubmitUnclear(f"PBS: {words}")
        if _AWAY.search(text):
            return SchedulerAway(f"PBS does not answer now: {words}")
        return SubmitRefused(f"PBS: {words}")

    def element(self, native: str, index: int, count: int) -> str:
        number, dot, server = native.partition(".")
        return f"{number.removesuffix('[]')}[{index}]{dot}{server}" if count > 1 else native

    def queue(self, user: str) -> list[str]:
        """All users' jobs, since qstat cannot do otherwise."""
        return list(self.listing)

    def queued(self, text: str) -> list[Row]:
        """Variables with line ends can look like jobs: an id that is told twice in different ways is unknown."""
        rows: dict[tuple[str, tuple[int, ...]], Row] = {}
        for told, fields in _records(text):
            found = _ID.fullmatch(told)
            if found is None:
                raise ValueError(f"no id of a job: {told[:200]!r}")
            number, bracket, index, server = found.groups(default="")
            native = f"{number}[]{server}" if bracket else told
            indices = (int(index),) if index else ()
            name = fields.get("job_name", "")
            row = Row(native, indices, name.removesuffix(f"-{index}") if index else name, self._status(told, fields))
            if rows.setdefault((native, indices), row) != row:
                unknown = Status(State.UNKNOWN, words="qstat tells of it twice, and not the same")
                rows[native, indices] = Row(native, indices, row.name, unknown)
        return list(rows.values())

    remembered = queued

    def cancel(self, elements: Sequence[str]) -> list[str]:
        return ["qdel", *elements]

    def gone(self, text: str) -> bool:
        return bool(_GONE.search(text))

    def ending(self, line: str) -> bool:
        return False  # of them qdel says nothing

    def largest_array(self) -> list[str]:
        return ["qstat", "-B", "-f"]

    def largest(self, text: str) -> int:
        found = re.search(rf"\b{self.array_limit} = ([0-9]{{1,9}})\b", text)
        return max(1, int(found[1])) if found else self.usual_array

    def version(self) -> list[str]:
        return ["qstat", "--version"]

    def _words(self, needs: Needs) -> list[str]:
        words = needs.options.get(self.name, ())
        for word in words:
            if _FLAGS.match(word) or _BLOCK.fullmatch(word):
                raise BadNeeds(f"qsub must not wait, and its flags are written one by one, which {shown(word)} is not")
        queue = ["-q", needs.queue] if needs.queue else []
        account = ["-A", needs.account] if needs.account else []
        return [*queue, *account, *checked_words(words, OURS, True)]

    def _status(self, told: str, fields: Mapping[str, str]) -> Status:
        state, comment = fields.get("job_state", ""), fields.get("comment", "")[:500]
        host = fields.get("exec_host", "").partition("+")[0].partition("/")[0]
        wall, cpu, memory = (fields.get(f"resources_used.{what}", "") for what in ("walltime", "cput", "mem"))
        used = Used(_seconds(wall), _seconds(cpu), _size(memory))
        if state in _WAITS:
            why = "" if _BEGAN.fullmatch(comment) else comment
            return Status(State.WAITS, words=why or _WAITS[state], used=used)
        if state in _RUNS:
            return Status(State.RUNS, words=_RUNS[state], host=host, used=used)
        if not state or state not in self.ends:
            return Status(State.UNKNOWN, words=f"PBS calls it {state!r} {comment}".rstrip(), host=host, used=used)
        code, signal, cause = self._exit(fields.get("exit_status", ""))
        if "[]" in told or _UNRECORDED.fullmatch(comment):
            # That of a whole array is no element's: it says how the one went that ended last.
            return Status(State.ENDED, words=comment, host=host, used=used)
        if _DEPENDENCY.search(comment):
            cause = Cause.DEPENDENCY
        elif cause is Cause.NONE and fields.get("substate") == "91":  # somebody has deleted it
            cause = Cause.CANCELLED
        return Status(State.ENDED, code, signal, cause, comment, host, used)

    def _exit(self, text: str) -> tuple[int | None, int | None, Cause]:
        """``3`` is exit code 3, ``271`` signal 15, ``-29`` what :attr:`causes` says."""
        if not re.fullmatch(r"-?[0-9]{1,5}", text):
            return None, None, Cause.NONE
        number = int(text)
        if number < 0:
            return None, None, self.causes.get(number, Cause.NONE)
        if number < 256:
            return number, None, Cause.NONE
        signal = number - (10_000 if number > 10_000 else 256)
        return None, signal if 0 < signal < 128 else None, Cause.NONE


class Pbs(_Qsub):
    """PBS Professional and OpenPBS. A server that keeps no history says so, and remembers nothing."""

    name = "pbs"
    known_by = r"(?i)pbs_version|pbspro|openpbs"
    index_variables: tuple[str, ...] = ("PBS_ARRAY_INDEX",)
    listing = ("qstat", "-f", "-t")
    ends = "FX"
    causes = {
        **dict.fromkeys((-1, -2, -3, -7, -10, -13, -16, -17, -19, -21, -22, -23, -30), Cause.LAUNCH),
        **dict.fromkeys((-4, -5, -6, -14, -20), Cause.NODE),
        **dict.fromkeys((-26, -27), Cause.MEMORY),
        **dict.fromkeys((-28, -29), Cause.TIME),
    }
    array_limit, usual_array = "max_array_size", 10_000

    def submit(self, intent: Intent, script: str, output: str) -> list[str]:
        needs = intent.needs
        file = _path(output, " ")
        # An empty prefix: no line of the script is an option.
        argv = ["qsub", "-C", "", "-N", name_of(intent, LONGEST_NAME), "-j", "oe", "-o"]
        argv += [f"{file}.^array_index^", "-J", f"1-{intent.count}"] if intent.count > 1 else [file]
        chunk = f"select={needs.nodes}:ncpus={needs.cores}"
        if needs.memory is not None:
            chunk += f":mem={-(-needs.memory // MIB)}mb"
        if needs.gpus:
            chunk += f":ngpus={needs.gpus}"
        argv += ["-l", chunk]
        if needs.nodes > 1:
            argv += ["-l", "place=scatter"]
        argv += [] if needs.time_s is None else ["-l", f"walltime={clock(needs.time_s)}"]
        return [*argv, *self._words(needs), _path(script, " ")]

    def history(self, natives: Sequence[str]) -> list[list[str]]:
        return [["qstat", "-x", "-f", "-t", *natives]]

    def search(self, name: str) -> list[list[str]]:
        """``qselect -x -N`` would tell ids without names."""
        return [["qstat", "-x", "-f"]]

    def details(self, element: str) -> list[str]:
        return ["qstat", "-x", "-f", element]


class Torque(_Qsub):
    """Torque from 3 on. What has ended stays in its queue for ``keep_completed`` seconds."""

    name = "torque"
    known_by = r"(?im)^version:|torque"
    #: the second one is that of the commands which Slurm brings along
    index_variables: tuple[str, ...] = ("PBS_ARRAYID", "PBS_ARRAY_INDEX")
    listing = ("qstat", "-f", "-t")  #: without -t, a whole array is one job; single jobs are told just the same
    ends = "C"
    causes = {
        **dict.fromkeys((-1, -2, -3, -7, -8, -9, -13), Cause.LAUNCH),
        **dict.fromkeys((-4, -5, -6), Cause.NODE),
        -10: Cause.MEMORY,
        **dict.fromkeys((-11, -12), Cause.TIME),
    }
    array_limit, usual_array = "max_job_array_size", 1_000  # unlimited; Slurm, if that is behind it, takes so many

    def submit(self, intent: Intent, script: str, output: str) -> list[str]:
        """Two files, because of Slurm's commands, which refuse ``-j`` (and ``-C``: no line of our script is one of
        theirs). For an array, Torque itself puts ``-INDEX`` behind both."""
        needs = intent.needs
        file = _path(output)
        argv = ["qsub", "-N", name_of(intent, LONGEST_NAME), "-o", file, "-e", f"{file}.err"]
        if intent.count > 1:
            argv += ["-t", f"1-{intent.count}"]
        nodes = f"nodes={needs.nodes}:ppn={needs.cores}"
        listed = [f"{nodes}:gpus={needs.gpus}" if needs.gpus else nodes]
        if needs.memory is not None:
            listed.append(f"mem={-(-needs.memory * needs.nodes // MIB)}mb")  # that of all nodes together
        if needs.time_s is not None:
            listed.append(f"walltime={clock(needs.time_s)}")
        return [*argv, "-l", ",".join(listed), *self._words(needs), _path(script)]

    def history(self, natives: Sequence[str]) -> list[list[str]]:
        return []

    def search(self, name: str) -> list[list[str]]:
        return []

    def details(self, element: str) -> list[str]:
        return ["qstat", "-f", element]


def _path(path: str, also: str = "") -> str:
    """A colon would name a host, and Slurm's qsub hands the path to a shell."""
    if not path.startswith("/") or not re.fullmatch(rf"[\w@+=./{also}-]+", path):
        raise BadNeeds(f"qsub takes no file of that name: {shown(path)}; choose another directory")
    return path


def _records(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Ids, and what is said of each, the names in small letters.

    Four spaces begin a field, a tab continues it. Where Slurm prints it, a tab begins a field. Any other line is the
    rest of somebody's variable with line ends in it (a shell function, mostly), and so is a field told already.
    """
    told, fields, last, field = "", dict[str, str](), "", re.compile("")
    for line in text.split("\n"):
        if header := re.fullmatch(r"Job Id:([ \t])\s*(\S+)\s*", line):
            if told:
                yield told, fields
            told, fields, last = header[2], {}, ""
            field = re.compile(rf"{'    ' if header[1] == ' ' else header[1]}([A-Za-z_][\w.]*) = (.*)")
        elif not told and line.strip():
            raise ValueError(f"no line of a list of jobs: {line[:200]!r}")
        elif told and (found := field.fullmatch(line)):
            last = "" if found[1].lower() in fields else found[1].lower()
            if last:
                fields[last] = found[2]
        elif last and line.startswith("\t"):
            fields[last] += line[1:]
        else:
            last = ""
    if told:
        yield told, fields


def _seconds(text: str) -> float | None:
    """``4090:56:03``, or plain seconds."""
    found = re.fullmatch(r"(?:(?:([0-9]{1,7}):)?([0-9]{1,2}):)?([0-9]{1,9})", text)
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return (hours * 60 + minutes) * 60 + seconds


def _size(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,15})([kmgt]?)b", text)
    return int(found[1]) * UNITS[found[2]] if found else None
