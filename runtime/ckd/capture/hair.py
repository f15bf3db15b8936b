"""How much of a photograph hair covers: a cheap measure, to tell photographs apart by it.

Hair is dark, thin and long. Thin and dark is what a closing fills: the difference to the picture
(black-hat) is large there and nowhere else. What is thin, dark and short, such as dots, pores and
the meshes of a pigment network, is left out by its length, as DullRazor does (Lee et al. 1997,
Comput Biol Med 27:533; we measure one closing on one scale and repair nothing). Light hair is not
seen, and the ticks of a ruler that hang together count as hair.

Suffixes: H rows, W columns of the photograph, h, w those at the working scale, C in RGB order.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.finding.outline import box_of

#: A closing of so many pixels of 256 fills hair, which is thinner.
_KERNEL: Final = 9 / 256
#: Grey levels by which hair is darker than what lies around it.
_DARKER: Final = 18
#: Length of a hair that counts, as a share of the shorter side.
_LEAST_LENGTH: Final = 0.12
#: Of a piece of hair at most this share of its length, squared, is filled: others are blots.
_LARGEST_FILL: Final = 0.22
#: Upper bounds of the groups, as shares of the photograph. A ruler alone gives about 0.005.
_COVERS: Final = ((0.008, "hardly any hair"), (0.02, "some hair"), (1.0, "much hair"))
#: Names of the groups, from little to much.
COVERS: Final = tuple(name for _, name in _COVERS)


def hair_cover(
    image_HWC: NDArray[np.uint8],
    within_HW: NDArray[np.bool_] | None = None,
    side_px: int = 256,
) -> float:
    """Share of a photograph, or of a part of it, that dark hair covers, from 0 to 1.

    Args:
        image_HWC: RGB.
        within_HW: True on the part; None for all of it.
        side_px: shorter side at which hair is looked for, whatever the photograph's own size.
    """
    scale = side_px / min(image_HWC.shape[:2])
    size = tuple(max(1, round(scale * side)) for side in image_HWC.shape[1::-1])
    if size != image_HWC.shape[1::-1]:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=way), np.uint8)
    grey_hw = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)
    least_length, within_hw = _LEAST_LENGTH * min(grey_hw.shape), None
    if within_HW is not None:
        within = within_HW.view(np.uint8)
        if size != within.shape[::-1]:
            within = np.asarray(cv2.resize(within, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        box = box_of(within > 0)  # what lies around it takes as long as the part itself
        grey_hw, within_hw = np.ascontiguousarray(grey_hw[box]), within[box]
    kernel_px = round(_KERNEL * side_px) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    darker_hw = cv2.morphologyEx(grey_hw, cv2.MORPH_BLACKHAT, kernel)
    _, thin_hw = cv2.threshold(darker_hw, _DARKER, 1, cv2.THRESH_BINARY)
    if not cv2.countNonZero(thin_hw):
        return 0.0
    _, pieces_hw, stats, _ = cv2.connectedComponentsWithStats(thin_hw, ltype=cv2.CV_16U)
    lengths = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    is_hair = lengths >= least_length
    is_hair &= stats[:, cv2.CC_STAT_AREA] <= _LARGEST_FILL * lengths**2
    is_hair[0] = False  # what is not thin
    if not is_hair.any():
        return 0.0
    num_pixels = grey_hw.size
    if within_hw is not None:
        pieces_hw, num_pixels = pieces_hw * within_hw, max(1, cv2.countNonZero(within_hw))
    # A pixel at the edge of a hair is covered in part: by its share of the darkest of that hair.
    pieces, darker = (array_hw[is_hair[pieces_hw]] for array_hw in (pieces_hw, darker_hw))
    darkest = np.ones(len(stats))
    np.maximum.at(darkest, pieces, darker)
    return float((darker / darkest[pieces]).sum()) / num_pixels


def cover_of(share: float) -> str:
    """Name of the group that a share of `hair_cover` falls into."""
    return next(name for high, name in _COVERS if share <= high)
