"""What the structure of a video file says of it, which OpenCV does not pass on.

Whether the file is as long as it says: counts of frames and durations are estimates where the rate
varies or a clip was trimmed, so they cannot tell. And how players turn its picture: OpenCV takes a
mirrored picture for a turned one.

Boxes of MP4 and MOV: ISO/IEC 14496-12, sections 4.2 and 8.3.2. Matroska and WebM: RFC 8794 and
9559. AVI: Microsoft's RIFF reference, with OpenDML's further parts. Of a file only the heads of its
parts are read.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
#: First boxes by which files of the MP4 family are known.
_FIRST_BOXES: Final = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
#: Boxes that hold boxes, on the way to a track's matrix.
_PARENTS: Final = {b"moov", b"trak", b"mdia"}
#: A file of more boxes is not searched further.
_MOST_BOXES: Final = 10_000
#: A copy that was broken off may have its full length; what did not come is zero.
_TAIL_BYTES: Final = 4096
#: Of the tracks' matrices (a, b, c, d), the EXIF orientation that shows the same picture.
_ORIENTATIONS: Final = {
    (1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5, (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8,
}  # fmt: skip


class Box(NamedTuple):
    """A part of a file, from ``start`` to ``end`` in bytes, without its head."""

    kind: bytes
    start: int
    end: int


def holds_its_end(path: Path) -> bool | None:
    """Whether a video file is as long as its structure says; None where that says nothing.

    A stream that was recorded live has no length, and so none to fall short of.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        announced: int | None
        if head[:4] == _EBML:
            announced = _end_of_segment(file)
        elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            announced = _end_of_riff(file, length)
        elif head[4:8] in _FIRST_BOXES:
            announced = max((box.end for box in _boxes(file, 0, length)), default=0)
        else:
            return None
        if announced is None:
            return None
        file.seek(max(length - _TAIL_BYTES, 0))
        return announced <= length and any(file.read(_TAIL_BYTES))


def orientation_shown(path: Path) -> int:
    """EXIF orientation of the first track of pictures in a file of the MP4 family; 1 for others."""
    length = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8)[4:8] not in _FIRST_BOXES:
            return 1
        orientation = 1
        for box in _boxes(file, 0, length, inside=True):
            file.seek(box.start)
            if box.kind == b"tkhd":
                orientation = _orientation(file.read(min(box.end - box.start, 96)))
            elif box.kind == b"hdlr" and file.read(12)[8:] == b"vide":
                return orientation
    return 1


def _boxes(file: BinaryIO, start: int, end: int, *, inside: bool = False) -> Iterator[Box]:
    """The boxes in a part of a file; with ``inside`` also those in `_PARENTS`, after them."""
    parts = [(start, end)]
    for _ in range(_MOST_BOXES):
        while parts and parts[-1][0] + 8 > parts[-1][1]:
            parts.pop()
        if not parts:
            return
        at, last = parts.pop()
        file.seek(at)
        head = file.read(16)
        size, kind, content = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, content = int.from_bytes(head[8:16], "big"), at + 16
        elif size == 0:  # to the end
            size = last - at
        if at + size < content:
            return  # no box has less than its head
        yield Box(kind, content, at + size)
        parts.append((at + size, last))
        if inside and kind in _PARENTS:
            parts.append((content, min(at + size, last)))


def _orientation(header: bytes) -> int:
    """Of a track header box; 1 for a matrix that does more than turn and mirror."""
    at = 52 if header[:1] == b"\x01" else 40
    if len(header) < at + 36:
        return 1
    a, b, _, c, d, *_ = (value / 65536 for value in struct.unpack(">9i", header[at : at + 36]))
    return _ORIENTATIONS.get((round(a), round(b), round(c), round(d)), 1)


def _end_of_segment(file: BinaryIO) -> int | None:
    """Where Matroska's first segment ends; None if it does not say."""
    file.seek(4)
    size = _ebml_size(file)
    if size is None:
        return None
    file.seek(size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    size = _ebml_size(file)
    return None if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A size as EBML writes it; None for an unknown one."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    num_more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> num_more)]) + file.read(num_more), "big")
    return None if value == (1 << 7 * (num_more + 1)) - 1 else value


def _end_of_riff(file: BinaryIO, length: int) -> int:
    """Where the last of the parts ends that follow each other."""
    at = 0
    while at < length:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            break  # what else is at the end is not the video's
        at += 8 + int.from_bytes(head[4:], "little")
    return at
