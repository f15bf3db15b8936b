"""Decoding photographs, and checking that they can be analysed: the one way in.

What is done with files that are irregular in one way or another is listed in docs/photographs.md.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture import formats
from ckd.picture.limits import (
    MAX_PIXELS,
    MIN_SIDE_PX,
    Picture,
    check_size,
    damaged,
    too_large,
)

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "check_rgb",
    "format_at",
    "holds_image",
    "read_picture",
    "read_rgb",
]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode an image file into uint8 RGB, HWC, as a viewer shows it.

    It is upright (EXIF orientation applied) and in sRGB (profiles are applied). Grey images are
    repeated over the channels, transparent parts are laid on white, 16-bit samples keep their high
    byte.

    Raises:
        InputError: the file is missing, empty, damaged, of another format, or cannot be shown
            right; or the image is smaller than `MIN_SIDE_PX` or has more than `MAX_PIXELS`.
    """
    return read_picture(path).image_HWC


def read_picture(path: Path) -> Picture:
    """Decode as `read_rgb`, and say what had to be decided: `Picture.notes` is mostly empty.

    Raises:
        InputError: as `read_rgb`.
    """
    try:
        name = format_at(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what decoders pass over; the rest is refused here
            return _read(path, name)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise too_large(str(path)) from None
    except MemoryError:
        raise InputError(f"{path}: does not fit into the memory; resize it first") from None
    except Exception as error:  # decoders may raise anything for a damaged file
        raise damaged(path, error) from error


def format_at(path: Path) -> str:
    """What a file is by its content, see `ckd.picture.formats.format_of`.

    Raises:
        InputError: there is no such file, it is empty, or no file but a folder, pipe or device.
    """
    return formats.format_of(_head(path))


def holds_image(path: Path) -> bool:
    """Whether a file is of a format that is read, by its content; one that cannot be opened not."""
    try:
        return format_at(path) in formats.READ
    except InputError:
        return False


def _head(path: Path) -> bytes:
    """The first bytes of a file."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise InputError(f"{path}: is a folder, expected an image file")
        if not stat.S_ISREG(kind):  # opening a pipe would wait for ever
            raise InputError(f"{path}: is a pipe or device, expected an image file")
        with path.open("rb") as file:
            head = file.read(formats.HEAD_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise InputError(f"{path}: the file is empty; {formats.EXPECTED}")
    return head


def _read(path: Path, name: str) -> Picture:
    """Decoders are imported when a file needs them: a command for one JPEG starts sooner."""
    match name:
        case "JPEG":
            from ckd.picture.jpeg import read_jpeg

            return read_jpeg(path)
        case "TIFF":
            from ckd.picture.tiff import read_tiff

            return read_tiff(path)
        case "PNG" | "BMP" | "WebP" | "JPEG 2000" | "AVIF":
            from ckd.picture.plain import read_plain

            return read_plain(path, name)
        case "HEIC":
            from ckd.picture.heic import read_heic

            return read_heic(path)
        case "DICOM":
            from ckd.picture.dicom import read_dicom

            return read_dicom(path)
        case _:
            raise formats.refusal(path, name)


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
    check_size("image", image_HWC.shape[0], image_HWC.shape[1])
