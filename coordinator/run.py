"""One run of a job as its Coordinator knows it: tasks in a ledger, every decision in the journal, each processor.

The task server hands it requests and asks for answers; between the two it commits the journal. Nothing here waits,
opens a socket or starts a process; clocks are given. What a method answers may leave only after the commit that
follows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from coordinator.attempts import DIED, Attempts
from coordinator.core import blocks, exchange, ids
from coordinator.core.exchange import Answer, LeaseReport, Request
from coordinator.core.leases import CLASSIC_TERM_S, LIFE_STRIDE, TERM_S, Lease
from coordinator.core.ledger import Ledger, Policy, Verdict
from coordinator.core.records import Kind
from coordinator.core.replay import Recovered
from coordinator.errors import BadParameters, BadRequest, UnknownProcessor, UnknownRun
from coordinator.hired import NOT_HEARD_OF, WITH_ZYGOTE, Hired
from coordinator.hosttrials import HostTrials
from coordinator.journal import Journal

log = logging.getLogger("coordinator.run")

#: processor numbers are reserved in the journal so many at a time
NUMBERS_STRIDE = 64
#: executions of a task that may end with their zygote before that counts as a death of their processor in the task.
#: Which of all that ran there killed it, if any did, nobody knows; the one that does so meets it each time
EXCUSED = 3


class Run:
    """The tasks and processors of one run. ``clock``: time of day in seconds, for what people read."""

    def __init__(
        self,
        journal: Journal,
        recovered: Recovered,
        run: str,
        policy: Policy,
        clock: Callable[[], float],
        term_s: float = TERM_S,
    ) -> None:
        self.journal, self.id, self.clock = journal, run, clock
        self.ledger = Ledger(policy, (recovered.life + 1) * LIFE_STRIDE + 1, term_s)
        self.hired: dict[int, Hired] = {}
        self.departed: dict[int, Hired] = {}
        #: processors that wait for a task, and what they asked
        self._waiting: dict[int, tuple[Hired, Request]] = {}
        self.stopping: str | None = None
        self.reason: str | None = None
        #: of what ended the stream, for people
        self.reason_traceback = ""
        self.accepted = False
        self._numbers = self._reserved = recovered.numbers
        #: has the processor's host more of them than it shall have?
        self.surplus: Callable[[Hired], bool] = lambda _: False
        self._setup_error = ""
        self.host_trials = HostTrials(journal, self.ledger, self.hired)
        self.attempts = Attempts(journal, self.ledger, clock)

    # --- recovery -----------------------------------------------------------------------------------

    def restore(self, recovered: Recovered, now: float, same_run: bool, expected: bool = True) -> int:
        """Take up where the journal ends; failed tasks are TODO again. Returns how many tasks were done before.

        ``same_run``: leases of the last life stay with their holders, who have one term to be heard of. Where none
        can be ``expected`` back, their tasks may go to others at once; until they do, what the holders left in files
        on their hosts is welcome.
        """
        ledger = self.ledger
        ledger.count = recovered.count
        for a, b in recovered.done.gaps(0, recovered.count):
            ledger.todo.add(a, b)
        ledger.done = recovered.done.total()
        if recovered.failed:
            flat = [[a, b] for a, b in recovered.failed]
            self.journal.append(Kind.REDO, {"r": flat})
        if same_run:
            for number, holder, a, b in recovered.leases:
                lease = ledger.leases.get(number)
                if lease is None:
                    # How far it went is not known any more: what its holder reports beside the open part is late.
                    lease = Lease(number, 0, recovered.count, holder, now + ledger.term_s, ledger.term_s)
                    lease.open.clear()
                    # Whether its holder returned the rest or lost it by silence is not known: it begins no more of it.
                    lease.shared_out = number in recovered.shared_out
                lease.open.add(a, b)
                ledger.restore(lease)
            ledger.remember(recovered.attempts, recovered.deaths, recovered.interrupted, recovered.died_at, now)
            if not expected:
                ledger.lapse(now + ledger.term_s + 1.0)
        return ledger.done

    # --- the stream ---------------------------------------------------------------------------------

    def extend(self, count: int, digest: str, first: int | None, text: str) -> None:
        """A slice of the stream: journalled once, in order, before any of it can be leased."""
        header: dict[str, Any] = {"start": self.ledger.count, "count": count, "digest": digest}
        if first is not None:
            header["first"] = first
        self.journal.append(Kind.SLICE, header, text)
        self.ledger.extend(count)

    def end_stream(self, error: dict[str, Any] | None) -> None:
        reason = None
        if error is not None:
            reason = f"the server generator failed after {self.ledger.count} IDs: {error['kind']}: {error['message']}"
            self.reason = reason
            self.attempts.last_error = self.reason_traceback = error["traceback"]
        self.journal.append(Kind.ENDED, {"count": self.ledger.count, "reason": reason})
        self.ledger.end()

    # --- processors ---------------------------------------------------------------------------------

    def new_number(self) -> int:
        """A number that no processor of this job ever had, in any run."""
        if self._numbers >= self._reserved:
            self._reserved = self._numbers + NUMBERS_STRIDE
            self.journal.append(Kind.NUMBERS, {"upto": self._reserved})
            self.accepted = True  # safe before anybody has one: after a power cut its owner may still be there
        self._numbers += 1
        return self._numbers - 1

    def hire(
        self, number: int, host: str, pid: int, log_path: str, now: float, kept: bool = False, classic: bool = False
    ) -> Hired:
        """A processor made itself known."""
        hired = self.hired.get(number)
        if hired is None:
            hired = self.hired[number] = Hired(number, joined=self.clock())
            self.host_trials.again(host)
            log.info("register processor=%d host=%s pid=%s log=%s", number, host, pid, log_path)
        hired.host, hired.pid, hired.log, hired.kept, hired.classic, hired.heard = (
            host,
            pid,
            log_path,
            kept,
            classic,
            now,
        )
        self._numbers = max(self._numbers, number + 1)
        return hired

    def depart(
        self, number: int, how: str, position: int | None, now: float, cause: str = "", host: str = ""
    ) -> Hired | None:
        """A processor is gone: what it held goes to others at once.

        ``position``: the task it died in, None when it left in order; ``cause``: "time limit" or another reason of
        the guard for killing it.
        """
        known = self.hired.pop(number, None)
        self._waiting.pop(number, None)
        held = self.ledger.held_by(number)
        hired = known or Hired(number, host)
        if position is not None and cause == "time limit":
            for lease in held:
                if position in lease.open:
                    verdict = self.ledger.report(lease.number, (), [position], now)
                    words = "it ran longer than the time limit of one task"
                    self.attempts.ended(lease.number, hired, verdict, "TaskTimeLimit", words)
                    self._tally(hired, verdict)
        else:
            excused = self._excused(how, position, cause)
            if excused:
                words = f"its processor {number} on {hired.host} was lost: {cause or how}"
                self._interrupted(hired, words, position, now)
            died_in = next((lease.number for lease in held if position is not None and position in lease.open), 0)
            _, verdict = self.ledger.lost(number, None if excused else position, now, hired.host)
            if verdict.failed:
                tries = self.ledger.policy.deaths
                words = f"its processor {number} on {hired.host} ended with {how}"
                if verdict.failed[0][2]:
                    words += f", the last of {tries}: the task is given up"
                self.attempts.ended(died_in, hired, verdict, DIED, words)
                self._tally(hired, verdict)
        self.ledger.lost(number, None, now)
        hired.dead = how != NOT_HEARD_OF
        self.departed[number] = hired
        if len(self.departed) > 10_000:
            del self.departed[next(iter(self.departed))]
        return hired if known is not None or held else None

    # --- the exchange -------------------------------------------------------------------------------

    def exchange(self, request: Request, now: float) -> Answer | None:
        """Take a processor's report and answer it; None when it shall wait (until ``serve_waiting``)."""
        if request.run != self.id:
            raise UnknownRun(f"this is run {self.id}; the call is for run {request.run}, which is not served here")
        hired = self.hired.get(request.processor)
        if hired is None and (gone := self.departed.get(request.processor)) is not None and gone.dead:
            return Answer(request.seq, exchange.STOP, reason="this processor is known to be dead")
        if hired is not None and not hired.incarnation and request.who is None:
            hired.incarnation = request.incarnation  # its keeper made it known
        if hired is None or hired.incarnation != request.incarnation:
            if request.who is None:
                return Answer(request.seq, exchange.WHO)
            who = request.who
            hired = self.hire(
                request.processor,
                str(who.get("host", "")),
                int(who.get("pid", 0)),
                str(who.get("log", "")),
                now,
                bool(who.get("kept")),
            )
            hired.incarnation, hired.seq, hired.answer = request.incarnation, 0, None
        hired.heard, hired.frozen, hired.silent = now, False, False
        if request.seq == hired.seq and hired.answer is not None:
            return hired.answer
        if request.seq < hired.seq:
            raise BadRequest(f"processor {hired.number} sent call {request.seq} after call {hired.seq}")
        hired.seq, hired.answer = request.seq, None
        self._waiting.pop(hired.number, None)
        tasks, seconds = request.worked
        if tasks > 0:
            hired.last_s = seconds / tasks
            hired.task_s = blocks.smoothed(hired.task_s, hired.last_s)
        drop = self.ledger.hold(hired.number, request.held, now)
        for report in request.reports:
            self._take_report(hired, report, now)
        for number, start, stop in request.returned:
            self.ledger.give_back(number, start, stop)
            hired.give = False
        if request.setup_error is not None:
            self._setup_failed(hired, request.setup_error)
        if request.bye is not None:
            self._take_leave(hired, request.bye, now)
            return self._answered(hired, Answer(request.seq, exchange.END))
        return self._serve(hired, request, drop, now)

    def hand_in(self, request: Request, host: str, now: float) -> None:
        """What a processor could not report before it ended; its host's next keeper found it in a file."""
        if request.run != self.id:
            raise UnknownRun(f"this is run {self.id}; the report is of run {request.run}, which is not served here")
        number = request.processor
        hired = self.hired.get(number) or self.departed.get(number) or Hired(number, host)
        tasks = sum(b - a for report in request.reports for a, b in report.ranges)
        log.info("kept report processor=%d host=%s done=%d", number, host, tasks)
        for report in request.reports:
            self._take_report(hired, report, now)

    def serve_waiting(self, now: float) -> list[tuple[int, Answer]]:
        """Answers for processors that waited and can be told something now."""
        answers = []
        for number, (hired, request) in list(self._waiting.items()):
            answer = self._serve(hired, request, [], now)
            if answer is not None:
                self._waiting.pop(number, None)
                answers.append((number, answer))
        return answers

    def waits(self, number: int) -> bool:
        """Does that processor wait for a task?"""
        return number in self._waiting

    def ask_back(self) -> None:
        """Where processors wait and there is nothing to give, ask the busy for what they have not begun."""
        idle = len(self._waiting)
        if not idle or self.ledger.todo:
            return
        unbegun = {
            hired.number: sum(lease.open.total() for lease in self.ledger.held_by(hired.number))
            for hired in self.hired.values()
            if not self.waits(hired.number) and not hired.classic
        }
        for number in blocks.who_gives_back(unbegun, idle):
            self.hired[number].give = True

    def _serve(self, hired: Hired, request: Request, drop: list[int], now: float) -> Answer | None:
        answer = Answer(request.seq, exchange.NOTHING, term_s=self.ledger.term_s, drop=drop)
        if self.stopping is not None or hired.leaving or (request.want and self.surplus(hired)):
            hired.leaving = True
            answer.state, answer.reason = exchange.STOP, self.stopping
        elif request.want:
            lease = self._lease(hired, request, now)
            if lease is not None:
                self._give(answer, lease)
            elif self.ledger.finished:
                answer.state = exchange.END
            elif request.idle and not drop:
                self._waiting[hired.number] = (hired, request)
                return None
        if hired.give:
            answer.give = True
            hired.give = False
        return self._answered(hired, answer)

    def _lease(self, hired: Hired, request: Request, now: float) -> Lease | None:
        known, first = self.ledger.todo.total(), self.ledger.todo.first()
        aim_s = blocks.aim_s(self.ledger.next_lease, len(self.hired))
        hired.size = blocks.block_size(hired.task_s, hired.size, known, len(self.hired), blocks.MOST_INTEGERS, aim_s)
        if hired.size > blocks.MOST:
            hired.size = min(hired.size, self.largest_block(first))
        room = self.host_trials.room(hired, now)
        if room is not None:
            if room <= 0 or not request.idle:
                return None
            hired.size = 1
        most = hired.size
        if most >= blocks.WHOLE_SLICES and first is not None:
            most = blocks.to_edge(most, first, self.journal.edges(first + most))
        places = self.host_trials.hosts(now) if self.ledger.shuns else ()
        lease = self.ledger.lease(hired.number, most, now, place=hired.host, places=places)
        for number, holder, a, b in self.ledger.taken_over:
            late = self.hired.get(holder) or self.departed.get(holder)
            if late is None or not (late.position < 0 or a <= late.position < b):
                continue
            words = f"its processor {holder} on {late.host} was not heard of for a lease"
            self.attempts.interrupted(number, late, max(a, late.position), words)
        return lease

    def largest_block(self, first: int | None) -> int:
        """How many tasks one block may have that begins with the task at ``first``."""
        integers = first is not None and self.journal.integers(first, first + 1) is not None
        return blocks.MOST_INTEGERS if integers else blocks.MOST

    def _answered(self, hired: Hired, answer: Answer) -> Answer:
        hired.answer = answer
        return answer

    def _give(self, answer: Answer, lease: Lease) -> None:
        a, b = lease.start, lease.stop
        answer.first = self.journal.integers(a, b)
        if answer.first is None:
            text = "\n".join(self.journal.texts(a, b))
            if len(text) > blocks.MOST_BYTES and b - a > 1:
                keep = max(1, (b - a) * blocks.MOST_BYTES // (2 * len(text)))
                self.ledger.give_back(lease.number, a + keep, b)
                b, text = a + keep, "\n".join(text.split("\n", keep)[:keep])
            answer.ids = ids.to_array(text)
        answer.state, answer.lease, answer.start, answer.count = exchange.WORK, lease.number, a, b - a
        if self.ledger.retried:
            answer.attempts = {p: self.ledger.attempt(p) for p in range(a, b) if self.ledger.attempt(p) > 1}
        self.journal.append(Kind.LEASE, {"n": lease.number, "p": lease.holder, "a": a, "b": b})

    def _take_report(self, hired: Hired, report: LeaseReport, now: float) -> None:
        lease = self.ledger.leases.get(report.lease)
        if lease is not None and (lease.holder != hired.number or not report.within(lease.start, lease.stop)):
            raise BadParameters(f"processor {hired.number} reported tasks that are not of its lease {report.lease}")
        verdict = self.ledger.report(report.lease, report.ranges, [p for p, _ in report.failed], now)
        if verdict.done:
            self.journal.append(Kind.DONE, {"n": report.lease, "r": verdict.done, "p": hired.number})
            self._keep_results(report, verdict)
        if verdict.failed:
            self.attempts.failed(report.lease, hired, verdict, dict(report.failed))
        self._tally(hired, verdict)
        self.host_trials.heed(hired, verdict, now)

    def _keep_results(self, report: LeaseReport, verdict: Verdict) -> None:
        results = report.results
        if not results:
            return
        if sum(b - a for a, b in verdict.done) != sum(b - a for a, b in report.ranges):
            believed = {p for a, b in verdict.done for p in range(a, b)}
            results = [line for line in results if int(line.partition("\t")[0]) in believed]
        if results:
            self.journal.append(Kind.RESULTS, {"n": report.lease, "count": len(results)}, "\n".join(results))

    def _tally(self, hired: Hired, verdict: Verdict) -> None:
        for a, b in verdict.done:
            hired.done += b - a
        hired.failed += len(verdict.failed)
        if verdict:
            self.accepted = True

    def _excused(self, how: str, position: int | None, cause: str) -> bool:
        """Is the end of a processor nothing that the task at ``position`` did?"""
        if position is None or cause:
            return True
        return how.startswith(WITH_ZYGOTE) and self.ledger.interruptions(position) < EXCUSED

    def _interrupted(self, hired: Hired, words: str, position: int | None, now: float) -> None:
        """What it worked on (at ``position``, else as far as is known) is begun again, and that is another attempt."""
        if position is None:
            position, _ = self.current(hired, now)
        for lease in self.ledger.held_by(hired.number):
            if position in lease.open:
                self.attempts.interrupted(lease.number, hired, position, words)

    def _setup_failed(self, hired: Hired, error: dict[str, Any]) -> None:
        self.attempts.last_error = str(error.get("traceback", ""))
        self._setup_error = f"{error.get('kind')}: {error.get('message')}"

    def _take_leave(self, hired: Hired, message: str, now: float) -> None:
        hired.leaving = True
        if "too many errors" in message:
            self._left_in_trouble(hired.host, message, now)
        elif "initialization error" in message:
            self._left_in_trouble(hired.host, self._setup_error or message, now)
        self.ledger.lost(hired.number, None, now)

    def could_not_start(self, host: str, words: str, now: float) -> None:
        """A processor ended before its first word."""
        self._left_in_trouble(host, words, now)

    def _left_in_trouble(self, host: str, words: str, now: float) -> None:
        reason = self.host_trials.left_in_trouble(host, words, now)
        if reason is not None and self.stopping is None:
            self.stopping = self.reason = reason

    # --- time ---------------------------------------------------------------------------------------

    def lapse(self, now: float) -> list[Lease]:
        """End the leases that nobody vouched for in time."""
        over = self.ledger.lapse(now)
        for lease in over:
            if lease.holder in self.hired:
                self.hired[lease.holder].silent = True
        return over

    # --- for people ---------------------------------------------------------------------------------

    def current(self, hired: Hired, now: float) -> tuple[int, float]:
        """What a processor works on and since when: what its guard saw, or, where that is settled by now, the first
        task of its leases that is not. (-1, 0.0) where it has none."""
        held = sorted(self.ledger.held_by(hired.number), key=lambda lease: lease.number)
        if any(hired.position in lease.open for lease in held):
            return hired.position, hired.since_s
        return next(((first, now) for lease in held if (first := lease.open.first()) is not None), (-1, 0.0))

    def task_text(self, position: int) -> str:
        """The canonical text of the ID at a position."""
        return self.journal.id_text(position)

    def classic_lease(self, number: int, now: float) -> Lease | None:
        """One task for a classic client, which has no keeper to vouch for it."""
        lease = self.ledger.lease(number, 1, now, CLASSIC_TERM_S)
        if lease is not None:
            self.journal.append(Kind.LEASE, {"n": lease.number, "p": number, "a": lease.start, "b": lease.stop})
        return lease

    def classic_report(self, number: int, ok: bool, error: dict[str, Any] | None, now: float) -> bool:
        """A classic client's one task is over; False when it has none."""
        hired = self.hired.get(number)
        if hired is None:
            raise UnknownProcessor("call register_client(host, pid, logfile) first")
        held = self.ledger.held_by(number)
        if not held:
            return False
        lease = held[0]
        position = lease.start
        report = LeaseReport(lease.number)
        if ok:
            report.done = [position, position + 1]
        else:
            report.failed = [(position, error or {})]
        self._take_report(hired, report, now)
        return True

    def id_of(self, position: int) -> Any:
        return ids.decode(self.task_text(position))
