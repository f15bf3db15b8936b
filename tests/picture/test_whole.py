"""Pictures that arrive as bytes: whole ones as from a file, all others refused."""

import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mjpeg_camera import FAULTS, jpeg_of, png_of

from ckd.contract.errors import InputError
from ckd.picture import ImpossibleSize, read_rgb, whole_rgb

OLD, NEW = 1, 31  # numbers of frames whose greys are far apart


def test_the_same_bytes_give_the_same_pixels_as_a_file(tmp_path: Path) -> None:
    upright = cv2.imencode(".jpg", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = upright[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + upright[2:]
    for content in (jpeg_of(3), png_of(3), turned):
        (tmp_path / "file").write_bytes(content)
        np.testing.assert_array_equal(whole_rgb(content), read_rgb(tmp_path / "file"))
    assert whole_rgb(turned).shape == (48, 32, 3)  # by its EXIF orientation


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_frame_that_is_not_whole_is_refused(
    fault: Callable[[bytes, bytes, random.Random], bytes],
) -> None:
    rng = random.Random(fault.__name__)
    for index in range(8):
        content = fault(jpeg_of(NEW + index), jpeg_of(OLD + index), rng)
        with pytest.raises(InputError):
            whole_rgb(content)


def test_what_is_lost_of_a_frame_is_named() -> None:
    one, other = jpeg_of(1), jpeg_of(2)
    for content, said in (
        (b"", "neither a JPEG nor a PNG"),
        (b"<html>", "neither a JPEG nor a PNG"),
        (one[:9], "markers are damaged|cut off before its data"),
        (one[:2000] + other, "a second picture begins inside it"),
        (one + b"\0" * 9 + other, "a second picture follows inside it"),
        (one[:2000], "damaged or cut off"),
        (png_of(1)[:-200], "damaged or cut off"),
        (png_of(1)[:20], "damaged or cut off"),
    ):
        with pytest.raises(InputError, match=said):
            whole_rgb(content)


def test_what_surrounds_a_whole_frame_does_no_harm() -> None:
    one = jpeg_of(1)
    image_HWC = whole_rgb(one)
    start = one[:2]
    comment = b"\xff\xfe\x00\x06\xff\xd8\xff\xd9"  # as a preview in EXIF has
    same = (one[:-2], one + bytes(500), one + b"\r\n", start + comment + one[2:])
    for content in (*same, start + b"\xff\xff" + one[2:]):
        np.testing.assert_array_equal(whole_rgb(content), image_HWC)


def test_an_impossible_size_is_refused_before_it_is_decoded() -> None:
    large = bytearray(jpeg_of(1))
    at = large.index(b"\xff\xc0") + 5
    large[at : at + 4] = (10_000).to_bytes(2, "big") * 2  # 100 megapixels, says its header
    for content, said in (
        (bytes(large), "over the limit of 64 megapixels"),
        (jpeg_of(1, 8, 8), "8x8 pixels is too small"),
        (cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), "too small"),
    ):
        with pytest.raises(ImpossibleSize, match=said):
            whole_rgb(content)


def test_a_kind_in_which_damage_is_not_seen_is_refused() -> None:
    rare = bytearray(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    rare[rare.index(b"\xff\xc0") + 11] = 0x42  # colours at a quarter across and half down
    with pytest.raises(InputError, match="damage cannot be seen"):
        whole_rgb(bytes(rare))
