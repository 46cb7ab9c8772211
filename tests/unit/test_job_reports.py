"""Reports of jobs by the thousand: what is done for each of them, counted, and what is answered. No job is started."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from coordinator.executors import named
from coordinator.jobs import changes, inbox, schema
from coordinator.jobs.inbox import Inbox
from coordinator.jobs.records import job_of
from coordinator.jobs.reports import MANY, take_up
from coordinator.jobs.states import COMPLETE, RUN, SUBMIT, Stage
from coordinator.jobs.store import Store

BATCH = 1


class Reporting:
    """A store with jobs that were submitted, and the reports of them."""

    def __init__(self, place: Path) -> None:
        self.store, self.inbox = Store(place / "jobs.db"), Inbox(place / "inbox")

    def submitted(self, count: int, executor: str = "acme") -> None:
        infos = [{"BatchID": BATCH, "JobIndex": index} for index in range(count)]
        attempts = [
            {"batch_id": BATCH, "job_index": index, "number": 1, "spawn": 0, "mark": "m", "element": index + 1,
             "stage": Stage.SENT.value, "at": 0.0} for index in range(count)
        ]  # fmt: skip
        submission = {"mark": "m", "executor": executor, "directory": "", "name": "", "needs": "{}", "count": count,
                      "native": "17", "stage": "sent", "at": 0.0}  # fmt: skip
        with self.store.writing() as connection:
            changes.add(connection, infos, "stop", "/")
            connection.execute(schema.job.update().values(state=SUBMIT, attempt=1))
            connection.execute(insert(schema.submission), submission)
            connection.execute(insert(schema.attempt), attempts)

    def drop(self, *told: dict[str, Any]) -> None:
        """As they are found, without the sync of each."""
        self.inbox.place.mkdir(exist_ok=True)
        for number, one in enumerate(told):
            (self.inbox.place / f"{number:020d}-1-ab.json").write_text(json.dumps(one))

    def answers(self) -> list[dict[str, Any]]:
        """In the order of the reports."""
        with self.store.reading() as connection:
            texts = connection.scalars(select(schema.report.c.answer).order_by(schema.report.c.id))
            return [json.loads(text) for text in texts]

    def states(self) -> Counter[str]:
        with self.store.reading() as connection:
            return Counter(connection.scalars(select(schema.job.c.state)))

    @contextmanager
    def statements(self) -> Iterator[Counter[str]]:
        """How often each word began a statement."""
        found: Counter[str] = Counter()

        def count(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
            found[statement.split()[0].upper()] += 1

        event.listen(self.store._engine, "before_cursor_execute", count)
        yield found
        event.remove(self.store._engine, "before_cursor_execute", count)


def said(kind: str, index: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "by": [BATCH, index, 1, 0], **more}


@pytest.fixture
def reporting(tmp_path: Path) -> Reporting:
    return Reporting(tmp_path)


def test_each_of_many_reports_is_read_once_and_asks_the_store_for_nothing(
    reporting: Reporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 2 * MANY + 500
    reporting.submitted(count)
    reporting.drop(*(said("begin", index) for index in range(count)))
    calls: Counter[str] = Counter()
    read, points = inbox._report, metadata.entry_points

    def counted_read(content: bytes) -> dict[str, Any]:
        calls["read"] += 1
        return read(content)

    def counted_points(**choice: str) -> Any:
        calls["entry points"] += 1
        return points(**choice)

    monkeypatch.setattr(inbox, "_report", counted_read)
    monkeypatch.setattr(named.metadata, "entry_points", counted_points)
    with reporting.statements() as statements:
        assert take_up(reporting.store, reporting.inbox) == count
    slices = 3
    assert calls["read"] <= count + slices + 1
    assert calls["entry points"] <= 2  # for the name of its executor, once
    assert statements["SELECT"] <= 10 * slices
    assert reporting.states() == {RUN: count}
    assert [answer["info"]["ClusterID"] for answer in reporting.answers()] == [f"17.{n}" for n in range(1, count + 1)]


def test_reports_of_one_job_that_are_taken_up_together_follow_each_other(reporting: Reporting) -> None:
    reporting.submitted(2)
    with reporting.store.reading() as connection:
        info = job_of(connection, BATCH, 0).info
    del info["state"]
    reporting.drop(
        said("begin", 0, host="node1"),
        said("update", 0, info={**info, "version": 2, "state": "phase 2", "found": [1, 2]}),
        said("update", 1, info={**info, "version": 3, "from another": 1}),  # of a job, by another one
        said("update", 0, info={**info, "version": 2, "found": [3]}),  # which it has not seen
        said("complete", 0),
        said("begin", 0),
    )
    take_up(reporting.store, reporting.inbox)
    answers = reporting.answers()
    infos = [answer.get("info", {}) for answer in answers]
    assert [info.get("state") for info in infos] == [RUN, "phase 2", "phase 2", None, COMPLETE, COMPLETE]
    assert [info.get("version") for info in infos] == [2, 3, 4, None, 5, 5]
    assert "somebody else has changed found since you read it" in answers[3]["error"][1]
    with reporting.store.reading() as connection:
        job = job_of(connection, BATCH, 0)
    assert (job.fields["found"], job.fields["from another"], job.attempt, job.version) == ([1, 2], 1, 1, 5)


def test_reports_whose_taker_was_killed_before_it_forgot_them_are_taken_up_once(reporting: Reporting) -> None:
    reporting.submitted(3)
    reporting.drop(*(said("complete", index) for index in range(3)))
    kept = {path: path.read_text() for path in reporting.inbox.place.iterdir()}
    take_up(reporting.store, reporting.inbox)
    for path, text in kept.items():
        path.write_text(text)
    assert take_up(reporting.store, reporting.inbox) == 3
    assert list(reporting.inbox.place.iterdir()) == []
    with reporting.store.reading() as connection:
        assert job_of(connection, BATCH, 0).version == 2
    assert len(reporting.answers()) == 3


def test_a_report_that_is_refused_among_others_changes_nothing_and_the_others_are_taken_up(
    reporting: Reporting,
) -> None:
    reporting.submitted(5)
    with reporting.store.writing() as connection:
        connection.execute(schema.attempt.update().where(schema.attempt.c.job_index == 1).values(cancelled=True))
        connection.execute(schema.job.update().where(schema.job.c.job_index == 2).values(attempt=2))
        connection.execute(schema.job.delete().where(schema.job.c.job_index == 3))
    circle = {"BatchID": BATCH, "JobIndex": 4, "version": 1, "after": {"ok": [4]}, "note": "is not kept"}
    reporting.drop(*(said("complete", index) for index in range(4)), said("complete", 4, info=circle))
    take_up(reporting.store, reporting.inbox)
    assert reporting.states() == {COMPLETE: 1, SUBMIT: 3}
    words = [answer.get("error", [0, ""])[1] for answer in reporting.answers()]
    assert words[0] == ""
    assert all("was cancelled, or another has taken its place" in each for each in words[1:3])
    assert "there is no job 3 in batch 1" in words[3]
    assert "in a circle" in words[4]
    with reporting.store.reading() as connection:
        assert "note" not in job_of(connection, BATCH, 4).fields
        refused = connection.scalars(select(schema.event.c.job_index).where(schema.event.c.kind == "refused")).all()
    assert sorted(refused) == [1, 2, 3, 4]
