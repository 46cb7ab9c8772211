"""The Coordinator of a job: it opens the rooms, wires them together, and lets time pass in them.

``start_client_or_server`` makes one and calls :meth:`Coordinator.serve_forever`. One thread: the feeder's slices come
through the :class:`~coordinator.feed.Feed`, calls through the :class:`~coordinator.door.Door` to the
:class:`~coordinator.turns.Turns`, keepers are the :class:`~coordinator.crew.Crew`'s, the
:class:`~coordinator.ending.Ending` closes. The user's code never runs in this process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coordinator import paths, procs
from coordinator.addresses import Address, known_address
from coordinator.core.leases import GRACE_S, TERM_S
from coordinator.core.ledger import Policy
from coordinator.core.records import Kind
from coordinator.core.trials import LEAVES
from coordinator.crew import Crew
from coordinator.door import INSECURE, Door
from coordinator.embedded import link_of
from coordinator.ending import Ending
from coordinator.errors import BadOption
from coordinator.executors.choice import AnyExecutor
from coordinator.feed import Feed
from coordinator.forerunners import Forerunners, fork_forerunners
from coordinator.garbage import seldom_collected
from coordinator.job import Job, Outcome, rules_by_name
from coordinator.joblog import JobLog
from coordinator.journal import Journal
from coordinator.link import check_resources
from coordinator.loading import loading
from coordinator.logs import open_log
from coordinator.orders import orders_of
from coordinator.registration import Claims, Registration
from coordinator.run import Run
from coordinator.runfile import RunFile
from coordinator.survivors import Survivors
from coordinator.syncer import Syncer
from coordinator.turns import Turns
from coordinator.zygote import Work

if TYPE_CHECKING:
    import asyncio

    from coordinator.executors.base import KeeperExecutor
    from coordinator.sitelink import Site

#: seconds between two looks at what time brings: deadlines, retries, printing
TICK_S = 0.25
#: a tick that comes so much too late means that this process slept, and judges nobody
SLEPT_S = 2.0


class Coordinator:
    """Serves the tasks of ``it`` to processors that run ``script``, until all are done.

    ``it``: an iterable of task IDs, or a function that makes one (called in the feeder's process); ``resources``: names
    of resources that the job needs, or ``{name: (path, command)}``. ``local``: None for a job under the
    ResourceController at ``rc_url``, else the number of processors on this machine, 0 for one per core;
    ``site``: a scheduler whose jobs the processors are. Seconds:
    ``lease``, ``grace``, ``time_limit``. ``max_initialization_errors``: so many processors may leave a host, unable to
    begin or with too many errors, before it rests, and the job before it stops. ``no_tls``: speak plain HTTP to other
    machines too; ``insecure``: and ask nobody for a token. ``forerunners``: forked already for this job.
    Other keyword arguments are the user's options. ``on_tick(job)`` is called four times a second.
    """

    def __init__(
        self,
        name: str,
        script: str,
        it: Iterable[Any] | Callable[[], Iterable[Any]],
        resources: Iterable[str] | dict[str, Any] = (),
        port: int | None = None,
        priority: float = 1.0,
        rc_url: str | None = None,
        errlog: str | bool = False,
        immediate: bool = False,
        ncpu_limit: int = 999999,
        demand_ncpu: int = 0,
        max_initialization_errors: int = LEAVES,
        *,
        work: Work | None = None,
        forerunners: Forerunners | None = None,
        local: int | None = None,
        site: Site | None = None,
        host: str | None = None,
        retries: int = 0,
        time_limit: float | None = None,
        max_errors_in_a_row: int = 10,
        lease: float = TERM_S,
        grace: float | None = None,
        no_tls: bool = False,
        insecure: bool = False,
        directory: str | os.PathLike[str] = ".",
        **kwargs: Any,
    ) -> None:
        self.job = Job(name, script, directory, rules_by_name(resources), errlog)
        self.job.rc_url = rc_url
        self._claims = Claims(priority, immediate, demand_ncpu, ncpu_limit)
        if max_initialization_errors < 1:
            raise BadOption(f"max_initialization_errors={max_initialization_errors}: 1 or more expected")
        self.max_initialization_errors = max_initialization_errors
        self.user_options = kwargs
        self.on_tick: Callable[[Job], None] = lambda _: None
        self._make = it if callable(it) else lambda: it
        self._work = work
        self._forerunners = forerunners
        self._site = site
        self._local, self._host, self._port, self._no_tls, self._insecure = local, host, port, no_tls, insecure
        self._policy = Policy(retries=retries)
        self._time_limit, self._max_errors = time_limit, max_errors_in_a_row
        self._lease_s = lease
        self._grace_s = grace if grace is not None else (60.0 if local is not None else GRACE_S)
        #: {pidfd: what is called when that process ends}; are calls taken by now?
        self._watched: dict[int, Callable[[], None]] = {}
        self._begun = False

    def _controller(self) -> Address | None:
        """Where the ResourceController is, and its token; None for a job that has its own."""
        if self._local is not None or self._site is not None:
            return None
        rc = known_address(self.job.rc_url or f"http://{paths.full_hostname()}:5000")
        # What the run's token opens (get_job) and the log must not show the farm's.
        self.job.rc_url = rc.url
        return rc

    # --- life -------------------------------------------------------------------------------------------

    def serve_forever(self, announce: Callable[[dict[str, Any]], None] | None = None) -> Outcome:
        """Serve until every task is settled or the job is stopped; ``announce`` is called once it is served.

        Raises NameTaken, PortTaken, ControllerLost, NoSuchRule, JournalDamaged, JournalStalled before that.
        """
        warm, feeder = self._forerunners or fork_forerunners(self._make, self._work)
        with ExitStack() as closing:
            site = self._site
            self._open(closing, feeder, AnyExecutor(warm) if site is None else site.executor(self.job, warm))
            with loading():
                self._begin()
            if announce is not None:
                job = self.job
                announce({"name": job.name, "url": job.url, "pid": os.getpid(), "log": job.errlog})
            with seldom_collected():
                self._loop.run_forever()
        assert self.job.over is not None
        return self.job.over

    def _open(self, closing: ExitStack, feeder: tuple[int, int, int] | None, executor: KeeperExecutor) -> None:
        """All that a keeper's start needs, and no more: what is loaded after that is loaded while it starts.

        ``closing`` undoes it backwards: the server goes last, so that whoever waits for it to go finds the name
        free and the journal closed."""
        job = self.job
        if self._local is None:
            open_log(job.errlog)
        rc = self._controller()
        self._door = Door(
            self._host, self._port, local=self._local is not None, no_tls=self._no_tls, insecure=self._insecure, rc=rc
        )
        closing.callback(self._leave)
        closing.callback(executor.dismiss)
        self._claim = RunFile(job.files)
        closing.callback(self._claim.release)
        job.journal = Journal.open(job.files.journal, job.name)
        closing.callback(job.journal.close)
        if self._local is not None:
            open_log(job.errlog)
        recovered = job.journal.recovered
        left = self._claim.left if recovered.run is not None and not recovered.closed else None
        job.run_id = recovered.run if left is not None and recovered.run is not None else os.urandom(8).hex()
        job.life = recovered.life + 1
        self._token = left["token"] if left is not None else paths.new_token()
        job.run = Run(job.journal, recovered, job.run_id, self._policy, time.time, self._lease_s)
        job.run.host_trials.leaves = self.max_initialization_errors
        self._door.open(lambda calls: self._turns.take(calls), self._token, left["port"] if left is not None else None)
        job.url = self._door.url
        host = "localhost" if rc is None else socket.gethostname()
        site = self._site
        self._link = site.link(job) if site is not None else link_of(job, rc, host, self._local or os.cpu_count() or 1)
        only = host if rc is None and site is None else None
        self._registration = Registration(job, self._door, self._link, self._claims, only)
        plan = self._registration.first()
        closing.callback(self._registration.finish)
        if plan is not None and site is None:
            executor.look_ahead({host: plan["hosts"].get(host, {}) for host in plan["slots"]})
        check_resources(self._link, [name for name, rule in job.resources.items() if rule is None])
        orders = orders_of(
            job, self._door, self._token, beside=rc is None, grace_s=self._grace_s,
            time_limit_s=self._time_limit, max_errors=self._max_errors, new_run=left is None,
        )  # fmt: skip
        job.journal.append(Kind.LIFE, {
            "run": job.run_id, "name": job.name, "life": job.life, "at": job.started, "host": socket.gethostname(),
            "pid": os.getpid(), "port": self._door.port, "script": job.script,
            "options": {key: repr(value) for key, value in self.user_options.items()},
        })  # fmt: skip
        self._survivors = Survivors(job, left)
        job.before = job.run.restore(recovered, job.now(), left is not None, self._survivors.awaited)
        self._syncer = Syncer()
        closing.callback(self._syncer.close)
        self._turns = Turns(job, self._registration.ask, self._joined, self._settled, self._lost, self._syncer)
        job.crew = Crew(job.run, executor, orders, self._watch, self._turns.then)
        self._survivors.wait(job.now())
        job.crew.changed = self._publish
        self._publish()
        job.journal.check = self._claim.check
        self._joblog = JobLog(job)
        self._ending = Ending(job, self._joblog, self._turns.commit, self._survivors.still_awaited, self._over)
        if rc is not None or site is not None:
            executor.attend(self._loop)
        self._feed = Feed(job, feeder, recovered, self._settle, anew=self._work is not None)
        closing.callback(self._feed.close)
        self._registration.heed(plan)
        job.journal.commit(True)  # before any keeper is told of this life; an error now stops the start
        self._turns.commit()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        import asyncio  # takes as long as a keeper on this machine takes to start: it is told to before

        return asyncio.new_event_loop()

    def _begin(self) -> None:
        """Take calls, slices and ends of processes from now on."""
        job = self.job
        self._syncer.attend(self._loop)
        for pidfd, ended in self._watched.items():
            self._loop.add_reader(pidfd, ended)
        self._begun = True
        self._feed.attend(self._loop)
        self._door.start(self._loop)
        self._loop.add_signal_handler(signal.SIGTERM, self.stop, "terminated")
        if self._local is not None or self._site is not None:
            self._loop.add_signal_handler(signal.SIGINT, self._interrupt)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._link.start(self._loop, self._registration.tell, self._hear)
        self._last_tick = job.now()
        self._loop.call_later(TICK_S, self._tick)
        if self._insecure:
            job.log.warning("%s", INSECURE.format(self._door.port))
        job.log.info(
            "coordinator started name=%s run=%s life=%d url=%s pid=%d script=%s done_before=%d",
            job.name, job.run_id, job.life, job.url, os.getpid(), job.script, job.before,
        )  # fmt: skip

    def _leave(self) -> None:
        self._door.close()
        if "_loop" in vars(self):  # else the start was refused
            import asyncio

            self._loop.run_until_complete(asyncio.sleep(0))  # the last answers leave
            self._loop.close()

    # --- who is here ------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """NAME.run says who serves, and which keepers a successor may hear of."""
        job, identity = self.job, procs.own_identity()
        self._claim.publish({
            "run": job.run_id, "name": job.name, "url": job.url, "port": self._door.port, "token": self._token,
            "host": socket.gethostname(), "pid": identity.pid, "boot": identity.boot,
            "process_started": identity.started, "started": job.started, "directory": job.directory,
            "script": job.script, "log": job.errlog, "fingerprint": self._door.fingerprint,
            **self._survivors.published(),
        })  # fmt: skip

    def _joined(self) -> None:
        """A successor may hear of processors that no keeper of ours started."""
        if not self._survivors.strangers:
            self._survivors.strangers = True
            self._publish()

    def _watch(self, pidfd: int, gone: Callable[[], None]) -> None:
        def ended() -> None:
            self._loop.remove_reader(pidfd)
            del self._watched[pidfd]
            gone()
            if self.job.over is None:
                self._settle()

        self._watched[pidfd] = ended
        if self._begun:
            self._loop.add_reader(pidfd, ended)

    # --- turns ------------------------------------------------------------------------------------------

    def _hear(self, plan: dict[str, Any] | None) -> None:
        self._registration.heed(plan)
        self._turns.commit()

    def _settle(self) -> None:
        self._turns.settle(self.job.now())

    def _settled(self, now: float) -> None:
        self._feed.look()
        self._ending.look(now)

    def _over(self) -> None:
        """Those who wait for the end hear of it first."""
        self._turns.close(self.job.now())
        self._loop.stop()

    def _lost(self, reason: str) -> None:
        self._ending.give_up(reason)

    def stop(self, message: str) -> None:
        """End the job in order: running tasks finish, nothing new begins."""
        self.job.stop(message)
        self._settle()

    def _interrupt(self) -> None:
        job = self.job
        if job.run.stopping is None:
            job.interrupted = True
            running = sum(1 for number in job.run.hired if job.run.ledger.held_by(number))
            words = f"stopping: {running} running tasks finish first; press Ctrl-C again to end them now"
            print(f"\n{words}", file=sys.stderr)  # noqa: T201 - to who pressed it
            self.stop("interrupted")
        else:
            job.crew.kill_all("interrupted")
            self._turns.commit()

    # --- time -------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.job.over is not None:
            return
        try:
            self._time_passes()
        finally:  # a fault in one look must not stop the clock of the job
            if self.job.over is None:
                self._loop.call_later(TICK_S, self._tick)

    def _time_passes(self) -> None:
        job, crew, now = self.job, self.job.crew, self.job.now()
        gap, self._last_tick = now - self._last_tick, now
        if gap > TICK_S + min(SLEPT_S, self._lease_s / 2):
            job.log.warning("this process slept for %.1f s: all leases are renewed", gap)
            self._turns.judge_nobody(now)
        elif job.stalled is None:
            for lease in job.run.lapse(now):
                words = "lease lapsed n=%d processor=%d tasks=%d..%d"
                job.log.warning(words, lease.number, lease.holder, lease.start, lease.stop - 1)
        self._joblog.look()
        self._survivors.look(now)
        self._link.step()
        if job.stalled is None:
            crew.silent(now, self._lease_s)
        crew.step(now, job.useful())
        if crew.fault is not None and job.run.stopping is None:
            job.stop(crew.fault)
            job.run.reason = crew.fault
        if job.stalled is None:
            self._ending.print()
            self._turns.settle(now)
        elif not self._turns.commit() and job.interrupted and crew.killing:
            self._ending.look(now)  # who insists on an end does not wait for the disk
        job.rate.look(job.run.ledger.settled, now)
        self._turns.time_passes(now)
        self.on_tick(job)
