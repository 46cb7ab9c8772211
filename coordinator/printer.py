"""Printer: NAME.success, NAME.error and NAME.results, printed from the journal for people and programs.

The Coordinator lets it step when it has nothing better to do, and finish at the end of the job. The files are
never read back as truth: whatever happens to them, they can be printed again. One line each::

    NAME.success    the ID of a task that is done
    NAME.error      the ID of a task that has failed for good
    NAME.results    the ID, a TAB, the value as JSON

An ID is plain text where that is unambiguous, else JSON (see ids.to_line). How far the printing has come is
noted in NAME.journal/printed.json, after the printed files are safe on disk; a Printer goes on from there. When
tasks are to be done again the files that name them are written anew, in the order of the stream.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from coordinator import frames
from coordinator.core import ids
from coordinator.core.records import Kind, Record
from coordinator.core.replay import State, fold
from coordinator.errors import JournalStalled
from coordinator.lines import Lines
from coordinator.printed import PrintedFile

SUCCESS, ERROR, RESULTS = "success", "error", "results"
_NAMES = (SUCCESS, ERROR, RESULTS)
_NOTE_BYTES = 32 << 20
#: who has which tasks is nothing that is printed
_UNPRINTED = frozenset((Kind.LEASE,))


class Printer:
    """Prints what the journal in ``directory`` says to ``base``.success, .error and .results."""

    def __init__(self, directory: str | os.PathLike[str], base: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)
        self.base = os.fspath(base)
        self._note = os.path.join(self.directory, "printed.json")
        self._files: dict[str, PrintedFile] = {}  # none: the next step begins from the note
        self._state = State()
        self._lines = Lines(self.directory, self._state.slices)
        self._segment, self._offset = 1, 0  # the next frame to print
        self._seal: tuple[int, int] | None = None  # a segment, and where it ends
        self._stale: set[str] = set()  # files to write anew
        self._rewriting: Iterator[str] | None = None
        self._noted_bytes = 0

    # --- turns --------------------------------------------------------------------------------------

    def step(self, max_records: int = 1000) -> bool:
        """Print what about ``max_records`` more records say, a thousand lines being as much work as one more; whether
        there is more to print.

        Raises JournalStalled on a full disk; the next step begins again from the note.
        """
        try:
            if not self._files:
                self._begin()
            more = self._step(max_records)
            for file in self._files.values():
                file.flush()
            if sum(file.size_bytes for file in self._files.values()) > self._noted_bytes + _NOTE_BYTES:
                self._save()
        except OSError as error:
            raise self._stalled(error) from error
        return more

    def finish(self) -> None:
        """Print all there is, and make it safe. Raises JournalStalled on a full disk; call it again then."""
        while self.step(1 << 20):
            pass
        try:
            self._save()
        except OSError as error:
            raise self._stalled(error) from error

    def close(self) -> None:
        """Let the files go; what was printed since the last note is printed again by the next Printer."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def _stalled(self, error: OSError) -> JournalStalled:
        self.close()
        which = error.filename or f"{self.base}.success, .error and .results"
        return JournalStalled(
            f"{which} cannot be written: {error.strerror or error}."
            " Nothing is lost: they are printed from the journal once there is room"
        )

    def _step(self, max_records: int) -> bool:
        if self._rewriting is not None:
            if next(self._rewriting, None) is None:
                self._rewriting = None
            return True
        if self._read(max_records):
            return True
        if self._stale:
            self._rewriting = self._rewrite()
            return True
        return False

    # --- reading the journal ------------------------------------------------------------------------

    def _begin(self) -> None:
        """Take up where the note says, or print all again."""
        self._rewriting, self._stale = None, set()
        note = self._load_note()
        self._segment, self._offset, self._state = 1, 0, State()
        sizes: dict[str, int] = {}
        if note is not None and self._fold_to(note["segment"], note["offset"]):
            sizes, self._stale = note["sizes"], set(note["stale"])
        else:
            found = frames.replay(self.directory)
            self._state = found.state
            if found.last:
                self._segment, self._offset = found.last, found.length
        self._lines, self._seal = Lines(self.directory, self._state.slices), None
        for name in _NAMES:
            file = self._files[name] = PrintedFile(f"{self.base}.{name}")
            if file.size_bytes >= sizes.get(name, 1 << 62):
                file.cut(sizes[name])
            else:
                self._stale.add(name)
        self._noted_bytes = sum(sizes.values())

    def _fold_to(self, segment: int, offset: int) -> bool:
        """Fold the journal up to there; False if it does not reach so far (any more)."""
        path = frames.segment_path(self.directory, segment)
        if not os.path.exists(path):
            return False
        state, at = State(), (0, 0)
        for one in frames.chain(self.directory, frames.base_of(self.directory, segment)):
            if one.number > segment:
                break
            at = (one.number, 0)
            for frame in frames.read_segment(one):
                if (one.number, frame.end) > (segment, offset):
                    break
                frames.fold_frame(state, frame, one.path)
                at = (one.number, frame.end)
        if at != (segment, offset):
            return False
        self._segment, self._offset, self._state = segment, offset, state
        return True

    def _read(self, max_records: int) -> bool:
        """Print from the next frames; False if there are no more."""
        state = self._state
        path = frames.segment_path(self.directory, self._segment)
        if not os.path.exists(path):
            return False
        seal = self._successor_seal()
        if seal is not None and seal < self._offset:
            # The disk failed to sync what was printed, and the journal wrote it again into the next file.
            with suppress(FileNotFoundError):
                os.unlink(self._note)
            self.close()
            self._begin()
            return True
        for frame in frames.read_segment(frames.Segment(self._segment, path, seal), self._offset):
            for record in frame.records(but=_UNPRINTED):
                before = state.done.total()
                self._print(record)
                max_records -= 1 + max(0, state.done.total() - before) // 1000
            self._offset = frame.end
            if max_records <= 0:
                return True
        if seal is None:
            return self._successor_seal() is not None
        self._segment, self._offset, self._seal = self._segment + 1, 0, None
        return True

    def _successor_seal(self) -> int | None:
        """Where the segment ends, if there is a next one."""
        if self._seal is None or self._seal[0] != self._segment:
            sealed = frames.seal_of(self.directory, self._segment)
            self._seal = None if sealed is None else (self._segment, sealed)
        return None if self._seal is None else self._seal[1]

    def _print(self, record: Record) -> None:
        state, header = self._state, record.header
        if record.kind == Kind.DONE:
            for a, b in header["r"]:
                for x, y in state.done.gaps(a, b):
                    for texts in self._lines.texts(x, y):
                        self._files[SUCCESS].put(ids.to_lines(texts))
                if state.failed.overlaps(a, b):
                    self._stale.add(ERROR)
        elif record.kind == Kind.FAILED:
            if header["final"] and header["pos"] not in state.failed:
                self._files[ERROR].put(ids.to_lines(self._lines.id_text(header["pos"])))
        elif record.kind == Kind.RESULTS:
            lines = []
            for line in str(record.text, "ascii").split("\n") if record.text else ():
                position, _, value = line.partition("\t")
                text = self._lines.id_text(int(position))
                lines.append(f"{ids.to_line(text)}\t{value}\n")
            self._files[RESULTS].put("".join(lines).encode())
        elif record.kind == Kind.REDO:
            if any(state.done.overlaps(a, b) for a, b in header["r"]):
                self._stale |= {SUCCESS, RESULTS}
            if any(state.failed.overlaps(a, b) for a, b in header["r"]):
                self._stale |= {ERROR, RESULTS}
        fold(state, record)
        if record.kind == Kind.SLICE and record.text:
            # Its tasks are done soon: what was just read, and found whole, need not be read again.
            self._lines.keep(len(state.slices) - 1, str(record.text, "ascii"))

    # --- writing anew -------------------------------------------------------------------------------

    def _rewrite(self) -> Iterator[str]:
        """Write each stale file anew beside the old one and put it in its place; yields so that a turn stays short."""
        for name in sorted(self._stale):
            path = f"{self.base}.{name}"
            new = PrintedFile(f"{path}.new")
            try:
                new.cut(0)
                for lines in self._contents(name):
                    new.put(lines)
                    yield name
                new.make_safe()
            except BaseException:
                new.close()
                raise
            # Until the next note, a crash leaves a file that the old note does not describe.
            with suppress(FileNotFoundError):
                os.unlink(self._note)
            os.rename(new.path, path)
            new.path = path
            self._files[name].close()
            self._files[name] = new
            self._stale.discard(name)
        self._save()

    def _contents(self, name: str) -> Iterator[bytes]:
        if name == RESULTS:
            from coordinator.history import result_lines  # when all is printed anew

            lines: list[str] = []
            for text, value in result_lines(self.directory, (self._segment, self._offset)):
                lines.append(f"{ids.to_line(text)}\t{value}\n")
                if len(lines) >= 1000:
                    yield "".join(lines).encode()
                    lines = []
            yield "".join(lines).encode()
            return
        for a, b in self._state.done if name == SUCCESS else self._state.failed:
            for texts in self._lines.texts(a, b):
                yield ids.to_lines(texts)

    # --- the note -----------------------------------------------------------------------------------

    def _load_note(self) -> dict[str, Any] | None:
        try:
            with open(self._note, encoding="utf-8") as file:
                note = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return note if isinstance(note, dict) and note.get("version") == 1 else None

    def _save(self) -> None:
        for file in self._files.values():
            file.make_safe()
        sizes = {name: file.size_bytes for name, file in self._files.items()}
        note = {
            "version": 1,
            "segment": self._segment,
            "offset": self._offset,
            "sizes": sizes,
            "stale": sorted(self._stale),
        }
        fd = os.open(f"{self._note}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8") as out:
            json.dump(note, out)
            out.flush()
            os.fsync(fd)
        os.rename(f"{self._note}.new", self._note)
        self._noted_bytes = sum(sizes.values())
