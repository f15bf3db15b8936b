"""What lies between the lens and the lesion of any photograph, drawn as opacity: hair and a ruler.

Suffixes: H rows, W columns.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.synthetic.fields import Rng, curve_px

#: Ticks of a ruler, the long ones included.
_TICKS = 25


def hair_opacity(rng: Rng, size_hw: tuple[int, int], count: int) -> NDArray[np.uint8]:
    """Opacity from 0 to 255 of hairs that are mostly combed one way.

    The first hairs of a larger ``count`` are those of a smaller one.

    Args:
        rng: where they lie.
        size_hw: rows and columns of the photograph.
        count: of hairs; some may lie outside.
    """
    side_px, extent = min(size_hw), np.array(size_hw[::-1], np.float64)
    opacity_HW = np.zeros(size_hw, np.uint8)
    comb = rng.uniform(0, 2 * np.pi)
    for _ in range(count):
        start, turn = rng.uniform(-0.1, 1.1, 2) * extent, comb + rng.normal(0, 0.5)
        reach = rng.uniform(0.3, 0.9) * side_px * np.array([np.cos(turn), np.sin(turn)])
        bend = start + 0.5 * reach + rng.normal(0, 0.1, 2) * side_px
        width_px = max(1, round(rng.uniform(0.002, 0.006) * side_px))
        points = curve_px(start, bend, start + reach)
        cv2.polylines(opacity_HW, [points], False, 215, width_px, cv2.LINE_AA, 4)
    return opacity_HW


def ruler_opacity(rng: Rng, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Opacity from 0 to 255 of a scale along the upper or lower edge.

    Args:
        rng: which edge.
        size_hw: rows and columns of the photograph.
    """
    height, width = size_hw
    side_px = min(size_hw)
    pitch, thick = 0.025 * side_px, max(1, round(0.003 * side_px))
    x, y = 0.1 * width, height * (0.94 if rng.random() < 0.5 else 0.06)
    lines = [(x, y, x + (_TICKS - 1) * pitch, y)]
    for tick in range(_TICKS):
        at, length = x + tick * pitch, pitch * (1.2 if tick % 5 == 0 else 0.7)
        lines.append((at, y, at, y - length))
    opacity_HW = np.zeros(size_hw, np.uint8)
    for line in lines:
        # In sixteenths of a pixel, so that ticks do not snap to the grid.
        x0, y0, x1, y1 = (round(16 * place) for place in line)
        cv2.line(opacity_HW, (x0, y0), (x1, y1), 255, thick, cv2.LINE_AA, 4)
    return opacity_HW
