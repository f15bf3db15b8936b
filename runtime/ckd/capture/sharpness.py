"""Focus and motion, measured on tiles of the photograph where the lesion and its ring are.

A network's input is some 190 pixels wide, and a blur that hides all structure of a lesion is gone
in it. So tiles are cut from the photograph itself, along the outline and within it, and only they
are looked at. Their power spectra tell how much of the structure is fine: along each of sixteen
directions the power of a fine band is set against that of a coarse one. Blur takes the fine band,
whatever the lesion looks like. Motion takes it along one direction only: the best direction tells
of focus, and by how much the worst falls behind it tells of motion.

Hair and rulers are fine along one direction only, whatever the camera does, and are filled first.

Noise alone looks like fine structure, and fools the usual measure, the variance of the Laplacian.
Its power is that of the highest frequencies, where photographs have next to nothing else, and is
taken off all others.

Suffixes: H rows, W columns of the photograph; T side of a tile; F frequencies of a tile; D
directions; C channels in RGB order.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: Tiles are looked at in pixels of this many thousandths of the photograph's shorter side, or of so
#: many millimetres where the scale is known: what is finer than that tells nothing of a lesion.
_PIXEL: Final = 1.85
_PIXEL_MM: Final = 0.02
#: Side of a tile in such pixels.
_TILE: Final = 64
_DIRECTIONS: Final = 16
#: Bands along a direction in cycles per pixel, and how far they reach across it.
_FINE: Final = (0.1, 0.25)
_COARSE: Final = (0.025, 0.07)
_ACROSS: Final = 0.08
#: From this frequency on there is nothing but noise.
_NOISE: Final = 0.42
#: Of the noise, what is not told from it; and power below which there is no structure.
_UNSURE: Final = 0.05
_LEAST_POWER: Final = 1.0
#: The focus of a picture without any structure that can be told from noise.
_NOTHING: Final = -20.0
#: Lines thinner than this, in pixels of a tile, and darker by so many levels are filled.
_THIN: Final = 9
_DARKER: Final = 18


@dataclass(frozen=True, slots=True)
class Sharpness:
    """How much of the structure around a lesion is fine.

    Attributes:
        focus: natural logarithm of the power of fine structure over that of coarse, along the
            direction in which it is largest.
        motion: by how much it is smaller along the direction in which it is smallest.
    """

    focus: float
    motion: float


def sharpness_of(
    image_HWC: NDArray[np.uint8],
    places: NDArray[np.float64],
    mm_per_px: float | None = None,
) -> Sharpness:
    """Focus and motion of a photograph around some places.

    Args:
        image_HWC: uint8 RGB.
        places: [N, 2], x and y in shares of width and height; tiles lie around them.
        mm_per_px: width of a pixel on the skin; None if it is not known.
    """
    tiles = _tiles(image_HWC, places, _reduction(image_HWC.shape[:2], mm_per_px))
    tiles -= tiles.mean(axis=(1, 2), keepdims=True)
    spectra = np.fft.rfft2(tiles * _window())
    power_F = np.square(np.abs(spectra)).mean(axis=0).ravel()
    bands, is_noise_F = _bands()
    noise = float(power_F[is_noise_F].mean())
    floor = _UNSURE * noise + _LEAST_POWER
    fine_D, coarse_D = np.maximum(bands @ power_F - noise, floor)
    if coarse_D.max() <= max(floor, noise):
        return Sharpness(_NOTHING, 0.0)
    ratios_D = np.log(fine_D / coarse_D)
    best = float(ratios_D.max())
    return Sharpness(best, best - float(ratios_D.min()))


def _reduction(size_hw: tuple[int, ...], mm_per_px: float | None) -> float:
    """Pixels of the photograph that make one pixel of a tile, along each side; 1 at least."""
    if mm_per_px is not None:
        return max(1.0, _PIXEL_MM / mm_per_px)
    return max(1.0, _PIXEL / 1000 * min(size_hw))


def _tiles(
    image_HWC: NDArray[np.uint8], places: NDArray[np.float64], reduction: float
) -> NDArray[np.float32]:
    """Tiles around places in grey, without hair, float32 [N, T, T]."""
    height, width = image_HWC.shape[:2]
    side_px = min(round(_TILE * reduction), height, width)
    tiles = np.empty((len(places), _TILE, _TILE), np.uint8)
    for tile, (x, y) in zip(tiles, places, strict=True):
        left = int(np.clip(x * width - side_px / 2, 0, width - side_px))
        top = int(np.clip(y * height - side_px / 2, 0, height - side_px))
        # Green is where a camera resolves most, and costs no conversion.
        green = np.ascontiguousarray(image_HWC[top : top + side_px, left : left + side_px, 1])
        way = cv2.INTER_AREA if side_px > _TILE else cv2.INTER_LINEAR
        tile[...] = cv2.resize(green, (_TILE, _TILE), interpolation=way)
    return _without_hair(tiles.reshape(-1, _TILE)).astype(np.float32).reshape(tiles.shape)


def _without_hair(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles below each other, with what is thin and dark filled; a border counts little later."""
    filled = np.asarray(cv2.morphologyEx(sheet, cv2.MORPH_CLOSE, np.ones((_THIN, _THIN))), np.uint8)
    thin = (cv2.subtract(filled, sheet) > _DARKER).astype(np.uint8)
    wider = cv2.dilate(thin, np.ones((3, 3)))  # the edge of a hair is paler
    return np.where(wider > 0, filled, sheet)


@cache
def _window() -> NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow((_TILE, _TILE), cv2.CV_32F), np.float32)


@cache
def _bands() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weights of the frequencies, fine and coarse by direction, [2, D, F]; and those of noise."""
    y, x = np.meshgrid(np.fft.fftfreq(_TILE), np.fft.rfftfreq(_TILE), indexing="ij")
    bands = []
    for low, high in (_FINE, _COARSE):
        rows = []
        for turn in np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS:
            along = np.abs(np.cos(turn) * x + np.sin(turn) * y)
            across = np.abs(np.cos(turn) * y - np.sin(turn) * x)
            inside = (low <= along) & (along <= high) & (across <= _ACROSS)
            rows.append(inside.ravel() / inside.sum())
        bands.append(rows)
    return np.array(bands, np.float32), (np.hypot(x, y) >= _NOISE).ravel()
