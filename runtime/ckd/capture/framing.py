"""Where a lesion lies in the picture: cut off, too small, off centre; and what lies around it.

Suffix: S side of the square grid on which a mask is looked at.
"""

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
    lit = (cv2.blur(grey_SS, (3, 3)) > _DARK).astype(np.uint8)
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


def hull_of(lesion_SS: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The convex hull of the lesion: an outline may leave out what glares."""
    contours, _ = cv2.findContours(
        lesion_SS.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    hull = np.zeros(lesion_SS.shape, np.uint8)
    if contours:
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return np.asarray(hull > 0, np.bool_)


def framing_of(lesion_SS: NDArray[np.bool_], field_SS: NDArray[np.bool_]) -> Framing:
    """Where a lesion, which has a cell at least, lies."""
    side, area = lesion_SS.shape[0], int(np.count_nonzero(lesion_SS))
    width = float(np.sqrt(4 * area / np.pi))
    is_border_SS = field_SS & ~_shrunk(field_SS, _BORDER)
    reaching_SS = cv2.dilate(lesion_SS.view(np.uint8), _square(_REACHES)) > 0
    moments = cv2.moments(lesion_SS.view(np.uint8), binaryImage=True)
    x, y = (2 * (moments[key] / area + 0.5) / side - 1 for key in ("m10", "m01"))
    return Framing(
        cut_off=float(np.count_nonzero(reaching_SS & is_border_SS)) / (_BORDER * width),
        width=width / side,
        off_centre=float(np.hypot(x, y)),
    )


def _shrunk(field_SS: NDArray[np.bool_], cells: int) -> NDArray[np.bool_]:
    """What lies so many cells within a field; beyond the picture is no field."""
    shrunk = cv2.erode(
        field_SS.view(np.uint8), _square(cells), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(shrunk > 0, np.bool_)


def _square(cells: int) -> NDArray[np.uint8]:
    return np.ones((2 * cells + 1,) * 2, np.uint8)
