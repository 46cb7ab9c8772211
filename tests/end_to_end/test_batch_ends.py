"""docs/batch-ends.rst: each way in which a job can end, with real processes, and a test for each cell of its table.

A job is called by its end as the table calls it; what is expected of it is read from the table.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator import batch as psu
from coordinator import load
from coordinator.batch.executors import jobs_named
from coordinator.batch.home import home
from coordinator.jobs.reconcile import reconcile
from coordinator.jobs.states import FORGOTTEN_S, LATE_S
from tests.conftest import ROOT
from tests.end_to_end.batches import WAIT, Batches, batches, own_spool, states

__all__ = ["batches"]

#: (BatchID, JobIndex)
Job = tuple[int, int]


def read_table() -> dict[str, dict[str, str]]:
    """{end: {column: cell}}."""
    lines = (ROOT / "docs" / "batch-ends.rst").read_text().splitlines()
    first, second, last = (at for at, line in enumerate(lines) if re.fullmatch(r"=+(  =+)+", line))
    starts = [found.start() for found in re.finditer(r"=+", lines[first])]
    spans = [slice(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    head, *rows = ([line[span].strip() for span in spans] for line in lines[first + 1 : last] if line[0] != "=")
    assert second == first + 2
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


TABLE = read_table()


def over(batches: Batches, script: str) -> Job:
    """A job that has run, and whose end is known."""
    batch = batches.add(script)
    psu.submit_jobs()
    batches.until(lambda: bool(states()) and "outcome" in psu.get_job_info(batch, 0)["qstat"])
    return batch, 0


def said(batches: Batches, *words: str, code: int) -> Job:
    """A job that asks for its metadata, says something, and leaves with an exit status."""
    return over(
        batches, batches.program("\n".join(["psu.get_job_info(SetID=True)", *words, f"raise SystemExit({code})"]))
    )


def vanished(batches: Batches) -> tuple[Job, Path]:
    """A job that nobody saw end: its script and its supervisor are killed in one moment. With the spool."""
    batch = batches.add(f"touch up; {WAIT}")
    psu.submit_jobs()
    batches.until(lambda: (batches.place / "up").exists())
    batches.reach(batch, "run")
    spool = own_spool()
    job = int(json.loads((spool / "running" / "1.1").read_bytes())["who"][2])
    supervisor = batches.supervisor()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    os.killpg(job, signal.SIGKILL)  # the script and what it started
    for pid in (supervisor, job):
        os.waitpid(pid, 0)  # orphans of a test are its children
    return (batch, 0), spool


def seen(batches: Batches, job: Job, word: str) -> None:
    """Until its scheduler's last word on it is this one."""
    batches.until(lambda: bool(states()) and psu.get_job_info(*job)["qstat"]["state"] == word)


def later(job: Job, seconds: float) -> Job:
    """The same, after a look at a time when so many seconds have passed."""
    reconcile(home().store, home().inbox, jobs_named, clock=lambda: time.time() + seconds + 1)
    return job


def unseen(batches: Batches) -> Job:
    job, _ = vanished(batches)
    seen(batches, job, "ended")
    return job


def forgotten(batches: Batches) -> Job:
    job, spool = vanished(batches)
    for kind in ("asked", "running", "over"):
        for path in (spool / kind).iterdir():
            path.unlink()
    seen(batches, job, "unknown")
    return job


def cancelled_before_it_began(batches: Batches) -> Job:
    batch = batches.add(WAIT, "touch never", resources={"cores": load.cores()})
    psu.submit_jobs()
    batches.reach(batch, "run", "submit")
    assert psu.qdel_job(batch, 1) == 1
    batches.go()
    batches.settle(batch)
    assert not (batches.place / "never").exists()
    return batch, 1


def alive(batches: Batches, end: Callable[[int], int]) -> Job:
    """A job that is ended while it runs; all that it started is gone then."""
    os.mkfifo("alive")
    batch = batches.add("sh -c 'exec 3>alive; echo up >&3; while :; do sleep 1; done' & wait")
    psu.submit_jobs()
    with open("alive") as pipe:
        assert pipe.readline() == "up\n"
        assert end(batch) == 1
        assert pipe.read() == ""  # nobody holds it any more
    batches.settle(batch)
    return batch, 0


COMPLETE, OWN_WORD = "psu.set_complete()", "psu.update_job({**psu.get_job_info(), 'state': 'half-way'})"
#: {how it ends: makes one that has ended so}
ENDS: dict[str, Callable[[Batches], Job]] = {
    "exit 0, said complete": lambda batches: said(batches, COMPLETE, code=0),
    "exit 0, never asked": lambda batches: over(batches, "true"),
    "exit 0, asked, said nothing": lambda batches: said(batches, code=0),
    "exit 0, said a word of its own": lambda batches: said(batches, OWN_WORD, code=0),
    "exit 1, said complete": lambda batches: said(batches, COMPLETE, code=1),
    "exit 1, never asked": lambda batches: over(batches, "exit 1"),
    "exit 1, asked, said nothing": lambda batches: said(batches, code=1),
    "exit 1, said a word of its own": lambda batches: said(batches, OWN_WORD, code=1),
    "killed by a signal": lambda batches: over(batches, "kill -9 $$"),
    "vanished, nobody saw its end": unseen,
    "the same, a minute later": lambda batches: later(unseen(batches), LATE_S),
    "vanished, its scheduler forgot it": forgotten,
    "the same, ten minutes later": lambda batches: later(forgotten(batches), FORGOTTEN_S),
    "cancelled before it began": cancelled_before_it_began,
    "cancelled while it ran": lambda batches: alive(batches, psu.qdel_batch),
    "removed while it ran": lambda batches: alive(batches, psu.remove_batch),
}


def state_of(job: Job) -> str:
    queue = psu.get_queue(Verbose=False)
    assert queue is not None
    return next((state for state, some in queue.get(job[0], {}).items() if job[1] in some), "removed")


def test_the_table_has_a_row_for_each_end_and_a_reason_in_each_row() -> None:
    assert list(TABLE) == list(ENDS)
    assert all(re.fullmatch(r"[A-Z].*\.", row["why"]) for row in TABLE.values())


@pytest.mark.parametrize("end", TABLE)
def test_its_state(end: str, batches: Batches) -> None:
    job = ENDS[end](batches)
    assert state_of(job) == TABLE[end]["state"]


@pytest.mark.parametrize("end", TABLE)
def test_it_is_listed_as_missing_or_not(end: str, batches: Batches, capsys: pytest.CaptureFixture[str]) -> None:
    batch, index = ENDS[end](batches)
    capsys.readouterr()
    psu.get_queue()
    text = capsys.readouterr().out
    listed = re.search(rf"^missing jobs:\n  {batch}: {index} \(.+\)$", text, re.MULTILINE)
    assert ("yes" if listed else "no") == TABLE[end]["missing"]
    assert bool(listed) == ("missing" in text)


@pytest.mark.parametrize("end", TABLE)
def test_its_state_after_missing_jobs_were_reset(end: str, batches: Batches) -> None:
    job = ENDS[end](batches)
    psu.get_queue(ResetMissing=True, Verbose=False)
    assert state_of(job) == TABLE[end]["reset"]
    if TABLE[end]["reset"] == "init":  # and it runs again
        psu.set_job_field(*job, {"script": "touch again"})
        assert psu.submit_jobs() == 1
        batches.settle(job[0])
        assert state_of(job) == "complete"
        assert (batches.place / "again").exists()
