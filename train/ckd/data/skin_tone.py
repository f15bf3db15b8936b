"""The individual typology angle (ITA): how light the skin around a lesion is.

Source: Chardon et al. 1991 for the angle, Del Bino and Bernerd 2013 for the bounds. An estimate:
the colours of a photograph depend on the dermatoscope's light and on the camera.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: Lower bounds in degrees, from light to dark.
_TONES: Final = (
    (55.0, "very light skin"),
    (41.0, "light skin"),
    (28.0, "intermediate skin"),
    (10.0, "tan skin"),
    (-30.0, "brown skin"),
    (-90.0, "dark skin"),
)
#: Names of the groups, from light to dark.
TONES: Final = tuple(name for _, name in _TONES)
#: Of photographs that show too little skin.
NO_TONE: Final = "tone not assessed"
#: Pixels darker than this (CIE lightness, 0 to 100) show the rim of the contact plate or hair.
_NOT_SKIN_L = 20.0


def typology_angle(image_HWC: NDArray[np.uint8], lesion_HW: NDArray[np.bool_]) -> float | None:
    """ITA in degrees of the median colour outside the lesion; None if too little skin is visible.

    Args:
        image_HWC: RGB.
        lesion_HW: True on the lesion; a margin around it, where pigment fades, is left out too.
    """
    side = 64
    size = (side, side)
    small_HWC = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)
    lesion = cv2.resize(lesion_HW.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    near = cv2.dilate(lesion, np.ones((7, 7), np.uint8)) > 0
    lab_HWC = cv2.cvtColor(small_HWC.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    skin = ~near & (lab_HWC[..., 0] > _NOT_SKIN_L)
    if np.count_nonzero(skin) < 0.05 * side * side:
        return None
    lightness, blue_yellow = (float(np.median(lab_HWC[..., c][skin])) for c in (0, 2))
    return float(np.degrees(np.arctan2(lightness - 50.0, max(blue_yellow, 1e-6))))


def tone_of(angle: float | None) -> str:
    """Name of the group that an angle falls into, or `NO_TONE` for none."""
    if angle is None:
        return NO_TONE
    return next(name for low, name in _TONES if angle > low or low == -90.0)
