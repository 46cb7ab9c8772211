"""Planted kills and planted bugs: what a test's script does to the Coordinator that it is about to become.

The script imports it before start_client_or_server. ``FAULTS_PLANT`` in the environment says what to do, as JSON:
``{"kill": window, "at": k}`` kills the process with SIGKILL the k-th time that it comes to the window, and adds
a line to the file ``hits``; ``{"bug": name}`` breaks a promise, so that a test can see whether the oracle notices.
Without it, and in every other process of the job, nothing is changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any


def sow() -> None:
    """Do what the environment says, if this process is going to be the Coordinator."""
    text = os.environ.pop("FAULTS_PLANT", None)
    if text is None or "COORDINATOR_ROLE" in os.environ:
        return
    told = json.loads(text)
    if "bug" in told:
        BUGS[told["bug"]]()
    if "kill" in told:
        left = [told.get("at", 1)]

        def strike() -> None:
            left[0] -= 1
            if left[0] == 0:
                descriptor = os.open(told["hits"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(descriptor, f"{told['kill']}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

        WINDOWS[told["kill"]](strike)


def _before(
    owner: type, method: str, strike: Callable[[], None], when: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """Strike before each call of a method for which ``when`` is true."""
    original = getattr(owner, method)

    def struck(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            strike()
        return original(*args, **kwargs)

    setattr(owner, method, struck)


def _after(owner: type, method: str, strike: Callable[[], None]) -> None:
    original = getattr(owner, method)

    def struck(*args: Any, **kwargs: Any) -> Any:
        value = original(*args, **kwargs)
        strike()
        return value

    setattr(owner, method, struck)


# --- windows -------------------------------------------------------------------------------------------


def _before_append(strike: Callable[[], None]) -> None:
    """A report has arrived and was believed; the journal does not know it."""
    from coordinator.core.records import Kind
    from coordinator.journal import Journal

    _before(Journal, "append", strike, lambda journal, kind, *_: kind == Kind.DONE)


def _before_write(strike: Callable[[], None]) -> None:
    """The records of a turn are gathered; none is written."""
    from coordinator.journal import Journal

    _before(Journal, "_write", strike)


def _torn_write(strike: Callable[[], None]) -> None:
    """Half of a turn's records are written."""
    from coordinator.disk import Disk

    original = Disk.write

    def torn(disk: Disk, descriptor: int, content: memoryview, offset: int) -> int:
        # Half of it first, so that the kill finds a torn tail; the second call writes the rest.
        if len(content) > 1:
            written = original(disk, descriptor, content[: len(content) // 2], offset)
            strike()
            return written
        return original(disk, descriptor, content, offset)

    Disk.write = torn  # type: ignore[method-assign]


def _before_fsync(strike: Callable[[], None]) -> None:
    """The records of a turn are written; the disk was not asked for them."""
    from coordinator.disk import SegmentFile

    _before(SegmentFile, "make_safe", strike)


def _before_reply(strike: Callable[[], None]) -> None:
    """All is safe on disk; the processor does not know it."""
    from coordinator.wire.call import Call

    _before(Call, "answer", strike, lambda call, _: call.method == "exchange")


def _after_reply(strike: Callable[[], None]) -> None:
    """The answers of a turn are on their way; nothing else happened since."""
    from coordinator.turns import Turns

    original = Turns._written

    def struck(turns: Turns, deeds: list[Callable[[], None]]) -> None:
        original(turns, deeds)
        if deeds and (loop := _loop()) is not None:
            loop.call_soon(strike)

    Turns._written = struck  # type: ignore[method-assign]


def _loop() -> asyncio.AbstractEventLoop | None:
    """None while the Coordinator is still opening, when there are no answers."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _while_printing(strike: Callable[[], None]) -> None:
    """NAME.success is being printed."""
    from coordinator.printed import PrintedFile

    _before(PrintedFile, "flush", strike, lambda file: bool(file._waiting))


def _ending_all_done(strike: Callable[[], None]) -> None:
    """Every task is accepted and safe; the processors do not know that there is no more."""
    from coordinator.ending import Ending

    _before(Ending, "look", strike, lambda ending, _: ending._job.run.ledger.finished)


def _ending_closed(strike: Callable[[], None]) -> None:
    """The journal is closed; NAME.success is not complete."""
    from coordinator.printer import Printer

    _before(Printer, "finish", strike)


def _ending_printed(strike: Callable[[], None]) -> None:
    """All is printed; the run file says that the job runs."""
    from coordinator.runfile import RunFile

    _before(RunFile, "release", strike)


def _recovery_cut(strike: Callable[[], None]) -> None:
    """The journal was read; a torn tail is still there."""
    from coordinator import journal

    original = journal.cut

    def struck(*args: Any) -> Any:
        strike()
        return original(*args)

    journal.cut = struck


def _recovery_opened(strike: Callable[[], None]) -> None:
    """The journal is open; nobody listens."""
    from coordinator.journal import Journal

    original = Journal.open.__func__  # type: ignore[attr-defined]

    def struck(cls: type[Journal], *args: Any, **kwargs: Any) -> Journal:
        opened: Journal = original(cls, *args, **kwargs)
        strike()
        return opened

    Journal.open = classmethod(struck)  # type: ignore[assignment,method-assign]


def _recovery_restored(strike: Callable[[], None]) -> None:
    """The ledger is as it was; the run file names the predecessor."""
    from coordinator.run import Run

    _after(Run, "restore", strike)


def _recovery_published(strike: Callable[[], None]) -> None:
    """The run file names this process; its first record is not written."""
    from coordinator.runfile import RunFile

    _after(RunFile, "publish", strike)


def _recovery_first_word(strike: Callable[[], None]) -> None:
    """The first word of a processor of the last life has arrived."""
    from coordinator.run import Run

    _before(Run, "exchange", strike)


WINDOWS: dict[str, Callable[[Callable[[], None]], None]] = {
    "before append": _before_append,
    "before write": _before_write,
    "torn write": _torn_write,
    "before fsync": _before_fsync,
    "before reply": _before_reply,
    "after reply": _after_reply,
    "while printing": _while_printing,
    "ending: all done": _ending_all_done,
    "ending: closed": _ending_closed,
    "ending: printed": _ending_printed,
    "recovery: before the cut": _recovery_cut,
    "recovery: journal open": _recovery_opened,
    "recovery: restored": _recovery_restored,
    "recovery: published": _recovery_published,
    "recovery: first word": _recovery_first_word,
}


# --- bugs --------------------------------------------------------------------------------------------------


def _acknowledge_before_commit() -> None:
    """Answers leave before the journal has what they acknowledge."""
    from coordinator.turns import Turns

    original = Turns._commit_soon

    def careless(turns: Turns) -> None:
        if (loop := _loop()) is None:
            return original(turns)
        for deed in turns._take_pending():
            deed()
        # The commit comes when the answers are gone.
        loop.call_soon(original, turns)
        return None

    Turns._commit_soon = careless  # type: ignore[method-assign]


def _believe_every_lease() -> None:
    """A report is accepted whatever became of its lease."""
    from coordinator.core.ledger import Ledger, Verdict

    original = Ledger.report

    def gullible(ledger: Ledger, number: int, done: Any, failed: Any, now: float, final: bool = False) -> Verdict:
        done = list(done)
        verdict = original(ledger, number, done, failed, now, final)
        if number not in ledger.leases and not verdict.done:
            verdict.done = done
        return verdict

    Ledger.report = gullible  # type: ignore[method-assign]


def _forget_leases() -> None:
    """Leases are not written down before the answer leaves."""
    from coordinator.core.records import Kind
    from coordinator.journal import Journal

    original = Journal.append

    def forgetful(journal: Journal, kind: Kind, header: dict[str, Any], text: str = "") -> None:
        if kind != Kind.LEASE:
            original(journal, kind, header, text)

    Journal.append = forgetful  # type: ignore[method-assign]


def _lose_reports() -> None:
    """Every tenth report is acknowledged and never written."""
    from coordinator.core.records import Kind
    from coordinator.journal import Journal

    original = Journal.append
    seen = [0]

    def lossy(journal: Journal, kind: Kind, header: dict[str, Any], text: str = "") -> None:
        seen[0] += kind == Kind.DONE
        if kind != Kind.DONE or seen[0] % 10:
            original(journal, kind, header, text)

    Journal.append = lossy  # type: ignore[method-assign]


def _lease_twice() -> None:
    """Now and then a lease leaves its tasks where others find them."""
    from coordinator.core.leases import Lease
    from coordinator.core.ledger import Ledger

    original = Ledger.lease
    given = [0]

    def generous(ledger: Ledger, *args: Any, **more: Any) -> Lease | None:
        lease = original(ledger, *args, **more)
        given[0] += 1
        if lease is not None and given[0] % 5 == 0:
            ledger.todo.add(lease.start, lease.stop)
        return lease

    Ledger.lease = generous  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    "acknowledge before commit": _acknowledge_before_commit,
    "believe every lease": _believe_every_lease,
    "forget leases": _forget_leases,
    "lose reports": _lose_reports,
    "lease twice": _lease_twice,
}
