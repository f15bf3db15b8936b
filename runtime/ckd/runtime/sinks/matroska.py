"""Motion JPEG in Matroska, as a stream that can be cut off at any byte (RFC 9559; EBML: RFC 8794).

    EBML head | Segment: SeekHead, Info, Tracks, Cluster, Cluster, ..., at the end Cues

Each picture is a whole JPEG with a time of its own, so none needs another one. Clusters are
appended to a Segment of unknown size, and nothing that was written is changed before the end, so
what was written plays. A recording that ends well gets an index of its clusters (Cues), by which
players jump; the head keeps room for its address and for the duration.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from ckd.contract.version import ckd_version

#: One picture: its time from the start of the recording in milliseconds, and its JPEG.
Block = tuple[int, bytes]

#: Times in a cluster count from its own in 16 bits with a sign.
MAX_CLUSTER_MS: Final = 32767

_TICK_NS: Final = 1_000_000  # a millisecond, as RFC 9559 advises
_EBML, _SEGMENT, _SEEK_HEAD, _INFO = 0x1A45DFA3, 0x18538067, 0x114D9B74, 0x1549A966
_TRACKS, _CLUSTER, _CUES, _VOID = 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0xEC
_SIMPLE_BLOCK: Final = b"\xa3"
_UNKNOWN_SIZE: Final = b"\x01" + 7 * b"\xff"
_TRACK: Final = 1


class Ended(NamedTuple):
    """What the head says of a recording that ended well."""

    duration_ms: int
    cues_at: int  # the byte where they begin


def head(height: int, width: int, interval_ms: float, ended: Ended | None = None) -> bytes:
    """All that comes before the first cluster; its length does not depend on the last two.

    Args:
        height: of all pictures, in pixels.
        width: of all pictures, in pixels.
        interval_ms: from one picture to the next on average. Players go by each picture's own
            time, but programs that ask for a frame rate get 1000 a second where none is told.
        ended: None while clusters are still to come.
    """
    seek, duration = _seek_head(ended.cues_at if ended else 0), _duration(ended or Ended(0, 0))
    program = f"ckd {ckd_version()}".encode()
    info = _element(
        _INFO,
        _number(0x2AD7B1, _TICK_NS),  # TimestampScale
        _element(0x4D80, program),  # MuxingApp
        _element(0x5741, program),  # WritingApp
        duration if ended else _void(len(duration)),
    )
    shape = (_number(0x9A, 2), _number(0xB0, width), _number(0xBA, height))  # FlagInterlaced: no
    track = _element(
        0xAE,
        _number(0xD7, _TRACK),
        _number(0x73C5, _TRACK),  # TrackUID
        _number(0x83, 1),  # TrackType: video
        _number(0x9C, 0),  # FlagLacing
        _element(0x23E383, struct.pack(">Q", round(1e6 * interval_ms))),  # DefaultDuration
        _element(0x86, b"V_MJPEG"),
        _element(0xE0, *shape),
    )
    room = seek if ended else _void(len(seek))
    return _top() + room + info + _element(_TRACKS, track)


def cluster(blocks: Sequence[Block]) -> bytes:
    """A cluster of pictures whose times rise by `MAX_CLUSTER_MS` at most."""
    start_ms = blocks[0][0]
    parts = [_number(0xE7, start_ms)]  # Timestamp
    for time_ms, jpeg in blocks:
        since = struct.pack(">h", time_ms - start_ms)
        # The last byte before the picture says that it needs no other one.
        parts += [_SIMPLE_BLOCK, _size(4 + len(jpeg)), _size(_TRACK), since, b"\x80", jpeg]
    return _element(_CLUSTER, *parts)


def cues(places: Sequence[tuple[int, int]]) -> bytes:
    """The index: the time of each cluster in milliseconds, and the byte where it begins."""
    points = []
    for time_ms, place in places:
        where = _element(0xB7, _number(0xF7, _TRACK), _number(0xF1, place - len(_top())))
        points.append(_element(0xBB, _number(0xB3, time_ms), where))
    return _element(_CUES, *points)


def _top() -> bytes:
    """The head of the file, and that of the Segment, from whose end places are counted."""
    ebml = _element(
        _EBML,
        *(_number(name, 1) for name in (0x4286, 0x42F7)),  # EBML version 1, to write and to read
        *(_number(0x42F2, 4), _number(0x42F3, 8)),  # longest ID and size in bytes
        _element(0x4282, b"matroska"),
        *(_number(0x4287, 4), _number(0x4285, 2)),  # Matroska 4; SimpleBlocks need a reader of 2
    )
    return ebml + _id(_SEGMENT) + _UNKNOWN_SIZE


def _seek_head(cues_at: int) -> bytes:
    place = _element(0x53AC, struct.pack(">Q", max(cues_at - len(_top()), 0)))
    return _element(_SEEK_HEAD, _element(0x4DBB, _element(0x53AB, _id(_CUES)), place))


def _duration(ended: Ended) -> bytes:
    return _element(0x4489, struct.pack(">d", ended.duration_ms))


def _element(name: int, *parts: bytes) -> bytes:
    return b"".join((_id(name), _size(sum(map(len, parts))), *parts))


def _number(name: int, value: int) -> bytes:
    """An element that holds a number without a sign."""
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _void(num_bytes: int) -> bytes:
    """Room of so many bytes, 2 to 128, which readers skip."""
    return _id(_VOID) + _size(num_bytes - 2) + bytes(num_bytes - 2)


def _id(name: int) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8, "big")


def _size(value: int) -> bytes:
    """A length as EBML writes it: leading zero bits count its bytes; all ones would be unknown."""
    length = 1
    while value >= (1 << 7 * length) - 1:
        length += 1
    return (value | 1 << 7 * length).to_bytes(length, "big")
