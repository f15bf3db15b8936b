"""Where a lesion lies in the picture: cut off, too small, off centre; and what lies around it.

Suffix: S side of the square grid on which a mask is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: Grey levels below which there is no picture, but the dark around a round field of view.
_DARK: Final = 14
#: Cells along the border of the field: of a round one the outermost is half dark.
_BORDER: Final = 2
#: A lesion whose outline comes so near to the border, in cells, reaches it: networks stop short.
_REACHES: Final = 4
#: Width of the ring of skin around a lesion, as a share of the side.
_RING: Final = 0.08


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a lesion lies.

    Attributes:
        cut_off: length of the field's border that it reaches, in widths of a disc of its area.
        width: of that disc, as a share of the picture's side.
        off_centre: distance of its middle from that of the picture, as a share of half a side.
    """

    cut_off: float
    width: float
    off_centre: float


def field_of(seen_SSC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where there is a picture: all of it, or a round field of view on black."""
    grey_SS = cv2.cvtColor(seen_SSC, cv2.COLOR_RGB2GRAY)
    _, lit = cv2.threshold(cv2.blur(grey_SS, (3, 3)), _DARK, 1, cv2.THRESH_BINARY)
    if cv2.countNonZero(lit) == lit.size:
        return np.ones(lit.shape, np.bool_)
    contours, _ = cv2.findContours(lit, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    field = np.zeros_like(lit)
    if contours:
        cv2.drawContours(field, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return np.asarray(field > 0, np.bool_)


def ring_of(lesion_SS: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lesion and the skin around it; everything where there is no lesion."""
    if not lesion_SS.any():
        return np.ones_like(lesion_SS)
    ring = _square(round(_RING * lesion_SS.shape[0]))
    return np.asarray(cv2.dilate(lesion_SS.view(np.uint8), ring) > 0, np.bool_)


def contours_of(lesion_SS: NDArray[np.bool_]) -> Sequence[NDArray[np.int32]]:
    """The outlines of the lesion's pieces, cell by cell; none without a lesion."""
    contours, _ = cv2.findContours(
        lesion_SS.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return [np.asarray(contour, np.int32) for contour in contours]


def hull_of(contours: Sequence[NDArray[np.int32]], side: int) -> NDArray[np.bool_]:
    """The convex hull of the lesion: an outline may leave out what glares."""
    hull = np.zeros((side, side), np.uint8)
    if contours:
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return np.asarray(hull > 0, np.bool_)


def framing_of(lesion_SS: NDArray[np.bool_], field_SS: NDArray[np.bool_]) -> Framing:
    """Where a lesion, which has a cell at least, lies."""
    lesion, field = lesion_SS.view(np.uint8), field_SS.view(np.uint8)
    side, area = lesion_SS.shape[0], cv2.countNonZero(lesion)
    width = float(np.sqrt(4 * area / np.pi))
    # Beyond the picture is no field.
    inner = cv2.erode(field, _square(_BORDER), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    border = cv2.subtract(field, inner)
    reached = cv2.bitwise_and(cv2.dilate(lesion, _square(_REACHES)), border)
    moments = cv2.moments(lesion, binaryImage=True)
    x, y = (2 * (moments[key] / area + 0.5) / side - 1 for key in ("m10", "m01"))
    return Framing(
        cut_off=cv2.countNonZero(reached) / (_BORDER * width),
        width=width / side,
        off_centre=float(np.hypot(x, y)),
    )


def _square(cells: int) -> NDArray[np.uint8]:
    return np.ones((2 * cells + 1,) * 2, np.uint8)
