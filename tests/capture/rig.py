"""Generated captures for tests of the coach, and what it measures of them.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.capture import capture_scores
from ckd.data.captures import scene
from ckd.picture.resize import network_image

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
#: As fitted, in round numbers.
LIMITS = {
    "focus": -5.4, "motion": 1.3, "bright": 0.5, "light": 0.3, "glare": 0.15, "cut_off": 0.5,
    "width": 0.1, "off_centre": 0.5, "cover": 0.05,
}  # fmt: skip


@cache
def capture(number: int = 2, side_px: int = 1080) -> tuple[Image, Mask]:
    """A lesion in focus, without a fault."""
    return scene(number, side_px)


def scores(image_HWC: Image, mask_HW: Mask, mm_per_px: float | None = None) -> dict[str, float]:
    return capture_scores(image_HWC, network_image(image_HWC, 192), mask_HW, mm_per_px)


def blurred(image_HWC: Image, deviation_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image_HWC, (0, 0), deviation_px), np.uint8)


def noisy(image_HWC: Image, deviation: float) -> Image:
    grain = np.random.default_rng(0).normal(0, deviation, image_HWC.shape)
    return np.clip(np.round(image_HWC + grain), 0, 255).astype(np.uint8)
