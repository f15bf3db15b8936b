"""What a network is shown: a photograph brought to network size, here and nowhere else.

Training-time evaluation, export checks, benchmarks and the device all call it, so what a network is
measured on is what it is shown. Everything after it (layout, scaling, normalisation) lies inside
the exported graphs.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def network_image(image_HWC: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Squash an RGB image to ``side_px`` square, as the papers do (aspect ratio is not kept).

    Area averaging, so that shrinking a 20-megapixel photograph does not alias hair into texture.
    Large even-sized images are halved first, which is several times faster. A pixel at the seam of
    two output pixels then counts to both by halves: single pixels of sharp edges differ from one
    pass by up to 29 of 255 (18 in noise).
    """
    height, width = image_HWC.shape[:2]
    for _ in range(num_halvings(height, width, side_px)):
        height, width = height // 2, width // 2
        image_HWC = _area(image_HWC, height, width)
    if (height, width) == (side_px, side_px):
        return image_HWC
    return _area(image_HWC, side_px, side_px)


def num_halvings(height: int, width: int, side_px: int) -> int:
    """How often `network_image` halves: while both sides are even and at least 4 * ``side_px``."""
    halvings = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 4 * side_px:
        height, width, halvings = height // 2, width // 2, halvings + 1
    return halvings


def _area(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    resized = cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)
