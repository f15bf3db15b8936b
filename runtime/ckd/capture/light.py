"""Exposure and glare, on what the networks saw, where the lesion and its ring are.

Suffix: S side of what the networks saw; C channels in RGB order.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: A channel from here on is clipped.
_CLIPPED: Final = 250
#: Glare is light without colour, and brighter than what lies around it (after Stoecker and Barata,
#: who take the intensity): the darkest channel, and by how many levels.
_GLARING: Final = 165
_ABOVE: Final = 25
_AROUND: Final = 31
#: Of the field of view this share is darker than what its light is told by.
_LIT: Final = 0.95


@dataclass(frozen=True, slots=True)
class Light:
    """Light of a picture.

    Attributes:
        bright: share of the pixels of lesion and ring with a clipped channel.
        light: brightness that one in twenty of the field of view reaches, 0 to 1. Skin is not
            judged by its own brightness, which would call dark skin underexposed.
        glare: share of the pixels of the lesion that glare.
    """

    bright: float
    light: float
    glare: float


def light_of(
    seen_SSC: NDArray[np.uint8],
    field_SS: NDArray[np.bool_],
    lesion_SS: NDArray[np.bool_],
    ring_SS: NDArray[np.bool_],
) -> Light:
    """Exposure and glare.

    Args:
        seen_SSC: uint8 RGB.
        field_SS: True within the field of view.
        lesion_SS: True on the lesion; without one all of ``ring_SS`` counts.
        ring_SS: True on the lesion and the skin around it.
    """
    red, green, blue = cv2.split(seen_SSC)
    brightest_SS = np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)
    darkest_SS = np.asarray(cv2.min(cv2.min(red, green), blue), np.uint8)
    above_SS = np.asarray(cv2.subtract(darkest_SS, cv2.blur(darkest_SS, (_AROUND, _AROUND))))
    ring_SS = ring_SS & field_SS
    num_ring = max(1, int(np.count_nonzero(ring_SS)))
    clips_SS = ring_SS & (brightest_SS >= _CLIPPED)
    lesion_SS = lesion_SS if lesion_SS.any() else ring_SS
    glares_SS = lesion_SS & (darkest_SS >= _GLARING) & (above_SS >= _ABOVE)
    counts = cv2.calcHist([brightest_SS], [0], field_SS.view(np.uint8), [256], [0, 256]).ravel()
    reached = int(np.searchsorted(np.cumsum(counts), _LIT * counts.sum()))
    return Light(
        bright=float(np.count_nonzero(clips_SS)) / num_ring,
        light=min(255, reached) / 255,
        glare=float(np.count_nonzero(glares_SS)) / max(1, int(np.count_nonzero(lesion_SS))),
    )
