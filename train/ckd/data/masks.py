"""Reading of ground-truth masks, for training, scoring and checks."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.data.samples import MASK_THRESHOLD
from ckd.picture.drawing import read_drawing


def read_mask(path: Path, image_shape: tuple[int, ...] | None = None) -> NDArray[np.bool_]:
    """A ground-truth mask [H, W], True on the lesion, turned as its EXIF orientation says.

    Raises:
        InputError: the mask cannot be read or is no drawing in grey (see `read_drawing`), its
            lesion is too faint to count, or it has another size than ``image_shape``.
    """
    grey_HW = read_drawing(path)
    if is_faint(grey_HW):
        raise InputError(
            f"{path}: has no pixel above {grey_HW.max()}, so nothing would count as lesion; save "
            "masks as 8-bit grey with 0 for skin and 255 for lesion"
        )
    if image_shape is not None and grey_HW.shape != image_shape[:2]:
        raise InputError(
            f"{path}: mask of {grey_HW.shape[1]}x{grey_HW.shape[0]} pixels, "
            f"its image has {image_shape[1]}x{image_shape[0]}; export the mask at that size"
        )
    return grey_HW > MASK_THRESHOLD


def is_faint(grey_HW: NDArray[np.uint8]) -> bool:
    """Whether something was drawn, and nothing of it would count as lesion."""
    return 0 < int(grey_HW.max()) <= MASK_THRESHOLD
