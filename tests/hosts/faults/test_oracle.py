"""Tests of the tests: bugs that only several hosts show, planted in the Coordinator, are found."""

from __future__ import annotations

import pytest

from tests.hosts.faults.farm import HostsFarm

pytestmark = pytest.mark.faults


def test_of_the_test_two_live_leases_of_one_task_are_found(farm: HostsFarm) -> None:
    farm.controller()
    farm.script("time.sleep(0.2)", "yield from range(20)")
    farm.job(grace_s=2.0, planted={"bug": "lease twice"})
    farm.until(lambda: len(farm.unexplained()) > 0, "a task began twice")
    problems = farm.unexplained()
    assert any("with no word of why" in problem for problem in problems), problems
    farm.kill_job()
    farm.assert_no_process_on(farm.hosts)


def test_of_the_test_a_late_report_that_is_believed_is_found(farm: HostsFarm) -> None:
    farm.controller()
    farm.script("if task < 3:\n    wait_for('go')\nelif task == 19:\n    wait_for('end')", "yield from range(20)")
    farm.job(lease_s=1.5, planted={"bug": "believe every lease"})
    first = farm.busy()["node1"]
    farm.hosts[0].cut()
    farm.line("keeper silent host=node1 for", "given up")
    farm.touch("go")
    farm.until(lambda: farm.latest(first).ended, "it works on, cut off")
    farm.until(lambda: len([one for one in farm.executions() if one.task == first.task and one.ended]) == 2, "both did")
    farm.hosts[0].heal()
    farm.line("keeper returns host=node1")
    farm.until(lambda: farm.described()["late"] >= 1, "the late report arrived")
    farm.touch("end")
    farm.over()
    assert any(problem.startswith("accepted twice") for problem in farm.problems(range(20)))
    farm.assert_no_process_on(farm.hosts)
