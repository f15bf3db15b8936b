"""From a cascade's logits to masks and probabilities of the image as it was given.

Suffixes: H rows, W columns of the image as given; h rows, w columns of a logit map.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import confusion_from_masks
from ckd.contract.manifest import Manifest
from ckd.contract.preprocess import mask_from_logits, softmax


@dataclass(frozen=True, slots=True)
class Answers:
    """What the networks say, in arrays of its own; see `ckd.contract.results.Finding`."""

    mask_HW: NDArray[np.bool_] | None
    coarse_mask_HW: NDArray[np.bool_] | None
    probabilities: dict[str, float]
    quality: dict[str, float]


def answers_from_logits(
    manifest: Manifest, logits: Mapping[str, NDArray[Any]], height: int, width: int
) -> Answers:
    """Masks in image pixels, probabilities by label, and what speaks for or against them.

    Args:
        manifest: says which tensors are answers.
        logits: by tensor name.
        height: of the image as given.
        width: of the image as given.
    """
    results, threshold = manifest.results, manifest.thresholds.get("mask", 0.5)
    fine = coarse = None
    probabilities: dict[str, float] = {}
    quality: dict[str, float] = {}
    if results.class_logits is not None:
        values = softmax(logits[results.class_logits][0])
        probabilities = dict(zip(manifest.labels, values.tolist(), strict=True))
    if results.mask_logits is not None:
        fine_hw = _map(logits[results.mask_logits])
        fine = mask_from_logits(fine_hw, height, width, threshold=threshold)
        quality["lesion_fraction"] = np.count_nonzero(fine) / fine.size
    if results.coarse_logits is not None:
        coarse_hw = _map(logits[results.coarse_logits])
        side = manifest.image_size
        coarse = mask_from_logits(
            coarse_hw,
            height,
            width,
            threshold=threshold,
            aligned_to_px=side if results.coarse_align_corners else None,
        )
    if fine is not None and coarse is not None and fine.any():
        # A coarse grid is enough: this is a figure between 0 and 1, not a measurement.
        step = max(1, min(height, width) // manifest.image_size)
        overlap = confusion_from_masks(fine[::step, ::step], coarse[::step, ::step])
        quality["mask_agreement"] = overlap.jaccard
    return Answers(fine, coarse, probabilities, quality)


def _map(logits_11hw: NDArray[Any]) -> NDArray[np.float32]:
    """Without the axes of one; OpenCV resizes no float16."""
    return np.asarray(logits_11hw[0, 0], dtype=np.float32)
