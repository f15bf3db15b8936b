"""How far the borders of two masks lie apart, where the Jaccard index says how much they share.

Suffixes: H rows, W columns.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def boundary_distance(mask_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]) -> float | None:
    """The 95 % Hausdorff distance of two masks' borders, in hundredths of the diagonal.

    Of the distances of every border pixel of either mask to the other's border the 95th
    percentile. The edge of the photograph is no border. None if a mask has none, because it is
    empty or fills the photograph.

    Args:
        mask_HW: True on the lesion.
        truth_HW: likewise, of the same size.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    borders = [one & (cv2.erode(one.astype(np.uint8), kernel) == 0) for one in (mask_HW, truth_HW)]
    if not all(border.any() for border in borders):
        return None
    to_border = [
        cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for border in borders
    ]
    distances = np.concatenate([to_border[1][borders[0]], to_border[0][borders[1]]])
    return float(100 * np.percentile(distances, 95) / np.hypot(*mask_HW.shape))
