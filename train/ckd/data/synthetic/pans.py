"""A hand that holds a camera over a photograph: frames that drift, turn, breathe and flicker.

The motion is a sum of slow sines with random phases, as hands tremble; what a frame shows beyond
the photograph's edge is the photograph mirrored. Nothing here models a real camera or hand.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.synthetic.fields import Rng

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
#: Frames a second for which motion is meant.
FPS: Final = 30
_GAMMA: Final = 2.2
#: In hertz.
_WAVES: Final = (0.15, 0.4, 0.9)


@dataclass(frozen=True, slots=True)
class Hand:
    """How far a hand strays: standard deviations, but for the noise of each pixel.

    Attributes:
        shift: in shares of the photograph's side.
        zoom: of the logarithm of the scale.
        turn_deg: degrees.
        stops: of the exposure.
        noise: grey levels of 255.
    """

    shift: float = 0.03
    zoom: float = 0.05
    turn_deg: float = 4.0
    stops: float = 0.15
    noise: float = 4.0


def pan(
    image_HWC: Image, mask_HW: Mask, rng: Rng, num_frames: int, side_px: int, hand: Hand
) -> Iterator[tuple[Image, Mask]]:
    """Frames, uint8 RGB of ``side_px`` square, of a hand that looks at a photograph; and masks.

    Args:
        image_HWC: uint8 RGB.
        mask_HW: True on the lesion.
        rng: the motion.
        num_frames: at `FPS` a second.
        side_px: of the frames.
        hand: that holds the camera.
    """
    paths = _paths(rng, num_frames, hand)
    for number in range(num_frames):
        move = _move(image_HWC.shape[:2], paths[:, number], 0.0, side_px)
        moved_HW = cv2.warpAffine(
            mask_HW.astype(np.uint8), move, (side_px, side_px),
            flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        yield _frame(image_HWC, move, side_px, paths[4, number], hand, rng), moved_HW > 0


def pan_over_two(
    one_HWC: Image, other_HWC: Image, rng: Rng, num_frames: int, side_px: int, hand: Hand
) -> Iterator[tuple[Image, float]]:
    """Frames of a hand that goes from one photograph to another one beside it.

    The first third of the frames shows one, the last the other, and those between move. With each
    frame comes how far it has gone, from 0 to 1.
    """
    height, width = one_HWC.shape[:2]
    other_HWC = np.asarray(cv2.resize(other_HWC, (width, height), interpolation=cv2.INTER_AREA))
    beside_HWC = np.concatenate([one_HWC, other_HWC], axis=1)
    paths = _paths(rng, num_frames, hand)
    for number in range(num_frames):
        gone = float(np.clip(3 * number / num_frames - 1, 0, 1))
        move = _move((height, width), paths[:, number], gone, side_px)
        yield _frame(beside_HWC, move, side_px, paths[4, number], hand, rng), gone


def _paths(rng: Rng, num_frames: int, hand: Hand) -> NDArray[np.float64]:
    """Shift in x and y, logarithm of the zoom, turn in degrees, stops: a row each."""
    seconds = np.arange(num_frames) / FPS
    rows = []
    for scale in (hand.shift, hand.shift, hand.zoom, hand.turn_deg, hand.stops):
        phases = rng.uniform(0, 2 * np.pi, len(_WAVES))
        waves = [
            np.sin(2 * np.pi * hertz * seconds + phase)
            for hertz, phase in zip(_WAVES, phases, strict=True)
        ]
        rows.append(scale * np.sqrt(2 / len(_WAVES)) * np.sum(waves, axis=0))
    return np.array(rows)


def _move(
    size_hw: tuple[int, ...], at: NDArray[np.float64], gone: float, side_px: int
) -> NDArray[np.float64]:
    """Where a frame shows what lies in a photograph, or ``gone`` widths to its right: [2, 3]."""
    (x, y, log_zoom, turn_deg, _), (height, width) = at, size_hw
    centre = ((0.5 + x + gone) * width, (0.5 + y) * height)
    scale = np.exp(log_zoom) * side_px / np.array([width, height])
    move = np.diag(scale) @ cv2.getRotationMatrix2D(centre, turn_deg, 1.0)
    move[:, 2] += side_px / 2 - scale * centre
    return np.asarray(move, np.float64)


def _frame(
    image_HWC: Image, move: NDArray[np.float64], side_px: int, stops: float, hand: Hand, rng: Rng
) -> Image:
    way = cv2.INTER_AREA if abs(np.linalg.det(move[:, :2])) < 1 else cv2.INTER_CUBIC
    frame_HWC = cv2.warpAffine(
        image_HWC, move, (side_px, side_px), flags=way, borderMode=cv2.BORDER_REFLECT
    )
    grain_HWC = rng.standard_normal(frame_HWC.shape, np.float32) * np.float32(hand.noise)
    lit_HWC = frame_HWC.astype(np.float32) * np.float32(2 ** (stops / _GAMMA))
    return np.clip(np.round(lit_HWC + grain_HWC), 0, 255).astype(np.uint8)
