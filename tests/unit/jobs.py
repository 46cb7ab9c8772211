"""A Run for tests: with a real journal, a clock of the test's, and processors that say what the test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from coordinator.core import blocks, exchange, ids
from coordinator.core.exchange import Answer, Request
from coordinator.core.ledger import Policy
from coordinator.core.records import Kind
from coordinator.disk import Disk
from coordinator.journal import Journal
from coordinator.run import Run
from coordinator.testing import FakeClock
from tests.unit.journals import NoSync, begin


class Job:
    """A Run, its journal and its clock, and processors that say what the test says."""

    def __init__(self, directory: Path, same_run: bool = True, disk: Disk | None = None, **policy: Any) -> None:
        self.disk = disk or NoSync()
        self.directory = directory / "job.journal"
        self.clock = FakeClock(100.0)
        self.policy = Policy(**policy)
        self.seqs: dict[int, int] = {}
        #: of processors that are not on a host of their own
        self.hosts: dict[int, str] = {}
        self.records: list[tuple[Kind, dict[str, Any], str]] = []
        self._open(same_run)

    def _open(self, same_run: bool) -> None:
        self.journal = Journal.open(self.directory, "job", self.disk)
        append = self.journal.append

        def note(kind: Kind, header: dict[str, Any], text: str = "") -> None:
            self.records.append((kind, header, text))
            append(kind, header, text)

        self.journal.append = note  # type: ignore[method-assign]
        recovered = self.journal.recovered
        self.run = Run(self.journal, recovered, "r1", self.policy, lambda: 1e9, term_s=60.0)
        begin(self.journal, life=recovered.life + 1)
        self.done_before = self.run.restore(recovered, self.clock(), same_run)

    def again(self, same_run: bool = True) -> None:
        """The Coordinator is killed after a commit, and started again."""
        self.journal.commit(True)
        self.journal.close()
        self._open(same_run)

    def read(self, *values: Any) -> None:
        texts = ids.encode_many(values)
        text = "\n".join(texts)
        self.run.extend(len(values), ids.slice_digest(text), None, text)

    def says(self, number: int, held: list[int] | None = None, **said: Any) -> Answer | None:
        """The next call of a processor, which has introduced itself with its first."""
        seq = self.seqs[number] = self.seqs.get(number, 0) + 1
        request = Request("r1", number, "i", seq, held or [], **said)
        if seq == 1:
            host = self.hosts.get(number, f"host{number}")
            request.who = {"host": host, "pid": 1000 + number, "log": f"log{number}", "kept": True}
        return self.run.exchange(request, self.clock())

    def block(self, number: int, held: list[int] | None = None, size: int = 1) -> Answer:
        """A block of ``size`` tasks, or what there is, for a processor whose host has done some."""
        self.run.host_trials._trials.succeeded(f"host{number}")
        with mock.patch.object(blocks, "block_size", return_value=size):
            answer = self.says(number, held, want=True)
        assert answer is not None
        assert answer.state == exchange.WORK
        return answer

    def of(self, kind: Kind) -> list[tuple[dict[str, Any], str]]:
        return [(header, text) for one, header, text in self.records if one == kind]
