"""Frames that were joined inside their data, and frames that only look so."""

import random

import cv2
import numpy as np
import pytest

from ckd.contract.errors import InputError
from ckd.picture import whole_rgb
from ckd.runtime.sources.faults import FrameFault
from ckd.runtime.sources.whole import FrameDecoder, check_frame_size


def frame(
    seed: int, brightness: float = 100, still_rows: int = 0, texture: float = 20, restart: int = 0
) -> bytes:
    """A JPEG of noise, whose last rows are the same whatever the seed."""
    image = np.random.default_rng(seed).normal(brightness, texture, (96, 128, 1))
    image[96 - still_rows :] = np.random.default_rng(0).normal(90, 20, (still_rows, 128, 1))
    grey = np.clip(image, 0, 255).astype(np.uint8).repeat(3, axis=2)
    options = [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    return cv2.imencode(".jpg", grey, options)[1].tobytes()


def test_the_end_of_an_older_frame_is_seen() -> None:
    """Of frames joined anywhere inside their data some decode; every one of these is refused."""
    rng = random.Random(2)
    num_decoded = 0
    for seed in range(1, 41):
        frames = [frame(100 * seed + number, 90 + 10 * number) for number in range(3)]
        older, newer = frames[0], frames[2]
        decoder = FrameDecoder()
        for number in (0, 1):
            decoder.decode(frames[number], 0.0)
        for _ in range(10):
            at = rng.randrange(700, min(map(len, frames)) - 200)
            joined = newer[:at] + older[at:]
            try:
                whole_rgb(joined)
            except InputError:
                continue
            num_decoded += 1
            with pytest.raises(FrameFault, match="older frame") as caught:
                decoder.decode(joined, 1.0)
            assert caught.value.kind == "damaged"
        assert decoder.decode(newer, 2.0).jpeg == newer  # and the next whole one is given
    assert num_decoded > 5


@pytest.mark.parametrize("restart", [0, 2])
def test_a_part_that_stands_still_is_not_an_older_frame(restart: int) -> None:
    decoder = FrameDecoder()
    for seed in range(1, 20):
        sent = frame(seed, still_rows=48, restart=restart)
        assert decoder.decode(sent, 0.0).jpeg == sent


def test_a_caption_in_the_corner_is_not_an_older_frame() -> None:
    """Its last bytes come again at one in eight places of their bits, beside pixels that change."""
    decoder = FrameDecoder()
    caption = np.random.default_rng(0).normal(120, 60, (16, 64, 1))
    for seed in range(1, 25):
        image = np.random.default_rng(seed).normal(100, 12, (96, 128, 1))
        image[-16:, -64:] = caption
        grey = np.clip(image, 0, 255).astype(np.uint8).repeat(3, axis=2)
        sent = cv2.imencode(".jpg", grey)[1].tobytes()
        assert decoder.decode(sent, 0.0).jpeg == sent


def test_an_even_picture_that_grows_brighter_is_not_an_older_frame() -> None:
    decoder = FrameDecoder()
    for brightness in range(40, 80):
        decoder.decode(frame(1, brightness, texture=0), 0.0)


def test_the_same_bytes_are_decoded_once() -> None:
    decoder = FrameDecoder()
    one, again = decoder.decode(frame(1), 1.0), decoder.decode(frame(1), 2.0)
    assert again.image is one.image
    assert (one.captured_s, again.captured_s) == (1.0, 2.0)


def test_a_frame_that_no_jpeg_can_hold_is_refused() -> None:
    """A PNG may be as wide; the page and a recording could not show it."""
    check_frame_size(16, 65_500, 0.0)
    with pytest.raises(FrameFault, match="70000x16 pixels is longer than 65500") as caught:
        check_frame_size(16, 70_000, 0.0)
    assert caught.value.kind == "refused"
