"""Rules and their locks: examples, and a machine that tries every order of events."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordinator.core.rules import (
    Build,
    Failed,
    Rule,
    RuleBook,
    UseFile,
    Wait,
    check_resource,
    place_key,
    place_of,
)
from coordinator.errors import BadRule, NoSuchRule, NotLocked

HG17 = Rule("/usr/tmp/hg17", "gunzip -c /data/*.fa.gz >%s")
OTHER = Rule("/usr/tmp/hg17", "cp /data/hg17 %s")


def book(**rules: Rule) -> RuleBook:
    made = RuleBook(100)
    for name, one in rules.items():
        made.set(name, one)
    return made


def build(made: RuleBook, host: str = "h", pid: int = 1, now: float = 0.0, **more: bool) -> Build:
    answer = made.ask(host, pid, "hg17", now, now, **more)
    assert isinstance(answer, Build)
    return answer


# --- what a rule is ---


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_rule_travels_as_a_list_and_comes_as_either(kind: type) -> None:
    assert Rule.from_wire("hg17", kind([HG17.path, HG17.command])) == HG17
    assert HG17.to_wire() == [HG17.path, HG17.command]


def test_a_command_of_several_lines_is_a_command() -> None:
    command = "gunzip -c /data/yxing/databases/ucsc_msa/human_assembly_HG17/*.fa.gz\n   >%s"
    assert Rule.from_wire("hg17", ("/usr/tmp/ucsc_msa/hg17", command)).command == command
    assert Rule.from_wire("x", ("/x", "awk '{printf \"%d\\t%x%%\", $1, $2}' >%s")).command


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("cp x %s", "must be (local path"),
        (["/x"], "must be (local path"),
        (["/x", "cp %s", 3], "must be (local path"),
        (["/x", None], "must be (local path"),
        (["x", "cp y %s"], "must start"),
        (["/x/", "cp y %s"], "must start"),
        (["", "cp y %s"], "must start"),
        (["/x\ny", "cp y %s"], "control character"),
        (["/x\0", "cp y %s"], "control character"),
        (["/x", ""], "is empty"),
        (["/x", "\n \n"], "is empty"),
        (["/x", "cp y z"], "exactly once, not 0 times"),
        (["/x", "cp %s %s"], "exactly once, not 2 times"),
        (["/x", "cp y %s\0"], "control character '\\x00'"),
        (["/x", "cp y %s\r\n"], "control character '\\r'"),
        (["/x", "cp \x1b[2J %s"], "control character '\\x1b'"),
        (["/x", "cp " + "y" * 70000 + " %s"], "put it in a script"),
    ],
)
def test_a_bad_rule_is_refused_with_what_is_wrong(value: object, says: str) -> None:
    with pytest.raises(BadRule) as caught:
        Rule.from_wire("hg17", value)
    assert says in caught.value.message


@pytest.mark.parametrize("name", ["", " x", "a:b", "a\nb", "\n", "a\0b", "x" * 256, None, 3, ["x"]])
def test_a_bad_name_of_a_resource_is_refused(name: object) -> None:
    with pytest.raises(BadRule):
        check_resource(name)


def test_a_place_is_found_again_from_its_key() -> None:
    for place in (("node1", "hg17"), ("fe80::1", "hg 17/x")):
        assert place_of(place_key(place)) == place


# --- who builds ---


def test_one_builds_the_others_wait_and_then_all_have_the_file() -> None:
    made = book(hg17=HG17)
    lock = build(made, pid=1)
    assert lock == Build(HG17, 100)
    waiting = made.ask("h", 2, "hg17", 0.0, 0.0)
    assert isinstance(waiting, Wait)
    assert waiting.holder.pid == 1
    assert made.settle("h", 1, "hg17", lock.lock, None, 1.0, 1.0) == HG17.path
    assert made.ask("h", 2, "hg17", 1.0, 1.0) == UseFile(HG17.path)


def test_each_host_builds_its_own() -> None:
    made = book(hg17=HG17)
    assert build(made, host="h1").lock != build(made, host="h2").lock


def test_a_builder_whose_answer_was_lost_gets_the_same_again() -> None:
    made = book(hg17=HG17)
    assert build(made, pid=1) == build(made, pid=1)


def test_a_report_that_comes_twice_is_accepted_once_more() -> None:
    made = book(hg17=HG17)
    lock = build(made).lock
    assert made.settle("h", 1, "hg17", lock, None, 0.0, 0.0) == made.settle("h", 1, "hg17", lock, None, 0.0, 0.0)


def test_a_lock_dies_with_its_holder_and_the_next_one_builds() -> None:
    made = book(hg17=HG17)
    old = build(made, pid=1).lock
    assert [lock.number for lock in made.forget("h", 1)] == [old]
    assert made.forget("h", 1) == []
    assert build(made, pid=2).lock == old + 1
    with pytest.raises(NotLocked):
        made.settle("h", 1, "hg17", old, None, 0.0, 0.0)
    assert made.locks["h", "hg17"].pid == 2


def test_the_same_pid_on_another_host_is_another_process() -> None:
    made = book(hg17=HG17)
    build(made, host="h1", pid=1)
    assert made.forget("h2", 1) == []


def test_the_locks_of_a_job_that_is_gone_are_free() -> None:
    made = book(hg17=HG17)
    made.ask("h", 1, "hg17", 0.0, 0.0, job="run1")
    assert made.forget("", job="run2") == []
    assert len(made.forget("", job="run1")) == 1


def test_a_failure_is_told_to_all_and_tried_again_after_a_rest() -> None:
    made = book(hg17=HG17)
    assert made.settle("h", 1, "hg17", build(made).lock, "gunzip: no such file", 0.0, 0.0) is None
    assert made.ask("h", 2, "hg17", 9.9, 9.9) == Failed("gunzip: no such file")
    second = build(made, pid=2, now=10.0)
    made.settle("h", 2, "hg17", second.lock, "again", 10.0, 10.0)
    assert made.ask("h", 2, "hg17", 29.0, 29.0) == Failed("again")
    assert made.failed["h", "hg17"].attempts == 2
    build(made, host="other", now=29.0)


def test_a_rule_that_is_set_anew_is_tried_at_once() -> None:
    made = book(hg17=HG17)
    made.settle("h", 1, "hg17", build(made).lock, "x", 0.0, 0.0)
    made.set("hg17", OTHER)
    assert build(made).rule == OTHER


def test_a_file_that_is_gone_is_built_anew_and_without_a_rule_that_is_an_error() -> None:
    made = book(hg17=HG17)
    made.settle("h", 1, "hg17", build(made).lock, None, 0.0, 0.0)
    again = build(made, gone=True)
    assert again.lock == 101
    made.settle("h", 1, "hg17", again.lock, None, 0.0, 0.0)
    made.delete("hg17")
    assert made.ask("h", 1, "hg17", 0.0, 0.0) == UseFile(HG17.path)
    with pytest.raises(NoSuchRule, match="is gone"):
        made.ask("h", 1, "hg17", 0.0, 0.0, gone=True)


def test_a_changed_rule_forgets_what_the_old_one_built() -> None:
    made = book(hg17=HG17)
    made.settle("h", 1, "hg17", build(made).lock, None, 0.0, 0.0)
    assert made.outdated_by("hg17", OTHER) == [("h", "hg17")]
    assert made.outdated_by("hg17", HG17) == []
    made.set("hg17", OTHER)
    anew = build(made)
    assert anew.rebuild
    assert made.settle("h", 1, "hg17", anew.lock, None, 0.0, 0.0) == OTHER.path
    assert not build(made, gone=True).rebuild


def test_what_was_built_by_a_rule_that_changed_meanwhile_does_not_count() -> None:
    made = book(hg17=HG17)
    lock = build(made).lock
    made.set("hg17", OTHER)
    assert made.settle("h", 1, "hg17", lock, None, 0.0, 0.0) is None
    assert build(made, pid=2).rule == OTHER


def test_a_builder_of_an_earlier_life_may_hand_in() -> None:
    made = book(hg17=HG17)
    assert made.settle("h", 1, "hg17", 99, None, 0.0, 0.0) == HG17.path
    assert made.ask("h", 1, "hg17", 0.0, 0.0) == UseFile(HG17.path)
    build(made, host="h2", pid=7)
    with pytest.raises(NotLocked):
        made.settle("h2", 1, "hg17", 98, None, 0.0, 0.0)


def test_release_by_a_classic_builder_means_built_and_by_hand_means_free() -> None:
    made = book(hg17=HG17)
    made.ask("h", 1, "hg17", 0.0, 0.0, classic=True)
    assert made.release("h", 1, "hg17", 0.0, 0.0) == HG17.path
    build(made, host="h2", pid=2)
    with pytest.raises(NotLocked, match="process 2 holds it"):
        made.release("h2", 3, "hg17", 0.0, 0.0)
    assert made.release("h2", 2, "hg17", 0.0, 0.0) is None
    assert ("h2", "hg17") not in made.built
    with pytest.raises(NotLocked, match="nobody does"):
        made.release("h2", 2, "hg17", 0.0, 0.0)


def test_a_lock_is_freed_by_hand_only_if_there_is_one() -> None:
    made = book(hg17=HG17)
    build(made)
    assert made.unlock("h", "hg17").pid == 1
    with pytest.raises(NotLocked):
        made.unlock("h", "hg17")


def test_missing_resources_are_those_with_neither_rule_nor_file() -> None:
    made = book(hg17=HG17)
    made.load({}, {("h9", "mm5"): "/x"})
    assert made.missing(["hg17", "mm5", "rn3", "dm1"]) == ["rn3", "dm1"]


HOSTS = st.sampled_from(["h1", "h2"])
NAMES = st.sampled_from(["a", "b"])
PIDS = st.integers(1, 3)
RULES = st.sampled_from([Rule("/a", "one %s"), Rule("/a", "two %s"), Rule("/b", "three %s")])


class Builders(RuleBasedStateMachine):
    """Processors that ask, build, fail, die and come late, beside people who set and delete rules."""

    @initialize()
    def begin(self) -> None:
        self.book = RuleBook(1)
        self.now = 0.0
        self.told: dict[tuple[str, int, str], int] = {}  # who was told to build, under which number
        self.numbers: list[int] = []

    @rule(name=NAMES, one=RULES)
    def people_set_a_rule(self, name: str, one: Rule) -> None:
        self.book.set(name, one)
        assert not [place for place in self.book.failed if place[1] == name]

    @rule(name=NAMES)
    def people_delete_a_rule(self, name: str) -> None:
        self.book.delete(name)

    @rule(host=HOSTS, pid=PIDS, name=NAMES, gone=st.booleans(), classic=st.booleans())
    def a_processor_asks(self, host: str, pid: int, name: str, gone: bool, classic: bool) -> None:
        held = self.book.locks.get((host, name))
        try:
            answer = self.book.ask(host, pid, name, self.now, self.now, classic=classic, gone=gone)
        except NoSuchRule:
            assert name not in self.book.rules
            return
        if isinstance(answer, Build):
            if held is None:
                assert answer.lock not in self.numbers, "a lock number was given twice"
                self.numbers.append(answer.lock)
            else:
                assert held.pid == pid, "two builders of one resource"
            self.told[host, pid, name] = answer.lock
        elif isinstance(answer, Wait):
            assert held is not None
            assert held.pid != pid
        elif isinstance(answer, UseFile):
            assert not gone
            assert self.book.built[host, name] == answer.path

    @rule(host=HOSTS, pid=PIDS, name=NAMES, failed=st.booleans())
    def a_builder_hands_in(self, host: str, pid: int, name: str, failed: bool) -> None:
        number = self.told.get((host, pid, name))
        if number is None:
            return
        held = self.book.locks.get((host, name))
        mine = held is not None and held.number == number and held.pid == pid
        before = dict(self.book.built)
        try:
            path = self.book.settle(host, pid, name, number, "broken" if failed else None, self.now, self.now)
        except NotLocked:
            assert not mine
            assert self.book.built == before, "a late builder changed what is built"
            assert self.book.locks.get((host, name)) == held, "a late builder took somebody's lock"
            return
        if mine:
            assert (host, name) not in self.book.locks
            assert held is not None
            assert path == (held.rule.path if not failed and self.book.rules.get(name) == held.rule else None)

    @rule(host=HOSTS, pid=PIDS)
    def a_processor_dies(self, host: str, pid: int) -> None:
        self.book.forget(host, pid)
        assert not [lock for lock in self.book.locks.values() if (lock.host, lock.pid) == (host, pid)]

    @rule(seconds=st.sampled_from([1.0, 15.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def every_lock_has_one_holder_who_was_told(self) -> None:
        if not hasattr(self, "book"):
            return
        for (host, name), lock in self.book.locks.items():
            assert (lock.host, lock.name) == (host, name)
            assert self.told[host, lock.pid, name] == lock.number


Builders.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBuilders = Builders.TestCase
