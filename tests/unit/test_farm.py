"""The farm's memory: who is in the queue, whose load is whose, and what it takes to be told anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordinator.core.beats import Beat
from coordinator.core.farm import CLASSIC_SILENT_S, SETTLE_S, SILENT_S, Farm
from coordinator.core.hosts import HostInfo
from coordinator.core.jobs import PLACE_KEPT_S, Job
from coordinator.core.loads import FRESH_IF_IDLE_S, LOOK_HANG_S, LOOK_S
from coordinator.errors import BadParameters, HostsFileError
from coordinator.hostsfile import HostsFile


def farm(**maxloads: float) -> Farm:
    made = Farm(1000)
    made.set_hosts({name: HostInfo(name, maxload) for name, maxload in (maxloads or {"h": 4.0}).items()})
    return made


def beat(made: Farm, name: str = "A", now: float = 0.0, **more: Any) -> Job:
    note = {"name": name, "url": f"http://x/{name}", **more}
    job, _ = made.hear(Beat.from_note(note), now, now)
    made.rebalance(now)
    return job


def test_a_job_has_a_new_version_only_when_its_answer_changed() -> None:
    made = farm()
    job = beat(made)
    version = job.version
    assert version > 1000
    beat(made, processors={"h": 4})
    assert job.version == version
    made.set_hosts({"h": HostInfo("h", 4.0, {"sshopts": "-x"})})
    made.rebalance(0.0)
    assert job.version > version


def test_a_silent_job_leaves_the_queue_and_the_next_one_moves_up() -> None:
    made = farm()
    beat(made, "A")
    later = beat(made, "B", SILENT_S)
    assert not later.slots
    assert made.expire(SILENT_S) == []
    assert [job.beat.name for job in made.expire(SILENT_S + 0.1)] == ["A"]
    made.rebalance(SILENT_S + 0.1)
    assert later.slots == {"h": 4}


def test_who_slept_judges_nobody() -> None:
    made = farm()
    beat(made, "A")
    made.renew(10_000.0)
    assert made.expire(10_000.0) == []


def test_a_classic_job_may_be_silent_for_longer() -> None:
    made = farm()
    made.hear(Beat("old", "http://x/old"), 0.0, 0.0, classic=True)
    assert made.expire(CLASSIC_SILENT_S) == []
    assert len(made.expire(CLASSIC_SILENT_S + 1)) == 1


def test_a_coordinator_that_returns_under_its_name_takes_its_place_again() -> None:
    made = farm()
    same = {"user": "bob", "host": "here", "directory": "/home/bob"}
    beat(made, "A", 0.0, **same)
    beat(made, "B", 0.0)
    made.hear(Beat.from_note({"name": "A", "url": "http://x/other-port", **same}), 5.0, 5.0)
    made.rebalance(5.0)
    assert made.jobs["http://x/other-port"].slots == {"h": 4}
    assert "http://x/A" not in made.jobs
    assert made.jobs["http://x/other-port"].started == 0.0


def test_one_that_returns_after_it_left_the_queue_has_its_place_again_and_one_that_ended_has_not() -> None:
    made = farm()
    same = {"user": "bob", "host": "here", "directory": "/home/bob"}
    beat(made, "A", 0.0, **same)
    beat(made, "B", SILENT_S, **same)
    assert [job.beat.name for job in made.expire(SILENT_S + 1)] == ["A"]
    made.rebalance(SILENT_S + 1)
    assert made.jobs["http://x/B"].slots == {"h": 4}
    back, new = made.hear(Beat.from_note({"name": "A", "url": "http://x/other-port", **same}), 500.0, 500.0)
    made.rebalance(500.0)
    assert (new, back.slots, back.started) == (True, {"h": 4}, 0.0)
    assert not made.jobs["http://x/B"].slots
    made.drop("http://x/other-port", 501.0)  # this one has ended: the next of that name is another job
    assert beat(made, "A", 502.0, **same).order > made.jobs["http://x/B"].order


def test_jobs_of_an_earlier_life_keep_what_they_have_until_all_are_back() -> None:
    made = farm(h=6.0)
    seen = {"seen": 7, "immediate": True}
    light = beat(made, "light", 0.0, processors={"h": 2}, **seen)
    assert light.slots == {"h": 2}, "the other four look free, and are not"
    assert "has just come back" in str(beat(made, "waits", 1.0, seen=7).reason)
    heavy = beat(made, "heavy", 2.0, processors={"h": 4}, priority=2.0, **seen)
    assert (light.slots, heavy.slots) == ({"h": 2}, {"h": 4})
    made.drop("http://x/heavy", 3.0)
    made.drop("http://x/waits", 3.0)
    made.rebalance(3.0)
    assert light.slots == {"h": 2}
    made.grow_old(SETTLE_S)
    assert made.due
    made.rebalance(SETTLE_S)
    assert light.slots == {"h": 6}


def test_a_job_that_is_new_has_its_slots_at_once() -> None:
    made = farm(h=6.0)
    assert beat(made, "new").slots == {"h": 6}


def test_a_place_is_not_kept_for_ever_nor_for_who_does_not_say_where_it_works() -> None:
    made = farm()
    same = {"user": "bob", "host": "here", "directory": "/home/bob"}
    beat(made, "A", 0.0, **same)
    beat(made, "nowhere", 0.0)
    assert len(made.expire(SILENT_S + 1)) == 2
    assert beat(made, "nowhere", 100.0).order == 3
    assert beat(made, "A", SILENT_S + 2 + PLACE_KEPT_S, **same).order == 4


def test_another_job_on_a_dead_jobs_port_inherits_nothing() -> None:
    made = farm()
    made.hear(Beat("A", "http://x/1", processors={"h": 4}), 0.0, 0.0)
    job, new = made.hear(Beat("B", "http://x/1"), 1.0, 1.0)
    assert new
    assert job.order == 2
    assert made.running("h") == 0


def test_what_people_direct_holds_until_the_coordinator_asks_for_something_else() -> None:
    made = farm()
    job = beat(made, "A")
    made.direct(job, 5.0, True, 2)
    assert beat(made, "A").beat.priority == 5.0
    assert sum(job.slots.values()) == 2
    assert beat(made, "A", priority=3.0).beat.priority == 3.0
    assert beat(made, "A").beat.priority == 1.0


def test_a_load_that_is_ours_takes_no_slot_even_after_our_processors_ended() -> None:
    made = farm()
    for second in range(300):
        beat(made, "A", float(second), processors={"h": 4}, loads={"h": 4.3})
    made.drop("http://x/A", 300.0)
    # The load average still shows them; the next job has the slots at once.
    made.load("h", 4.2, 301.0)
    assert beat(made, "B", 301.0).slots == {"h": 4}


def test_load_of_others_makes_processors_leave_and_come_back() -> None:
    made = farm()
    job = beat(made, "A", 0.0)
    for second in range(0, 40, 5):
        beat(made, "A", float(second), processors={"h": 4}, loads={"h": 6.0})
    assert job.slots == {"h": 2}
    for second in range(40, 80, 5):
        beat(made, "A", float(second), processors={"h": 2}, loads={"h": 2.0})
    assert job.slots == {"h": 4}


def test_a_temporary_spike_makes_nobody_leave() -> None:
    made = farm()
    job = beat(made, "A", 0.0, processors={"h": 4}, loads={"h": 4.0})
    beat(made, "A", 5.0, processors={"h": 4}, loads={"h": 40.0})
    beat(made, "A", 10.0, processors={"h": 4}, loads={"h": 4.0})
    assert job.slots == {"h": 4}


def test_hosts_that_nobody_tells_of_are_looked_at_a_few_at_a_time_and_again_before_their_load_is_history() -> None:
    made = farm(used=1.0, off=0.0, **{f"idle{number}": 1.0 for number in range(6)})
    told = {"ncpu_limit": 1, "processors": {"used": 1}}
    job = beat(made, "A", 0.0, ncpu_limit=1)
    made.grow_old(0.0)
    assert job.look == (), "nobody works yet, so nobody can look"
    job.slots = {"used": 1}
    beat(made, "A", 1.0, **told, loads={"used": 1.0})
    version = job.version
    made.grow_old(1.0)
    assert job.look == ("idle0", "idle1", "idle2", "idle3")
    assert job.version > version
    beat(made, "A", 2.0, **told, loads={"idle0": 5.0, "idle1": 0.0}, unreachable={"idle2": "no route"})
    made.grow_old(2.0)
    assert job.look == ("idle3", "idle4", "idle5")
    made.grow_old(1.0 + LOOK_HANG_S)
    assert job.look == ("idle4", "idle5"), "who does not answer is not waited for"
    beat(made, "A", 100.0, **told, loads={"idle4": 0.0, "idle5": 0.0})
    made.grow_old(100.0)
    assert set(job.look) <= {"idle3"}
    made.grow_old(2.0 + LOOK_S)
    assert {"idle0", "idle1"} <= set(job.look)
    assert LOOK_S < FRESH_IF_IDLE_S


def test_a_load_that_nobody_reports_any_more_is_forgotten() -> None:
    made = farm()
    made.load("h", 50.0, 0.0)
    job = beat(made, "A", 0.0)
    assert not job.slots
    assert job.reason is not None
    assert job.reason.startswith("every host is busy")
    made.due = False
    made.grow_old(FRESH_IF_IDLE_S + 1)
    assert made.due
    made.rebalance(FRESH_IF_IDLE_S + 1)
    assert job.slots == {"h": 4}


def test_unused_hosts_are_tried_again_when_people_say_so() -> None:
    made = farm(a=1.0, b=1.0)
    made.load("a", 50.0, 0.0)
    job = beat(made, "A", 0.0, processors={"b": 1})
    assert job.slots == {"b": 1}
    retry = made.retry
    assert made.retry_unused() == ["a"]
    assert made.retry > retry
    assert made.rebalance(0.0) == [job]
    assert job.slots == {"a": 1, "b": 1}


def test_processors_are_counted_by_beats_and_by_classic_registrations() -> None:
    made = farm(a=2.0, b=2.0)
    beat(made, "A", processors={"a": 2})
    classic, _ = made.hear(Beat("C", "http://x/C", immediate=True), 0.0, 0.0, classic=True)
    made.join(classic, "b", 1, 0.0)
    made.join(classic, "b", 1, 0.0)
    made.rebalance(0.0)
    assert (made.running("a"), made.running("b")) == (2, 1)
    assert made.to_start(classic) == ["b"]
    made.leave(classic, "b", 1, 0.0)
    assert made.running("b") == 0
    made.drop("http://x/A", 0.0)
    assert made.running("a") == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 3}, "name"),
        ({"name": ""}, "name"),
        ({"url": None}, "url"),
        ({"priority": "1.0"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": float("inf")}, "priority"),
        ({"priority": 10**400}, "priority"),
        ({"immediate": 1}, "immediate"),
        ({"demand_ncpu": 1.5}, "demand_ncpu"),
        ({"demand_ncpu": -1}, "demand_ncpu"),
        ({"demand_ncpu": 10**30}, "demand_ncpu"),
        ({"wants": "many"}, "wants"),
        ({"resources": "hg17"}, "resources"),
        ({"resources": [1]}, "resources"),
        ({"processors": [1]}, "processors"),
        ({"processors": {"-oX": 1}}, "processors"),
        ({"loads": {"h": "high"}}, "loads"),
        ({"loads": {"h": float("nan")}}, "loads"),
        ({"unreachable": {"h": 1}}, "unreachable"),
        ({"gone": [["h"]]}, "gone"),
        ({"gone": [["h", "1"]]}, "gone"),
        ({"seen": "1"}, "seen"),
    ],
)
def test_a_wrong_field_of_a_beat_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadParameters, match=field):
        Beat.from_note({"name": "A", "url": "http://x", **change})


def test_a_beat_of_a_newer_peer_may_say_more() -> None:
    assert Beat.from_note({"name": "A", "url": "u", "colour": "blue"}) == Beat("A", "u")


# --- the file of hosts ---


def test_an_edited_line_wins_over_what_was_called_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.hosts"
    path.write_text("a 1\nb 1\n")
    file = HostsFile(str(path))
    assert not file.look()
    file.set_maxload("a", 5.0)
    file.set_maxload("b", 5.0)
    file.set_maxload("new", 3.0)
    path.write_text("# edited\na 2,sshopts=-x\nb 1\n")
    assert file.look()
    assert {name: host.maxload for name, host in file.table.items()} == {"a": 2.0, "b": 5.0, "new": 3.0}
    assert file.table["a"].options == {"sshopts": "-x"}
    assert path.read_text().startswith("# edited")


def test_a_bad_edit_is_told_once_and_the_old_table_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.hosts"
    path.write_text("a 1\n")
    file = HostsFile(str(path))
    path.write_text("a 1\nb two\n")
    with pytest.raises(HostsFileError, match=r"x\.hosts:2: maxload must be a number"):
        file.look()
    assert not file.look()
    assert list(file.table) == ["a"]
    path.write_bytes(b"a 1\nb \xff\n")
    with pytest.raises(HostsFileError, match=r"x\.hosts:2: this line is not UTF-8"):
        file.look()
    path.unlink()
    with pytest.raises(HostsFileError, match="no such file"):
        file.look()
    path.write_text("c 1\n")
    assert file.look()
    assert list(file.table) == ["c"]


def test_memory_of_a_host_is_what_its_keeper_said_last() -> None:
    made = farm(h=2.0)
    assert made.memory_available_bytes("h") is None
    beat(made, loads={"h": 0.5}, memory={"h": 4 << 30, "stranger": 1})
    assert made.memory_available_bytes("h") == 4 << 30
    beat(made, now=1.0, processors={"h": 2}, loads={"h": 0.5}, memory={"h": 1 << 40})
    assert made.memory_available_bytes("h") == 1 << 40
    assert made.memory_available_bytes("stranger") is None
    with pytest.raises(BadParameters, match="memory"):
        beat(made, memory={"h": -1})
