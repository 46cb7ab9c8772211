"""The one tree of errors, with the number that each has on the wire.

Every floor raises these and none other on purpose; a library's error is mapped at the edge that met it.
The docstring of a class is its default message. ``code`` is stable: it is the fault code of the XML-RPC
answer, and :func:`from_fault` turns it back into the class at the other end. ``transient`` says whether
the same call may succeed later without anybody changing anything.
"""

from __future__ import annotations


class CoordinatorError(Exception):
    """Something went wrong in coordinator."""

    code = 1
    transient = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


# --- what somebody gave us ------------------------------------------------------------------------


class BadInput(CoordinatorError):
    """What was given cannot be used."""

    code = 100


class HostsFileError(BadInput):
    """A line of the hosts file cannot be read."""

    code = 101


class BadRule(BadInput):
    """A rule is a local path and a shell command with exactly one %s."""

    code = 102


class UnservableTaskID(BadInput):
    """A task ID cannot travel."""

    code = 103
    #: its offset among the IDs that were given together
    index: int | None = None


class BadOption(BadInput):
    """An option of the command line cannot be used."""

    code = 104


class BadName(BadInput):
    """A job's name must be usable as a file name."""

    code = 105


class UnservableResult(BadInput):
    """A result cannot travel: only JSON values, bytes and tuples can."""

    code = 106


class NoSuchJob(BadInput):
    """There is no job of that name here."""

    code = 107


class UnknownHost(BadInput):
    """The ResourceController does not know that host."""

    code = 108


class BadNeeds(BadInput):
    """What a job needs (cores, memory, time, ...) is not said in a way that a scheduler could be told."""

    code = 109


class BadFilter(BadInput):
    """A filter of jobs cannot be read."""

    code = 110


class BadTemplate(BadInput):
    """A job's script cannot be made from its template."""

    code = 111


class DuplicateJob(BadInput):
    """There is a job of that number in that batch already."""

    code = 112


class BadDependency(BadInput):
    """A job cannot depend on that."""

    code = 113


# --- what the user's own functions did ----------------------------------------------------------------


class TaskError(CoordinatorError):
    """A task failed."""

    code = 150


class WrongYield(TaskError):
    """The client function yielded an ID that it was not given."""

    code = 151


class MissingYield(TaskError):
    """The client function went on without yielding the ID it was given."""

    code = 152


class TaskTimeLimit(TaskError):
    """The task ran longer than its time limit."""

    code = 153


class ProcessorDied(TaskError):
    """The task killed the processors that worked on it."""

    code = 154


class NotAGenerator(TaskError):
    """The client function must be a generator (yield each ID) or a plain function of one ID."""

    code = 155


# --- who may do what ------------------------------------------------------------------------------


class NotAuthorised(CoordinatorError):
    """The token is missing or wrong."""

    code = 200


class NoToken(CoordinatorError):
    """No token is known for that server."""

    code = 201


# --- peers ----------------------------------------------------------------------------------------


class PeerLost(CoordinatorError):
    """The other side cannot be reached."""

    code = 300
    transient = True


class CoordinatorLost(PeerLost):
    """The Coordinator cannot be reached."""

    code = 301


class ControllerLost(PeerLost):
    """The ResourceController cannot be reached."""

    code = 302


class PortTaken(CoordinatorError):
    """The port is in use."""

    code = 303


# --- starting processes ---------------------------------------------------------------------------


class LaunchFailed(CoordinatorError):
    """A process could not be started on a host."""

    code = 400
    #: how far it came, in one word: "reach", "host key", "login", "shell", "python", "path", ...
    step = ""


class ScriptFailed(LaunchFailed):
    """The script could not be loaded."""

    code = 401


class SchedulerError(CoordinatorError):
    """The scheduler could not be spoken to."""

    code = 410


class SchedulerAway(SchedulerError):
    """The scheduler does not answer now."""

    code = 411
    transient = True


class SubmitRefused(SchedulerError):
    """The scheduler does not take that job as it is."""

    code = 412


class SubmitUnclear(SchedulerError):
    """Nobody knows whether the scheduler took the job: look for its mark before it is submitted again."""

    code = 413
    transient = True


class SchedulerAbsent(SchedulerError):
    """That scheduler is not on this machine."""

    code = 415


class NotCancelled(SchedulerError):
    """The scheduler did not cancel that job."""

    code = 414


# --- resources ------------------------------------------------------------------------------------


class BuildFailed(CoordinatorError):
    """The rule of a resource failed."""

    code = 500


class NoSuchRule(CoordinatorError):
    """There is no rule for that resource, and no file."""

    code = 501


class NotLocked(CoordinatorError):
    """That resource is not locked by that process."""

    code = 502


# --- state and promises ---------------------------------------------------------------------------


class StateError(CoordinatorError):
    """That cannot be done in the present state."""

    code = 600


class NameTaken(StateError):
    """A job of this name is running in this directory."""

    code = 601


class JournalDamaged(StateError):
    """The journal is damaged in the middle."""

    code = 602


class JournalStalled(StateError):
    """The journal cannot be written."""

    code = 603
    transient = True


class StaleLease(StateError):
    """The lease is not the newest of its tasks."""

    code = 604


class UnknownRun(StateError):
    """The call belongs to another run."""

    code = 605


class UnknownProcessor(StateError):
    """The processor is not registered with this run."""

    code = 606


class StaleChange(StateError):
    """Somebody else has changed the same field of the job meanwhile."""

    code = 608


class StoreBusy(StateError):
    """Others write to the store of jobs all the time."""

    code = 610
    transient = True


class StoreUnwritable(StateError):
    """The store of jobs cannot be written."""

    code = 611


class StoreDamaged(StateError):
    """The store of jobs is damaged."""

    code = 612


class Overloaded(StateError):
    """The server has too many calls waiting."""

    code = 607
    transient = True


# --- the protocol itself (numbers of the XML-RPC fault code interoperability list) ----------------


class ProtocolError(CoordinatorError):
    """The message is not a well-formed call."""

    code = -32700


class BadRequest(ProtocolError):
    """The message is well-formed and not allowed."""

    code = -32600


class UnknownMethod(ProtocolError):
    """There is no such method."""

    code = -32601


class BadParameters(ProtocolError):
    """The parameters do not fit the method."""

    code = -32602


class InternalError(CoordinatorError):
    """The server failed while it worked on the call; its log has the traceback."""

    code = -32603


def _tree(root: type[CoordinatorError]) -> dict[int, type[CoordinatorError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def by_code() -> dict[int, type[CoordinatorError]]:
    """``{fault code: class}`` of every error here."""
    return _tree(CoordinatorError)


def from_fault(code: int, text: str) -> CoordinatorError:
    """The error that a fault of the wire stands for; an unknown number gives a plain CoordinatorError."""
    return by_code().get(code, CoordinatorError)(text)
