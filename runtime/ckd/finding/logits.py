"""From the logits of a network to masks in pixels of the photograph, and to probabilities.

Suffixes: H rows, W columns of the photograph; h, w of the network's output; K classes.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


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
    smooth at any size, and no sigmoid is needed. (The papers upsample probabilities instead; the
    contour at 0.5 differs by less than a network pixel.)

    Args:
        logits_hw: equal cells of the network's image, as many as it has pixels or fewer, or a
            coarser grid with ``aligned_to_px``.
        height: of the photograph in pixels.
        width: of the photograph in pixels.
        threshold: probability above which a pixel is lesion.
        aligned_to_px: network size, if the corner samples of coarse logits lie on the corner pixels
            of the network image (align_corners, as in CKDNet's coarse network) rather than at the
            centres of equal cells. The logits are first enlarged to network size in that way.
    """
    return enlarge_logits(logits_hw, height, width, aligned_to_px) > logit(threshold)


def enlarge_logits(
    logits_hw: NDArray[np.float32], height: int, width: int, aligned_to_px: int | None = None
) -> NDArray[np.float32]:
    """Logits in pixels of the photograph; the arguments are those of `mask_from_logits`."""
    if aligned_to_px is not None:
        logits_hw = _enlarge_aligned(logits_hw, aligned_to_px)
    enlarged = cv2.resize(logits_hw, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, dtype=np.float32)


def logit(probability: float) -> float:
    """The logit whose sigmoid is ``probability``, which is strictly between 0 and 1."""
    return float(np.log(probability / (1.0 - probability)))


def softmax(logits_K: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities along the last axis; large logits do not overflow."""
    wide_K = np.asarray(logits_K, dtype=np.float32)  # differences of float16 logits may overflow
    shifted = np.exp(wide_K - wide_K.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def class_probabilities(logits_K: NDArray[np.float32], exclusive: bool) -> NDArray[np.float32]:
    """The softmax if labels exclude each other, otherwise the sigmoid of each logit."""
    if exclusive:
        return softmax(logits_K)
    half_K = np.asarray(logits_K, dtype=np.float32) / 2
    return np.asarray(0.5 + 0.5 * np.tanh(half_K), dtype=np.float32)  # no overflow


def _enlarge_aligned(logits_hw: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Enlarge bilinearly with corner samples on corner pixels, which OpenCV's resize cannot do."""
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
