"""What was found of a chart or a ruler, drawn over the photograph of it, for the person to look at.

Suffixes: H rows, W columns, C channels in RGB order; N patches, K ticks.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.overlay import FINE_RGB, draw_caption
from ckd.runtime.unit.chart import ColourFit
from ckd.runtime.unit.colour import code_of
from ckd.runtime.unit.patches import LIGHT_N3
from ckd.runtime.unit.ruler import Scale

_EDGE_RGB = (255, 255, 255)
_SHIFT = 4  # OpenCV draws at sixteenths of a pixel


def draw_chart(image_HWC: NDArray[np.uint8], fit: ColourFit) -> NDArray[np.uint8]:
    """A copy of a photograph in which each patch has two halves: corrected, and the chart's own.

    Where the matrix fits the line between them vanishes; the colour around them is the camera's.
    """
    canvas = np.ascontiguousarray(image_HWC).copy()
    light_N3 = fit.patches.light_N3 @ np.asarray(fit.matrix).T
    halves = ((code_of(light_N3), (0, 1, 3)), (code_of(LIGHT_N3), (1, 2, 3)))
    for number, corners_42 in enumerate(fit.patches.corners_N42):
        for code_N3, half in halves:
            colour = tuple(round(float(value)) for value in code_N3[number])
            cv2.fillPoly(canvas, [_fine(corners_42[list(half)])], colour, cv2.LINE_AA, _SHIFT)
        cv2.polylines(canvas, [_fine(corners_42)], True, _EDGE_RGB, 1, cv2.LINE_AA, _SHIFT)
    legend = ("around: as the camera gives it", "inside: half corrected, half as the chart is")
    draw_caption(canvas, f"CIEDE2000 {fit.after.shown}", legend)
    return canvas


def draw_ruler(image_HWC: NDArray[np.uint8], scale: Scale) -> NDArray[np.uint8]:
    """A copy of a photograph with a line over each tick that was counted."""
    canvas = np.ascontiguousarray(image_HWC).copy()
    thickness = max(1, min(canvas.shape[:2]) // 400)
    for ends_22 in scale.ticks_K22:
        cv2.polylines(canvas, [_fine(ends_22)], False, FINE_RGB, thickness, cv2.LINE_AA, _SHIFT)
    first = f"{scale.num_ticks} ticks, {scale.width_mm:.1f} mm wide"
    draw_caption(canvas, first, (f"{scale.mm_per_px:.5f} mm per pixel",))
    return canvas


def _fine(points_22: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(points_22 * (1 << _SHIFT)).astype(np.int32)
