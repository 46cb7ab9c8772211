"""The end of a job: keepers are dismissed, the journal is closed, NAME.success and its like are printed whole.

The task server looks here after each turn and at each tick. A job ends when every task is settled, or when it was
stopped and nothing runs any more; at once where somebody insists.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from coordinator.core.records import Kind
from coordinator.errors import JournalStalled
from coordinator.job import Job, Outcome
from coordinator.joblog import JobLog
from coordinator.printer import Printer

#: seconds for processors to leave by themselves, and as many again after they were told to die twice
PATIENCE_S = 5.0
#: records that are printed to NAME.success and its like at a time
PRINT_RECORDS = 200


class Ending:
    """``commit``: makes safe what was decided; ``ended``: called once the outcome stands in ``job.over``;
    ``awaited(now)``: may a keeper of an earlier life still come?"""

    def __init__(
        self,
        job: Job,
        joblog: JobLog,
        commit: Callable[[], bool],
        awaited: Callable[[float], bool],
        ended: Callable[[], None],
    ) -> None:
        self._job, self._joblog, self._commit, self._awaited, self._ended = job, joblog, commit, awaited, ended
        self._printer = Printer(job.files.journal, job.files.base)
        self._printer.step(0)  # files that cannot be written are an error now, not when the work is done
        self._unprinted: str | None = None
        self._since: float | None = None

    def print(self) -> None:
        """Print some of what the journal says. What cannot be printed now is printed later."""
        try:
            self._printer.step(PRINT_RECORDS)
            self._unprinted = None
        except JournalStalled as error:
            if self._unprinted is None:
                self._job.log.error("%s", error.message)
            self._unprinted = error.message

    def look(self, now: float) -> None:
        """All settled, or stopping with nobody left: dismiss the keepers, then end."""
        run, crew = self._job.run, self._job.crew
        done = run.ledger.finished or run.stopping is not None
        if not done or self._job.over is not None:
            return
        if self._since is None:
            self._since = now
        # Who was not heard of for a lease has no keeper that could miss it; nobody takes its tasks over any more.
        working = any(not lease.lapsed for number in run.hired for lease in run.ledger.held_by(number))
        if run.ledger.finished or not working or crew.killing:
            crew.ending = True
            crew.step(now, 0)
            self._commit()
            if now - self._since > PATIENCE_S and not crew.killing:
                crew.kill_all("the job is over")
                self._commit()
            if (crew.empty and not self._awaited(now)) or now - self._since > 3 * PATIENCE_S:
                self.end()

    def end(self) -> None:
        """Write the last record, print all, and say how it went."""
        job, ledger = self._job, self._job.run.ledger
        over = job.over = self._outcome()
        closing = {
            "state": "done" if over.ok else "stopped" if job.run.stopping and not job.run.reason else "failed",
            "reason": over.reason,
            "done": over.done,
            "failed": over.failed,
            "at": time.time(),
        }
        job.journal.append(Kind.CLOSED, closing)
        try:
            job.journal.commit(True)
            self._printer.finish()
        except (JournalStalled, OSError) as error:
            job.log.error("the end could not be written: %s", error)
            job.over = over._replace(reason=over.reason or str(error))
        self._joblog.close()
        job.log.info(
            "coordinator ended done=%d failed=%d left=%d reason=%s", ledger.done, ledger.failed, over.left, over.reason
        )
        self._ended()

    def give_up(self, reason: str) -> None:
        """The files are not this process's any more: nothing is written from here on."""
        self._job.log.error("%s", reason)
        self._job.run.reason = reason
        self._job.over = self._outcome()
        self._ended()

    def _outcome(self) -> Outcome:
        job, ledger = self._job, self._job.run.ledger
        left = ledger.count - ledger.settled
        reason = job.run.reason or job.run.stopping
        return Outcome(job.name, ledger.done, ledger.failed, left, reason, job.interrupted)
