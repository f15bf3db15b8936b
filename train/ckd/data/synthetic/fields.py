"""Scalar fields that generated dermoscopy is painted with: noise, cells, dots, curves.

All sizes are shares of the image's side. Every field draws from a child of the generator that is
passed in, because the number of its draws depends on the resolution and later draws must not.

Suffixes: H rows, W columns, C channels in RGB order. Fields are float32.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Rng = np.random.Generator


def noise(rng: Rng, side_px: int, size: float, octaves: int = 1) -> Field:
    """Smooth noise of mean 0 and deviation 1 whose coarsest features are ``size`` wide."""
    rng = rng.spawn(1)[0]
    total_HW = np.zeros((side_px, side_px), np.float32)
    for octave in range(octaves):
        cells = int(np.clip(round(2**octave / size), 2, side_px)) + 2
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        layer_HW = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        total_HW += layer_HW * 0.5**octave
    total_HW -= total_HW.mean()
    return np.asarray(total_HW / (total_HW.std() + 1e-6), dtype=np.float32)


def ramp(field_HW: Field, low: float, high: float) -> Field:
    """Smoothstep: 0 up to ``low`` and 1 from ``high``."""
    t_HW = np.clip((field_HW - low) / (high - low), 0.0, 1.0)
    return np.asarray(t_HW * t_HW * (3.0 - 2.0 * t_HW), dtype=np.float32)


def mesh(rng: Rng, side_px: int, pitch: float, jitter: float) -> Field:
    """A honeycomb net: 1 on its lines, 0 in its holes; ``jitter`` is 0 (regular) to 0.5 (wild)."""
    rng = rng.spawn(1)[0]
    pitch_px = max(pitch * side_px, 2.5)
    count = int(side_px / pitch_px) + 3
    rows, columns = np.mgrid[0:count, 0:count].astype(np.float32)
    columns += 0.5 * (rows % 2)  # every other row is shifted: hexagons
    place = np.stack([columns, rows * 0.87], axis=-1) - 1.0
    place += rng.uniform(-jitter, jitter, place.shape)
    x, y = np.clip((place * pitch_px).round().astype(int), 0, side_px - 1).reshape(-1, 2).T
    holes_HW = np.full((side_px, side_px), 255, np.uint8)
    holes_HW[y, x] = 0
    distance_HW = cv2.distanceTransform(holes_HW, cv2.DIST_L2, 3)
    return ramp(np.asarray(distance_HW, np.float32) / pitch_px, 0.12, 0.62)


def dots(rng: Rng, where_HW: Field, count: int, size: tuple[float, float]) -> Field:
    """Soft round dots of radius ``size``, placed where the field is above one half."""
    rng = rng.spawn(1)[0]
    side_px = where_HW.shape[0]
    canvas_HW = np.zeros((side_px, side_px), np.uint8)
    ys, xs = np.nonzero(where_HW > 0.5)
    if len(ys) == 0:
        return canvas_HW.astype(np.float32)
    for index in rng.integers(0, len(ys), count):
        radius_px = max(rng.uniform(*size) * side_px, 0.6)
        # In sixteenths of a pixel, so that dots do not snap to the grid at low resolution.
        centre = (int(xs[index]) * 16, int(ys[index]) * 16)
        weight = int(rng.integers(130, 256))
        cv2.circle(canvas_HW, centre, int(radius_px * 16), weight, -1, cv2.LINE_AA, 4)
    blurred_HW = cv2.GaussianBlur(canvas_HW, (0, 0), max(0.0025 * side_px, 0.35))
    return blurred_HW.astype(np.float32) / 255.0


def curve_px(
    start: NDArray[np.float64], bend: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Points of a quadratic Bezier curve in sixteenths of a pixel, as OpenCV draws them."""
    t = np.linspace(0.0, 1.0, 24)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    return np.asarray((points * 16).round(), dtype=np.int32).reshape(-1, 1, 2)


@dataclass(frozen=True, slots=True)
class Polar:
    """Pixel coordinates around a lesion: distance in shares of the side, and angle."""

    radius_HW: Field
    angle_HW: Field


def polar(
    side_px: int, centre_xy: tuple[float, float], aspect: float, turn: float, bend_HW2: Field
) -> Polar:
    """Polar coordinates, scaled by ``aspect`` along ``turn`` and bent by a displacement field."""
    axis = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    x_HW = axis[None, :] - np.float32(centre_xy[0]) + bend_HW2[..., 0]
    y_HW = axis[:, None] - np.float32(centre_xy[1]) + bend_HW2[..., 1]
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along_HW = (cosine * x_HW + sine * y_HW) * np.float32(aspect)
    across_HW = cosine * y_HW - sine * x_HW
    radius_HW, angle_HW = cv2.cartToPolar(along_HW, across_HW)
    return Polar(np.asarray(radius_HW, np.float32), np.asarray(angle_HW, np.float32))


def fourier_radius(rng: Rng, angle_HW: Field, swing: float, waves: int) -> Field:
    """Radius of a closed curve, about 1 in every direction, from ``waves`` random harmonics."""
    turns = np.linspace(0.0, 2.0 * np.pi, 513)
    radius = np.ones_like(turns)
    for wave in range(2, waves + 2):
        size = swing * rng.normal() / wave**0.9
        radius += size * np.cos(wave * turns + rng.uniform(0.0, 2.0 * np.pi))
    table = np.clip(radius, 0.45, 1.7).astype(np.float32)
    index_HW = (angle_HW * np.float32(512.0 / (2.0 * np.pi))).astype(np.int32)
    return np.asarray(table[np.clip(index_HW, 0, 512)], dtype=np.float32)
