"""The overlay: the photograph with the lesion's border and the probabilities.

A border is drawn and no filled mask, so that the lesion stays visible.
Suffixes: H rows, W columns, C channels in RGB order.
"""

import textwrap
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.labels import lesion_name
from ckd.finding.finding import Finding
from ckd.finding.outline import box_of

FINE_RGB = (64, 224, 144)
COARSE_RGB = (255, 196, 64)
_TEXT_RGB = (255, 255, 255)
_SHADE = 0.45
_SPELT_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
)


def draw_overlay(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
    """A copy of the image with the fine border (thick), the coarse one (thin) and the text.

    If both are drawn, a legend in the bottom left corner names their colours.
    """
    canvas = np.ascontiguousarray(image_HWC).copy()
    unit = unit_of(canvas)
    fine, coarse = finding.mask_HW, finding.coarse_mask_HW
    if coarse is not None:
        draw_border(canvas, coarse, COARSE_RGB, max(1, round(unit)))
    if fine is not None:
        draw_border(canvas, fine, FINE_RGB, max(1, round(2 * unit)))
    lines = headline_lines(finding) if finding.top is None else []
    lines += [
        f"{label} {probability:4.0%}  {lesion_name(label)}"
        for label, probability in sorted(finding.probabilities.items(), key=lambda kv: -kv[1])
    ]
    if has_room_for_text(canvas):
        draw_lines(canvas, lines, unit)
        if fine is not None and coarse is not None and coarse.any():
            _draw_legend(canvas, {"fine outline": FINE_RGB, "coarse outline": COARSE_RGB}, unit)
    return canvas


def unit_of(image_HWC: NDArray[np.uint8]) -> float:
    """How large text and lines are in a picture: 1 where its shorter side has 400 pixels."""
    return max(int(min(image_HWC.shape[:2])) / 400.0, 0.4)


def has_room_for_text(image_HWC: NDArray[np.uint8]) -> bool:
    """Whether text fits; it does not on a thumbnail."""
    return int(min(image_HWC.shape[:2])) >= 160


def headline_lines(finding: Finding) -> list[str]:
    """The headline in lines of 32 letters at most; none if it is empty."""
    return textwrap.wrap(finding.headline, 32)


def draw_border(
    canvas_HWC: NDArray[np.uint8],
    mask_HW: NDArray[np.bool_],
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    """Draw the outline of a mask onto an image, in place."""
    rows, columns = box_of(mask_HW)
    contours, _ = cv2.findContours(
        mask_HW[rows, columns].astype(np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE,
        offset=(columns.start, rows.start),
    )
    cv2.drawContours(canvas_HWC, contours, -1, colour, thickness, cv2.LINE_AA)


def draw_lines(canvas_HWC: NDArray[np.uint8], lines: list[str], unit: float) -> None:
    """Write lines in the top left corner on a darkened strip, the first in bold, in place."""
    if not lines:
        return
    pad, step = round(8 * unit), round(20 * unit)
    first_px, *widths_px = (text_width(line, unit) for line in lines)
    width = max(round(1.06 * first_px), *widths_px, 0)  # bold letters are that much wider
    shade(canvas_HWC[: pad + step * len(lines) + pad // 2, : width + 2 * pad])
    for row, line in enumerate(lines):
        y = pad + round(step * (row + 0.7))
        write(canvas_HWC, line, pad, y, _TEXT_RGB, unit, 1.6 if row == 0 else 1.0)


def _draw_legend(
    canvas_HWC: NDArray[np.uint8], colours: Mapping[str, tuple[int, int, int]], unit: float
) -> None:
    """Write names in their colours, side by side in the bottom left corner, on a darkened strip."""
    small, pad, height = 0.8 * unit, round(8 * unit), canvas_HWC.shape[0]
    widths = [text_width(name, small) for name in colours]
    top = height - round(20 * unit)
    shade(canvas_HWC[top:, : sum(widths) + pad * (len(widths) + 1)])
    x = pad
    for (name, colour), width in zip(colours.items(), widths, strict=True):
        write(canvas_HWC, name, x, height - round(6 * unit), colour, small, 1.0)
        x += width + pad


def text_width(text: str, unit: float) -> int:
    """Width in pixels of a text that `write` writes."""
    return int(cv2.getTextSize(drawable(text), cv2.FONT_HERSHEY_SIMPLEX, 0.45 * unit, 1)[0][0])


def drawable(text: str) -> str:
    """The text in ASCII, which is all that OpenCV's fonts have: umlauts as two letters."""
    return text.translate(_SPELT_OUT).encode("ascii", "replace").decode()


def shade(strip_HWC: NDArray[np.uint8]) -> None:
    """Darken a part of a picture, in place, as a background for text."""
    strip_HWC[:] = (strip_HWC * _SHADE).astype(np.uint8)


def write(
    canvas_HWC: NDArray[np.uint8],
    text: str,
    x: int,
    y: int,
    colour: tuple[int, int, int],
    unit: float,
    weight: float,
) -> None:
    """Write a line of text onto a picture, in place; (x, y) is the left end of its baseline."""
    text = drawable(text)
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(weight * unit))
    cv2.putText(canvas_HWC, text, (x, y), font, 0.45 * unit, colour, thickness, cv2.LINE_AA)
