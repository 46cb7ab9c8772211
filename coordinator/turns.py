"""Turns: all calls that arrived together are decided, the journal is committed once, and only then are they answered.

The task server's door hands the calls over; what others want done after the commit that makes it safe (an answer, a
keeper's start) they hand to :meth:`Turns.then`. While the journal cannot be written nothing is answered but what only
looks. It decides nothing about tasks, and knows no clock but the one it is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from coordinator.core.exchange import Request, text_of
from coordinator.description import describe
from coordinator.door import LOOKING, check_caller
from coordinator.errors import BadParameters, CoordinatorError, JournalStalled, NameTaken
from coordinator.face import LATER, Face, Later
from coordinator.job import Job
from coordinator.logs import Trickle
from coordinator.syncer import Syncer
from coordinator.wire import listing
from coordinator.wire.server import Call

#: what writes nothing, and so is answered on a full disk too
UNWRITTEN = LOOKING | {"stop"}
#: exchanges that are logged in a second
EXCHANGES_PER_S = 20

Deed = Callable[[], None]


class Turns:
    """``ask``: a processor's question about a resource goes there; ``joined()``: somebody joined by hand;
    ``settled(now)``: called at the end of each turn; ``lost(reason)``: the job's files are another's now; ``syncer``:
    waits for the disk."""

    def __init__(
        self,
        job: Job,
        ask: Callable[[Call], None],
        joined: Callable[[], None],
        settled: Callable[[float], None],
        lost: Callable[[str], None],
        syncer: Syncer,
    ) -> None:
        self._job, self._ask, self._joined, self._settled, self._lost = job, ask, joined, settled, lost
        self._syncer = syncer
        self._face = Face(job)
        self._trickle = Trickle(job.log, "exchanges", EXCHANGES_PER_S)
        later = Later()
        self._methods = {name: getattr(later, name) for name in LATER}
        self._methods |= {name: getattr(self._face, name) for name in self._face.xmlrpc_methods}
        #: to be done as soon as what was decided is safe
        self._pending: list[Deed] = []
        #: calls that came while the journal could not be written
        self._backlog: list[Call] = []
        #: exchanges of processors that wait for a task
        self._parked: dict[int, Call] = {}
        self._waiters: list[tuple[float, Call]] = []

    def then(self, deed: Deed) -> None:
        """Do it after the next commit."""
        self._pending.append(deed)

    # --- a turn -----------------------------------------------------------------------------------------

    def take(self, calls: list[Call]) -> None:
        """One turn."""
        job = self._job
        if job.over is not None:
            return  # too late: the journal is closed, and these connections are about to be
        now = job.now()
        unwritten = [call for call in calls if call.method in (LOOKING if job.stalled is None else UNWRITTEN)]
        others = [call for call in calls if call not in unwritten]
        if job.stalled is not None:
            self._backlog += others
        else:
            for call in others:
                self._handle(call, now, self.then)
            self.settle(now)
        # Whatever became of the commit: who looks is told so, and waits for no disk.
        for call in unwritten:
            self._handle(call, now, lambda deed: deed())

    def settle(self, now: float) -> None:
        """End a turn: tell those who wait, commit, do what waited for that."""
        run = self._job.run
        run.ask_back()
        for number, answer in run.serve_waiting(now):
            call = self._parked.pop(number, None)
            if call is not None:
                self.then(partial(call.answer, answer.to_text()))
        self._commit_soon()
        self._settled(now)

    def commit(self) -> bool:
        """Make safe what was decided, and do what waited for that. False if the journal cannot be written: it goes on
        waiting."""
        self._syncer.wait()
        journal, run = self._job.journal, self._job.run
        try:
            journal.commit(run.accepted)
        except (JournalStalled, NameTaken) as error:
            self._not_written(error)
            return False
        run.accepted = False
        self._written(self._take_pending())
        return True

    def _commit_soon(self) -> None:
        """The same, and the loop goes on meanwhile: what is decided until then is of the next commit."""
        if self._syncer.busy:
            return
        journal, run = self._job.journal, self._job.run
        try:
            make_safe = journal.begin(run.accepted)
        except (JournalStalled, NameTaken) as error:
            self._not_written(error)
            return
        run.accepted = False
        pending = self._take_pending()
        if make_safe is None:
            self._written(pending)
        else:
            self._syncer.start(make_safe, lambda error: self._synced(error, pending))

    def _synced(self, failed: OSError | None, pending: list[Deed]) -> None:
        try:
            self._job.journal.end(failed)
        except (JournalStalled, NameTaken) as error:
            self._job.run.accepted = True
            self._pending[:0] = pending
            self._not_written(error)
            return
        self._written(pending)
        self._commit_soon()

    def _not_written(self, error: JournalStalled | NameTaken) -> None:
        job = self._job
        if isinstance(error, NameTaken):
            self._lost(error.message)
            return
        if job.stalled is None:
            job.log.error("journal stalled: %s Serving stops until it can be written.", error.message)
        job.stalled = error.message

    def _written(self, deeds: list[Deed]) -> None:
        job = self._job
        stalled, job.stalled = job.stalled, None
        for deed in deeds:
            deed()
        if stalled is not None:
            job.log.info("journal writable again; serving goes on")
            self.judge_nobody(job.now())  # who was alive could not say so while nothing was answered
            backlog, self._backlog = self._backlog, []
            self.take(backlog)

    def _take_pending(self) -> list[Deed]:
        pending, self._pending = self._pending, []
        return pending

    def judge_nobody(self, now: float) -> None:
        """Nobody could be heard for a while: everybody has a whole term again."""
        self._job.run.ledger.renew_all(now)
        self._job.crew.renew_all(now)

    def time_passes(self, now: float) -> None:
        """Answer those who waited long enough, and say what was only counted."""
        self._trickle.tick()
        due = [(until, call) for until, call in self._waiters if until <= now or self._job.over is not None]
        self._waiters = [waiter for waiter in self._waiters if waiter not in due]
        for _, call in due:
            call.answer(describe(self._job))

    def close(self, now: float) -> None:
        """The job is over: tell those who wait for that."""
        self._trickle.flush()
        self.time_passes(now)

    # --- a call -----------------------------------------------------------------------------------------

    def _handle(self, call: Call, now: float, say: Callable[[Deed], None]) -> None:
        try:
            check_caller(call)
            if call.method == "exchange":
                self._exchange(call, now)
            elif call.method == "beat":
                message = json.loads(call.params[0])
                self._job.crew.beat(message, now, lambda told: say(lambda: call.answer(text_of(told))))
            elif call.method == "join":
                self._join(call, now)
            elif call.method in ("await_resource", "settle_rule"):
                self._ask(call)
            elif call.method == "wait_job":
                self._waiters.append((now + float(call.params[0]), call))
            else:
                value = listing.invoke(self._methods, call.method, call.params)
                say(lambda: call.answer(value))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            say(partial(call.fault, BadParameters(f"{call.method}: {error!r}")))
        except CoordinatorError as error:
            say(partial(call.fault, error))

    def _exchange(self, call: Call, now: float) -> None:
        request = Request.from_text(call.params[0])
        answer = self._job.run.exchange(request, now)
        # Only now: a stale duplicate, which is refused above, must not cost the live call its answer.
        earlier = self._parked.pop(request.processor, None)
        if earlier is not None:
            earlier.fault(BadParameters("the same processor asked again"))
        if self._trickle.fits():
            done = sum(b - a for report in request.reports for a, b in report.ranges)
            self._job.log.info("exchange processor=%d seq=%d done=%d", request.processor, request.seq, done)
        if answer is None:
            self._parked[request.processor] = call
            return
        self.then(partial(call.answer, answer.to_text()))

    def _join(self, call: Call, now: float) -> None:
        """A processor that a person started by hand."""
        who: dict[str, Any] = json.loads(call.params[0])
        run = self._job.run
        number = run.new_number()
        run.hire(number, str(who["host"]), int(who["pid"]), str(who["log"]), now)
        self._job.log.info("join processor=%d host=%s pid=%s", number, who["host"], who["pid"])
        self._joined()
        self.then(partial(call.answer, text_of({"run": run.id, "number": number})))
