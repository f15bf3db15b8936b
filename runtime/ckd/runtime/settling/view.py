"""What is kept of a frame to tell whether the next one shows the same lesion: small pictures.

Suffixes: H rows, W columns of the photograph; G side of the small square grid that frames are
compared on; C channels in RGB order.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.finding import Finding
from ckd.finding.outline import mask_on_grid

#: Side of the grid. A lesion is some twenty cells wide, and a shift is found to a tenth of a cell.
GRID: Final = 96
#: Width of the ring of skin around a lesion, in cells.
_RING: Final = 9
#: A lesion of fewer cells has no colour that can be told.
_LEAST_CELLS: Final = 12
#: Where a cascade outlines nothing the middle of the picture stands for the lesion.
_MIDDLE: Final = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One frame, as it is compared with another.

    Attributes:
        grey_GG: float32.
        lesion_GG: bool, True on the lesion.
        contrast_C: natural logarithm of how much darker the lesion is than the skin around it, by
            channel; light and gain of the camera are not in it. None for a lesion too small.
    """

    grey_GG: NDArray[np.float32]
    lesion_GG: NDArray[np.bool_]
    contrast_C: NDArray[np.float64] | None

    @classmethod
    def of(cls, finding: Finding) -> "View":
        """The view of a finding, which has what the networks saw."""
        assert finding.seen_SS3 is not None
        small_GGC = cv2.resize(finding.seen_SS3, (GRID, GRID), interpolation=cv2.INTER_AREA)
        grey_GG = cv2.cvtColor(small_GGC, cv2.COLOR_RGB2GRAY).astype(np.float32)
        mask_HW = finding.lesion_mask_HW
        lesion_GG = _middle() if mask_HW is None else mask_on_grid(mask_HW, GRID)
        return cls(grey_GG, lesion_GG, _contrast(np.asarray(small_GGC), lesion_GG))


@cache
def _middle() -> NDArray[np.bool_]:
    y, x = np.ogrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j]
    return np.asarray(x**2 + y**2 < _MIDDLE, np.bool_)


def _contrast(
    small_GGC: NDArray[np.uint8], lesion_GG: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    lesion = lesion_GG.view(np.uint8)
    around = cv2.dilate(lesion, np.ones((_RING, _RING), np.uint8)) - lesion
    if min(cv2.countNonZero(lesion), cv2.countNonZero(around)) < _LEAST_CELLS:
        return None
    inner_C, outer_C = (np.array(cv2.mean(small_GGC, one)[:3]) for one in (lesion, around))
    return np.asarray(np.log((outer_C + 1) / (inner_C + 1)), np.float64)
