"""Charts and rulers drawn with a known truth: where they lie, their colours, millimetres per pixel.

Suffixes: H rows, W columns, C channels in RGB order. Light is linear, 0 to 1.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

#: Warm lamp and a sensor whose channels overlap: light of the camera, of light of a screen.
TINT = np.array([[1.02, 0.10, -0.04], [0.03, 0.82, 0.06], [-0.02, 0.12, 0.61]])


def code_of(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Code values of sRGB, as IEC 61966-2-1 has them."""
    kept = np.clip(light, 0, 1)
    return 255 * np.where(kept <= 0.0031308, 12.92 * kept, 1.055 * kept ** (1 / 2.4) - 0.055)


def drawn_chart(
    light_N3: NDArray[np.float64],
    *,
    patch_px: float = 44,
    turned_deg: float = 0.0,
    mirrored: bool = False,
    tint: NDArray[np.float64] | None = None,
    noise: float = 0.0,
    exposure: float = 1.0,
    slant: float = 0.0,
    size_hw: tuple[int, int] = (480, 640),
) -> NDArray[np.uint8]:
    """A chart of 6 by 4 patches in a dark frame on a grey table.

    Args:
        light_N3: of the 24 patches.
        patch_px: from one centre to the next.
        turned_deg: anticlockwise.
        mirrored: as in a mirror.
        tint: of lamp and sensor.
        noise: standard deviation of code values.
        exposure: factor on all light.
        slant: of perspective.
        size_hw: of the photograph.
    """
    cell, gap = 40, 3
    chart = np.full((4 * cell + 2 * gap, 6 * cell + 2 * gap, 3), 0.012)
    for number, light in enumerate(light_N3):
        row, column = divmod(number, 6)
        top, left = row * cell + 2 * gap, column * cell + 2 * gap
        chart[top : top + cell - 2 * gap, left : left + cell - 2 * gap] = light
    if mirrored:
        chart = chart[:, ::-1]
    height, width = size_hw
    turn = np.eye(3)
    centre = ((chart.shape[1] - 1) / 2, (chart.shape[0] - 1) / 2)
    turn[:2] = cv2.getRotationMatrix2D(centre, turned_deg, patch_px / cell)
    turn[0, 2] += width / 2 - centre[0]
    turn[1, 2] += height / 2 - centre[1]
    turn[2, 0] = slant
    table = np.full((height, width, 3), 0.35) * np.linspace(0.98, 1.02, width)[None, :, None]
    inside = np.ones(chart.shape[:2])
    flags = cv2.INTER_AREA if patch_px < cell else cv2.INTER_LINEAR
    laid = np.asarray(cv2.warpPerspective(chart, turn, (width, height), flags=flags))
    share = np.asarray(cv2.warpPerspective(inside, turn, (width, height), flags=flags))[..., None]
    light = exposure * (table * (1 - share) + laid)
    return photographed(light, tint=tint, noise=noise)


def drawn_ruler(
    px_per_mm: float,
    *,
    turned_deg: float = 0.0,
    tick_mm: float = 1.0,
    longer: Sequence[tuple[int, float]] = ((5, 4.5), (10, 6.0)),
    noise: float = 0.0,
    tint: NDArray[np.float64] | None = None,
    blur_px: float = 0.0,
    bright: bool = False,
    size_hw: tuple[int, int] = (480, 640),
) -> NDArray[np.uint8]:
    """A ruler on skin; its edge runs through the middle of the picture, its ticks end at the edge.

    Args:
        px_per_mm: the truth.
        turned_deg: of the ruler against the rows.
        tick_mm: from one tick to the next; ticks are 3 mm long.
        longer: every how many ticks one is longer, and how long, in mm.
        noise: standard deviation of code values.
        tint: of lamp and sensor.
        blur_px: standard deviation of the blur.
        bright: bright ticks on a dark ruler.
        size_hw: of the photograph.
    """
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - width / 2 + 0.37, y - height / 2 + 0.21
    cos, sin = np.cos(np.radians(turned_deg)), np.sin(np.radians(turned_deg))
    along_mm, across_mm = (x * cos + y * sin) / px_per_mm, (y * cos - x * sin) / px_per_mm
    number = np.round(along_mm / tick_mm)
    away_mm = np.abs(along_mm - number * tick_mm)
    length_mm = np.full(size_hw, 3.0 * min(1.0, 1.4 * tick_mm))
    for every, long_mm in longer:
        length_mm = np.where(number % every == 0, long_mm, length_mm)
    covered = np.clip((0.09 * tick_mm - away_mm) * px_per_mm + 0.5, 0, 1)
    covered *= np.clip(across_mm * px_per_mm + 0.5, 0, 1)
    covered *= np.clip((length_mm - across_mm) * px_per_mm + 0.5, 0, 1)
    on_ruler = np.clip(across_mm * px_per_mm + 0.5, 0, 1)[..., None]
    ground, ink = (0.05, 0.7) if bright else (0.7, 0.05)
    ruler = ground + (ink - ground) * covered[..., None]
    grain = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 1, size_hw), (0, 0), 6)
    skin = np.array([0.55, 0.33, 0.24]) * (1 + 0.5 * np.asarray(grain)[..., None])
    light = skin * (1 - on_ruler) + ruler * on_ruler
    if blur_px:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), blur_px))
    return photographed(light, tint=tint, noise=noise)


def photographed(
    light_HWC: NDArray[np.float64], *, tint: NDArray[np.float64] | None, noise: float
) -> NDArray[np.uint8]:
    """Light as a camera with a tint and noise gives it."""
    seen_HWC = light_HWC if tint is None else light_HWC @ tint.T
    codes_HWC = code_of(seen_HWC)
    if noise:
        codes_HWC = codes_HWC + np.random.default_rng(7).normal(0, noise, codes_HWC.shape)
    return np.clip(np.round(codes_HWC), 0, 255).astype(np.uint8)
