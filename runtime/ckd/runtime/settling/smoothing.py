"""A mask that is smoothed in time: a mean over frames, moved along with the skin.

Suffixes: H rows, W columns of the photograph; S side of the square grid on which masks are added.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.outline import mask_on_grid
from ckd.runtime.settling.following import Shift

#: Side of the grid: about what the networks see.
_SIDE: Final = 192
#: Frames that count; those before fade. The skin is followed as it shifts, but not as it turns or
#: comes closer, so more frames would lag behind a moving hand.
_FRAMES: Final = 3
#: Frames without a fine mask after which there is none.
_KEPT: Final = 10


class SmoothMask:
    """The fine mask of one lesion over the last frames."""

    def __init__(self) -> None:
        self._mean_SS: NDArray[np.float32] | None = None
        self._count = self._age = 0

    def move(self, shift: Shift) -> None:
        """The picture moved, by one frame."""
        if self._mean_SS is not None:
            self._mean_SS = shift.applied(self._mean_SS)

    def add(self, mask_HW: NDArray[np.bool_] | None) -> None:
        """Take in the mask of a frame, or that it has none, after `move`."""
        if mask_HW is None:
            self._age += 1
            return
        now_SS = mask_on_grid(mask_HW, _SIDE).astype(np.float32)
        if self._mean_SS is None:
            self._mean_SS = now_SS
        self._age, self._count = 0, min(self._count + 1, _FRAMES)
        self._mean_SS += (now_SS - self._mean_SS) / self._count

    def mask(self, size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
        """What at least half of the frames call lesion; None without a mask of a young frame.

        Args:
            size_hw: rows and columns of the photograph.
        """
        if self._mean_SS is None or self._age > _KEPT:
            return None
        height, width = size_hw
        mask_HW = np.zeros(size_hw, np.bool_)
        rows, columns = (np.flatnonzero(self._mean_SS.max(axis=axis) > 0.25) for axis in (1, 0))
        if not len(rows):
            return mask_HW
        # Only what lies around the lesion is enlarged: it is a small part of the picture.
        top, bottom = _pixels(rows, height)
        left, right = _pixels(columns, width)
        scale_y, scale_x = height / _SIDE, width / _SIDE
        enlarge = np.array(
            [
                [1 / scale_x, 0, (left + 0.5) / scale_x - 0.5],
                [0, 1 / scale_y, (top + 0.5) / scale_y - 0.5],
            ]
        )
        levels_SS = cv2.convertScaleAbs(self._mean_SS, alpha=255.0)
        part = cv2.warpAffine(
            levels_SS,
            enlarge,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        mask_HW[top:bottom, left:right] = part >= 128
        return mask_HW


def _pixels(cells: NDArray[np.intp], side_px: int) -> tuple[int, int]:
    """First pixel, and the one behind the last, of cells and of one more on either side."""
    first, behind = int(cells[0]) - 1, int(cells[-1]) + 2
    return max(0, first * side_px // _SIDE), min(side_px, -(-behind * side_px // _SIDE))
