"""Drawings in grey, such as masks: decoded and turned as photographs are, but for transparency.

What is transparent in a drawing was not drawn, so it lies on black, and not on white.

Suffixes: H rows, W columns, C channels.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture.decode import format_at, read_picture
from ckd.picture.limits import BLENDED, GREY_COLOUR, strip_rows
from ckd.picture.plain import open_with_pillow
from ckd.picture.upright import orientation_of, upright

_REMEDY = "save it as 8-bit grey without transparency: 0 for skin, 255 for lesion"


def read_drawing(path: Path) -> NDArray[np.uint8]:
    """A drawing as a viewer shows it on black, grey, upright, uint8 [H, W].

    Palettes, 1-bit, 16-bit and float samples are taken by their meaning, as in photographs.

    Raises:
        InputError: the file cannot be read as a photograph could; or it is in colours, black where
            it is not transparent, or of 16 bits that are all black in 8.
    """
    shown = read_picture(path)
    image_HWC = _on_black(path) if BLENDED in shown.notes else shown.image_HWC
    grey_HW, *others_HW = cv2.split(image_HWC)
    for other_HW in others_HW:
        if np.array_equal(other_HW, grey_HW):
            continue
        if np.abs(other_HW.astype(np.int16) - grey_HW).max() > GREY_COLOUR:
            raise InputError(f"{path}: is in colours, expected a drawing in grey; {_REMEDY}")
    if not grey_HW.any():
        _check_black(path, BLENDED in shown.notes)
    return np.asarray(grey_HW, np.uint8)


def _on_black(path: Path) -> NDArray[np.uint8]:
    try:
        with _opened(path) as image:
            image.load()
            orientation, _ = orientation_of(image)
            image_HWC = np.empty((image.height, image.width, 3), np.uint8)
            for top in range(0, image.height, rows := strip_rows(image.width)):
                strip = image.crop((0, top, image.width, min(top + rows, image.height)))
                layers_HWC = np.asarray(strip.convert("RGBA"), np.uint16)
                blended_HWC = (layers_HWC[..., :3] * layers_HWC[..., 3:] + 127) // 255
                image_HWC[top : top + strip.height] = blended_HWC
    except Exception:  # Pillow does not read what other decoders do: HEIC, deep TIFF
        raise InputError(f"{path}: is partly transparent; {_REMEDY}") from None
    return upright(image_HWC, orientation)


def _check_black(path: Path, is_blended: bool) -> None:
    """Raise `InputError` if a black drawing holds something that cannot be seen."""
    if is_blended:
        raise InputError(f"{path}: only its transparency shows a shape; {_REMEDY}")
    if format_at(path) not in ("PNG", "TIFF"):
        return
    try:
        with _opened(path) as image:
            highest = np.asarray(image).max() if image.mode.startswith("I") else 0
    except Exception:  # Pillow does not read all TIFF files
        return
    if highest > 0:
        raise InputError(
            f"{path}: holds values up to {highest}, which is black in 16 bits; {_REMEDY}"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `read_picture` has refused what is damaged
        with open_with_pillow(path, format_at(path)) as image:
            yield image
