"""The store of jobs in a real MariaDB, whose server the tests start: the same calls, and jobs that report at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator import batch as psu
from coordinator.errors import StaleChange
from tests.clusters import mariadb
from tests.clusters.daemons import Daemons, lacking
from tests.end_to_end.batches import Batches, batches, states

__all__ = ["batches"]

pytest.importorskip("pymysql")

JOB = """
info = psu.get_job_info(SetID=True)
info["square"] = info["JobIndex"] ** 2
psu.set_complete(JobInfo=info)
"""


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A URL of an empty database."""
    lacks = lacking(mariadb.PROGRAMS)
    if lacks is not None:
        pytest.skip(f"a MariaDB of the tests {lacks}")
    place = tmp_path_factory.mktemp("database")
    daemons = Daemons(place, {})
    try:
        socket = mariadb.start(daemons, place, "create database jobs character set utf8mb4", "--skip-networking")
        yield f"mysql+pymysql://root@localhost/jobs?unix_socket={socket}&charset=utf8mb4"
    finally:
        daemons.down()


def test_batches_work_the_same_in_a_mariadb(database: str, batches: Batches) -> None:
    psu.config.QFile = database
    try:
        batch = batches.add(*[batches.program(JOB)] * 8, priority=2, name="Märchen")
        last = {
            **psu.get_job_template(),
            "BatchID": batch,
            "script": "exit 3",
            "retries": {"exit": 1, "backoff_s": 0.1},
        }
        psu.add_job_to_queue(last, set_index=True)
        assert psu.submit_jobs() == 8
        psu.periodic_submitter(0.2)
        assert states(batch) == ["complete"] * 8 + ["failed"]
        assert [psu.get_job_info(batch, index)["square"] for index in range(8)] == [index**2 for index in range(8)]
        assert psu.get_job_info(batch, 8)["attempts"] == 2
        chosen = 'name LIKE "%rchen" AND state IN ("complete", "failed") AND JobIndex BETWEEN 1 AND 2'
        assert psu.get_queue(Verbose=False, Filter=chosen) == {batch: {"complete": [1, 2]}}
        mine, yours = psu.get_job_info(batch, 0), psu.get_job_info(batch, 0)
        psu.update_job({**mine, "note": "mine"})
        with pytest.raises(StaleChange):
            psu.update_job({**yours, "note": "yours"})
        assert psu.set_batch_field(batch, {"colour": "red"}, Unless={}) == 9
        assert psu.set_batch_field(batch, Unless={}) == 9
        assert psu.remove_batch(batch) == 9
        assert psu.get_queue(Verbose=False) == {}
    finally:
        del psu.config.QFile


def test_the_file_of_sqlite_is_not_made_where_a_server_keeps_the_jobs(database: str, batches: Batches) -> None:
    psu.config.QFile = database
    try:
        psu.get_queue(Verbose=False)
        assert not (Path.cwd() / "coordinator.batch.db").exists()
    finally:
        del psu.config.QFile
