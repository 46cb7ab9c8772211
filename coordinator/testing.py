"""Fakes for tests of your own functions, and the ones that our tests use. They are strict.

A user's client function can be tried without a farm::

    from coordinator.testing import run_client

    outcome = run_client(square, [1, 2, 3], exponent=2)
    assert outcome.results == [(1, 1), (2, 4), (3, 9)]
    assert not outcome.failed

It is driven by the very code that a Processor runs, one task after another; :class:`FakeServer` is the ``server`` that
it sees. ``FakeClock`` is a clock that a test moves. ``FakeLine``, ``FakeExecutor`` and ``FakeLink`` stand for a
Coordinator, for hosts and for a ResourceController; they are contexts, and at their end what nobody asked for or
claimed fails the test. Nothing here opens a socket or starts a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from coordinator.building import ResourceDirectory
from coordinator.core import exchange, ids
from coordinator.core.exchange import Answer, LeaseReport, Request
from coordinator.core.ledger import Ledger, Policy
from coordinator.errors import BadOption, CoordinatorError, LaunchFailed, NoSuchRule, PeerLost
from coordinator.executors.base import Started
from coordinator.options import taken_by
from coordinator.processor import Processor


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s

    def __call__(self) -> float:
        return self.now_s

    def passes(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time does not go back")
        self.now_s += seconds


@dataclass
class ClientOutcome:
    """What a client function did.

    ``done``: IDs in order; ``failed``: (ID, error) of those that failed for good, ``retried`` of those that were tried
    again; ``results``: (ID, value); ``message``: what the processor left with; ``setup_error``: of a function that
    could not begin. An error has ``kind``, ``message``, ``traceback`` and ``where``.
    """

    done: list[Any] = field(default_factory=list)
    failed: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    retried: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    results: list[tuple[Any, Any]] = field(default_factory=list)
    message: str = ""
    setup_error: dict[str, Any] | None = None


def run_client(
    client: Callable[..., Any],
    task_ids: Iterable[Any],
    setup: Callable[..., Any] | None = None,
    /,
    block: int = 4,
    resources: Mapping[str, str] | None = None,
    retries: int = 0,
    **options: Any,
) -> ClientOutcome:
    """Run a client function over ``task_ids`` as a Processor does; the rest as for :class:`FakeServer`.

    ``options`` are those of the command line: each function gets what it names. Raises BadOption for one that neither
    takes, UnservableTaskID for an ID that could not travel.
    """
    takers = [client] if setup is None else [client, setup]
    for name in options:
        if not any(name in taken_by(function, options) for function in takers):
            raise BadOption(f"neither the client nor the setup function takes {name!r}")
    server = FakeServer(task_ids, block, resources, retries)
    server.outcome.message = server.run_all(
        client, setup, taken_by(setup, options) if setup is not None else {}, **taken_by(client, options)
    )
    return server.outcome


class FakeServer(Processor):
    """The ``server`` of a client function, whose farm is a list of task IDs; ``outcome`` says what became of them.

    ``block``: so many tasks are given at once; ``resources``: {name: path} for open_resource; ``retries``: as the
    option of that name, without the waiting. For a loop of your own use it as a context::

        with FakeServer(["a", "b"]) as server:
            for task_id in server:
                server.report_success(task_id)
        assert server.outcome.done == ["a", "b"]
    """

    def __init__(
        self, task_ids: Iterable[Any], block: int = 4, resources: Mapping[str, str] | None = None, retries: int = 0
    ) -> None:
        farm = FakeCoordinator(list(task_ids), block, retries)
        super().__init__("http://localhost:1", token="", run="test", number=0, grace_s=0.0, line=farm)
        self.outcome = farm.outcome
        self._resources = dict(resources or {})

    def open_resource(self, resource: str, mode: str = "r") -> Any:
        """The file at the path that the test gave; NoSuchRule if it gave none."""
        path = self._resources.get(resource)
        if path is None:
            raise NoSuchRule(f"the test gave no path for {resource!r}: resources={{{resource!r}: path}}")
        return ResourceDirectory(path) if os.path.isdir(path) else open(path, mode)

    def acquire_rule(self, resource: str) -> Any:
        raise AssertionError("a FakeServer has no rules; give resources={name: path} and call open_resource()")

    def release_rule(self, resource: str) -> Any:
        raise AssertionError("a FakeServer has no rules; give resources={name: path} and call open_resource()")

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.exit("the test is over")


class FakeCoordinator:
    """The other end of a FakeServer's line: serves a list of IDs and takes reports, by the rules of the exchange.

    A report of a task that its lease does not hold, and a goodbye that leaves a task in the air, fail the test.
    """

    def __init__(self, values: list[Any], block: int, retries: int) -> None:
        self.outcome = ClientOutcome()
        self._values, self._block = values, block
        self._texts = ids.encode_many(values)
        self._ledger = Ledger(Policy(retries=retries, backoff_s=0.0))
        self._ledger.extend(len(values))
        self._ledger.end()
        self._answer: Answer | None = None

    def send_note(self, method: str, text: str) -> None:
        if method != "exchange":
            raise AssertionError(f"a processor says nothing but 'exchange' here, not {method!r}")
        if self._answer is not None:
            raise AssertionError("it spoke before it had heard the answer to its last word")
        self._answer = self._answered(Request.from_text(text))

    def receive_note(self) -> str:
        if self._answer is None:
            raise AssertionError("it waits for an answer and has asked nothing")
        answer, self._answer = self._answer, None
        return answer.to_text()

    def close(self) -> None:
        if self._ledger.leased:
            raise AssertionError(f"{self._ledger.leased} tasks were neither reported nor given back")

    def _answered(self, request: Request) -> Answer:
        ledger = self._ledger
        answer = Answer(request.seq, exchange.NOTHING, term_s=60.0, drop=ledger.hold(0, request.held, 0.0))
        for report in request.reports:
            self._take(report)
        for lease, start, stop in request.returned:
            ledger.give_back(lease, start, stop)
        self.outcome.setup_error = request.setup_error or self.outcome.setup_error
        lease_given = ledger.lease(0, self._block, 0.0) if request.want else None
        if lease_given is not None:
            a, b = lease_given.start, lease_given.stop
            answer.state, answer.lease, answer.start, answer.count = exchange.WORK, lease_given.number, a, b - a
            answer.ids = f"[{','.join(self._texts[a:b])}]"
            answer.attempts = {p: ledger.attempt(p) for p in range(a, b) if ledger.attempt(p) > 1}
        elif request.bye is not None or ledger.finished:
            answer.state = exchange.END
        return answer

    def _take(self, report: LeaseReport) -> None:
        verdict = self._ledger.report(report.lease, report.ranges, [p for p, _ in report.failed], 0.0)
        if verdict.late:
            raise AssertionError(f"tasks were reported under lease {report.lease}, which does not hold them: {report}")
        done = [p for a, b in verdict.done for p in range(a, b)]
        self.outcome.done += [self._values[p] for p in done]
        for line in report.results:
            position, _, text = line.partition("\t")
            if int(position) not in done:
                raise AssertionError(f"a result of a task that is not done: {line}")
            self.outcome.results.append((self._values[int(position)], ids.decode(text)))
        errors = dict(report.failed)
        for position_failed, _, final in verdict.failed:
            where = self.outcome.failed if final else self.outcome.retried
            where.append((self._values[position_failed], errors[position_failed]))


class FakeLine:
    """A connection to a Coordinator that says what the test wrote down, in that order.

    Each item is an Answer (its ``seq`` is filled in), or an error to be raised instead of one; ``refuse(n)``: the next
    ``n`` notes are not taken. ``said``: every request that arrived, repeated ones too. Use it as a context: what was
    not asked for by its end fails the test, and so does a question that the test wrote no answer for.
    """

    def __init__(self, *answers: Answer | CoordinatorError) -> None:
        self._answers = list(answers)
        self._owed = 0
        self._refused = 0
        self.said: list[Request] = []

    def then(self, *answers: Answer | CoordinatorError) -> None:
        self._answers += answers

    def refuse(self, notes: int) -> None:
        self._refused = notes

    def send_note(self, method: str, text: str) -> None:
        if method != "exchange":
            raise AssertionError(f"a hand says nothing but 'exchange', not {method!r}")
        if self._owed:
            raise AssertionError("it spoke before it had heard the answer to its last word")
        if self._refused:
            self._refused -= 1
            raise PeerLost("the fake line is cut")
        self.said.append(Request.from_text(text))
        self._owed = 1

    def receive_note(self) -> str:
        if not self._owed:
            raise AssertionError("it waits for an answer and has asked nothing")
        if not self._answers:
            raise AssertionError(f"the test has no answer for {self.said[-1]}")
        self._owed = 0
        answer = self._answers.pop(0)
        if isinstance(answer, CoordinatorError):
            raise answer
        answer = copy(answer)
        answer.seq = self.said[-1].seq
        return answer.to_text()

    def close(self) -> None:
        self.check()

    def check(self) -> None:
        """Raises AssertionError if an answer was not asked for, or not heard."""
        if self._answers:
            raise AssertionError(f"nobody asked for these answers: {self._answers}")
        if self._owed:
            raise AssertionError(f"nobody heard the answer to {self.said[-1]}")

    def __enter__(self) -> FakeLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.check()


@dataclass
class FakeKeeper:
    """A keeper that a Crew had started: what it was told, and the means to let it fail."""

    host: str
    options: dict[str, Any]
    orders: dict[str, Any]
    started: Started
    fail: Callable[[str], None]


class FakeExecutor:
    """Starts keepers that do nothing. Use it as a context: at its end, a start that was not claimed fails the test.

    ``unreachable``: {host: reason}, refused at once; ``seen``: whether the end of a keeper can be seen, as on this
    machine; ``under_way``: whether it takes its time, as over SSH.
    """

    def __init__(self, unreachable: dict[str, str] | None = None, seen: bool = False, under_way: bool = False) -> None:
        self.unreachable = unreachable or {}
        self._seen, self._under_way = seen, under_way
        self._unclaimed: list[FakeKeeper] = []
        self._count = 0
        self._ends: dict[int, Callable[[], None]] = {}
        self._how: dict[int, str] = {}
        self.swept: list[int] = []
        self.abandoned: list[Started] = []

    # --- what a Crew calls ----------------------------------------------------------------------------

    def start(
        self, host: str, options: dict[str, Any], orders: dict[str, Any], failed: Callable[[str], None]
    ) -> Started:
        if host in self.unreachable:
            raise LaunchFailed(self.unreachable[host])
        self._count += 1
        pid, pidfd = 1_000_000 + self._count, 1_000_000 + self._count if self._seen else -1
        started = Started(0 if self._under_way else pid, pidfd, self._under_way)
        self._unclaimed.append(FakeKeeper(host, options, orders, started, failed))
        return started

    def abandon(self, started: Started) -> None:
        self.abandoned.append(started)

    def watch(self, pidfd: int, gone: Callable[[], None]) -> None:
        """The Crew's ``watch``."""
        self._ends[pidfd] = gone

    def ended(self, started: Started) -> str:
        if started.pidfd not in self._how:
            raise AssertionError("it asks how a keeper ended that did not end")
        return self._how[started.pidfd]

    def sweep(self, pids: list[int]) -> None:
        self.swept += pids

    # --- what a test calls ----------------------------------------------------------------------------

    def claim(self, host: str) -> FakeKeeper:
        """The one keeper that was started on ``host`` since the last claim."""
        found = [keeper for keeper in self._unclaimed if keeper.host == host]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} keepers were started on {host}, not one")
        self._unclaimed.remove(found[0])
        return found[0]

    def end(self, pidfd: int, how: str) -> None:
        """The keeper with that pidfd ends, and whoever watches it hears of it."""
        self._how[pidfd] = how
        self._ends.pop(pidfd)()

    def check(self) -> None:
        """Raises AssertionError if a keeper was started that was not claimed."""
        if self._unclaimed:
            raise AssertionError(f"keepers were started that nobody claimed: {[k.host for k in self._unclaimed]}")

    def __enter__(self) -> FakeExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.check()


class FakeLink:
    """A ResourceController that grants what the test says. Use it as a context, as the others.

    ``plan``: the answer to the job's first word; ``grant`` sends another. Questions of processors wait until the test
    answers each with :meth:`answer`; one that nobody answered fails the test, and so does a job that did not finish.
    """

    def __init__(self, plan: dict[str, Any] | None = None) -> None:
        self._plan = plan
        self._tell: Callable[[], dict[str, Any]] | None = None
        self._hear: Callable[[dict[str, Any]], None] | None = None
        self._questions: list[tuple[str, dict[str, Any], Callable[[dict[str, Any] | CoordinatorError], None]]] = []
        self._begun = False
        self.told: list[dict[str, Any]] = []
        self.finished: str | None = None

    # --- what a Coordinator calls ---------------------------------------------------------------------

    def first(self, told: dict[str, Any]) -> dict[str, Any] | None:
        self._begun = True
        self.told.append(told)
        return self._plan

    def start(self, loop: Any, tell: Callable[[], dict[str, Any]], hear: Callable[[dict[str, Any]], None]) -> None:
        self._tell, self._hear = tell, hear

    def step(self) -> None:
        if self._tell is None:
            raise AssertionError("step() before start()")
        self.told.append(self._tell())

    def ask(
        self, method: str, note: dict[str, Any], heard: Callable[[dict[str, Any] | CoordinatorError], None]
    ) -> None:
        if self.finished is not None:
            raise AssertionError(f"{method} was asked after the job had finished")
        self._questions.append((method, note, heard))

    def finish(self, message: str) -> None:
        if self.finished is not None:
            raise AssertionError("the job finished twice")
        self.finished = message

    # --- what a test calls ----------------------------------------------------------------------------

    def grant(self, plan: dict[str, Any]) -> None:
        """A new plan arrives."""
        if self._hear is None:
            raise AssertionError("a plan before start()")
        self._hear(plan)

    def answer(self, method: str, answer: dict[str, Any] | CoordinatorError) -> dict[str, Any]:
        """Answer the oldest question of that name; returns the question."""
        for number, (asked, note, heard) in enumerate(self._questions):
            if asked == method:
                del self._questions[number]
                heard(answer)
                return note
        raise AssertionError(f"nobody asked {method}")

    def check(self) -> None:
        """Raises AssertionError for a question without an answer, or a job that began and did not finish."""
        if self._questions:
            raise AssertionError(f"questions that nobody answered: {[(m, note) for m, note, _ in self._questions]}")
        if self._begun and self.finished is None:
            raise AssertionError("the job began and did not finish")

    def __enter__(self) -> FakeLink:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.check()
