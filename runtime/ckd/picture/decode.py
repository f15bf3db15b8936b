"""Decoding photographs, and checking that they can be analysed.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ckd.contract.errors import InputError

#: Larger images are refused, because decoded they would not fit a small device's memory.
MAX_PIXELS = 64_000_000
#: Images with a shorter side are refused, because they cannot show a lesion.
MIN_SIDE_PX = 16

#: Endings of files in a folder that count as images.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode an image file into uint8 RGB, HWC, upright (EXIF orientation applied).

    Grey images are repeated over the channels, transparency is dropped, 16-bit samples keep their
    high byte.

    Raises:
        InputError: the file is missing, empty, truncated or not an image, or the image is smaller
            than `MIN_SIDE_PX` or has more than `MAX_PIXELS`.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            _check_size(path.name, height, width)
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":
                return _rgb_from_deep_grey(np.asarray(upright))
            if upright.mode == "P":  # Pillow warns about a direct conversion with transparency
                upright = upright.convert("RGBA")
            return np.asarray(upright.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected an image file") from None
    except UnidentifiedImageError:
        reason = "the file is empty" if path.stat().st_size == 0 else "not an image"
        raise InputError(f"{path}: {reason}; expected JPEG, PNG, BMP, TIFF or WebP") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(_too_large(path.name)) from None
    except InputError:
        raise
    except Exception as error:  # Pillow may raise anything for a damaged file
        raise InputError(f"{path}: damaged or cut off ({error}); copy the file again") from error


def check_rgb(image_HWC: NDArray[Any]) -> None:
    """Raise `InputError` unless the array is uint8 RGB of a size that can be analysed."""
    if not isinstance(image_HWC, np.ndarray):
        raise InputError(
            f"image: expected a NumPy array or a path, got {type(image_HWC).__name__}; "
            "np.asarray(...) makes an array of most things"
        )
    if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
        raise InputError(
            f"image: expected uint8[H, W, 3] in RGB order, "
            f"got {image_HWC.dtype}{list(image_HWC.shape)}"
        )
    _check_size("image", image_HWC.shape[0], image_HWC.shape[1])


def _check_size(name: str, height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(
            f"{name}: {width}x{height} pixels is too small to show a lesion; "
            f"expected at least {MIN_SIDE_PX}x{MIN_SIDE_PX}"
        )
    if height * width > MAX_PIXELS:
        raise InputError(_too_large(f"{name}: {width}x{height} pixels"))


def _too_large(what: str) -> str:
    return f"{what}: over the limit of {MAX_PIXELS // 1_000_000} megapixels; resize it first"


def _rgb_from_deep_grey(grey_HW: NDArray[Any]) -> NDArray[np.uint8]:
    """Modes I;16, I and F: 16-bit samples keep their high byte, 8-bit ones are kept."""
    if grey_HW.max(initial=0) > 255:
        grey_HW = np.clip(grey_HW, 0, 65535) / 256
    eight_bit = np.clip(grey_HW, 0, 255).astype(np.uint8)
    return np.repeat(eight_bit[..., None], 3, axis=2)
