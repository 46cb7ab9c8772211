"""journal.py: what is committed is found again, and nothing else is; whatever happens to the files' ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator import frames, history
from coordinator.core import ids
from coordinator.core.records import Kind
from coordinator.core.replay import Recovered
from coordinator.errors import JournalDamaged, JournalStalled, NoSuchJob
from coordinator.journal import Journal, _Waiting, recover
from coordinator.lines import MAX_SLICES

from . import journals
from .journals import add_slice, as_dict, begin, done, fail, lease, redo, result, small_job


def journal_in(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "job.journal", "job")


def only_segment(tmp_path: Path) -> Path:
    (segment,) = (tmp_path / "job.journal").glob("*.seg")
    return segment


def states_by_frame(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Where each frame of a journal of one segment ends, and the state up to there, by a fold of its own."""
    state = frames.State()
    found = [(0, as_dict(Recovered(state)))]
    for frame in frames.read_segment(frames.Segment(1, str(path))):
        frames.fold_frame(state, frame, str(path))
        found.append((frame.end, as_dict(Recovered(state))))
    return found


# --- what is written is found again ------------------------------------------------------------------


def test_a_new_journal_is_private_and_empty(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    assert journal.recovered.run is None
    assert journal.size_bytes == 0
    begin(journal)
    journal.close()
    assert stat.S_IMODE((tmp_path / "job.journal").stat().st_mode) == 0o700
    assert stat.S_IMODE(only_segment(tmp_path).stat().st_mode) == 0o600
    assert journal.size_bytes == only_segment(tmp_path).stat().st_size


def test_what_was_committed_is_found_by_the_next_life(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    small_job(journal)
    journal.close()
    found = journal_in(tmp_path).recovered
    assert (found.run, found.life, found.count, found.nresults) == ("r1", 1, 300, 30)
    assert found.done.total() == 180
    assert found.failed.total() == 30
    assert found.attempts == {at * 10 + 8: 1 for at in range(30)}
    assert found.leases[0] == (0, 1, 6, 7)
    assert found.errors[0].count == 30


def test_what_was_appended_and_not_committed_is_not_there(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    done(journal, 1, (0, 5))
    assert not history.read(tmp_path / "job").done


def test_each_life_writes_a_file_of_its_own_that_begins_with_a_checkpoint(tmp_path: Path) -> None:
    for life in (1, 2, 3):
        journal = journal_in(tmp_path)
        assert journal.recovered.life == life - 1
        before = {path: path.read_bytes() for path in (tmp_path / "job.journal").glob("*.seg")}
        begin(journal, life)
        small_job(journal, 5, first=life * 100)
        journal.close()
        assert all(path.read_bytes() == content for path, content in before.items())
    directory = str(tmp_path / "job.journal")
    assert [segment.number for segment in frames.chain(directory)] == [3]
    assert [segment.number for segment in frames.chain(directory, base=1)] == [1, 2, 3]
    assert frames.base_of(directory, 2) == 2
    assert journal_in(tmp_path).recovered.count == 150


def test_opening_without_writing_changes_nothing(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    journal.close()
    content = only_segment(tmp_path).read_bytes()
    for _ in range(3):
        journal_in(tmp_path).close()
    assert only_segment(tmp_path).read_bytes() == content


def test_a_checkpoint_begins_a_new_file_and_keeps_replay_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "CHECKPOINT_BYTES", 5000)
    journal = journal_in(tmp_path)
    begin(journal)
    small_job(journal, 100)
    live = as_dict(Recovered(journal._state))
    journal.close()
    directory = str(tmp_path / "job.journal")
    assert len(frames.segment_numbers(directory)) > 3
    assert len(frames.chain(directory)) == 1
    assert as_dict(journal_in(tmp_path).recovered) == live
    assert journal_in(tmp_path).lines(0, 1000) == [ids.encode(f"task {at} of the job") for at in range(1000)]
    assert journal.size_bytes == sum(path.stat().st_size for path in Path(directory).glob("*.seg"))


@pytest.mark.parametrize("kind", ["strings", "integers", "mixed"])
def test_the_ids_of_any_positions_are_read_back(tmp_path: Path, kind: str) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    texts: list[str] = []
    for number in range(40):
        values: list[Any] = [f"{number}.{at}" for at in range(7)]
        if kind == "integers" or (kind == "mixed" and number % 3 == 0):
            values = list(range(len(texts), len(texts) + 7))
        texts += add_slice(journal, len(texts), values)
        assert journal.lines(len(texts) - 9 if number > 1 else 0, len(texts)) == texts[-9 if number > 1 else 0 :]
        if number % 4 == 3:
            journal.commit(sync=False)
    for again in (journal, None):
        if again is None:
            journal.close()
            again = journal_in(tmp_path)
        for a, b in ((0, len(texts)), (3, 4), (6, 8), (13, 200), (5, 5), (270, 280)):
            assert again.lines(a, b) == texts[a:b]
        assert len(again._lines._kept) <= MAX_SLICES
        with pytest.raises(IndexError):
            again.lines(275, 281)
        assert again.integers(2, 5) == (2 if kind != "strings" else None)
        assert again.integers(2, 30) == (2 if kind == "integers" else None)
        assert again.integers(5, 5) is None


def test_integers_that_jump_between_slices_are_not_consecutive(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    add_slice(journal, 0, [5, 6, 7])
    add_slice(journal, 3, [9, 10])
    assert journal.integers(0, 3) == 5
    assert journal.integers(1, 4) is None
    assert journal.lines(0, 5) == ["5", "6", "7", "9", "10"]


def test_text_that_is_not_ascii_is_a_mistake_of_ours(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    with pytest.raises(UnicodeEncodeError):
        journal.append(Kind.RESULTS, {"n": 1}, "0\té")


@given(
    st.integers(0, 2**63),
    st.lists(
        st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)) | st.lists(st.integers(0, 9), min_size=2, max_size=2)
    ),
)
def test_the_headers_that_are_written_by_hand_are_the_json_of_all_others(number: int, ranges: list[Any]) -> None:
    lease = {"n": number, "p": 7, "a": number + 1, "b": number + 2}
    for kind, header in ((Kind.LEASE, lease), (Kind.DONE, {"n": number, "r": ranges, "p": 7})):
        written = frames.record_head(kind, header, 3)
        expected = json.dumps(header, separators=(",", ":")).encode()
        assert written == frames.RECORD.pack(kind, len(expected), 3) + expected


def test_the_run_is_checked_before_each_write(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)

    def taken() -> None:
        raise JournalStalled("taken over")

    journal.check = taken
    size = only_segment(tmp_path).stat().st_size
    done(journal, 1, (0, 5))
    with pytest.raises(JournalStalled, match="taken over"):
        journal.commit(sync=True)
    assert only_segment(tmp_path).stat().st_size == size


def test_what_an_earlier_life_still_writes_after_its_end_does_not_count(tmp_path: Path) -> None:
    zombie = journal_in(tmp_path)
    begin(zombie)
    add_slice(zombie, 0, ["a", "b"])
    zombie.commit(sync=True)
    successor = journal_in(tmp_path)
    begin(successor, 2)
    done(zombie, 1, (0, 2))
    result(zombie, 1, (0, "late"))
    zombie.commit(sync=True)
    done(successor, 2, (0, 1))
    successor.commit(sync=True)
    assert journal_in(tmp_path).recovered.done.total() == 1
    assert list(history.results(tmp_path / "job")) == []


# --- torn tails and damaged middles --------------------------------------------------------------------


@pytest.mark.slow
def test_cut_at_every_byte_the_state_is_that_of_the_whole_frames_before(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    small_job(journal, 8)
    path = only_segment(tmp_path)
    content, states = path.read_bytes(), states_by_frame(path)
    assert len(content) > 4500
    directory = str(path.parent)
    for size in range(len(content), len(content) - 4500, -1):
        path.write_bytes(content[:size])
        expected_end, expected = max((pair for pair in states if pair[0] <= size), key=lambda pair: pair[0])
        assert as_dict(Recovered(recover(directory, journals.NoSync()).state)) == expected
        assert path.stat().st_size == expected_end
        if size % 10 == 0:
            assert as_dict(Recovered(recover(directory, journals.NoSync()).state)) == expected, "a second time"


def test_a_file_that_a_crash_left_just_made_is_taken_away(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    journal.close()
    first = only_segment(tmp_path)
    for rest in (b"", frames.MAGIC, b"\0" * 500):
        first.with_name("000002.seg").write_bytes(rest)
        assert history.read(tmp_path / "job").life == 1, "who only reads takes nothing away"
        assert len(list(first.parent.glob("*.seg"))) == 2
        again = journal_in(tmp_path)
        assert again.recovered.life == 1
        assert only_segment(tmp_path) == first
    begin(again, 2)
    again.close()
    assert journal_in(tmp_path).recovered.life == 2


def test_a_torn_tail_is_cut_before_the_next_append(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    done(journal, 1, (0, 5))
    journal.close()
    path = only_segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    again = journal_in(tmp_path)
    size = path.stat().st_size
    begin(again, 2)
    again.close()
    assert path.stat().st_size == size
    found = journal_in(tmp_path).recovered
    assert (found.life, found.done.total()) == (2, 0)


@pytest.mark.slow
def test_a_bit_that_flips_in_what_was_safe_is_reported_and_in_the_tail_is_cut(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    small_job(journal, 12)
    path = only_segment(tmp_path)
    content, states = path.read_bytes(), states_by_frame(path)
    last = list(frames.read_segment(frames.Segment(1, str(path))))[-1]
    flips = random.Random(7)
    reported = cut = 0
    for _ in range(1500):
        at = flips.randrange(len(content))
        flipped = bytearray(content)
        flipped[at] ^= 1 << flips.randrange(8)
        path.write_bytes(flipped)
        if at < last.synced:
            with pytest.raises(JournalDamaged, match=r"damaged at byte \d+"):
                recover(str(path.parent), journals.NoSync())
            assert path.read_bytes() == bytes(flipped), "a damaged journal is left as it is"
            reported += 1
        else:
            found = as_dict(Recovered(recover(str(path.parent), journals.NoSync()).state))
            assert found in [state for _, state in states]
            cut += 1
    assert reported > 100
    assert cut > 10


def test_a_bit_that_flips_in_an_earlier_file_is_reported_where_it_is_read(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    small_job(journal, 3)
    journal.close()
    first = only_segment(tmp_path)
    again = journal_in(tmp_path)
    begin(again, 2)
    again.close()
    content = first.read_bytes()
    for at in range(0, len(content), 17):
        flipped = bytearray(content)
        flipped[at] ^= 4
        first.write_bytes(flipped)
        with pytest.raises(JournalDamaged):
            list(history.failures(tmp_path / "job"))
        found = journal_in(tmp_path)  # reads from the checkpoint on, which knows all that it needs
        assert found.recovered.done.total() == 18
        try:
            lines = found.lines(0, 30)
        except JournalDamaged:
            continue
        assert lines == [ids.encode(f"task {at} of the job") for at in range(30)]


def test_a_missing_or_shortened_earlier_file_is_reported(tmp_path: Path) -> None:
    for life in (1, 2):
        journal = journal_in(tmp_path)
        begin(journal, life)
        small_job(journal, 2, first=life * 10)
        journal.close()
    first = tmp_path / "job.journal" / "000001.seg"
    os.truncate(first, first.stat().st_size - 1)
    with pytest.raises(JournalDamaged, match="whole up to byte"):
        list(history.results(tmp_path / "job"))
    first.unlink()
    with pytest.raises(JournalDamaged, match="missing"):
        list(history.results(tmp_path / "job"))


def test_records_of_another_version_are_not_guessed_at(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    journal._waiting.append(_Waiting(frames.record_head(99, {}, 0), b""))
    journal.commit(sync=True)
    with pytest.raises(JournalDamaged, match="another version"):
        journal_in(tmp_path)


STEPS = st.lists(st.sampled_from(["commit", "sync", "overlap", "life", "tear"]), max_size=12)


@settings(max_examples=60)
@given(STEPS, st.integers(0, 200), st.sampled_from([300, 1 << 20]), st.randoms())
def test_whatever_the_order_a_life_goes_on_from_whole_commits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], torn: int, checkpoint_bytes: int, chance: random.Random
) -> None:
    tmp_path = tmp_path_factory.mktemp("journal")
    journal, life = journal_in(tmp_path), 1
    begin(journal)
    states = [as_dict(Recovered(journal._state))]
    number = safe = 0

    def more() -> None:
        nonlocal number
        count = journal._state.slices.count
        add_slice(journal, count, [f"{count + at}" for at in range(3)])
        lease(journal, number, count, count + 3)
        done(journal, number, (count, count + chance.randint(1, 3)))
        number += 1

    for step in steps:
        journal._checkpoint_at = min(journal._checkpoint_at, checkpoint_bytes)
        if step in ("commit", "sync"):
            more()
            journal.commit(sync=step == "sync")
            states.append(as_dict(Recovered(journal._state)))
            safe = len(states) - 1 if step == "sync" else safe
        elif step == "overlap":  # while one is made safe the next is appended
            more()
            make_safe = journal.begin(sync=True)
            states.append(as_dict(Recovered(journal._state)))
            more()
            assert make_safe is not None
            make_safe()
            journal.end(None)
            safe = len(states) - 1
            journal.commit(sync=False)
            states.append(as_dict(Recovered(journal._state)))
        else:
            last = max((tmp_path / "job.journal").glob("*.seg"))
            if step == "tear":
                keep = journal._current.synced if journal._current is not None else last.stat().st_size
                os.truncate(last, max(keep, last.stat().st_size - torn))
            journal = journal_in(tmp_path)
            found = as_dict(journal.recovered)
            assert found in states[safe:]
            del states[states.index(found) + 1 :]
            life += 1
            begin(journal, life)
            states.append(as_dict(Recovered(journal._state)))
            safe = len(states) - 1
    journal.commit(sync=True)
    assert as_dict(journal_in(tmp_path).recovered) == as_dict(Recovered(journal._state))
    shutil.rmtree(tmp_path)


# --- reading for people ---------------------------------------------------------------------------------


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """A job of two lives: some tasks failed, were done again, and gave new results."""
    journal = journal_in(tmp_path)
    begin(journal)
    add_slice(journal, 0, ["zero", ("one", 1), b"two", {"three": 3}, "four"])
    add_slice(journal, 5, list(range(100, 105)))
    result(journal, 1, (0, "first"), (1, "kept"), (0, "first more"))
    done(journal, 1, (0, 2))
    fail(journal, 1, 2, final=False)
    fail(journal, 1, 2, attempt=2)
    fail(journal, 1, 3, kind="KeyError", message="'x'", where="")
    fail(journal, 1, 4)
    journal.commit(sync=True)
    journal.close()
    journal = journal_in(tmp_path)
    begin(journal, 2)
    redo(journal, (0, 1), (2, 5))
    result(journal, 2, (0, "second"))
    done(journal, 2, (0, 1), (4, 5), (6, 7))
    fail(journal, 2, 3, kind="KeyError", message="'y'", where="", attempt=2)
    fail(journal, 3, 8)
    journal.commit(sync=True)
    journal.close()
    return tmp_path / "job"


def test_results_of_a_task_done_again_are_the_new_ones_only(past: Path) -> None:
    assert list(history.results(past)) == [(("one", 1), "kept"), ("zero", "second")]
    assert list(history.results(f"{past}.journal")) == list(history.results(past))


def test_what_succeeded_is_listed_in_the_order_of_the_stream(past: Path) -> None:
    assert list(history.succeeded(past)) == ["zero", ("one", 1), "four", 101]


def test_failures_are_those_that_still_stand(past: Path) -> None:
    found = list(history.failures(past))
    assert [(failure.id, failure.attempt, failure.message) for failure in found] == [
        ({"three": 3}, 2, "'y'"),
        (103, 1, "bad 8"),
    ]
    one = found[1]
    assert (one.position, one.kind, one.where, one.host, one.pid, one.at) == (
        8,
        "ValueError",
        "job.py:3 in f",
        "h",
        9,
        5.0,
    )
    assert one.traceback == "Traceback 8"


def test_the_history_lists_each_failed_attempt(past: Path) -> None:
    found = [(failure.position, failure.attempt, failure.final) for failure in history.failures(past, history=True)]
    assert found == [(2, 1, False), (2, 2, True), (3, 1, True), (4, 1, True), (3, 2, True), (8, 1, True)]


def test_a_task_that_failed_again_without_a_redo_is_listed_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    add_slice(journal, 0, ["a"])
    fail(journal, 1, 0, message="old")
    fail(journal, 2, 0, message="new")
    journal.commit(sync=True)
    assert [failure.message for failure in history.failures(tmp_path / "job")] == ["new"]


def test_failures_are_grouped_by_what_failed(past: Path) -> None:
    groups = history.group_errors(history.failures(past, history=True))
    assert [(group.kind, group.where, group.count) for group in groups] == [
        ("ValueError", "job.py:3 in f", 4),
        ("KeyError", "", 1),
        ("KeyError", "", 1),
    ]
    assert groups[0].first_ids == [b"two", b"two", "four"]
    assert groups[0].traceback == "Traceback 2"
    assert history.group_errors([]) == []


def test_people_can_read_while_the_job_writes(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    add_slice(journal, 0, ["a", "b", "c"])
    result(journal, 1, (0, 1))
    journal.commit(sync=False)
    reading = history.results(tmp_path / "job")
    assert next(reading) == ("a", 1)
    result(journal, 1, (1, 2))
    journal.commit(sync=True)
    assert list(reading) == [], "up to where the journal was when the reading began"
    assert len(list(history.results(tmp_path / "job"))) == 2


def test_a_frame_that_is_just_being_written_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = journal_in(tmp_path)
    begin(journal)
    path = only_segment(tmp_path)
    half = path.stat().st_size + 10
    done(journal, 1, (0, 5))
    journal.commit(sync=True)
    done(journal, 1, (5, 6))
    journal.commit(sync=True)
    content = path.read_bytes()
    path.write_bytes(content[:half])
    scan = frames._synced_after

    def the_writer_goes_on(*args: Any) -> int:
        path.write_bytes(content)
        return scan(*args)

    monkeypatch.setattr(frames, "_synced_after", the_writer_goes_on)
    assert history.read(tmp_path / "job").done.total() == 6


def test_a_job_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchJob, match="nothing"):
        list(history.results(tmp_path / "nothing"))
    with pytest.raises(NoSuchJob):
        history.find(tmp_path)
    (tmp_path / "empty.journal").mkdir()
    assert list(history.results(tmp_path / "empty")) == []
    assert history.read(tmp_path / "empty").run is None
