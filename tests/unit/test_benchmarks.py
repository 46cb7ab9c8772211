"""The pure parts of the benchmarks: what counts as accepted, medians and ratios, who takes part, verdicts, tables."""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import contestants, workloads
from benchmarks.accepted import NotAResult, check, judge
from benchmarks.contestants import CONTESTANTS, QUICK
from benchmarks.environments import REQUIREMENTS, distribution, requirements
from benchmarks.goals import GOALS, Goal, verdicts
from benchmarks.goals import judge as judge_goal
from benchmarks.machine import file_system, processor
from benchmarks.measures import Sample, ideal_s, percentile, rates, ratio, shown, spread, summaries, summary, too_fast
from benchmarks.ours import Notes, figures
from benchmarks.page import BEGIN, END, NoMarks, filled
from benchmarks.peers.order import counted
from benchmarks.peers.work import INTEGERS, LONG_TIMES, STRINGS, id_of, is_long, stream
from benchmarks.report import markdown, rst
from benchmarks.rounds import plan
from benchmarks.running import Ran
from benchmarks.workloads import MEASURES, WORKLOADS, taking_part, tasks

PEERS = Path(workloads.__file__).parent / "peers"


# --- accepted exactly once ------------------------------------------------------------------------------


@given(st.sampled_from([STRINGS, INTEGERS]), st.integers(0, 300), st.randoms(use_true_random=False))
def test_a_stream_that_was_accepted_once_in_any_order_is_right(kind: str, n: int, rng: random.Random) -> None:
    lines = [str(task_id) for task_id in stream(kind, n)]
    rng.shuffle(lines)
    assert judge(lines, n, kind).right


@given(st.sampled_from([STRINGS, INTEGERS]), st.integers(1, 300), st.data())
def test_each_lost_and_each_doubled_id_is_counted(kind: str, n: int, data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.integers(0, n - 1)))
    doubled = data.draw(st.sets(st.sampled_from(sorted(set(range(n)) - lost)))) if len(lost) < n else set()
    numbers = [number for number in range(n) if number not in lost] + list(doubled)
    found = judge([str(id_of(kind, number)) for number in numbers], n, kind)
    assert (found.lost, found.doubled, found.strange) == (len(lost), len(doubled), 0)
    assert found.right == (not lost and not doubled)


def test_an_id_in_place_of_another_is_a_lost_and_a_doubled_one() -> None:
    found = judge(["0", "1", "1"], 3, INTEGERS)
    assert (found.lost, found.doubled) == (1, 1)
    assert str(found) == "of 3 IDs 1 lost, 1 doubled (lost: 2, doubled: 1)"


@pytest.mark.parametrize("line", ["3", "01", "-1", "", "1.0", "identifier-of-forty-characters-000000001", "１"])
def test_a_line_that_was_never_served_is_no_result(line: str) -> None:
    found = judge(["0", "1", "2", line], 3, INTEGERS)
    assert found.strange == 1
    assert not found.right


def test_a_string_with_the_right_number_and_another_text_is_strange() -> None:
    assert judge(["other-000000000"], 1, STRINGS).strange == 1


def test_a_torn_last_line_is_seen_as_a_lost_id(tmp_path: Path) -> None:
    (tmp_path / "X.success").write_text("identifier-of-forty-characters-000000000\nidentifier-of-forty-char")
    with pytest.raises(NotAResult, match=r"X\.success: of 2 IDs 1 lost, 0 doubled, 1 that were never served"):
        check(tmp_path / "X.success", 2, STRINGS)


def test_a_file_that_is_not_there_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(NotAResult, match="cannot be read"):
        check(tmp_path / "X.success", 2, STRINGS)


# --- medians, spread, ratios ----------------------------------------------------------------------------


def sample(contestant: str, number: int, measure: str = "noop-strings", **figures_: float) -> Sample:
    return Sample(measure, contestant, number, 100, figures_)


def test_a_summary_tells_median_least_most_and_the_median_distance() -> None:
    found = summary([1.0, 2.0, 3.0, 10.0, 4.0])
    assert (found.median, found.least, found.most, found.mad, found.rounds) == (3.0, 1.0, 10.0, 1.0, 5)


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine was slow for both tells the same ratio; the ratio of medians would not."""
    samples = [
        *(sample("ours", number, rate=rate) for number, rate in enumerate([200.0, 20.0, 2000.0])),
        *(sample("pool-1", number, rate=rate) for number, rate in enumerate([100.0, 10.0, 1000.0])),
        sample("ours", 9, rate=5.0),  # alone in its round
    ]
    found = ratio(samples, "noop-strings", "rate", "ours", "pool-1")
    assert found is not None
    assert (found.median, found.least, found.most, found.rounds) == (2.0, 2.0, 2.0, 3)


def test_there_is_no_ratio_where_nobody_is_to_compare_with() -> None:
    assert ratio([sample("ours", 1, rate=1.0)], "noop-strings", "rate", "ours", "pool-1") is None


@given(st.lists(st.floats(0.001, 10.0), min_size=1, max_size=40), st.integers(1, 4))
def test_the_ideal_schedule_lies_between_its_bounds(durations_s: list[float], processors: int) -> None:
    found = ideal_s(durations_s, processors)
    least = max(max(durations_s), sum(durations_s) / processors)
    assert least * 0.999999 <= found <= sum(durations_s) / processors + max(durations_s) + 1e-9


def test_the_ideal_schedule_keeps_the_order() -> None:
    assert ideal_s([1.0, 1.0, 5.0], 2) == 6.0
    assert ideal_s([5.0, 1.0, 1.0], 2) == 5.0


@given(st.lists(st.integers(0, 1000), min_size=1), st.sampled_from([0.5, 0.99, 1.0]))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values: list[int], share: float) -> None:
    found = percentile([float(value) for value in values], share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values) or found == min(values)


@pytest.mark.parametrize(
    ("value", "figure", "text"),
    [
        (1_234_567, "tasks_per_s", "1.23M"),
        (123_456, "tasks_per_s", "123k"),
        (12_345, "tasks_per_s", "12.3k"),
        (1_234, "tasks_per_s", "1,234"),
        (12.3456, "tasks_per_s", "12.3"),
        (0.0512, "first_s", "0.051"),
        (1073, "peak_mib", "1073"),
        (12_000, "", "12,000"),
    ],
)
def test_figures_are_shown_with_three_digits(value: float, figure: str, text: str) -> None:
    assert shown(value, figure) == text


def test_one_round_has_no_spread() -> None:
    assert spread(summary([2.0])) == "2.00"
    assert spread(summary([2.0, 1.0, 3.0])) == "2.00 (1.00 to 3.00)"
    assert spread(None) == ""


def test_a_run_tells_both_rates() -> None:
    assert rates(100, 2.0, 0.5) == {
        "whole_s": 2.0,
        "inside_s": 0.5,
        "whole_tasks_per_s": 50.0,
        "tasks_per_s": 200.0,
    }


def test_what_is_over_before_it_can_be_is_noticed() -> None:
    assert too_fast(rates(100, 1.0, 0.49), 100, 0.01, 2)
    assert not too_fast(rates(100, 1.0, 0.5), 100, 0.01, 2)
    assert not too_fast(rates(100, 1.0, 0.26), 100, 0.01, 4)


@pytest.mark.parametrize(
    ("err", "reason"),
    [
        ("", "exit status 1: it said nothing"),
        ("one\nImportError: no module\n-------\n\n", "exit status 1: ImportError: no module"),
        ("one\ntwo\n", "exit status 1: two"),
    ],
)
def test_the_reason_of_a_failure_is_what_was_said_of_it(err: str, reason: str) -> None:
    assert Ran(1, "", err, 0.0, 1.0).reason == reason


# --- what our own runs note -----------------------------------------------------------------------------


def test_the_clock_of_our_runs_goes_from_the_first_processor_to_the_last_acceptance() -> None:
    notes = Notes.of(
        """\
["begun", 11, 10.5]
["begun", 12, 10.25]
["accepted", 12, 12.0]
["accepted", 11, 12.25]
["returned", 10, 14.25]
["cpu_s", 11, 0.5]
["cpu_s", 12, 1.5]
["tasks", 11, 60]
["tasks", 12, 40]
["coordinator_mib", 10, 31.5]
""".splitlines()
    )
    found = figures(Ran(0, "", "", 9.0, 6.0), notes, 100)
    assert (found["inside_s"], found["whole_s"], found["returned_s"]) == (2.0, 6.0, 4.0)
    assert (found["tasks_per_s"], found["whole_tasks_per_s"]) == (50.0, 100 / 6)
    assert (found["peak_mib"], found["processors_cpu_us_per_task"]) == (31.5, 20_000.0)
    assert "first_s" not in found


def test_the_start_is_timed_from_the_launch() -> None:
    notes = Notes.of(['["begun", 1, 10.5]', '["accepted", 1, 10.75]', '["accepted", 2, 10.5]', '["returned", 3, 11.0]'])
    assert figures(Ran(0, "", "", 10.25, 1.0), notes, 1)["first_s"] == 0.25


def test_a_job_that_noted_nothing_is_no_result() -> None:
    with pytest.raises(NotAResult, match="'begun'"):
        figures(Ran(0, "", "", 0.0, 1.0), Notes(), 1)


# --- the work -------------------------------------------------------------------------------------------


def test_ids_are_the_same_however_they_are_made() -> None:
    assert list(stream(STRINGS, 3)) == [id_of(STRINGS, number) for number in range(3)]
    assert len(id_of(STRINGS, 0)) == 40
    assert list(stream(INTEGERS, 3)) == [0, 1, 2]


@pytest.mark.parametrize("n", [100, 1000, 5000])
def test_one_task_in_a_hundred_is_long_and_they_are_not_in_a_row(n: int) -> None:
    long = [number for number in range(n) if is_long(number, n)]
    assert len(long) == n // 100
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(long))
    assert LONG_TIMES == 100


class Promised:
    """Answers that say how many they will be, as ipyparallel's do."""

    def __init__(self, n: int) -> None:
        self.n, self.given = n, 0

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[None]:
        for _ in range(self.n):
            self.given += 1
            yield None


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_answers_are_waited_for_before_they_are_counted(n: int) -> None:
    promised = Promised(n)
    assert counted(promised)[1] == n
    assert promised.given == n
    assert counted([None] * n) == (0.0, n)


# --- who takes part -------------------------------------------------------------------------------------


def test_every_contestant_has_its_program_its_variant_and_its_requirements() -> None:
    for contestant in CONTESTANTS:
        if contestant.ours:
            continue
        source = (PEERS / f"{contestant.module}.py").read_text()
        ast.parse(source)
        stem, _, number = contestant.key.rpartition("-")
        assert f'"{contestant.key}"' in source or (number.isdigit() and f'f"{stem}-{{size}}"' in source), contestant
        if contestant.environment:
            assert requirements(contestant.environment), contestant


def test_every_requirement_is_pinned_and_every_file_is_asked_for() -> None:
    asked = {contestant.environment for contestant in CONTESTANTS} | {"report"}
    files = {path.stem for path in REQUIREMENTS.glob("*.txt")}
    assert files == asked - {""}
    for name in files:
        assert all("==" in line for line in requirements(name)), name
    assert distribution("Celery[redis]==5.7.0") == "celery"


def test_keys_are_unique_and_known() -> None:
    assert len(contestants.BY_KEY) == len(CONTESTANTS)
    assert set(QUICK) <= set(contestants.BY_KEY)
    for goal in GOALS:
        assert goal.measure in MEASURES
        assert set(goal.others) <= set(contestants.BY_KEY)


def test_the_slow_get_fewer_tasks_and_nobody_more_than_the_workload_has() -> None:
    for workload, quick in itertools.product(WORKLOADS, (True, False)):
        them = taking_part(workload, quick)
        assert any(contestant.ours for contestant in them), workload.key
        for contestant in them:
            assert 0 < tasks(workload, contestant, quick) <= (workload.n_quick if quick else workload.n)
            assert 0 < tasks(workload, contestant, quick, 0.001) <= 1000
    rq = contestants.BY_KEY["rq"]
    assert tasks(workloads.BY_KEY["noop-strings"], rq, False) == rq.noop
    assert tasks(workloads.BY_KEY["burn-1ms"], contestants.BY_KEY["xargs"], False) == 0


def test_everybody_runs_once_a_round_and_each_round_begins_with_another() -> None:
    chosen = frozenset({"ours", "pool-1", "pool-auto", "loop"})
    turns = plan(["sleep-1ms", "import"], chosen, 5, quick=True)
    order = [
        [turn.contestant.key for turn in turns if turn.measure == "sleep-1ms" and turn.round == n and turn.contestant]
        for n in range(1, 6)
    ]
    assert all(sorted(them) == sorted(chosen) for them in order)
    assert [them[0] for them in order] == ["ours", "loop", "pool-1", "pool-auto", "ours"]
    assert [turn.round for turn in turns if turn.measure == "import"] == [1, 2, 3, 4, 5]


# --- verdicts and tables --------------------------------------------------------------------------------


def result(samples: list[Sample], **more: object) -> dict[str, object]:
    machine = {
        "when": "2026-01-01 00:00", "processor": "a_processor", "cores": 2, "memory_gib": 4.0, "system": "Linux",
        "python": "3.11", "disk": "ext4", "load_before": 0.1, "commit": "abc", "versions": {"joblib": "1.6.0"},
    }  # fmt: skip
    return {
        "asked": {"quick": False, "rounds": 2, "processors": 2, "share": 1.0},
        "machine": machine,
        "samples": [vars(one) for one in samples],
        "failed": {"huey": "no | wheel"},
        "wrong": [],
        **more,
    }


RUN = [
    sample("ours", 1, tasks_per_s=900.0, whole_tasks_per_s=700.0),
    sample("ours", 2, tasks_per_s=1100.0, whole_tasks_per_s=900.0),
    sample("joblib-auto", 1, tasks_per_s=400.0, whole_tasks_per_s=200.0),
    sample("joblib-auto", 2, tasks_per_s=500.0, whole_tasks_per_s=400.0),
    sample("ray-tasks", 1, tasks_per_s=30.0, whole_tasks_per_s=3.0),
    sample("dask-bag", 1, tasks_per_s=300.0, whole_tasks_per_s=2.0),
    sample("loop", 1, "sleep-1ms", tasks_per_s=1000.0),
    sample("ours", 1, "sleep-1ms", tasks_per_s=990.0),
]


def test_a_goal_is_met_by_the_median_of_what_it_is_about() -> None:
    goal = next(goal for goal in GOALS if goal.others == ("joblib-auto",) and goal.least == 2.0)
    found = judge_goal(goal, RUN)
    assert found.met
    assert found.found == "2.23 (2.20 to 2.25)"
    slow = [sample("ours", 1, tasks_per_s=700.0), sample("joblib-auto", 1, tasks_per_s=400.0)]
    assert judge_goal(goal, slow).met is False


def test_the_best_of_several_is_the_best_at_that_figure() -> None:
    others = ("ray-tasks", "dask-bag")
    assert judge_goal(Goal("", "noop-strings", "tasks_per_s", others=others), RUN).found == "3.00 of dask-bag"
    assert judge_goal(Goal("", "noop-strings", "whole_tasks_per_s", others=others), RUN).found == "233 of ray-tasks"


def test_a_figure_is_held_against_its_bound() -> None:
    bound = Goal("", "start", "first_s", most=0.12, small=True)
    assert judge_goal(bound, [sample("ours", 1, "start", first_s=0.11)]).met is True
    assert judge_goal(bound, [sample("ours", 1, "start", first_s=0.13)]).met is False
    assert judge_goal(bound, RUN).met is None
    assert bound.bound == "≤ 0.12"


def test_what_was_not_measured_has_no_verdict() -> None:
    found = {verdict.goal.what: verdict.met for verdict in verdicts([])}
    assert set(found.values()) == {None}
    assert len(found) == len(GOALS)


def test_the_tables_name_everybody_the_best_first_and_who_is_missing() -> None:
    text = markdown(result(RUN))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    order = [row.split(" | ")[0].removeprefix("| ") for row in rows if "tasks/s" not in row and row.endswith("100 |")]
    assert order[:4] == ["coordinator", "joblib, batch_size auto", "dask.bag, 100 partitions", "Ray, remote tasks"]
    assert "| Huey, SQLite | no \\| wheel |" in text
    assert "2.23 (2.20 to 2.25)" in text
    assert "0.99" in text


def test_data_is_no_markup_in_the_page_and_the_tables_are_tables() -> None:
    text = rst(result(RUN))
    assert "a\\_processor" in text
    grids = [line for line in text.splitlines() if set(line) == {"=", " "} or (line and set(line) == {"="})]
    assert grids
    assert len(grids) % 3 == 0


def test_a_page_is_filled_between_its_marks_again_and_again() -> None:
    page = f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n"
    once = filled(page, "new\n")
    assert once == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"
    assert filled(once, "new") == once


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {END} {END}"])
def test_a_page_without_its_marks_is_left_as_it_is(page: str) -> None:
    with pytest.raises(NoMarks):
        filled(page, "new")


def test_the_page_of_the_docs_has_its_marks() -> None:
    page = (Path(workloads.__file__).parent.parent / "docs" / "performance.rst").read_text()
    assert "new" in filled(page, "new")


# --- the machine ----------------------------------------------------------------------------------------


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/x xfs rw 0 0\n"
    assert file_system(Path("/home/me"), mounts) == "ext4"
    assert file_system(Path("/tmp/y"), mounts) == "tmpfs"
    assert file_system(Path("/tmp/x/y"), mounts) == "xfs"
    assert file_system(Path("/tmpfile"), mounts) == "ext4"


def test_the_processor_is_named_as_the_kernel_does() -> None:
    assert processor("processor : 0\nmodel name\t: A Fast One\n") == "A Fast One"


def test_samples_are_summed_up_by_measure_contestant_and_figure() -> None:
    found = summaries(RUN)
    assert found["noop-strings", "ours", "tasks_per_s"].median == 1000.0
    assert found["sleep-1ms", "ours", "tasks_per_s"].rounds == 1
