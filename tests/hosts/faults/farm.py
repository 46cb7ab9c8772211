"""A job over the testbed's hosts for fault tests: its processes on each of them, and what its log must explain.

The tests beside it use it. The oracle is that of tests/faults/farm.py, here over several hosts; added to it: a task
that was begun again was so after its first lease had ended, and the log or the journal says of what; no process of
the job is left on any host, no lock at the ResourceController.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from coordinator.monitor import RCMonitor
from tests.faults.farm import Execution, Farm, records, state_of
from tests.testbed.host import Host
from tests.testbed.hosts import Hosts
from tests.testbed.processes import Inhabitant

ROOT = Path(__file__).resolve().parents[3]
#: what a lost host may keep running, at most, from when the job is over
ORPHANS_S = 60.0
LEASE, FAILED = 3, 5
#: an execution is stamped by another clock than the log, whose stamps are cut to milliseconds
CLOCKS_S = 0.05
#: a ResourceController with this gives all slots, however busy the machine is
CALM = "--overload_margin=1000"
#: each of the first tasks stands still until the test lets it go: one on every processor
STANDING = "if task < {count}:\n    wait_for('go')\nelse:\n    time.sleep(0.005)"


class HostsFarm(Farm):
    """A job ``JOB`` and a ResourceController ``FARM`` on this machine, processors on its hosts."""

    def __init__(self, directory: Path, hosts: Hosts) -> None:
        super().__init__(directory)
        self.hosts = hosts
        self.rc: dict[str, Any] = {}
        self.job_pid = 0
        self._words: tuple[str, ...] = ()

    # --- the ResourceController and the job -----------------------------------------------------------------

    def controller(self, *lines: str) -> None:
        """``lines``: FARM.hosts; one slot on each host unless given."""
        text = "".join(f"{line}\n" for line in lines or [f"{host.name} 1.0" for host in self.hosts])
        (self.directory / "FARM.hosts").write_text(text)
        self.controller_again()

    def controller_again(self) -> None:
        port = self.rc.get("port", 0)
        command = [sys.executable, os.fspath(ROOT / "coordinator.py"), "--rc=FARM", f"--port={port}", CALM]
        assert self.finish(self.command(command)) == 0, self.told()
        self.rc = dict(json.loads((self.directory / "FARM.rc.json").read_text()))

    def job(  # type: ignore[override]
        self, *words: str, lease_s: float = 2.0, grace_s: float = 20.0, planted: dict[str, Any] | None = None
    ) -> None:
        """``python script.py JOB`` under that ResourceController; it serves in the background."""
        self._words = (f"--rc_url={self.rc['url']}", "--port=0", f"--lease={lease_s:g}", f"--grace={grace_s:g}", *words)
        if planted is None:
            self.job_again()
        else:  # what is planted is not inherited
            self.job_pid = self.start(*self._words, "--foreground", local=None, planted=planted).pid

    def job_again(self) -> None:
        assert self.finish(self.start(*self._words, local=None)) == 0, self.told()
        self.job_pid = int(self.run_file()["pid"])

    def kill_job(self) -> None:
        pid, self.job_pid = self.job_pid, 0
        self._kill_here(pid)

    def kill_controller(self) -> None:
        self._kill_here(int(self.rc["pid"]))

    def _failed(self) -> bool:
        """Is the job over? Then there is nothing to wait for."""
        return super()._failed() or (self.job_pid > 0 and state_of(self.job_pid) in "ZX")

    def _kill_here(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: state_of(pid) in "ZX", f"process {pid} ended")

    def described(self) -> dict[str, Any]:
        """get_job()."""
        return super().job()

    def over(self) -> None:
        """Let it finish and wait for its end."""
        self.touch("go")
        self.until(lambda: state_of(self.job_pid) in "ZX", "the job ended")
        assert "coordinator ended" in self.log, self.told()

    def touch(self, *names: str) -> None:
        for name in names:
            super().touch(name)

    # --- who is where ---------------------------------------------------------------------------------------

    def busy(self, count: int = 3) -> dict[str, Execution]:
        """{host: execution} when so many tasks have begun, of which none can end."""
        self.until(lambda: self.begun() >= count, f"{count} tasks began")
        return {one.host: one for one in self.executions()}

    def guard(self, host: Host) -> Inhabitant:  # type: ignore[override]
        return self._member(host, 0)

    def zygote(self, host: Host) -> Inhabitant:  # type: ignore[override]
        return self._member(host, 1)

    def processor(self, host: Host) -> Inhabitant:
        return self._member(host, 2)

    def member(self, host: Host, who: str) -> Inhabitant:
        return self._member(host, ("guard", "zygote", "processor").index(who))

    def strike(self, host: Host, who: str, number: int) -> tuple[Host, int]:
        """Signal one of that kind, on ``host`` if there is one; returns where and which.

        One that leaves at that moment, since there is no more to do for it, is passed over.
        """
        wanted = {"guard": slice(0, 1), "zygote": slice(1, 2), "processor": slice(2, None)}[who]

        def struck() -> tuple[Host, int] | None:
            for each in (host, *self.hosts):
                for member in family(each)[wanted]:
                    with suppress(ProcessLookupError):
                        each.kill(member.pid, number)
                        return each, member.pid
            return None

        found: tuple[Host, int] = self.until(struck, f"a {who} is there")
        return found

    def _member(self, host: Host, generation: int) -> Inhabitant:
        found: Inhabitant = self.until(lambda: family(host)[generation:], f"{host.name} has all its processes")[0]
        return found

    # --- what it says ---------------------------------------------------------------------------------------

    def line(self, *words: str) -> str:
        """The first line of the log that has all these words; waits for it."""
        found: list[str] = self.until(lambda: self.lines(*words), f"in the log: {' ... '.join(words)}")
        return found[0]

    def lines(self, *words: str) -> list[str]:
        return [line for line in self.log.splitlines() if all(word in line for word in words)]

    def number_at(self, execution: Execution) -> int:
        """The processor's number, as the log says."""
        words = (f"host={execution.host} ", f" pid={execution.pid} ")
        return int(self.line("register processor=", *words).partition("processor=")[2].split()[0])

    def latest(self, execution: Execution) -> Execution:
        """The same execution as it is known now."""
        [found] = [one for one in self.executions() if (one.task, one.lease) == (execution.task, execution.lease)]
        return found

    def monitor(self) -> RCMonitor:
        return RCMonitor(self.rc["url"])

    def interruptions(self) -> list[tuple[Any, int, str]]:
        """(task, attempt, host) of each execution that ended with nobody to blame; nothing else failed."""
        failures = self.failures()
        assert {one.kind for one in failures} <= {"Interrupted"}, failures
        return [(one.id, one.attempt, one.host) for one in failures]

    def told(self) -> str:
        rc = self._text("FARM.rc.log")[-3000:] or self._text("FARM.log")[-3000:]
        keepers = []
        for host in self.hosts:
            if host.is_up:
                logs = sorted(host.path(f"/tmp/coordinator-{os.geteuid()}").glob("JOB*"))
                keepers += [f"--- {host.name} {path.name}\n{path.read_text()[-1500:]}" for path in logs]
                keepers += [f"{host.name}: {each}" for each in host.processes()]
        return "\n".join([super().told(), f"--- ResourceController\n{rc}", *keepers])

    # --- the oracle -----------------------------------------------------------------------------------------

    def problems(self, stream: Iterable[Any], once: bool = False, failed: Iterable[Any] = ()) -> list[str]:
        return [*super().problems(stream, once, failed), *self.unexplained()]

    def unexplained(self) -> list[str]:
        """Tasks that began again while nothing says that the earlier lease had ended by then. IDs are 0, 1, 2, ..."""
        holder, raised = self._from_journal()
        ends = self._from_log()
        found = []
        before: dict[Any, list[Execution]] = {}
        for one in self.executions():
            for first in before.setdefault(one.task, []):
                if first.lease == one.lease:
                    found.append(f"task {one.task} began twice under lease {one.lease}")
                    continue
                processor = holder.get(first.lease)
                times = [*ends.get(("lease", first.lease), ()), *ends.get(("processor", processor), ())]
                times += raised.get((one.task, first.lease), [])
                if not times:
                    found.append(f"task {one.task} began again with no word of why: {first}, {one}")
                elif min(times) > one.began_at + CLOCKS_S:
                    found.append(f"task {one.task} began again while its lease was live: {first}, {one}, {times}")
            before[one.task].append(one)
        return found

    def _from_journal(self) -> tuple[dict[int, int], dict[tuple[int, int], list[float]]]:
        """{lease: processor}, {(position, lease): when it failed, CLOCK_BOOTTIME}."""
        holder: dict[int, int] = {}
        raised: dict[tuple[int, int], list[float]] = {}
        for kind, header, _ in records(self.directory / "JOB.journal"):
            if kind == LEASE:
                holder[header["n"]] = header["p"]
            elif kind == FAILED:
                raised.setdefault((header["pos"], header["n"]), []).append(header["at"] - _epoch())
        return holder, raised

    def _from_log(self) -> dict[tuple[str, int], list[float]]:
        """When leases lapsed and processors were given up, as the log says; CLOCK_BOOTTIME."""
        found: dict[tuple[str, int], list[float]] = {}
        for line in self.log.splitlines():
            said = re.match(
                r"(\S+ \S+) (?:warning: )?(?:(lease) lapsed n=|(processor) (?:ended|missed) number=)(\d+)", line
            )
            if said is not None:
                at = datetime.fromisoformat(said[1]).timestamp() - _epoch()
                found.setdefault((said[2] or said[3], int(said[4])), []).append(at)
        return found

    def assert_all_is_well(self, stream: Iterable[Any], once: bool = False, failed: Iterable[Any] = ()) -> None:
        """The job is over: every task accepted once, none lost or begun again without a word, nothing left anywhere."""
        assert self.locks() == [], self.told()
        os.kill(int(self.rc["pid"]), signal.SIGTERM)
        super().assert_all_is_well(stream, once, failed)
        self.assert_no_process_on(self.hosts)

    def assert_no_process_on(self, hosts: Iterable[Host]) -> None:
        over = time.monotonic() + ORPHANS_S
        for host in hosts:
            while left := host.processes():
                if time.monotonic() > over:
                    shown = "\n".join(map(str, left))
                    raise AssertionError(f"orphans on {host.name}:\n{shown}\n{self.told()}")
                time.sleep(0.02)

    def locks(self) -> list[str]:
        """What is locked at the ResourceController."""
        return [f"{key}" for key in self.monitor().locks]


def begin(farm: HostsFarm, *words: str, count: int = 3, hosts: Sequence[str] = (), **options: float) -> None:
    """Sixty tasks, of which the first ``count`` stand still until the test says go."""
    farm.controller(*hosts)
    farm.script(STANDING.format(count=count), "yield from range(60)")
    farm.job(*words, **options)


def family(host: Host) -> list[Inhabitant]:
    """Guard, zygote and the processors of the job on a host, as far as they are there."""
    return next(families(host), [])


def guards(host: Host) -> list[Inhabitant]:
    """Each guard of the job that is there."""
    return [guard for guard, *_ in families(host)]


def families(host: Host) -> Iterator[list[Inhabitant]]:
    """Each guard with its zygote and the processors."""
    everybody = host.processes()
    for guard in everybody:
        if "coordinator.keeper" not in guard.argv:
            continue
        zygote = next((one for one in everybody if one.parent == guard.pid and "script.py" in one.argv), None)
        if zygote is not None:
            yield [guard, zygote, *(one for one in everybody if one.parent == zygote.pid)]


def _epoch() -> float:
    """The time of day when CLOCK_BOOTTIME was 0."""
    with suppress(AttributeError):
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    raise AssertionError("no CLOCK_BOOTTIME")
