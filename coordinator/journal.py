"""The journal of a job: the one truth about its tasks, safe on disk before anything is acknowledged.

The Coordinator opens it at start (which recovers what an earlier life left), appends records in each turn and
commits them at once: one write, one sync. Everything else (NAME.success, a restart, ``coordinator errors``) is
read from it. See core/records.py for the records, frames.py for the files, history.py for people's reading.

::

    append(record)* -> commit(sync) -> [one frame] -> write -> fdatasync -> only now is anything acknowledged

A commit can be made in two halves, ``begin`` and ``end``, so that a thread waits for the disk while others append.

It never acknowledges after a failed sync: the records go to a new file first. It never writes where an earlier
life wrote: each life has files of its own. It is safe to kill at any instant, recovery included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from coordinator import frames
from coordinator.core.errorgroups import ErrorCount
from coordinator.core.records import Kind, Record
from coordinator.core.replay import Recovered, checkpoint, fold
from coordinator.core.slices import UNWRITTEN, SliceDigests
from coordinator.core.spans import Spans
from coordinator.disk import Disk, SegmentFile, cut, make_directory, sync_directory
from coordinator.errors import JournalStalled
from coordinator.lines import Lines


class _Waiting(NamedTuple):
    """A record on its way to the disk."""

    head: bytes
    text: bytes
    slice_number: int = -1  # of a SLICE whose text the index must find


class Journal:
    """Appends records and folds them; ``recovered`` is what it found when it was opened."""

    #: records after which a checkpoint is written, so that a restart reads not much more than this
    CHECKPOINT_BYTES = 64 << 20
    #: what is written and not synced is held in memory, since a failed sync may lose it; more is synced unasked
    UNSYNCED_BYTES = 512 << 10

    def __init__(self, directory: str, name: str, found: frames.Replayed, disk: Disk) -> None:
        self.directory = directory
        self.name = name
        self.recovered: Recovered = Recovered(found.state)
        #: called before each write; the Coordinator checks there that the run is still its own, and raises if not
        self.check: Callable[[], None] = lambda: None
        self._disk = disk
        self._state = found.state
        self._lines = Lines(directory, found.state.slices)
        #: the segment before the current one, and where it ends
        self._sealed: tuple[int, int] | None = (found.last, found.length) if found.last else None
        self._current: SegmentFile | None = None  # the first commit of a life begins one
        self._base = 1
        self._earlier_bytes = found.total_bytes
        self._checkpoint_at = self.CHECKPOINT_BYTES
        self._waiting: list[_Waiting] = []
        self._unsynced: list[_Waiting] = []
        self._unsynced_bytes = 0

    @classmethod
    def open(cls, directory: str | os.PathLike[str], name: str, disk: Disk | None = None) -> Journal:
        """Open or make ``directory`` (NAME.journal) and recover; raises JournalDamaged, JournalStalled."""
        directory, disk = os.fspath(directory), disk or Disk()
        try:
            make_directory(directory, disk)
            found = recover(directory, disk)
        except OSError as error:
            raise _stalled(directory, error) from error
        return cls(directory, name, found, disk)

    # --- writing ----------------------------------------------------------------------------------

    def append(self, kind: Kind, header: dict[str, Any], text: str = "") -> None:
        """Take in a record: it counts here at once, and is written by the next commit. ``text`` is ASCII."""
        if self._current is None and not self._waiting:
            self._waiting = self._opening(self._sealed, with_checkpoint=self._sealed is not None)
        encoded = text.encode("ascii")
        head = frames.record_head(kind, header, len(encoded))
        fold(self._state, Record(kind, header, encoded))
        if kind == Kind.SLICE and text:
            number = len(self._state.slices) - 1
            self._lines.pin(number, text)
            self._waiting.append(_Waiting(head, encoded, number))
        else:
            self._waiting.append(_Waiting(head, encoded))

    def commit(self, sync: bool) -> None:
        """Write what was appended, and make it and all before it safe if ``sync``.

        Raises JournalStalled with the reason if that fails. Nothing is lost then: the next commit tries again.
        """
        make_safe = self.begin(sync)
        if make_safe is not None:
            error = None
            try:
                make_safe()
            except OSError as failed:
                error = failed
            self.end(error)

    def begin(self, sync: bool) -> Callable[[], None] | None:
        """The first half of a commit: write. What makes it safe, where that is due, may be called in any thread; then
        ``end`` is, and no other commit between. Appending goes on meanwhile. Raises JournalStalled."""
        if self._waiting:
            self._write()
        due = self._unsynced and (sync or self._unsynced_bytes > self.UNSYNCED_BYTES)
        return self._current.make_safe if due and self._current is not None else None

    def end(self, error: OSError | None) -> None:
        """The second half: what was written is safe, or failed to be. Raises JournalStalled."""
        current = self._current
        assert current is not None
        if error is None:
            self._unsynced, self._unsynced_bytes = [], 0
            if current.length > self._checkpoint_at:
                if self._waiting:
                    self.commit(True)  # a checkpoint holds what was appended, so that nothing of it may come after
                else:
                    self._rotate(current)
            return
        # A sync that failed once may succeed the next time though the pages are gone: never ask this file again.
        was_new = not current.synced
        self._leave(current)
        if was_new:
            raise _stalled(self.directory, error) from error
        self.commit(True)

    def close(self) -> None:
        """Make safe what was appended, and close. Raises JournalStalled if that fails, and is closed all the same."""
        try:
            self.commit(sync=True)
        finally:
            if self._current is not None:
                self._current.close()
                self._sealed = (self._current.number, self._current.length)
                self._earlier_bytes += self._current.length
                self._current = None

    def _opening(self, sealed: tuple[int, int] | None, *, with_checkpoint: bool) -> list[_Waiting]:
        """What a new segment begins with: what it is, where the one before ends, and the state so far if asked."""
        number = sealed[0] + 1 if sealed else 1
        if with_checkpoint:
            self._base = number
        header = {"segment": number, "name": self.name, "base": self._base, "sealed": sealed}
        opening = [_Waiting(frames.record_head(Kind.SEGMENT, header, 0), b"")]
        if with_checkpoint:
            state, text = checkpoint(self._state)
            encoded = text.encode("ascii")
            opening.append(_Waiting(frames.record_head(Kind.CHECKPOINT, state, len(encoded)), encoded))
            self._checkpoint_at = max(self.CHECKPOINT_BYTES, 8 * len(encoded))
        return opening

    def _write(self) -> None:
        self.check()
        try:
            current = self._current or self._new_file(self._sealed)
        except OSError as error:
            raise _stalled(self.directory, error) from error
        self._current = current
        frame = _frame(self._waiting, current.synced)
        try:
            current.append(frame)
        except OSError as error:
            if current.torn or not current.length:
                self._leave(current)
            raise _stalled(self.directory, error) from error
        at = current.length - len(frame) + frames.FRAME.size
        for record in self._waiting:
            at += len(record.head)
            if record.slice_number >= 0:
                self._state.slices.place(record.slice_number, current.number, at)
                self._lines.unpin(record.slice_number)
            at += len(record.text)
        self._unsynced += self._waiting
        self._unsynced_bytes += len(frame)
        self._waiting = []

    def _leave(self, current: SegmentFile) -> None:
        """Give up the current segment: all that is not safe waits again, for the next one, which seals this one."""
        for record in self._unsynced:
            if record.slice_number >= 0:
                self._state.slices.place(record.slice_number, 0, UNWRITTEN)
                self._lines.pin(record.slice_number, record.text.decode("ascii"))
        self._waiting[:0] = self._unsynced
        self._unsynced, self._unsynced_bytes, self._current = [], 0, None
        if current.synced:
            current.close()
            self._sealed = (current.number, current.synced)
            self._earlier_bytes += current.synced
            self._waiting[:0] = self._opening(self._sealed, with_checkpoint=False)
        else:
            current.discard()  # what it began with waits again, so the next one takes its number

    def _rotate(self, current: SegmentFile) -> None:
        """Begin a segment with a checkpoint. All is safe and nothing waits, so a failure only puts it off."""
        base, sealed = self._base, (current.number, current.length)
        opening = self._opening(sealed, with_checkpoint=True)
        self.check()
        new = None
        try:
            new = self._new_file(sealed)
            new.append(_frame(opening, 0))
            new.make_safe()
        except OSError:
            if new is not None:
                new.discard()
            self._base = base
            self._checkpoint_at = current.length + self.CHECKPOINT_BYTES // 8
            return
        current.close()
        self._current, self._sealed = new, sealed
        self._earlier_bytes += current.length

    def _new_file(self, sealed: tuple[int, int] | None) -> SegmentFile:
        number = sealed[0] + 1 if sealed else 1
        return SegmentFile(number, frames.segment_path(self.directory, number), self._disk)

    # --- reading ----------------------------------------------------------------------------------

    def lines(self, a: int, b: int) -> list[str]:
        """The canonical texts of the IDs at positions ``a`` to ``b`` (exclusive), those just appended included."""
        return self._lines.lines(a, b)

    def texts(self, a: int, b: int) -> Iterator[str]:
        """The same, joined by newlines, a slice at a time."""
        return self._lines.texts(a, b)

    def id_text(self, position: int) -> str:
        """The canonical text of one ID."""
        return self._lines.id_text(position)

    def edges(self, position: int) -> tuple[int, int]:
        """Where the slice that holds ``position`` begins and ends; beyond the last one: its end, twice."""
        slices = self._state.slices
        return slices.range(slices.find(position)) if position < slices.count else (slices.count, slices.count)

    def integers(self, a: int, b: int) -> int | None:
        """The first of the IDs at ``a`` to ``b`` if they are known to be consecutive integers; reads nothing."""
        return self._lines.integers(a, b)

    def errors(self) -> list[ErrorCount]:
        """Failures for good, grouped."""
        return list(self._state.errors.values())

    def settled(self) -> tuple[Spans, Spans]:
        """The positions that are DONE and those that are FAILED; not to be changed."""
        return self._state.done, self._state.failed

    def digests(self) -> list[tuple[int, str]]:
        """(number of IDs, digest) of each slice of the stream, in order."""
        return list(SliceDigests(self._state.slices))

    @property
    def count(self) -> int:
        """Tasks of the stream that are known."""
        return self._state.slices.count

    @property
    def size_bytes(self) -> int:
        return self._earlier_bytes + (self._current.length if self._current is not None else 0)


def recover(directory: str, disk: Disk) -> frames.Replayed:
    """Read the journal and cut what a crash left behind its whole frames; may be killed and begun again anywhere."""
    found = frames.replay(directory)  # a damaged journal is left as it is
    just_made = [number for number in frames.segment_numbers(directory) if number > found.last]
    for number in reversed(just_made):
        os.unlink(frames.segment_path(directory, number))
    if just_made:
        sync_directory(directory, disk)
    if found.last:
        cut(frames.segment_path(directory, found.last), found.length, disk)
    return found


def _frame(records: list[_Waiting], synced: int) -> bytes:
    parts = [part for record in records for part in (record.head, record.text) if part]
    return b"".join([frames.frame_head(parts, synced), *parts])


def _stalled(directory: str, error: OSError) -> JournalStalled:
    return JournalStalled(
        f"the journal in {directory} cannot be written: {error.strerror or error}. Nothing is lost, and nothing is"
        " acknowledged until it can be written again: see to the disk (space, quota, permissions)"
    )
