"""The overlay: the photograph with the lesion's border, the decision and what it rests on.

A border is drawn and no filled mask, so that the lesion stays visible.
Suffixes: H rows, W columns, C channels in RGB order.
"""

import textwrap
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.finding import Finding
from ckd.finding.left_out import FINE_MASK
from ckd.finding.outline import box_of
from ckd.finding.sentences import lesion_shown, percent_shown, shown

FINE_RGB = (64, 224, 144)
COARSE_RGB = (255, 196, 64)
#: Of an answer that is that of frames before.
HELD_RGB = (168, 168, 168)
_TEXT_RGB = (255, 255, 255)
_SHADE = 0.45
_SMALL = 0.84  # size of the letters of sentences
_BOLD = 1.6  # weight of the letters of the first line
_LETTER = 7.6  # usual width of a large letter, in units
_SPELT_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
)


def draw_overlay(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
    """A copy of the image with the fine border (thick), the coarse one (thin) and the text.

    If both are drawn, or there was no time for the fine one, a legend in the bottom left corner
    names their colours. In place of a fine border for which there was no time the coarse one is
    dashed and as thick. The answer of frames before is grey.
    """
    canvas = np.ascontiguousarray(image_HWC).copy()
    unit = unit_of(canvas)
    fine, coarse = finding.mask_HW, finding.coarse_mask_HW
    is_dashed = fine is None and FINE_MASK in finding.left_out
    fine_rgb, coarse_rgb = (HELD_RGB, HELD_RGB) if finding.is_held else (FINE_RGB, COARSE_RGB)
    if coarse is not None and is_dashed:
        draw_border(canvas, coarse, coarse_rgb, max(1, round(2 * unit)), round(8 * unit))
    elif coarse is not None:
        draw_border(canvas, coarse, coarse_rgb, max(1, round(unit)))
    if fine is not None:
        draw_border(canvas, fine, fine_rgb, max(1, round(2 * unit)))
    if has_room_for_text(canvas):
        bold, large, small = _lines(finding, canvas.shape[1] / unit)
        colour = HELD_RGB if finding.is_held else _TEXT_RGB
        draw_lines(canvas, [*bold, *large], unit, small, colour, num_bold=len(bold))
        names = {} if fine is None else {shown("fine_outline"): fine_rgb}
        if coarse is not None and coarse.any() and (names or is_dashed):
            _draw_legend(canvas, names | {shown("coarse_outline"): coarse_rgb}, unit)
    return canvas


def unit_of(image_HWC: NDArray[np.uint8]) -> float:
    """How large text and lines are in a picture: 1 where its shorter side has 400 pixels."""
    return max(int(min(image_HWC.shape[:2])) / 400.0, 0.4)


def has_room_for_text(image_HWC: NDArray[np.uint8]) -> bool:
    """Whether text fits; it does not on a thumbnail."""
    return int(min(image_HWC.shape[:2])) >= 160


def _lines(finding: Finding, width: float) -> tuple[list[str], list[str], list[str]]:
    """What is written bold, large, and below it small, in lines that fit a width in units.

    Bold is the decision, and the most probable label large; without a decision that label is bold
    and says what its percentage rests on, and the others are large; without a finding why is bold.
    """
    large_letters, small_letters = _room(width, _LETTER, 44), _room(width, 6.3, 54)
    texts = (*finding.beneath, *finding.coaching)
    small = [line for text in texts for line in wrapped(text, small_letters)]
    if finding.decision is not None:
        bold, large = (wrapped(t, large_letters) for t in (finding.headline, finding.second))
        return bold, large, small
    bold = wrapped(finding.headline, 32) if finding.top is None else []
    shares = finding.probabilities
    first, others = [], sorted(shares, key=shares.__getitem__, reverse=True)
    if others:
        first = wrapped(finding.share_shown(others.pop(0)), large_letters)
    rest = [f"{lesion_shown(label)} {percent_shown(shares[label])}" for label in others]
    return (bold, [*first, *rest], small) if bold else (first, rest, small)


def draw_border(
    canvas_HWC: NDArray[np.uint8],
    mask_HW: NDArray[np.bool_],
    colour: tuple[int, int, int],
    thickness: int,
    dash_px: int = 0,
) -> None:
    """Draw the outline of a mask onto an image, in place; dashed by so many pixels if not 0."""
    rows, columns = box_of(mask_HW)
    contours, _ = cv2.findContours(
        mask_HW[rows, columns].astype(np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE,
        offset=(columns.start, rows.start),
    )
    if not dash_px:
        cv2.drawContours(canvas_HWC, contours, -1, colour, thickness, cv2.LINE_AA)
        return
    dashes = [
        contour[start : start + dash_px]
        for contour in contours
        for start in range(0, len(contour), 2 * dash_px)
    ]
    cv2.polylines(canvas_HWC, dashes, isClosed=False, color=colour, thickness=thickness)


def draw_caption(canvas_HWC: NDArray[np.uint8], first: str, small: Sequence[str]) -> None:
    """Write a line and smaller ones below it in the top left corner, in place, if there is room."""
    if not has_room_for_text(canvas_HWC):
        return
    unit = unit_of(canvas_HWC)
    letters = _room(canvas_HWC.shape[1] / unit, _LETTER, len(first))
    bold = wrapped(first, letters)
    draw_lines(canvas_HWC, bold, unit, small, num_bold=len(bold))


def _room(width: float, letter: float, most: int) -> int:
    """How many letters fit into a width, both in units; a few always do, and never more."""
    return min(most, max(18, int((width - 16) / letter)))


def draw_lines(
    canvas_HWC: NDArray[np.uint8],
    lines: list[str],
    unit: float,
    small: Sequence[str] = (),
    colour: tuple[int, int, int] = _TEXT_RGB,
    *,
    num_bold: int = 1,
) -> None:
    """Write lines in the top left corner on a darkened strip, in place.

    The first ones are in bold; those of ``small`` come below the others in smaller letters.
    """
    if not lines:
        return
    tiny = _SMALL * unit
    pad, step, small_step = round(8 * unit), round(20 * unit), round(17 * unit)
    weights = [_BOLD if row < num_bold else 1.0 for row in range(len(lines))]
    widths_px = [
        text_width(line, unit, weight) for line, weight in zip(lines, weights, strict=True)
    ]
    widths_px += [text_width(line, tiny) for line in small]
    width = max(widths_px)
    large_px = pad + step * len(lines)
    shade(canvas_HWC[: large_px + small_step * len(small) + pad // 2, : width + 2 * pad])
    for row, (line, weight) in enumerate(zip(lines, weights, strict=True)):
        y = pad + round(step * (row + 0.7))
        write(canvas_HWC, line, pad, y, colour, unit, weight)
    for row, line in enumerate(small):
        y = large_px + round(small_step * (row + 0.7))
        write(canvas_HWC, line, pad, y, colour, tiny, 1.0)


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


def wrapped(text: str, letters: int) -> list[str]:
    """A text in lines of at most so many letters; a number and its % stay together."""
    lines = textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), letters)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def text_width(text: str, unit: float, weight: float = 1.0) -> int:
    """Width in pixels of a text that `write` writes: thick letters are wider."""
    thickness = _thickness(unit, weight)
    size, _ = cv2.getTextSize(drawable(text), cv2.FONT_HERSHEY_SIMPLEX, 0.45 * unit, thickness)
    return int(size[0])


def drawable(text: str) -> str:
    """The text in ASCII, which is all that OpenCV's fonts have: umlauts as two letters."""
    return text.translate(_SPELT_OUT).encode("ascii", "replace").decode()


def shade(strip_HWC: NDArray[np.uint8]) -> None:
    """Darken a part of a picture, in place, as a background for text."""
    strip_HWC[:] = cv2.convertScaleAbs(strip_HWC, alpha=_SHADE)


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
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, _thickness(unit, weight)
    cv2.putText(canvas_HWC, text, (x, y), font, 0.45 * unit, colour, thickness, cv2.LINE_AA)


def _thickness(unit: float, weight: float) -> int:
    return max(1, round(weight * unit))
