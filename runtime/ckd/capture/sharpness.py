"""Focus and motion, measured on tiles of the photograph where the lesion and its ring are.

A network's input is some 190 pixels wide, and a blur that hides all structure of a lesion is gone
in it. So tiles are cut from the photograph itself, along the outline and within it, and only they
are looked at. Their power spectra tell how much of the structure is fine: along each of sixteen
directions the power of a fine band is set against that of a coarse one. Blur takes the fine band,
whatever the lesion looks like. Motion takes it along one direction only: the best direction tells
of focus, and by how much the worst falls behind it tells of motion. Strong blur takes the coarse
band too, so that this is set against what is coarser still in the same way, and the worse of both
steps counts.

Hair and rulers are fine along one direction only, whatever the camera does, and are filled first.

Noise alone looks like fine structure, and fools the usual measure, the variance of the Laplacian.
Its power is that of the highest frequencies, where photographs have next to nothing else, and is
taken off all others, as much as the reduction to a tile leaves there of white noise.

Suffixes: H rows, W columns of the photograph; T side of a tile; F frequencies of a tile; D
directions; C channels in RGB order.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
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
#: Below this frequency lies what is coarser still: light and dark of the lesion and its skin.
_COARSER: Final = 0.025
#: What is coarse may fall behind what is coarser by so much more than fine behind coarse, so that
#: the fine band tells how sharp a sharp picture is.
_FURTHER: Final = 0.6
#: From this frequency on there is nothing but noise.
_NOISE: Final = 0.42
_NOISE_TILES: Final = 16
#: Power above the noise by less than this share of it is noise too, as the directions are many; and
#: power below which there is no structure.
_UNSURE: Final = 0.25
_LEAST_POWER: Final = 1.0
#: The focus of a picture without any structure that can be told from noise.
_NOTHING: Final = -20.0
#: Lines thinner than this, in pixels of a tile, and darker by so many levels are filled; by so many
#: deviations of the noise where that is more, as filled noise would look like structure.
_THIN: Final = 9
_DARKER: Final = 18
_ABOVE_NOISE: Final = 6.0


@dataclass(frozen=True, slots=True)
class Sharpness:
    """How much of the structure around a lesion is fine.

    Attributes:
        focus: natural logarithm of the power of fine structure over that of coarse, along the
            direction in which it is largest; or of coarse over coarser, if that falls off more.
        motion: by how much fine over coarse is smaller along the direction in which it is smallest.
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
    side_px = _side_px(image_HWC.shape[:2], mm_per_px)
    tiles = _tiles(image_HWC, places, side_px)
    tiles -= tiles.reshape(len(tiles), -1).mean(axis=1)[:, None, None]
    power_F = _power(tiles)
    bands, is_noise_F, is_coarser_F = _bands()
    noise = float(power_F[is_noise_F].mean())
    power_F -= noise * _white_noise(side_px)
    fine_D, coarse_D = bands @ power_F
    unsure = _UNSURE * noise + _LEAST_POWER
    is_sure_D = fine_D > unsure
    most_coarse = float(coarse_D.max())
    if most_coarse <= max(unsure, noise) or not is_sure_D.any():
        return Sharpness(_NOTHING, 0.0)
    ratios_D = np.log(np.maximum(fine_D, unsure) / np.maximum(coarse_D, unsure))
    best = float(ratios_D[is_sure_D].max())
    coarser = max(float(power_F[is_coarser_F].mean()), _LEAST_POWER)
    return Sharpness(
        focus=min(best, float(np.log(most_coarse / coarser)) + _FURTHER),
        # What may be noise counts as fine here, so that noise is no motion.
        motion=max(0.0, best - float(ratios_D.min())),
    )


def _side_px(size_hw: tuple[int, ...], mm_per_px: float | None) -> int:
    """Side of a tile in pixels of the photograph, of which each of the tile is one at least."""
    finest = _PIXEL / 1000 * min(size_hw) if mm_per_px is None else _PIXEL_MM / mm_per_px
    return min(round(_TILE * max(1.0, finest)), *size_hw)


def _tiles(
    image_HWC: NDArray[np.uint8], places: NDArray[np.float64], side_px: int
) -> NDArray[np.float32]:
    """Tiles around places in grey, without hair, float32 [N, T, T]."""
    height, width = image_HWC.shape[:2]
    tiles = np.empty((len(places), _TILE, _TILE), np.uint8)
    for tile, (x, y) in zip(tiles, places.tolist(), strict=True):
        left = int(min(max(x * width - side_px / 2, 0), width - side_px))
        top = int(min(max(y * height - side_px / 2, 0), height - side_px))
        # Green is where a camera resolves most, and costs no conversion.
        part_HWC = image_HWC[top : top + side_px, left : left + side_px]
        tile[...] = _reduced(np.asarray(cv2.extractChannel(part_HWC, 1), np.uint8))
    return _without_hair(tiles.reshape(-1, _TILE)).astype(np.float32).reshape(tiles.shape)


def _reduced(green: NDArray[np.uint8]) -> NDArray[np.uint8]:
    way = cv2.INTER_AREA if green.shape[0] > _TILE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(green, (_TILE, _TILE), interpolation=way), np.uint8)


def _power(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean power of tiles [N, T, T] by frequency, [F]."""
    # OpenCV takes a third of the time that NumPy takes.
    total = np.zeros((_TILE, _TILE), np.float32)
    for tile in tiles * _window():
        spectrum = cv2.dft(tile, flags=cv2.DFT_COMPLEX_OUTPUT)
        power, _ = cv2.split(cv2.mulSpectrums(spectrum, spectrum, 0, conjB=True))
        cv2.add(total, power, total)
    return np.asarray(total[:, : _TILE // 2 + 1].ravel() / len(tiles), np.float32)


def _without_hair(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles below each other, with what is thin and dark filled; a border counts little later."""
    filled = np.asarray(cv2.morphologyEx(sheet, cv2.MORPH_CLOSE, np.ones((_THIN, _THIN))), np.uint8)
    darker = max(_DARKER, _ABOVE_NOISE * _noise_of(sheet))
    _, thin = cv2.threshold(cv2.subtract(filled, sheet), darker, 1, cv2.THRESH_BINARY)
    wider = cv2.dilate(thin, np.ones((3, 3)))  # the edge of a hair is paler
    return np.asarray(cv2.copyTo(filled, wider, sheet.copy()), np.uint8)


def _noise_of(sheet: NDArray[np.uint8]) -> float:
    """Standard deviation of white noise: structure changes little over two pixels both ways."""
    # Of two rows in sixteen: the median of some two thousand places.
    upper, lower = sheet[:-1:16].astype(np.int16), sheet[1::16].astype(np.int16)
    twice = np.abs(upper[:, 1:] - upper[:, :-1] - lower[:, 1:] + lower[:, :-1]).ravel()
    middle = len(twice) // 2
    return float(np.partition(twice, middle)[middle]) / (2 * 0.6745)


@cache
def _window() -> NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow((_TILE, _TILE), cv2.CV_32F), np.float32)


@cache
def _frequencies() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cycles per pixel along x and y, as the power of tiles has them."""
    y, x = np.meshgrid(np.fft.fftfreq(_TILE), np.fft.rfftfreq(_TILE), indexing="ij")
    return x, y


@cache
def _bands() -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Weights of frequencies, fine and coarse by direction, [2, D, F]; those of noise; coarser."""
    x, y = _frequencies()
    bands = []
    for low, high in (_FINE, _COARSE):
        rows = []
        for turn in np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS:
            along = np.abs(np.cos(turn) * x + np.sin(turn) * y)
            across = np.abs(np.cos(turn) * y - np.sin(turn) * x)
            inside = (low <= along) & (along <= high) & (across <= _ACROSS)
            rows.append(inside.ravel() / inside.sum())
        bands.append(rows)
    radius_F = np.hypot(x, y).ravel()
    is_coarser_F = (radius_F > 0) & (radius_F < _COARSER)
    return np.array(bands, np.float32), radius_F >= _NOISE, is_coarser_F


@lru_cache(maxsize=64)
def _white_noise(side_px: int) -> NDArray[np.float32]:
    """Power of white noise in tiles of such a side by frequency, [F]; 1 where noise is measured.

    A reduction by no whole number of pixels leaves less of the highest frequencies.
    """
    rng, made = np.random.default_rng(0), []
    for _ in range(_NOISE_TILES):  # one after another, as a tile may be a large part of a picture
        noise = 128 + 20 * rng.standard_normal((side_px, side_px), np.float32)
        made.append(_reduced(noise.clip(0, 255).astype(np.uint8)))
    tiles = np.array(made, np.float32)
    power_F = _power(tiles - tiles.mean(axis=(1, 2), keepdims=True))
    # The same along every direction: the mean over rings tells more than a frequency.
    rings_F = np.round(np.hypot(*_frequencies()) * _TILE).astype(np.intp).ravel()
    mean_F = (np.bincount(rings_F, power_F) / np.bincount(rings_F))[rings_F]
    return np.asarray(mean_F / power_F[_bands()[1]].mean(), np.float32)
