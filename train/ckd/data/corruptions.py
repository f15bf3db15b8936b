"""What bad captures do to a photograph: ten kinds of damage in five grades, made from a seed.

Grade 1 is barely visible, 5 is strong but may come out of a camera. What is drawn (a direction, a
sign, the place of hair) depends on the kind and on the photograph's id alone, so that it is the
same in every run and for all grades, and only the strength grows. Lengths are shares of the
shorter side, so that they mean the same in photographs of any size.

Camera signals are taken as linear light, the encoded value to the power of 2.2. Source of the
method: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions"; kinds and grades are ours, chosen for contact dermoscopy, and no camera was measured.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.synthetic.overlays import hair_opacity, ruler_opacity

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Damaged = tuple[Image, Mask | None]
GRADES: Final = (1, 2, 3, 4, 5)

_GAMMA: Final = 2.2
#: Shorter side for which the deviation of noise is said.
_NOISE_SIDE_PX: Final = 512
_HAIR_RGB: Final = (42, 28, 22)
_INK_RGB: Final = (26, 24, 30)
_MOST_HAIRS: Final = 64


@dataclass(frozen=True, slots=True)
class Corruption:
    """A kind of damage.

    Attributes:
        name: one word, for tables and options.
        meaning: what the strength of a grade is.
        strengths: of the five grades.
        damage: takes a photograph, its mask or None, a strength and a source of random numbers.
    """

    name: str
    meaning: str
    strengths: tuple[float, float, float, float, float]
    damage: Callable[[Image, Mask | None, float, np.random.Generator], Damaged]


def corrupted(
    image_HWC: Image, mask_HW: Mask | None, kind: str, grade: int, image_id: str
) -> Damaged:
    """A damaged photograph and its mask, both of the size that they came in.

    Args:
        image_HWC: uint8 RGB; it is not changed.
        mask_HW: True on the lesion, or None; it moves where the picture does.
        kind: name of one of the `CORRUPTIONS`.
        grade: from 1 to 5.
        image_id: of the photograph, from which random draws follow.
    """
    corruption = CORRUPTIONS[kind]
    digest = hashlib.sha256(f"{kind} {image_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return corruption.damage(image_HWC, mask_HW, corruption.strengths[grade - 1], rng)


def _toned(image_HWC: Image, curves: list[NDArray[np.float64]]) -> Image:
    """Each channel through its curve, which gives shares of white for the 256 values."""
    table = np.stack([np.clip(np.round(255 * curve), 0, 255) for curve in curves], axis=1)
    return np.asarray(cv2.LUT(image_HWC, table.astype(np.uint8)[None]), np.uint8)


_VALUES: Final = np.arange(256) / 255


def _colour(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    warm = 1 if rng.random() < 0.5 else -1
    gains = [(1 + strength) ** (sign * warm / _GAMMA) for sign in (1, 0, -1)]
    return _toned(image_HWC, [gain * _VALUES for gain in gains]), mask_HW


def _gamma(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    power = (1 + strength) ** (1 if rng.random() < 0.5 else -1)
    return _toned(image_HWC, 3 * [_VALUES**power]), mask_HW


def _exposure(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    stops = strength if rng.random() < 0.5 else -strength
    return _toned(image_HWC, 3 * [2 ** (stops / _GAMMA) * _VALUES]), mask_HW


def _blur(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    deviation_px = strength / 1000 * min(image_HWC.shape[:2])
    return np.asarray(cv2.GaussianBlur(image_HWC, (0, 0), deviation_px), np.uint8), mask_HW


def _motion(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    angle = rng.uniform(0, np.pi)
    length_px = strength / 1000 * min(image_HWC.shape[:2])
    half = np.array([np.cos(angle), np.sin(angle)]) * length_px / 2
    middle = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * middle + 1,) * 2, np.float32)
    # Positions of the camera during the exposure, each shared out to the four nearest pixels.
    for along in np.linspace(-1, 1, 4 * kernel.shape[0]):
        x, y = middle + along * half
        column, row = int(x), int(y)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = (1 - abs(x - column - dx)) * (1 - abs(y - row - dy))
            kernel[row + dy, column + dx] += share
    moved_HWC = cv2.filter2D(image_HWC, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
    return np.asarray(moved_HWC, np.uint8), mask_HW


def _noise(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    # A mean over k x k pixels has a k-th of the noise, so this means the same at any size.
    deviation = strength * min(image_HWC.shape[:2]) / _NOISE_SIDE_PX
    grain_HWC = rng.standard_normal(image_HWC.shape, np.float32) * np.float32(deviation)
    return np.clip(np.round(image_HWC + grain_HWC), 0, 255).astype(np.uint8), mask_HW


def _jpeg(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    bgr_HWC = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, int(strength)])
    decoded_HWC = cv2.imdecode(code, cv2.IMREAD_COLOR)
    assert decoded_HWC is not None
    return np.asarray(cv2.cvtColor(decoded_HWC, cv2.COLOR_BGR2RGB), np.uint8), mask_HW


def _crop(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    """A window that holds the middle of the lesion, or of the photograph, at the old size."""
    (height, width), drawn = image_HWC.shape[:2], rng.random(2)
    aims = [height / 2, width / 2]
    if mask_HW is not None and mask_HW.any():
        aims = [float(places.mean()) for places in np.nonzero(mask_HW)]
    rows, columns = (
        _window(side, round(strength * side), aim, share)
        for side, aim, share in zip((height, width), aims, drawn, strict=True)
    )
    size = (width, height)
    zoomed_HWC = cv2.resize(image_HWC[rows, columns], size, interpolation=cv2.INTER_LINEAR)
    if mask_HW is not None:
        cut_HW = mask_HW[rows, columns].astype(np.uint8)
        mask_HW = cv2.resize(cut_HW, size, interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(zoomed_HWC, np.uint8), mask_HW


def _window(side: int, length: int, aim: float, share: float) -> slice:
    """A window among those that hold ``aim``: the first at ``share`` 0, the last at 1."""
    first = max(0.0, aim - length + 1)
    last = min(float(side - length), aim)
    start = int(np.clip(round(first + share * (last - first)), 0, side - length))
    return slice(start, start + length)


def _rotation(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    """A turn about the middle; beyond its edges the photograph and its mask are mirrored."""
    height, width = image_HWC.shape[:2]
    degrees = strength if rng.random() < 0.5 else -strength
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    size, mirror = (width, height), cv2.BORDER_REFLECT
    turned_HWC = cv2.warpAffine(image_HWC, turn, size, borderMode=mirror)
    if mask_HW is not None:
        mask = mask_HW.astype(np.uint8)
        mask_HW = cv2.warpAffine(mask, turn, size, flags=cv2.INTER_NEAREST, borderMode=mirror) > 0
    return np.asarray(turned_HWC, np.uint8), mask_HW


def _overlays(
    image_HWC: Image, mask_HW: Mask | None, strength: float, rng: np.random.Generator
) -> Damaged:
    (height, width), ink = image_HWC.shape[:2], strength / _MOST_HAIRS
    ruler_HW = ruler_opacity(rng, (height, width))
    hair_HW = hair_opacity(rng, (height, width), int(strength))
    covered_HWC = image_HWC.astype(np.float32)
    for cover_HW, opacity, rgb in ((ruler_HW, ink, _INK_RGB), (hair_HW, 1.0, _HAIR_RGB)):
        cover_HW1 = cover_HW[..., None] * np.float32(opacity / 255)
        covered_HWC += cover_HW1 * (np.array(rgb, np.float32) - covered_HWC)
    return np.round(covered_HWC).astype(np.uint8), mask_HW


_KINDS: Final = (
    Corruption(
        "colour",
        "how much too strong red and too weak blue light are, or the reverse, as a factor above 1",
        (0.05, 0.1, 0.2, 0.3, 0.45), _colour,
    ),
    Corruption(
        "gamma", "the power that values are raised to, or its inverse, above 1",
        (0.08, 0.15, 0.3, 0.5, 0.8), _gamma,
    ),
    Corruption(
        "blur", "deviation of the Gauss blur in thousandths of the shorter side",
        (1.5, 3.0, 6.0, 10.0, 16.0), _blur,
    ),
    Corruption(
        "motion", "path of the camera in thousandths of the shorter side",
        (5.0, 10.0, 20.0, 35.0, 55.0), _motion,
    ),
    Corruption(
        "noise", "deviation in grey levels of 255 in a photograph of 512 px, the shorter side",
        (8.0, 16.0, 28.0, 44.0, 64.0), _noise,
    ),
    Corruption("jpeg", "quality as libjpeg counts it", (70.0, 50.0, 30.0, 20.0, 12.0), _jpeg),
    Corruption("exposure", "stops too many or too few", (0.2, 0.4, 0.7, 1.0, 1.4), _exposure),
    Corruption(
        "crop", "share of each side that is still in view", (0.95, 0.9, 0.8, 0.7, 0.6), _crop
    ),
    Corruption("rotation", "degrees, either way", (4.0, 8.0, 15.0, 25.0, 45.0), _rotation),
    Corruption(
        "overlays", "number of hairs; a ruler beside them is opaque by a 64th of it",
        (4.0, 8.0, 16.0, 32.0, 64.0), _overlays,
    ),
)  # fmt: skip
#: All kinds by name, in the order of tables.
CORRUPTIONS: Final[Mapping[str, Corruption]] = {kind.name: kind for kind in _KINDS}
