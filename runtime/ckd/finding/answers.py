"""From the logits of a cascade to masks, probabilities and figures of quality."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ckd.contract.confusion import confusion_from_masks
from ckd.contract.spec import OutputSpec
from ckd.finding.logits import class_probabilities, mask_from_logits


class AnswerSource(Protocol):
    """How to read logits: implemented by a system in training and by `CascadeSpec`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the class logits."""

    @property
    def outputs(self) -> OutputSpec:
        """Which tensors hold the logits."""

    @property
    def image_size(self) -> int:
        """Side of the square network input in pixels."""

    @property
    def mask_threshold(self) -> float:
        """Probability above which a pixel is lesion."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a cascade says of an image; None or empty where it has no such output.

    Suffixes: H rows, W columns of the photograph; D channels of the classifier's last layer.
    """

    mask_HW: NDArray[np.bool_] | None
    coarse_mask_HW: NDArray[np.bool_] | None
    probabilities: Mapping[str, float]  # by label, in the order of the labels
    class_maps: Mapping[str, NDArray[np.float32]]  # by label, as in `Finding.class_maps`
    features_D: NDArray[np.float32] | None = None  # what the classifier's last layer reads, pooled


def answers_from_logits(
    source: AnswerSource,
    logits: Mapping[str, NDArray[Any]],
    height: int,
    width: int,
    *,
    outputs: OutputSpec | None = None,
) -> Answers:
    """Masks in pixels of the photograph, probabilities, and class maps and features as they are.

    Args:
        source: names the logits, the labels and the mask threshold.
        logits: by tensor name, batch axis of one included.
        height: of the photograph in pixels.
        width: of the photograph in pixels.
        outputs: which tensors to take for the outputs, if not ``source.outputs``.
    """
    outputs, side, size_hw = outputs or source.outputs, source.image_size, (height, width)
    probabilities: dict[str, float] = {}
    if outputs.class_logits is not None:
        values = class_probabilities(logits[outputs.class_logits][0], outputs.exclusive)
        probabilities = dict(zip(source.labels, values.tolist(), strict=True))
    class_maps: dict[str, NDArray[np.float32]] = {}
    if outputs.class_map is not None:
        maps_Khw = np.array(logits[outputs.class_map][0], dtype=np.float32)  # a copy
        class_maps = dict(zip(source.labels, maps_Khw, strict=True))
    features_D: NDArray[np.float32] | None = None
    if outputs.features is not None:
        features_D = np.array(logits[outputs.features][0], dtype=np.float32)  # a copy
    return Answers(
        mask_HW=_mask(source, logits, outputs.mask_logits, size_hw, None),
        coarse_mask_HW=_mask(
            source,
            logits,
            outputs.coarse_logits,
            size_hw,
            side if outputs.coarse_align_corners else None,
        ),
        probabilities=probabilities,
        class_maps=class_maps,
        features_D=features_D,
    )


def most_probable(probabilities: Mapping[str, float], exclusive: bool) -> str | None:
    """The most probable label; None without any, or if none of several questions is answered yes.

    A question is answered yes above a probability of one half.
    """
    top = max(probabilities, key=probabilities.__getitem__, default=None)
    return top if exclusive or top is None or probabilities[top] > 0.5 else None


def _mask(
    source: AnswerSource,
    logits: Mapping[str, NDArray[Any]],
    name: str | None,
    size_hw: tuple[int, int],
    aligned_to_px: int | None,
) -> NDArray[np.bool_] | None:
    if name is None:
        return None
    logits_hw = np.asarray(logits[name][0, 0], np.float32)  # OpenCV cannot resize float16
    return mask_from_logits(
        logits_hw, *size_hw, threshold=source.mask_threshold, aligned_to_px=aligned_to_px
    )


def quality_of(answers: Answers, image_size: int) -> dict[str, float]:
    """Figures that say how far to trust the answers, by name; see `Finding.quality`.

    Args:
        answers: to judge.
        image_size: side of the network input in pixels.
    """
    quality: dict[str, float] = {}
    fine, coarse = answers.mask_HW, answers.coarse_mask_HW
    if fine is not None:
        quality["lesion_fraction"] = np.count_nonzero(fine) / fine.size
    if fine is not None and coarse is not None and fine.any():
        # Pixels on a coarse grid are enough for a rough figure between 0 and 1.
        step = max(1, min(fine.shape) // image_size)
        overlap = confusion_from_masks(fine[::step, ::step], coarse[::step, ::step])
        quality["mask_agreement"] = overlap.jaccard
    return quality
