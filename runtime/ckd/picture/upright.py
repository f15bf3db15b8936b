"""Turning a photograph upright, as its EXIF orientation says.

Suffixes: H rows, W columns, C channels.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ORIENTATION_TAG = 0x0112


def orientation_of(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """EXIF orientation of an opened image, 1 to 8, and a note where it cannot be read.

    Values that EXIF does not define count as 1, upright, as viewers take them.
    """
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow may raise anything for damaged EXIF
        return 1, ("its EXIF data are damaged: it is taken to be upright",)
    return known_orientation(value), ()


def known_orientation(value: object) -> int:
    """An orientation of 1 to 8; whatever else a file says counts as 1."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image_HWC: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture that was stored with that EXIF orientation (EXIF 2.32, 4.6.5.1), upright."""
    if orientation >= 5:
        image_HWC = image_HWC.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image_HWC = image_HWC[::-1]
    if orientation in (2, 3, 6, 7):
        image_HWC = image_HWC[:, ::-1]
    return np.ascontiguousarray(image_HWC)
