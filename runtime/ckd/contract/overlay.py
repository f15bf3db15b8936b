"""The picture a person looks at: the photograph with the lesion's border and the probabilities.

A border rather than a filled mask, so that the lesion itself stays visible.
Suffixes: H rows, W columns, C channels in RGB order.
"""

import textwrap
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.labels import lesion_name

if TYPE_CHECKING:
    from ckd.contract.results import Finding

FINE_RGB = (64, 224, 144)
COARSE_RGB = (255, 196, 64)
_TEXT_RGB = (255, 255, 255)
_SHADE = 0.45


def draw_overlay(image_HWC: NDArray[np.uint8], finding: "Finding") -> NDArray[np.uint8]:
    """A copy of the image with the fine border (solid), the coarse one (thin) and the words."""
    canvas = np.ascontiguousarray(image_HWC).copy()
    unit = max(min(canvas.shape[:2]) / 400.0, 0.4)
    if finding.coarse_mask_HW is not None:
        draw_border(canvas, finding.coarse_mask_HW, COARSE_RGB, max(1, round(unit)))
    if finding.mask_HW is not None:
        draw_border(canvas, finding.mask_HW, FINE_RGB, max(1, round(2 * unit)))
    lines = textwrap.wrap(finding.warning or "", 32)
    lines += [
        f"{label} {probability:4.0%}  {lesion_name(label)}"
        for label, probability in sorted(finding.probabilities.items(), key=lambda kv: -kv[1])
    ]
    if min(canvas.shape[:2]) >= 160:  # no room for words on a thumbnail
        _draw_lines(canvas, lines, unit)
    return canvas


def draw_border(
    canvas_HWC: NDArray[np.uint8],
    mask_HW: NDArray[np.bool_],
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    """Draw the outline of a mask onto an image, in place."""
    contours, _ = cv2.findContours(
        mask_HW.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(canvas_HWC, contours, -1, colour, thickness, cv2.LINE_AA)


def _draw_lines(canvas_HWC: NDArray[np.uint8], lines: list[str], unit: float) -> None:
    """Text in the top left corner on a darkened strip, the first line larger."""
    if not lines:
        return
    pad, step = round(8 * unit), round(20 * unit)
    scale = 0.45 * unit
    width = max(cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] for line in lines)
    strip = canvas_HWC[: pad + step * len(lines) + pad // 2, : min(width + 2 * pad, 10**6)]
    strip[:] = (strip * _SHADE).astype(np.uint8)
    for row, line in enumerate(lines):
        cv2.putText(
            canvas_HWC,
            line,
            (pad, pad + round(step * (row + 0.7))),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            _TEXT_RGB,
            max(1, round((1.6 if row == 0 else 1.0) * unit)),
            cv2.LINE_AA,
        )
