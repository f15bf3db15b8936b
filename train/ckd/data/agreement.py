"""How well a mask lies on what can be seen, and whether it would lie better otherwise.

Lesions are darker than the skin around them, and their borders are where the picture changes. Both
are measured on a small copy of the photograph, for the mask as it is and as it was if it has been
turned or mirrored. Inverting a mask changes the sign of its fit.

Suffixes: H rows, W columns, C channels in RGB order, S side of the small copy, N masks, P pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE_PX = 64
#: Darker pixels are corners of a lens or marks of ink rather than skin.
_DARKEST_SKIN = 50
#: So much does it count that borders agree, beside that the lesion is darker.
_BORDER_SHARE = 0.7
_BLUR_PX = 1.5

#: A picture with less skin is judged as a whole.
_LEAST_SKIN = 0.25
#: Less than that is no border: rounding, in a picture of one colour or a mask without one.
_LEAST_NORM = 1e-3
_Y_SS, _X_SS = np.mgrid[-1 : 1 : _SIDE_PX * 1j, -1 : 1 : _SIDE_PX * 1j]
#: The circle that a lens shows evenly.
_LENS_SS = _Y_SS**2 + _X_SS**2 < 1

Floats = NDArray[np.float32]

#: What may have been done to a mask, in words, and how it is undone. Quarter turns change the size
#: of a mask unless it is square.
UNDOING: Final[Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    "mirrored left to right": lambda mask: mask[:, ::-1],
    "mirrored upside down": lambda mask: mask[::-1],
    "turned by 90 degrees clockwise": lambda mask: np.rot90(mask),
    "turned by 90 degrees anticlockwise": lambda mask: np.rot90(mask, 3),
    "mirrored along a diagonal": lambda mask: mask.T,
    "mirrored along the other diagonal": lambda mask: mask[::-1, ::-1].T,
}
_KEEPING_SIZE = 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a mask lies on its photograph.

    Attributes:
        fit: from about -1.7 to 1.7; above 0.5 for most lesions, below 0 if the inside is brighter.
        others: the fit if the damage were undone, by its name in `UNDOING`.
        contrast: distance of the mean colours inside and outside, 0 to 441; infinite if there is
            nothing outside to compare with.
        border: share of the picture's border that lies in the mask.
    """

    fit: float
    others: Mapping[str, float]
    contrast: float
    border: float


def agreement_of(image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_]) -> Agreement:
    """Compare a mask with its photograph of the same size; neither is changed."""
    size = (_SIDE_PX, _SIDE_PX)
    small_SSC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask_SS: Floats = np.asarray(
        cv2.resize(mask_HW.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
    ).astype(np.float32)
    mask_SS /= 255
    is_square = mask_HW.shape[0] == mask_HW.shape[1]
    names = list(UNDOING)[: None if is_square else _KEEPING_SIZE]
    masks_NP = np.stack([mask_SS, *(UNDOING[name](mask_SS) for name in names)])
    masks_NP = masks_NP.reshape(len(masks_NP), -1)

    is_skin_SS = np.maximum.reduce(list(np.moveaxis(small_SSC, 2, 0))) >= _DARKEST_SKIN
    if is_skin_SS.mean() < _LEAST_SKIN:
        is_skin_SS[:] = True
    is_seen_P = (is_skin_SS & _LENS_SS).reshape(-1)
    separations_N, contrast = _separations(small_SSC.reshape(-1, 3), is_seen_P, masks_NP)
    fits_N = separations_N + _BORDER_SHARE * _borders(small_SSC, is_skin_SS, masks_NP)
    ends = (mask_SS[0], mask_SS[-1], mask_SS[:, 0], mask_SS[:, -1])
    return Agreement(
        fit=float(fits_N[0]),
        others=dict(zip(names, map(float, fits_N[1:]), strict=True)),
        contrast=contrast,
        border=float(np.mean(ends)),
    )


def _separations(
    colours_PC: NDArray[np.uint8], is_seen_P: NDArray[np.bool_], masks_NP: Floats
) -> tuple[Floats, float]:
    """Share of the colours' variance that each mask explains, negative if its inside is brighter.

    Also the distance of the mean colours inside and outside the first mask.
    """
    seen_P4 = np.empty((len(is_seen_P), 4), np.float32)  # colours and a 1; zero where not seen
    seen_P4[:, :3], seen_P4[:, 3] = colours_PC, 1
    seen_P4 *= is_seen_P[:, None]
    sum_4, sums_N4 = np.ones(len(seen_P4), np.float32) @ seen_P4, masks_NP @ seen_P4
    sum_C, num_all, sums_NC, num_N = sum_4[:3], float(sum_4[3]), sums_N4[:, :3], sums_N4[:, 3]
    num_in_N1 = np.maximum(num_N, 1)[:, None]
    num_out_N1 = np.maximum(num_all - num_N, 1)[:, None]
    inside_NC, outside_NC = sums_NC / num_in_N1, (sum_C - sums_NC) / num_out_N1
    # Between two groups, the sum of squares is this multiple of the distance of their means.
    between_N = ((inside_NC - outside_NC) ** 2).sum(axis=1) * (num_in_N1 * num_out_N1)[:, 0]
    centred_P4 = seen_P4 - seen_P4[:, 3:] * (sum_4 / num_all)
    spread = float(np.vdot(centred_P4, centred_P4))
    shares_N: Floats = between_N / (num_all * max(spread, 1e-9))
    is_one_sided_N = np.minimum(num_N, num_all - num_N) < 1
    shares_N[is_one_sided_N] = 0
    shares_N[inside_NC.mean(axis=1) >= outside_NC.mean(axis=1)] *= -1
    distance = float(np.linalg.norm(inside_NC[0] - outside_NC[0]))
    return shares_N, float("inf") if is_one_sided_N[0] else distance


def _borders(
    small_SSC: NDArray[np.uint8], is_skin_SS: NDArray[np.bool_], masks_NP: Floats
) -> Floats:
    """Correlation of each mask's border with steps from bright to dark in the picture, -1 to 1."""
    # A step towards what is no skin tells nothing.
    inner_SS = cv2.erode(is_skin_SS.astype(np.float32), np.ones((7, 7), np.uint8))
    # 16 bits, because OpenCV's median of small pictures of 8 bits takes twenty times as long.
    grey_SS = cv2.cvtColor(small_SSC, cv2.COLOR_RGB2GRAY).astype(np.uint16)
    calm_SS = cv2.medianBlur(grey_SS, 5).astype(np.float32)  # without hairs
    picture = [step * inner_SS for step in _steps(_blurred(calm_SS))]
    # The product of the steps of a picture and of a mask, summed, is that of the mask and this:
    inward_SS = _blurred(_steps(picture[0])[0] + _steps(picture[1])[1])
    inward_SS -= inward_SS.mean()
    # A turned mask has as much border.
    mask = _steps(_blurred(masks_NP[0].reshape(inner_SS.shape)))
    norms = [sum(float(np.vdot(step, step)) for step in steps) for steps in (picture, mask)]
    if min(norms) < _LEAST_NORM:
        return np.zeros(len(masks_NP), np.float32)
    products_N: Floats = masks_NP @ inward_SS.reshape(-1)
    return products_N / np.float32((norms[0] * norms[1]) ** 0.5)


def _blurred(plane_SS: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(plane_SS, (0, 0), _BLUR_PX), np.float32)


def _steps(plane_SS: Floats) -> tuple[Floats, Floats]:
    """Steps to the right and down."""
    right, down = (cv2.Sobel(plane_SS, cv2.CV_32F, *along) for along in ((1, 0), (0, 1)))
    return np.asarray(right, np.float32), np.asarray(down, np.float32)
