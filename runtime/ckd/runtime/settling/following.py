"""Following one lesion from frame to frame: where it went, and when it is another one.

A frame shows the same lesion if the picture is the one before, shifted; the lesion lies where the
first one went; and it stands out from its skin as that one did. Everything else begins anew: an
answer that is pooled over two lesions would be worse than none.

Suffix: G side of the small grid, see `ckd.runtime.settling.view`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.runtime.settling.view import GRID, View

#: Height of the peak of the phase correlation. In pans over 30 photographs of ISIC 2017 it was 0.59
#: or more from one frame to the next, and between different photographs 0.38 at most.
_LEAST_RESPONSE: Final = 0.4
#: Jaccard index of the lesion and of the first one where it went.
_LEAST_OVERLAP: Final = 0.5
#: By how much the logarithm of the contrast may differ from the first one's in any channel.
_MOST_CONTRAST: Final = 0.5


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much a picture moved, in shares of its width and height."""

    x: float
    y: float

    def __add__(self, other: "Shift") -> "Shift":
        return Shift(self.x + other.x, self.y + other.y)

    def applied(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """A square field moved along; what comes in from outside is 0."""
        side = field.shape[0]
        move = np.array([[1, 0, self.x * side], [0, 1, self.y * side]], np.float32)
        return np.asarray(cv2.warpAffine(field, move, (side, side)), np.float32)


def shift_between(
    before_GG: NDArray[np.float32], now_GG: NDArray[np.float32]
) -> tuple[Shift, float]:
    """The shift from one picture to the next, and how sure it is, from 0 to 1.

    By phase correlation (Kuglin and Hines 1975) under a Hann window, so that the dark border of the
    field of view, which does not move with the skin, counts little.
    """
    (x, y), response = cv2.phaseCorrelate(before_GG, now_GG, _window())
    return Shift(x / GRID, y / GRID), float(response)


@cache
def _window() -> NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow((GRID, GRID), cv2.CV_32F), np.float32)


class Followed:
    """One lesion, from the frame in which it was first seen.

    Args:
        first: that frame.
    """

    def __init__(self, first: View) -> None:
        self._first, self._last = first, first
        self._moved = Shift(0.0, 0.0)

    def shift_to(self, view: View) -> Shift | None:
        """By how much the picture moved since the frame before; None if it is another lesion."""
        shift, response = shift_between(self._last.grey_GG, view.grey_GG)
        moved = self._moved + shift
        if response < _LEAST_RESPONSE or not self._is_same(view, moved):
            return None
        self._last, self._moved = view, moved
        return shift

    def shows_other(self, view: View) -> bool:
        """Whether a frame that `shift_to` did not follow has a lesion, and it is another one.

        A blurred or shaken frame cannot be followed either, and is none.
        """
        return bool(view.lesion_GG.any()) and not self._is_same(view, self._moved)

    def _is_same(self, view: View, moved: Shift) -> bool:
        gone_GG = moved.applied(self._first.lesion_GG.astype(np.float32)) > 0.5
        either = np.count_nonzero(gone_GG | view.lesion_GG)
        both = np.count_nonzero(gone_GG & view.lesion_GG)
        if both < _LEAST_OVERLAP * either:
            return False
        first_C, now_C = self._first.contrast_C, view.contrast_C
        if first_C is None or now_C is None:
            return first_C is now_C
        return bool(np.abs(first_C - now_C).max() <= _MOST_CONTRAST)
