"""The files of a journal: NAME.journal/000001.seg, 000002.seg, ...; how they are framed, and how they are read.

::

    segment = frame*            frame = magic, checksum, length, synced | payload          (one group commit)
    payload = record*           record = kind, bytes of header, bytes of text | header (JSON) | text        all ASCII

A frame counts whole or not at all. ``synced`` says how many bytes of the segment were safe on disk before the
frame was written, so a bad frame tells what it is: nobody vouches for it, then it is a tail that a crash tore,
and the segment ends before it; a later frame or segment vouches for it, then the disk lost what it had
promised, and that is a JournalDamaged. Each segment but the last ends where its successor's first record says
(``sealed``). A segment may begin with a checkpoint; reading begins at the ``base`` that the last one names.

The Coordinator's journal writes and recovers by this, and people's reading (results, failures, printed files)
goes through it. Nothing here writes.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from coordinator.core.records import Kind, Record
from coordinator.core.replay import State, fold
from coordinator.errors import JournalDamaged

#: not ASCII, so it cannot stand inside a payload
MAGIC = b"\xc7JF1"
FRAME = struct.Struct("<4sIIQ")
RECORD = struct.Struct("<BII")
_VOUCHED = struct.Struct("<IQ")
_SCAN_BYTES = 1 << 20

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_from_json = json.JSONDecoder().decode


def record_head(kind: int, header: dict[str, Any], text_bytes: int) -> bytes:
    """A record up to its text."""
    # The two of every exchange are written by hand, in a third of the time.
    if kind == Kind.LEASE:
        written = f'{{"n":{header["n"]},"p":{header["p"]},"a":{header["a"]},"b":{header["b"]}}}'
    elif kind == Kind.DONE:
        ranges = ",".join([f"[{a},{b}]" for a, b in header["r"]])
        written = f'{{"n":{header["n"]},"r":[{ranges}],"p":{header["p"]}}}'
    else:
        written = _to_json(header)
    encoded = written.encode("ascii")
    return RECORD.pack(kind, len(encoded), text_bytes) + encoded


def frame_head(parts: Sequence[bytes], synced: int) -> bytes:
    """The head of a frame whose payload is ``parts``."""
    length = sum(map(len, parts))
    checksum = zlib.crc32(_VOUCHED.pack(length, synced))
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return FRAME.pack(MAGIC, checksum, length, synced)


class Frame(NamedTuple):
    """A whole frame, read and checked."""

    segment: int
    offset: int
    end: int
    synced: int
    payload: memoryview

    def records(self, but: Collection[int] = ()) -> Iterator[Record]:
        """All, but those of the kinds that nobody asks for."""
        payload, at, base = self.payload, 0, self.offset + FRAME.size
        while at < len(payload):
            kind, header_bytes, text_bytes = RECORD.unpack_from(payload, at)
            at += RECORD.size
            if kind in but:
                at += header_bytes + text_bytes
                continue
            header = _from_json(str(payload[at : at + header_bytes], "ascii"))
            at += header_bytes
            yield Record(kind, header, payload[at : at + text_bytes], self.segment, base + at)
            at += text_bytes


# --- one segment ----------------------------------------------------------------------------------


class Segment(NamedTuple):
    """A file of the journal. ``sealed``: where it ends if a successor says so."""

    number: int
    path: str
    sealed: int | None = None


def read_segment(segment: Segment, start: int = 0) -> Iterator[Frame]:
    """The whole frames from ``start``; ends before a torn tail, raises JournalDamaged where what was safe is bad."""
    at = start
    again = True
    while again:
        again = False
        with open(segment.path, "rb", buffering=1 << 18) as file:
            file.seek(at)
            while segment.sealed is None or at < segment.sealed:
                frame = _frame_at(file, segment.number, at)
                if frame is None:
                    break
                yield frame
                at = frame.end
        if segment.sealed is None:
            again = _vouched_for(segment, at)
        elif at != segment.sealed:
            raise damaged(segment.path, at, f"the next file says that it is whole up to byte {segment.sealed}")


def _vouched_for(segment: Segment, bad: int) -> bool:
    """Whether reading can go on at ``bad`` after all, where there was no whole frame a moment ago.

    If a whole frame after it says that it was safe, then either the Coordinator was just writing it and it is
    whole now, or it is damaged.
    """
    with open(segment.path, "rb", buffering=0) as raw:
        synced = _synced_after(raw, segment.number, bad)
        if synced <= bad:
            return False
        raw.seek(bad)
        if _frame_at(raw, segment.number, bad) is None:
            raise damaged(segment.path, bad, f"a later record says that it is whole up to byte {synced}")
    return True


def _frame_at(file: BinaryIO, number: int, at: int) -> Frame | None:
    """The frame that begins where ``file`` stands; None if there is no whole one."""
    head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    magic, checksum, length, synced = FRAME.unpack(head)
    if magic != MAGIC or at + FRAME.size + length > os.fstat(file.fileno()).st_size:
        return None
    payload = file.read(length)
    if len(payload) < length or zlib.crc32(payload, zlib.crc32(head[8:])) != checksum:
        return None
    return Frame(number, at, at + FRAME.size + length, synced, memoryview(payload))


def _synced_after(file: BinaryIO, number: int, bad: int) -> int:
    """What the first whole frame after ``bad`` that vouches for it says was safe; 0 if none does."""
    at = bad + 1
    while True:
        file.seek(at)
        window = file.read(_SCAN_BYTES)
        found = window.find(MAGIC)
        if found < 0:
            if len(window) < _SCAN_BYTES:
                return 0
            at += len(window) - len(MAGIC) + 1
            continue
        at += found
        file.seek(at)
        frame = _frame_at(file, number, at)
        if frame is not None and frame.synced > bad:
            return frame.synced
        at += 1


def damaged(path: str, offset: int, why: str) -> JournalDamaged:
    return JournalDamaged(
        f"{path} is damaged at byte {offset}: {why}, and its checksum is wrong. The disk or something that wrote to"
        " the file did this. Put the file back from a backup, or move the whole .journal directory away to begin again;"
        " what was printed to .success and .results stays"
    )


# --- the chain of segments --------------------------------------------------------------------------


def segment_path(directory: str, number: int) -> str:
    return os.path.join(directory, f"{number:06d}.seg")


def segment_numbers(directory: str) -> list[int]:
    """The numbers of the files that are there, in order."""
    names = [name[:-4] for name in os.listdir(directory) if name.endswith(".seg")]
    return sorted(int(name) for name in names if name.isdigit())


def opening(segment: Segment) -> Frame | None:
    """The first frame of a segment; None if it is not whole, as in a file that a crash left just made."""
    return next(read_segment(segment), None)


def chain(directory: str, base: int | None = None) -> list[Segment]:
    """The segments to read, in order: from the newest checkpoint on, or from ``base`` (1: everything)."""
    numbers = segment_numbers(directory)
    while numbers:
        last = Segment(numbers[-1], segment_path(directory, numbers[-1]))
        head = _segment_header(last)
        if head is not None:
            break
        numbers.pop()  # its first frame is torn: nothing was ever in it
    else:
        return []
    found = [last]
    until = head["base"] if base is None else base
    while found[0].number > until:
        sealed = head["sealed"]
        if sealed is None or sealed[0] not in numbers:
            missing = segment_path(directory, found[0].number - 1)
            raise JournalDamaged(
                f"{missing} is missing, and {found[0].path} goes on from it. Put it back from a backup,"
                " or move the whole .journal directory away to begin again"
            )
        found.insert(0, Segment(sealed[0], segment_path(directory, sealed[0]), sealed[1]))
        if found[0].number > until:
            head = _segment_header(found[0])
            if head is None:
                raise damaged(found[0].path, 0, "a later file goes on from it")
    return found


def _segment_header(segment: Segment) -> dict[str, Any] | None:
    frame = opening(segment)
    if frame is None:
        return None
    first = next(frame.records())
    if first.kind != Kind.SEGMENT:
        raise damaged(segment.path, 0, "it does not begin as a file of a journal does")
    return first.header


def base_of(directory: str, number: int) -> int:
    """The newest segment up to ``number`` at which reading can begin."""
    head = _segment_header(Segment(number, segment_path(directory, number)))
    return 1 if head is None else int(head["base"])


def seal_of(directory: str, number: int) -> int | None:
    """Where segment ``number`` ends by what its successor says; None if there is no successor yet."""
    path = segment_path(directory, number + 1)
    head = _segment_header(Segment(number + 1, path)) if os.path.exists(path) else None
    return None if head is None else int(head["sealed"][1])


def fold_frame(state: State, frame: Frame, path: str) -> None:
    """Fold a frame's records; a record that is whole and makes no sense is a JournalDamaged too."""
    try:
        for record in frame.records():
            fold(state, record)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, struct.error, zlib.error) as error:
        raise JournalDamaged(
            f"{path}: the records at byte {frame.offset} are whole but cannot follow what is before them"
            f" ({type(error).__name__}: {error}). Were they written by another version of coordinator?"
        ) from error


class Replayed(NamedTuple):
    """What a journal holds: the state, its last segment (0: none) and where that ends, and the size of all."""

    state: State
    last: int
    length: int
    total_bytes: int


def replay(directory: str) -> Replayed:
    """Read what is there, from the newest checkpoint on."""
    state, last, length = State(), 0, 0
    for segment in chain(directory):
        last, length = segment.number, 0
        for frame in read_segment(segment):
            fold_frame(state, frame, segment.path)
            length = frame.end
    earlier = [os.path.getsize(segment_path(directory, one)) for one in segment_numbers(directory) if one < last]
    return Replayed(state, last, length, sum(earlier) + length)
