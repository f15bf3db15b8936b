"""Random changes of training images (paper section 4.2; the authors' code for the numbers).

All randomness comes from the generator that is passed in, so every process draws the same views of
a sample.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.picture.resize import network_image
from ckd.train.feeding.augmentation import Augmentation

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

#: CKDNet's seven colour jitters as (brightness, contrast, saturation, hue). One of them is drawn.
ONE_OF_SEVEN = (
    (0.1, 0.0, 0.0, 0.0),
    (0.0, 0.2, 0.0, 0.0),
    (0.0, 0.0, 0.1, 0.0),
    (0.0, 0.0, 0.0, 0.15),
    (0.1, 0.1, 0.1, 0.1),
    (0.15, 0.15, 0.15, 0.15),
    (0.2, 0.2, 0.2, 0.2),
)


def augment(
    image_HWC: Image,
    mask_HW: Mask | None,
    settings: Augmentation,
    side_px: int,
    rng: np.random.Generator,
) -> tuple[Image, Mask | None]:
    """A random view of an image at network size, and its mask under the same geometry."""
    height, width = image_HWC.shape[:2]
    if min(height, width) > 1.5 * side_px:
        # An area filter shrinks it first: the warp below samples bilinearly and would alias.
        shrunk_px = int(1.25 * side_px)
        image_HWC = network_image(image_HWC, shrunk_px)
        if mask_HW is not None:
            mask_HW = shrink_mask(mask_HW, shrunk_px, settings)
    matrix = _random_affine(image_HWC.shape[:2], settings, side_px, rng)
    size = (side_px, side_px)
    mode = cv2.BORDER_REFLECT_101 if settings.border == "reflect" else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(image_HWC, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mode)
    warped_mask = None
    if mask_HW is not None:
        # The border rule of the image applies: a reflected lesion is lesion, black is not.
        soft = cv2.warpAffine(
            mask_HW.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR, borderMode=mode
        )
        warped_mask = soft > 0 if settings.mask_rule == "any" else soft >= 0.5
    return jitter_colour(np.asarray(warped, np.uint8), settings.colour, rng), warped_mask


def shrink_mask(mask_HW: Mask, side_px: int, settings: Augmentation) -> Mask:
    """Mask at network size: pixels covered by at least a half, or at all as by the authors."""
    covered = cv2.resize(
        mask_HW.astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA
    )
    return np.asarray(covered > 0 if settings.mask_rule == "any" else covered >= 0.5)


def multi_scale_crop(
    image_HWC: Image, fraction: float, settings: Augmentation, rng: np.random.Generator
) -> Image:
    """CKDNet's random crop of ``fraction`` of the sides, from a centre that is somewhat larger.

    ``official_crop_axes`` repeats an error of the authors: they read PIL's (width, height) as
    (height, width), so the crop has the transposed shape and is padded with black where it exceeds
    the photograph.
    """
    height, width = image_HWC.shape[:2]
    if settings.official_crop_axes:
        height, width = width, height
    crop = np.array([int(fraction * height), int(fraction * width)])
    centre = crop + int(fraction * settings.crop_margin_px)
    if not settings.official_crop_axes:
        centre = np.minimum(centre, [height, width])
    slack = np.maximum(centre - crop, 0)
    centre_top_left = (np.array(image_HWC.shape[:2]) - centre) // 2
    top, left = centre_top_left + rng.integers(0, slack + 1)
    return _crop_padded(image_HWC, int(top), int(left), int(crop[0]), int(crop[1]))


def jitter_colour(image_HWC: Image, kind: str, rng: np.random.Generator) -> Image:
    """Change the colour at random; ``kind`` is that of `Augmentation.colour`."""
    if kind == "none":
        return image_HWC
    if kind == "one_of_seven":
        return _jitter(image_HWC, ONE_OF_SEVEN[rng.integers(len(ONE_OF_SEVEN))], rng)
    image = _jitter(image_HWC, (0.25, 0.25, 0.3, 0.03), rng)
    # Cameras differ in white balance, gamma and sharpness.
    gains = rng.uniform(0.88, 1.12, 3)
    gamma = float(np.exp(rng.uniform(-0.25, 0.25)))
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma * gains
    table = (np.clip(ramp, 0, 1) * 255).astype(np.uint8)
    image = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    if rng.random() < 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4)), np.uint8)
    return image


def _jitter(
    image_HWC: Image, ranges: tuple[float, float, float, float], rng: np.random.Generator
) -> Image:
    brightness, contrast, saturation, hue = ranges
    x = image_HWC.astype(np.float32)
    x *= rng.uniform(1 - brightness, 1 + brightness)
    if contrast:
        mean = float(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).mean())
        x = mean + (x - mean) * np.float32(rng.uniform(1 - contrast, 1 + contrast))
    if saturation:
        grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
        x = grey + (x - grey) * np.float32(rng.uniform(1 - saturation, 1 + saturation))
    out = np.clip(x, 0, 255).astype(np.uint8)
    if hue:
        hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV)
        turn = round(180 * float(rng.uniform(-hue, hue)))  # OpenCV's 8-bit hue has 180 steps
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + turn) % 180
        out = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    return out


def _random_affine(
    shape: tuple[int, ...], settings: Augmentation, side_px: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """2x3 matrix from source to network pixels: resize, then flip, rotate, shear, scale, shift."""
    height, width = shape
    angle, shear = np.deg2rad(
        [
            rng.uniform(-settings.rotate_deg, settings.rotate_deg),
            rng.uniform(-settings.shear_deg, settings.shear_deg),
        ]
    )
    if settings.rotate_share < 1.0 and rng.random() >= settings.rotate_share:
        angle = 0.0
    scale = rng.uniform(*settings.scale)
    shift = side_px * rng.uniform(-1, 1, 2) * settings.shift
    flips = np.where(settings.flip & (rng.random(2) < 0.5), -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, np.tan(shear)], [0, 1]])
    linear = turn @ np.diag(flips) @ np.diag([side_px / width, side_px / height])
    source_centre = np.array([width - 1, height - 1]) / 2
    offset = (side_px - 1) / 2 + shift - linear @ source_centre
    return np.hstack([linear, offset[:, None]])


def _crop_padded(image_HWC: Image, top: int, left: int, height: int, width: int) -> Image:
    """A crop that may reach beyond the image, where it is black."""
    out = np.zeros((height, width, 3), np.uint8)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + height, image_HWC.shape[0]), min(left + width, image_HWC.shape[1])
    out[y0 - top : y1 - top, x0 - left : x1 - left] = image_HWC[y0:y1, x0:x1]
    return out
