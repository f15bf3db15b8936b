"""Reading of ground-truth masks, for training, scoring and checks."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import InputError
from ckd.data.samples import MASK_THRESHOLD


def read_grey_mask(path: Path) -> NDArray[np.uint8]:
    """A mask's pixels as stored, uint8 [H, W]; `InputError` if it cannot be decoded."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: unreadable mask ({error})") from error


def read_mask(path: Path, image_shape: tuple[int, ...] | None = None) -> NDArray[np.bool_]:
    """A ground-truth mask [H, W], True on the lesion.

    Raises:
        InputError: the mask is unreadable, or has another size than ``image_shape``.
    """
    mask_HW = read_grey_mask(path) > MASK_THRESHOLD
    if image_shape is not None and mask_HW.shape != image_shape[:2]:
        raise InputError(
            f"{path}: mask of {mask_HW.shape[1]}x{mask_HW.shape[0]} pixels, "
            f"its image has {image_shape[1]}x{image_shape[0]}"
        )
    return mask_HW
