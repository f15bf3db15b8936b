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
#: Width of the ring of skin around a lesion, as a share of the side.
_RING: Final = 0.08


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a lesion lies.

    Attributes:
        cut_off: how much of its border lies on the border of the field, as a share of the width of
            a disc of its area.
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
    side = 2 * round(_RING * lesion_SS.shape[0]) + 1
    return np.asarray(cv2.dilate(lesion_SS.view(np.uint8), np.ones((side, side))) > 0, np.bool_)


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
    reach = 2 * _BORDER + 1
    inner = cv2.erode(
        field_SS.view(np.uint8),
        np.ones((reach, reach)),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    moments = cv2.moments(lesion_SS.view(np.uint8), binaryImage=True)
    x, y = (2 * (moments[key] / area + 0.5) / side - 1 for key in ("m10", "m01"))
    return Framing(
        cut_off=float(np.count_nonzero(lesion_SS & (inner == 0))) / (_BORDER * width),
        width=width / side,
        off_centre=float(np.hypot(x, y)),
    )
