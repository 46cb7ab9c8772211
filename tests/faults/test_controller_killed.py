"""The ResourceController is killed and started again: a job that runs does not notice, and stays in its books."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.farm import Farm

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]


def start_controller(farm: Farm, port: int = 0) -> dict[str, Any]:
    """``coordinator --rc=FARM`` as a daemon; what its run file says."""
    command = [sys.executable, os.fspath(ROOT / "coordinator.py"), "--rc=FARM", f"--port={port}"]
    assert farm.finish(farm.command(command)) == 0, farm.told()
    return dict(json.loads((farm.directory / "FARM.rc.json").read_text()))


def start_job(farm: Farm, rc: dict[str, Any]) -> int:
    """The job as a daemon, under that ResourceController; its pid."""
    assert farm.finish(farm.start(f"--rc_url={rc['url']}", "--ncpu_limit=2", "--port=0", local=None)) == 0, farm.told()
    return int(farm.run_file()["pid"])


def jobs(farm: Farm) -> list[dict[str, Any]]:
    """What ``coordinator jobs`` says."""
    url = json.loads((farm.directory / "FARM.rc.json").read_text())["url"]
    (farm.directory / "jobs").unlink(missing_ok=True)
    command = f"exec '{sys.executable}' -m coordinator jobs --json --rc_url={url} > jobs"
    farm.finish(farm.command(["/bin/sh", "-c", command]))
    return list(json.loads((farm.directory / "jobs").read_text())["jobs"])


def end(farm: Farm, rc: dict[str, Any]) -> None:
    os.kill(rc["pid"], signal.SIGTERM)
    farm.assert_no_process_is_left()


def closed(farm: Farm) -> bool:
    return "coordinator ended" in farm.log


def test_a_running_job_goes_on_without_it_and_is_known_to_the_next_one(farm: Farm) -> None:
    # So much room that the load of the machine takes no slot away.
    (farm.directory / "FARM.hosts").write_text("localhost 200\n")
    farm.script("if task >= 100:\n    wait_for('go' + str(task // 100))\ntime.sleep(0.002)", "yield from range(300)")
    rc = start_controller(farm)
    start_job(farm, rc)
    farm.until(lambda: farm.begun() >= 20, "tasks began")
    os.kill(rc["pid"], signal.SIGKILL)
    farm.until(lambda: farm.begun() >= 102, "the job went on without it")
    farm.until(lambda: "resource controller away" in farm.log, "the job said that it is away")
    farm.touch("go1")
    farm.until(lambda: farm.begun() >= 202, "the job went on and on")
    again = start_controller(farm, port=rc["port"])
    assert again["url"] == rc["url"]
    farm.until(lambda: "resource controller back" in farm.log, "the job found it again")
    [job] = farm.until(lambda: jobs(farm), "the job is in its books")
    assert (job["name"], job["pid"]) == ("JOB", farm.run_file()["pid"])
    farm.touch("go2")
    farm.until(lambda: closed(farm), "the job ended")
    end(farm, again)
    farm.assert_all_is_well(range(300), once=True)
    assert len({one.pid for one in farm.executions()}) == 2, "no processor was stopped or started"
    assert "processor ended" not in farm.log.partition("resource controller back")[0]


def test_a_job_that_ends_while_it_is_away_ends_well(farm: Farm) -> None:
    (farm.directory / "FARM.hosts").write_text("localhost 200\n")
    farm.script("time.sleep(0.002)", "yield from range(300)")
    rc = start_controller(farm)
    start_job(farm, rc)
    farm.until(lambda: farm.begun() >= 20, "tasks began")
    os.kill(rc["pid"], signal.SIGKILL)
    farm.until(lambda: closed(farm), "the job ended")
    farm.assert_all_is_well(range(300), once=True)


def test_killed_together_with_the_coordinator_the_same_commands_go_on(farm: Farm) -> None:
    (farm.directory / "FARM.hosts").write_text("localhost 200\n")
    farm.script("if task >= 100:\n    wait_for('go')", "yield from range(300)")
    rc = start_controller(farm)
    pid = start_job(farm, rc)
    farm.until(lambda: farm.begun() >= 102, "tasks began")
    os.kill(rc["pid"], signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    again = start_controller(farm, port=rc["port"])
    start_job(farm, again)
    farm.touch("go")
    farm.until(lambda: closed(farm), "the job ended")
    end(farm, again)
    farm.assert_all_is_well(range(300), once=True)
    assert len({one.pid for one in farm.executions()}) == 2
