"""A video without loss, of any size: PNG pictures in an AVI file, written by hand.

OpenCV writes even sizes only. From the AVI RIFF File Reference of Microsoft.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_lossless_video(path: Path, frames: Sequence[NDArray[np.uint8]], fps: int = 10) -> None:
    """Write RGB frames [H, W, 3] of one size."""
    height, width = frames[0].shape[:2]
    pictures = [cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in frames]
    largest, count = max(map(len, pictures)), len(pictures)
    main = struct.pack(
        "<14I", 1_000_000 // fps, largest * fps, 0, 0x10, count, 0, 1, largest, width, height,
        0, 0, 0, 0,
    )  # fmt: skip
    stream = b"vidsMPNG" + struct.pack(
        "<IHHIIIIIIII4H", 0, 0, 0, 0, 1, fps, 0, count, largest, 0, 0, 0, 0, width, height
    )
    picture = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MPNG", largest, 0, 0, 0, 0)
    header = _list(
        b"hdrl",
        _chunk(b"avih", main),
        _list(b"strl", _chunk(b"strh", stream), _chunk(b"strf", picture)),
    )
    movie = _list(b"movi", *(_chunk(b"00dc", content) for content in pictures))
    index, offset = b"", 4
    for content in pictures:
        index += b"00dc" + struct.pack("<III", 0x10, offset, len(content))
        offset += 8 + len(content) + len(content) % 2
    body = b"AVI " + header + movie + _chunk(b"idx1", index)
    path.write_bytes(_chunk(b"RIFF", body))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _list(name: bytes, *chunks: bytes) -> bytes:
    return _chunk(b"LIST", name + b"".join(chunks))
