"""From a file or frame to what the networks see, and from logits back to the photograph.

What a network is shown is resized here and nowhere else. Training-time evaluation, export checks,
benchmarks and the device all call it, so what a network is measured on is what it is shown.
Everything after it (layout, scaling, normalisation) lies inside the exported graphs.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ckd.contract.errors import InputError

#: ImageNet statistics in RGB order, of pixels scaled to [0, 1] (as CKDNet's code).
IMAGENET_MEAN_C = (0.485, 0.456, 0.406)
IMAGENET_STD_C = (0.229, 0.224, 0.225)

#: Above this an image is refused: decoded it would not fit a small device's memory.
MAX_PIXELS = 64_000_000
#: Below this side length there is nothing to analyse.
MIN_SIDE_PX = 16

#: File name endings that a folder is searched for.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode an image file into uint8 RGB, HWC, upright (EXIF orientation applied).

    Grey images are repeated over the channels, transparency is dropped, 16-bit samples keep their
    high byte.

    Raises:
        InputError: missing, empty, truncated, not an image, too small, or over `MAX_PIXELS`.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            _check_size(path.name, height, width)
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":
                return _rgb_from_deep_grey(np.asarray(upright))
            if upright.mode == "P":  # Pillow warns of going to RGB in one step if it is transparent
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
    except Exception as error:  # Pillow reports a cut-off or damaged file as almost anything
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


def network_image(image_HWC: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Squash an RGB image to ``side_px`` square, as the papers do (aspect ratio is not kept).

    Area averaging, so that shrinking a 20-megapixel photograph does not alias hair into texture.
    Large even-sized images are halved first, which is several times faster. A pixel at the seam of
    two output pixels then counts to both by halves: single pixels of sharp edges differ from one
    pass by up to 29 of 255 (18 in noise).
    """
    height, width = image_HWC.shape[:2]
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 4 * side_px:
        height, width = height // 2, width // 2
        image_HWC = _area(image_HWC, height, width)
    if (height, width) == (side_px, side_px):
        return image_HWC
    return _area(image_HWC, side_px, side_px)


def mask_from_logits(
    logits_hw: NDArray[np.float32],
    height: int,
    width: int,
    *,
    threshold: float = 0.5,
    aligned_to_px: int | None = None,
) -> NDArray[np.bool_]:
    """Lesion mask in pixels of the photograph from logits at network size or coarser.

    The logits are upsampled bilinearly and then cut at the logit of ``threshold``: the border is
    smooth at any size, and no sigmoid is needed. (The papers upsample probabilities; the 0.5
    contour differs by less than a network pixel.)

    Args:
        logits_hw: at network size, or coarser with ``aligned_to_px``.
        height: of the photograph.
        width: of the photograph.
        threshold: probability above which a pixel is lesion.
        aligned_to_px: network size, if the corner samples of coarse logits lie on the corner pixels
            of the network image (align_corners, as in CKDNet's coarse network) rather than at the
            centres of equal cells. They are then brought to network size that way first.
    """
    return enlarge_logits(logits_hw, height, width, aligned_to_px) > logit(threshold)


def enlarge_logits(
    logits_hw: NDArray[np.float32], height: int, width: int, aligned_to_px: int | None = None
) -> NDArray[np.float32]:
    """Logits in pixels of the photograph; arguments as of `mask_from_logits`."""
    if aligned_to_px is not None:
        logits_hw = _enlarge_aligned(logits_hw, aligned_to_px)
    enlarged = cv2.resize(logits_hw, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, dtype=np.float32)


def logit(probability: float) -> float:
    """The logit at which a sigmoid gives ``probability``, which lies strictly between 0 and 1."""
    return float(np.log(probability / (1.0 - probability)))


def softmax(logits_K: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities along the last axis, safe for logits of any size."""
    wide_K = np.asarray(logits_K, dtype=np.float32)  # differences of float16 logits may overflow
    shifted = np.exp(wide_K - wide_K.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def class_probabilities(logits_K: NDArray[np.float32], exclusive: bool) -> NDArray[np.float32]:
    """Softmax over labels that exclude each other, otherwise a sigmoid of each."""
    if exclusive:
        return softmax(logits_K)
    half_K = np.asarray(logits_K, dtype=np.float32) / 2
    return np.asarray(0.5 + 0.5 * np.tanh(half_K), dtype=np.float32)  # no overflow


def _area(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    resized = cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def _enlarge_aligned(logits_hw: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Bilinear with corner samples on corner pixels, which OpenCV's resize cannot do."""
    rows, columns = logits_hw.shape
    step_y, step_x = (rows - 1) / (side_px - 1), (columns - 1) / (side_px - 1)
    enlarged = cv2.warpAffine(
        logits_hw,
        np.array([[step_x, 0.0, 0.0], [0.0, step_y, 0.0]]),
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(enlarged, dtype=np.float32)


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
