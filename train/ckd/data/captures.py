"""Captures with known faults: what a hand, a lamp or a lens does wrong, in three grades.

The faults are those that the coach tells of (`ckd.capture`). Grade 1 is slight, 3 is strong. What
moves the lesion moves its mask; around the lesion and its ring then lies skin that is made like
the photograph's (`ckd.data.skin_around`).

Suffixes: H rows, W columns, C channels in RGB order.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.corruptions import CORRUPTIONS, Damaged, Image, Mask
from ckd.data.skin_around import RING, skin_around
from ckd.data.synthetic import dermoscopy

GRADES: Final = (1, 2, 3)
_GAMMA: Final = 2.2
#: Optical blur of a generated scene in focus, in shares of its side: a pixel at 1080.
_IN_FOCUS: Final = 0.0009

Rng = np.random.Generator
Fault = Callable[[Image, Mask, int, Rng], Damaged]


def scene(number: int, side_px: int = 1080) -> tuple[Image, Mask]:
    """A generated lesion in focus, at a camera's resolution; another for every number."""
    made = dermoscopy(10_000 + number, side_px, blur=_IN_FOCUS)
    return made.image_HWC, made.mask_HW


def rng_of(name: str) -> Rng:
    """A source of random numbers that is the same for the same name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def faulty(image_HWC: Image, mask_HW: Mask, hint: str, grade: int, name: str) -> tuple[Image, Mask]:
    """A capture with one fault.

    Args:
        image_HWC: uint8 RGB; it is not changed.
        mask_HW: True on the lesion, of which there must be a pixel.
        hint: the fault, a key of `FAULTS`.
        grade: from 1 to 3.
        name: of the photograph, from which random draws follow.
    """
    rng = rng_of(f"{hint} {name}")
    damaged_HWC, moved_HW = FAULTS[hint](image_HWC, mask_HW, grade - 1, rng)
    assert moved_HW is not None
    return damaged_HWC, moved_HW


def _as_corruption(kind: str, strengths: tuple[float, float, float]) -> Fault:
    def fault(image_HWC: Image, mask_HW: Mask, grade: int, rng: Rng) -> Damaged:
        return CORRUPTIONS[kind].damage(image_HWC, mask_HW, strengths[grade], rng)

    return fault


def _exposed(stops: tuple[float, float, float]) -> Fault:
    def fault(image_HWC: Image, mask_HW: Mask, grade: int, rng: Rng) -> Damaged:
        values = 255 * 2 ** (stops[grade] / _GAMMA) * np.arange(256) / 255
        table = np.clip(np.round(values), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(image_HWC, table), np.uint8), mask_HW

    return fault


def _glare(image_HWC: Image, mask_HW: Mask, grade: int, rng: Rng) -> Damaged:
    """White spots with soft edges over a share of the lesion."""
    share = (0.05, 0.12, 0.3)[grade]
    rows, columns = np.nonzero(mask_HW)
    cover_HW = np.zeros(mask_HW.shape, np.float32)
    width_px = float(np.sqrt(len(rows)))
    while np.count_nonzero(cover_HW[mask_HW] > 0.5) < share * len(rows):
        place = int(rng.integers(len(rows)))
        axes = [max(2, int(rng.uniform(0.06, 0.14) * width_px)) for _ in "xy"]
        centre = (int(columns[place]), int(rows[place]))
        cv2.ellipse(cover_HW, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, cv2.FILLED)
    soft = cv2.GaussianBlur(cover_HW, (0, 0), max(1.0, 0.01 * width_px))[..., None]
    white_HWC = image_HWC + soft * (252.0 - image_HWC)
    return np.clip(np.round(white_HWC), 0, 255).astype(np.uint8), mask_HW


def _moved(image_HWC: Image, mask_HW: Mask, scale: float, x: float, y: float, rng: Rng) -> Damaged:
    """Lesion and ring scaled about its middle, which then lies at x, y in shares of the sides."""
    height, width = mask_HW.shape
    ring_px = max(3, round(RING * min(height, width)))
    near_HW = cv2.dilate(mask_HW.astype(np.uint8), np.ones((ring_px, ring_px)))
    # From the lesion outwards the photograph fades into skin, and is gone at the end of the ring.
    fading_HW = cv2.blur(near_HW.astype(np.float32), (ring_px | 1, ring_px | 1))
    rows, columns = np.nonzero(mask_HW)
    middle = np.array([columns.mean(), rows.mean()])
    move = np.array([[scale, 0, x * width], [0, scale, y * height]])
    move[:, 2] -= scale * middle

    def moved(channels: NDArray[Any]) -> NDArray[Any]:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.warpAffine(channels, move, (width, height), flags=way)

    share_HW1 = moved(fading_HW)[..., None]
    # What the photograph's edge cuts through is mixed with nothing.
    lit_HWC = moved((image_HWC * fading_HW[..., None]).astype(np.float32))
    around_HWC = skin_around(image_HWC, near_HW > 0, rng)
    mixed_HWC = lit_HWC + (1 - share_HW1) * around_HWC
    moved_HW = cv2.warpAffine(
        mask_HW.astype(np.uint8), move, (width, height), flags=cv2.INTER_NEAREST
    )
    return np.clip(np.round(mixed_HWC), 0, 255).astype(np.uint8), moved_HW > 0


def _cut_off(image_HWC: Image, mask_HW: Mask, grade: int, rng: Rng) -> Damaged:
    """So much of the lesion's extent beyond one edge."""
    share = (0.1, 0.25, 0.45)[grade]
    rows, columns = np.nonzero(mask_HW)
    places, side = ((columns, mask_HW.shape[1]), (rows, mask_HW.shape[0]))[int(rng.integers(2))]
    low, high, middle = places.min(), places.max(), places.mean()
    # Where the edge cuts, from the middle of the lesion, towards the lower or the upper end.
    ends = (low + share * (high - low) - middle, high - share * (high - low) - middle)
    at = -ends[0] / side if rng.random() < 0.5 else 1 - ends[1] / side
    is_x = places is columns
    other = rows if is_x else columns
    stays = float(other.mean()) / (mask_HW.shape[0] if is_x else mask_HW.shape[1])
    return _moved(image_HWC, mask_HW, 1.0, *((at, stays) if is_x else (stays, at)), rng)


def _too_small(image_HWC: Image, mask_HW: Mask, grade: int, rng: Rng) -> Damaged:
    """A lesion of so small a width, as a share of the picture."""
    width = float(np.sqrt(4 * mask_HW.mean() / np.pi))
    x, y = rng.uniform(0.4, 0.6, 2)
    return _moved(image_HWC, mask_HW, (0.1, 0.07, 0.045)[grade] / width, x, y, rng)


def _off_centre(image_HWC: Image, mask_HW: Mask, grade: int, rng: Rng) -> Damaged:
    """A small lesion at so many half sides from the middle."""
    distance, turn = (0.55, 0.65, 0.75)[grade], rng.uniform(0, 2 * np.pi)
    width = float(np.sqrt(4 * mask_HW.mean() / np.pi))
    x, y = 0.5 + 0.5 * distance * np.array([np.cos(turn), np.sin(turn)])
    return _moved(image_HWC, mask_HW, min(1.0, 0.18 / width), x, y, rng)


#: By hint of `ckd.finding.capture`, but for those that say that there is nothing to see.
FAULTS: Final[Mapping[str, Fault]] = {
    "out_of_focus": _as_corruption("blur", (4.0, 8.0, 14.0)),
    "motion": _as_corruption("motion", (12.0, 25.0, 45.0)),
    "over_exposed": _exposed((0.8, 1.5, 2.2)),
    "under_exposed": _exposed((-1.5, -2.5, -4.0)),
    "glare": _glare,
    "cut_off": _cut_off,
    "too_small": _too_small,
    "off_centre": _off_centre,
    "occluded": _as_corruption("overlays", (16.0, 36.0, 64.0)),
}
#: What the strengths of the three grades mean, for tables.
MEANINGS: Final[Mapping[str, str]] = {
    "out_of_focus": "deviation of the blur 4, 8, 14 thousandths of the shorter side",
    "motion": "path 12, 25, 45 thousandths of the shorter side",
    "over_exposed": "0.8, 1.5, 2.2 stops too many",
    "under_exposed": "1.5, 2.5, 4 stops too few",
    "glare": "white spots over 5, 12, 30 % of the lesion",
    "cut_off": "10, 25, 45 % of the lesion beyond an edge",
    "too_small": "the lesion 10, 7, 4.5 % of the picture wide",
    "off_centre": "0.55, 0.65, 0.75 half sides from the middle",
    "occluded": "16, 36, 64 hairs and a ruler",
}
