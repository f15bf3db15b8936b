"""The bytes of a recording: as RFC 9559 says, and playable wherever the file is cut."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ckd.picture.encode import encode_jpeg
from ckd.runtime.sinks.matroska import Block, Ended, cluster, cues, head

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
#: Elements that hold others.
MASTERS = {
    0x1A45DFA3, SEGMENT, CLUSTER, 0x114D9B74, 0x4DBB, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0,
    0x1C53BB6B, 0xBB, 0xB7,
}  # fmt: skip
SIZE_HW = (48, 64)
#: The places of the clusters of `recording`.
TIMES_MS = ((0, 33, 90, 100), (1000, 1500), (70_000,))


def elements(content: bytes, start: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """ID, place and content of each element; of one that holds others only what it holds."""
    at = start
    while at < len(content):
        place, width = at, 9 - content[at].bit_length()
        name = int.from_bytes(content[at : at + width], "big")
        at += width
        width = 9 - content[at].bit_length()
        size = int.from_bytes(content[at : at + width], "big") - (1 << 7 * width)
        at += width
        if size == (1 << 7 * width) - 1:
            assert name == SEGMENT
            size = len(content) - at
        if name in MASTERS:
            yield name, place, b""
            yield from ((n, p, c) for n, p, c in elements(content[: at + size], at))
        else:
            yield name, place, content[at : at + size]
        at += size


def jpeg(level: int) -> bytes:
    return encode_jpeg(np.full((*SIZE_HW, 3), level, np.uint8))


def recording(*, ended: bool) -> tuple[bytes, list[int]]:
    """A file of three clusters, and where they and what follows begin."""
    content, places, level = bytearray(head(*SIZE_HW, 40)), [], 0
    for group in TIMES_MS:
        places.append(len(content))
        blocks: list[Block] = []
        for time_ms in group:
            blocks.append((time_ms, jpeg(level)))
            level += 30
        content += cluster(blocks)
    cues_at = len(content)
    if ended:
        content += cues([(group[0], at) for group, at in zip(TIMES_MS, places, strict=True)])
        first = head(*SIZE_HW, 40, Ended(70_040, cues_at))
        content[: len(first)] = first
    return bytes(content), [*places, cues_at]


def found(content: bytes, *names: int) -> Sequence[bytes]:
    return [held for name, _, held in elements(content) if name in names]


def test_the_head_is_that_of_a_live_stream_of_jpeg() -> None:
    content, _ = recording(ended=False)
    assert content[:4] == bytes.fromhex("1a45dfa3")
    assert found(content, 0x4282) == [b"matroska"]
    assert found(content, 0x4287, 0x4285) == [b"\4", b"\2"]  # written as version 4, read as 2
    at = content.index(SEGMENT.to_bytes(4, "big"))
    assert content[at + 4 : at + 12] == b"\x01" + 7 * b"\xff"  # of unknown size
    assert found(content, 0x2AD7B1) == [(1_000_000).to_bytes(3, "big")]  # a tick is 1 ms
    assert found(content, 0x86, 0xB0, 0xBA) == [b"V_MJPEG", b"\x40", b"\x30"]
    assert found(content, 0x23E383) == [struct.pack(">Q", 40_000_000)]
    assert found(content, 0x4489, 0x53AC, 0x1C53BB6B) == []  # neither duration nor index


def test_every_picture_has_its_own_time_and_is_whole() -> None:
    content, places = recording(ended=False)
    level, times_ms, start_ms = 0, [], 0
    for name, place, held in elements(content):
        if name == CLUSTER:
            assert place in places
        if name == 0xE7:
            start_ms = int.from_bytes(held, "big")
        if name == 0xA3:
            track, since_ms, flags = struct.unpack(">BhB", held[:4])
            assert (track, flags) == (0x81, 0x80)  # track 1, needs no other picture
            times_ms.append(start_ms + since_ms)
            assert held[4:] == jpeg(level)
            level += 30
    assert times_ms == [time_ms for group in TIMES_MS for time_ms in group]


def test_the_end_puts_an_index_into_the_room_that_was_kept() -> None:
    content, places = recording(ended=True)
    begun, _ = recording(ended=False)
    assert content[places[0] : places[-1]] == begun[places[0] :]
    segment_at = begun.index(SEGMENT.to_bytes(4, "big")) + 12
    assert found(content, 0x4489) == [struct.pack(">d", 70_040)]
    assert found(content, 0x53AC) == [struct.pack(">Q", places[-1] - segment_at)]
    times = [int.from_bytes(held, "big") for held in found(content, 0xB3)]
    clusters = [int.from_bytes(held, "big") + segment_at for held in found(content, 0xF1)]
    assert (times, clusters) == ([0, 1000, 70_000], places[:-1])


@pytest.mark.parametrize("size", [1, 126, 127, 16382, 16383, 2_097_151])
def test_sizes_on_both_sides_of_each_width_are_read_back(size: int) -> None:
    (held,) = found(cluster([(0, bytes(size))]), 0xA3)
    assert held == b"\x81\0\0\x80" + bytes(size)


@pytest.mark.parametrize("ended", [False, True])
def test_a_file_that_is_cut_anywhere_plays_all_that_is_whole(tmp_path: Path, ended: bool) -> None:
    content, _ = recording(ended=ended)
    path = tmp_path / "cut.mkv"
    ends = [
        place + content[place:].index(b"\xff\xd9") + 2
        for name, place, _ in elements(content)
        if name == 0xA3
    ]
    assert len(ends) == 7
    for cut in {*range(ends[0], len(content), 97), *(end + by for end in ends for by in (-1, 0))}:
        path.write_bytes(content[:cut])
        capture = cv2.VideoCapture(str(path))
        times_ms, levels = [], []
        while capture.grab():
            times_ms.append(round(capture.get(cv2.CAP_PROP_POS_MSEC)))
            levels.append(float(np.mean(capture.retrieve()[1])))
        capture.release()
        num_whole = sum(end <= cut for end in ends)
        np.testing.assert_allclose(levels[:num_whole], np.arange(num_whole) * 30, atol=2)
        all_ms = [time_ms for group in TIMES_MS for time_ms in group]
        assert times_ms[:num_whole] == all_ms[:num_whole], cut
        assert len(times_ms) <= num_whole + 1, cut
